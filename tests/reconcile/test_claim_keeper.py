"""Claims, the admission check and the number of instances, with an API server in memory and virtual time.

What the cloud does is played by hand here: a test says which machines live, and which nodes are ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

import objects
from clock import clock
from kube.claimed import ClaimServer, check, job, pod, refused, workload
from plan.given import A, desired_of, ledger_of, market_of, member, observed_of, situation_of
from spotcompute.api.events import Event
from spotcompute.kube.claim_port import Kind
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.port import KubeObject, KubePort
from spotcompute.kube.store import Store
from spotcompute.model.claim import CapacityWishes
from spotcompute.model.node import Node
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, INSTANCE_LABEL, NAMESPACE_LABEL, TYPE_LABEL
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.claim_keeper import BUSY_SECONDS, LOOK_SECONDS, MESSAGE_SECONDS, ClaimKeeper

pytestmark = pytest.mark.looptime

#: Some looks, and the first lists.
SOON = 6 * LOOK_SECONDS
IDLE = 60.0
KUEUE = (Kind.WORKLOADS, Kind.CHECKS, Kind.FLAVORS)
DRY = "0 of 0 instances run; ResourceInsufficient"


@dataclass
class Farm:
    """One environment that takes claims, its machines, and the keeper."""

    server: ClaimServer = field(default_factory=ClaimServer)
    machines: dict[str, bool] = field(default_factory=dict)  # id, and whether its node is ready
    events: list[Event] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    version: int = 1
    most: int = 6

    def __post_init__(self) -> None:
        self.store = Store(self.woken.append)
        self.put_environment(0)
        self.server.on_replicas = self._on_replicas
        self.restart()

    def restart(self) -> None:
        """A fresh process: it remembers nothing."""
        kube = cast(KubePort, self)
        cluster = Cluster("cluster-1", kube, self.store, None, None)  # type: ignore[arg-type]  # not asked here
        self.keeper = ClaimKeeper(cluster, self.server, self.nodes, clock, wake=self.woken.append)
        self.look()

    def put_environment(self, replicas: int, **capacity: Any) -> None:
        self.version += 1
        raw = objects.environment(self.version, name="farm", namespace="jobs")
        raw["spec"] = {"replicas": replicas, "capacity": {"from": "Claims", "maxReplicas": self.most, **capacity}}
        raw["status"] = {"conditions": [{"type": "Ready", "status": "False", "message": DRY}]}
        self.raw = raw
        self.store.put(raw)

    @property
    def replicas(self) -> int:
        return int(self.raw["spec"]["replicas"])

    def _on_replicas(self, replicas: int) -> None:
        self.server.replicas.append(replicas)
        self.put_environment(replicas)

    # --- what a run would say

    def situation(self) -> Situation:
        market = market_of({A: "0.1"})
        sizes = {pool: replace(one, vcpu=2, memory_gib=4) for pool, one in market.offerings.items()}
        wishes = CapacityWishes(self.most)
        desired = desired_of(self.replicas, [A], capacity=wishes)
        return situation_of(
            desired, ledger_of(*map(member, self.machines)), observed_of(market=replace(market, offerings=sizes))
        )

    def look(self) -> None:
        self.keeper.look("u1", self.situation())

    def buy(self, *, ready: bool = True) -> None:
        """As many machines live as are wanted, and their nodes are ready or not."""
        self.machines = {f"ins-{number}": ready for number in range(self.replicas)}
        self.look()

    # --- what the keeper asks of others

    def nodes(self) -> list[Node]:
        labels = {NAMESPACE_LABEL: "jobs", ENVIRONMENT_LABEL: "farm", TYPE_LABEL: A.instance_type}
        room = {"cpu": "2", "memory": "4Gi", "pods": "110"}
        return [
            Node(name, f"uid-{name}", "7", labels={**labels, INSTANCE_LABEL: name}, is_ready=ready, allocatable=room)
            for name, ready in self.machines.items()
        ]

    async def record(self, obj: KubeObject, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def farm() -> Farm:
    return Farm()


@pytest.fixture(autouse=True)
def running(farm: Farm) -> Iterator[list[asyncio.Task[None]]]:
    """Tasks that a test has started, ended after it."""
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()


def begin(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    """Starts the keeper; one that runs already ends, as a process that was killed."""
    while running:
        running.pop().cancel()
    running.append(asyncio.ensure_future(farm.keeper.run()))


def dead(running: list[asyncio.Task[None]]) -> bool:
    return any(task.done() for task in running)


async def test_a_claim_becomes_machines_begins_when_they_are_ready_and_leaves_none(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=20))
    begin(farm, running)
    await asyncio.sleep(SOON)
    assert farm.replicas == 5
    assert farm.server.state()["state"] == "Pending"
    assert farm.server.state()["message"] == f"0 of 5 nodes of environment jobs/farm are ready; {DRY}"
    assert farm.keeper.shown("u1")[0]["state"] == "Coming"
    assert "u1" in farm.woken, "the environment shows it soon"
    farm.buy(ready=False)
    await asyncio.sleep(SOON)
    assert farm.server.state()["state"] == "Pending"
    farm.buy()
    await asyncio.sleep(SOON)
    assert farm.server.state()["state"] == "Ready"
    assert farm.server.state()["message"] == "5 of 5 nodes of environment jobs/farm are ready"
    farm.server.put(Kind.WORKLOADS, workload(count=20, conditions=["Admitted"]))
    await asyncio.sleep(3 * IDLE)
    assert farm.replicas == 5
    farm.server.put(Kind.WORKLOADS, workload(count=20, conditions=["Admitted", "Finished"]))
    await asyncio.sleep(IDLE - SOON)
    assert farm.replicas == 5, "the next one may come soon"
    await asyncio.sleep(2 * SOON)
    assert farm.replicas == 0
    assert farm.keeper.shown("u1") == ()
    assert not dead(running)


async def test_in_a_dry_market_the_check_waits_and_writes_little(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=20))
    begin(farm, running)
    await asyncio.sleep(600)
    assert farm.server.state()["state"] == "Pending"
    assert len(farm.server.writes) <= 4
    farm.buy()
    await asyncio.sleep(SOON)
    assert farm.server.state()["state"] == "Ready"


@pytest.mark.parametrize(
    ("large", "says"),
    [
        pytest.param(workload(count=1000), "maxReplicas", id="more-than-there-may-ever-be"),
        pytest.param(
            {**workload(), "spec": {"podSets": [{"name": "main", "count": 1, "template": {"spec": pod("64")}}]}},
            "cpu",
            id="a-pod-that-fits-nowhere",
        ),
    ],
)
async def test_what_can_never_begin_waits_and_is_told_why(
    farm: Farm, running: list[asyncio.Task[None]], large: dict[str, Any], says: str
) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, large)
    begin(farm, running)
    await asyncio.sleep(60)
    assert (farm.server.state()["state"], farm.replicas) == ("Pending", 0)
    assert says in farm.server.state()["message"]


async def test_news_of_the_environment_reach_the_workload_but_not_in_a_storm(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=20))
    begin(farm, running)
    await asyncio.sleep(SOON)
    begun = len(farm.server.writes)
    for number in range(100):
        farm.put_environment(farm.replicas)
        farm.raw["status"]["conditions"][0]["message"] = f"look {number}"
        await asyncio.sleep(LOOK_SECONDS)
    assert len(farm.server.writes) - begun <= 100 * LOOK_SECONDS / MESSAGE_SECONDS + 1
    await asyncio.sleep(MESSAGE_SECONDS + LOOK_SECONDS)
    assert farm.server.state()["message"].endswith("look 99")


async def test_only_what_is_pending_is_answered(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    farm.server.put(Kind.CHECKS, check())
    for state in ("Rejected", "Retry", "Ready"):
        said = workload(state.lower(), count=4)
        said["status"]["admissionChecks"][0]["state"] = state
        farm.server.put(Kind.WORKLOADS, said)
    begin(farm, running)
    await asyncio.sleep(SOON)
    assert [kind for kind, _ in farm.server.writes] == [Kind.CHECKS]


async def test_what_is_done_needs_no_machine_any_more(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=20, conditions=["Admitted"]))
    begin(farm, running)
    await asyncio.sleep(SOON)
    farm.buy()
    done = {"conditions": ["Admitted"], "reclaimablePods": [{"name": "main", "count": 13}]}
    farm.server.put(Kind.WORKLOADS, workload(count=20, **done))
    await asyncio.sleep(IDLE + SOON)
    assert farm.replicas == 2


def jobset(*, conditions: list[str] | None = None, **done: int) -> dict[str, Any]:
    """The Workload that Kueue makes of a JobSet: a pod set for each of its Jobs, and the JobSet as its owner."""
    whole = workload("jobset-train", conditions=conditions or [])
    whole["metadata"]["ownerReferences"] = [
        {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "name": "train", "uid": "u9", "controller": True}
    ]
    whole["spec"]["podSets"] = [
        {"name": "driver", "count": 1, "template": {"spec": pod("1")}},
        {"name": "workers", "count": 8, "template": {"spec": pod("1")}},
    ]
    whole["status"]["reclaimablePods"] = [{"name": name, "count": count} for name, count in done.items()]
    return whole


async def test_a_jobset_is_a_claim_like_another(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, jobset())
    begin(farm, running)
    await asyncio.sleep(SOON)
    assert farm.replicas == 5, "nine pods of all its Jobs together, two on each machine"
    assert farm.server.state("jobset-train")["state"] == "Pending"
    farm.buy()
    await asyncio.sleep(SOON)
    assert farm.server.state("jobset-train")["state"] == "Ready"
    farm.server.put(Kind.WORKLOADS, jobset(conditions=["Admitted"], workers=7))
    await asyncio.sleep(IDLE + SOON)
    assert farm.replicas == 1, "its driver and one worker are left"
    farm.server.put(Kind.WORKLOADS, jobset(conditions=["Admitted", "Finished"]))
    await asyncio.sleep(IDLE + SOON)
    assert farm.replicas == 0


async def test_a_machine_that_works_is_kept_however_little_is_claimed(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.server.put(Kind.WORKLOADS, workload(count=20, conditions=["Admitted"]))
    farm.server.put(Kind.CHECKS, check())
    begin(farm, running)
    await asyncio.sleep(SOON)
    farm.buy()
    farm.server.busy = {"ins-0", "ins-3"}
    farm.server.remove(Kind.WORKLOADS, farm.server.workload())
    await asyncio.sleep(IDLE + SOON)
    assert farm.replicas == 2, "the three idle ones go"
    await asyncio.sleep(3 * IDLE)
    assert farm.replicas == 2
    farm.server.busy.clear()
    await asyncio.sleep(BUSY_SECONDS + SOON)
    assert farm.replicas == 0


async def test_a_job_without_pods_keeps_its_machines(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    """In back-off a Job has no pods. Capacity that followed pods would go, and come back, in mid-job."""
    farm.server.put(Kind.MARKED_JOBS, job(parallelism=8, completions=8))
    begin(farm, running)
    await asyncio.sleep(SOON)
    assert farm.replicas == 2
    farm.buy()
    farm.server.put(Kind.MARKED_JOBS, job(parallelism=8, completions=8, status={"active": 0, "failed": 3}))
    await asyncio.sleep(3 * IDLE)
    assert farm.replicas == 2


async def test_a_restart_loses_nothing_and_ends_nothing_early(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=20, conditions=["Admitted"]))
    begin(farm, running)
    await asyncio.sleep(SOON)
    farm.buy()
    farm.server.remove(Kind.WORKLOADS, farm.server.workload())
    await asyncio.sleep(IDLE / 2)
    farm.restart()
    begin(farm, running)
    await asyncio.sleep(IDLE - SOON)
    assert farm.replicas == 5, "what an earlier process has asked for is needed for a while"
    await asyncio.sleep(2 * SOON)
    assert farm.replicas == 0


async def test_nothing_is_decided_before_all_work_and_the_cloud_were_seen(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.put_environment(5)
    farm.server.trouble[Kind.WORKLOADS] = refused()
    farm.restart()
    begin(farm, running)
    await asyncio.sleep(3 * IDLE)
    assert farm.replicas == 5
    assert [event.reason for event in farm.events] == ["ClaimsNotRead"], "said once"
    farm.server.trouble.clear()
    await asyncio.sleep(IDLE + 60)
    assert farm.replicas == 0


async def test_before_the_cluster_s_nodes_are_listed_nothing_is_decided(
    farm: Farm, running: list[asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.put_environment(5)
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=24))
    monkeypatch.setattr(farm, "nodes", lambda: None)
    farm.restart()
    begin(farm, running)
    await asyncio.sleep(3 * IDLE)
    assert (farm.replicas, farm.server.state()["message"]) == (5, "")
    assert not dead(running)


async def test_while_work_cannot_be_read_nothing_goes_and_what_comes_is_served(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=8, conditions=["Admitted"]))
    begin(farm, running)
    await asyncio.sleep(SOON)
    farm.buy()
    farm.server.trouble[Kind.WORKLOADS] = refused()
    farm.server.remove(Kind.WORKLOADS, farm.server.workload())
    farm.server.cut(Kind.WORKLOADS)
    farm.server.put(Kind.MARKED_JOBS, job("more", parallelism=8, completions=8))
    await asyncio.sleep(3 * IDLE)
    assert farm.replicas == 2, "what was claimed is claimed no more, and that much is free"
    farm.server.put(Kind.MARKED_JOBS, job("more", parallelism=16, completions=16))
    await asyncio.sleep(SOON)
    assert farm.replicas == 4


async def test_without_kueue_it_is_said_once_and_jobs_count_by_themselves(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.server.uninstall(*KUEUE)
    farm.server.put(Kind.MARKED_JOBS, job(parallelism=8, completions=8))
    begin(farm, running)
    await asyncio.sleep(IDLE)
    assert farm.replicas == 2
    assert farm.events == []
    assert not dead(running)


async def test_kueue_that_is_removed_in_mid_job_takes_no_machine_away(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    labels = {ENVIRONMENT_LABEL: "farm", NAMESPACE_LABEL: "jobs"}
    let_go = job(
        labels={"kueue.x-k8s.io/queue-name": "spot"}, pod=pod(nodeSelector=labels), parallelism=20, completions=20
    )
    farm.server.put(Kind.QUEUED_JOBS, let_go)
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.WORKLOADS, workload(count=20, conditions=["Admitted"]))
    begin(farm, running)
    await asyncio.sleep(SOON)
    assert farm.replicas == 5, "the Job and its Workload are one claim"
    farm.buy()
    farm.server.uninstall(*KUEUE)
    await asyncio.sleep(3 * IDLE)
    assert farm.replicas == 5
    farm.server.remove(Kind.QUEUED_JOBS, let_go)
    await asyncio.sleep(IDLE + SOON)
    assert farm.replicas == 0


async def test_a_check_says_whether_it_names_an_environment(farm: Farm, running: list[asyncio.Task[None]]) -> None:
    farm.server.put(Kind.CHECKS, check())
    farm.server.put(Kind.CHECKS, check("typo", environment="fram"))
    farm.server.put(Kind.WORKLOADS, workload())
    lost = workload("lost")
    lost["status"]["admissionChecks"][0]["name"] = "typo"
    farm.server.put(Kind.WORKLOADS, lost)
    begin(farm, running)
    await asyncio.sleep(SOON)
    stands = {name: obj["status"]["conditions"][0] for name, obj in farm.server.objects_of[Kind.CHECKS].items()}
    assert stands["/farm"]["status"] == "True"
    assert (stands["/typo"]["status"], stands["/typo"]["message"]) == (
        "False", "there is no SpotComputeEnvironment fram",
    )  # fmt: skip
    assert farm.server.state("lost")["message"] == "there is no SpotComputeEnvironment fram"
    assert farm.server.state("lost")["state"] == "Pending"


async def test_an_object_that_makes_no_sense_keeps_no_other_from_being_read(
    farm: Farm, running: list[asyncio.Task[None]]
) -> None:
    farm.server.put(Kind.MARKED_JOBS, job("odd", parallelism="many", completions="some"))
    farm.server.put(Kind.MARKED_JOBS, job(parallelism=8, completions=8))
    begin(farm, running)
    await asyncio.sleep(SOON)
    assert farm.replicas == 2
    assert not dead(running)
