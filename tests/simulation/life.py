"""What else a history draws of the life of environments and instances: ends, ages, sizes, limits, cordons and marks.

Apart from `history` and `wishes`, with dice of its own: what else a seed draws stays as it was without them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from simulation.marks import Marks
from simulation.objectworld import ObjectServer
from simulation.world import EPOCH_UTC, ZONES
from spotcompute.api.cordon import CORDON_ZONE
from spotcompute.api.times import to_text

if TYPE_CHECKING:
    from simulation.world import World

Spec = dict[str, Any]

#: Part of the environments with each.
EXPIRES, AGES, LIMITED, IN_VCPU = 0.12, 0.12, 0.15, 0.12

#: Part of the histories whose instances have objects, and in which zones are cordoned.
OBJECTS, CORDONS = 0.3, 0.25

#: Troubles after which nobody can say any more when an environment expires.
TIMELESS = frozenset({"clock", "rewind", "migrate"})


class Life:
    """`Life` draws what the specs of one history ask for besides, and what people mark while it plays."""

    def __init__(self, seed: int) -> None:
        """Draws the same for the same seed."""
        self._seed, self._rng = seed, random.Random(f"{seed}/life")
        self._has_objects, self._has_cordons = self._rng.random() < OBJECTS, self._rng.random() < CORDONS
        self._expiries: dict[str, asyncio.TimerHandle] = {}

    def begin(self, world: World) -> None:
        """Give the world objects of instances, and the judge of what is marked; before any process starts."""
        world.marks = Marks(world)
        if self._has_objects:
            world.objects = ObjectServer(self._seed)
            world.features.add("marks")
        if self._has_cordons:
            world.features.add("cordons")

    def added_to(self, spec: Spec, name: str, world: World, until: float) -> Spec:
        """The spec with what it asks for besides; as the API server takes it. Everything expires before `until`."""
        rng = random.Random(f"{self._seed}/life/{name}")
        spec, draws = {**spec}, [rng.random() for _ in range(4)]
        is_plain = "gang" not in spec and spec.get("requestPolicy") != "OneTime"
        is_tight = spec.get("limits", {}).get("maxHourlyCost", "50") != "50"
        if draws[0] < AGES and is_plain and not is_tight:
            spec["maxAgeSeconds"] = rng.choice([600, 900])
            world.surges[name] = spec.get("strategy", {}).get("maxSurge", 1)
            world.features.add("ages")
        elif draws[1] < LIMITED and is_plain and "strategy" not in spec:
            limit = {"maxReplicas": rng.choice([2, 4])} if rng.random() < 0.5 else {"maxVcpu": rng.choice([5, 8])}
            spec["limits"] = {**spec.get("limits", {}), **limit}
            world.features.add("limited")
        elif draws[2] < IN_VCPU and is_plain and "instanceTypes" in spec and "onDemand" not in spec:
            spec["capacityUnit"] = "vCPU"
            if "steal" not in world.features:  # what is stolen is of that type, so that it fits no launch
                spec["instanceTypes"] = rng.sample([*spec["instanceTypes"], "S5.LARGE8"], len(spec["instanceTypes"]))
            world.surges[name] = 4 * world.surges.get(name, 0)
            world.features.add("vcpu")
        self._forget(name, world)
        now = asyncio.get_running_loop().time()
        if draws[3] < EXPIRES and not TIMELESS & world.features and until - now > 90:
            spec |= self._expiring(rng, name, world, until)
        return spec

    def _expiring(self, rng: random.Random, name: str, world: World, until: float) -> Spec:
        loop = asyncio.get_running_loop()
        seconds = int(rng.uniform(60.0, until - loop.time() - 20.0))
        self._expiries[name] = loop.call_later(seconds, world.expire, name)
        world.features.add("expires")
        if rng.random() < 0.5:
            return {"ttlSeconds": seconds}
        return {"expiresAt": to_text(EPOCH_UTC + timedelta(seconds=loop.time() + seconds))}

    def _forget(self, name: str, world: World) -> None:
        """Another object of that name has a time of its own."""
        world.expired.discard(name)
        if (former := self._expiries.pop(name, None)) is not None:
            former.cancel()

    def disturb(self, world: World, names: Collection[str]) -> None:
        """Perhaps a person marks something now."""
        objects = world.objects
        if objects is not None:
            objects.collect(
                lambda namespace, uid: any(one["metadata"]["uid"] == uid for one in world.api.objects.values())
            )
            if self._rng.random() < 0.5 and objects.objects:
                self._mark(objects, world)
        if self._has_cordons and self._rng.random() < 0.2:
            self._cordon(self._rng.choice(sorted(names)), world)

    def _mark(self, objects: ObjectServer, world: World) -> None:
        key = self._rng.choice(sorted(objects.objects))
        kind = self._rng.choice(["protect", "protect", "lift", "first", "cost", "unhealthy", "keep", "delete"])
        world.note(f"mark {kind} {key[1]}")
        if kind == "delete":
            world.marks.ask_for_the_end_of(key[1])
            objects.delete(key)
            return
        if kind == "unhealthy":
            world.marks.ask_for_the_end_of(key[1])
        marks = {
            "protect": {"do_not_terminate": "true"},
            "lift": {"do_not_terminate": "false", "delete_first": "false", "unhealthy": "false", "keep": "0s"},
            "first": {"delete_first": "true"},
            "cost": {"deletion_cost": self._rng.choice(["5", "-5", "much"])},
            "unhealthy": {"unhealthy": "true"},
            "keep": {"keep": self._rng.choice(["1m", "10m", "for ever"])},
        }
        objects.mark(key, **marks[kind])
        if kind in ("protect", "lift"):
            world.marks.protect(key[1], is_protected=kind == "protect")

    def _cordon(self, name: str, world: World) -> None:
        """Close some zones, for ever or for a while; or open all."""
        zones = self._rng.sample(ZONES, self._rng.randint(0, len(ZONES)))
        end = EPOCH_UTC + timedelta(seconds=asyncio.get_running_loop().time() + self._rng.choice([60.0, 400.0]))
        text = ",".join(zone + self._rng.choice(["", f"@{to_text(end)}"]) for zone in zones)
        world.note(f"cordon {name} {text}")
        world.annotate(name, CORDON_ZONE, text)

    def heal(self, world: World) -> None:
        """Open all zones and take off all marks; instances may become as old as they will, and a part expires later."""
        for handle in self._expiries.values():
            handle.cancel()
        for name in world.names:
            world.annotate(name, CORDON_ZONE, "")
            world.api.change_spec("default", name, lambda spec: spec.pop("maxAgeSeconds", None))
            if name in world.expired and self._rng.random() < 0.5:
                world.live_on(name)
        if world.objects is not None:
            for key in sorted(world.objects.objects):
                world.objects.mark(key, do_not_terminate="false", keep="0s")
                world.marks.protect(key[1], is_protected=False)
