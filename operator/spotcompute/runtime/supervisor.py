"""Runs the parts of the process that must never end, and stops the process when one of them does.

Apart from `shell` because it knows neither kopf nor Kubernetes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

log = structlog.get_logger(__name__)

#: A part that runs as long as the process does. When it ends, by itself or by an exception, the process ends too.
Background = Callable[[], Awaitable[None]]


class PartDied(RuntimeError):
    """`PartDied` means that a part that must always run has ended.

    The process should end too, because a restart is clean.
    """


class Supervisor:
    """`Supervisor` runs parts in the background. It sets `stop` when one of them ends although nothing stops them."""

    def __init__(self, background: Sequence[Background], stop: asyncio.Event) -> None:
        self._background = background
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        #: Why the process must end with an error. None while all is well.
        self.death: BaseException | None = None

    def start(self, *parts: Background) -> None:
        """Starts `parts`, and then the background parts."""
        self._tasks = [asyncio.create_task(self._run(part), name=_name(part)) for part in (*parts, *self._background)]

    def stopping(self) -> None:
        """Expects from now on that parts end."""
        self._is_stopping = True

    async def stop_parts(self, timeout_seconds: float) -> None:
        """Waits up to `timeout_seconds` until the first part ends by itself, then cancels all that still run."""
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=timeout_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self) -> None:
        """Raises PartDied when a part has ended, unless that is expected."""
        dead = [] if self._is_stopping else [task.get_name() for task in self._tasks if task.done()]
        if dead:
            raise PartDied(f"ended: {', '.join(dead)}")

    async def _run(self, part: Background) -> None:
        try:
            await part()
        except asyncio.CancelledError:
            if self._is_stopping:
                raise
            self._die(part, None)
        except BaseException as error:  # SystemExit and similar would vanish in a task
            self._die(part, error)
        else:
            if not self._is_stopping:
                self._die(part, None)

    def _die(self, part: Background, error: BaseException | None) -> None:
        log.error("part_died", part=_name(part), error=repr(error), exc_info=error)
        self.death = self.death or error or PartDied(f"{_name(part)} has ended by itself")
        self._stop.set()


def _name(part: Background) -> str:
    return str(getattr(getattr(part, "func", part), "__qualname__", part))  # .func: of a functools.partial
