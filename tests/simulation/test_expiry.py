"""An environment that expires releases everything within a sweep, buys nothing any more, and keeps its object."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from simulation.world import EPOCH_UTC
from spotcompute.api.times import to_text

EXPIRES_AFTER = 600


def status_of(stage: Stage) -> dict[str, Any]:
    status: dict[str, Any] = stage.world.api.objects["default", NAME]["status"]
    return status


@pytest.mark.parametrize("field", ["expiresAt", "ttlSeconds"])
def test_all_is_released_within_a_sweep_and_the_object_stays(field: str) -> None:
    async def play() -> None:
        stage = Stage(f"expiry-{field}", {}, [NAME], {})
        at = to_text(EPOCH_UTC + timedelta(seconds=EXPIRES_AFTER))
        stage.create(3, **{field: at if field == "expiresAt" else EXPIRES_AFTER})
        stage.start()
        await asyncio.sleep(EXPIRES_AFTER - 5)
        stage.world.cloud.advance()
        assert len(stage.living()) == 3
        await asyncio.sleep(5 + 15 + 5)  # one sweep, and the time an instance takes to end
        stage.world.cloud.advance()
        assert stage.living() == []
        await asyncio.sleep(7200)
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 3
        assert (status_of(stage)["phase"], status_of(stage)["reason"]) == ("Expired", "Expired")
        assert not any(one["status"] == "True" for one in status_of(stage)["conditions"])
        assert stage.world.cloud.violations == []

    run_virtual(play())


def test_a_later_time_brings_the_instances_back() -> None:
    async def play() -> None:
        stage = Stage("expiry-later", {}, [NAME], {})
        stage.create(2, expiresAt=to_text(EPOCH_UTC + timedelta(seconds=EXPIRES_AFTER)))
        stage.start()
        await asyncio.sleep(EXPIRES_AFTER + 60)
        assert status_of(stage)["phase"] == "Expired"
        stage.change("expiresAt", to_text(EPOCH_UTC + timedelta(days=1)))
        await stage.ready()
        assert len(stage.living()) == 2

    run_virtual(play())


def test_a_paused_environment_keeps_its_instances_until_it_goes_on() -> None:
    async def play() -> None:
        stage = Stage("expiry-paused", {}, [NAME], {})
        stage.create(2, expiresAt=to_text(EPOCH_UTC + timedelta(seconds=EXPIRES_AFTER)))
        stage.start()
        await stage.ready()
        stage.change("paused", True)
        await asyncio.sleep(EXPIRES_AFTER + 60)
        stage.world.cloud.advance()
        assert len(stage.living()) == 2
        assert status_of(stage)["phase"] == "Paused"
        stage.change("paused", False)
        await stage.until(lambda: not stage.living())

    run_virtual(play())
