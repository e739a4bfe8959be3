"""What a pool has done to us: who is avoided, for how long, and how trust comes back."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    ago,
    backoff_of,
    desired_of,
    instance,
    intent,
    ledger_of,
    market_of,
    member,
    observed_of,
    pool_trust_of,
    seconds,
    synced,
)
from plan.playing import Play, most_in_an_hour
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Ledger
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.allocation import Obstacle, Offer, RejectedPool, rank
from spotcompute.plan.pool_trust import POOL_TRUST_MAX, TRUSTED, after_loss, early_loss_weight, trust_of

HALF_LIFE = POLICY.half_life
THREE_MINUTES = seconds(180)
HOUR = seconds(3600)


def losing(*early: bool, apart: timedelta = timedelta(seconds=1), ledger: Ledger | None = None) -> Ledger:
    """The ledger after losses in A that far apart, the last of them now, each of an instance bought after the last."""
    ledger = ledger or ledger_of()
    for number, was_early in enumerate(early, start=1 - len(early)):
        ledger = lose(ledger, A, min(apart / 2, THREE_MINUTES) if was_early else 2 * POLICY.early_loss, apart * number)
    return ledger


def lose(ledger: Ledger, pool: Pool, age: timedelta, later: timedelta = timedelta()) -> Ledger:
    """The ledger after the loss of an instance of `pool` of that age, so much after NOW."""
    now = NOW + later
    return after_loss(ledger, member("ins-lost", pool=pool, launched_at=now - age), now, POLICY)


def verdict(
    ledger: Ledger, pool: Pool = A, now: datetime = NOW, others: tuple[Pool, ...] = (B,)
) -> Offer | RejectedPool:
    """What is said of `pool` beside `others`."""
    ranking = rank(desired_of(3, [pool, *others]), ledger, Market(), now, POLICY)
    return next(one for one in (*ranking.kept, *ranking.rejected) if one.pool == pool)


@pytest.mark.parametrize(
    ("early", "apart", "weight", "is_avoided"),
    [
        pytest.param([True], 0, 1.0, False, id="one-may-happen"),
        pytest.param([True, True], 60, 1.977, True, id="two-in-a-row-may-not"),
        pytest.param([True, True], 1800, 1.5, True, id="two-half-an-hour-apart-are-just-enough"),
        pytest.param([True, True], 1860, 1.489, False, id="two-further-apart-are-not"),
        pytest.param([True, True, True, True], 1, 2.5, True, id="many-weigh-no-more-than-the-limit"),
        pytest.param([False, False, False], 1, 0.0, False, id="late-losses-weigh-nothing"),
    ],
)
def test_early_losses_add_up_and_fade(early: list[bool], apart: float, weight: float, is_avoided: bool) -> None:
    ledger = losing(*early, apart=seconds(apart))
    assert ledger.pool_trust[A].early == pytest.approx(weight, abs=0.001)
    assert ledger.pool_trust[A].reclaims == len(early)
    assert (trust_of(ledger, A, NOW, POLICY).avoided_until is not None) is is_avoided


def test_a_late_loss_does_not_make_a_bad_pool_look_better() -> None:
    """Avoidance lasts until the early losses have faded; a loss that says nothing must not cut it off."""
    ledger = losing(True, True)
    later = NOW + HALF_LIFE / 2
    before = trust_of(ledger, A, later, POLICY)
    assert before.avoided_until is not None
    assert trust_of(lose(ledger, A, 2 * POLICY.early_loss, HALF_LIFE / 2), A, later, POLICY) == before


@pytest.mark.parametrize(
    ("ages", "weight"),
    [
        pytest.param([60, 61, 62], 1.0, id="three-bought-together-and-lost-in-a-row"),
        pytest.param([60, 60, 0.5], 1.99, id="and-the-one-that-was-bought-instead"),
    ],
)
def test_what_ends_by_one_stroke_is_one_failure(ages: list[float], weight: float) -> None:
    """Losses a second apart. Two taken at once from the only pool there is must not cost half an hour."""
    ledger = ledger_of()
    for number, age in enumerate(ages):
        ledger = lose(ledger, A, seconds(age), seconds(number))
    assert ledger.pool_trust[A].early == pytest.approx(weight, abs=0.01)
    assert ledger.pool_trust[A].reclaims == len(ages)


def test_a_loss_noted_by_a_clock_ahead_of_ours_does_not_hide_the_next() -> None:
    ledger = ledger_of(pool_trust_of(A, 0.1, NOW + HOUR))
    assert lose(ledger, A, seconds(60)).pool_trust[A].early > 1


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 3600))
def test_a_pool_is_asked_again_within_two_half_lives_of_its_last_loss(early: list[bool], apart: int) -> None:
    ledger = losing(*early, apart=seconds(apart))
    assert trust_of(ledger, A, NOW + 2 * HALF_LIFE, POLICY).avoided_until is None


@given(st.floats(1.5, 2.5), st.integers(0, 7_200))
def test_until_when_a_pool_is_avoided_is_when_it_is_on_probation(early: float, later: int) -> None:
    ledger = ledger_of(pool_trust_of(A, early))
    until = trust_of(ledger, A, NOW, POLICY).avoided_until
    assert until is not None
    now = NOW + seconds(later)
    assert trust_of(ledger, A, now, POLICY).on_probation is (now >= until)


@given(st.floats(0, 100), st.integers(-(10**9), 10**9))
def test_clocks_that_were_set_back_and_edited_weights_are_bearable(early: float, shift: int) -> None:
    ledger = ledger_of(pool_trust_of(A, early, NOW + seconds(shift)))
    assert 0 <= early_loss_weight(ledger.pool_trust[A], NOW, POLICY) <= 100
    for one in (verdict(ledger), verdict(ledger, others=())):
        assert isinstance(one, Offer) or one.until is None or one.until > NOW


@pytest.mark.parametrize(
    ("born", "other", "is_trusted"),
    [
        pytest.param(-601, {}, True, id="it-has-lasted"),
        pytest.param(-600, {}, False, id="not-for-long-enough"),
        pytest.param(-601, {"arrived": False}, False, id="it-never-ran"),
        pytest.param(-601, {"pool": B}, False, id="another-pool-lasts"),
        pytest.param(-601, {"on_demand": True}, False, id="on-demand-is-never-taken-back"),
        pytest.param(-7200, {}, False, id="older-than-the-loss-and-so-no-news"),
    ],
)
def test_only_a_spot_machine_that_lasts_brings_trust_back(born: float, other: dict, is_trusted: bool) -> None:
    ledger = ledger_of(pool_trust_of(A, 2.0, ago(3700)), member("ins-1", launched_at=NOW + seconds(born), **other))
    stands = trust_of(ledger, A, NOW, POLICY)
    assert (stands.avoided_until is None and not stands.on_probation) is is_trusted


ON_PROBATION = pool_trust_of(A, 1.5, ago(1801))


@pytest.mark.parametrize(
    ("entries", "most", "until"),
    [
        pytest.param([], 1, None, id="one-is-tried"),
        pytest.param([member("ins-1", launched_at=ago(60))], 0, 540, id="until-it-has-lasted"),
        pytest.param([member("ins-1", launched_at=ago(60), on_demand=True)], 1, None, id="on-demand-is-no-try"),
        pytest.param([member("ins-1", launched_at=ago(3600))], 1, None, id="older-than-the-loss-is-no-try"),
        pytest.param([member("ins-1", launched_at=ago(1801))], 1, None, id="as-old-as-the-loss-is-no-try"),
        pytest.param(
            [member("ins-1", launched_at=ago(60)), member("ins-2", launched_at=ago(3600))],
            0,
            540,
            id="an-old-one-takes-no-try-away",
        ),
        pytest.param([member("ins-1", pool=B, launched_at=ago(60))], 1, None, id="one-of-another-pool-is-no-try"),
        pytest.param(
            [member("ins-1", launched_at=ago(60)), member("ins-2", pool=B, launched_at=ago(3600))],
            0,
            540,
            id="an-old-one-of-another-pool-says-nothing",
        ),
        pytest.param([intent(desired_of(3), 1, created_at=ago(20))], 0, 580, id="a-launch-without-an-answer-is-one"),
        pytest.param(
            [member("ins-1", launched_at=ago(700), arrived=False)],
            0,
            None,
            id="no-moment-is-told-for-one-that-never-ran",
        ),
    ],
)
def test_on_probation_one_instance_is_tried(entries: list, most: int, until: float | None) -> None:
    one = verdict(ledger_of(ON_PROBATION, *entries))
    if isinstance(one, Offer):
        assert (one.count_max, None) == (most, until)
    else:
        assert (0, one.why) == (most, Obstacle.RECLAIMS_EARLY)
        assert one.until == (None if until is None else NOW + seconds(until))


def test_when_all_pools_are_avoided_one_is_tried_sooner() -> None:
    bad = ledger_of(pool_trust_of(A, 2.5), pool_trust_of(B, 2.5))
    alone, beside = verdict(bad), verdict(ledger_of(pool_trust_of(A, 2.5)))
    assert isinstance(alone, RejectedPool)
    assert isinstance(beside, RejectedPool)
    assert alone.until == NOW + POLICY.last_resort
    assert beside.until is not None
    assert alone.until < beside.until
    assert isinstance(verdict(bad, now=alone.until), Offer)


def test_what_was_long_ago_is_forgiven() -> None:
    ledger, longest = ledger_of(pool_trust_of(A, 2.5)), POLICY.forgiven_after * POLICY.half_life
    assert trust_of(ledger, A, NOW + longest, POLICY).on_probation
    assert trust_of(ledger, A, NOW + longest + seconds(1), POLICY) == TRUSTED


def test_a_pool_that_only_rests_is_no_reason_to_try_a_bad_one_sooner() -> None:
    one = verdict(ledger_of(pool_trust_of(A, 2.5), backoff_of(B)), now=NOW + seconds(1))
    assert isinstance(one, RejectedPool)
    assert one.until is not None
    assert one.until > NOW + POLICY.last_resort


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    ledger = ledger_of()
    for number in range(POOL_TRUST_MAX + 5):
        ledger = lose(ledger, Pool("z", f"T{number:03}"), seconds(60), seconds(number))
    assert len(ledger.pool_trust) == POOL_TRUST_MAX
    assert min(one.instance_type for one in ledger.pool_trust) == "T005"


@pytest.mark.parametrize(
    ("other", "reclaims", "early"),
    [
        pytest.param({}, 1, 1.0, id="reclaimed-early"),
        pytest.param({"launched_at": ago(601)}, 1, 0.0, id="reclaimed-late"),
        pytest.param({"on_demand": True}, 0, 0.0, id="on-demand-is-not-the-pool-s-doing"),
    ],
)
def test_what_is_lost_is_remembered_of_its_pool(other: dict, reclaims: int, early: float) -> None:
    lost = member("ins-1", **({"launched_at": ago(60)} | other))
    seen = instance("ins-1", InstanceState.TERMINATING, created_at=lost.launched_at, on_demand=lost.on_demand)
    ledger = synced(ledger_of(lost), desired_of(1), observed_of(seen)).ledger
    known = ledger.pool_trust.get(A)
    assert (known.reclaims if known else 0, known.early if known else 0.0) == (reclaims, early)


def test_what_somebody_released_outside_is_not_the_pool_s_doing() -> None:
    seen = instance("ins-1", InstanceState.TERMINATING, created_at=ago(60), last_operation="TerminateInstances")
    ledger = synced(ledger_of(member("ins-1", launched_at=ago(60))), desired_of(1), observed_of(seen)).ledger
    assert ledger.pool_trust == {}


# --- plays -----------------------------------------------------------------------------------------------------------


def market_at(now: datetime) -> Market:
    """Always the same."""
    return market_of({A: "0.1", B: "0.2"})


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.sampled_from([(A,), (A, B), (B, A)]), st.booleans(), st.sampled_from([30, 180, 590]))
def test_a_pool_that_reclaims_at_once_gets_three_launches_an_hour(
    replicas: int, pools: tuple[Pool, ...], are_all_bad: bool, life: float
) -> None:
    play = Play(
        desired_of(replicas, pools), market_at, life=lambda pool, _: seconds(life) if pool == A or are_all_bad else None
    )
    play.run(5 * HOUR)
    for pool in pools:
        assert most_in_an_hour([at for at, launch in play.launched if launch.intent.pool == pool]) <= 3
    assert play.looks < 1200


def test_beside_a_good_pool_everything_soon_runs_there() -> None:
    play = Play(desired_of(3, [A, B]), market_at, life=lambda pool, _: THREE_MINUTES if pool == A else None)
    play.run(HOUR)
    assert play.live() == 3
    assert {machine.launch.intent.pool for machine in play.machines.values() if machine.ended_at is None} == {B}


@pytest.mark.parametrize("others", [(), (B,)])
def test_once_it_is_good_a_pool_is_asked_again_within_two_half_lives(others: tuple[Pool, ...]) -> None:
    good_from = NOW + 2 * HOUR
    play = Play(
        desired_of(2, [A, *others]),
        market_at,
        room=lambda pool, now: 1000 if pool == A or now < NOW + HOUR else 0,
        life=lambda pool, now: THREE_MINUTES if pool == B or now < good_from else None,
    )
    play.run(2 * HOUR)
    play.run(2 * HALF_LIFE)
    assert [at for at, launch in play.launched if at >= good_from and launch.intent.pool == A]
    play.run(seconds(1200))
    assert play.live() == 2
