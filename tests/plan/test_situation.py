"""One value for a decision: what is dear to compute is computed once, and a new ledger makes a new situation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plan.given import NOTHING_LEARNED, A, B, C, backoff_of, desired_of, ledger_of, member, observed_of, situation_of
from spotcompute.plan import situation as module
from spotcompute.plan.allocation import Ranking, rank
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.status import StatusExtras, full_status
from spotcompute.report.wake import next_wake

EVERY_POOL_BACKS_OFF = ledger_of(backoff_of(A), backoff_of(B), backoff_of(C))


@pytest.fixture
def rankings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """One entry for each ranking that a situation computes."""
    made: list[object] = []

    def counting(*values: Any) -> Ranking:
        made.append(values)
        return rank(*values)

    monkeypatch.setattr(module, "rank", counting)
    return made


def report(situation: Situation, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    return full_status(previous or {}, situation, (), StatusExtras("spotcompute.dev/environment=x", "CNY"))


def report_and_wake(situation: Situation) -> None:
    report(situation)
    next_wake(situation)


def plan_report_and_wake(situation: Situation) -> None:
    plan = make_plan(situation, NOTHING_LEARNED)
    report_and_wake(situation.with_ledger(plan.ledger))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(lambda situation: make_plan(situation, NOTHING_LEARNED), id="plan"),
        pytest.param(report, id="report"),
        pytest.param(next_wake, id="wake"),
        pytest.param(report_and_wake, id="report-and-wake"),
        pytest.param(plan_report_and_wake, id="all-of-a-run-that-finds-nothing-to-do"),
    ],
)
def test_pools_are_ranked_once(steps: Callable[[Situation], object], rankings: list[object]) -> None:
    steps(situation_of(desired_of(), EVERY_POOL_BACKS_OFF))
    assert len(rankings) == 1


def test_nothing_is_ranked_while_nothing_is_missing_or_changes(rankings: list[object]) -> None:
    situation = situation_of(desired_of(1), ledger_of(member("ins-1")), observed_of())
    first = report(situation)
    assert len(rankings) == 1, "the scores are shown once something has changed"
    make_plan(situation, NOTHING_LEARNED)
    assert report(situation, first) == first
    next_wake(situation)
    assert len(rankings) == 1


def test_a_new_ledger_makes_a_new_situation_and_a_new_ranking() -> None:
    before = situation_of(desired_of(), EVERY_POOL_BACKS_OFF)
    after = before.with_ledger(ledger_of())
    assert (before.ranking.kept, [offer.pool for offer in after.ranking.kept]) == ((), [A, B, C])
    assert (before.missing, after.with_ledger(ledger_of(member("ins-1"))).missing) == (3, 2)
    assert before.with_ledger(before.ledger) is before
