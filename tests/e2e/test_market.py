"""What is not to be had: every reason is named, everything that is there is taken, and asking never ends.

One operator and one cloud for all; every test has zones of its own, so that nobody buys its stock.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any

import pytest

from e2e.running import QUICK
from e2e.stage import Object, Stage, condition, is_observed, moment
from waiting import eventually, throughout

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


def set_stock(stage: Stage, stock: int, zone: int = 0, instance_type: str = "S5.MEDIUM4") -> None:
    stage.cloud.post("stock", zone=stage.account.zones[zone], type=instance_type, stock=stock)


def test_sold_out_is_waited_for_and_the_next_attempt_comes_when_it_was_promised(stage: Stage) -> None:
    set_stock(stage, 0)
    stage.apply(replicas=2)
    found = stage.until(lambda obj: "nextAttemptTime" in obj["status"], "the next attempt is announced")
    assert condition(found, "Ready")["reason"] == "InsufficientCapacity"
    assert condition(found, "Stalled")["status"] == "False", "stock comes back by itself"
    assert condition(found, "Reconciling")["status"] == "True"
    assert "ResourceInsufficient.SpecifiedInstanceType" in condition(found, "Ready")["message"]
    promised, asked = moment(found["status"]["nextAttemptTime"]), len(stage.cloud.launches(stage.account))
    eventually(lambda: len(stage.cloud.launches(stage.account)) > asked, "it asks again")
    assert stage.cloud.launches(stage.account)[asked]["time"] == pytest.approx(promised, abs=2)
    set_stock(stage, 10)
    found = stage.until_ready(2)
    assert "nextAttemptTime" not in found["status"]
    assert {"InsufficientCapacity", "InstanceLaunched"} <= {item["reason"] for item in stage.events()}


def test_it_never_waits_longer_than_the_limit(stage: Stage) -> None:
    set_stock(stage, 0)
    stage.apply(replicas=1)
    eventually(lambda: len(stage.cloud.launches(stage.account)) >= 5, "five attempts")
    times = [row["time"] for row in stage.cloud.launches(stage.account)]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert max(waits) <= 2 + 1.5, f"REST_LIMIT_SECONDS is 2: {waits}"
    assert waits[-1] > waits[0], f"refusals in a row make it ask less often: {waits}"


def test_what_is_in_stock_is_taken_by_asking_for_less(stage: Stage) -> None:
    set_stock(stage, 6)
    stage.apply(replicas=10)
    found = stage.until(lambda obj: obj["status"].get("readyReplicas") == 6, "it holds the six there are")
    assert len(stage.cloud.running(stage.account)) == 6
    assert condition(found, "Ready")["status"] == "False"
    stage.until_reason("InsufficientCapacity")
    set_stock(stage, 50)
    stage.until_ready(10)


def test_pools_are_tried_in_order_within_one_pass(stage: Stage) -> None:
    first, second = stage.account.zones[:2]
    for zone, instance_type in ((0, "S5.MEDIUM4"), (0, "S2.MEDIUM4"), (1, "S5.MEDIUM4")):
        set_stock(stage, 0, zone, instance_type)
    stage.apply(
        replicas=1,
        placements=[{"zone": first}, {"zone": second}],
        instanceTypes=["S5.MEDIUM4", "S2.MEDIUM4"],
    )
    found = stage.until_ready(1)
    asked = stage.cloud.launches(stage.account)
    pools = [(row["params"]["Placement"]["Zone"], row["params"]["InstanceType"]) for row in asked]
    assert pools == [(first, "S5.MEDIUM4"), (first, "S2.MEDIUM4"), (second, "S5.MEDIUM4"), (second, "S2.MEDIUM4")]
    assert asked[-1]["time"] - asked[0]["time"] < 1.0, "one pass, not one pool per wait"
    states = {(pool["zone"], pool["instanceType"]): pool for pool in found["status"]["pools"]}
    assert states[second, "S2.MEDIUM4"]["instances"] == 1
    assert "ResourceInsufficient" in states[first, "S5.MEDIUM4"]["lastError"]


def test_a_bid_below_the_market_is_named_with_both_prices(stage: Stage) -> None:
    stage.apply(replicas=1, market={"maxPrice": "0.01"})
    found = stage.until_reason("PriceTooLow")
    message = condition(found, "Ready")["message"]
    assert "0.0226" in message, message
    assert "0.01" in message, message
    assert condition(found, "Stalled")["status"] == "False", "prices fall by themselves"
    stage.cloud.post("price", zone=stage.account.zones[0], type="S5.MEDIUM4", price="0.009")
    stage.until_ready(1)


def test_the_spot_quota_is_named_and_filled_to_its_edge(stage: Stage) -> None:
    stage.cloud.post("quota", account=stage.account.uin, vcpu=6)  # an S5.MEDIUM4 has 2
    stage.apply(replicas=5)
    stage.until(lambda obj: obj["status"].get("readyReplicas") == 3, "it holds what the quota allows")
    stage.until_reason("QuotaExceeded")
    stage.cloud.post("quota", account=stage.account.uin, vcpu=100)
    stage.until_ready(5)


def test_an_empty_balance_is_a_persons_matter_and_recovers(stage: Stage) -> None:
    stage.cloud.post("balance", account=stage.account.uin, balance="0")
    stage.apply(replicas=1)
    found = stage.until_reason("InsufficientBalance")
    assert condition(found, "Stalled")["status"] == "True", "somebody has to pay"
    stage.cloud.post("balance", account=stage.account.uin, balance="1000")
    stage.until_ready(1)


SOLD_OUT = {"stock": {"stock": 0}}, "InsufficientCapacity", "ResourceInsufficient.SpecifiedInstanceType"
TOO_DEAR = {"price": {"price": "9"}}, "PriceTooLow", "InvalidParameterValue.InsufficientPrice"


@pytest.mark.parametrize(
    ("spoil", "reason", "code"), [pytest.param(*SOLD_OUT, id="stock"), pytest.param(*TOO_DEAR, id="price")]
)
def test_a_one_time_request_fails_with_the_clouds_code_after_one_attempt(
    stage: Stage, spoil: dict[str, dict[str, Any]], reason: str, code: str
) -> None:
    for operation, body in spoil.items():
        stage.cloud.post(operation, zone=stage.account.zones[0], type="S5.MEDIUM4", **body)
    stage.apply(replicas=2, requestPolicy="OneTime", market={"maxPrice": "0.05"})
    found = stage.until(lambda obj: obj["status"].get("phase") == "Failed", "it says Failed")
    assert condition(found, "Ready")["reason"] == reason
    assert code in condition(found, "Stalled")["message"]
    throughout(lambda: len(stage.cloud.launches(stage.account)) == 1, "one RunInstances", 3)
    (request,) = stage.cloud.launches(stage.account)
    assert (request["code"], request["params"]["InstanceCount"]) == (code, 2)


def test_a_one_time_request_does_not_replace_what_is_lost(stage: Stage) -> None:
    stage.apply(replicas=2, requestPolicy="OneTime")
    stage.until_ready(2)
    stage.cloud.post("terminate", account=stage.account.uin)
    found = stage.until(lambda obj: obj["status"].get("phase") == "Failed", "it says Failed")
    assert condition(found, "Ready")["reason"] == "InstancesLost"
    throughout(lambda: len(stage.cloud.launches(stage.account)) == 1, "one RunInstances", 2)


def test_work_on_plain_machines_is_done_once_and_lost_work_is_begun_anew(stage: Stage) -> None:
    stage.apply(replicas=3, requestPolicy="OneTime", onStop="Release")
    stage.until_ready(3)
    first, second, _ = [row["id"] for row in stage.cloud.running(stage.account)]
    stage.cloud.post("interrupt", instances=[first], notice_seconds=0)
    stage.until(lambda obj: obj["status"]["reclaimed"] == 1 and obj["status"]["phase"] == "Ready", "begun anew")
    stage.cloud.post("power-off", instances=[second])
    found = stage.until(lambda obj: obj["status"]["finished"] == 1 and obj["status"]["replicas"] == 2, "one is done")
    assert condition(found, "Complete")["reason"] == "WorkGoesOn"
    stage.cloud.post("power-off", instances=[row["id"] for row in stage.cloud.running(stage.account)])
    found = stage.until(lambda obj: obj["status"]["phase"] == "Succeeded", "all are done")
    assert condition(found, "Complete")["status"] == condition(found, "Ready")["status"] == "True"
    assert "InstancesStopping" not in {one["reason"] for one in stage.events()}
    throughout(lambda: sum(one["params"]["InstanceCount"] for one in stage.cloud.launches(stage.account)) == 4, "4", 2)
    assert stage.cloud.running(stage.account) == []


def test_environments_of_one_account_share_its_sweep(stage: Stage) -> None:
    names = [f"web-{number}" for number in range(5)]
    for name in names:
        stage.apply(name, replicas=1)
    for name in names:
        stage.until_ready(1, name)
    stage.until(_is_settled, "settled", names[-1])
    before, started = len(stage.cloud.requests(stage.account, "DescribeInstances")), time.time()
    throughout(lambda: stage.get(names[0]), "it lives", 3)
    sweeps = len(stage.cloud.requests(stage.account, "DescribeInstances")) - before
    due = math.ceil((time.time() - started) / float(QUICK["SWEEP_SECONDS"]))
    assert sweeps <= due + 2, f"five environments, {sweeps} listings where {due} are due"


def _is_settled(obj: Object) -> bool:
    return is_observed(obj) and all(item["state"] == "RUNNING" for item in obj["status"]["instances"])
