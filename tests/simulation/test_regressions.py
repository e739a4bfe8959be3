"""Every play that once failed passes, and stays in regressions.json with what it showed.

Kills that failed are kept there too; tests/e2e/test_kills.py repeats them.
"""

from __future__ import annotations

from itertools import islice

import pytest

from simulation.plays import (
    REGRESSIONS,
    attacks,
    fault_pairs,
    histories,
    neighbourhoods,
    play_named,
    singles,
)


@pytest.mark.parametrize("name", [name for name in REGRESSIONS if not name.startswith("kill ")])
def test_what_once_failed(name: str) -> None:
    assert play_named(name).violations == ()


def test_each_says_what_it_showed() -> None:
    assert all(20 <= len(why) <= 120 and "\n" not in why for why in REGRESSIONS.values())


def test_a_seed_draws_the_same_plays_each_time_and_another_seed_draws_others() -> None:
    for draw in (histories, singles, fault_pairs, attacks, neighbourhoods):
        assert [*islice(draw(3), 50)] == [*islice(draw(3), 50)] != [*islice(draw(4), 50)]


def test_every_single_point_is_drawn_once() -> None:
    names = [*singles(1)]
    assert len(names) == len(set(names)) >= 5000


def test_a_play_is_known_by_its_name() -> None:
    outcome = play_named(next(fault_pairs(1)))
    assert outcome.faults_struck >= 1
    assert outcome.violations == ()


@pytest.mark.parametrize("name", ["tragedy 1", "history", "history one", "points create-1 0:NO_REPLY", "points other"])
def test_what_is_no_play_is_refused(name: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        play_named(name)
