"""One fault at one place: the n-th request of a play, in one phase, of one kind.

Apart from the random troubles of histories: here every place is visited in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_SECONDS = 10.0

#: A process that is being killed does not get any further.
FOR_EVER = 1e9


class Phase(StrEnum):
    """How far the request has come when it happens."""

    BEFORE_SEND = "before send"
    NOT_COMMITTED = "sent, not committed"
    NO_REPLY = "committed, no usable reply"
    AFTER_REPLY = "reply, then"


class Kind(StrEnum):
    """What happens."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    ERROR = "5xx"
    CONFLICT = "conflict"
    STALE = "stale"
    REFUSED = "refused"
    LATE = "late"
    MALFORMED = "malformed"
    EMPTY = "empty"


Cell = tuple[Phase, Kind]

#: What can happen to every request, by phase.
COMMON: tuple[Cell, ...] = (
    (Phase.BEFORE_SEND, Kind.CRASH),
    (Phase.BEFORE_SEND, Kind.TIMEOUT),
    (Phase.NOT_COMMITTED, Kind.CRASH),
    (Phase.NOT_COMMITTED, Kind.TIMEOUT),
    (Phase.NOT_COMMITTED, Kind.ERROR),
    (Phase.NOT_COMMITTED, Kind.REFUSED),
    (Phase.NO_REPLY, Kind.CRASH),
    (Phase.NO_REPLY, Kind.TIMEOUT),
    (Phase.NO_REPLY, Kind.ERROR),
    (Phase.AFTER_REPLY, Kind.CRASH),
)

#: About the API server's objects, just before a request commits.
OF_OBJECTS: tuple[Cell, ...] = ((Phase.NOT_COMMITTED, Kind.CONFLICT), (Phase.NOT_COMMITTED, Kind.STALE))

#: A list of either side may be falsely empty.
OF_LISTS: tuple[Cell, ...] = ((Phase.NO_REPLY, Kind.EMPTY),)
LISTS = frozenset({"kube list", "cloud DescribeInstances"})

#: How late a request that changes something may still arrive: nearly as long as its signature is good for.
LATE_SECONDS = 280.0
CHANGES = frozenset(
    {
        "cloud RunInstances",
        "cloud TerminateInstances",
        "cloud ModifyResourceTags",
        "cloud DeleteInstancesActionTimer",
        "cloud ImportInstancesActionTimer",
    }
)


def cells_of(request: str) -> tuple[Cell, ...]:
    """What can happen to a request of that name."""
    cells = COMMON
    if request.startswith("kube"):
        cells += OF_OBJECTS
    else:
        cells += ((Phase.NO_REPLY, Kind.MALFORMED),)
    if request in LISTS:
        cells += OF_LISTS
    if request in CHANGES:
        cells += ((Phase.NOT_COMMITTED, Kind.LATE),)
    return cells


@dataclass(slots=True)
class FaultPoint:
    """Counts requests while armed and strikes at the chosen ones: `cells` says at which number, and how.

    `loops` strikes whenever a request of that name is made, as often as `loops_left` says.

    `crash` kills the process that asks; `interfere` lets somebody else change its object; `replay_old` lets its watch
    bring an old version once more.
    """

    cells: dict[int, Cell] = field(default_factory=dict)
    loops: dict[str, Cell] = field(default_factory=dict)
    loops_left: int = 0
    may_kill: bool = True
    armed: bool = False
    count: int = 0
    names: list[str] = field(default_factory=list)
    struck: int = 0
    crash: Callable[[], None] = lambda: None
    replay_old: Callable[[], None] = lambda: None
    interfere: Callable[[], None] = lambda: None

    def next(self, name: str) -> Cell | None:
        """A request called `name` is about to be made: what shall happen to it."""
        if name in self.loops and self.loops_left > 0:
            self.loops_left -= 1
            return self.loops[name]
        if not self.armed:
            return None
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        cell = self.cells.get(number)
        if cell is None:
            return None
        self.struck += 1
        # After a first fault another request may stand where the reference run had one that fits.
        return cell if cell in cells_of(name) else (cell[0], Kind.CRASH if self.may_kill else Kind.TIMEOUT)


async def strike(
    cell: Cell,
    fault: FaultPoint,
    commit: Callable[[], T],
    error: Callable[[str], Exception],
    refusal: Exception,
    distort: Callable[[Kind, T], T] = lambda kind, answer: answer,
) -> T:
    """Make one request whose fate is `cell`. `error` makes what the caller gets for a request without an answer,
    `distort` what an answer becomes that is malformed or falsely empty.
    """
    phase, kind = cell
    if kind is Kind.REFUSED:
        raise refusal
    if kind in (Kind.MALFORMED, Kind.EMPTY):
        return distort(kind, commit())
    if kind is Kind.LATE:
        asyncio.get_running_loop().call_later(LATE_SECONDS, commit)
        await asyncio.sleep(TIMEOUT_SECONDS)
        raise error(f"{kind} {phase}")
    if kind is Kind.CONFLICT:
        fault.interfere()
    if kind is Kind.STALE:
        fault.replay_old()
    if kind in (Kind.CONFLICT, Kind.STALE):
        return commit()
    if phase is Phase.AFTER_REPLY:
        result = commit()
        asyncio.get_running_loop().call_soon(fault.crash)
        return result
    if phase is Phase.NO_REPLY:
        with contextlib.suppress(Exception):
            commit()
    if kind is Kind.CRASH:
        fault.crash()
        await asyncio.sleep(FOR_EVER)
    if kind is Kind.TIMEOUT:
        await asyncio.sleep(TIMEOUT_SECONDS)
    raise error(f"{kind} {phase}")
