"""Which pools rest, until when: waits grow, stay bounded, and never become silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.given import NOW, POLICY, A, B, C, ago, backoff_of, desired_of, ledger_of, market_of, seconds
from spotcompute.cloud import errors
from spotcompute.model.ledger import Backoff, Ledger, Trouble
from spotcompute.model.offering import ON_DEMAND, Market, Pool, whole_zone
from spotcompute.plan.allocation import next_attempt, rank
from spotcompute.plan.backoff import (
    FOR_A_PERSON,
    OF_THE_ACCOUNT,
    OF_THE_ZONE,
    SPLITTABLE,
    Failure,
    backoff_after,
    ends_at,
    is_backing_off,
    trouble_of,
    waits_for_stock,
    without_stale_backoffs,
)
from spotcompute.plan.policy import Policy

SOLD_OUT = errors.InsufficientCapacity("ResourcesSoldOut.SpecifiedInstanceType", "sold out", "req-9")


def fail(ledger: Ledger, trouble: Trouble = Trouble.INSUFFICIENT_CAPACITY, at: float = 0, pool: Pool = A) -> Backoff:
    return backoff_after(Failure(pool, trouble, SOLD_OUT), ledger, 1, NOW + seconds(at), POLICY)


ERRORS = [
    (errors.InsufficientCapacity, Trouble.INSUFFICIENT_CAPACITY),
    (errors.NoRoom, Trouble.NO_ROOM),
    (errors.PriceTooLow, Trouble.PRICE_TOO_LOW),
    (errors.QuotaExceeded, Trouble.QUOTA_EXCEEDED),
    (errors.InsufficientBalance, Trouble.INSUFFICIENT_BALANCE),
    (errors.InvalidConfiguration, Trouble.INVALID_CONFIGURATION),
    (errors.InvalidCredentials, Trouble.INVALID_CREDENTIALS),
    (errors.Throttled, Trouble.RATE_LIMITED),
    (errors.Unavailable, Trouble.CLOUD_UNREACHABLE),
    (errors.NotSent, Trouble.CLOUD_UNREACHABLE),
    (errors.OutcomeUnknown, Trouble.CLOUD_UNREACHABLE),
    (errors.InstanceBusy, Trouble.UNCLASSIFIED),
    (errors.InstanceGone, Trouble.UNCLASSIFIED),
    (errors.TerminationBlocked, Trouble.UNCLASSIFIED),
    (errors.Unclassified, Trouble.UNCLASSIFIED),
]


@pytest.mark.parametrize(
    ("error", "trouble"),
    ERRORS,
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_every_error_is_some_trouble(error: type[errors.CloudError], trouble: Trouble) -> None:
    assert trouble_of(error("Code", "message")) is trouble


def test_the_table_above_names_every_error_there_is() -> None:
    families = {errors.CloudError, errors.Refused}
    kinds = {kind for family in families for kind in family.__subclasses__()} - families
    # Not those of other rooms, which no launch brings and which are known only where they have been imported.
    leaves = {kind for kind in kinds if kind.__module__ == errors.__name__}
    assert {error for error, _ in ERRORS} == leaves


def test_troubles_are_of_one_sort_only() -> None:
    assert not OF_THE_ACCOUNT & SPLITTABLE
    assert not FOR_A_PERSON & SPLITTABLE


def test_the_first_rest_keeps_the_words_of_the_cloud() -> None:
    first = fail(ledger_of())
    assert (first.code, first.message, first.request_id) == (SOLD_OUT.code, SOLD_OUT.message, SOLD_OUT.request_id)
    assert (first.pool, first.failures, first.since, first.failed_at) == (A, 1, NOW, NOW)


def test_waits_double_from_the_base_up_to_the_limit_and_jitter_only_shortens_them() -> None:
    ledger, at, waits = ledger_of(), 0.0, []
    for _ in range(8):
        latest = fail(ledger, at=at)
        waits.append((latest.until - latest.failed_at).total_seconds())
        ledger, at = ledger.with_backoff(latest), (latest.until - NOW).total_seconds()
    full = [5, 10, 20, 40, 60, 60, 60, 60]
    assert all(0.8 * most <= wait <= most for wait, most in zip(waits, full, strict=True)), waits


def test_pools_that_back_off_for_the_longest_end_together_and_are_asked_once_within_it() -> None:
    """Each in a run of its own would be two writes of status for each question."""
    ledger, at = ledger_of(), 0.0
    for _ in range(12):
        for second, pool in enumerate((A, B, C)):
            latest = fail(ledger, pool=pool, at=at + second)
            ledger = ledger.with_backoff(latest)
        before, at = at, max((one.until - NOW).total_seconds() for one in ledger.backoffs.values())
    assert len({one.until for one in ledger.backoffs.values()}) == 1
    assert at - before == pytest.approx(POLICY.backoff_max.total_seconds())


def test_many_that_wait_ask_more_rarely_until_the_pool_sells_to_one_of_them() -> None:
    before = ledger_of(*(backoff_of(pool, failures=9, until=NOW) for pool in (A, B, C)))
    failure = Failure(A, Trouble.INSUFFICIENT_CAPACITY, errors.InsufficientCapacity("SoldOut", "sold out"))
    latest = backoff_after(failure, before, 1, NOW, POLICY, waiting=50)
    assert seconds(50 * 3) <= latest.until - NOW <= seconds(50 * 3 * 1.2)
    assert ends_at(latest, market_of({A: "1"}), POLICY) == latest.until
    sold = replace(market_of({A: "1"}), sold_at={A: NOW + seconds(1)})
    assert ends_at(latest, sold, POLICY) == NOW + POLICY.backoff_max


@pytest.mark.parametrize("trouble", sorted(OF_THE_ACCOUNT))
def test_trouble_of_the_account_rests_the_whole_environment(trouble: Trouble) -> None:
    assert fail(ledger_of(), trouble).pool is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(errors.OutcomeUnknown("InternalServerError", "?"), A, id="no-usable-answer"),
        pytest.param(errors.Unavailable("ResourceInUse", "busy"), A, id="refused-for-now"),
        pytest.param(errors.Unclassified("New.Code", "?"), A, id="a-code-nobody-knows"),
        pytest.param(errors.NotSent("ConnectionRefused", "no line"), None, id="it-never-left-this-machine"),
        pytest.param(errors.Throttled("RequestLimitExceeded", "slow down"), None, id="the-rate-of-the-account"),
    ],
)
def test_an_answer_of_one_pool_says_nothing_of_the_others(error: errors.CloudError, expected: Pool | None) -> None:
    made = backoff_after(Failure(A, trouble_of(error), error), ledger_of(), 1, NOW, POLICY)
    assert made.pool == expected


@pytest.mark.parametrize("trouble", sorted(OF_THE_ZONE))
def test_trouble_of_a_zone_rests_all_its_types(trouble: Trouble) -> None:
    assert fail(ledger_of(), trouble).pool == whole_zone(A.zone)


def test_a_quota_is_asked_again_after_five_minutes_and_not_sooner() -> None:
    assert fail(ledger_of(), Trouble.QUOTA_EXCEEDED).until == NOW + POLICY.blocked_recheck


@pytest.mark.parametrize("trouble", sorted(set(Trouble) - OF_THE_ACCOUNT))
def test_trouble_of_buying_on_demand_is_no_trouble_of_the_pool(trouble: Trouble) -> None:
    made = backoff_after(Failure(A, trouble, SOLD_OUT, on_demand=True), ledger_of(), 1, NOW, POLICY)
    assert made.pool == ON_DEMAND


@pytest.mark.parametrize("trouble", sorted(set(Trouble) - OF_THE_ACCOUNT - OF_THE_ZONE))
def test_trouble_of_a_pool_rests_that_pool(trouble: Trouble) -> None:
    assert fail(ledger_of(), trouble).pool == A


def test_an_invalid_configuration_is_rechecked_slowly() -> None:
    wait = fail(ledger_of(), Trouble.INVALID_CONFIGURATION).until - NOW
    assert POLICY.blocked_recheck * 0.8 <= wait <= POLICY.blocked_recheck


@pytest.mark.parametrize(
    ("before", "failures", "is_since_then"),
    [
        pytest.param(backoff_of(A, failures=3), 4, True, id="in-a-row"),
        pytest.param(
            backoff_of(A, failures=3, trouble=Trouble.PRICE_TOO_LOW), 4, False, id="another-trouble-starts-anew"
        ),
        pytest.param(backoff_of(A, failures=3, generation=0), 1, False, id="the-user-changed-something"),
        pytest.param(backoff_of(A, failures=3, failed_at=ago(900)), 1, False, id="too-long-ago"),
        pytest.param(backoff_of(A, failures=3, failed_at=ago(899)), 4, True, id="just-not-too-long-ago"),
        pytest.param(backoff_of(B, failures=3), 1, False, id="another-pool"),
    ],
)
def test_what_counts_as_in_a_row(before: Backoff, failures: int, is_since_then: bool) -> None:
    after = fail(ledger_of(before))
    assert after.failures == failures
    assert after.since == (before.since if is_since_then else NOW)


def test_the_same_history_gives_the_same_wait_and_another_environment_another() -> None:
    assert fail(ledger_of()) == fail(ledger_of())
    others = {
        backoff_after(Failure(A, Trouble.NO_ROOM, SOLD_OUT), Ledger(f"env-{n}"), 1, NOW, POLICY).until
        for n in range(50)
    }
    assert len(others) > 10, "a thousand environments would ask in step"


@given(
    failures=st.integers(0, 10**6),
    base=st.floats(0.001, 3600),
    limit=st.floats(0.001, 86400),
    trouble=st.sampled_from(Trouble),
    environment=st.text(max_size=20),
)
def test_no_rest_is_longer_than_its_limit(
    failures: int, base: float, limit: float, trouble: Trouble, environment: str
) -> None:
    policy = Policy(backoff_base=seconds(base), backoff_max=seconds(limit))
    where = None if trouble in OF_THE_ACCOUNT else whole_zone(A.zone) if trouble in OF_THE_ZONE else A
    before = backoff_of(where, trouble, failures=failures) if failures else None
    ledger = Ledger(environment, backoffs={where: before} if before else {})
    wait = backoff_after(Failure(A, trouble, SOLD_OUT), ledger, 1, NOW, policy).until - NOW
    slow = (Trouble.INVALID_CONFIGURATION, Trouble.QUOTA_EXCEEDED)
    longest = policy.blocked_recheck if trouble in slow else policy.backoff_max
    assert timedelta(0) < wait <= longest


@given(
    st.lists(
        st.tuples(st.sampled_from(Trouble), st.sampled_from([A, B, C]), st.floats(-600, 1200)),
        min_size=1,
        max_size=40,
    )
)
def test_after_any_failures_the_next_attempt_is_near(history: list[tuple[Trouble, Pool, float]]) -> None:
    """Even when the clock steps back: what was promised for a moment far ahead is no promise any more."""
    ledger, now, limit = ledger_of(), NOW, max(POLICY.backoff_max, POLICY.blocked_recheck)
    for trouble, pool, pause in history:
        ledger = ledger.with_backoff(backoff_after(Failure(pool, trouble, SOLD_OUT), ledger, 1, now, POLICY))
        now += seconds(pause)
        ledger = without_stale_backoffs(ledger, frozenset({A, B, C}), 1, now, POLICY)
        desired = desired_of(pools=[A, B, C])
        at = next_attempt(rank(desired, ledger, Market(), now, POLICY), ledger, now)
        assert at is not None
        assert now <= at <= now + limit


@pytest.mark.parametrize(
    ("kept", "one"),
    [
        pytest.param(True, backoff_of(A), id="of-now"),
        pytest.param(True, backoff_of(None, Trouble.RATE_LIMITED), id="of-the-whole"),
        pytest.param(True, backoff_of(A, failed_at=ago(899), until=ago(890)), id="over-but-still-in-a-row"),
        pytest.param(True, backoff_of(A, failed_at=ago(9999), until=ago(9900)), id="long-over-but-the-last-error"),
        pytest.param(False, backoff_of(C), id="of-a-pool-no-longer-wanted"),
        pytest.param(False, backoff_of(A, generation=2), id="of-another-generation"),
        pytest.param(False, backoff_of(A, until=NOW + seconds(301)), id="longer-than-any-rest-is"),
        pytest.param(True, backoff_of(A, until=NOW + seconds(300)), id="as-long-as-the-longest"),
    ],
)
def test_which_rests_are_forgotten(kept: bool, one: Backoff) -> None:
    ledger = without_stale_backoffs(ledger_of(one), frozenset({A, B}), 1, NOW, POLICY)
    assert bool(ledger.backoffs) is kept


@pytest.mark.parametrize(
    ("rests", "expected"),
    [
        pytest.param([], 0, id="at-once"),
        pytest.param([backoff_of(A, until=NOW + seconds(9))], 0, id="another-pool-is-free"),
        pytest.param(
            [backoff_of(A, until=NOW + seconds(9)), backoff_of(B, until=NOW + seconds(7))], 7, id="the-first-to-wake"
        ),
        pytest.param([backoff_of(None, until=NOW + seconds(50))], 50, id="the-whole-rests"),
        pytest.param(
            [
                backoff_of(A, until=NOW + seconds(9)),
                backoff_of(B, until=NOW + seconds(9)),
                backoff_of(None, until=NOW + seconds(3)),
            ],
            9,
            id="the-longer-of-whole-and-pools",
        ),
        pytest.param([backoff_of(A, until=ago(5)), backoff_of(B, until=ago(5))], 0, id="never-in-the-past"),
    ],
)
def test_when_the_next_attempt_is(rests: list[Backoff], expected: float) -> None:
    assert at_of(ledger_of(*rests), [A, B]) == NOW + seconds(expected)


def at_of(ledger: Ledger, pools: list[Pool]) -> datetime | None:
    """When the next attempt is."""
    desired = desired_of(pools=pools)
    return next_attempt(rank(desired, ledger, Market(), NOW, POLICY), ledger, NOW)


def test_without_pools_there_is_nothing_to_wait_for() -> None:
    assert at_of(ledger_of(), []) is None


def test_a_rest_is_over_at_its_very_end() -> None:
    ledger = ledger_of(backoff_of(A, until=NOW + seconds(1)))
    assert [is_backing_off(ledger, A, NOW + seconds(later)) for later in (0, 0.999, 1)] == [True, True, False]
    assert not is_backing_off(ledger, B, NOW)
    assert not is_backing_off(ledger, None, NOW)


def test_stock_is_waited_for_while_something_is_missing_and_sold_out() -> None:
    sold_out, no_quota = ledger_of(backoff_of(A)), ledger_of(backoff_of(A, Trouble.QUOTA_EXCEEDED))
    waits = [waits_for_stock(*case) for case in ((sold_out, 1), (sold_out, 0), (no_quota, 1), (ledger_of(), 1))]
    assert waits == [True, False, False, False]
