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
    all_running,
    backoff_of,
    desired_of,
    fallback,
    instance,
    intent,
    ledger_of,
    market_of,
    member,
    observed_of,
    released,
    seconds,
    situation_of,
)
from plan.worlds import situations
from spotcompute.model.desired import Adopt, Cordon, Cordons, Desired, Gang, Limits, Rollout
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import (
    Adoption,
    Cause,
    Ledger,
    Marking,
    Member,
    StateRefusal,
    StateRefusalKind,
    Timers,
    Trouble,
)
from spotcompute.model.observation import Absence, Observation
from spotcompute.model.wishes import Wish
from spotcompute.plan.actions import Learned
from spotcompute.plan.drift import life_of
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.wake import RULES, SOONEST, Rule, Wake, next_wake

DESIRED = desired_of(1)
ONE = member("ins-1")
NAMED = desired_of(1, adopt=Adopt(("ins-9",)))
LEAVING = desired_of(0, deleting=True, retaining=True)
ROLLING = desired_of(1, pools=[A], rollout=Rollout(1, 0))
PATIENT = replace(ROLLING, rollout=Rollout(1, 0, seconds(600)))
ONE_OLD = (member("ins-1", template_digest="000000000000"),)


def bearing(left: float) -> Member:
    """A member whose timer still runs for so many seconds."""
    return member("ins-1", ends_at=NOW + seconds(left))


TWO_RUN = all_running(ledger_of(*ONE_OLD, member("ins-4")))


