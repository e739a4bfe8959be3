"""Machines join a real cluster as nodes, run its jobs, are taken with and without notice, and leave nothing behind."""

from __future__ import annotations

import base64
import json
import os
import sys
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
from localcluster.certificates import new_request
from localcluster.controlplane import ControlPlane
from localcluster.kubectl import KubectlError
from localcluster.processes import Child
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, INSTANCE_LABEL, STARTUP_TAINT
from waiting import PATIENCE_SECONDS, eventually, throughout

pytestmark = pytest.mark.e2e

Object = dict[str, Any]
OVERLAY = ROOT / "deploy" / "overlays" / "nodes"
REQUESTS = "certificatesigningrequests"


@dataclass(frozen=True)
class Farm:
    """A cluster that machines may join, an environment's namespace, and the kubectl of its admin."""

    plane: ControlPlane
    stage: Stage
    cloud: Simulator

    def nodes(self) -> dict[str, Object]:
        return {node["metadata"]["name"]: node for node in self.plane.kubectl.json("get", "nodes")["items"]}

    def bound(self) -> list[str]:
        """The names of nodes that the operator has bound, and that show their readiness."""
        return [name for name, node in self.nodes().items() if INSTANCE_LABEL in labels_of(node)]

    def pods(self) -> list[Object]:
        items: list[Object] = self.stage.kubectl.json("get", "pods")["items"]
        return items

    def on(self, node: str) -> list[str]:
        """The pods that work on a node."""
        return [pod["metadata"]["name"] for pod in self.pods()
                if pod["spec"].get("nodeName") == node and pod["status"]["phase"] == "Running"]  # fmt: skip

    def job(self, name: str) -> Object:
        status: Object = self.stage.kubectl.json("get", "job", name).get("status", {})
        return status


def labels_of(node: Object) -> Object:
    labels: Object = node["metadata"].get("labels", {})
    return labels


def job(tasks: int, seconds: float) -> str:
    template = {
        "metadata": {"annotations": {"guest.spotcompute.dev/seconds": str(seconds)}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {ENVIRONMENT_LABEL: "web"},
            "containers": [{"name": "work", "image": "x", "resources": {"requests": {"cpu": "500m"}}}],
        },
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
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "render"}, "spec": spec})


@pytest.fixture(scope="module")
def joinable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlPlane, Simulator, Path]]:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    directory = tmp_path_factory.mktemp("joinable")
    with ControlPlane(nodes=True, crds=CRDS) as plane:
        plane.kubectl.apply(BOOTSTRAP)
        cloud = Simulator.start(directory, world=world(8))
        command = [sys.executable, "-m", "localguests", "--kubeconfig", str(plane.kubeconfig), "--boot-seconds=0.2"]
        command += ["--ready-file", str(directory / "simulator.json"), "--task-seconds=2"]
        environment = {**os.environ, "PYTHONPATH": "deploy/local"}
        guests = Child.start("guests", command, log=directory / "guests.log", env=environment, cwd=ROOT)
        kubeconfig = grant_shipped_rights(plane)
        yield plane, cloud, kubeconfig
        guests.stop()
        cloud.stop()


@pytest.fixture
def farm(joinable: tuple[ControlPlane, Simulator, Path], tmp_path: Path) -> Iterator[Farm]:
    plane, cloud, kubeconfig = joinable
    grant_overlay(plane)
    stage = Stage(plane, cloud, f"farm-{os.urandom(3).hex()}", tmp_path)
    operator = Operator(kubeconfig, cloud.endpoint, tmp_path / "operator.log", NAMESPACE=stage.namespace, NODES="true")
    operator.start()
    yield Farm(plane, stage, cloud)
    stage.kubectl.run("delete", "sce", "--all", f"--timeout={PATIENCE_SECONDS:g}s")
    plane.kubectl.run("delete", "node", "worker-1", "--ignore-not-found")
    eventually(lambda: not plane.kubectl.json("get", "nodes")["items"], "no node is left")
    operator.kill9()
    operator.judge()
    stage.judge()
    stage.close()


def grant_overlay(plane: ControlPlane) -> None:
    rendered = yaml.safe_load_all(plane.kubectl.run("kustomize", str(OVERLAY)))
    wanted = [*OF_ITS_RIGHTS, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]
    plane.kubectl.apply(yaml.safe_dump_all([item for item in rendered if item["kind"] in wanted]))


def join(farm: Farm, replicas: int, **spec: Any) -> None:
    """An environment whose machines join by their user data."""
    template = {"imageId": "img-pmqg1cw7", "userData": f"kubeadm join 10.0.0.1:6443 --token {TOKEN}"}
    farm.stage.apply("web", replicas=replicas, template=template, **({"nodes": {}} | spec))


