"""What is asked for single instances, by marks and by deleting their objects, and what it may never lead to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    A,
    ago,
    all_running,
    asked,
    desired_of,
    instance,
    ledger_of,
    member,
    observed_of,
    seconds,
    situation_of,
    terminated_ids,
)
from plan.worlds import random_situation
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.ledger import Cause, Ledger
from spotcompute.model.wishes import NO_WISH, Wish
from spotcompute.plan.actions import Plan, Terminate
from spotcompute.plan.capacity import in_flight, occupying
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.wake import next_wake

HOUR = timedelta(hours=1)
UNHEALTHY, ENDED = Wish(unhealthy=True), Wish(ended=True)
TWO = ledger_of(member("ins-1"), member("ins-2"))


def wishing(wishes: dict[str, Wish], ledger: Ledger = TWO, *seen: Instance, **desired: object) -> Situation:
    """Two are wanted in pool A, everything runs unless `seen` shows it otherwise."""
    observed = observed_of(*seen) if seen else all_running(ledger)
    situation = situation_of(desired_of(2, [A], **desired), ledger, observed)
    return replace(situation, wishes=wishes)


def planned(situation: Situation) -> Plan:
    return make_plan(situation, NOTHING_LEARNED)


@pytest.mark.parametrize(
    ("wish", "cause"),
    [
        pytest.param(UNHEALTHY, Cause.UNHEALTHY, id="one that is marked as unhealthy"),
        pytest.param(ENDED, Cause.DELETED_BY_HAND, id="one whose object was deleted"),
        pytest.param(Wish(ended=True, unhealthy=True), Cause.DELETED_BY_HAND, id="one of both"),
        pytest.param(Wish(ended=True, keep_for=HOUR), Cause.DELETED_BY_HAND, id="one that was deleted, kept or not"),
    ],
)
def test_a_wish_ends(wish: Wish, cause: Cause) -> None:
    plan = planned(wishing({"ins-1": wish}))
    assert [(one.instance_ids, one.cause) for one in plan.actions if isinstance(one, Terminate)] == [
        (("ins-1",), cause)
    ]
    assert asked(plan) == []  # it takes its place until the cloud shows that it has gone


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(NO_WISH, id="without a mark"),
        pytest.param(Wish(delete_first=True), id="that goes first"),
        pytest.param(Wish(deletion_cost=-5), id="that is cheap to lose"),
        pytest.param(Wish(notice="soon"), id="with a notice"),
        pytest.param(Wish(unhealthy=True, protect=True), id="that is unhealthy and protected"),
        pytest.param(Wish(ended=True, protect=True), id="that is deleted and protected"),
    ],
)
def test_a_wish_keeps_an_instance(wish: Wish) -> None:
    assert planned(wishing({"ins-1": wish})).actions == ()


def test_the_place_of_an_instance_that_was_ended_is_filled() -> None:
    ended = planned(wishing({"ins-1": ENDED})).ledger
    gone = ledger_of(ended.members["ins-2"])
    assert asked(planned(wishing({}, gone))) == [(A, 1)]


def test_no_wish_touches_an_instance_that_bears_another_owner() -> None:
    strange = instance("ins-1", ownership=Ownership("other", "other"))
    for wish in (UNHEALTHY, ENDED):
        plan = planned(wishing({"ins-1": wish}, TWO, strange, instance("ins-2")))
        assert terminated_ids(plan.actions) == []
        assert asked(plan) == []


def test_wishes_for_unknown_ids_do_nothing() -> None:
    assert planned(wishing({"ins-9": ENDED, "../etc": UNHEALTHY})).actions == ()


def test_a_paused_environment_ends_nothing() -> None:
    assert planned(wishing({"ins-1": ENDED}, paused=True)).actions == ()


# --- keeping what has failed ------------------------------------------------------------------------------------------


STOPPED = (instance("ins-1", InstanceState.STOPPED), instance("ins-2"))


@pytest.mark.parametrize(
    ("kept", "ended"),
    [
        pytest.param(0, [], id="it has just failed"),
        pytest.param(3599, [], id="its time is not over"),
        pytest.param(3600, ["ins-1"], id="its time is over"),
    ],
)
def test_a_failed_instance_is_kept_for_as_long_as_its_mark_says(kept: float, ended: list[str]) -> None:
    ledger = ledger_of(member("ins-1", kept_since=ago(kept) if kept else None), member("ins-2"))
    plan = planned(wishing({"ins-1": Wish(keep_for=HOUR)}, ledger, *STOPPED))
    assert terminated_ids(plan.actions) == ended
    assert asked(plan) == []  # what is kept takes its place


def test_keeping_begins_when_the_instance_fails_and_is_not_begun_anew() -> None:
    wish = {"ins-1": Wish(keep_for=HOUR)}
    first = planned(wishing(wish, TWO, *STOPPED)).ledger
    assert first.members["ins-1"].kept_since == NOW
    assert planned(replace(wishing(wish, first, *STOPPED), now=NOW + seconds(60))).ledger == first


@pytest.mark.parametrize(
    ("wishes", "seen"),
    [
        pytest.param({}, STOPPED, id="its mark is taken off"),
        pytest.param({"ins-1": Wish(keep_for=HOUR)}, (instance("ins-1"), instance("ins-2")), id="it runs again"),
    ],
)
def test_keeping_is_forgotten_when(wishes: dict[str, Wish], seen: tuple[Instance, ...]) -> None:
    ledger = ledger_of(member("ins-1", kept_since=ago(60)), member("ins-2"))
    assert planned(wishing(wishes, ledger, *seen)).ledger.members["ins-1"].kept_since is None


def test_an_unhealthy_instance_is_kept_too() -> None:
    plan = planned(wishing({"ins-1": Wish(keep_for=HOUR, unhealthy=True)}))
    assert plan.actions == ()
    assert plan.ledger.members["ins-1"].kept_since == NOW


def test_a_healthy_instance_with_the_mark_may_be_scaled_down() -> None:
    situation = wishing({"ins-1": Wish(keep_for=HOUR), "ins-2": Wish(keep_for=HOUR)})
    fewer = replace(situation, desired=replace(situation.desired, replicas=1))
    assert len(terminated_ids(planned(fewer).actions)) == 1


def test_the_end_of_keeping_wakes_a_run() -> None:
    ledger = ledger_of(member("ins-1", kept_since=ago(3500)), member("ins-2"))
    wake = next_wake(wishing({"ins-1": Wish(keep_for=HOUR)}, ledger, *STOPPED))
    assert (wake.at, wake.reason) == (NOW + seconds(100), "a failed instance has been kept long enough")


# --- laws -------------------------------------------------------------------------------------------------------------


WISHES = st.builds(
    Wish,
    protect=st.booleans(),
    delete_first=st.booleans(),
    deletion_cost=st.integers(-5, 5),
    unhealthy=st.booleans(),
    keep_for=st.sampled_from([None, timedelta(0), HOUR]),
    ended=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 10**6), wishes=st.lists(WISHES, min_size=8, max_size=8))
def test_no_wish_buys_too_many_or_touches_what_is_not_ours(seed: int, wishes: list[Wish]) -> None:
    situation, _ = random_situation(seed)
    ids = sorted({*situation.ledger.members, *situation.observed.instances, "ins-foreign"})
    wished = replace(situation, wishes=dict(zip(ids, wishes, strict=False)))
    synced = wished.with_ledger(sync_ledger(wished).ledger)
    plan = planned(synced)
    wanted = max(synced.desired.replicas, len(occupying(synced.ledger)) + in_flight(synced.ledger))
    assert len(occupying(plan.ledger)) + in_flight(plan.ledger) <= wanted
    for key in terminated_ids(plan.actions):
        assert key in synced.ledger.members
        assert synced.observed.instances[key].ownership == synced.desired.ownership
