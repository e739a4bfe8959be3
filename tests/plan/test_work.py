"""Machines that work until they power themselves off: each is done once, and lost work is begun anew, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    A,
    B,
    ago,
    asked,
    backoff_of,
    desired_of,
    instance,
    intent,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
    synced,
    terminated_ids,
)
from plan.playing import Play
from spotcompute.model.desired import Desired, Runs
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member, Termination, WorkCount
from spotcompute.model.observation import Absence
from spotcompute.model.offering import Pool
from spotcompute.model.wishes import Wish
from spotcompute.plan.by_hand import to_replace
from spotcompute.plan.capacity import finished, places, shortfall
from spotcompute.plan.launching import may_launch
from spotcompute.plan.notices import noticed
from spotcompute.plan.work import attempts_left, is_over, lost, with_end_counted
from spotcompute.report.conclusion import conclude
from spotcompute.report.work import complete_condition

HOUR = seconds(3600)


def working(count: int = 3, attempts: int = 2, **more: object) -> Desired:
    """An environment whose machines each work until they power themselves off."""
    return desired_of(count, [A, B], runs=Runs(count, attempts), **more)


def done(key: str, **more: object) -> Member:
    """A machine that goes because its work is done; it is there still."""
    return member(key, termination=Termination(Cause.WORK_ENDED, recorded_at=ago(5)), **more)


def gone(key: str, cause: Cause = Cause.WORK_ENDED) -> Member:
    """The same, and the cloud has shown its end."""
    return member(key, termination=Termination(cause, recorded_at=ago(5), accepted_at=ago(4)))


# --- what a stop means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("desired", "operation", "wish", "cause"),
    [
        pytest.param(working(1), None, None, Cause.WORK_ENDED, id="it-powered-itself-off"),
        pytest.param(working(1), "RunInstances", None, Cause.WORK_ENDED, id="its-last-call-is-its-launch"),
        pytest.param(working(1), "StartInstances", None, Cause.WORK_ENDED, id="stopped-and-started-long-ago"),
        pytest.param(working(1), "StopInstances", None, Cause.STOPPED_OUTSIDE, id="a-person-stopped-it"),
        pytest.param(desired_of(1), None, None, Cause.STOPPED_OUTSIDE, id="elsewhere-a-stop-is-a-failure"),
        pytest.param(desired_of(1, one_time=True), None, None, Cause.STOPPED_OUTSIDE, id="nor-in-a-plain-request"),
        pytest.param(working(1), None, Wish(keep_for=HOUR), Cause.WORK_ENDED, id="a-success-is-not-kept"),
        pytest.param(working(1), None, Wish(protect=True), None, id="a-protected-one-is"),
    ],
)
def test_what_a_stopped_machine_has_come_to(
    desired: Desired, operation: str | None, wish: Wish | None, cause: Cause | None
) -> None:
    stopped = instance("ins-1", state=InstanceState.STOPPED, last_operation=operation)
    situation = situation_of(desired, ledger_of(member("ins-1")), observed_of(stopped))
    situation = replace(situation, wishes={"ins-1": wish} if wish else {})
    found = to_replace(situation)
    assert (found["ins-1"][1] if found else None) is cause


def test_a_machine_that_is_done_is_released_and_not_replaced() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"), member("ins-3"))
    stopped = instance("ins-1", state=InstanceState.STOPPED)
    plan = planned(working(3), ledger, observed_of(stopped, instance("ins-2"), instance("ins-3")))
    assert (terminated_ids(plan.actions), asked(plan)) == (["ins-1"], [])
    assert plan.ledger.self_ends is None, "the brake is for work that does not end"


# --- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ledger", "numbers"),
    [
        # finished, places, missing, lost, attempts left
        pytest.param(ledger_of(), (0, 3, 3, 0, 6), id="nothing-yet"),
        pytest.param(ledger_of(member("a"), member("b")), (0, 3, 1, 0, 4), id="two-work"),
        pytest.param(ledger_of(done("a"), member("b")), (1, 3, 1, 0, 4), id="one-is-done-and-still-there"),
        pytest.param(ledger_of(gone("a"), member("b")), (1, 2, 1, 0, 4), id="one-is-done-and-gone"),
        pytest.param(ledger_of(member("b"), work=WorkCount(1, 1)), (1, 2, 1, 0, 4), id="and-forgotten"),
        pytest.param(ledger_of(member("a", lost=Cause.RECLAIMED)), (0, 3, 3, 1, 5), id="one-is-lost"),
        pytest.param(ledger_of(work=WorkCount(1, 0, 1)), (0, 3, 3, 1, 5), id="and-forgotten-too"),
        pytest.param(ledger_of(gone("a", Cause.STOPPED_OUTSIDE)), (0, 3, 3, 1, 5), id="a-person-stopped-one"),
        pytest.param(ledger_of(gone("a", Cause.UNHEALTHY)), (0, 3, 3, 1, 5), id="one-was-marked-unhealthy"),
        pytest.param(ledger_of(gone("a", Cause.SCALED_DOWN)), (0, 3, 3, 0, 6), id="one-was-too-many"),
        pytest.param(ledger_of(work=WorkCount(7, 1, 5)), (1, 2, 2, 0, 5), id="lost-under-another-spec"),
        pytest.param(ledger_of(work=WorkCount(1, 0, 6)), (0, 3, 3, 6, 0), id="all-attempts-are-used"),
        pytest.param(ledger_of(work=WorkCount(1, 4, 0)), (4, 0, 0, 0, 2), id="more-done-than-wanted-now"),
        pytest.param(ledger_of(intent(working(), 2)), (0, 3, 1, 0, 4), id="launches-count"),
    ],
)
def test_what_is_done_lost_and_left(ledger: Ledger, numbers: tuple[int, ...]) -> None:
    desired = working(3)
    found = finished(ledger, desired), places(ledger, desired), shortfall(ledger, desired), lost(ledger, desired)
    assert (*found, attempts_left(ledger, desired)) == numbers


@pytest.mark.parametrize(
    ("before", "member_", "after"),
    [
        pytest.param(None, gone("a"), WorkCount(1, 1), id="the-first-is-done"),
        pytest.param(WorkCount(1, 2, 3), gone("a"), WorkCount(1, 3, 3), id="another"),
        pytest.param(WorkCount(1, 2, 3), gone("a", Cause.STUCK), WorkCount(1, 2, 4), id="another-is-lost"),
        pytest.param(WorkCount(7, 2, 3), gone("a", Cause.STUCK), WorkCount(1, 2, 1), id="the-first-loss-of-this-spec"),
        pytest.param(WorkCount(7, 2, 3), gone("a"), WorkCount(1, 3, 0), id="what-is-done-stays-done"),
        pytest.param(None, gone("a", Cause.SCALED_DOWN), None, id="one-too-many-tells-nothing"),
        pytest.param(None, member("a", lost=Cause.DISAPPEARED), WorkCount(1, 0, 1), id="vanished"),
    ],
)
def test_what_is_remembered_of_a_machine_that_is_gone(
    before: WorkCount | None, member_: Member, after: WorkCount | None
) -> None:
    assert with_end_counted(ledger_of(work=before), member_, working(3)).work == after
    assert with_end_counted(ledger_of(work=before), member_, desired_of(3)).work == before, "elsewhere nothing is"


def test_a_count_moves_from_the_member_to_the_ledger_and_stays_the_same() -> None:
    desired, ledger = working(3), ledger_of(gone("ins-1"), member("ins-2", lost=Cause.RECLAIMED), member("ins-3"))
    absent = {key: Absence(3, looked_up=True, had_ended=True) for key in ("ins-1", "ins-2")}
    after = synced(ledger, desired, observed_of(instance("ins-3"), absent=absent)).ledger
    assert (set(after.members), after.work) == ({"ins-3"}, WorkCount(1, 1, 1))
    for count in (finished, lost, attempts_left, shortfall):
        assert count(after, desired) == count(ledger, desired), count


# --- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ledger", "counts"),
    [
        pytest.param(ledger_of(), [3], id="all-at-first"),
        pytest.param(ledger_of(member("ins-1"), gone("ins-2"), work=WorkCount(1, 0, 2)), [1], id="what-was-lost"),
        pytest.param(ledger_of(work=WorkCount(1, 0, 4)), [2], id="no-more-than-may-be-tried"),
        pytest.param(ledger_of(work=WorkCount(1, 0, 6)), [], id="nothing-when-all-attempts-are-used"),
        pytest.param(ledger_of(work=WorkCount(1, 3, 0)), [], id="nothing-when-all-is-done"),
        pytest.param(ledger_of(attempted_generation=1), [3], id="a-former-attempt-of-a-plain-request-does-not-matter"),
    ],
)
def test_what_is_asked_for(ledger: Ledger, counts: list[int]) -> None:
    seen = [instance(key) for key in ledger.members if key == "ins-1"]
    plan = planned(working(3), ledger, observed_of(*seen, market=market_of({A: "0.1", B: "0.2"})))
    assert [count for _, count in asked(plan)] == counts


def test_work_waits_for_stock() -> None:
    ledger = ledger_of(backoff_of(A), backoff_of(B))
    situation = situation_of(working(3), ledger, observed_of())
    assert may_launch(situation.desired, ledger, NOTHING_LEARNED)
    assert conclude(situation).phase == "Waiting"


def test_nothing_is_bought_beside_a_machine_under_notice() -> None:
    """It may be done before its end, and the same work would be done twice."""
    ledger = ledger_of(member("ins-1", notice_at=NOW))
    assert noticed(situation_of(working(1), ledger, observed_of(instance("ins-1")))) == []


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("desired", "ledger", "said"),
    [
        pytest.param(working(3), ledger_of(member("ins-1"), work=WorkCount(1, 2)), ("Ready", "False"), id="one-works"),
        pytest.param(
            working(3), ledger_of(done("ins-1"), work=WorkCount(1, 2)), ("Releasing", "True"), id="the-last-goes"
        ),
        pytest.param(working(3), ledger_of(work=WorkCount(1, 3)), ("Succeeded", "True"), id="all-is-done"),
        pytest.param(working(1), ledger_of(work=WorkCount(1, 3)), ("Succeeded", "True"), id="more-than-wanted-now"),
        pytest.param(working(3), ledger_of(work=WorkCount(1, 2, 4)), ("Failed", "False"), id="attempts-are-used"),
        pytest.param(working(3), ledger_of(work=WorkCount(7, 2, 4)), ("Filling", "False"), id="not-under-a-new-spec"),
        pytest.param(working(0), ledger_of(), ("Ready", "False"), id="nothing-is-wanted"),
        pytest.param(working(3, paused=True), ledger_of(), ("Paused", "False"), id="paused"),
    ],
)
def test_how_far_the_work_is(desired: Desired, ledger: Ledger, said: tuple[str, str]) -> None:
    seen = [instance(key) for key in ledger.members]
    situation = situation_of(desired, ledger, observed_of(*seen, market=market_of({A: "0.1", B: "0.2"})))
    (complete,) = complete_condition(situation)
    assert (conclude(situation).phase, complete.status) == said


def test_an_expired_environment_has_still_succeeded() -> None:
    desired = replace(working(3), replicas=0, expired=True, expires_at=NOW)
    assert conclude(situation_of(desired, ledger_of(work=WorkCount(1, 3)), observed_of())).phase == "Succeeded"
    assert is_over(ledger_of(work=WorkCount(1, 3)), desired)


def test_other_environments_say_nothing_of_work() -> None:
    assert complete_condition(situation_of(desired_of(3), ledger_of(), observed_of())) == []


# --- hours of it ------------------------------------------------------------------------------------------------------


def lasting(first: float, others: float) -> Callable[[Pool, datetime], timedelta | None]:
    """What is launched in the first half hour is taken back after `first` seconds, all others after `others`."""
    return lambda pool, now: seconds(first if now < NOW + seconds(1800) else others)


@pytest.mark.parametrize(
    ("life", "attempts", "phase", "launched"),
    [
        pytest.param(lambda pool, now: None, 2, "Succeeded", 4, id="nothing-is-lost"),
        pytest.param(lasting(2000, 9000), 2, "Succeeded", 8, id="each-is-lost-once"),
        pytest.param(lasting(2000, 900), 3, "Failed", 12, id="each-is-lost-every-time"),
        pytest.param(lasting(2000, 9000), 1, "Failed", 4, id="with-one-attempt-nothing-is-begun-anew"),
    ],
)
def test_work_of_an_hour_ends_or_gives_up(
    life: Callable[[Pool, datetime], timedelta | None], attempts: int, phase: str, launched: int
) -> None:
    desired = replace(working(4), runs=Runs(4, attempts))
    market = market_of({A: "0.1", B: "0.2"})
    play = Play(desired, lambda now: market, life=life, stops_after=lambda born: HOUR, starts_in=seconds(20))
    play.run(12 * HOUR)
    assert (conclude(play._situation()).phase, len(play.machines), play.live()) == (phase, launched, 0)
    by_itself = [one for one in play.released if one[1].cause is Cause.WORK_ENDED]
    assert sum(len(action.instance_ids) for _, action in by_itself) == (4 if phase == "Succeeded" else 0)
    assert not play.ledger.self_ends
