"""The main job, told from the outside: what a user asks for exists in the cloud, and stays so.

One operator and one cloud for all; the ledger of the cloud judges.
"""

from __future__ import annotations

import json

import pytest

from e2e.simulator import IMAGE, REGION
from e2e.stage import Stage, environment_id
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


def test_it_fills_scales_both_ways_and_leaves_nothing_behind(stage: Stage) -> None:
    stage.apply(replicas=3)
    stage.until_ready(3)
    stage.scale(5)
    stage.until_ready(5)
    stage.scale(1)
    stage.until_ready(1)
    identity = environment_id(stage.until_ready(1))
    stage.delete()
    stage.until_gone()
    left = [row["id"] for row in stage.cloud.instances(stage.account) if identity in row["originalTags"].values()]
    assert left == [], "the object was gone before its instances"
    assert len(stage.cloud.instances(stage.account, gone=True)) == 5, "something was launched twice"


def test_the_scale_subresource_is_right_from_the_first_second(stage: Stage) -> None:
    stage.apply(replicas=2)
    path = f"/apis/spotcompute.dev/v1alpha1/namespaces/{stage.namespace}/spotcomputeenvironments/web/scale"
    scale = json.loads(stage.kubectl.run("get", "--raw", path))
    assert scale["spec"]["replicas"] == 2
    assert scale["status"]["replicas"] in (0, 2)
    stage.until_ready(2)
    scale = json.loads(stage.kubectl.run("get", "--raw", path))
    assert scale["status"]["replicas"] == 2
    assert scale["status"]["selector"], "an autoscaler needs a selector"
    stage.kubectl.run("wait", "--for=condition=Ready", "sce/web", "--timeout=60s")
    assert "AllReplicasReady" in stage.kubectl.run("get", "sce", "web")


def test_reclaimed_instances_are_replaced_and_named(stage: Stage) -> None:
    stage.apply(replicas=3)
    stage.until_ready(3)
    lost = stage.cloud.post("interrupt", account=stage.account.uin, count=2, notice_seconds=0)["instances"]
    _await_replacement(stage, lost, 3)
    _await_event(stage, "InstanceReclaimed", "InstanceLost")
    found = stage.get()
    assert found
    assert found["status"]["reclaimed"] == 2
    assert found["status"]["zones"] == [stage.account.zones[0]]


def test_an_instance_released_in_the_console_is_replaced(stage: Stage) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    lost = stage.cloud.post("terminate", account=stage.account.uin)["instances"]
    _await_replacement(stage, lost, 2)
    _await_event(stage, "InstanceReleasedOutside", "InstanceLost")


def test_a_stopped_instance_is_released_and_replaced(stage: Stage) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    stopped = stage.cloud.post("stop", account=stage.account.uin)["instances"]
    _await_replacement(stage, stopped, 2)


def test_a_failed_launch_is_replaced(stage: Stage) -> None:
    stage.cloud.post("launch-outcome", outcome="fail", times=1, account=stage.account.uin)
    stage.apply(replicas=2)
    stage.until_ready(2)
    failed = [row for row in stage.cloud.instances(stage.account, gone=True) if _has_been(row, "LAUNCH_FAILED")]
    assert len(failed) == 1
    _await_event(stage, "LaunchFailed")


def test_an_instance_stuck_in_pending_is_given_up_and_replaced(stage: Stage) -> None:
    stage.cloud.post("launch-outcome", outcome="stuck", times=1, account=stage.account.uin)
    stage.cloud.post("switches", **{"terminate-pending": "accepted"})
    try:
        stage.apply(replicas=2)
        stage.until_ready(2)
    finally:
        stage.cloud.post("switches", **{"terminate-pending": "refused"})
    assert [row["state"] for row in stage.cloud.instances(stage.account)] == ["RUNNING", "RUNNING"]
    assert len(stage.cloud.instances(stage.account, gone=True)) == 3


def test_a_paused_environment_is_neither_filled_nor_emptied(stage: Stage) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    stage.patch(paused=True, replicas=4)
    stage.until_reason("Paused")
    (lost,) = stage.cloud.post("terminate", account=stage.account.uin)["instances"]
    stage.until(lambda obj: obj["status"]["readyReplicas"] == 1, "the loss is reported")
    stage.patch(replicas=0)
    stage.until_reason("Paused")
    asked = stage.cloud.requests(stage.account, "RunInstances", "TerminateInstances")
    assert [row["action"] for row in asked if not row["params"].get("DryRun")] == ["RunInstances"]
    stage.patch(paused=False, replicas=3)
    stage.until_ready(3)
    assert lost not in {row["id"] for row in stage.cloud.instances(stage.account)}


