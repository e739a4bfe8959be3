"""What comes with a machine costs: asked for once in a while, shared, and never in the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from clock import clock
from cloud.scripted import ScriptedCloud
from plan.given import A, market_of
from spotcompute.cloud.equipment_prices import ANSWERS_MAX, KEPT, RETRY, WAIT_MAX, EquipmentPrices
from spotcompute.cloud.errors import InvalidCredentials, Throttled
from spotcompute.model.launch import Disk, Template
from spotcompute.model.offering import Market, Pool

pytestmark = pytest.mark.looptime

PLAIN = Template("img-1")
LARGE = replace(PLAIN, system_disk=Disk("CLOUD_SSD", 500))
B, ELSEWHERE = Pool(A.zone, "S5.LARGE8"), Pool("zone-z", "S5.MEDIUM4")
MARKET = market_of({A: "0.1", B: "0.2"}, extra=None)  # 1 and 2 on demand


def cloud_with(*prices: str, **other: object) -> ScriptedCloud:
    return ScriptedCloud(list_prices={A.zone: Decimal(prices[0])}, **other)


async def ask(prices: EquipmentPrices, template: Template = PLAIN, market: Market = MARKET) -> dict[str, Decimal]:
    return dict(await prices.extras_for(template, [A, B], market, "env"))


async def test_what_is_more_than_the_machine_is_its_equipments() -> None:
    cloud = cloud_with("1.25")
    assert await ask(EquipmentPrices(lambda: cloud, clock)) == {A.zone: Decimal("0.25")}
    assert len(cloud.times("price")) == 1, "one pool speaks for its zone"


async def test_a_price_without_disks_makes_them_free_and_not_negative() -> None:
    assert await ask(EquipmentPrices(lambda: cloud_with("0.9"), clock)) == {A.zone: 0}


async def test_an_answer_is_kept_for_hours_and_asked_for_again() -> None:
    cloud = cloud_with("1.25")
    prices = EquipmentPrices(lambda: cloud, clock)
    for _ in range(3):
        await ask(prices)
        await asyncio.sleep(60)
    cloud.list_prices[A.zone] = Decimal("1.5")
    assert await ask(prices) == {A.zone: Decimal("0.25")}
    await asyncio.sleep(KEPT.total_seconds())
    assert await ask(prices) == {A.zone: Decimal("0.5")}
    assert len(cloud.times("price")) == 2


async def test_machines_equipped_alike_share_an_answer_and_others_do_not() -> None:
    cloud = cloud_with("1.25", latency=2.0)
    prices = EquipmentPrices(lambda: cloud, clock)
    other = replace(PLAIN, image_id="img-2", tags=(("team", "blue"),))
    await asyncio.gather(ask(prices), ask(prices, other), ask(prices, other))
    assert len(cloud.times("price")) == 1
    await ask(prices, LARGE)
    assert len(cloud.times("price")) == 2


@pytest.mark.parametrize("error", [Throttled("RequestLimitExceeded", "slow"), InvalidCredentials("AuthFailure", "no")])
async def test_a_refusal_is_no_trouble_and_is_asked_about_again_before_long(error: Exception) -> None:
    cloud = cloud_with("1.25", trouble={"price": error})
    prices = EquipmentPrices(lambda: cloud, clock)
    assert await ask(prices) == {}
    assert await ask(prices) == {}
    assert len(cloud.times("price")) == 1
    cloud.trouble.clear()
    await asyncio.sleep(RETRY.total_seconds())
    assert await ask(prices) == {A.zone: Decimal("0.25")}


async def test_what_was_told_before_goes_on_while_nothing_is_answered() -> None:
    cloud = cloud_with("1.25")
    prices = EquipmentPrices(lambda: cloud, clock)
    await ask(prices)
    await asyncio.sleep(KEPT.total_seconds())
    cloud.trouble["price"] = Throttled("RequestLimitExceeded", "slow")
    assert await ask(prices) == {A.zone: Decimal("0.25")}
    assert await ask(prices) == {A.zone: Decimal("0.25")}
    assert len(cloud.times("price")) == 2


async def test_whoever_stops_waiting_leaves_the_answer_to_the_others() -> None:
    cloud = cloud_with("1.25", latency=2.0)
    prices = EquipmentPrices(lambda: cloud, clock)
    impatient, patient = asyncio.create_task(ask(prices)), asyncio.create_task(ask(prices))
    await asyncio.sleep(1)
    impatient.cancel()
    assert await patient == {A.zone: Decimal("0.25")}
    assert len(cloud.times("price")) == 1


@pytest.mark.parametrize(
    ("market", "asked"),
    [
        pytest.param(Market(), [], id="no-machine-alone-to-compare-with"),
        pytest.param(market_of({A: "0.2", B: "0.1"}), [B], id="the-cheapest"),
        pytest.param(market_of({A: "0.1", B: "0.2"}, sold_out=[A]), [B], id="one-that-is-in-stock"),
        pytest.param(market_of({A: "0.1", B: "0.2"}, sold_out=[A, B]), [A], id="or-else-one-that-is-not"),
        pytest.param(market_of({A: None, ELSEWHERE: "0.1"}), [ELSEWHERE], id="one-of-each-zone-with-a-price"),
    ],
)
async def test_which_pool_is_asked_about(market: Market, asked: list[Pool]) -> None:
    pools: list[Pool] = []

    class Asked(ScriptedCloud):
        async def list_price(self, pool: Pool, template: Template, on_behalf_of: str) -> Decimal:
            pools.append(pool)
            return Decimal(100)

    await EquipmentPrices(Asked, clock).extras_for(PLAIN, [A, B, ELSEWHERE], market, "env")
    assert pools == asked


async def test_memory_is_bounded() -> None:
    cloud = cloud_with("1.25")
    prices = EquipmentPrices(lambda: cloud, clock)
    for size in range(ANSWERS_MAX + 2):
        await ask(prices, replace(PLAIN, system_disk=Disk("CLOUD_SSD", size)))
    await ask(prices, replace(PLAIN, system_disk=Disk("CLOUD_SSD", ANSWERS_MAX + 1)))
    assert len(cloud.times("price")) == ANSWERS_MAX + 2
    await ask(prices, replace(PLAIN, system_disk=Disk("CLOUD_SSD", 0)))
    assert len(cloud.times("price")) == ANSWERS_MAX + 3


async def test_nobody_waits_long_for_an_answer_and_it_is_known_when_it_comes() -> None:
    cloud = cloud_with("1.25", latency=30.0)
    prices = EquipmentPrices(lambda: cloud, clock)
    before = asyncio.get_running_loop().time()
    assert await ask(prices) == {}
    assert asyncio.get_running_loop().time() - before == WAIT_MAX.total_seconds()
    await asyncio.sleep(30)
    assert await ask(prices) == {A.zone: Decimal("0.25")}
    assert len(cloud.times("price")) == 1
