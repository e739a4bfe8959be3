"""Every instance of a large environment is shown, from the objects of those that its status leaves out."""

from __future__ import annotations

from typing import Any

from kubectl_spot import views
from kubectl_spot.machines import completed, unshown
from plugin.test_views import NOW


def environment(uid: str, *shown: str, ids: list[str] | None = None) -> dict[str, Any]:
    lines = [{"id": one, "state": "RUNNING", "ready": True} for one in shown]
    status = {"instances": lines} | ({"instanceIDs": ids} if ids else {})
    return {"metadata": {"namespace": "jobs", "name": uid, "uid": uid}, "spec": {"replicas": 3}, "status": status}


def machine(name: str, uid: str, **status: Any) -> dict[str, Any]:
    metadata = {"namespace": "jobs", "name": name, "ownerReferences": [{"uid": uid}]}
    return {"metadata": metadata, "status": {"state": "PENDING", "ready": False, "chargeType": "SPOTPAID"} | status}


def test_two_thousand_instances_are_all_shown_with_their_addresses() -> None:
    ids = [f"ins-{number:04}" for number in range(2000)]
    objects = [machine(name, "web", privateIP=f"10.0.{int(name[4:]) // 250}.{int(name[4:]) % 250}") for name in ids]
    (whole,) = completed([environment("web", *ids[:35], ids=ids)], objects)
    text = views.instances(whole, NOW)
    assert all(name in text for name in ids)
    assert "10.0.7.249" in text
    assert "more:" not in text


def test_a_line_of_the_status_is_newer_than_an_object() -> None:
    ids = ["ins-1", "ins-2"]
    objects = [machine("ins-1", "web"), machine("ins-2", "web", chargeType="POSTPAID_BY_HOUR")]
    (whole,) = completed([environment("web", "ins-1", ids=ids)], objects)
    first, second = whole["status"]["instances"]
    assert (first["id"], first["state"]) == ("ins-1", "RUNNING")
    assert (second["id"], second["state"], second["onDemand"]) == ("ins-2", "PENDING", True)


def test_objects_of_others_and_of_ended_instances_are_left_out() -> None:
    known = environment("web", "ins-1", ids=["ins-1", "ins-2"])
    assert completed([known], [machine("ins-2", "other"), machine("ins-9", "web"), {"metadata": {"name": "x"}}]) == [
        known
    ]
    assert unshown(known) == {"ins-2"}


def test_an_environment_without_status_is_left_as_it_is() -> None:
    new = {"metadata": {"namespace": "jobs", "name": "new", "uid": "new"}}
    assert unshown(new) == set()
    assert completed([new], []) == [new]
