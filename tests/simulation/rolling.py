"""Rolls of twenty instances, with crashes, sold-out pools and reverts; nothing is ended in vain, and each roll ends.

Apart from `history`, in which everything happens to everybody: here nothing but a roll-out ends an instance, so that
the judge knows at each release whether it was needed, and at each moment how many must run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from cvmsim.instance import Instance
from simulation.kubeworld import KubeTrouble, Object
from simulation.virtual import run_virtual
from simulation.world import IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, TYPES, ZONES, Outcome, World

NAME = NAMES_OF_ENVIRONMENTS[0]
REPLICAS = 20

#: Within so many seconds a change of the spec reaches a request that is on its way.
LATELY = 120.0

#: The longest that a roll of all may take once nothing is in its way.
ENDS_WITHIN = 7200.0


class Roll:
    """One environment that is changed again and again, and the judge of each commit, birth and release."""

    def __init__(self, seed: int) -> None:
        """Draws everything from the seed."""
        self._rng = random.Random(f"{seed}/roll")
        pick = self._rng.choice
        switches = {
            "pending-seconds": pick(["0", "3", "30"]),
            "terminating-seconds": pick(["0", "5", "60"]),
            "tag-lag": pick(["0", "5"]),
            "list-lag": pick(["0", "0", "30"]),
        }
        self.world = World(f"roll {seed}", [NAME], switches, pick([5.0, 15.0]))
        self.surge, self.unavailable = pick([(1, 0), (2, 0), (5, 0), (2, 1), (0, 1), (0, 3), (3, 3)])
        self.pause = pick([0, 0, 0, 10])
        self.world.surges[NAME] = self.surge
        self.world.features.add("roll-out")
        self._images: list[tuple[float, str]] = []
        self._is_full = False
        self.world.cloud.on_termination = self._judge_release
        self._judge_records = self.world.api.on_status
        self.world.api.on_status = self._judge_commit

    async def play(self) -> Outcome:
        """Fill, change and disturb, then let it end, and judge."""
        self._create()
        self.world.start_replicas(1)  # of several processes only the one that holds the Lease acts
        await self._until_settled(600.0)
        self._is_full = True
        for _ in range(self._rng.randint(1, 4)):
            self._disturb()
            await asyncio.sleep(self._rng.choice([5.0, 40.0, 150.0, 600.0]))
        self._heal()
        await self._until_settled(ENDS_WITHIN)
        for difference in [*self.world.differences(), *self._old_ones()]:
            self._complain(f"O13 the roll never ends: {difference}")
        self._judge_births()
        return self.world.outcome(str(self.world.seed))

    # --- what happens ------------------------------------------------------------------------------------------------

    def _create(self) -> None:
        strategy = {"maxSurge": self.surge, "maxUnavailable": self.unavailable, "pauseSeconds": self.pause}
        spec: dict[str, Any] = {
            "region": "ap-guangzhou",
            "replicas": REPLICAS,
            "placements": [{"zone": zone} for zone in ZONES[: self._rng.randint(1, 2)]],
            "instanceTypes": list(TYPES[: self._rng.randint(1, 2)]),
            "template": {"imageId": IMAGES[0]},
            "strategy": {"type": "RollingUpdate", **strategy},
            "credentialsSecretRef": {"name": SECRET},
        }
        self.world.want(NAME, REPLICAS)
        self._images.append((0.0, IMAGES[0]))
        self.world.api.create("default", NAME, spec)

    def _disturb(self) -> None:
        """A change or a revert, perhaps while pools are sold out, processes die, or the API server loses answers."""
        rng, loop = self._rng, asyncio.get_running_loop()
        image = IMAGES[1] if self._images[-1][1] == IMAGES[0] else IMAGES[0]
        self._images.append((loop.time(), image))
        self.world.api.change_spec("default", NAME, lambda spec: spec["template"].update(imageId=image))
        self.world.note(f"the image is {image}")
        if rng.random() < 0.5:
            self._stock(rng.choice([0, 1, 3]))
            loop.call_later(rng.choice([30.0, 300.0]), self._stock, 500)
        for _ in range(rng.choice([0, 0, 1, 3])):
            number = rng.randrange(len(self.world.replicas))
            loop.call_later(rng.uniform(0.0, 60.0), self.world.crash, number, rng.choice([0.1, 5.0, 30.0]))
        if rng.random() < 0.3:
            self.world.kube_trouble.refuse = self.world.kube_trouble.lose_answer = rng.choice([0.02, 0.1])

    def _stock(self, count: int) -> None:
        machines = self.world.cloud.simulator.world
        self.world.cloud.advance()
        for offering in machines.offerings.values():
            offering.set_stock(count, machines.now)

    def _heal(self) -> None:
        self._stock(500)
        self.world.kube_trouble.refuse = self.world.kube_trouble.lose_answer = KubeTrouble().refuse

    async def _until_settled(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(10)
            self.world.cloud.advance()
            self.world.check_alive()
            if not self.world.differences() and not self._old_ones():
                return

    # --- what is judged ----------------------------------------------------------------------------------------------

    def _complain(self, text: str) -> None:
        self.world.cloud.violations.append(text)

    def _lately(self) -> set[str]:
        """The images that were asked for within the time in which a request may still rest on them."""
        since = asyncio.get_running_loop().time() - LATELY
        before = [image for at, image in self._images if at < since][-1:]
        return {*before, *(image for at, image in self._images if at >= since)}

    def _old_ones(self) -> list[str]:
        return [f"{one.id} is old" for one in self.world.cloud.living() if one.order.image_id != self._images[-1][1]]

    def _judge_release(self, instances: Sequence[Instance]) -> None:
        """What goes is old, by the spec of now or of just before."""
        for one in instances:
            if one.is_live and {one.order.image_id} == self._lately():
                self._complain(f"O13 needless: {one.id} is as the spec asks for, and is ended")
        self._judge_running(instances)

    def _judge_commit(self, before: Object, after: Object) -> None:
        self._judge_records(before, after)
        self.world.cloud.advance()
        self._judge_running()

    def _judge_running(self, going: Sequence[Instance] = ()) -> None:
        """As many run as are promised, and no more live than may; `going` are told to end in this moment."""
        if not self._is_full:
            return
        living = [one for one in self.world.cloud.living() if one not in going]
        running, least = sum(one.state == "RUNNING" for one in living), REPLICAS - self.unavailable
        at = f"second {asyncio.get_running_loop().time():.0f}"
        if running < least:
            self._complain(f"O13 below: {running} run, and {least} are promised, {at}")
        if len(living) > REPLICAS + self.surge:
            self._complain(f"O13 above: {len(living)} live, and {REPLICAS + self.surge} may, {at}")

    def _judge_births(self) -> None:
        """Each launch after the first twenty has replaced one that was old."""
        ours = list(self.world.cloud.simulator.world.instances.values())
        gone = sum(not one.is_live for one in ours)
        if len(ours) != REPLICAS + gone:
            self._complain(f"O13 needless: {len(ours)} were launched, and {gone} have gone")


def roll(seed: int) -> Outcome:
    """Play the roll of `seed` to its end and judge it."""

    async def play() -> Outcome:
        return await Roll(seed).play()

    return run_virtual(play())
