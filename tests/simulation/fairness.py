"""A neighbour's trouble at most doubles a wait: the same losses are played without the trouble, and with it.

Several environments of one account. One is healthy: it loses an instance now and then, and how long its place stays
empty is measured by the cloud's own books. The others have one trouble, the same for all of them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from simulation.virtual import run_virtual
from simulation.world import IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, Outcome, World
from spotcompute.settings import Settings

HEALTHY, *NEIGHBOURS = NAMES_OF_ENVIRONMENTS[:13]
ZONE, TYPE = "ap-guangzhou-4", "S5.MEDIUM4"
ELSEWHERE = ("ap-guangzhou-3", "ap-guangzhou-6")

#: How many instances the healthy environment loses, and the least time between two losses in seconds.
LOSSES, PAUSE_SECONDS = 6, 90.0

#: A wait may be that many times as long beside neighbours in trouble, and a second more: looks have their own beat.
FACTOR, GRAIN_SECONDS = 2.0, 1.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What all neighbours ask for, and what the cloud does to them."""

    spec: dict[str, Any]
    begin: Callable[[World], None] = lambda world: None


def _sell_nothing_elsewhere(world: World) -> None:
    for (zone, _), offering in world.cloud.simulator.world.offerings.items():
        if zone != ZONE:
            offering.set_stock(0, world.cloud.simulator.world.now)


def _answer_nothing_elsewhere(world: World) -> None:
    world.cloud.silent_zones = frozenset(ELSEWHERE)


def _leave_in_doubt_elsewhere(world: World) -> None:
    pools = world.cloud.simulator.world.offerings
    world.cloud.pool_troubles.update({pool: "InternalServerError" for pool in pools if pool[0] != ZONE})


def _stop_all_that_runs(world: World) -> None:
    async def stop() -> None:
        while True:
            await asyncio.sleep(20)
            for instance in world.cloud.living():
                if instance.state == "RUNNING" and instance.order.zone != ZONE:
                    world.cloud.simulator.world.stop(instance, "it powered itself off", None)

    world.stopper = asyncio.ensure_future(stop())  # type: ignore[attr-defined]  # else nothing keeps the task


TROUBLES = {
    "nothing-is-sold": Trouble({}, _sell_nothing_elsewhere),
    "many-pools-sell-nothing": Trouble(
        {"instanceTypes": None, "instanceRequirements": {"cpu": {"min": 1}}}, _sell_nothing_elsewhere
    ),
    "a-wrong-template": Trouble({"template": {"imageId": "img-00000000"}}),
    "every-launch-in-doubt": Trouble({}, _leave_in_doubt_elsewhere),
    "no-answer": Trouble({}, _answer_nothing_elsewhere),
    "machines-stop-by-themselves": Trouble({}, _stop_all_that_runs),
}


def fairness(seed: int) -> Outcome:
    """Play the same losses without any trouble, and with the one that `seed` draws; complain of a wait that grew."""
    rng = random.Random(f"{seed}/fairness")
    return beside(rng.choice(sorted(TROUBLES)), rng.choice([3, 6, 12]), seed)


def beside(trouble: str, count: int, seed: int) -> Outcome:
    """Play that trouble of so many neighbours."""
    alone, _ = run_virtual(_waits(seed, None, count))
    waits, outcome = run_virtual(_waits(seed, trouble, count))
    complaints = [*outcome.violations]
    if max(waits) > FACTOR * max(alone) + GRAIN_SECONDS:
        complaints.append(
            f"O13 fairness: a loss is made good after {max(waits):.1f} s beside {count} neighbours ({trouble}),"
            f" and after {max(alone):.1f} s at most without"
        )
    return Outcome(**{**{key: getattr(outcome, key) for key in Outcome.__slots__}, "violations": tuple(complaints)})


async def _waits(seed: int, trouble: str | None, count: int) -> tuple[list[float], Outcome]:
    """How long each loss of the healthy environment takes to be made good, in seconds, and what the play came to."""
    name = f"{seed}/fairness"
    quick = {"pending-seconds": "3", "terminating-seconds": "5"}
    world = World(name, [HEALTHY, *NEIGHBOURS[:count]], {**quick, "reclaim-visible": "terminating"})
    world.play_with_defaults()
    # The losses are close together, and the pool shall be trusted nevertheless.
    world.policy, world.workers = replace(world.policy, early_loss=timedelta(seconds=30)), Settings().workers
    _create(world, HEALTHY, 3, {"placements": [{"zone": ZONE}]})
    if trouble is not None:
        TROUBLES[trouble].begin(world)
        for neighbour in NEIGHBOURS[:count]:
            _create(world, neighbour, 5, TROUBLES[trouble].spec)
    world.start_replicas(1)
    rng, waits = random.Random(f"{name}/losses"), []
    await asyncio.sleep(300)
    for _ in range(LOSSES):
        waits.append(await _wait_after_a_loss(world, rng))
        await asyncio.sleep(rng.uniform(PAUSE_SECONDS, 2 * PAUSE_SECONDS))
    world.check_alive()
    return waits, world.outcome(name)


def _create(world: World, name: str, replicas: int, spec: dict[str, Any]) -> None:
    world.want(name, replicas)
    usual = {
        "region": "ap-guangzhou",
        "replicas": replicas,
        "placements": [{"zone": zone} for zone in ELSEWHERE],
        "instanceTypes": [TYPE, "S5.LARGE8"] if name != HEALTHY else [TYPE],
        "market": {"maxPrice": "50"},
        "template": {"imageId": IMAGES[0]},
        "credentialsSecretRef": {"name": SECRET},
    }
    asked = {key: value for key, value in {**usual, **spec}.items() if value is not None}
    world.api.create("default", name, asked)


async def _wait_after_a_loss(world: World, rng: random.Random) -> float:
    """A person ends one of its instances; how long until there are three again. Ten minutes at most."""
    cloud, loop = world.cloud, asyncio.get_running_loop()
    cloud.advance()
    ours = sorted((one for one in cloud.living() if one.order.zone == ZONE), key=lambda one: one.id)
    cloud.simulator.world.terminate(rng.choice(ours), "console", None)
    began = loop.time()
    while loop.time() < began + 600:
        await asyncio.sleep(0.1)
        cloud.advance()
        if sum(one.order.zone == ZONE for one in cloud.living()) >= 3:
            break
    return loop.time() - began
