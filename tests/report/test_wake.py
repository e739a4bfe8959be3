"""When to look again: at the next thing that happens without anybody telling us, and never in a hot loop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    C,
    accepted,
    ago,
    desired_of,
    instance,
    intent,
    ledger_of,
    member,
    observed_of,
    released,
    rest,
    seconds,
    situation_of,
)
from plan.worlds import situations
from spotcompute.model.desired import Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Trouble
from spotcompute.plan.actions import Learned
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.wake import SOONEST, next_wake

DESIRED = desired_of(1)
ONE = member("ins-1")


@pytest.mark.parametrize(
    ("desired", "ledger", "seen", "wait"),
    [
        pytest.param(DESIRED, ledger_of(ONE), [instance("ins-1")], 300, id="satisfied-the-resync"),
        pytest.param(DESIRED, ledger_of(rest(A), rest(B), rest(C)), [], 30, id="when-the-first-rest-ends"),
        pytest.param(DESIRED, ledger_of(rest(A)), [], 0.1, id="another-pool-is-free"),
        pytest.param(DESIRED, ledger_of(rest(None, Trouble.RATE_LIMITED)), [], 30, id="when-the-whole-rest-ends"),
        pytest.param(desired_of(1, paused=True), ledger_of(rest(A)), [], 60, id="paused-with-a-quote-to-keep"),
        pytest.param(desired_of(0, paused=True), ledger_of(rest(A)), [], 300, id="paused"),
        pytest.param(
            desired_of(1, one_time=True), ledger_of(attempted_generation=1), [], 300, id="one-attempt-is-over"
        ),
        pytest.param(DESIRED, ledger_of(intent(DESIRED, 1)), [], 5, id="an-open-launch"),
        pytest.param(
            DESIRED, ledger_of(intent(DESIRED, 1), rest(None, Trouble.CLOUD_UNREACHABLE)), [], 30, id="open-but-resting"
        ),
        pytest.param(
            desired_of(3),
            ledger_of(intent(desired_of(3), 1, created_at=ago(2))),
            [],
            5,
            id="a-young-launch-holds-up-the-rest",
        ),
        pytest.param(DESIRED, ledger_of(quarantine_until=NOW + seconds(60)), [], 60, id="end-of-quarantine"),
        pytest.param(DESIRED, ledger_of(quarantine_until=ago(30)), [], 5, id="quarantine-until-the-next-sweep"),
        pytest.param(DESIRED, ledger_of(ONE), [], 5, id="somebody-is-missing"),
        pytest.param(
            DESIRED,
            ledger_of(ONE),
            [instance("ins-1", ownership=None, created_at=ago(20))],
            5,
            id="not-in-the-sweep-yet",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE),
            [instance("ins-1", ownership=None, created_at=ago(3600))],
            60,
            id="untagged-by-hand",
        ),
        pytest.param(
            DESIRED, ledger_of(intent(DESIRED, 1, created_at=ago(240))), [], 30, id="a-launch-in-doubt-for-minutes"
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE),
            [instance("ins-1", InstanceState.PENDING, created_at=ago(590))],
            10,
            id="soon-stuck",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, member("ins-2", lost=Cause.RECLAIMED)),
            [instance("ins-1"), instance("ins-2")],
            60,
            id="proof-that-the-lost-is-gone",
        ),
        pytest.param(
            desired_of(0), ledger_of(member("ins-1", termination=released())), [instance("ins-1")], 5, id="a-release"
        ),
        pytest.param(
            desired_of(0),
            ledger_of(member("ins-1", termination=accepted())),
            [instance("ins-1")],
            60,
            id="sweeps-show-the-effect-of-a-release",
        ),
        pytest.param(
            desired_of(0), ledger_of(member("ins-1", termination=accepted())), [], 5, id="proof-that-it-is-gone"
        ),
    ],
)
def test_how_long_until_the_next_look(desired: Desired, ledger: Ledger, seen: list, wait: float) -> None:
    assert next_wake(situation_of(desired, ledger, observed_of(*seen))).at == NOW + seconds(wait)


@settings(max_examples=400, deadline=None)
@given(situations)
def test_looks_that_find_nothing_to_do_are_seconds_apart(case: tuple[Situation, Learned]) -> None:
    """A moment that lies in the past, or that nobody acts on when it comes, would wake it ten times a second."""
    situation, looks = case[0], 8
    for _ in range(looks):
        situation = replace(situation, observed=replace(situation.observed, observed_at=situation.now))
        situation = situation.with_ledger(sync_ledger(situation).ledger)
        plan = make_plan(situation, Learned())
        if plan.actions:
            return
        situation = situation.with_ledger(plan.ledger)
        situation = replace(situation, now=next_wake(situation).at)
    assert situation.now - NOW > seconds(looks)


@settings(max_examples=300)
@given(situations)
def test_a_wait_is_never_a_hot_loop_and_never_longer_than_the_resync(case: tuple[Situation, Learned]) -> None:
    wait = next_wake(case[0]).at - NOW
    assert timedelta(0) < SOONEST <= wait <= POLICY.resync
