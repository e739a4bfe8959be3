"""Keeps the history in the object: newest first, bounded, repeats merged; and makes Events of what users notice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime
from itertools import accumulate
from typing import Any

from spotcompute.api.events import Event
from spotcompute.api.status import ActivityStatus
from spotcompute.api.times import to_text
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.ledger import Cause, Ledger
from spotcompute.report.cost import optional_money

#: Lines kept in the object. Older lines go; they have been Events and log lines.
HISTORY_LIMIT = 50

#: Their size as JSON at most: otherwise launches of a hundred would fill the object. The newest line always stays.
HISTORY_BYTES = 30_000

#: Ids written out in one line or event.
IDS_SHOWN = 100

MESSAGE_LIMIT = 512

_WENT_WELL = frozenset({ActivityState.PROCESSING.value, ActivityState.SUCCEEDED.value})

#: States in which a line goes on with the next news: a launch until its answer, a release until its instances went.
_OPEN = {
    ActivityType.LAUNCH.value: frozenset({ActivityState.SUBMITTED.value}),
    ActivityType.TERMINATE.value: frozenset({ActivityState.SUBMITTED.value, ActivityState.PROCESSING.value}),
}

#: States that end by themselves when the instances have started, or gone.
_UNDER_WAY = {
    ActivityType.LAUNCH.value: frozenset({ActivityState.PROCESSING.value}),
    ActivityType.TERMINATE.value: frozenset({ActivityState.SUBMITTED.value, ActivityState.PROCESSING.value}),
}

#: Ends of instances that were accepted and never ran.
_NEVER_STARTED = frozenset({Cause.LAUNCH_FAILED.value, Cause.STUCK_PENDING.value})


def appended(history: Sequence[Mapping[str, Any]], activities: Sequence[Activity]) -> list[dict[str, Any]]:
    """Returns `history` with `activities` on top. Losses of one cause are one line, and repeats are counted.

    Ids are `act-` and a number without gaps, so that a missing line would show.
    """
    lines = [dict(line) for line in history]
    for activity in together(activities):
        line = _line(activity, _next_number(lines))
        at = _position_of_open(lines, line)
        at = _position_of_same(lines, line, activity) if at is None else at
        if at is None:
            lines.insert(0, line)
        else:
            lines[at] = _merged(lines[at], line)
    return _cut(lines) if activities else lines


def _cut(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the newest lines, as many as fit, and one at least."""
    sizes = accumulate(len(json.dumps(line)) for line in lines[:HISTORY_LIMIT])
    return lines[: max(1, sum(size <= HISTORY_BYTES for size in sizes))]


def together(activities: Sequence[Activity]) -> list[Activity]:
    """Merges losses and releases of one kind, seen in one run, to one activity with all ids."""
    result: list[Activity] = []
    for activity in activities:
        last = result[-1] if result else None
        if last and activity.type is not ActivityType.LAUNCH and _kind(last) == _kind(activity):
            result[-1] = replace(last, instance_ids=(*last.instance_ids, *activity.instance_ids))
        else:
            result.append(activity)
    return result


def _kind(activity: Activity) -> tuple[object, ...]:
    return (activity.type, activity.state, activity.cause, activity.pool, activity.code, activity.message)


def _next_number(lines: Sequence[Mapping[str, Any]]) -> int:
    numbers = [str(line.get("id", "")).rpartition("-")[2] for line in lines]
    return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1


def _line(activity: Activity, number: int) -> dict[str, Any]:
    return ActivityStatus(
        id=f"act-{number}",
        type=activity.type,
        state=activity.state.value,
        cause=activity.cause,
        zone=activity.pool.zone if activity.pool else None,
        instance_type=activity.pool.instance_type if activity.pool else None,
        instance_ids=list(activity.instance_ids[:IDS_SHOWN]) or None,
        price_per_hour=optional_money(activity.price),
        reason=activity.reason,
        code=activity.code,
        message=activity.message[:MESSAGE_LIMIT] if activity.message else None,
        request_id=activity.request_id,
        sequence=activity.sequence,
        count=activity.count,
        start_time=to_text(activity.started_at),
        end_time=to_text(activity.ended_at) if activity.ended_at else None,
    ).to_json()


def _position_of_open(lines: Sequence[Mapping[str, Any]], line: Mapping[str, Any]) -> int | None:
    """Returns where a launch or release stands that has no answer yet: its line goes on."""
    which = {ActivityType.LAUNCH.value: "sequence", ActivityType.TERMINATE.value: "instanceIds"}.get(line["type"], "")
    if line.get(which) is None:
        return None
    for at, other in enumerate(lines):
        is_same = other["type"] == line["type"] and other.get(which) == line[which]
        if is_same and other["state"] in _OPEN[line["type"]]:
            return at
    return None