def test_a_job_survives_two_machines_that_are_taken_one_without_notice(farm: Farm) -> None:
    join(farm, 3, nodes={"labels": {"team": "render"}})
    eventually(lambda: len(farm.bound()) == 3, "three nodes are bound")
    node = next(iter(farm.nodes().values()))
    assert node["metadata"]["labels"]["team"] == "render"
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == farm.stage.account.zones[0]
    assert all(taint["key"] != STARTUP_TAINT for taint in node["spec"].get("taints", []))
    farm.stage.kubectl.apply(job(tasks=9, seconds=15))
    eventually(lambda: all(farm.on(name) for name in farm.nodes()), "every machine works")
    noticed, taken = sorted(farm.bound())[:2]
    farm.stage.announced = 1
    farm.cloud.post("interrupt", instances=[noticed], notice_seconds=120)
    farm.cloud.post("interrupt", instances=[taken], notice_seconds=0)
    eventually(lambda: farm.nodes()[noticed]["spec"].get("unschedulable"), "it gets no new pods")
    eventually(lambda: not farm.on(noticed), "its pods leave before its end")
    eventually(lambda: len(set(farm.bound()) - {taken}) == 4, "two new ones, one of them early")
    assert noticed in farm.nodes(), "and the machine itself lives on"
    assert farm.stage.kubectl.json("get", "si", noticed)["status"]["note"].startswith("has notice")
    farm.cloud.post("interrupt", instances=[noticed], notice_seconds=0)
    eventually(lambda: taken not in farm.nodes(), "the node of the machine that is gone is given up")
    eventually(lambda: farm.job("render").get("succeeded") == 9, "9 of 9")
    assert farm.job("render").get("failed", 0) == 0 or not farm.job("render").get("failedIndexes")
    eventually(lambda: len(farm.bound()) == 3 and noticed not in farm.nodes(), "both are replaced")


def test_the_idle_machines_go_first_and_a_busy_one_when_its_work_has_ended(farm: Farm) -> None:
    join(farm, 3)
    eventually(lambda: len(farm.bound()) == 3, "three nodes are bound")
    farm.stage.kubectl.apply(job(tasks=1, seconds=12))
    (busy,) = eventually(lambda: [name for name in farm.bound() if farm.on(name)], "one works")
    assert farm.stage.until(lambda obj: obj["status"].get("nodes", {}).get("ready") == 3, "status counts its nodes")
    assert farm.stage.kubectl.json("get", "si", busy)["status"]["node"] == busy
    farm.stage.patch(replicas=1)
    eventually(lambda: list(farm.nodes()) == [busy], "the two idle ones go")
    eventually(lambda: farm.job("render").get("succeeded") == 1, "its work is done")
    assert farm.job("render").get("failed", 0) == 0


def test_a_stolen_token_makes_no_node_and_a_strange_node_is_left_alone(farm: Farm) -> None:
    strange = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"}}
    farm.plane.kubectl.apply(json.dumps(strange | {"spec": {"providerID": "aws:///eu/i-1"}}))
    join(farm, 1)
    (name,) = eventually(farm.bound, "the node is bound")
    for number, asked in enumerate(["ins-unknown1", name, "worker-1", "worker-1"]):
        farm.plane.kubectl.apply(certificate_request(f"stolen-{number}", asked))
    farm.cloud.post("interrupt", instances=[name], notice_seconds=0)
    eventually(
        lambda: name not in farm.nodes() and len(farm.bound()) == 1, "it is replaced, and its certificate signed"
    )

    def none_is_approved() -> bool:
        items = farm.plane.kubectl.json("get", REQUESTS)["items"]
        stolen = [one for one in items if one["metadata"]["name"].startswith("stolen-")]
        return len(stolen) == 4 and not any(one.get("status", {}).get("conditions") for one in stolen)

    throughout(none_is_approved, "no stolen request is approved", 3)
    assert not [key for key in labels_of(farm.nodes()["worker-1"]) if "spotcompute" in key]


def test_the_policy_keeps_the_operator_from_nodes_of_others(farm: Farm) -> None:
    farm.plane.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"}}))
    operator = farm.plane.kubectl_as("spotcompute-system", "spotcompute-operator")

    def is_refused() -> bool:
        try:
            operator.run("delete", "node", "worker-1")
        except KubectlError as refusal:
            return "may not change it" in str(refusal)
        farm.plane.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"}}))
        return False

    eventually(is_refused, "the policy is in force")  # the API server takes a moment to read a new one


def certificate_request(name: str, node: str) -> str:
    """What somebody asks for who has the bootstrap token and no machine."""
    _, pem = new_request(f"system:node:{node}", "system:nodes")
    spec = {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "client auth"],
        "request": base64.b64encode(pem).decode(),
    }
    made = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "spec": spec}
    return json.dumps(made | {"metadata": {"name": name}})
