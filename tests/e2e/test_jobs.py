"""Jobs decide how many machines there are: through the real Kueue, where it is built, and by themselves.

Kueue is not built for `make test`; `make kueue` builds it once, and then its tests run as well.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import CRDS
from e2e.running import OF_ITS_RIGHTS, Operator, grant_shipped_rights
from e2e.simulator import ROOT, Simulator, world
from e2e.stage import Stage
from local.test_guests import BOOTSTRAP, TOKEN
from localcluster.controlplane import ControlPlane
from localcluster.kueue import Kueue, KueueFinder
from localcluster.processes import Child
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, INSTANCE_LABEL
from waiting import PATIENCE_SECONDS, eventually, throughout

pytestmark = pytest.mark.e2e

Object = dict[str, Any]
OVERLAY = ROOT / "deploy" / "overlays" / "jobs"
WITH_ITS_POLICIES = [*OF_ITS_RIGHTS, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
has_kueue = KueueFinder().find("kueue") is not None
through_kueue = pytest.mark.skipif(not has_kueue, reason="Kueue is not built: `make kueue`")

#: Seconds that machines which nobody needs are kept.
IDLE_SECONDS = 2
CAPACITY = {
    "from": "Claims",
    "maxReplicas": 6,
    "idleSeconds": IDLE_SECONDS,
    "reserved": {"cpuMillis": 0, "memoryMiB": 0},
}
TASKS = 20


@dataclass(frozen=True)
class Cluster:
    """A control plane that machines can join, the simulated cloud, and Kueue where it is built."""

    plane: ControlPlane
    cloud: Simulator
    kubeconfig: Path
    directory: Path
    kueue: list[Kueue]

    def start_kueue(self) -> None:
        self.kueue.append(Kueue.start(self.plane, self.directory / f"kueue-{len(self.kueue)}"))


@dataclass(frozen=True)
class Farm:
    """An environment's namespace, and the kubectl of its admin."""

    cluster: Cluster
    stage: Stage
    operator: Operator

    @property
    def name(self) -> str:
        """The check, the flavor and both queues bear the name of the namespace."""
        return self.stage.namespace

    def nodes(self) -> dict[str, Object]:
        items = self.cluster.plane.kubectl.json("get", "nodes")["items"]
        return {
            node["metadata"]["name"]: node for node in items if INSTANCE_LABEL in node["metadata"].get("labels", {})
        }

    def running(self) -> dict[str, list[str]]:
        """The pods that run, by node."""
        found: dict[str, list[str]] = {}
        for pod in self.stage.kubectl.json("get", "pods")["items"]:
            if pod["status"].get("phase") == "Running":
                found.setdefault(pod["spec"]["nodeName"], []).append(pod["metadata"]["name"])
        return found

    def job(self) -> Object:
        status: Object = self.stage.kubectl.json("get", "job", "render").get("status", {})
        return status

    def workload(self) -> Object:
        items: list[Object] = self.stage.kubectl.json("get", "workloads")["items"]
        return items[0] if items else {}

    def check(self) -> Object:
        """What the Workload says about our check."""
        checks: list[Object] = self.workload().get("status", {}).get("admissionChecks", [])
        return checks[0] if checks else {}

    def replicas(self) -> int:
        return int((self.stage.get() or {})["spec"].get("replicas", 0))

    def live(self) -> int:
        return len(self.cluster.cloud.running(self.stage.account))

    def set_stock(self, count: int) -> None:
        self.cluster.cloud.post("stock", zone=self.stage.account.zones[0], type="S5.MEDIUM4", stock=count)

    def apply(self, **spec: Any) -> None:
        """An environment whose machines join by their user data, and whose number work decides."""
        template = {"imageId": "img-pmqg1cw7", "userData": f"kubeadm join 10.0.0.1:6443 --token {TOKEN}"}
        self.stage.apply("web", replicas=None, template=template, **({"nodes": {}, "capacity": CAPACITY} | spec))

    def queue(self) -> None:
        """One queue of this namespace that hands out the environment's cores."""
        selected = {ENVIRONMENT_LABEL: "web", "node-restriction.kubernetes.io/spotcompute-namespace": self.name}
        parameters = {"apiGroup": "spotcompute.dev", "kind": "SpotComputeEnvironment", "name": "web"}
        quota = [{"name": self.name, "resources": [{"name": "cpu", "nominalQuota": 12}]}]
        queue = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.name}},
            "resourceGroups": [{"coveredResources": ["cpu"], "flavors": quota}],
            "admissionChecksStrategy": {"admissionChecks": [{"name": self.name}]},
        }
        checked = {"controllerName": "spotcompute.dev/environment", "parameters": parameters}
        where = {"spotcompute.dev/environment-namespace": self.name}
        objects = [
            ("ResourceFlavor", {}, {"nodeLabels": selected}),
            ("AdmissionCheck", {"annotations": where}, checked),
            ("ClusterQueue", {}, queue),
            ("LocalQueue", {"namespace": self.name}, {"clusterQueue": self.name}),
        ]
        made = [
            {
                "apiVersion": "kueue.x-k8s.io/v1beta2",
                "kind": kind,
                "metadata": {"name": self.name, **more},
                "spec": spec,
            }
            for kind, more, spec in objects
        ]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": made})
        eventually(lambda: self.cluster.plane.kubectl.run("apply", "-f", "-", stdin=text), "Kueue takes its objects")

    def submit(self, seconds: float, tasks: int = TASKS, cpu: str = "500m", **more: Any) -> None:
        """A Job that may fail no task, and for which a machine that was taken is no failure."""
        container = {"name": "work", "image": "x", "resources": {"requests": {"cpu": cpu}}}
        template = {
            "metadata": {"annotations": {"guest.spotcompute.dev/seconds": str(seconds)}},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
        }
        spec = {
            "completions": tasks,
            "parallelism": tasks,
            "completionMode": "Indexed",
            "backoffLimitPerIndex": 0,
            "maxFailedIndexes": 0,
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            "template": template,
        }
        metadata = {"name": "render", **more.pop("metadata", {"labels": {"kueue.x-k8s.io/queue-name": self.name}})}
        template["spec"] |= more
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
        self.stage.kubectl.apply(json.dumps(job))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    directory = tmp_path_factory.mktemp("jobs")
    with ControlPlane(nodes=True, crds=CRDS) as plane:
        plane.kubectl.apply(BOOTSTRAP)
        cloud = Simulator.start(directory, world=world(8))
        command = [sys.executable, "-m", "localguests", "--kubeconfig", str(plane.kubeconfig), "--boot-seconds=0.2"]
        command += ["--ready-file", str(directory / "simulator.json")]
        environment = {**os.environ, "PYTHONPATH": "deploy/local"}
        guests = Child.start("guests", command, log=directory / "guests.log", env=environment, cwd=ROOT)
        kubeconfig = grant_shipped_rights(plane)
        rendered = yaml.safe_load_all(plane.kubectl.run("kustomize", str(OVERLAY)))
        plane.kubectl.apply(yaml.safe_dump_all([item for item in rendered if item["kind"] in WITH_ITS_POLICIES]))
        yield Cluster(plane, cloud, kubeconfig, directory, [])
        guests.stop()
        cloud.stop()


