"""Completes what an environment says of its instances by their own objects, of which there is one for each.

Apart from `views` because the status of a large environment shows only some of its instances, and an object of each is
another thing to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

#: The full name, so that it cannot mean another kind.
INSTANCES = "spotinstances.spotcompute.dev"

#: CVM's word for what is bought at the list price.
ON_DEMAND = "POSTPAID_BY_HOUR"

#: What a line of status has in common with an object.
_SAME = (
    "state",
    "ready",
    "zone",
    "instanceType",
    "privateIP",
    "publicIP",
    "pricePerHour",
    "launchedAt",
    "updated",
    "note",
)


def unshown(environment: Object) -> set[str]:
    """Returns the ids of instances of which the status shows nothing else."""
    status = environment.get("status") or {}
    return set(status.get("instanceIDs") or ()) - {line["id"] for line in status.get("instances") or ()}


def completed(environments: Sequence[Object], objects: Sequence[Object]) -> list[Object]:
    """Returns the environments with a line for each instance that has an object. A line of the status is newer."""
    by_owner: dict[str, list[Object]] = {}
    for obj in objects:
        for reference in obj["metadata"].get("ownerReferences") or ():
            by_owner.setdefault(reference.get("uid", ""), []).append(obj)
    return [_completed(one, by_owner.get(one["metadata"].get("uid", ""), [])) for one in environments]


def _completed(environment: Object, objects: Sequence[Object]) -> Object:
    missing, status = unshown(environment), environment.get("status") or {}
    lines = list(_lines(objects, missing))
    if not lines:
        return environment
    whole = sorted([*(status.get("instances") or ()), *lines], key=lambda line: str(line["id"]))
    return {**environment, "status": {**status, "instances": whole}}


def _lines(objects: Sequence[Object], missing: set[str]) -> Iterator[dict[str, Any]]:
    for obj in objects:
        name, facts = obj["metadata"]["name"], obj.get("status") or {}
        if name in missing:
            line = {"id": name} | {key: facts[key] for key in _SAME if key in facts}
            yield line | ({"onDemand": True} if facts.get("chargeType") == ON_DEMAND else {})
