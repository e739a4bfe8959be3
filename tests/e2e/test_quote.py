"""The quote in the object: shown while paused, with what is wrong; gone when the pause ends and it fills.

One operator and one cloud for all.
"""

from __future__ import annotations

import pytest

from e2e.simulator import IMAGE
from e2e.stage import Object, Stage, condition, is_observed
from waiting import throughout

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


def is_checked(obj: Object) -> bool:
    quote = obj["status"].get("quote") or {}
    return is_observed(obj) and quote.get("checkedGeneration") == obj["metadata"]["generation"]


def test_a_paused_environment_is_quoted_put_right_and_then_filled(stage: Stage) -> None:
    wrong = {"imageId": IMAGE, "securityGroupIds": ["sg-00000000"], "camRoleName": "nobody"}
    stage.apply(replicas=3, paused=True, template=wrong, market={"maxPrice": "0.05"})
    found = stage.until(is_checked, "it is quoted")
    quote = found["status"]["quote"]
    assert (quote["chosen"], quote["perHour"], quote["onDemandPerHour"]) == (3, "0.0783", "0.3318")
    assert quote["extrasPerHour"] == "0.0105", "three disks, which are never discounted"
    assert quote["pools"] == [
        {
            "zone": stage.account.zones[0],
            "instanceType": "S5.MEDIUM4",
            "count": 3,
            "pricePerHour": "0.0226",
            "bid": "0.05",
        }
    ]
    assert {one["field"] for one in quote["errors"]} == {"spec.template.securityGroupIds", "spec.template.camRoleName"}
    assert found["status"]["phase"] == "Paused"
    assert quote["errors"][0]["code"] in condition(found, "Ready")["message"]

    stage.apply(replicas=3, paused=True, market={"maxPrice": "0.05"})
    # The watch may still show what was: only the new generation counts.
    found = stage.until(lambda obj: obj["metadata"]["generation"] == 2 and is_checked(obj), "it is quoted again")
    assert "errors" not in found["status"]["quote"]
    asked, version = len(stage.cloud.launches(stage.account)), found["metadata"]["resourceVersion"]
    throughout(lambda: len(stage.cloud.launches(stage.account)) == asked, "the cloud is asked once", 3)
    assert (stage.get() or {})["metadata"]["resourceVersion"] == version, "written though nothing has changed"
    assert all(row["params"]["DryRun"] for row in stage.cloud.launches(stage.account))
    assert stage.cloud.instances(stage.account, gone=True) == []

    stage.patch(paused=False)
    found = stage.until_ready(3)
    assert "quote" not in found["status"]


def test_a_quote_follows_the_price(stage: Stage) -> None:
    stage.apply(replicas=2, paused=True)
    stage.until(is_checked, "it is quoted")
    stage.cloud.post("price", zone=stage.account.zones[0], type="S5.MEDIUM4", price="0.03")
    stage.until(lambda obj: obj["status"]["quote"]["perHour"] == "0.067", "the new price")
    asked = len(stage.cloud.launches(stage.account))
    assert asked == 1, "a price is no reason to ask the cloud what is wrong"