def test_deletion_waits_until_the_cloud_has_released_everything(stage: Stage) -> None:
    stage.cloud.post("switches", **{"terminating-seconds": "2"})
    stage.apply(replicas=3)
    identity = environment_id(stage.until_ready(3))
    stage.delete()
    found = stage.until_reason("Deleting")
    assert "until the cloud confirms" in found["status"]["conditions"][0]["message"]
    stage.until_gone()
    ends = [row["goneAt"] for row in stage.cloud.instances(stage.account, gone=True)]
    stage.cloud.post("switches", **{"terminating-seconds": "0.5"})
    assert len(ends) == 3
    assert None not in ends, f"{identity} was gone before its instances"


def test_a_deleted_namespace_takes_its_instances_with_it(stage: Stage) -> None:
    """Secret, rights and environment go in no order anybody chose; the instances go first all the same."""
    stage.apply(replicas=2)
    stage.until_ready(2)
    stage.kubectl.run("delete", "namespace", stage.namespace, "--wait=false")
    stage.until_gone()
    assert stage.cloud.running(stage.account) == []
    remaining = ("get", "namespace", stage.namespace, "--ignore-not-found", "-o", "name")
    eventually(lambda: not stage.kubectl.run(*remaining), "the namespace is gone")


def test_the_parameters_of_a_purchase_are_exactly_those_of_the_manifest(stage: Stage) -> None:
    """The seed case's manifest: one S2.MEDIUM4 of image img-pmqg1cw7 at no more than 0.0923 an hour, asked for once."""
    zone = stage.account.zones[0]
    stage.apply(
        "seed",
        replicas=1,
        instanceTypes=["S2.MEDIUM4"],
        market={"maxPrice": "0.0923"},
        template={"imageId": IMAGE},
        requestPolicy="OneTime",
    )
    found = stage.until_ready(1, "seed")
    (request,) = stage.cloud.launches(stage.account)
    cluster_id = json.loads(stage.kubectl.run("get", "namespace", "kube-system", "-o", "json"))["metadata"]["uid"]
    tags = {
        "spotcompute-cluster": cluster_id,
        "spotcompute-environment": environment_id(found),
        "spotcompute-owner": f"{stage.namespace}@seed",
        "managed-by": "spotcompute-operator",
    }
    parameters = request["params"]
    specification = parameters.pop("TagSpecification")
    (resource,) = {tuple(sorted((tag["Key"], tag["Value"]) for tag in part["Tags"])) for part in specification}
    nonce = environment_id(found).rpartition("-")[2]
    assert request["region"] == REGION
    assert dict(resource) == tags
    assert "instance" in [part["ResourceType"] for part in specification]
    assert parameters.pop("InstanceName").startswith(f"seed-{nonce}-")
    assert len(parameters.pop("ClientToken")) == 40
    assert parameters == {
        "Placement": {"Zone": zone},
        "InstanceType": "S2.MEDIUM4",
        "ImageId": IMAGE,
        "InstanceCount": 1,
        "InstanceChargeType": "SPOTPAID",
        "InstanceMarketOptions": {
            "MarketType": "spot",
            "SpotOptions": {"MaxPrice": "0.0923", "SpotInstanceType": "one-time"},
        },
    }


def _await_replacement(stage: Stage, lost: list[str], replicas: int) -> None:
    """The lost ones are gone for good, and others run in their places."""

    def others_run() -> bool:
        return len([row for row in stage.cloud.running(stage.account) if row["id"] not in lost]) == replicas

    eventually(others_run, f"{replicas} run without {lost}")
    stage.until_ready(replicas)
    assert not set(lost) & {row["id"] for row in stage.cloud.instances(stage.account)}


def _await_event(stage: Stage, *reasons: str) -> None:
    eventually(lambda: {item["reason"] for item in stage.events()} & set(reasons), f"an Event with one of {reasons}")


def _has_been(row: dict[str, object], state: str) -> bool:
    changes = row["changes"]
    assert isinstance(changes, list)
    return any(change["state"] == state for change in changes)
