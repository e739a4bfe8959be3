"""Work that waits for a dry market: however long it lasts, it begins soon after stock returns, and once it has ended
nothing is left. Operator, cloud and claims play together in virtual time; Kueue and the machines' inside are played.
"""

from __future__ import annotations

import asyncio
import os
from typing import cast

import pytest

from kube.claimed import ClaimServer, check, workload
from quiet import silence  # noqa: F401 - a fixture of this module
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from spotcompute.kube.claim_port import Kind
from spotcompute.kube.cluster import Cluster
from spotcompute.model.node import Node
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, INSTANCE_LABEL, NAMESPACE_LABEL, TYPE_LABEL
from spotcompute.reconcile import claim_keeper
from spotcompute.reconcile.claim_keeper import ClaimKeeper

#: A machine takes so long from RUNNING until its node is ready.
BOOT_SECONDS = 30.0

#: How many days the market is dry in the rare test. `DRY_DAYS=7` is the figure of docs/figures.md, and takes long.
DRY_DAYS = float(os.environ.get("DRY_DAYS", "1"))

TASKS, MACHINES, IDLE_SECONDS = 20, 5, 60
ROOM = {"cpu": "2", "memory": "4Gi", "pods": "110"}


class Farm:
    """An environment that takes claims, its nodes, and Kueue as far as it matters."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.server = stage, ClaimServer()
        self.server.on_replicas = stage.scale
        self._seen_running: dict[str, float] = {}
        self.server.put(Kind.CHECKS, check(environment=NAME))
        replica = stage.world.replicas[0]
        cluster = Cluster("cluster-1", cast("object", self), replica.store, None, None)  # type: ignore[arg-type]  # not asked
        keeper = ClaimKeeper(cluster, self.server, self.nodes, replica.clock, wake=replica.queue.add)
        replica.reconciler.claims = keeper
        self._tasks = [asyncio.ensure_future(keeper.run())]

    def nodes(self) -> list[Node]:
        """A node for each machine that has run for long enough."""
        now = asyncio.get_running_loop().time()
        running = [one for one in self.stage.living() if one.state == "RUNNING"]
        self._seen_running = {one.id: self._seen_running.get(one.id, now) for one in running}
        return [
            Node(
                one.id,
                f"uid-{one.id}",
                "7",
                labels=labels(one.id, one.order.type.name),
                is_ready=True,
                allocatable=ROOM,
            )
            for one in running
            if now - self._seen_running[one.id] >= BOOT_SECONDS
        ]

    @property
    def state(self) -> dict[str, str]:
        return self.server.state()

    def submit(self) -> None:
        self.server.put(Kind.WORKLOADS, workload(count=TASKS))

    def end(self, *conditions: str) -> None:
        self.server.put(Kind.WORKLOADS, workload(count=TASKS, conditions=["Admitted", *conditions]))


def labels(instance_id: str, instance_type: str) -> dict[str, str]:
    marks = {NAMESPACE_LABEL: "default", ENVIRONMENT_LABEL: NAME, INSTANCE_LABEL: instance_id}
    return marks | {TYPE_LABEL: instance_type}


@pytest.mark.parametrize("days", [0.04, pytest.param(DRY_DAYS, marks=pytest.mark.rare)], ids=["an-hour", "days"])
def test_a_job_begins_soon_after_a_long_dry_market_and_leaves_nothing(
    days: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry_seconds = days * 86_400
    monkeypatch.setattr(claim_keeper, "LOOK_SECONDS", 2.0)

    async def play() -> None:
        stage = Stage("dry-market", {}, [NAME], {})
        stage.world.play_with_defaults()
        stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 0)
        capacity = {"from": "Claims", "maxReplicas": 6, "idleSeconds": IDLE_SECONDS}
        reserved = {"cpuMillis": 0, "memoryMiB": 0}
        stage.create(0, nodes={}, capacity={**capacity, "reserved": reserved})
        stage.start()
        farm = Farm(stage)
        farm.submit()
        await asyncio.sleep(dry_seconds)
        assert farm.state["state"] == "Pending"
        assert "0 of 5 nodes" in farm.state["message"]
        assert "InsufficientCapacity" in farm.state["message"] or "ResourceInsufficient" in farm.state["message"]
        assert stage.living() == []
        writes = len(farm.server.writes)
        assert writes <= 10 + dry_seconds / 30, "news of the market reach the Workload, and do not flood it"
        stage.stock("ap-guangzhou-3", "S2.MEDIUM4", 100)
        returned = asyncio.get_running_loop().time()
        await stage.until(lambda: farm.state["state"] == "Ready")
        waited = asyncio.get_running_loop().time() - returned
        print(f"dry for {dry_seconds / 3600:g} h, {writes} writes; may begin {waited:.0f} s after stock returned")
        assert waited <= 60 + BOOT_SECONDS + 25, "a minute, the launch, and the boot"
        assert len(stage.living()) == MACHINES
        farm.end()
        await asyncio.sleep(600)
        assert len(stage.living()) == MACHINES
        farm.end("Finished")
        ended = asyncio.get_running_loop().time()
        await stage.until(lambda: not stage.living())
        print(f"nothing left {asyncio.get_running_loop().time() - ended:.0f} s after the end")
        assert asyncio.get_running_loop().time() - ended <= IDLE_SECONDS + 30
        assert not stage.world.cloud.violations

    run_virtual(play())
