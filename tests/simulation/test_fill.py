"""A fill takes as long as its calls at the documented rate and the boot of the last machine, and hardly longer.

Virtual time, so that nothing but the protocol is measured: who waits for what, never how fast this machine is.
`make bench-scale` measures the same on real parts.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from quiet import silence
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT, IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, World
from spotcompute.cloud.pacer import Pacer
from spotcompute.cloud.tencent.provider import RATES
from spotcompute.settings import Settings

__all__ = ["silence"]

IN_ONE_CALL, CALLS_PER_SECOND, BOOT_SECONDS = 100, 10.0, 3.0

#: The most that a fill may take, compared with its calls at the rate and the boot.
TIMES = 1.15

SPEC = {
    "region": "ap-guangzhou",
    "placements": [{"zone": "ap-guangzhou-3"}],
    "instanceTypes": ["S5.MEDIUM4"],
    "template": {"imageId": IMAGES[0]},
    "credentialsSecretRef": {"name": SECRET},
}


async def fill(environments: int, replicas: int) -> tuple[World, float]:
    """The world after it, and the seconds from the first object until the last environment is Ready."""
    names = NAMES_OF_ENVIRONMENTS[:environments]
    world = World(f"fill-{environments}-{replicas}", names, {"pending-seconds": f"{BOOT_SECONDS:g}", "tag-lag": "0"})
    world.play_with_defaults()
    world.workers, world.pacer = Settings().workers, Pacer(RATES)
    world.cloud_trouble.latency = 0.02
    cloud = world.cloud.simulator.world
    for offering in cloud.offerings.values():
        offering.set_stock(100_000, world.cloud.now)
    cloud.quotas[ACCOUNT] = dict.fromkeys(cloud.quotas[ACCOUNT], 100_000)
    world.start_replicas(1)
    await asyncio.sleep(10)
    since = asyncio.get_running_loop().time()
    for name in names:
        world.want(name, replicas)
        world.api.create("default", name, {**SPEC, "replicas": replicas})
    took = 0.0
    while took < 60 and not all(obj["status"].get("phase") == "Ready" for obj in world.api.objects.values()):
        await asyncio.sleep(0.02)
        world.cloud.advance()
        took = asyncio.get_running_loop().time() - since
    return world, took


@pytest.mark.parametrize(("environments", "replicas"), [(1, 2000), (20, 50)])
def test_a_fill_takes_hardly_longer_than_its_calls_and_the_boot(environments: int, replicas: int) -> None:
    async def play() -> None:
        world, took = await fill(environments, replicas)
        needed = environments * -(-replicas // IN_ONE_CALL)
        optimum = needed / CALLS_PER_SECOND + BOOT_SECONDS
        launches = [one.time for one in world.cloud.simulator.ledger.requests() if one.action == "RunInstances"]
        assert world.cloud.violations == []
        assert len(launches) == needed
        assert all(later - earlier > 1.0 for earlier, later in pairwise(launches[:: int(CALLS_PER_SECOND)]))
        assert took <= TIMES * optimum, f"{took:.2f} s, {took / optimum:.2f} times the optimum"

    run_virtual(play())
