"""What breaks: answers get lost, processes die, the cloud and the API server go away. Never one instance too many.

Each test runs operators of its own, so that it can end them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.running import Operator
from e2e.simulator import Simulator
from e2e.stage import IMAGE, Stage, condition
from localcluster.controlplane import ControlPlane
from waiting import eventually, throughout

pytestmark = pytest.mark.e2e

Start = Callable[..., Operator]


def add_fault(stage: Stage, kind: str, action: str = "RunInstances", times: int = 1, **fields: object) -> int:
    """Trouble for this test's account alone; returns the rule's id. `times` 0 means for ever."""
    rule = {"kind": kind, "action": action, "times": times, "account": stage.account.uin, **fields}
    return int(stage.cloud.post("faults", **rule)["id"])


def times_met(stage: Stage, fault: int) -> int:
    return next(int(row["met"]) for row in stage.cloud.get("faults")["faults"] if row["id"] == fault)


def await_attempt(stage: Stage, fault: int, number: int) -> None:
    """Wait until the request number `number` that this fault holds up is under way."""
    eventually(lambda: times_met(stage, fault) >= number, f"request {number} is under way")


@pytest.mark.parametrize("kind", ["hang", "hang_after_commit"])
def test_killed_in_mid_create_it_ends_with_the_number_wanted(stage: Stage, own_operator: Start, kind: str) -> None:
    """`hang`: the cloud never carried the request out. `hang_after_commit`: it did, and nobody was told."""
    fault = add_fault(stage, kind)
    operator = own_operator()
    stage.apply(replicas=4)
    await_attempt(stage, fault, 1)
    operator.kill9()
    assert len(stage.cloud.instances(stage.account)) == (4 if kind == "hang_after_commit" else 0)
    operator.start()
    stage.until_ready(4)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 4
    assert len({row["token"] for row in stage.cloud.launches(stage.account)}) == 1, "settled under another token"


def test_lost_answers_of_every_kind_buy_nothing_twice(stage: Stage, own_operator: Start) -> None:
    kinds = ["lost_after_commit", "5xx_after_commit", "malformed", "no_response", "wrong_content_type", "reset"]
    for kind in kinds:
        add_fault(stage, kind)
    own_operator()
    stage.apply(replicas=3)
    stage.until_ready(3)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 3
    assert len({row["token"] for row in stage.cloud.launches(stage.account)}) == 1
    assert "LaunchOutcomeUnknown" in {item["reason"] for item in stage.events()}


def test_killed_while_releasing_it_forgets_nothing(stage: Stage, own_operator: Start) -> None:
    operator = own_operator()
    stage.apply(replicas=3)
    stage.until_ready(3)
    fault = add_fault(stage, "hang", "TerminateInstances")
    stage.scale(1)
    await_attempt(stage, fault, 1)
    operator.kill9()
    operator.start()
    stage.until_ready(1)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 3


def test_what_happened_while_it_was_away_is_made_good(stage: Stage, own_operator: Start) -> None:
    operator = own_operator()
    stage.apply("kept", replicas=2)
    stage.apply("dropped", replicas=2)
    stage.until_ready(2, "kept")
    stage.until_ready(2, "dropped")
    operator.kill9()
    stage.delete("dropped")
    stage.scale(3, "kept")
    stage.cloud.post("interrupt", account=stage.account.uin, notice_seconds=0, name="kept-")
    operator.start()
    stage.until_gone("dropped")
    stage.until_ready(3, "kept")
    assert len(stage.cloud.running(stage.account)) == 3


def test_two_replicas_at_once_may_waste_calls_but_never_instances(stage: Stage, own_operator: Start) -> None:
    own_operator()
    own_operator()
    names = ["web-0", "web-1", "web-2"]
    for name in names:
        stage.apply(name, replicas=3)
    for name in names:
        stage.until_ready(3, name)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 9, "bought twice"
    for name in names:
        stage.scale(5, name)
    for name in names:
        stage.until_ready(5, name)
        stage.scale(2, name)
    for name in names:
        stage.until_ready(2, name)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 15, "bought twice"
    eventually(lambda: len(stage.cloud.instances(stage.account)) == 6, "what is too much has gone")
    stage.judge()


def test_without_the_api_server_nothing_is_bought_and_afterwards_nothing_is_missing(
    stage: Stage, own_operator: Start, control_plane: ControlPlane
) -> None:
    operator = own_operator()
    stage.apply(replicas=2)
    stage.until_ready(2)
    operator.may_be_refused = True  # an API server that has just started does not know any role yet
    control_plane.kill_apiserver()
    try:
        stage.cloud.post("interrupt", account=stage.account.uin, notice_seconds=0)
        throughout(lambda: len(stage.cloud.launches(stage.account)) == 1, "nothing is bought in the dark", 3)
        assert operator.is_running
    finally:
        control_plane.start_apiserver()
    stage.watch()
    eventually(lambda: len(stage.cloud.running(stage.account)) == 2, "it is replaced")
    stage.until_ready(2)
    assert operator.is_running
    assert len(stage.cloud.instances(stage.account, gone=True)) == 3


def test_an_endpoint_that_is_down_is_named_and_others_go_on(stage: Stage, own_operator: Start) -> None:
    """The account's every call is reset; another account of the same cloud does not notice."""
    neighbour = stage.cloud.new_account()
    stage.write_secret("neighbour", secretId=neighbour.secret_id, secretKey=neighbour.secret_key)
    own_operator()
    stage.apply(replicas=2)
    stage.until_ready(2)
    add_fault(stage, "reset", "*", times=0)
    stage.scale(3)
    found = stage.until_reason("CloudUnreachable")
    assert condition(found, "Stalled")["status"] == "False", "it comes back by itself"
    stage.apply(
        "neighbour",
        replicas=1,
        placements=[{"zone": neighbour.zones[0]}],
        credentialsSecretRef={"name": "neighbour"},
    )
    stage.until(lambda obj: obj["status"].get("readyReplicas") == 1, "the neighbour is filled", "neighbour")
    assert len(stage.cloud.running(stage.account)) == 2, "nothing is taken away in the dark"
    stage.cloud.clear_faults()
    stage.until_ready(3)


