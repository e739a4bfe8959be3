"""The tree shows every namespace, environment and machine once, and what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kubectl_spot.tree import tree

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)


def machine(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"ins-{number}",
        "state": "RUNNING",
        "zone": "ap-guangzhou-3",
        "instanceType": "S5.MEDIUM4",
        "privateIP": f"10.0.0.{number}",
        "launchedAt": "2026-11-24T03:00:00Z",
    } | more


def environment(namespace: str, name: str, wanted: int, **status: Any) -> dict[str, Any]:
    found = {"metadata": {"namespace": namespace, "name": name}, "spec": {"replicas": wanted}}
    return found | ({"status": status} if status else {})


WEB = environment(
    "jobs", "web", 3, phase="Waiting", reason="InsufficientCapacity", replicas=2, readyReplicas=1,
    cost={"perHour": "0.05", "currency": "USD"},
    instances=[machine(1), machine(2, state="PENDING", onDemand=True, privateIP=None, note="starting")],
)  # fmt: skip
WHOLE = """
ci
└─ runner   0/1 ready   not seen yet   -
   └─ 1 missing
jobs
├─ batch   0/0 ready   Ready     -
└─ web     1/3 ready   Waiting   0.05 USD/h   InsufficientCapacity
   ├─ ins-1   RUNNING   S5.MEDIUM4@ap-guangzhou-3               10.0.0.1   1h
   ├─ ins-2   PENDING   S5.MEDIUM4@ap-guangzhou-3 (on demand)   -          1h   starting
   └─ 1 missing
""".strip()


def test_a_whole_tree_whatever_the_order() -> None:
    found = [WEB, environment("ci", "runner", 1), environment("jobs", "batch", 0, phase="Ready", readyReplicas=0)]
    assert tree(found, NOW) == WHOLE
    assert tree(found[::-1], NOW) == WHOLE


def test_machines_that_status_only_counts_are_counted() -> None:
    many = environment("a", "b", 3, replicas=3, instances=[machine(1)], instanceIDs=["ins-1", "ins-2", "ins-3"])
    assert tree([many], NOW).splitlines()[-1] == "   └─ and 2 more"


def test_nothing_is_said_in_words() -> None:
    assert tree([], NOW) == "No environments."