@pytest.fixture
def farm(cluster: Cluster, tmp_path: Path) -> Iterator[Farm]:
    stage = Stage(cluster.plane, cluster.cloud, f"farm-{os.urandom(3).hex()}", tmp_path)
    log, endpoint = tmp_path / "operator.log", cluster.cloud.endpoint
    settings = {"NAMESPACE": stage.namespace, "NODES": "true", "CLAIMS": "true"}
    operator = Operator(cluster.kubeconfig, endpoint, log, **settings)
    operator.start()
    yield Farm(cluster, stage, operator)
    stage.kubectl.run("delete", "job", "--all", "--wait=false")
    stage.kubectl.run("delete", "sce", "--all", f"--timeout={PATIENCE_SECONDS:g}s")
    operator.kill9()
    operator.judge()
    stage.judge()
    stage.close()


def test_marked_jobs_bring_machines_and_take_them_away_again(farm: Farm) -> None:
    """Without a queue: a label makes a Job a claim, from its first pod to its last."""
    farm.apply()
    farm.stage.until_reason("AllReplicasReady")
    assert farm.replicas() == 0
    farm.submit(
        seconds=3, tasks=8, metadata={"labels": {"spotcompute.dev/environment": "web"}},
        nodeSelector={ENVIRONMENT_LABEL: "web"},
    )  # fmt: skip
    farm.stage.until(lambda obj: obj["status"].get("claims"), "the claim is shown")
    eventually(lambda: farm.replicas() == 2, "eight halves of a core need two machines")
    eventually(lambda: farm.job().get("succeeded") == 8, "8 of 8")
    assert not farm.job().get("failed")
    eventually(lambda: farm.replicas() == 0 and farm.live() == 0, "nothing is left when nothing is wanted")
    farm.stage.until(lambda obj: "claims" not in obj["status"], "and no claim is shown")


@pytest.fixture
def queued(farm: Farm) -> Farm:
    """The farm behind a queue of the real Kueue."""
    if not farm.cluster.kueue:
        farm.cluster.start_kueue()
    farm.apply()
    farm.queue()
    return farm


