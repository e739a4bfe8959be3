"""What Jobs and Kueue's objects ask for, as claims: pods, amounts, marks."""

from __future__ import annotations

from typing import Any

import pytest

from kube.claimed import QUEUE, check, condition, job, pod, workload
from spotcompute.kube.claim_objects import (
    amounts_of,
    check_of,
    flavor_of,
    is_work,
    job_of,
    pods_left,
    requests_of,
    workload_of,
)

GIB = 1024**3 * 1000


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        pytest.param({"containers": [container("500m"), container("1")]}, 1500, id="containers-add-up"),
        pytest.param({"containers": [container("1")], "initContainers": [container("3")]}, 3000, id="a-large-start"),
        pytest.param({"containers": [container("2")], "initContainers": [container("1")]}, 2000, id="a-small-start"),
        pytest.param(
            {"containers": [container("1")], "initContainers": [container("1", restartPolicy="Always")]}, 2000,
            id="a-sidecar-stays",
        ),
        pytest.param(
            {
                "containers": [container("1")],
                "initContainers": [container("1", restartPolicy="Always"), container("2")],
            }, 3000, id="a-start-beside-a-sidecar",
        ),
        pytest.param({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250, id="overhead"),
        pytest.param({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, 2000, id="a-limit-is-a-request"),
        pytest.param({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}, 4000, id="whole-pod"),
        pytest.param({"containers": [{}]}, 0, id="nothing-asked-for"),
    ],
)  # fmt: skip
def test_a_pod_asks_for_what_the_scheduler_counts(spec: dict[str, Any], cpu: int) -> None:
    found = requests_of(spec)
    assert found.get("cpu", 0) == cpu
    assert found["pods"] == 1000


def test_quantities_are_read_as_kubernetes_writes_them() -> None:
    written = {"cpu": "1500m", "memory": "4Gi", "nvidia.com/gpu": "2", "ephemeral-storage": "1Gi", "odd": "a lot"}
    assert amounts_of(written) == {"cpu": 1500, "memory": 4 * GIB, "nvidia.com/gpu": 2000, "odd": 0}
    assert amounts_of({"cpu": "0.1m"}) == {"cpu": 1}, "rounded up: too little room would be worse"


@pytest.mark.parametrize(
    ("spec", "status", "left"),
    [
        pytest.param({"parallelism": 4, "completions": 20}, {}, 4, id="not-more-than-its-parallelism"),
        pytest.param({"parallelism": 20, "completions": 20}, {"succeeded": 18}, 2, id="less-near-the-end"),
        pytest.param({}, {}, 1, id="one-by-default"),
        pytest.param({"parallelism": 3}, {"active": 3}, 3, id="work-queue"),
        pytest.param({"parallelism": 3}, {"active": 1, "succeeded": 2}, 1, id="work-queue-that-ends"),
        pytest.param(
            {"parallelism": 9, "completions": 9}, {"failedIndexes": "1,3-5", "succeeded": 2}, 3, id="given-up"
        ),
        pytest.param(
            {"parallelism": 4, "completions": 4}, {"active": 0, "failed": 4}, 4, id="in-back-off-without-pods"
        ),
    ],
)
def test_a_job_claims_room_for_what_it_has_still_to_run(
    spec: dict[str, Any], status: dict[str, Any], left: int
) -> None:
    assert pods_left(spec, status) == left


def test_a_marked_job_is_a_claim_on_the_environment_of_its_namespace() -> None:
    found = job_of(job())
    assert found is not None
    assert (found.environment, found.namespace, found.is_queued) == ("farm", "jobs", False)
    assert (found.claim.pods, found.claim.groups[0].requests["cpu"]) == (4, 500)


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(job(status={"conditions": [condition("Complete")]}), id="complete"),
        pytest.param(job(status={"conditions": [condition("Failed")]}), id="failed"),
        pytest.param(job(suspend=True), id="suspended"),
        pytest.param(job(labels={}), id="unmarked"),
        pytest.param(job(labels={QUEUE: "spot"}), id="queued-and-not-let-go"),
    ],
)
def test_what_does_not_want_to_run_here_is_no_claim(ended: dict[str, Any]) -> None:
    assert job_of(ended) is None


