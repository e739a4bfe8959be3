"""Instances that end by themselves are replaced at once, then slowly, and say so; nobody else waits for them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    ago,
    asked,
    desired_of,
    fallback,
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
)
from plan.playing import Play, most_in_an_hour
from spotcompute.model.activity import ActivityType
from spotcompute.model.desired import Gang
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, SelfEnds
from spotcompute.plan.brake import after_self_end, held_places, with_brake_loosened

HOUR = seconds(3600)


def ending(ledger: Ledger, launched: float, at: float, cause: Cause = Cause.STOPPED_OUTSIDE) -> Ledger:
    """The ledger after the end of an instance, launched and ended so many seconds after NOW."""
    ended = member("ins-1", launched_at=NOW + seconds(launched))
    return after_self_end(ledger, ended, cause, desired_of(), NOW + seconds(at), POLICY)[0]


def after(*ends: tuple[float, float]) -> SelfEnds | None:
    """What is remembered after ends of instances, each launched and ended so many seconds after NOW."""
    ledger = ledger_of()
    for launched, at in ends:
        ledger = ending(ledger, launched, at)
    return ledger.self_ends


@pytest.mark.parametrize(
    ("ends", "is_braked", "held"),
    [
        pytest.param([(0, 60)], False, 0, id="the-first-is-replaced-at-once"),
        pytest.param([(0, 60), (65, 130)], True, 1, id="the-second-within-ten-minutes-is-not"),
        pytest.param([(0, 60), (65, 660)], True, 1, id="ten-minutes-apart"),
        pytest.param([(0, 60), (65, 661)], False, 0, id="further-apart"),
        pytest.param([(0, 60), (0, 61), (0, 62)], False, 0, id="one-stroke-is-one-end"),
        pytest.param([(0, 60), (0, 60), (65, 130), (65, 131)], True, 2, id="then-each-holds-its-place"),
        pytest.param([(0, 60), (65, 130), (1400, 1460)], True, 2, id="it-stays-on"),
        pytest.param([(0, 60), (65, 130), (3800, 3860)], False, 0, id="an-hour-of-quiet-loosens-it"),
        pytest.param([(0, 601)], None, 0, id="one-that-has-lived-says-nothing"),
    ],
)
def test_when_the_brake_acts(ends: list[tuple[float, float]], is_braked: bool | None, held: int) -> None:
    found = after(*ends)
    assert (found.is_braked if found else None) is is_braked
    assert len(found.held if found else ()) == held


@pytest.mark.parametrize("cause", list(Cause), ids=str)
def test_only_ends_of_their_own_count(cause: Cause) -> None:
    is_own = cause in (Cause.STOPPED_OUTSIDE, Cause.LAUNCH_FAILED)
    assert (ending(ledger_of(), 0, 60, cause).self_ends is not None) is is_own


def test_a_change_of_the_spec_loosens_it_at_once() -> None:
    ledger = ledger_of(self_ends=after((0, 60), (65, 130)))
    assert with_brake_loosened(ledger, 1, NOW + seconds(131), POLICY) == ledger
    assert with_brake_loosened(ledger, 2, NOW + seconds(131), POLICY).self_ends is None


@given(st.integers(-(10**9), 10**9))
def test_clocks_that_were_set_back_hold_no_place_for_long(shift: int) -> None:
    at = NOW + seconds(shift)
    ledger = ledger_of(self_ends=SelfEnds(last_at=at, generation=1, is_braked=True, held=(at,)))
    until = situation_of(desired_of(1, [A]), ledger).braked_until
    assert until is None or until - NOW <= 2 * POLICY.place_held


BRAKED = SelfEnds(last_at=ago(60), generation=1, is_braked=True, held=(ago(600), ago(60)))


@pytest.mark.parametrize(
    ("replicas", "count", "wait"),
    [
        pytest.param(1, None, 1140, id="one-place-waits-for-the-last"),
        pytest.param(2, None, 600, id="of-two-places-one-is-free-first"),
        pytest.param(3, 1, None, id="a-third-place-is-not-held"),
    ],
)
def test_what_is_asked_for_under_the_brake(replicas: int, count: int | None, wait: float | None) -> None:
    desired, ledger = desired_of(replicas, [A]), ledger_of(self_ends=BRAKED)
    situation = situation_of(desired, ledger)
    assert situation.braked_until == (None if wait is None else NOW + seconds(wait))
    assert situation.next_attempt == (situation.braked_until or NOW)
    assert asked(planned(desired, ledger)) == ([(A, count)] if count else [])


def test_places_are_free_again_one_after_another() -> None:
    later = NOW + seconds(601)
    ledger = ledger_of(self_ends=BRAKED)
    assert len(held_places(ledger, later, POLICY)) == 1
    assert asked(planned(desired_of(2, [A]), ledger, observed_of(at=later), now=later)) == [(A, 1)]


def test_what_is_held_is_not_bought_on_demand_either() -> None:
    desired = desired_of(2, [A], fallback=fallback(after=seconds(0)))
    market = market_of({A: "0.1"})
    braked = ledger_of(self_ends=BRAKED, short_since=ago(9999))
    assert not planned(desired, braked, observed_of(market=market)).actions
    half = replace(braked, self_ends=replace(BRAKED, held=(ago(60),)))
    sold_out = replace(market, offerings={A: replace(market.offerings[A], sold_out=True)})
    made = planned(desired, half, observed_of(market=sold_out))
    assert sum(one.intent.count for one in made.actions if hasattr(one, "intent")) == 1


def test_a_gang_is_asked_for_when_its_last_place_is_free() -> None:
    desired = desired_of(3, [A], gang=Gang(3, seconds(300)))
    ledger = ledger_of(self_ends=BRAKED)
    assert situation_of(desired, ledger).braked_until == NOW + seconds(1140)
    assert not planned(desired, ledger).actions


def test_ends_that_a_plan_or_a_sync_sees_are_told() -> None:
    ends = SelfEnds(last_at=ago(100), generation=1)
    ledger = ledger_of(member("ins-1", launched_at=ago(90)), self_ends=ends)
    made = planned(desired_of(1), ledger, observed_of(instance("ins-1", InstanceState.STOPPED, created_at=ago(90))))
    failed = instance("ins-1", InstanceState.LAUNCH_FAILED, created_at=ago(90))
    kept = synced(ledger, desired_of(1), observed_of(failed))
    for activities in (made.activities, kept.activities):
        (told,) = (one for one in activities if one.type is ActivityType.HOLD)
        assert told.instance_ids == ("ins-1",)
        assert "user data" in str(told.message)
    for found in (made.ledger, kept.ledger):
        assert found.self_ends is not None
        assert found.self_ends.is_braked


def test_an_open_launch_and_a_reclaim_are_not_held_up() -> None:
    desired = desired_of(2, [A, B])
    open_launch = intent(desired, 1, answer_lost=True, sent_at=ago(20))
    ledger = ledger_of(open_launch, self_ends=replace(BRAKED, held=()))
    assert len(planned(desired, ledger).actions) == 2


@pytest.mark.parametrize(
    ("replicas", "life", "most_per_hour", "most"),
    [
        pytest.param(1, 60, 4, 9, id="one"),
        pytest.param(2, 60, 8, 16, id="two"),
        pytest.param(2, 500, 8, 16, id="two-that-live-for-eight-minutes"),
        pytest.param(5, 60, 20, 40, id="five"),
        pytest.param(1, 700, 6, 12, id="one-that-has-lived-is-replaced-at-once"),
    ],
)
def test_how_much_is_bought_in_two_hours(replicas: int, life: float, most_per_hour: int, most: int) -> None:
    play = Play(
        desired_of(replicas, [A, B]),
        lambda now: market_of({A: "0.1", B: "0.1"}),
        starts_in=seconds(10),
        stops_after=lambda born: seconds(life),
    )
    play.run(2 * HOUR)
    moments = [at for at, launch in play.launched for _ in range(launch.intent.count)]
    assert most_in_an_hour(moments) <= most_per_hour
    assert len(moments) <= most
    assert max(later - earlier for earlier, later in gaps(moments)) <= timedelta(minutes=30)


def gaps(moments: list[datetime]) -> list[tuple[datetime, datetime]]:
    """Each moment with the one after it: nobody gives up."""
    return list(itertools.pairwise(moments))
