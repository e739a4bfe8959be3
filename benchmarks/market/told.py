"""The activity log of an object against the cloud's own book: what is missing in it, and what is wrong.

Apart from `rows`, because it is a judge: it reads both sides as outsiders would, and shares no code with the operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cvmsim.instance import Instance
from cvmsim.ledger import Request

Line = Mapping[str, Any]

#: Times in the object are whole seconds, and what happens is told a little later than it happens.
SLACK = 2.0

#: A refusal that is repeated joins its line while that is among so many newest. See docs/reference/activities.md.
GOES_ON = 12


@dataclass(frozen=True, slots=True)
class Verdict:
    """So many things have happened since the oldest line, and so many lines tell of them."""

    happened: int
    missing: tuple[str, ...]
    lines: int
    wrong: tuple[str, ...]


def judged(lines: Sequence[Line], requests: Sequence[Request], instances: Sequence[Instance], until: float) -> Verdict:
    """Hold `lines` (newest first) against everything that was asked of the cloud, and every instance there ever was.

    What happened after `until` need not be told yet.
    """
    since = _complete_since(lines)
    asked = [one for one in requests if one.action in ("RunInstances", "TerminateInstances")]
    lost = {one.id: one for one in instances if not one.is_live and not _was_released(one, asked)}
    recent = [one for one in asked if since <= one.time <= until]
    gone = [one for one in lost.values() if since <= _end(one) <= until]
    missing = [*(f"{one.action} {one.request_id} {one.code}" for one in recent if not _is_told(one, lines, asked)),
               *(f"the end of {one.id}" for one in gone if not _is_mourned(one, lines))]  # fmt: skip
    wrong = [text for line in lines for text in _faults(line, lines, asked, lost)]
    return Verdict(len(recent) + len(gone), tuple(missing), len(lines), tuple(wrong))


def _complete_since(lines: Sequence[Line]) -> float:
    """From when on nothing can be missing: a line that has been dropped went on until a dozen newer ones had begun."""
    if not lines or lines[-1]["id"] == "act-1":
        return 0.0
    return _moment(lines[-GOES_ON]["startTime"]) + SLACK if len(lines) >= GOES_ON else float("inf")


def _is_told(request: Request, lines: Sequence[Line], asked: Sequence[Request]) -> bool:
    """A launch is told by its last answer: an operator killed before it could tell asks again under the same token."""
    if request.action != "RunInstances" or _is_answered(request, lines):
        return _is_answered(request, lines)
    token = request.params["ClientToken"]
    return any(_is_answered(one, lines) for one in asked if one.params.get("ClientToken") == token)


def _is_answered(request: Request, lines: Sequence[Line]) -> bool:
    """An answer that was yes has its own RequestId; refusals of one kind share a line, which spans them."""
    if request.action == "TerminateInstances":
        ended = set(request.instance_ids or request.params["InstanceIds"])
        return any(line["type"] == "Terminate" and ended <= set(line.get("instanceIds", ())) for line in lines)
    if not request.code:
        return any(line.get("requestId") == request.request_id for line in lines)
    return any(_is_refusal_of(line, request) for line in lines)


def _is_refusal_of(line: Line, request: Request) -> bool:
    where = (request.params["Placement"]["Zone"], request.params["InstanceType"], request.code)
    if line["type"] != "Launch" or (line.get("zone"), line.get("instanceType"), line.get("code")) != where:
        return False
    return _moment(line["startTime"]) - SLACK <= request.time <= _moment(line["endTime"]) + SLACK


def _is_launch_of(line: Line, request: Request) -> bool:
    """True for a request that launched something in the pool and the time that `line` speaks of."""
    if request.action != "RunInstances" or request.code:
        return False
    where = (request.params["Placement"]["Zone"], request.params["InstanceType"])
    begins, ends = _moment(line["startTime"]) - SLACK, _moment(line["endTime"])
    return where == (line["zone"], line["instanceType"]) and begins <= request.time <= ends


def _is_refusal_in(lines: Sequence[Line], request: Request) -> bool:
    return request.action == "RunInstances" and any(_is_refusal_of(line, request) for line in lines)


def _is_mourned(instance: Instance, lines: Sequence[Line]) -> bool:
    return any(line["type"] == "Loss" and instance.id in line.get("instanceIds", ()) for line in lines)


def _faults(line: Line, lines: Sequence[Line], asked: Sequence[Request], lost: Mapping[str, Instance]) -> Iterator[str]:
    """What `line` says and the book does not."""
    ids, name = set(line.get("instanceIds", ())), line["id"]
    known = next((one for one in asked if one.request_id == line.get("requestId")), None)
    if line["type"] == "Launch":
        yield from _faults_of_launch(line, lines, asked, known)
    elif line["type"] == "Terminate":
        if known is None or not ids <= set(known.params["InstanceIds"]) | set(known.instance_ids):
            yield f"{name}: no release of {sorted(ids)}"
    elif line["type"] == "Loss":
        for one in ids:
            # Whose end nobody saw has disappeared, and that is all the cloud lets one say.
            if one not in lost or line["cause"] not in (_cause(lost[one]), "Disappeared"):
                yield f"{name}: {one} did not end by {line['cause']}"
    else:
        yield f"{name}: {line['type']} where nothing of the kind has happened"


def _faults_of_launch(
    line: Line, lines: Sequence[Line], asked: Sequence[Request], known: Request | None
) -> Iterator[str]:
    """What a line of a launch says and the book does not; `known` is the request that it names."""
    ids, name = set(line.get("instanceIds", ())), line["id"]
    if line["state"] in ("Processing", "Succeeded"):
        if known is None or set(known.instance_ids) != ids:
            yield f"{name}: no launch of {sorted(ids)}"
        elif (known.params["Placement"]["Zone"], known.params["InstanceType"]) != (line["zone"], line["instanceType"]):
            yield f"{name}: it was another pool"
    elif line.get("reason") == "NothingLaunched":
        # A launch whose answer was lost: it was looked for, and no instance of it was found.
        told = {one.get("requestId") for one in lines}
        if any(one.request_id not in told for one in asked if _is_launch_of(line, one)):
            yield f"{name}: it did launch"
    else:
        # Within one second a success can part two lines of the same refusal: they are counted together.
        alike = [one for one in lines if all(one.get(key) == line.get(key) for key in ("zone", "instanceType", "code"))]
        told = sum(one["count"] for one in alike)
        # The one before the first of them may have been dropped by now, and then nobody can tell them apart.
        # An operator that was killed before it could tell asks again under the same token: that is one launch.
        refused = {one.params["ClientToken"] for one in asked if one.code and _is_refusal_in(alike, one)}
        refusals = len(refused)
        is_whole = lines[-1]["id"] == "act-1" or alike[-1] not in lines[-GOES_ON:]
        if known is None or known.code != line["code"] or (is_whole and refusals != told):
            yield f"{name}: {told} refusals told, {refusals} in the book"


def _was_released(instance: Instance, asked: Sequence[Request]) -> bool:
    """By the operator itself."""
    return any(
        instance.id in one.params["InstanceIds"] for one in asked if one.action == "TerminateInstances" and not one.code
    )


def _cause(instance: Instance) -> str:
    by_hand = any(change.cause == "console" for change in instance.changes)
    return "ReleasedOutside" if by_hand else "Reclaimed"


def _end(instance: Instance) -> float:
    return instance.changes[-1].time


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
