"""A job is played to its end on a market that opens and closes; what is compared with is computed right."""

from __future__ import annotations

import pytest

from market.makespan import BOOT_SECONDS, Work, course, least
from market.traces import Trace

SMALL = Work(tasks=6, task_seconds=600.0, parallelism=3, save_seconds=60.0)


def trace(**rooms: str) -> Trace:
    """Zones by name, each a text of 1 for open and 0 for closed, a minute apart."""
    room = {zone: tuple(int(one) for one in text) for zone, text in rooms.items()}
    return Trace("test", 60.0, room, dict.fromkeys(rooms, "1"))


@pytest.mark.parametrize(
    ("rooms", "seconds"),
    [
        pytest.param({"a": "1" * 100}, SMALL.uninterrupted, id="always-open"),
        pytest.param({"a": "01" * 50}, 2 * SMALL.uninterrupted, id="every-other-minute"),
        pytest.param({"a": "01" * 50, "b": "10" * 50}, SMALL.uninterrupted, id="one-of-two-zones"),
        pytest.param({"a": "0" * 10 + "1" * 90}, 600 + SMALL.uninterrupted, id="opens-later"),
    ],
)
def test_the_least_is_what_the_market_allows(rooms: dict[str, str], seconds: float) -> None:
    assert SMALL.uninterrupted == BOOT_SECONDS + 1200
    assert least(trace(**rooms), 0, SMALL) == pytest.approx(seconds, abs=61)


def test_a_market_that_never_opens_allows_nothing() -> None:
    with pytest.raises(ValueError, match="no zone ever has room"):
        least(trace(a="0000"), 0, SMALL)


def test_a_job_on_an_open_market_takes_little_longer_and_leaves_nothing() -> None:
    found = course(trace(a="1" * 100), 0, SMALL)
    assert SMALL.uninterrupted <= found.makespan <= SMALL.uninterrupted + 120
    assert (found.lost, found.launched, found.series[-1][2]) == (0, 3, 0)
    assert SMALL.machine_seconds <= found.billed <= 1.2 * SMALL.machine_seconds


def test_tasks_of_machines_that_are_taken_go_on_where_they_were_saved() -> None:
    found = course(trace(a="1" * 8 + "0" * 92, b="1" * 100), 0, SMALL)
    assert (found.lost, found.launched) == (3, 6), "all three of the first zone, and three for them"
    assert found.series[-1][3] == SMALL.tasks
    assert found.makespan <= SMALL.uninterrupted + 60 + 300, "what was not saved, notice of the loss, and the launch"
