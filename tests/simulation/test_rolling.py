"""Ten rolls of twenty instances, and a judge that sees what it is there for; `make prove` plays a thousand others."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from simulation import rolling
from simulation.rolling import roll
from spotcompute.plan import planner, rollout
from spotcompute.plan.drift import Asked


@pytest.mark.parametrize("seed", range(10))
def test_a_roll_keeps_what_it_promises_and_ends(seed: int) -> None:
    outcome = roll(seed)
    assert outcome.violations == (), f"make prove PLAY='roll {seed}'"
    assert outcome.launched > rolling.REPLICAS


def complaints_of(seeds: Iterable[int]) -> str:
    return " ".join(text for seed in seeds for text in roll(seed).violations)


def test_the_judge_sees_a_roll_that_ends_too_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "_that_may_be_spared", lambda members, *_: list(members))
    assert "O13 below" in complaints_of(range(1))


def test_the_judge_sees_a_roll_that_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "to_retire", lambda *_: [])
    assert "never ends" in complaints_of(range(1))


def test_the_judge_sees_what_is_replaced_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "drift_of", lambda self, member: frozenset({"template"}))
    assert "O13 needless" in complaints_of(range(1))
