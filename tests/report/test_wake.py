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
    desired,
    instance,
    intent,
    ledger,
    member,
    observed,
    released,
    rest,
    seconds,
)
from plan.worlds import situations
from spotcompute.model.desired import Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Trouble
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Learned
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.planner import make_plan
from spotcompute.report.wake import SOONEST, next_wake

RESYNC = seconds(300)
WISHES = desired(1)
ONE = member("ins-1")


@pytest.mark.parametrize(
    ("wishes", "books", "seen", "wait"),
    [
        pytest.param(WISHES, ledger(ONE), [instance("ins-1")], 300, id="satisfied-the-resync"),
        pytest.param(WISHES, ledger(rest(A), rest(B), rest(C)), [], 30, id="when-the-first-rest-ends"),
        pytest.param(WISHES, ledger(rest(A)), [], 0.1, id="another-pool-is-free"),
        pytest.param(WISHES, ledger(rest(None, Trouble.RATE_LIMITED)), [], 30, id="when-the-whole-rest-ends"),
        pytest.param(desired(1, paused=True), ledger(rest(A)), [], 60, id="paused-with-a-quote-to-keep"),
        pytest.param(desired(0, paused=True), ledger(rest(A)), [], 300, id="paused"),
        pytest.param(desired(1, one_time=True), ledger(attempted_generation=1), [], 300, id="one-attempt-is-over"),
        pytest.param(WISHES, ledger(intent(WISHES, 1)), [], 5, id="an-open-launch"),
        pytest.param(
            WISHES, ledger(intent(WISHES, 1), rest(None, Trouble.CLOUD_UNREACHABLE)), [], 30, id="open-but-resting"
        ),
        pytest.param(
            desired(3), ledger(intent(desired(3), 1, created_at=ago(2))), [], 5, id="a-young-launch-holds-up-the-rest"
        ),
        pytest.param(WISHES, ledger(quarantine_until=NOW + seconds(60)), [], 60, id="end-of-quarantine"),
        pytest.param(WISHES, ledger(quarantine_until=ago(30)), [], 5, id="quarantine-until-the-next-sweep"),
        pytest.param(WISHES, ledger(ONE), [], 5, id="somebody-is-missing"),
        pytest.param(
            WISHES, ledger(ONE), [instance("ins-1", ownership=None, created_at=ago(20))], 5, id="not-in-the-sweep-yet"
        ),
        pytest.param(
            WISHES, ledger(ONE), [instance("ins-1", ownership=None, created_at=ago(3600))], 60, id="untagged-by-hand"
        ),
        pytest.param(
            WISHES, ledger(intent(WISHES, 1, created_at=ago(240))), [], 30, id="a-launch-in-doubt-for-minutes"
        ),
        pytest.param(
            WISHES, ledger(ONE), [instance("ins-1", InstanceState.PENDING, created_at=ago(590))], 10, id="soon-stuck"
        ),
        pytest.param(
            WISHES,
            ledger(ONE, member("ins-2", lost=Cause.RECLAIMED)),
            [instance("ins-1"), instance("ins-2")],
            60,
            id="proof-that-the-lost-is-gone",
        ),
        pytest.param(
            desired(0), ledger(member("ins-1", termination=released())), [instance("ins-1")], 5, id="a-release"
        ),
        pytest.param(
            desired(0),
            ledger(member("ins-1", termination=accepted())),
            [instance("ins-1")],
            60,
            id="sweeps-show-the-effect-of-a-release",
        ),
        pytest.param(desired(0), ledger(member("ins-1", termination=accepted())), [], 5, id="proof-that-it-is-gone"),
    ],
)
def test_how_long_until_the_next_look(wishes: Desired, books: Ledger, seen: list, wait: float) -> None:
    assert next_wake(wishes, books, observed(*seen), NOW, POLICY, RESYNC) == seconds(wait)


@settings(max_examples=400, deadline=None)
@given(situations)
def test_looks_that_find_nothing_to_do_are_seconds_apart(
    situation: tuple[Desired, Ledger, Observation, Learned],
) -> None:
    """A moment that lies in the past, or that nobody acts on when it comes, would wake it ten times a second."""
    spec, books, seen, _ = situation
    now, looks = NOW, 8
    for _ in range(looks):
        looked = replace(seen, observed_at=now)
        plan = make_plan(spec, sync_ledger(books, spec, looked, now, POLICY).ledger, looked, now, POLICY, Learned())
        if plan.actions:
            return
        books = plan.ledger
        now += next_wake(spec, books, looked, now, POLICY, RESYNC)
    assert now - NOW > seconds(looks)


@settings(max_examples=300)
@given(situations)
def test_a_wait_is_never_a_hot_loop_and_never_longer_than_the_resync(
    situation: tuple[Desired, Ledger, Observation, Learned],
) -> None:
    spec, books, seen, _ = situation
    wait = next_wake(spec, books, seen, NOW, POLICY, RESYNC)
    assert timedelta(0) < SOONEST <= wait <= RESYNC
