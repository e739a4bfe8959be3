"""Simulated machines join a real cluster, run its pods, report their end, and may do no more than a real node may."""

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

from e2e.simulator import IMAGE, REGION, Simulator, account, world
from localcluster.controlplane import ControlPlane
from localcluster.processes import Child
from waiting import eventually

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "spotce.0123456789abcdef"
BOOTSTRAP = """
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-spotce, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: spotce
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
  auth-extra-groups: system:bootstrappers:spot
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: spot-bootstrappers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-bootstrapper"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers:spot"}]
"""
#: Kubernetes' own approver signs for a group that has this right.
APPROVED_BY_ITSELF = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: spot-autoapprove}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:certificates.k8s.io:certificatesigningrequests:nodeclient
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers:spot"}]
"""


@dataclass(frozen=True)
class Farm:
    """A cluster that machines may join, the cloud they come from, and who plays their inside."""

    plane: ControlPlane
    cloud: Simulator

    def buy(self, user_data: str) -> str:
        """The id of a new machine with this user data."""
        first = account(0)
        params = {
            "Placement": {"Zone": first.zones[0]},
            "ImageId": IMAGE,
            "InstanceType": "S5.MEDIUM4",
            "InstanceChargeType": "SPOTPAID",
            "VirtualPrivateCloud": {"VpcId": first.vpc, "SubnetId": first.subnet},
            "UserData": base64.b64encode(user_data.encode()).decode(),
        }
        answer = self.cloud.post("launch", params=params, account=first.uin, region=REGION)
        return str(answer["InstanceIdSet"][0])

    def node(self, name: str) -> dict[str, Any] | None:
        found = self.plane.kubectl.json("get", "nodes")["items"]
        return next((node for node in found if node["metadata"]["name"] == name), None)

    def condition(self, node: str, kind: str) -> str | None:
        found = (self.node(node) or {"status": {"conditions": []}})["status"]["conditions"]
        return next((each["status"] for each in found if each["type"] == kind), None)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    directory = tmp_path_factory.mktemp("farm")
    with ControlPlane(nodes=True, approves=True) as plane:
        plane.kubectl.apply(BOOTSTRAP)
        plane.kubectl.apply(APPROVED_BY_ITSELF)
        cloud = Simulator.start(directory, world=world(1))
        guests = start_guests(plane, directory)
        yield Farm(plane, cloud)
        guests.stop()
        cloud.stop()


def start_guests(plane: ControlPlane, directory: Path) -> Child:
    command = [sys.executable, "-m", "localguests", "--kubeconfig", str(plane.kubeconfig)]
    command += ["--ready-file", str(directory / "simulator.json"), "--boot-seconds=0.2", "--task-seconds=1"]
    environment = {**os.environ, "PYTHONPATH": "deploy/local"}
    return Child.start("guests", command, log=directory / "guests.log", env=environment, cwd=ROOT)


def test_a_machine_joins_by_its_token_and_runs_a_job_to_its_end(farm: Farm) -> None:
    name = farm.buy(f"#!/bin/sh\nkubeadm join 10.0.0.1:6443 --token {TOKEN}\n")
    node = eventually(lambda: farm.node(name), f"node {name} joins")
    assert node["spec"]["providerID"].endswith(f"/{name}")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "render", "namespace": "default"},
        "spec": {
            "completions": 3,
            "parallelism": 3,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "work", "image": "x", "resources": {"requests": {"cpu": "500m"}}}],
                }
            },
        },
    }
    farm.plane.kubectl.apply(json.dumps(job))
    eventually(lambda: farm.plane.kubectl.json("get", "job", "render")["status"].get("succeeded") == 3, "3 of 3 done")


def test_a_machine_reports_the_notice_of_its_end_on_its_own_node(farm: Farm) -> None:
    name = farm.buy(f"token: {TOKEN}")
    eventually(lambda: farm.condition(name, "Ready") == "True", "it joins")
    assert farm.condition(name, "SpotInterruption") is None
    farm.cloud.post("interrupt", instances=[name], notice_seconds=60)
    eventually(lambda: farm.condition(name, "SpotInterruption") == "True", "it reports the notice")


def test_no_machine_joins_without_a_token_or_with_a_wrong_one(farm: Farm) -> None:
    strangers = [farm.buy("#!/bin/sh\necho hello\n"), farm.buy("token: spotce.fedcba9876543210")]
    last = farm.buy(f"token: {TOKEN}")
    eventually(lambda: farm.node(last), "one that was bought after them joins")
    assert [name for name in strangers if farm.node(name)] == []