def _position_of_same(lines: Sequence[Mapping[str, Any]], line: Mapping[str, Any], activity: Activity) -> int | None:
    """Returns where an equal failure stands: within the newest few lines, so that the order still tells a story."""
    if activity.state is not ActivityState.FAILED:
        return None
    same = ("type", "state", "zone", "instanceType", "reason", "code", "instanceIds")
    for at, other in enumerate(lines[:12]):
        if all(other.get(key) == line.get(key) for key in same):
            return at
        if other.get("type") == activity.type and other.get("state") in _WENT_WELL:
            return None
    return None


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Returns one line for both: end, message and request id of the repeat; start and number of the first attempt."""
    count = int(old.get("count", 1)) + (old.get("state") == new.get("state"))
    return {**new, "id": old["id"], "startTime": old["startTime"], "count": count}


def settled(history: Sequence[Mapping[str, Any]], ledger: Ledger, now: datetime) -> list[dict[str, Any]]:
    """Returns `history` with an end for launches whose instances all started or went, and releases whose all went."""
    doomed = {
        key
        for line in history
        if line.get("cause") in _NEVER_STARTED and line.get("type") in (ActivityType.LOSS, ActivityType.TERMINATE)
        for key in line.get("instanceIds") or ()
    }
    return [_settled(dict(line), ledger, doomed, now) for line in history]


def _settled(line: dict[str, Any], ledger: Ledger, doomed: Set[str], now: datetime) -> dict[str, Any]:
    ids = line.get("instanceIds") or ()
    members = [ledger.members[key] for key in ids if key in ledger.members]
    if not ids or line["state"] not in _UNDER_WAY.get(line["type"], ()):
        return line
    if any(line["type"] == ActivityType.TERMINATE or (not one.arrived and one.lost is None) for one in members):
        return line
    state = (
        ActivityState.FAILED if doomed >= set(ids) and line["type"] == ActivityType.LAUNCH else ActivityState.SUCCEEDED
    )
    return {**line, "state": state.value, "endTime": to_text(now)}


# --- events ----------------------------------------------------------------------------------------------------------

_LOSS_REASONS = {
    Cause.RECLAIMED: "InstanceReclaimed",
    Cause.RELEASED_OUTSIDE: "InstanceReleasedOutside",
    Cause.LAUNCH_FAILED: "LaunchFailed",
    Cause.DISAPPEARED: "InstanceLost",
}


#: Reasons of what the cloud has refused.
_REFUSED = {
    ActivityType.TERMINATE: "ReleaseRefused",
    ActivityType.RETAIN: "RetainRefused",
    ActivityType.ADOPT: "AdoptRefused",
}


def events_of(activities: Sequence[Activity]) -> list[Event]:
    """Returns the Events for what a person should notice of these activities. `kube.events` merges repeats."""
    return [
        replace(event, request_id=activity.request_id)
        for activity in together(activities)
        if (event := _event(activity)) is not None
    ]


def _event(activity: Activity) -> Event | None:
    ids = ", ".join(activity.instance_ids[:10]) + (", …" if len(activity.instance_ids) > 10 else "")
    where = f" in {activity.pool}" if activity.pool else ""
    if activity.type is ActivityType.LAUNCH:
        return _launch_event(activity, ids, where)
    if activity.state is ActivityState.FAILED and activity.type in _REFUSED:
        said = f"{activity.code or activity.reason}: {activity.message} ({ids})"
        return Event("Warning", _REFUSED[activity.type], said)
    match activity.type:
        case ActivityType.TERMINATE if activity.state is not ActivityState.SUBMITTED:
            return Event("Normal", "InstanceReleased", f"released {ids}: {activity.cause}")
        case ActivityType.LOSS | ActivityType.HOLD | ActivityType.NOTICE:
            return Event("Warning", _reason_of_end(activity), f"{ids}{where}: {activity.message}")
        case ActivityType.ADOPT | ActivityType.RETAIN | ActivityType.DISOWN:
            return _changed_hands(activity, ids)
        case ActivityType.REFUSE:
            return Event("Warning", activity.cause, str(activity.message))
        case _:
            return None


def _changed_hands(activity: Activity, ids: str) -> Event:
    if activity.type is ActivityType.DISOWN:
        return _disowned(activity, ids)
    if activity.type is ActivityType.RETAIN:
        return Event("Normal", "InstanceRetained", f"{ids} runs on, and belongs to no environment any more")
    if activity.cause == Cause.TAKEN_OVER:
        return Event("Normal", "InstanceAdopted", f"{ids} was taken over, as the spec asks for")
    return Event("Normal", "InstanceAdopted", f"{ids} carries this environment's marks and was not remembered")


def _launch_event(activity: Activity, ids: str, where: str) -> Event:
    if activity.state in (ActivityState.PROCESSING, ActivityState.SUCCEEDED):
        return Event("Normal", "InstanceLaunched", f"launched {ids}{where}: {activity.cause}")
    if activity.state is ActivityState.SUBMITTED:
        note = f"no answer to a launch{where}; it is settled under the same token ({activity.code})"
        return Event("Warning", "LaunchOutcomeUnknown", note)
    reason = activity.reason or "LaunchFailed"
    return Event("Warning", reason, f"{activity.code or reason}{where}: {activity.message}")


def _reason_of_end(activity: Activity) -> str:
    if activity.type is ActivityType.HOLD:
        return "InstancesStopping"
    if activity.type is ActivityType.NOTICE:
        return "InterruptionNotice"
    return _LOSS_REASONS.get(Cause(activity.cause), "InstanceLost")


def _disowned(activity: Activity, ids: str) -> Event:
    if activity.cause == Cause.OUT_OF_REACH:
        note = f"no longer waited for, may still run and cost money: {ids or 'none known'} in {activity.message}"
        return Event("Warning", "InstancesLeftBehind", note)
    return Event("Warning", "InstanceDisowned", f"{ids} was recorded here, but neither tags nor name say so")
