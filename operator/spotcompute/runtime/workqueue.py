"""Decides which object is next: every key waits once, runs once at a time, and comes back after a failure.

Apart from `shell` because it knows neither kopf nor Kubernetes, and apart from `reconcile` because a key may stand for
anything. It promises what client-go's workqueue promises. Time is the running event loop's alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)

#: The queue counts as busy for so many seconds after its last run: between the runs of a fill there are gaps.
QUIET_SECONDS = 0.5

#: Does the work for a key. Returns the seconds until the key's next run, or None to wait for news.
Handle = Callable[[str], Awaitable[float | None]]


@dataclass(slots=True)
class _Failures:
    """`_Failures` records how often in a row a key has failed, and how, so that one outage is one line in the log."""

    count: int
    kind: str
    error: str


class WorkQueue:
    """`WorkQueue` holds keys in the order they came. Each waits at most once, and runs at most once at a time.

    A key has one due time: now (in line) or later (a timer), whichever is earlier. Every run decides anew when the next
    one is due, so a run uses up the time that led to it.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        base_seconds: float = 0.5,
        limit_seconds: float = 60.0,
        foreseen: tuple[type[Exception], ...] = (),
    ) -> None:
        """Makes a queue whose failed keys wait `base_seconds`, then twice as long each time, at most `limit_seconds`.

        Errors that are `foreseen` are logged in one line. All others are logged with a traceback.
        """
        self._foreseen = foreseen
        self._rng = rng
        self._base_seconds = base_seconds
        self._limit_seconds = limit_seconds
        self._line: asyncio.Queue[str | None] = asyncio.Queue()
        self._wanted: set[str] = set()  # in line, or to be put in line as soon as the current run ends
        self._started: dict[str, float] = {}  # keys in work, and since when
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, _Failures] = {}
        self._worked_at = -QUIET_SECONDS
        self._workers = 0
        self._closed = False

    def __len__(self) -> int:
        """Returns how many keys wait for a worker now. Keys in work or due later do not count."""
        return len(self._wanted)

    @property
    def is_busy(self) -> bool:
        """Returns True while a key is in work or waits for a worker, and for a moment after that."""
        now = asyncio.get_running_loop().time()
        return bool(self._started or self._wanted) or now - self._worked_at < QUIET_SECONDS

    def longest_run_seconds(self) -> float:
        """Returns for how many seconds the oldest run has been going on. 0.0 when nothing is in work.

        It reveals a stuck worker.
        """
        now = asyncio.get_running_loop().time()
        return max((now - started for started in self._started.values()), default=0.0)

    def add(self, key: str) -> None:
        """Makes `key` due as soon as possible. News during its run lead to one more run, not several."""
        self._cancel_timer(key)
        if key in self._wanted:
            return
        self._wanted.add(key)
        if key not in self._started:
            self._line.put_nowait(key)

    def add_after(self, key: str, seconds: float) -> None:
        """Makes `key` due in `seconds` at the latest. Of two due times for a key the earlier one stays."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        pending = self._timers.get(key)
        if key in self._wanted or (pending is not None and pending.when() <= due):
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(due, self.add, key)

    def retry(self, key: str, error: BaseException) -> float:
        """Makes `key` due after a pause that doubles with each failure in a row. Returns the pause in seconds.

        Half of the pause is random, so that keys that failed together do not come back together.
        """
        kind = type(error).__name__
        before = self._failures.get(key)
        is_first_of_kind = all(failures.kind != kind for failures in self._failures.values())
        failures = _Failures(before.count + 1 if before else 1, kind, f"{kind}: {error}")
        self._failures[key] = failures
        # The exponent is bounded because 2.0**1024 overflows, and a key may fail for days.
        ceiling: float = min(self._limit_seconds, self._base_seconds * 2 ** min(failures.count - 1, 30))
        seconds: float = ceiling * self._rng.uniform(0.5, 1.0)
        if before is None or before.error != failures.error:
            # One traceback shows the place. A thousand environments in the same outage need not repeat it.
            trace = error if is_first_of_kind and not isinstance(error, self._foreseen) else None
            log.warning("run_failed", key=key, error=failures.error, failures=failures.count, exc_info=trace)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: str) -> None:
        """Drops the failures of `key` and any later due time. Its place in line stays."""
        self._cancel_timer(key)
        self._succeeded(key)

    async def run(self, workers: int, handle: Handle) -> None:
        """Works with `workers` tasks until `close()` or cancellation.

        An exception of `handle` makes its key due again after a pause. Anything else that ends a worker ends the run.
        """
        self._workers = workers
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(handle), name=f"worker {number}")

    def close(self) -> None:
        """Begins no further run. `run()` returns once the runs in work have ended."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for _ in range(self._workers):
            self._line.put_nowait(None)

    async def _work(self, handle: Handle) -> None:
        while True:
            key = await self._line.get()
            if key is None or self._closed:
                return
            self._wanted.discard(key)
            self._started[key] = asyncio.get_running_loop().time()
            try:
                await self._run_once(key, handle)
            finally:
                del self._started[key]
                self._worked_at = asyncio.get_running_loop().time()
                if key in self._wanted:
                    self._line.put_nowait(key)

    async def _run_once(self, key: str, handle: Handle) -> None:
        try:
            seconds = await handle(key)
        except asyncio.CancelledError as error:
            # It counts only when this worker is being cancelled. A cancelled future inside `handle` looks the same, and
            # a TaskGroup would let the worker vanish without a message.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._failed(key, error)
        except Exception as error:  # the one place that must go on after any error of a run
            self._failed(key, error)
        else:
            self._succeeded(key)
            if seconds is not None and not self._closed:
                self.add_after(key, seconds)

    def _failed(self, key: str, error: BaseException) -> None:
        if not self._closed:
            self.retry(key, error)

    def _succeeded(self, key: str) -> None:
        failures = self._failures.pop(key, None)
        if failures is not None:
            log.info("run_recovered", key=key, failures=failures.count, error=failures.error)

    def _cancel_timer(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
