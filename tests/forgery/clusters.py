"""Two clusters in one account, with environments of the same names: each has its own API server and operators.

Apart from `scene`, since nobody lies here: both are right, and must leave each other alone.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simulation.cloudworld import CLUSTER_TAG, ORPHAN_SWEEP, Cloud
from simulation.virtual import run_virtual
from simulation.world import CLUSTER, IMAGES, SECRET, Outcome, World, catalog, hash_of

NAMES = ("env0", "env1")
CLUSTERS = (CLUSTER, "cluster-2")
TROUBLED_SECONDS = 900.0


class Shared(Cloud):
    """One cloud for several worlds: what each of them says of its environments is asked of the one concerned."""

    def __init__(self, seed: str, switches: Mapping[str, object]) -> None:
        super().__init__(catalog(), hash_of(seed), switches)
        self.sides: list[Side] = []

    def side(self, cluster: str) -> Side:
        """The same cloud as the operators of one cluster reach it."""
        side = Side(self, cluster)
        self.sides.append(side)
        self.allowed = lambda environment, window: max(one.allowed(environment, window) or 0 for one in self.sides)
        self.is_living = lambda environment: any(one.is_living(environment) for one in self.sides)
        self.owner_of_caller = self._owner_of_caller
        return side

    def _owner_of_caller(self, caller: str) -> str:
        cluster, _, rest = caller.partition(" ")
        return next((one.owner_of_caller(rest) for one in self.sides if one.cluster == cluster), "")


class Side(Cloud):
    """Everything is the shared cloud's but the callers, who bear their cluster's name there; and one more judge."""

    def __init__(self, shared: Shared, cluster: str) -> None:
        self.simulator, self.violations = shared.simulator, shared.violations
        self.pool_troubles, self.on_request, self.on_list = shared.pool_troubles, shared.on_request, shared.on_list
        self.cluster, self.mutations, self._shared = cluster, 0, shared
        self._given, self.silent_zones = shared._given, shared.silent_zones
        self.takeovers, self.on_sending = shared.takeovers, shared.on_sending

    def advance(self) -> None:
        """As of the shared cloud."""
        self._shared.advance()

    def carry_out(self, account: str, action: str, parameters: dict[str, Any], caller: str, was_late: bool) -> Any:
        """One request of this cluster reaches the cloud."""
        if action == "TerminateInstances":
            for instance_id in parameters.get("InstanceIds", []):
                born = self.simulator.world.instances[instance_id].order.tags.get(CLUSTER_TAG)
                # What has changed hands since is judged by whose it is now.
                if born != self.cluster and instance_id not in self._given:
                    self.violations.append(f"O3 foreign kill: {caller} of {self.cluster} ends {instance_id} of {born}")
        known = caller if caller == ORPHAN_SWEEP else f"{self.cluster} {caller}"
        answer = self._shared.carry_out(account, action, parameters, known, was_late)
        self.mutations = self._shared.mutations
        return answer


class Clusters:
    """Both worlds, in which the same things may happen at different times."""

    def __init__(self, seed: str, switches: Mapping[str, object] | None = None, replicas: int = 1) -> None:
        quick = {"pending-seconds": "3", "terminating-seconds": "5", "tag-lag": "2"}
        self.cloud = Shared(seed, {**quick, **(switches or {})})
        self.worlds = {
            cluster: World(f"{seed}/{cluster}", NAMES, {}, cluster=cluster, cloud=self.cloud.side(cluster))
            for cluster in CLUSTERS
        }
        self._replicas = replicas

    def create(self, cluster: str, name: str, replicas: int, **spec: Any) -> None:
        """Apply an environment in one cluster."""
        world = self.worlds[cluster]
        world.want(name, replicas)
        usual = {
            "region": "ap-guangzhou",
            "replicas": replicas,
            "placements": [{"zone": "ap-guangzhou-3"}],
            "instanceTypes": ["S2.MEDIUM4"],
            "market": {"maxPrice": "0.5"},
            "template": {"imageId": IMAGES[0]},
            "credentialsSecretRef": {"name": SECRET},
        }
        world.api.create("default", name, usual | spec)

    def scale(self, cluster: str, name: str, replicas: int) -> None:
        """kubectl scale."""
        self.worlds[cluster].want(name, replicas)
        self.worlds[cluster].api.change_spec("default", name, lambda spec: spec.update(replicas=replicas))

    def delete(self, cluster: str, name: str, by_force: bool = False) -> None:
        """kubectl delete; by force somebody takes off the finalizer too."""
        world = self.worlds[cluster]
        world.want(name, 0)
        if by_force:
            world.api.edit("default", name, lambda obj: obj["metadata"].update(finalizers=[]))
        world.api.delete("default", name)

    def start(self) -> None:
        """Start the operators of both."""
        for world in self.worlds.values():
            world.start_replicas(self._replicas)

    def living(self, cluster: str) -> set[str]:
        """Ids of the live machines that were born in one cluster."""
        return {one.id for one in self.cloud.living() if one.order.tags.get(CLUSTER_TAG) == cluster}

    def clone(self, name: str, origin: str, target: str) -> None:
        """Restore one object with annotations and status, as from a backup, in the other cluster too."""
        original = copy.deepcopy(self.worlds[origin].api.objects["default", name])
        annotations = original["metadata"]["annotations"]
        api = self.worlds[target].api
        api.create("default", name, original["spec"], annotations=annotations, finalizers=[])
        api.edit("default", name, lambda obj: obj.update(status=original["status"]))

    async def close(self) -> tuple[str, ...]:
        """Both must be as their own objects say."""
        for world in self.worlds.values():
            world.heal()
        for world in self.worlds.values():
            await world.converge()
        return tuple(dict.fromkeys(self.cloud.violations))


async def _play(seed: int) -> Outcome:
    rng = random.Random(f"{seed}/clusters")
    lag = rng.choice(["0", "5", "30"])
    switches = {
        "list-lag": lag,
        "tag-lag": rng.choice(["0", "2", "30"]),
        "terminating-seconds": rng.choice(["0", "60"]),
    }
    clusters = Clusters(str(seed), switches, rng.choice([1, 1, 2]))
    for cluster in CLUSTERS:
        for name in NAMES:
            clusters.create(cluster, name, rng.randint(0, 4))
    clusters.start()
    while asyncio.get_running_loop().time() < TROUBLED_SECONDS:
        await asyncio.sleep(rng.choice([1, 5, 30, 60]))
        cluster, name, luck = rng.choice(CLUSTERS), rng.choice(NAMES), rng.random()
        world = clusters.worlds[cluster]
        world.cloud.advance()
        obj = world.api.objects.get(("default", name))
        if obj is None:
            clusters.create(cluster, name, rng.randint(0, 4))
        elif luck < 0.4 and "deletionTimestamp" not in obj["metadata"]:
            clusters.scale(cluster, name, rng.randint(0, 4))
        elif luck < 0.55:
            clusters.delete(cluster, name, by_force=rng.random() < 0.5)
        elif luck < 0.75 and clusters.living(cluster):
            taken = rng.choice(sorted(clusters.living(cluster)))
            world.cloud.simulator.world.reclaim([world.cloud.simulator.world.instances[taken]], 0.0)
        elif luck < 0.9:
            world.crash(rng.randrange(len(world.replicas)), rng.choice([0.1, 30.0]))
    await clusters.close()
    first, *others = (world.outcome(f"neighbours {seed}") for world in clusters.worlds.values())
    return replace(first, records=first.records + sum(other.records for other in others))


def neighbours(seed: int) -> Outcome:
    """Two clusters live through a quarter of an hour of trouble; what must never happen and did."""
    return run_virtual(_play(seed))
