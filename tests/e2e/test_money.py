"""Requirements, limits, on demand and gangs on real parts: API server and SDK; the cloud's own books are the judge."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.stage import Stage, condition
from waiting import eventually, throughout

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


#: Dollars per hour for 50 GiB of CLOUD_PREMIUM, which is what a machine gets that asks for no system disk.
DISK = 0.0035


def set_stock(stage: Stage, stock: int, **where: Any) -> None:
    zone, kind = stage.account.zones[where.pop("zone", 0)], where.pop("type", "S5.MEDIUM4")
    stage.cloud.post("stock", zone=zone, type=kind, stock=stock, **where)


def charge_types(stage: Stage) -> list[str]:
    return [row["params"]["InstanceChargeType"] for row in stage.cloud.launches(stage.account)]


def test_requirements_find_the_cheapest_type_that_meets_them(stage: Stage) -> None:
    stage.apply(
        replicas=2,
        instanceTypes=None,
        instanceRequirements={"cpu": {"min": 2, "max": 2}, "memoryGiB": {"min": 4}, "gpu": {"max": 0}},
        market={"allocationStrategy": "LowestPrice"},
    )
    found = stage.until_ready(2)
    pools = {pool["instanceType"]: pool for pool in found["status"]["pools"]}
    assert set(pools) == {"S2.MEDIUM4", "S5.MEDIUM4", "SA2.MEDIUM4"}
    cheapest = min(pools.values(), key=lambda pool: float(pool["pricePerHour"]))
    assert cheapest["instances"] == 2


def test_requirements_that_no_type_meets_are_for_a_person(stage: Stage) -> None:
    stage.apply(
        instanceTypes=None,
        instanceRequirements={"cpu": {"min": 4096}},
        market={"allocationStrategy": "LowestPrice"},
    )
    found = stage.until(lambda obj: obj["status"].get("reason") == "NoMatchingType", "it says so")
    assert condition(found, "Stalled")["status"] == "True"
    assert "spec.instanceRequirements" in condition(found, "Ready")["message"]


def test_a_limit_per_hour_is_kept_and_named(stage: Stage) -> None:
    stage.apply(replicas=0)
    found = stage.until_ready(0)
    price = float(found["status"]["pools"][0]["pricePerHour"])
    stage.patch(replicas=4, limits={"maxHourlyCost": f"{3 * price:.6f}"})
    found = stage.until(lambda obj: obj["status"].get("reason") == "OverBudget", "the limit stops it")
    throughout(lambda: len(stage.cloud.instances(stage.account)) == 2, "three machines fit, and their disks do not", 3)
    assert "limits.maxHourlyCost" in condition(found, "Ready")["message"]
    cost = found["status"]["cost"]
    assert (float(cost["perHour"]), float(cost["extrasPerHour"])) == pytest.approx((2 * (price + DISK), 2 * DISK))
    assert condition(found, "Stalled")["status"] == "False", "a lower price would end it"


def test_where_nobody_tells_what_disks_cost_a_limit_buys_nothing(stage: Stage) -> None:
    fault = {"action": "InquiryPriceRunInstances", "kind": "error", "code": "UnauthorizedOperation"}
    stage.cloud.post("faults", account=stage.account.uin, message="not with this key", times=None, **fault)
    stage.apply(replicas=1, limits={"maxHourlyCost": "100"})
    found = stage.until(lambda obj: "disks" in condition(obj, "Ready").get("message", ""), "it says what is not known")
    assert "InquiryPriceRunInstances" in condition(found, "Ready")["message"]
    throughout(lambda: not stage.cloud.instances(stage.account), "nothing is bought", 3)
    stage.patch(limits=None)
    found = stage.until_ready(1)
    assert "extrasPerHour" not in found["status"]["cost"], "and without a limit it is bought, and told without disks"


def test_on_demand_stands_in_and_gives_way(stage: Stage) -> None:
    set_stock(stage, 0)
    stage.apply(replicas=2, onDemandFallback={"afterSeconds": 1, "maxReplicas": 2, "stableForSeconds": 60})
    found = stage.until_ready(2)
    assert set(charge_types(stage)[-2:]) <= {"SPOTPAID", "POSTPAID_BY_HOUR"}
    assert all(item["onDemand"] for item in found["status"]["instances"])
    assert found["status"]["cost"]["savedPercent"] == 0
    assert float(found["status"]["cost"]["extrasPerHour"]) == pytest.approx(2 * DISK)
    stage.scale(0)
    eventually(lambda: not stage.cloud.running(stage.account), "both are released, in a call of their own kind")


def test_without_fallback_nothing_is_bought_at_the_list_price(stage: Stage) -> None:
    set_stock(stage, 0)
    stage.apply(replicas=2)
    stage.until_reason("InsufficientCapacity")
    throughout(lambda: "POSTPAID_BY_HOUR" not in charge_types(stage), "spot only", 5)
    assert not stage.cloud.instances(stage.account)


def test_a_gang_is_taken_whole_or_not_for_long(stage: Stage) -> None:
    set_stock(stage, 2)
    stage.apply(replicas=3, gang={"minAvailable": 3, "holdSeconds": 15})
    stage.until(lambda obj: obj["status"].get("replicas") == 2, "a part is held")
    found = stage.until(lambda obj: obj["status"].get("replicas") == 0, "and let go")
    assert condition(found, "GangReady")["status"] == "False"
    set_stock(stage, 20)
    found = stage.until_ready(3)
    assert condition(found, "GangReady")["status"] == "True"
    assert len(stage.cloud.instances(stage.account, gone=True)) == 5


def test_a_strategy_without_a_place_in_the_spec_ranks_by_stock(stage: Stage) -> None:
    first = stage.account.zones[0]
    for kind, category in (("S5.MEDIUM4", "UnderStock"), ("S2.MEDIUM4", "EnoughStock")):
        stage.cloud.post("quote", zone=first, type=kind, category=category)
    stage.apply(
        replicas=1, instanceTypes=["S5.MEDIUM4", "S2.MEDIUM4"], market={"allocationStrategy": "CapacityOptimized"}
    )
    found = stage.until_ready(1)
    assert [item["instanceType"] for item in found["status"]["instances"]] == ["S2.MEDIUM4"]
