"""Each instance is an object: seen, marked, deleted, lost by force, and made by hand, on a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.running import Operator
from e2e.simulator import ROOT
from e2e.stage import Stage
from localcluster.cluster import Cluster
from localcluster.kubectl import KubectlError
from waiting import eventually

pytestmark = pytest.mark.e2e

POLICY = ROOT / "deploy" / "base" / "admission-policy-instances.yaml"
OWN = "spotcompute.dev"


def objects(stage: Stage) -> dict[str, dict[str, Any]]:
    """Every SpotInstance of the namespace, by name."""
    return {item["metadata"]["name"]: item for item in stage.kubectl.json("get", "si")["items"]}


def running_ids(stage: Stage) -> set[str]:
    return {row["id"] for row in stage.cloud.running(stage.account)}


def until_shown(stage: Stage, count: int) -> dict[str, dict[str, Any]]:
    """Wait until there is an object of each running instance, and of no other."""

    def is_shown() -> bool:
        found = objects(stage)
        ready = {name for name, item in found.items() if item["status"]["ready"]}
        return len(found) == count and ready == running_ids(stage)

    eventually(is_shown, f"{count} instances, each with its object")
    return objects(stage)


@pytest.fixture
def policy(cluster: Cluster) -> Iterator[None]:
    """The shipped policy, for the operator's own ServiceAccount, once it is in force."""
    cluster.kubectl.run("apply", "-f", str(POLICY))
    forged = json.dumps(hand_made("ins-policy"))

    def is_in_force() -> bool:
        try:
            cluster.kubectl.run("create", "--dry-run=server", "-n", "default", "-f", "-", stdin=forged)
        except KubectlError as error:
            return "only the operator makes" in str(error)
        return False

    eventually(is_in_force, "the policy is in force")
    yield
    cluster.kubectl.run("delete", "-f", str(POLICY))


def hand_made(name: str, **status: Any) -> dict[str, Any]:
    shown = {"state": "RUNNING", "ready": True, "zone": "z", "instanceType": "t", "chargeType": "SPOTPAID"} | status
    return {
        "apiVersion": "spotcompute.dev/v1alpha1",
        "kind": "SpotInstance",
        "metadata": {"name": name},
        "status": shown,
    }


def test_each_instance_is_an_object_with_its_facts(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=3)
    stage.until_ready(3)
    found = until_shown(stage, 3)
    (environment,) = stage.kubectl.json("get", "sce")["items"]
    shown = {one["id"]: one for one in environment["status"]["instances"]}
    for name, item in found.items():
        facts, line = item["status"], shown[name]
        assert {key: facts[key] for key in ("zone", "instanceType", "privateIP", "launchedAt")} == {
            key: line[key] for key in ("zone", "instanceType", "privateIP", "launchedAt")
        }
        assert item["metadata"]["ownerReferences"][0]["uid"] == environment["metadata"]["uid"]
        assert item["metadata"]["labels"][f"{OWN}/environment"] == "web"
    table = stage.kubectl.run("get", "si", "-l", f"{OWN}/environment=web").splitlines()
    assert table[0].split() == ["NAME", "TYPE", "ZONE", "IP", "PUBLIC-IP", "STATE", "READY", "PRICE/H", "AGE", "NOTE"]
    assert all("RUNNING" in row for row in table[1:])
    stage.scale(1)
    stage.until_ready(1)
    until_shown(stage, 1)
    stage.delete()
    stage.until_gone()
    eventually(lambda: not objects(stage), "no object is left")


def test_deleting_an_object_ends_its_instance_and_another_takes_its_place(
    shared_operator: Operator, stage: Stage
) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    victim = min(until_shown(stage, 2))
    stage.kubectl.run("delete", "si", victim, "--wait=false")
    eventually(lambda: victim not in running_ids(stage), "it has ended")
    eventually(lambda: victim not in objects(stage), "its object is gone")
    stage.until_ready(2)
    until_shown(stage, 2)
    (environment,) = stage.kubectl.json("get", "sce")["items"]
    assert "DeletedByHand" in {line["cause"] for line in environment["status"]["activities"]}


