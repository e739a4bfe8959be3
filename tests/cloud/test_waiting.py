"""What environments of one account tell each other while they wait for stock."""

from __future__ import annotations

from datetime import datetime, timedelta

from plan.given import NOW, A, B
from spotcompute.cloud.waiting import Waiting


class Clock:
    """A clock that is set by hand."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def test_those_who_wait_are_counted_until_they_no_longer_say_so() -> None:
    clock = Clock()
    waiting = Waiting(clock, lambda _: None)
    waiting.note("one", True)
    waiting.note("two", True)
    waiting.note("two", True)
    assert waiting.count == 2
    waiting.note("one", False)
    assert waiting.count == 1
    clock.now += timedelta(minutes=16)
    assert waiting.count == 0


def test_a_sale_wakes_the_others_once_in_ten_seconds() -> None:
    clock, woken = Clock(), list[list[str]]()
    waiting = Waiting(clock, lambda ids: woken.append(sorted(ids)))
    for name in ("one", "two", "three"):
        waiting.note(name, True)
    waiting.sold(A, "one")
    clock.now += timedelta(seconds=9)
    waiting.sold(A, "two")
    waiting.sold(B, "two")
    assert woken == [["three", "two"], ["one", "three"]]
    assert waiting.sold_at == {A: clock.now, B: clock.now}