@pytest.mark.parametrize(
    ("desired", "ledger", "seen", "wait"),
    [
        pytest.param(DESIRED, ledger_of(ONE), [instance("ins-1")], 300, id="satisfied-the-resync"),
        pytest.param(
            DESIRED, ledger_of(backoff_of(A), backoff_of(B), backoff_of(C)), [], 30, id="when-the-first-rest-ends"
        ),
        pytest.param(DESIRED, ledger_of(backoff_of(A)), [], 0.1, id="another-pool-is-free"),
        pytest.param(DESIRED, ledger_of(backoff_of(None, Trouble.RATE_LIMITED)), [], 30, id="when-the-whole-rest-ends"),
        pytest.param(desired_of(1, paused=True), ledger_of(backoff_of(A)), [], 60, id="paused-with-a-quote-to-keep"),
        pytest.param(desired_of(0, paused=True), ledger_of(backoff_of(A)), [], 300, id="paused"),
        pytest.param(
            desired_of(1, one_time=True), ledger_of(attempted_generation=1), [], 300, id="one-attempt-is-over"
        ),
        pytest.param(DESIRED, ledger_of(intent(DESIRED, 1)), [], 5, id="an-open-launch"),
        pytest.param(
            DESIRED,
            ledger_of(intent(DESIRED, 1), backoff_of(None, Trouble.CLOUD_UNREACHABLE)),
            [],
            30,
            id="open-but-resting",
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


def vanished(looks: int, sweeps: int = 1, was_listed: bool = True) -> Absence:
    return Absence(sweeps, looked_up=True, was_listed=was_listed, looks=looks)


def on_demand(instance_id: str) -> Member:
    return member(instance_id, on_demand=True)


WITH_FALLBACK = desired_of(1, fallback=fallback())
CORDONED = Cordons((Cordon(A.zone, NOW + seconds(10)), Cordon(B.zone)))
GANG = desired_of(2, gang=Gang(2, seconds(300)))
REFUSED = StateRefusal(StateRefusalKind.END, "words", ago(590))
PENDING = InstanceState.PENDING
LOST, UNVERIFIED = member("ins-1", lost=Cause.RECLAIMED), member("ins-1", verified=False)
RELEASED, ACCEPTED = member("ins-1", termination=released()), member("ins-1", termination=accepted())

AGEING = replace(ROLLING, max_age=seconds(86_400))
NEARLY_OLD = member("ins-1", launched_at=ago(-10) - life_of("ins-1", seconds(86_400)))

#: For each rule three situations, and the seconds until it wakes the loop; None when nothing of its kind is to come.
#: One that runs, and has had its notice for ten seconds.
NOTICED = ledger_of(member("ins-1", notice_at=ago(10)))

CASES: dict[str, list[tuple[Desired, Ledger, Observation, float | None]]] = {
    "a pool may be asked again": [
        (DESIRED, ledger_of(backoff_of(A), backoff_of(B), backoff_of(C)), observed_of(), 30),
        (DESIRED, ledger_of(backoff_of(A)), observed_of(), 0),
        (DESIRED, ledger_of(ONE), observed_of(), None),
    ],
    "prices, shares or a budget keep every pool from being asked": [
        (desired_of(2, [A], share=50), ledger_of(ONE), observed_of(), 60),
        (desired_of(2, [A], share=50), ledger_of(), observed_of(), None),
        (desired_of(2, [A], share=50, paused=True), ledger_of(ONE), observed_of(), None),
        (desired_of(2, limits=Limits(count=1)), ledger_of(ONE), observed_of(), None),
        (desired_of(2, [A], limits=Limits(vcpu=3)), ledger_of(ONE), observed_of(market=market_of({A: "0.1"})), None),
    ],
    "the quote of a paused environment is refreshed": [
        (desired_of(1, paused=True), ledger_of(), observed_of(), 60),
        (desired_of(0, paused=True), ledger_of(), observed_of(), None),
        (desired_of(1, paused=True, deleting=True), ledger_of(), observed_of(), None),
    ],
    "a launch has no answer yet": [
        (DESIRED, ledger_of(intent(DESIRED, 1)), observed_of(), 5),
        (DESIRED, ledger_of(intent(DESIRED, 1), backoff_of(None, Trouble.RATE_LIMITED)), observed_of(), 30),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "spot and on demand may change places": [
        (WITH_FALLBACK, ledger_of(short_since=ago(590)), observed_of(), 10),
        (WITH_FALLBACK, ledger_of(on_demand("ins-1")), observed_of(), 60),
        (DESIRED, ledger_of(short_since=ago(590)), observed_of(), None),
    ],
    "a gang has been incomplete for its hold": [
        (GANG, ledger_of(ONE, incomplete_since=ago(290)), observed_of(), 10),
        (GANG, ledger_of(ONE, incomplete_since=ago(301)), observed_of(), 5),
        (GANG, ledger_of(), observed_of(), None),
    ],
    "a gang may be built from parts again": [
        (GANG, ledger_of(broken_up_at=ago(2990)), observed_of(), 10),
        (GANG, ledger_of(broken_up_at=ago(3001)), observed_of(), None),
        (GANG, ledger_of(ONE, member("ins-2"), broken_up_at=ago(2990)), observed_of(), None),
    ],
    "a pool may be asked for a replacement": [
        (ROLLING, ledger_of(*ONE_OLD), all_running(ledger_of(*ONE_OLD)), 0),
        (ROLLING, ledger_of(*ONE_OLD, backoff_of(A)), all_running(ledger_of(*ONE_OLD)), 30),
        (replace(ROLLING, rollout=None), ledger_of(*ONE_OLD), all_running(ledger_of(*ONE_OLD)), None),
        (replace(ROLLING, paused=True), ledger_of(*ONE_OLD), all_running(ledger_of(*ONE_OLD)), None),
        (DESIRED, NOTICED, all_running(NOTICED), 0),
        (replace(DESIRED, deleting=True), NOTICED, all_running(NOTICED), None),
    ],
    "an instance has outlived its notice": [
        (DESIRED, NOTICED, all_running(NOTICED), 590),
        (replace(DESIRED, paused=True), NOTICED, all_running(NOTICED), None),
        (DESIRED, ledger_of(member("ins-1", notice_at=ago(600))), observed_of(), None),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), None),
    ],
    "a roll-out may go on": [
        (PATIENT, ledger_of(*ONE_OLD, member("ins-4"), rolled_at=ago(60)), TWO_RUN, 540),
        (replace(ROLLING, rollout=None), ledger_of(*ONE_OLD), all_running(ledger_of(*ONE_OLD)), None),
        (replace(ROLLING, paused=True), ledger_of(*ONE_OLD), all_running(ledger_of(*ONE_OLD)), None),
    ],
    "an instance is as old as it may become": [
        (AGEING, ledger_of(NEARLY_OLD), observed_of(), 10),
        (replace(AGEING, paused=True), ledger_of(NEARLY_OLD), observed_of(), None),
        (replace(AGEING, max_age=None), ledger_of(NEARLY_OLD), observed_of(), None),
        (replace(AGEING, rollout=None), ledger_of(NEARLY_OLD), observed_of(), None),
    ],
    "the environment expires": [
        (replace(DESIRED, expires_at=ago(-10)), ledger_of(), observed_of(), 10),
        (replace(DESIRED, expires_at=ago(10), expired=True), ledger_of(), observed_of(), None),
        (replace(DESIRED, expires_at=ago(-10), deleting=True), ledger_of(), observed_of(), None),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "a cordon ends": [
        (replace(DESIRED, cordons=CORDONED), ledger_of(), observed_of(), 10),
        (replace(DESIRED, cordons=CORDONED, deleting=True), ledger_of(), observed_of(), None),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "instances live under another identity": [
        (DESIRED, ledger_of(), replace(observed_of(), other_identities=frozenset({"0123456789-old001"})), 5),
        (desired_of(0), ledger_of(), replace(observed_of(), other_identities=frozenset({"0123456789-old001"})), 5),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "a refused state has been shown long enough": [
        (DESIRED, ledger_of(state_refused=REFUSED), observed_of(), 10),
        (DESIRED, ledger_of(state_refused=replace(REFUSED, refused_at=ago(3600))), observed_of(), 5),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "the quarantine ends": [
        (DESIRED, ledger_of(quarantine_until=NOW + seconds(60)), observed_of(), 60),
        (DESIRED, ledger_of(quarantine_until=ago(80)), observed_of(), 10),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "an instance is to be left": [
        (LEAVING, ledger_of(ONE), observed_of(), 5),
        (LEAVING, ledger_of(member("ins-1", marking=Marking(sent_at=ago(8), answered=True))), observed_of(), 5),
        (LEAVING, ledger_of(member("ins-1", marking=Marking(sent_at=ago(58), answered=True))), observed_of(), 2),
        (LEAVING, ledger_of(ACCEPTED), observed_of(), None),
        (DESIRED, ledger_of(ONE), observed_of(), None),
    ],
    "an instance is to be taken over": [
        (NAMED, ledger_of(adoptions={"ins-9": Adoption("ins-9", ago(20))}), observed_of(), 5),
        (
            NAMED,
            ledger_of(adoptions={"ins-9": Adoption("ins-9", ago(20), refused="it is STOPPED")}),
            observed_of(),
            None,
        ),
        (NAMED, ledger_of(adoptions={"ins-9": Adoption("ins-9", ago(20), done=True)}), observed_of(), None),
        (DESIRED, ledger_of(), observed_of(), None),
    ],
    "timers are to be renewed": [
        (desired_of(1, orphan_after=seconds(9000)), ledger_of(bearing(8000)), observed_of(instance("ins-1")), 2000),
        (desired_of(1, orphan_after=seconds(9000)), ledger_of(bearing(5000)), observed_of(instance("ins-1")), 0),
        (desired_of(1, orphan_after=seconds(9000)), ledger_of(bearing(5000)), observed_of(), None),
        (DESIRED, ledger_of(bearing(8000), timers=Timers()), observed_of(instance("ins-1")), 5),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), None),
    ],
    "a released instance is still listed": [
        (DESIRED, ledger_of(ACCEPTED), observed_of(instance("ins-1")), 60),
        (DESIRED, ledger_of(RELEASED), observed_of(instance("ins-1")), None),
        (DESIRED, ledger_of(ACCEPTED), observed_of(), None),
    ],
    "a release is under way": [
        (DESIRED, ledger_of(RELEASED), observed_of(instance("ins-1")), 5),
        (DESIRED, ledger_of(ACCEPTED), observed_of(), 5),
        (DESIRED, ledger_of(ACCEPTED), observed_of(instance("ins-1")), None),
    ],
    "an instance is not listed": [
        (DESIRED, ledger_of(ONE), observed_of(), 5),
        (DESIRED, ledger_of(RELEASED), observed_of(), None),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), None),
        (DESIRED, ledger_of(ONE), replace(observed_of(instance("ins-1")), unlisted={"ins-1": ago(8)}), 5),
        (DESIRED, ledger_of(ONE), replace(observed_of(instance("ins-1")), unlisted={"ins-1": ago(80)}), 10),
    ],
    "an instance has vanished": [
        (DESIRED, ledger_of(ONE), observed_of(absent={"ins-1": vanished(looks=1)}), 1),
        (DESIRED, ledger_of(ONE), observed_of(absent={"ins-1": vanished(looks=0)}), 2),
        (DESIRED, ledger_of(ONE), observed_of(absent={"ins-1": vanished(looks=0, sweeps=2)}), None),
        (DESIRED, ledger_of(ONE), observed_of(absent={"ins-1": vanished(looks=3)}), None),
        (DESIRED, ledger_of(ONE), observed_of(absent={"ins-1": vanished(looks=1, was_listed=False)}), 1),
        (DESIRED, ledger_of(UNVERIFIED), observed_of(absent={"ins-1": vanished(looks=1, was_listed=False)}), None),
        (DESIRED, ledger_of(RELEASED), observed_of(absent={"ins-1": vanished(looks=1)}), 1),
        (DESIRED, ledger_of(ACCEPTED), observed_of(absent={"ins-1": vanished(looks=1)}), None),
        (DESIRED, ledger_of(ONE), observed_of(), None),
    ],
    "an instance has no tags": [
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", ownership=None, created_at=ago(20))), 5),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", ownership=None, created_at=ago(80))), 10),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), None),
    ],
    "an instance starts": [
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", PENDING, created_at=ago(3))), 5),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", PENDING, created_at=ago(80))), 10),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", PENDING, created_at=ago(121))), None),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", created_at=ago(3))), None),
    ],
    "an instance is still starting, or between two states": [
        (
            DESIRED,
            ledger_of(member("ins-1", transient="REBOOTING", transient_since=ago(500))),
            observed_of(instance("ins-1", InstanceState.REBOOTING)),
            100,
        ),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", PENDING, created_at=ago(500))), 100),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1", PENDING, created_at=ago(700))), 5),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), None),
    ],
    "a failed instance has been kept long enough": [
        (DESIRED, ledger_of(member("ins-kept", kept_since=ago(500))), observed_of(), 3100),
        (DESIRED, ledger_of(member("ins-kept", kept_since=ago(3600))), observed_of(), None),
        (DESIRED, ledger_of(member("ins-kept")), observed_of(), None),
        (DESIRED, ledger_of(member("ins-1", kept_since=ago(500))), observed_of(), None),
    ],
    "a lost instance is still listed": [
        (DESIRED, ledger_of(LOST), observed_of(instance("ins-1", InstanceState.TERMINATING)), 60),
        (DESIRED, ledger_of(LOST), observed_of(), None),
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), None),
    ],
    "the regular look": [
        (DESIRED, ledger_of(ONE), observed_of(instance("ins-1")), 300),
        (desired_of(0, deleting=True), ledger_of(), observed_of(), 300),
        (desired_of(1, paused=True), ledger_of(), observed_of(), 300),
    ],
}


#: What is asked for one instance, whose id only the cases about it have.
WISHES = {"ins-kept": Wish(keep_for=seconds(3600))}


@pytest.mark.parametrize(("reason", "rule"), RULES, ids=[reason.replace(" ", "-") for reason, _ in RULES])
def test_each_rule_says_when_something_of_its_kind_is_to_come(reason: str, rule: Rule) -> None:
    for desired, ledger, observed, wait in CASES[reason]:
        at = rule(replace(situation_of(desired, ledger, observed), wishes=WISHES))
        assert at == (None if wait is None else NOW + seconds(wait)), (desired, ledger, observed)


def test_the_soonest_rule_decides_and_of_equal_ones_the_first() -> None:
    ledger = ledger_of(ONE, intent(DESIRED, 1), quarantine_until=NOW + seconds(60))
    assert next_wake(situation_of(DESIRED, ledger)) == Wake(NOW + seconds(5), "a launch has no answer yet")


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
