"""The real Kueue queues a job, admits it when there is room, and lets go of the cluster when it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from localcluster.controlplane import ControlPlane
from localcluster.kueue import Kueue, KueueFinder
from waiting import eventually

QUEUES = """
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: spot}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: spot}
spec:
  namespaceSelector: {}
  resourceGroups:
    - coveredResources: [cpu]
      flavors: [{name: spot, resources: [{name: cpu, nominalQuota: 2}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: spot, namespace: default}
spec: {clusterQueue: spot}
"""


def job(name: str, cores: int, queue: str | None = "spot") -> str:
    container = {"name": "work", "image": "x", "resources": {"requests": {"cpu": str(cores)}}}
    metadata: dict[str, Any] = {"name": name, "namespace": "default"}
    if queue:
        metadata["labels"] = {"kueue.x-k8s.io/queue-name": queue}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}})


@pytest.mark.e2e
@pytest.mark.rare  # tests/e2e/test_jobs.py goes the same way with the operator
def test_a_job_waits_for_quota_and_is_let_go_when_there_is_some(tmp_path: Path) -> None:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    if KueueFinder().find("kueue") is None:
        pytest.skip("Kueue is not built: `make kueue`")
    with ControlPlane(nodes=True) as plane:
        kueue = Kueue.start(plane, tmp_path)
        eventually(lambda: plane.kubectl.run("apply", "-f", "-", stdin=QUEUES))
        plane.kubectl.apply(job("small", 1))
        plane.kubectl.apply(job("large", 3))

        def suspended(name: str) -> bool:
            return bool(plane.kubectl.json("get", "job", name)["spec"]["suspend"])

        eventually(lambda: not suspended("small"), "the job for which there is quota begins")
        assert suspended("large")
        kueue.stop()
        plane.kubectl.apply(job("unqueued", 1, queue=None))
