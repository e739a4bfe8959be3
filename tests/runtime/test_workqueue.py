"""The queue's promises, in virtual time: nothing here waits for a real clock."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from clock import now
from spotcompute.runtime.workqueue import WorkQueue

pytestmark = pytest.mark.looptime


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of failures are caused here on purpose; drawing their tracebacks would take most of the time."""
    with capture_logs():
        yield


def make_queue() -> WorkQueue:
    return WorkQueue(random.Random(7), base_seconds=1.0, limit_seconds=60.0)


@asynccontextmanager
async def working(
    queue: WorkQueue, handle: Callable[[str], Awaitable[float | None]], workers: int = 4
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(queue.run(workers, handle))
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class Journal:
    """Notes when each key was handled; `answers` and `raises` say what comes of it."""

    def __init__(self, seconds: float = 0.0, answer: float | None = None) -> None:
        self.seconds = seconds
        self.answer = answer
        self.errors: list[Exception] = []
        self.runs: list[tuple[str, float]] = []
        self.in_work: set[str] = set()

    async def __call__(self, key: str) -> float | None:
        assert key not in self.in_work, "two workers on one key"
        self.in_work.add(key)
        self.runs.append((key, now()))
        await asyncio.sleep(self.seconds)
        self.in_work.discard(key)
        if self.errors:
            raise self.errors.pop(0)
        return self.answer

    def times(self, key: str) -> list[float]:
        return [at for name, at in self.runs if name == key]


async def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue, journal = make_queue(), Journal()
    for _ in range(5):
        queue.add("a")
    assert len(queue) == 1
    async with working(queue, journal):
        await asyncio.sleep(1)
    assert journal.runs == [("a", 0.0)]


async def test_news_during_a_run_means_one_more_run_after_it_and_never_beside_it() -> None:
    queue, journal = make_queue(), Journal(seconds=10)
    queue.add("a")
    async with working(queue, journal):
        for _ in range(5):
            await asyncio.sleep(1)
            queue.add("a")
        await asyncio.sleep(60)
    assert journal.times("a") == [0.0, 10.0]


async def test_keys_are_served_in_the_order_they_came() -> None:
    queue, journal = make_queue(), Journal(seconds=1)
    for key in "dbac":
        queue.add(key)
    async with working(queue, journal, workers=1):
        await asyncio.sleep(1.5)
        queue.add("d")
        await asyncio.sleep(10)
    assert [key for key, _ in journal.runs] == ["d", "b", "a", "c", "d"]


async def test_a_busy_key_goes_behind_those_already_waiting() -> None:
    queue, journal = make_queue(), Journal(seconds=1)
    queue.add("greedy")
    queue.add("other")
    async with working(queue, journal, workers=1):
        await asyncio.sleep(0.5)
        queue.add("greedy")
        await asyncio.sleep(10)
    assert [key for key, _ in journal.runs] == ["greedy", "other", "greedy"]


async def test_workers_run_at_once_and_no_more_of_them_than_asked_for() -> None:
    queue, journal = make_queue(), Journal(seconds=1)
    for number in range(6):
        queue.add(str(number))
    async with working(queue, journal, workers=3):
        await asyncio.sleep(10)
    assert [at for _, at in journal.runs] == [0.0] * 3 + [1.0] * 3


async def test_the_answer_is_the_date_of_the_next_run() -> None:
    queue, journal = make_queue(), Journal(answer=30.0)
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(61)
    assert journal.times("a") == [0.0, 30.0, 60.0]


async def test_without_an_answer_only_news_brings_a_key_back() -> None:
    queue, journal = make_queue(), Journal(answer=None)
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(86_400)
        assert journal.times("a") == [0.0]
        queue.add("a")
        await asyncio.sleep(1)
    assert journal.times("a") == [0.0, 86_400.0]


@pytest.mark.parametrize("order", [(5, 50), (50, 5)])
async def test_of_two_dates_the_earlier_one_stays(order: tuple[int, int]) -> None:
    queue, journal = make_queue(), Journal()
    for seconds in order:
        queue.add_after("a", seconds)
    async with working(queue, journal):
        await asyncio.sleep(100)
    assert journal.times("a") == [5.0]


async def test_now_is_earlier_than_any_date() -> None:
    queue, journal = make_queue(), Journal()
    queue.add_after("a", 50)
    queue.add("a")
    queue.add_after("a", 5)
    async with working(queue, journal):
        await asyncio.sleep(100)
    assert journal.times("a") == [0.0]


async def test_a_date_asked_for_during_the_run_holds_against_a_later_answer() -> None:
    queue, journal = make_queue(), Journal(seconds=1, answer=300.0)
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(0.5)
        queue.add_after("a", 10)
        await asyncio.sleep(20)
    assert journal.times("a") == [0.0, 10.5]


async def test_a_failing_key_comes_back_after_pauses_that_double_up_to_the_limit() -> None:
    queue, journal = make_queue(), Journal()
    journal.errors = [RuntimeError("no") for _ in range(12)]
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(3600)
    times = journal.times("a")
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert len(pauses) == 12
    for number, pause in enumerate(pauses):
        ceiling = min(60.0, 2.0**number)
        assert ceiling / 2 <= pause <= ceiling, f"pause {number}"


async def test_failures_together_do_not_come_back_together() -> None:
    queue = make_queue()
    pauses = {queue.retry(str(number), RuntimeError()) for number in range(100)}
    assert len(pauses) == 100


async def test_success_ends_the_row_of_failures() -> None:
    queue, journal = make_queue(), Journal()
    journal.errors = [RuntimeError("no") for _ in range(5)]
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(600)
        journal.errors = [RuntimeError("again")]
        queue.add("a")
        await asyncio.sleep(600)
    assert journal.times("a")[-1] - journal.times("a")[-2] <= 1.0


async def test_news_does_not_wait_for_the_pause() -> None:
    queue, journal = make_queue(), Journal()
    journal.errors = [RuntimeError("no") for _ in range(8)]
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(100)
        journal.errors = []
        queue.add("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert journal.times("a")[-1] == 100.0


async def test_a_cancelled_future_inside_a_run_is_a_failure_and_costs_no_worker() -> None:
    queue, runs = make_queue(), 0

    async def handle(key: str) -> None:
        nonlocal runs
        runs += 1
        if runs <= 3:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    queue.add("a")
    async with working(queue, handle, workers=1) as task:
        await asyncio.sleep(60)
        assert not task.done()
    assert runs == 4


async def test_what_is_no_exception_ends_the_run_as_a_whole() -> None:
    class Fatal(BaseException):
        pass

    async def handle(key: str) -> None:
        raise Fatal

    queue = make_queue()
    queue.add("a")
    task = asyncio.create_task(queue.run(3, handle))
    await asyncio.wait([task])
    assert isinstance(task.exception(), BaseExceptionGroup)


async def test_an_outage_is_one_line_per_key_and_error_and_one_at_its_end() -> None:
    queue, journal = make_queue(), Journal()
    journal.errors = [RuntimeError("down")] * 6 + [RuntimeError("refused")] * 4
    queue.add("a")
    with capture_logs() as lines:
        async with working(queue, journal):
            await asyncio.sleep(3600)
    assert [(line["event"], line.get("error"), line["failures"]) for line in lines] == [
        ("run_failed", "RuntimeError: down", 1),
        ("run_failed", "RuntimeError: refused", 7),
        ("run_recovered", "RuntimeError: refused", 10),
    ]


async def test_an_outage_of_all_keys_is_a_line_for_each_and_one_traceback() -> None:
    queue = make_queue()
    with capture_logs() as lines:
        for number in range(100):
            queue.retry(str(number), RuntimeError(f"down for {number}"))
    assert len(lines) == 100
    assert len([line for line in lines if line["exc_info"]]) == 1


async def test_forgetting_ends_the_later_date_and_the_row_of_failures() -> None:
    queue, journal = make_queue(), Journal()
    for _ in range(6):
        queue.retry("a", RuntimeError())
    queue.forget("a")
    async with working(queue, journal):
        await asyncio.sleep(600)
    assert journal.runs == []
    assert queue.retry("a", RuntimeError()) <= 1.0


async def test_closing_lets_runs_end_and_begins_none() -> None:
    queue, journal = make_queue(), Journal(seconds=5, answer=1.0)
    for key in "abc":
        queue.add(key)
    queue.add_after("later", 2)
    task = asyncio.create_task(queue.run(2, journal))
    await asyncio.sleep(1)
    queue.close()
    await task
    assert now() == 5.0
    assert [key for key, _ in journal.runs] == ["a", "b"]
    assert journal.in_work == set()


async def test_a_stuck_run_shows_by_its_age() -> None:
    queue, journal = make_queue(), Journal(seconds=500)
    assert queue.longest_run_seconds() == 0.0
    queue.add("a")
    async with working(queue, journal):
        await asyncio.sleep(400)
        queue.add("b")
        await asyncio.sleep(50)
        assert queue.longest_run_seconds() == 450.0


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_the_last_news_is_always_followed_by_a_run(seed: int) -> None:
    """The one promise the operator lives on, under random news, durations, failures and dates."""
    rng = random.Random(seed)
    queue = WorkQueue(rng, base_seconds=1.0, limit_seconds=30.0)
    begun: dict[str, float] = {}
    in_work: set[str] = set()

    async def handle(key: str) -> float | None:
        assert key not in in_work
        in_work.add(key)
        begun[key] = now()
        await asyncio.sleep(rng.random() * 3)
        in_work.discard(key)
        if rng.random() < 0.3:
            raise RuntimeError
        return rng.choice([None, 0.0, 5.0])

    news: dict[str, float] = {}
    async with working(queue, handle, workers=2):
        for _ in range(300):
            key = rng.choice("abcde")
            news[key] = now()
            queue.add(key)
            if rng.random() < 0.2:
                queue.add_after(rng.choice("abcde"), rng.random() * 10)
            await asyncio.sleep(rng.random())
        await asyncio.sleep(60)
    assert all(begun[key] >= at for key, at in news.items())
