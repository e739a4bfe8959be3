"""Which pools an environment means that names requirements, and which quotes are believed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plan.given import NOW, TEMPLATE, backoff_of, desired_of, ledger_of, observed_of, synced
from spotcompute.model.desired import Placement, Requirements, Span
from spotcompute.model.market_readings import quotes_flaw
from spotcompute.model.offering import Market, Offering, Pool
from spotcompute.plan.selection import POOLS_MAX, with_pools

ZONES = [Placement("gz-3", subnet_id="subnet-3"), Placement("gz-4")]


def offering(zone: str, name: str, price: str | None = "1", vcpu: int = 2, memory: int = 4, gpus: int = 0) -> Offering:
    amount = None if price is None else Decimal(price)
    return Offering(Pool(zone, name), amount, amount, vcpu, memory, gpus=gpus, family=name.partition(".")[0])


SOLD = [
    offering("gz-3", "S5.MEDIUM4", "0.3"),
    offering("gz-3", "SA2.LARGE8", "0.2", 4, 8),
    offering("gz-3", "GN7.XL", "9", 8, 32, gpus=1),
    offering("gz-4", "S5.MEDIUM4", "0.1"),
    offering("gz-4", "SA2.LARGE8", None, 4, 8),
    offering("gz-7", "S5.MEDIUM4", "0.01"),
]


def chosen(requirements: Requirements, sold: list[Offering] | None = None) -> list[str]:
    """The pools that are meant, in order."""
    desired = desired_of(2, [], requirements=requirements, placements=tuple(ZONES))
    market = Market({one.pool: one for one in (SOLD if sold is None else sold)}, NOW)
    return [str(pool) for pool, _ in with_pools(desired, market).pools]


MEDIUM_3, LARGE_3, GPU_3 = "S5.MEDIUM4@gz-3", "SA2.LARGE8@gz-3", "GN7.XL@gz-3"
MEDIUM_4, LARGE_4 = "S5.MEDIUM4@gz-4", "SA2.LARGE8@gz-4"


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        pytest.param(Requirements(), [LARGE_3, MEDIUM_3, GPU_3, MEDIUM_4, LARGE_4], id="cheapest-first-no-price-last"),
        pytest.param(Requirements(vcpu=Span(4)), [LARGE_3, GPU_3, LARGE_4], id="at-least"),
        pytest.param(Requirements(vcpu=Span(None, 4)), [LARGE_3, MEDIUM_3, MEDIUM_4, LARGE_4], id="at-most"),
        pytest.param(Requirements(vcpu=Span(4, 4)), [LARGE_3, LARGE_4], id="exactly"),
        pytest.param(Requirements(memory_gib=Span(None, 4)), [MEDIUM_3, MEDIUM_4], id="memory"),
        pytest.param(Requirements(gpus=Span(1)), [GPU_3], id="with-a-gpu"),
        pytest.param(Requirements(gpus=Span(None, 0)), [LARGE_3, MEDIUM_3, MEDIUM_4, LARGE_4], id="without-a-gpu"),
        pytest.param(Requirements(families=frozenset({"S5"})), [MEDIUM_3, MEDIUM_4], id="families"),
        pytest.param(
            Requirements(excluded_types=frozenset({"S5.MEDIUM4", "GN7.XL"})), [LARGE_3, LARGE_4], id="excluded"
        ),
        pytest.param(Requirements(vcpu=Span(99)), [], id="nothing-fits"),
    ],
)
def test_requirements_mean_pools(requirements: Requirements, expected: list[str]) -> None:
    assert chosen(requirements) == expected


@given(st.permutations(SOLD))
def test_the_order_of_the_quotes_does_not_matter(sold: list[Offering]) -> None:
    assert chosen(Requirements(), sold) == chosen(Requirements())


def test_too_many_pools_are_cut_as_fairly_as_placements_go() -> None:
    sold = [offering(zone, f"S5.N{number:03}", str(number)) for zone in ("gz-3", "gz-4") for number in range(1, 60)]
    pools = chosen(Requirements(), sold)
    assert len(pools) == POOLS_MAX
    assert sum(pool.endswith("gz-3") for pool in pools) == POOLS_MAX // 2
    assert "S5.N030@gz-4" in pools
    assert "S5.N031@gz-4" not in pools


def test_each_pool_goes_to_its_placement() -> None:
    desired = with_pools(
        desired_of(2, [], requirements=Requirements(), placements=tuple(ZONES)),
        Market({one.pool: one for one in SOLD}, NOW),
    )
    assert {placement for pool, placement in desired.pools if pool.zone == "gz-3"} == {ZONES[0]}


def test_who_names_types_gets_them_whatever_is_quoted() -> None:
    desired = desired_of(2)
    assert with_pools(desired, Market({one.pool: one for one in SOLD}, NOW)) is desired


@pytest.mark.parametrize(
    ("market", "word"),
    [(Market(), "not known yet"), (Market(unreliable_because="they are empty"), "not believed: they are empty")],
)
def test_without_quotes_nobody_knows_and_no_rest_is_forgotten(market: Market, word: str) -> None:
    desired = with_pools(
        desired_of(2, [], requirements=Requirements(), placements=tuple(ZONES), template=TEMPLATE), market
    )
    assert desired.pools == ()
    assert desired.unmet is not None
    assert word in desired.unmet
    ledger = ledger_of(backoff_of(Pool("gz-3", "S5.MEDIUM4")), backoff_of(None))
    assert synced(ledger, desired, observed_of()).ledger == ledger


# --- which quotes are believed ---------------------------------------------------------------------------------------

BEFORE = {one.pool: one for one in SOLD}


@pytest.mark.parametrize(
    ("sold", "word"),
    [
        pytest.param(SOLD, None, id="all-of-it"),
        pytest.param(SOLD[:3], None, id="half"),
        pytest.param(SOLD[:2], "2 pools are quoted, and 6 were before", id="less-than-half"),
        pytest.param([], "they are empty", id="empty"),
        pytest.param([offering("gz-3", "S5.MEDIUM4", "0")], "every price is 0 or missing", id="all-zero"),
        pytest.param([offering("gz-3", "S5.MEDIUM4", None)], "every price is 0 or missing", id="all-missing"),
        pytest.param(
            [offering("gz-9", f"S5.N{number}") for number in range(9)],
            "9 pools are quoted, and 6 were before",
            id="others-altogether",
        ),
    ],
)
def test_a_reading_is_doubted(sold: list[Offering], word: str | None) -> None:
    assert quotes_flaw(sold, BEFORE) == word


def test_the_first_reading_is_believed_if_it_has_a_price() -> None:
    assert quotes_flaw(SOLD[:1], {}) is None
    assert quotes_flaw([], {}) == "they are empty"
