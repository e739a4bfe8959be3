"""Turns objects into text and data, with one function per command. It is pure: `now` is a parameter.

Apart from `__main__`, which runs kubectl. Fields are those of docs/reference/spec.md, and each may be missing, because
an object exists before the operator has seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from kubectl_spot.table import Row, columns

Object = Mapping[str, Any]

#: Shown where a value is not known.
NOTHING = "-"

#: Number of ids in one cell.
IDS_SHOWN = 3

#: How late an operator may be before it seems to be down.
LATE = timedelta(seconds=60)

LOOK_AT_PODS = "Look at its pods: `kubectl get pods -A -l app.kubernetes.io/name=spotcompute-operator`."

#: Conditions that are shown only while they have this status; with an empty one, as long as they are there.
_SHOWN_WHILE = {"Stalled": "True", "StateRefused": "True", "GangReady": "False", "ZonesCordoned": ""}


def why(objects: Sequence[Object], now: datetime) -> str:
    """Returns sentences: how many run, why not all run, when the cloud is asked next, and what a person could do."""
    return "\n".join(line for obj in objects for line in _why(obj, now))


def _why(obj: Object, now: datetime) -> Iterator[str]:
    status, wanted = status_of(obj), obj.get("spec", {}).get("replicas", 0)
    phase = status.get("phase", "not seen yet")
    yield f"{label(obj)}: {ready(status)} of {wanted} ready, {phase}"
    conditions = {item["type"]: item for item in status.get("conditions", ())}
    if phase != "not seen yet" and status.get("observedGeneration", -1) != obj["metadata"].get("generation", 1):
        yield f"  The operator has not seen the latest change of the spec yet; is it running? {LOOK_AT_PODS}"
    message, at = conditions.get("Ready", {}).get("message"), status.get("nextAttemptTime")
    told, is_told = _with_wait(message, at, now)
    if told:
        yield f"  {told}"
    for name, when in _SHOWN_WHILE.items():
        found = conditions.get(name)
        if found and when in ("", found.get("status")) and found.get("message") not in (None, "", message):
            yield f"  {name}: {found['message']}"
    if at and not is_told:
        yield f"  The cloud is asked next {_until(_time(at), now)} ({at})"
    if at and now - _time(at) > LATE and phase not in ("Paused", "Deleting"):
        yield f"  That time has passed, so the operator seems to be down. {LOOK_AT_PODS}"


def _with_wait(message: str | None, at: str | None, now: datetime) -> tuple[str | None, bool]:
    """Returns the sentence with how long it is until the next attempt, and whether it tells of that attempt."""
    if not message or not at or at not in message:
        return message, False
    return message.replace(at, f"{_until(_time(at), now)} ({at})", 1), True


def instances(obj: Object, now: datetime) -> str:
    """Returns one line per instance in status. For very large environments the ids of the others follow."""
    shown = status_of(obj).get("instances", ())
    head = ("ID", "STATE", "READY", "TYPE", "ZONE", "PRICE/H", "AGE", "IP", "NOTE")
    rows = [
        (
            one["id"],
            one.get("state", NOTHING),
            "yes" if one.get("ready") else "no",
            one.get("instanceType", NOTHING) + (" (on demand)" if one.get("onDemand") else ""),
            one.get("zone", NOTHING),
            one.get("pricePerHour", NOTHING),
            age(one.get("launchedAt"), now),
            one.get("privateIP") or NOTHING,
            one.get("note", ""),
        )
        for one in shown
    ]
    hidden = sorted(set(status_of(obj).get("instanceIDs", ())) - {one["id"] for one in shown})
    more = [f"And {len(hidden)} more: {', '.join(hidden)}"] if hidden else []
    return _block(obj, head, rows, more, "no instances")


def activity(obj: Object, now: datetime) -> str:
    """Returns the history, newest first, with the reason of each launch and end, or why it failed."""
    head = ("AGE", "TYPE", "STATE", "TIMES", "POOL", "INSTANCES", "WHY")
    rows = [
        (
            age(line.get("endTime") or line.get("startTime"), now),
            line["type"],
            line["state"],
            str(line.get("count", 1)),
            pool(line),
            _ids(line.get("instanceIds", ())),
            (": ".join(filter(None, (line.get("code"), line.get("message")))) or line.get("cause", ""))
            + _request(line),
        )
        for line in status_of(obj).get("activities", ())
    ]
    return _block(obj, head, rows, [], "nothing has happened yet")


def pools(obj: Object, now: datetime) -> str:
    """Returns one line per pool: its price, its last answer, and when it is asked again."""
    head = ("POOL", "STATE", "HAS", "SPOT/H", "ON-DEMAND/H", "STOCK", "SCORE", "NEXT", "WHY")
    rows = [
        (
            pool(one),
            one.get("state", NOTHING),
            str(one.get("instances", 0)),
            one.get("pricePerHour", NOTHING),
            one.get("onDemandPricePerHour", NOTHING),
            one.get("stock", NOTHING),
            one.get("score", NOTHING),
            _until(_time(one["nextAttemptTime"]), now) if one.get("nextAttemptTime") else NOTHING,
            one.get("lastError") or one.get("note") or "",
        )
        for one in status_of(obj).get("pools", ())
    ]
    return _block(obj, head, rows, [], _no_pools(obj))


def _request(line: Mapping[str, Any]) -> str:
    return f" (request {line['requestId']})" if line.get("requestId") else ""


def _no_pools(obj: Object) -> str:
    is_seen = "readyReplicas" in status_of(obj) or not status_of(obj).get("phase")
    return "no pool is known yet" if is_seen else "pools are not known while the cloud cannot be seen"


def cost(objects: Sequence[Object], now: datetime) -> str:
    """Returns what each environment costs and has cost until now, and the sum per currency."""
    head = ("NAME", "READY", "COST/H", "DISKS/H", "ON-DEMAND/H", "SAVED", "SPENT", "CURRENCY")
    rows: list[Row] = []
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for obj in objects:
        found = status_of(obj).get("cost", {})
        spent, currency = spent_until(found, now), found.get("currency", "")
        rows.append(
            (
                label(obj),
                f"{ready(status_of(obj))}/{obj.get('spec', {}).get('replicas', 0)}",
                found.get("perHour", NOTHING),
                found.get("extrasPerHour", NOTHING),
                found.get("onDemandPerHour", NOTHING),
                f"{found['savedPercent']}%" if "savedPercent" in found else NOTHING,
                NOTHING if spent is None else _money(spent),
                currency or NOTHING,
            )
        )
        hourly, total = sums.get(currency, (Decimal(0), Decimal(0)))
        sums[currency] = (hourly + Decimal(found.get("perHour", "0")), total + (spent or 0))
    if len(objects) > 1:
        known = [(currency, *both) for currency, both in sorted(sums.items()) if currency]
        rows += [("all", "", _money(hourly), "", "", "", _money(total), name) for name, hourly, total in known]
    return "\n".join(columns([head, *rows])) if rows else "No environments."


def spent_until(found: Mapping[str, Any], now: datetime) -> Decimal | None:
    """Returns what was spent until `now`. None when status does not say.

    The status sums up only when the rate changes. From then on the rate applies.
    """
    if "accrued" not in found or "accruedAt" not in found:
        return None
    hours = Decimal(max(0, int((now - _time(found["accruedAt"])).total_seconds()))) / 3600
    return Decimal(found["accrued"]) + Decimal(found.get("perHour", "0")) * hours


def quote(obj: Object, now: datetime) -> str:
    """Returns what a paused environment would buy, at what cost, and what must be corrected first."""
    found = status_of(obj).get("quote")
    if found is None:
        return f"{label(obj)}\n  There is a quote only while spec.paused is true and instances are missing."
    head, refused = ("COUNT", "POOL", "SPOT/H", "BID/H"), {pool(one) for one in found.get("refusals", ())}
    rows = [
        (str(one["count"]), pool(one), one.get("pricePerHour", NOTHING), one.get("bid", "market"))
        for one in found.get("pools", ())
        if pool(one) not in refused
    ]
    return _block(obj, head, rows, list(_about(found)), "nothing would be bought")


def _about(found: Mapping[str, Any]) -> Iterator[str]:
    yield _answer(found)
    if "perHour" in found:
        parts = [f"{found['perHour']} {found.get('currency', '')} per hour"]
        parts += [f"of that {found['extrasPerHour']} for disks and bandwidth"] if "extrasPerHour" in found else []
        parts += [f"on demand {found['onDemandPerHour']}"] if "onDemandPerHour" in found else []
        yield ", ".join(parts) + "."
    for one in found.get("errors", ()):
        yield f"Correct first: {': '.join(filter(None, (one.get('field'), one['code'], one['message'])))}"
    if found.get("moreErrors"):
        yield "These errors may hide others."
    for one in found.get("refusals", ()):
        yield f"{pool(one)} would refuse now: {one['code']}: {one['message']}"
    if "unchecked" in found:
        yield f"Not checked: {found['unchecked']}"


def _answer(found: Mapping[str, Any]) -> str:
    """Returns the one answer: it names no number that what follows would contradict."""
    count = f"{found['chosen']} of {found['missing']} missing {'instance' if found['missing'] == 1 else 'instances'}"
    errors = len(found.get("errors", ()))
    if errors:
        least = "at least " if found.get("moreErrors") else ""
        what = f"{least}{errors} {'error' if errors == 1 else 'errors'} to be corrected before anything is bought"
        return f"Wrong: {what}; then {count} would be bought."
    is_all = found["chosen"] == found["missing"] and not found.get("refusals") and "unchecked" not in found
    return f"{count} would be bought." if is_all else f"Not now: {count} would be bought."


#: Commands about one object each, and commands about all of them together.
SINGLE: Mapping[str, Callable[[Object, datetime], str]] = {
    "instances": instances,
    "activity": activity,
    "pools": pools,
    "quote": quote,
}
TOGETHER: Mapping[str, Callable[[Sequence[Object], datetime], str]] = {"why": why, "cost": cost}

#: The parts of status that `-o json` shows, by command.
PARTS = {
    "why": ("phase", "reason", "replicas", "readyReplicas", "observedTime", "nextAttemptTime", "conditions"),
    "instances": ("instances", "instanceIDs"),
    "activity": ("activities",),
    "pools": ("pools",),
    "cost": ("cost",),
    "quote": ("quote",),
    "tree": ("phase", "reason", "replicas", "readyReplicas", "instances", "instanceIDs", "cost"),
}


def text(command: str, objects: Sequence[Object], now: datetime) -> str:
    """Returns what `command` shows of `objects`."""
    if command in TOGETHER:
        return TOGETHER[command](objects, now) or "No environments."
    return "\n\n".join(SINGLE[command](obj, now) for obj in objects) or "No environments."


def data(command: str, objects: Sequence[Object]) -> list[dict[str, Any]]:
    """Returns the parts of status that `command` is about, unchanged, for programs."""
    return [
        {
            "namespace": obj["metadata"]["namespace"],
            "name": obj["metadata"]["name"],
            **{part: status_of(obj)[part] for part in PARTS[command] if part in status_of(obj)},
        }
        for obj in objects
    ]


def label(obj: Object) -> str:
    """Returns `namespace/name`."""
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _block(obj: Object, head: Row, rows: Sequence[Row], more: Sequence[str], nothing: str) -> str:
    table = columns([head, *rows]) if rows else [nothing]
    return "\n".join([label(obj), *(f"  {line}" for line in (*table, *more))])


def status_of(obj: Object) -> Mapping[str, Any]:
    """Returns the status, empty before the operator has seen the object."""
    found: Mapping[str, Any] = obj.get("status") or {}
    return found


def ready(status: Mapping[str, Any]) -> str:
    """Returns how many instances are ready: `?` while the operator cannot see them, 0 before it has seen the object."""
    return str(status.get("readyReplicas", "?" if status.get("phase") else 0))


def pool(one: Mapping[str, Any]) -> str:
    """Returns `type@zone`."""
    return f"{one['instanceType']}@{one['zone']}" if one.get("instanceType") and one.get("zone") else NOTHING


def _ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return (", ".join(ids[:IDS_SHOWN]) + more) or NOTHING


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def age(text: str | None, now: datetime) -> str:
    """Returns how long ago that was."""
    return NOTHING if text is None else duration(now - _time(text))


def _until(moment: datetime, now: datetime) -> str:
    return f"in {duration(moment - now)}" if moment > now else "now"


def duration(length: timedelta) -> str:
    """Returns a length of time as kubectl writes ages: the two largest units, `3d4h`, `5m10s`.

    `0s` when it is negative.
    """
    seconds = max(0, int(length.total_seconds()))
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"


def _money(amount: Decimal) -> str:
    found = format(amount.quantize(Decimal("0.0001")), "f")
    return found.rstrip("0").rstrip(".") if "." in found else found
