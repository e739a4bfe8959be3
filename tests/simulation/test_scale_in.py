"""Who leaves when fewer are wanted, and what becomes of on demand, judged by the simulator's own books."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from quiet import silence  # noqa: F401 - a fixture of this module
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual

ZONES = ["ap-guangzhou-3", "ap-guangzhou-4"]


def zones_of(stage: Stage) -> Counter[str]:
    return Counter(instance.order.zone for instance in stage.living())


def scaled(title: str, before: int, after: int, change: dict[str, Any] | None = None, **spec: Any) -> Counter[str]:
    """Where instances live after a change of the spec and of replicas."""

    async def play() -> Counter[str]:
        stage = Stage(title, {}, [NAME], {})
        stage.create(before, 2, **spec)
        stage.start()
        await stage.ready()
        for key, value in (change or {}).items():
            stage.change(key, value)
        stage.scale(after)
        await stage.ready()
        assert not stage.world.cloud.violations
        return zones_of(stage)

    return run_virtual(play())


def test_balanced_zones_stay_balanced() -> None:
    found = scaled("balanced", 6, 2, market={"maxPrice": "0.5", "zonePolicy": "Balanced"})
    assert found == Counter(ZONES)


def test_a_removed_zone_is_left_first() -> None:
    placements = [{"zone": ZONES[1]}]
    balanced = {"maxPrice": "0.5", "zonePolicy": "Balanced"}
    assert scaled("removed", 4, 2, {"placements": placements}, market=balanced) == {ZONES[1]: 2}


def test_on_demand_gives_way_when_its_fallback_is_taken_out() -> None:
    async def play() -> None:
        stage = Stage("no fallback", {}, [NAME], {})
        stage.stock(ZONES[0], "S2.MEDIUM4", 0)
        stage.create(3, onDemandFallback={"afterSeconds": 1, "maxReplicas": 3})
        stage.start()
        await stage.ready()
        assert all(one.order.charge_type == "POSTPAID_BY_HOUR" for one in stage.living())
        stage.change("onDemandFallback", None)
        await asyncio.sleep(120)
        assert len(stage.living()) == 3  # spot is sold out
        stage.stock(ZONES[0], "S2.MEDIUM4", 100)
        fewest = 3
        for _ in range(300):
            await asyncio.sleep(1)
            stage.world.cloud.advance()
            fewest = min(fewest, len(stage.living()))
        assert [one.order.charge_type for one in stage.living()] == ["SPOTPAID"] * 3
        assert fewest == 2
        assert not stage.world.cloud.violations

    run_virtual(play())
