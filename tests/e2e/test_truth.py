"""The object tells the truth on a real API server: while the cloud cannot be seen, and while others hold it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.stage import Stage, condition
from e2e.test_crashes import Start, add_fault

pytestmark = pytest.mark.e2e

AUDIT = "example.org/audit"


def ready(obj: dict[str, Any]) -> str:
    return str(condition(obj, "Ready").get("status"))


def test_while_the_cloud_is_away_no_object_says_ready_or_how_many(stage: Stage, own_operator: Start) -> None:
    own_operator()
    for name in ("web", "other"):
        stage.apply(name, replicas=2)
        stage.until_ready(2, name)
    add_fault(stage, "5xx", "DescribeInstances", times=0)
    for name in ("web", "other"):
        found = stage.until(lambda obj: ready(obj) == "Unknown", "it says that nobody knows", name)
        assert found["status"]["reason"] == "CloudUnreachable"
        assert "readyReplicas" not in found["status"]
        assert found["status"]["observedTime"] in condition(found, "Ready")["message"]
    for name in ("web", "other"):
        stage.until(lambda obj: ready(obj) == "False", "it says that it lasts", name)
    stage.cloud.clear_faults()
    for name in ("web", "other"):
        stage.until_ready(2, name)


def test_what_is_released_and_held_by_another_says_by_whom(stage: Stage, own_operator: Start) -> None:
    own_operator()
    stage.apply(replicas=1)
    stage.until_ready(1)
    add = json.dumps([{"op": "add", "path": "/metadata/finalizers/-", "value": AUDIT}])
    stage.kubectl.run("patch", "sce", "web", "--type=json", "-p", add)
    stage.delete()
    stage.until(lambda obj: condition(obj, "Ready")["message"] == f"released; held by {AUDIT}", "it says by whom")
    assert stage.cloud.instances(stage.account) == []
    stage.kubectl.run("patch", "sce", "web", "--type=merge", "-p", '{"metadata":{"finalizers":[]}}')
    stage.until_gone()