def test_a_job_that_kueue_let_go_names_its_environment_by_its_selector() -> None:
    labels = {
        "node-restriction.kubernetes.io/spotcompute-environment": "farm",
        "node-restriction.kubernetes.io/spotcompute-namespace": "central",
    }
    found = job_of(job(labels={QUEUE: "spot"}, pod=pod(nodeSelector=labels)))
    assert found is not None
    assert (found.environment, found.namespace, found.is_queued) == ("farm", "central", True)
    assert job_of(job(labels={}, pod=pod(nodeSelector=labels))) is None, "a selector alone claims nothing"


def test_a_marked_job_cannot_claim_the_environment_of_another_namespace() -> None:
    selector = {"node-restriction.kubernetes.io/spotcompute-namespace": "central"}
    found = job_of(job(pod=pod(nodeSelector=selector)))
    assert found is not None
    assert found.namespace == "jobs"


def test_a_workload_claims_what_it_was_given_without_what_is_done() -> None:
    admission = {"podSetAssignments": [{"name": "main", "count": 8, "flavors": {"cpu": "spot", "memory": "spot"}}]}
    found = workload_of(workload(count=10, admission=admission, reclaimablePods=[{"name": "main", "count": 3}])
                        | {"metadata": {**workload()["metadata"], "resourceVersion": "7"}})  # fmt: skip
    assert found is not None
    assert found.claim.pods == 5
    assert found.flavors == {"main": frozenset({"spot"})}
    assert (found.has_quota, found.claim.has_begun) == (True, False)


@pytest.mark.parametrize(
    ("changes", "is_left"),
    [
        pytest.param({"conditions": ["Finished"]}, False, id="finished"),
        pytest.param({"conditions": ["Admitted"]}, True, id="admitted"),
        pytest.param({"conditions": ["Evicted"]}, True, id="evicted-and-not-gone-yet"),
    ],
)
def test_a_workload_is_a_claim_until_its_work_has_ended(changes: dict[str, Any], is_left: bool) -> None:
    obj = workload(**changes)
    obj["metadata"]["resourceVersion"] = "7"
    assert (workload_of(obj) is not None) == is_left


def test_only_checks_of_our_controller_are_ours() -> None:
    ours, other = check(), check(controller="kueue.x-k8s.io/multikueue")
    strange = check(kind="ConfigMap", apiGroup="example.org")
    for obj in (ours, other, strange):
        obj["metadata"]["resourceVersion"] = "7"
    found = check_of(ours)
    assert found is not None
    assert (found.environment, found.active) == ("farm", None)
    assert check_of(other) is None
    named = check_of(strange)
    assert named is not None
    assert named.environment is None


def test_a_flavor_names_an_environment_by_its_node_labels() -> None:
    labels = {"node-restriction.kubernetes.io/spotcompute-environment": "farm"}
    assert flavor_of({"spec": {"nodeLabels": labels}}).environment == "farm"
    assert flavor_of({}).environment is None


@pytest.mark.parametrize(
    ("owner", "annotations", "phase", "is_missed"),
    [
        pytest.param("Job", {}, "Running", True, id="a-task"),
        pytest.param("Job", {}, "Pending", True, id="a-task-that-starts"),
        pytest.param("Job", {}, "Succeeded", False, id="done"),
        pytest.param("DaemonSet", {}, "Running", False, id="of-a-daemon-set"),
        pytest.param("Node", {"kubernetes.io/config.mirror": "x"}, "Running", False, id="of-the-kubelet"),
    ],
)
def test_only_work_keeps_a_machine(owner: str, annotations: dict[str, str], phase: str, is_missed: bool) -> None:
    metadata = {"ownerReferences": [{"kind": owner}], "annotations": annotations}
    assert is_work({"metadata": metadata, "status": {"phase": phase}}) == is_missed
