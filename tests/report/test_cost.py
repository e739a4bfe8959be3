"""What the instances cost: summed up exactly when a rate changes, and written only then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.given import NOW, A, B, ago, desired_of, intent, ledger_of, market_of, member, seconds
from spotcompute.api.ledger import decode, encode
from spotcompute.model.ledger import Cause, Ledger, Spending
from spotcompute.model.offering import Market
from spotcompute.report.cost import cost_status, money, optional_money, summed_up, with_spending

MARKET = market_of({A: "0.1", B: "0.2"})
HOUR = timedelta(hours=1)


def spent(total: str, per_hour: str, until_ago: float = 0, rate: str = "0", saved: str = "0") -> Spending:
    """What was spent, and by how much that is less than at list prices: `saved` so far, and `rate` an hour."""
    return Spending(Decimal(total), Decimal(per_hour), ago(until_ago), Decimal(saved), Decimal(rate))


@pytest.mark.parametrize(
    ("ledger", "market", "expected"),
    [
        pytest.param(ledger_of(), MARKET, None, id="nothing-was-ever-bought"),
        pytest.param(ledger_of(member("ins-1")), MARKET, spent("0", "0.1", rate="0.9"), id="the-first-one"),
        pytest.param(ledger_of(member("ins-1", on_demand=True)), MARKET, spent("0", "1"), id="at-the-list-price"),
        pytest.param(ledger_of(member("ins-1")), Market(), None, id="no-price-is-known"),
        pytest.param(ledger_of(member("ins-1")), market_of({A: "0"}), None, id="no-price-is-not-free"),
        pytest.param(
            ledger_of(member("ins-1"), spending=spent("5", "0.1", 3600, "0.9")),
            MARKET,
            spent("5", "0.1", 3600, "0.9"),
            id="no-change",
        ),
        pytest.param(
            ledger_of(member("ins-1"), spending=spent("5", "0.3", 3600, "0.7", "2")),
            MARKET,
            spent("5.3", "0.1", rate="0.9", saved="2.7"),
            id="another-rate",
        ),
        pytest.param(ledger_of(spending=spent("5", "0.3", 3600)), MARKET, spent("5.3", "0"), id="all-have-gone"),
        pytest.param(
            ledger_of(member("ins-1"), spending=spent("5", "0.3", 3600)),
            Market(),
            spent("5", "0.3", 3600),
            id="without-a-price-the-last-rate-goes-on",
        ),
        pytest.param(
            ledger_of(member("ins-1"), spending=spent("5", "0.3", -60)),
            MARKET,
            spent("5", "0.1", -60, "0.9"),
            id="a-clock-that-was-set-back-counts-nothing-twice",
        ),
        pytest.param(
            ledger_of(member("ins-1"), member("ins-2", lost=Cause.RECLAIMED), intent(desired_of(), 2)),
            MARKET,
            spent("0", "0.1", rate="0.9"),
            id="only-what-exists",
        ),
    ],
)
def test_what_was_spent_is_summed_up_when_the_rate_changes(
    ledger: Ledger, market: Market, expected: Spending | None
) -> None:
    after = with_spending(ledger, market, NOW)
    assert after.spending == expected
    if expected == ledger.spending:
        assert after is ledger


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6)), min_size=1, max_size=30))
def test_the_sum_is_that_of_all_rates_times_their_time(steps: list[tuple[int, int]]) -> None:
    """Looks in between, at which nothing changes, must not change a digit either."""
    ledger, now, exact = ledger_of(spending=Spending(Decimal(0), Decimal(0), NOW)), NOW, Decimal(0)
    for count, wait in steps:
        members = {f"ins-{number}": member(f"ins-{number}") for number in range(count)}
        ledger = with_spending(Ledger(ledger.environment_id, members=members, spending=ledger.spending), MARKET, now)
        now += seconds(wait)
        assert with_spending(ledger, MARKET, now) is ledger
        exact += count * Decimal("0.1") * wait / 3600
    after = summed_up(ledger, now).spending
    assert after is not None
    assert abs(after.total - exact) <= Decimal("0.0000000001") * len(steps)


def test_summing_up_twice_is_summing_up_once() -> None:
    once = summed_up(ledger_of(spending=spent("1", "3.3", 1234)), NOW)
    assert summed_up(once, NOW) == once
    assert decode(encode(once)) == once


@pytest.mark.parametrize("total", ["0", "999999999999"])
def test_what_was_edited_can_be_read_back_after_summing_up(total: str) -> None:
    ledger = ledger_of(spending=Spending(Decimal(total), Decimal("999999999999"), ago(3600 * 24 * 365 * 20)))
    after = summed_up(ledger, NOW)
    assert decode(encode(after)) == after


def test_what_is_told() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2", pool=B, on_demand=True), spending=spent("1.23456789", "2.1"))
    assert cost_status(ledger, MARKET, "CNY") == {
        "perHour": "2.1",
        "extrasPerHour": "0",
        "onDemandPerHour": "3",
        "savedPercent": 30,
        "accrued": "1.234568",
        "accruedAt": "2026-11-23T04:00:00Z",
        "saved": "0",
        "currency": "CNY",
    }


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        pytest.param("0.05", {"perHour": "0.2", "extrasPerHour": "0.1", "onDemandPerHour": "1.1"}, id="they-count"),
        pytest.param(None, {"perHour": "0.1", "onDemandPerHour": "1"}, id="unless-nobody-tells"),
    ],
)
def test_disks_are_never_discounted(extra: str | None, told: dict[str, str]) -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"))
    market = market_of({A: "0.05"}, extra=extra)
    found = cost_status(ledger, market, "USD") or {}
    assert {key: found.get(key) for key in ("perHour", "extrasPerHour", "onDemandPerHour")} == {
        "extrasPerHour": None
    } | told
    begun = with_spending(ledger, market, NOW).spending
    assert begun is not None
    assert begun.per_hour == Decimal(told["perHour"])


@pytest.mark.parametrize(
    ("ledger", "market"),
    [
        pytest.param(ledger_of(), MARKET, id="nothing"),
        pytest.param(ledger_of(member("ins-1")), Market(), id="no-prices"),
    ],
)
def test_nothing_is_told_while_nothing_is_known(ledger: Ledger, market: Market) -> None:
    assert cost_status(ledger, market, "CNY") is None


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.0923", "0.0923"),
        ("1E+3", "1000"),
        ("0", "0"),
        ("0.10", "0.1"),
        ("0.0000004", "0"),
        ("2.0000005", "2.000001"),
    ],
)
def test_money_reads_as_people_write_it(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text
    assert optional_money(None) is None


def test_a_sum_that_was_edited_into_the_future_goes_on_from_now() -> None:
    forged = replace(ledger_of(member("ins-1")), spending=Spending(Decimal(2), Decimal("0.12"), NOW + seconds(10**9)))
    healed = with_spending(forged, market_of({A: "0.12"}), NOW)
    assert healed.spending == Spending(Decimal(2), Decimal("0.12"), NOW, saved_per_hour=Decimal("1.08"))
    assert with_spending(healed, market_of({A: "0.12"}), NOW + seconds(60)) is healed


# --- after a loss of the ledger ---------------------------------------------------------------------------------------


def found(*launched_ago: float, before: Spending | None = None) -> Ledger:
    """A ledger in quarantine after its loss, in which instances were found that were launched so long ago."""
    members = (member(f"ins-{number}", launched_at=ago(age)) for number, age in enumerate(launched_ago))
    return ledger_of(*members, quarantine_until=NOW + seconds(480), spending=before)


def test_after_a_loss_what_still_exists_counts_from_its_launch() -> None:
    after = with_spending(found(3600, 7200), MARKET, NOW)
    assert after.spending == replace(spent("0.3", "0.2", rate="1.8", saved="2.7"), lost_at=NOW)
    told = cost_status(after, MARKET, "CNY") or {}
    assert (told["accrued"], told["saved"], told["incompleteSince"]) == ("0.3", "2.7", "2026-11-23T04:00:00Z")
    assert with_spending(after, MARKET, NOW + seconds(60)) is after


def test_what_shows_up_later_in_the_quarantine_counts_from_its_launch_too() -> None:
    first = with_spending(found(3600), MARKET, ago(60)).spending
    after = with_spending(found(3600, 7200, before=first), MARKET, NOW).spending
    assert after is not None
    assert (after.total, after.lost_at) == (Decimal("0.3"), ago(60))


def test_after_a_loss_with_nothing_left_the_sum_says_that_it_is_not_whole() -> None:
    after = with_spending(found(), MARKET, NOW)
    assert cost_status(after, MARKET, "CNY") == {
        "accrued": "0",
        "accruedAt": "2026-11-23T04:00:00Z",
        "saved": "0",
        "incompleteSince": "2026-11-23T04:00:00Z",
        "perHour": "0",
        "extrasPerHour": "0",
        "onDemandPerHour": "0",
        "currency": "CNY",
    }
    later = with_spending(replace(ledger_of(member("ins-9")), spending=after.spending), MARKET, NOW + HOUR).spending
    assert later is not None
    assert (later.total, later.per_hour, later.lost_at) == (Decimal(0), Decimal("0.1"), NOW)


def test_after_the_quarantine_the_sum_goes_on_as_always() -> None:
    rebuilt = with_spending(found(3600), MARKET, NOW).spending
    more = ledger_of(member("ins-0"), member("ins-1"), spending=rebuilt)
    after = with_spending(more, MARKET, NOW + HOUR).spending
    assert after is not None
    assert (after.total, after.per_hour, after.lost_at) == (Decimal("0.2"), Decimal("0.2"), NOW)


def test_a_new_environment_has_lost_nothing() -> None:
    assert "incompleteSince" not in (
        cost_status(with_spending(ledger_of(member("ins-1")), MARKET, NOW), MARKET, "C") or {}
    )
