"""Quotes are read once for all, and a reading that cannot be true leaves what was known. In virtual time."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from cloud.scripted import ENV, MINE, ScriptedCloud, inventory_of
from plan.given import A, market_of
from spotcompute.cloud.errors import Throttled
from spotcompute.model.offering import Offering, Pool

pytestmark = pytest.mark.looptime


async def test_quotes_are_read_once_a_minute() -> None:
    cloud = ScriptedCloud(offerings=list(market_of({A: "0.1"}).offerings.values()))
    inventory = inventory_of(cloud)
    for _ in range(13):
        assert (await inventory.observe(ENV, [], [])).market.price(A) is not None
        await asyncio.sleep(10)
    assert cloud.times("market") == [0, 60, 120]


async def test_a_market_that_cannot_be_read_keeps_its_last_quotes() -> None:
    cloud = ScriptedCloud(offerings=list(market_of({A: "0.1"}).offerings.values()))
    inventory = inventory_of(cloud)
    first = await inventory.observe(ENV, [], [])
    cloud.trouble["market"] = Throttled("RequestLimitExceeded", "slow down")
    await asyncio.sleep(61)
    later = await inventory.observe(ENV, [], [])
    assert later.market == first.market
    assert len(cloud.times("market")) == 2


async def test_a_market_that_was_never_read_is_empty_and_not_an_error() -> None:
    cloud = ScriptedCloud(listed=[MINE], trouble={"market": Throttled("RequestLimitExceeded", "slow down")})
    assert (await inventory_of(cloud).observe(ENV, [], [])).market.offerings == {}


def quoting(*prices: str | None) -> list[Offering]:
    """What a reading shows: as many pools of one zone, at these prices."""
    names = [Pool("ap-guangzhou-3", f"S5.N{number}") for number in range(len(prices))]
    return list(market_of(dict(zip(names, prices, strict=True))).offerings.values())


@pytest.mark.parametrize(
    ("prices", "doubt", "believed_after"),
    [
        pytest.param([], "they are empty", None, id="empty"),
        pytest.param(["0", None, "0", None], "every price is 0 or missing", None, id="no-price"),
        pytest.param(["0.2"], "1 pools are quoted, and 4 were before", 3, id="a-part-said-three-times"),
        pytest.param(["0.2", "0.2"], None, 1, id="half"),
    ],
)
async def test_a_reading_that_is_not_believed_leaves_what_was(
    prices: list[str | None], doubt: str | None, believed_after: int | None
) -> None:
    cloud = ScriptedCloud(offerings=quoting("0.1", "0.1", "0.1", "0.1"))
    inventory = inventory_of(cloud)
    first = (await inventory.observe(ENV, [], [])).market
    cloud.offerings = quoting(*prices)
    for reading in range(1, 6):
        await asyncio.sleep(60)
        market = (await inventory.observe(ENV, [], [])).market
        if believed_after is not None and reading >= believed_after:
            assert (len(market.offerings), market.unreliable_because) == (len(prices), None)
        else:
            assert (market.offerings, market.observed_at, market.unreliable_because) == (
                first.offerings,
                first.observed_at,
                doubt,
            )


async def test_a_doubt_is_logged_once_until_a_reading_is_believed_again() -> None:
    cloud = ScriptedCloud(offerings=quoting("0.1"))
    inventory = inventory_of(cloud)
    with capture_logs() as lines:
        for offerings in (quoting("0.1"), [], [], [], [], quoting("0.1"), []):
            cloud.offerings = offerings
            await inventory.observe(ENV, [], [])
            await asyncio.sleep(60)
    told = [line["why"] for line in lines if line["event"] == "market_doubted"]
    assert told == ["they are empty"] * 2


async def test_the_doubt_is_over_with_the_next_good_reading() -> None:
    cloud = ScriptedCloud()
    inventory = inventory_of(cloud)
    assert (await inventory.observe(ENV, [], [])).market.unreliable_because == "they are empty"
    cloud.offerings = quoting("0.1")
    await asyncio.sleep(60)
    assert (await inventory.observe(ENV, [], [])).market.unreliable_because is None


async def test_quotes_that_cannot_be_read_for_long_are_not_reckoned_with() -> None:
    cloud = ScriptedCloud(offerings=quoting("0.1"))
    inventory = inventory_of(cloud)
    await inventory.observe(ENV, [], [])
    cloud.trouble["market"] = Throttled("RequestLimitExceeded", "slow down")
    for minute in range(1, 13):
        await asyncio.sleep(60)
        doubt = (await inventory.observe(ENV, [], [])).market.unreliable_because
        assert (doubt is not None) is (minute > 10)


async def test_who_reckons_with_prices_has_them_read_now_and_others_do_not() -> None:
    cloud = ScriptedCloud(offerings=quoting("0.1"))
    inventory = inventory_of(cloud)
    for is_fresh in (False, True, False, True):
        await inventory.observe(ENV, [], [], is_fresh)
        await asyncio.sleep(1)
    assert cloud.times("market") == [0, 1, 3]


async def test_nobody_decides_without_quotes_while_the_first_ones_are_being_read() -> None:
    """Otherwise, after a restart, all but the first environment would rank its pools without prices."""
    cloud = ScriptedCloud(offerings=list(market_of({A: "0.1"}).offerings.values()), latency=1)
    inventory = inventory_of(cloud)
    observed = await asyncio.gather(*(inventory.observe(ENV, [], []) for _ in range(3)))
    assert [item.market.price(A) is not None for item in observed] == [True, True, True]
    assert len(cloud.times("market")) == 1