def test_deleted_while_the_cloud_is_down_it_waits_and_says_so(stage: Stage, own_operator: Start) -> None:
    own_operator()
    stage.apply(replicas=2)
    stage.until_ready(2)
    add_fault(stage, "reset", "*", times=0)
    stage.delete()
    found = stage.until(
        lambda obj: condition(obj, "Ready").get("reason") in ("CloudUnreachable", "Deleting"), "it says why it waits"
    )
    assert "deletionTimestamp" in found["metadata"]
    throughout(stage.get, "the object stays while its instances live", 3)
    assert len(stage.cloud.running(stage.account)) == 2
    stage.cloud.clear_faults()
    stage.until_gone()
    assert stage.cloud.instances(stage.account) == []


def test_throttled_it_gets_there(stage: Stage, own_operator: Start) -> None:
    add_fault(stage, "throttle", "*", times=0, probability=0.3)
    own_operator()
    stage.apply(replicas=3)
    stage.until_ready(3)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 3


def test_a_cloud_that_comes_up_later_than_the_operator_is_waited_for(
    stage: Stage, own_operator: Start, cloud: Simulator
) -> None:
    """Before the first answer there is nothing to rely on: no sweep, no market."""
    fault = add_fault(stage, "refuse_before_commit", "*", times=0)
    own_operator()
    stage.apply(replicas=2)
    await_attempt(stage, fault, 2)
    stage.until_reason("CloudUnreachable")
    cloud.clear_faults()
    stage.until_ready(2)


def test_instances_of_an_environment_that_vanished_while_it_was_down_are_ended(
    stage: Stage, own_operator: Start
) -> None:
    """Nothing in Kubernetes names the account any more but the operator's own note; a neighbour is left alone."""
    operator = own_operator()
    stage.apply(replicas=2)
    stage.until_ready(2)
    operator.kill9()
    stage.delete()
    stage.kubectl.run("patch", "sce", "web", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    stage.until_gone()
    stage.cloud.post(
        "launch",
        account=stage.account.uin,
        params={
            "Placement": {"Zone": stage.account.zones[0]},
            "ImageId": IMAGE,
            "InstanceType": "S5.MEDIUM4",
            "InstanceChargeType": "SPOTPAID",
            "InstanceName": "a-neighbour",
        },
    )
    assert len(stage.cloud.instances(stage.account)) == 3
    operator.start()
    eventually(lambda: len(stage.cloud.instances(stage.account)) == 1, "only the neighbour lives")
    (left,) = stage.cloud.instances(stage.account)
    assert left["name"] == "a-neighbour"
    stage.cloud.post("terminate", account=stage.account.uin)