def test_an_object_that_is_removed_by_force_comes_back(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    ((name, before),) = until_shown(stage, 1).items()
    stage.kubectl.run("patch", "si", name, "--type=json", "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]')
    stage.kubectl.run("delete", "si", name, "--ignore-not-found", "--wait=false")
    eventually(
        lambda: (again := objects(stage).get(name)) and again["metadata"]["uid"] != before["metadata"]["uid"],
        "the object is back",
    )
    until_shown(stage, 1)
    assert running_ids(stage) == {name}


@pytest.fixture
def unguarded(stage: Stage) -> None:
    """Without the policy that refuses such writes, which another test of this control plane may have left in force."""
    policy = ("validatingadmissionpolicybinding", "spotcompute-instances", "--ignore-not-found")
    stage.kubectl.run("delete", *policy)
    text = json.dumps(hand_made("ins-0probe"))

    def is_accepted() -> bool:
        try:
            stage.kubectl.run("create", "--dry-run=server", "-f", "-", stdin=text)
        except KubectlError:
            return False
        return True

    eventually(is_accepted, "the policy is gone")


@pytest.mark.usefixtures("unguarded")
def test_what_people_write_into_an_object_is_put_right(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    ((name, _),) = until_shown(stage, 1).items()
    forged = {"status": {"state": "STOPPED", "note": "forged"}, "metadata": {"labels": {f"{OWN}/zone": "elsewhere"}}}
    stage.kubectl.run("patch", "si", name, "--type=merge", "-p", json.dumps(forged))

    def is_right() -> bool:
        item = objects(stage)[name]
        return item["status"]["state"] == "RUNNING" and "note" not in item["status"]

    eventually(is_right, "the object says what is the case")
    assert objects(stage)[name]["metadata"]["labels"][f"{OWN}/zone"] != "elsewhere"
    assert running_ids(stage) == {name}


@pytest.mark.usefixtures("unguarded")
def test_hand_made_objects_are_removed_and_end_nothing(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    ((name, item),) = until_shown(stage, 1).items()
    stranger = hand_made("ins-0stranger")
    owned = hand_made("ins-1stranger")
    owned["metadata"] |= {
        "ownerReferences": item["metadata"]["ownerReferences"],
        "finalizers": [f"{OWN}/instance"],
        "annotations": {f"{OWN}/unhealthy": "true"},
    }
    stage.kubectl.apply(yaml.safe_dump_all([stranger, owned]))
    eventually(lambda: set(objects(stage)) == {name}, "only what the operator has made is left")
    assert running_ids(stage) == {name}


def test_an_unhealthy_instance_is_replaced_and_a_protected_one_stays(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    protected, unhealthy = sorted(until_shown(stage, 2))
    stage.kubectl.run("annotate", "si", protected, f"{OWN}/do-not-terminate=true", f"{OWN}/unhealthy=true")
    stage.kubectl.run("annotate", "si", unhealthy, f"{OWN}/unhealthy=true")
    eventually(lambda: unhealthy not in running_ids(stage), "the unhealthy one has ended")
    eventually(lambda: len(running_ids(stage)) == 2, "another one runs in its place")
    stage.until_ready(2)
    assert protected in running_ids(stage)
    assert OWN in until_shown(stage, 2)[protected]["status"]["note"]


def test_an_environment_may_do_without_objects(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    ids = set(until_shown(stage, 2))
    stage.patch(instanceObjects=False)
    eventually(lambda: not objects(stage), "the objects are gone")
    assert running_ids(stage) == ids
    stage.patch(instanceObjects=True)
    assert set(until_shown(stage, 2)) == ids


def test_the_policy_refuses_what_people_make_and_lets_them_mark(
    shared_operator: Operator, stage: Stage, policy: None
) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    ((name, _),) = until_shown(stage, 1).items()

    def refused(*arguments: str, stdin: str | None = None) -> str:
        with pytest.raises(KubectlError) as failure:
            stage.kubectl.run(*arguments, stdin=stdin)
        return str(failure.value)

    assert "only the operator makes a SpotInstance" in refused(
        "create", "-f", "-", stdin=json.dumps(hand_made("ins-x"))
    )
    status = json.dumps({"status": {"ready": False}})
    assert "only the operator writes the status" in refused("patch", "si", name, "--type=merge", "-p", status)
    assert "only the operator" in refused("label", "si", name, f"{OWN}/zone=elsewhere", "--overwrite")
    assert "whole number" in refused("annotate", "si", name, f"{OWN}/deletion-cost=cheap")
    assert "whole number" in refused("label", "si", name, f"{OWN}/deletion-cost=99999999999")
    assert "such as 30m" in refused("annotate", "si", name, f"{OWN}/keep=for-ever")
    owners = json.dumps({"metadata": {"ownerReferences": None}})
    assert "its owner cannot be changed" in refused("patch", "si", name, "--type=merge", "-p", owners)
    stage.kubectl.run("annotate", "si", name, f"{OWN}/deletion-cost=-5", f"{OWN}/keep=2h", f"{OWN}/notice=soon")
    stage.kubectl.run("label", "si", name, "team=render")
    stage.kubectl.run("delete", "si", name, "--wait=false")
    eventually(lambda: name not in objects(stage), "it may still be deleted")
    stage.until_ready(1)
    until_shown(stage, 1)


def test_nothing_is_written_at_rest(shared_operator: Operator, stage: Stage) -> None:
    stage.apply(replicas=3)
    stage.until_ready(3)
    before = {name: item["metadata"]["resourceVersion"] for name, item in until_shown(stage, 3).items()}
    time.sleep(5)
    assert {name: item["metadata"]["resourceVersion"] for name, item in objects(stage).items()} == before
