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
    NO_REPLY = "committed, no reply"
    AFTER_REPLY = "reply, then"


class Kind(StrEnum):
    """What happens."""

    CRASH = "crash"
    TIMEOUT = "timeout"
    ERROR = "5xx"
    CONFLICT = "conflict"
    STALE = "stale"


#: What can happen in which phase. Conflict and stale are about the API server's objects, before a request commits.
CELLS: tuple[tuple[Phase, Kind], ...] = (
    (Phase.BEFORE_SEND, Kind.CRASH),
    (Phase.BEFORE_SEND, Kind.TIMEOUT),
    (Phase.NOT_COMMITTED, Kind.CRASH),
    (Phase.NOT_COMMITTED, Kind.TIMEOUT),
    (Phase.NOT_COMMITTED, Kind.ERROR),
    (Phase.NOT_COMMITTED, Kind.CONFLICT),
    (Phase.NOT_COMMITTED, Kind.STALE),
    (Phase.NO_REPLY, Kind.CRASH),
    (Phase.NO_REPLY, Kind.TIMEOUT),
    (Phase.NO_REPLY, Kind.ERROR),
    (Phase.AFTER_REPLY, Kind.CRASH),
)


@dataclass(slots=True)
class FaultPoint:
    """Counts requests while armed and strikes at the chosen ones: `cells` says at which number, and how.

    `crash` kills the process that asks; `interfere` lets somebody else change its object; `replay_old` lets its watch
    bring an old version once more.
    """

    cells: dict[int, tuple[Phase, Kind]] = field(default_factory=dict)
    armed: bool = False
    count: int = 0
    names: list[str] = field(default_factory=list)
    struck: int = 0
    crash: Callable[[], None] = lambda: None
    replay_old: Callable[[], None] = lambda: None
    interfere: Callable[[], None] = lambda: None

    def next(self, name: str) -> tuple[Phase, Kind] | None:
        """A request called `name` is about to be made: what shall happen to it."""
        if not self.armed:
            return None
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        cell = self.cells.get(number)
        self.struck += cell is not None
        return cell


async def strike(
    cell: tuple[Phase, Kind], fault: FaultPoint, commit: Callable[[], T], error: Callable[[str], Exception]
) -> T:
    """Make one request whose fate is `cell`. `error` makes what the caller gets for a request without an answer."""
    phase, kind = cell
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
