"""What Flux, `kubectl wait` and Argo CD see of an environment's whole life: every state of the watch, judged by both.

kstatus: https://github.com/kubernetes-sigs/cli-utils, pkg/kstatus. Argo CD: the shipped script, in its own Lua.
"""

from __future__ import annotations

import json

import pytest

from deploy.argocd import health
from e2e.simulator import IMAGE
from e2e.stage import Object, Stage, condition, kstatus, manifest, moment
from e2e.test_crashes import add_fault
from waiting import allowed

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]

#: What Argo CD must say where kstatus says so.
SAME = {"Current": "Healthy", "Failed": "Degraded", "InProgress": "Progressing", "Terminating": "Progressing"}
FAILED_WITHIN_SECONDS = 5.0


def test_from_birth_to_death_both_tell_the_truth_and_the_same(stage: Stage) -> None:
    zone = stage.account.zones[0]
    stage.apply(replicas=2)
    stage.until_ready(2)
    stage.cloud.post("stock", zone=zone, type="S5.MEDIUM4", stock=0)
    stage.scale(4)
    waiting = stage.until_reason("InsufficientCapacity")
    assert kstatus(waiting) == "InProgress"
    stage.cloud.post("stock", zone=zone, type="S5.MEDIUM4", stock=50)
    stage.until_ready(4)
    stage.cloud.post("price", zone=zone, type="S5.MEDIUM4", price="0.09")
    stage.apply(replicas=5, market={"maxPrice": "0.05"})
    assert kstatus(stage.until_reason("PriceTooLow")) == "InProgress"
    stage.cloud.post("price", zone=zone, type="S5.MEDIUM4", price="0.0226")
    stage.until_ready(5)
    add_fault(stage, "reset", "DescribeInstances", times=0)
    stage.scale(6)
    assert kstatus(stage.until_reason("CloudUnreachable")) == "InProgress"
    stage.cloud.clear_faults()
    stage.until_ready(6)
    stage.apply(replicas=7, template={"imageId": "img-00000000"})
    wrong = stage.until_reason("InvalidConfiguration")
    assert kstatus(wrong) == "Failed"
    stage.apply(replicas=7, template={"imageId": IMAGE})
    stage.until_ready(7)
    stage.cloud.post("interrupt", instances=[stage.cloud.running(stage.account)[0]["id"]], notice_seconds=0)
    stage.until(lambda obj: kstatus(obj) == "InProgress", "the loss is seen")
    stage.until_ready(7)
    roll(stage, 7)
    stage.delete()
    stage.until_gone()

    states = [event["object"] for event in stage.history() if event["type"] != "DELETED"]
    assert {kstatus(state) for state in states} == SAME.keys()
    for state in states:
        assert health(state)["status"] == SAME[kstatus(state)], state["status"]
        if kstatus(state) == "Current":
            assert state["status"]["readyReplicas"] == state["spec"]["replicas"]
            assert state["status"]["observedGeneration"] == state["metadata"]["generation"]
    assert failed_after(stage, wrong["metadata"]["generation"]) <= allowed(FAILED_WITHIN_SECONDS)


def roll(stage: Stage, replicas: int) -> None:
    """Bring a changed template to all: as many anew, then back; the old ones go first (docs/tasks.md)."""
    stage.apply(replicas=replicas, template={"imageId": IMAGE, "hostName": "batch"})
    stage.until(lambda obj: obj["status"]["updatedReplicas"] == 0, "all are of the older template")
    before = {row["id"] for row in stage.cloud.running(stage.account)}
    stage.scale(2 * replicas)
    stage.until_ready(2 * replicas)
    stage.scale(replicas)
    assert stage.until_ready(replicas)["status"]["updatedReplicas"] == replicas
    assert before.isdisjoint(row["id"] for row in stage.cloud.running(stage.account))


def failed_after(stage: Stage, generation: int) -> float:
    """Seconds from when a generation was first seen until an object of it was Failed."""
    of_it = [event for event in stage.history() if event["object"]["metadata"]["generation"] == generation]
    failed = next(event for event in of_it if is_failed(event["object"]))
    return float(failed["seen_at"] - of_it[0]["seen_at"])


def is_failed(obj: Object) -> bool:
    return kstatus(obj) == "Failed"


def test_a_paused_environment_is_suspended_for_argo_cd_and_its_times_are_in_order(stage: Stage) -> None:
    stage.apply(replicas=0, paused=True)
    found = stage.until(lambda obj: condition(obj, "Ready") != {}, "it is looked at")
    assert health(found)["status"] == "Suspended"
    stage.patch(paused=False)
    stage.until_ready(0)
    times = [
        moment(condition(event["object"], "Ready")["lastTransitionTime"])
        for event in stage.history()
        if condition(event["object"], "Ready")
    ]
    assert times == sorted(times)


@pytest.mark.parametrize("way", [("apply", "--server-side", "--field-manager=git"), ("apply",)], ids=["ssa", "client"])
def test_nothing_the_operator_writes_shows_as_drift(stage: Stage, way: tuple[str, ...]) -> None:
    """Neither to `kubectl diff`, which asks as Flux and Argo CD do, nor by taking a field away from Git."""
    wanted = json.dumps(manifest("web", stage.account.zones[0], market={"maxPrice": "0.05"}))
    stage.kubectl.run(*way, "-f", "-", stdin=wanted)
    written = stage.until_ready(2)
    assert written["metadata"]["annotations"]["spotcompute.dev/environment-id"]
    assert written["metadata"]["finalizers"]
    options = [option for option in way if option.startswith("--")]
    assert not stage.differs(wanted, *options)
    assert stage.differs(wanted.replace("0.05", "0.06"), *options), "it would have said so"
    again = json.loads(stage.kubectl.run(*way, "-f", "-", "-o", "json", "--show-managed-fields", stdin=wanted))
    assert again["metadata"]["generation"] == written["metadata"]["generation"]
    fields = [entry for entry in again["metadata"]["managedFields"] if entry["manager"] == "spotcompute-operator"]
    assert fields
    assert not [entry for entry in fields if "f:spec" in entry["fieldsV1"]]
