"""An asyncio loop whose time jumps: nothing sleeps, and the order of events follows from the seed alone."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Coroutine
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")


class _Idle(selectors.SelectSelector):
    """A selector without files: instead of waiting, it lets the loop's clock jump."""

    clock: float = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("deadlock: every task waits for something that nothing will bring about")
        self.clock += max(0.0, timeout)
        return []


class _Task(asyncio.Task[Any]):
    """A task that is hashed by its number: asyncio keeps tasks in sets, and cancels them in the order of the set.

    By default that order follows from where in memory they lie, which is another in each process.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, **more: Any) -> None:
        self._number = number
        super().__init__(coroutine, **more)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves only when there is nothing left to do at the present moment."""

    def __init__(self) -> None:
        self._idle = _Idle()
        super().__init__(self._idle)
        self._clock_resolution = 1e-9
        numbers = count()
        self.set_task_factory(lambda loop, coroutine, **more: _Task(coroutine, next(numbers), loop=loop, **more))

    def time(self) -> float:
        return self._idle.clock


def run_virtual(awaitable: Awaitable[T]) -> T:
    """Run to the end in virtual time, and leave no task behind."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(awaitable)
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()
