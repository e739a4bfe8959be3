"""Instances bear timers while the spec says so, set at launch and later, with a real API server and the real SDK."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from e2e.simulator import Row, Simulator
from e2e.stage import Object, Stage, condition
from localcluster.kubectl import KubectlError
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]

AFTER = timedelta(seconds=900)
READ, DELETE, SET = (f"{verb}InstancesActionTimer" for verb in ("Describe", "Delete", "Import"))


def reason(found: Object) -> str:
    one = next((one for one in found["status"].get("conditions", ()) if one["type"] == "OrphanProtected"), None)
    return one["reason"] if one else ""


def ahead(request: Row) -> timedelta:
    """How far ahead of a request its timer is."""
    moment = datetime.fromisoformat(request["params"]["ActionTimer"]["ActionTime"]).timestamp()
    return timedelta(seconds=moment - request["time"])


def test_timers_are_set_told_and_taken_off(stage: Stage, cloud: Simulator) -> None:
    with pytest.raises(KubectlError, match="orphanProtection ends instances that no operator looks after"):
        stage.apply(replicas=2, orphanProtection={"afterSeconds": 900}, deletionPolicy="Retain")
    stage.apply(replicas=2, orphanProtection={"afterSeconds": 900})
    stage.until_ready(2)
    stage.until(lambda obj: reason(obj) == "TimersSet", "every instance has a timer")
    (launch,) = cloud.launches(stage.account)
    assert abs(ahead(launch) - AFTER) < timedelta(seconds=60)
    assert cloud.requests(stage.account, READ, DELETE, SET) == []

    stage.patch(orphanProtection=None)
    stage.until(lambda obj: reason(obj) == "" and not obj["status"]["ledger"].get("timers"), "the timers are off")
    (deleted,) = cloud.requests(stage.account, DELETE)
    assert len(deleted["params"]["ActionTimerIds"]) == 2

    fault = {"kind": "error", "code": "UnauthorizedOperation", "times": 0}
    cloud.post("faults", action=SET, account=stage.account.uin, **fault)
    stage.patch(orphanProtection={"afterSeconds": 900})
    found = stage.until(lambda obj: reason(obj) == "TimersRefused", "the refusal is told")
    assert "Allow cvm:ImportInstancesActionTimer" in condition(found, "OrphanProtected")["message"]
    stage.scale(3)
    stage.until_ready(3)
    cloud.clear_faults()
    assert cloud.requests(stage.account, "TerminateInstances") == []
    stage.delete()
    stage.until_gone()
    eventually(lambda: cloud.running(stage.account) == [], "all is released")
