"""Pools in use are shown with price and stock, and never more than a bounded number of them."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import objects
from plan.given import A, B, market_of
from spotcompute.model.offering import Market, Pool
from spotcompute.telemetry.pools import POOLS_MAX, Pools


def environment(*pools: tuple[Pool, int, int]) -> dict[str, Any]:
    shown = [
        {"zone": pool.zone, "instanceType": pool.instance_type, "instances": count, "reclaims": taken}
        for pool, count, taken in pools
    ]
    return {**objects.environment(), "status": {"pools": shown}}


def series(objects: list[dict[str, Any]], *markets: Market) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(Pools(lambda: objects, lambda: markets, "CNY"))
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_pool_in_use_shows_price_stock_instances_and_reclaims_of_all_environments() -> None:
    market = market_of({A: "0.10", B: "0.12"}, sold_out=[A])
    assert series([environment((A, 2, 1)), environment((A, 1, 0))], market) == {
        'spotenv_pool_price{currency="CNY",instance_type="S5.MEDIUM4",zone="ap-guangzhou-3"}': 0.10,
        'spotenv_pool_stock{instance_type="S5.MEDIUM4",zone="ap-guangzhou-3"}': 0,
        'spotenv_pool_instances{instance_type="S5.MEDIUM4",zone="ap-guangzhou-3"}': 3,
        'spotenv_pool_reclaims{instance_type="S5.MEDIUM4",zone="ap-guangzhou-3"}': 1,
    }


def test_what_the_market_does_not_quote_has_no_price() -> None:
    assert not [name for name in series([environment((A, 1, 0))]) if "price" in name or "stock" in name]


def test_the_pools_with_the_most_instances_are_shown_and_the_rest_is_not() -> None:
    many = [(Pool("z-1", f"S5.T{number}"), number, 0) for number in range(3 * POOLS_MAX)]
    found = [name for name in series([environment(*many)]) if "pool_instances" in name]
    assert len(found) == POOLS_MAX
    assert any(f'"S5.T{3 * POOLS_MAX - 1}"' in name for name in found)


@pytest.mark.parametrize("status", [None, {}, {"pools": "none"}, {"pools": [{"zone": "z"}]}, {"pools": [3]}])
def test_a_status_that_somebody_broke_hides_no_other(status: Any) -> None:
    broken = {**objects.environment(name="broken"), "status": status}
    assert len(series([broken, environment((A, 1, 0))])) == 2