@through_kueue
def test_a_queued_job_waits_with_its_reason_survives_two_reclaims_and_leaves_nothing(queued: Farm) -> None:
    queued.set_stock(0)
    queued.submit(seconds=12)

    def says_why() -> bool:
        state = queued.check()
        return state.get("state") == "Pending" and "ResourceInsufficient" in state.get("message", "")

    eventually(says_why, "the Workload says in the environment's words why it waits")
    assert "0 of 5 nodes of environment" in queued.check()["message"]
    assert queued.stage.kubectl.json("get", "job", "render")["spec"]["suspend"]
    throughout(lambda: queued.check().get("state") == "Pending", "it only waits", 3)
    returned = time.monotonic()
    queued.set_stock(100)
    eventually(lambda: len(queued.nodes()) == 5, "five machines join")
    joined = time.monotonic()
    eventually(lambda: sum(map(len, queued.running().values())) >= 16, "the tasks run")
    noticed, taken = sorted(queued.running())[:2]
    queued.stage.announced = 1
    queued.cluster.cloud.post("interrupt", instances=[noticed], notice_seconds=8)
    queued.cluster.cloud.post("interrupt", instances=[taken], notice_seconds=0)
    eventually(lambda: queued.job().get("succeeded") == TASKS, f"{TASKS} of {TASKS}", 120)
    ended = time.monotonic()
    assert not queued.job().get("failed", 0) or not queued.job().get("failedIndexes")
    eventually(lambda: queued.replicas() == 0 and queued.live() == 0, "nothing is left")
    left = time.monotonic() - ended
    print(f"joined {joined - returned:.1f} s after stock, done {ended - joined:.1f} s later, empty after {left:.1f} s")
    assert left <= IDLE_SECONDS + 30


@through_kueue
def test_work_that_fits_nowhere_or_is_too_much_is_told_so_and_buys_nothing(queued: Farm) -> None:
    queued.submit(seconds=1, tasks=1, cpu="4")
    eventually(lambda: "no type is large enough" in queued.check().get("message", ""), "it is told")
    queued.stage.kubectl.run("delete", "job", "render")
    queued.stage.patch(capacity={"maxReplicas": 1})
    queued.submit(seconds=1, tasks=8)
    eventually(lambda: "spec.capacity.maxReplicas" in queued.check().get("message", ""), "it is told what bounds it")
    assert queued.check()["state"] == "Pending"
    assert (queued.replicas(), queued.live()) == (0, 0)
    queued.stage.patch(capacity={"maxReplicas": 6})
    eventually(lambda: queued.job().get("succeeded") == 8, "8 of 8 once it may have them")


@through_kueue
@pytest.mark.rare  # a claim survives both in tests/simulation/test_claims.py too
def test_kueue_and_the_operator_may_be_away_in_mid_job(queued: Farm) -> None:
    queued.submit(seconds=6, tasks=8)
    eventually(lambda: sum(map(len, queued.running().values())) == 8, "the tasks run")
    queued.operator.kill9()
    queued.cluster.kueue[-1].stop()
    queued.cluster.plane.kubectl.run("delete", "crd", "-l", "app.kubernetes.io/name=kueue", "--ignore-not-found")
    definitions = queued.cluster.plane.kubectl.run("get", "crd", "-o", "name").split()
    kinds = [name for name in definitions if name.endswith("kueue.x-k8s.io")]
    queued.cluster.plane.kubectl.run("delete", *kinds, "--wait=false")
    for kind in ("workloads", "clusterqueues", "resourceflavors", "admissionchecks", "localqueues"):
        release(queued, kind)
    queued.operator.start()
    eventually(lambda: queued.job().get("succeeded") == 8, "8 of 8")
    assert not queued.job().get("failed")
    eventually(lambda: queued.replicas() == 0 and queued.live() == 0, "and nothing is left")
    queued.cluster.kueue.clear()


def release(farm: Farm, kind: str) -> None:
    """Takes Kueue's finalizers off, as somebody who removes it does."""
    kubectl = farm.cluster.plane.kubectl
    try:
        items = kubectl.json("get", f"{kind}.kueue.x-k8s.io", "--all-namespaces")["items"]
    except Exception:  # the kind is gone already
        return
    for item in items:
        where = ["-n", item["metadata"]["namespace"]] if "namespace" in item["metadata"] else []
        patch = ["--type=merge", "-p", '{"metadata":{"finalizers":null}}']
        kubectl.run("patch", f"{kind}.kueue.x-k8s.io", item["metadata"]["name"], *where, *patch)
