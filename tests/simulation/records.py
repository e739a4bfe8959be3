"""The judge of the activity log: nothing promised is lost, nothing that happened goes untold.

Apart from the judge of machines, because it reads what the operator writes: a record counts as promised once its status
is committed. What really happened comes from the cloud's own books.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from cvmsim.instance import LIVE, Instance
from simulation.cloudworld import ENVIRONMENT_TAG
from spotcompute.report.history import HISTORY_LIMIT

Object = dict[str, Any]

#: After these, an object's memory is not what its operator has written: what was told before is nobody's promise.
FORGETFUL = frozenset({"wipe", "strip", "migrate", "rewind"})

#: What lives shorter than this can go unnoticed: bought by a request whose answer was lost, and gone before the cloud,
#: the API server and the operator were all there again. Days in the recycle bin are no life.
UNNOTICED_SECONDS = 1800.0


class Records:
    """Every activity ever committed, by environment id, and whether one was lost on the way."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._told: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.count = 0

    def judge(self, before: Object, after: Object) -> None:
        """One status write: its lines are numbered without gaps, and none of those before is missing or rewritten."""
        old, new = _lines(before), _lines(after)
        if old == new:
            return
        numbers = [int(line["id"].removeprefix("act-")) for line in new]
        name = after["metadata"]["name"]
        if not numbers or numbers != list(range(numbers[0], numbers[0] - len(numbers), -1)):
            self._complain(f"O6 {name}: activities are numbered {numbers[:8]}")
            return
        kept = {line["id"]: line for line in new}
        for line in old:
            if line["id"] not in kept and int(line["id"].removeprefix("act-")) > numbers[0] - HISTORY_LIMIT:
                self._complain(f"O6 {name}: {line['id']} was promised and is lost")
            elif _is_rewritten(line, kept.get(line["id"], line)):
                self._complain(f"O6 {name}: {line['id']} was rewritten")
        environment_id = after["status"].get("environmentID", "")
        for line in new:
            self._told[environment_id][line["type"]].update(line.get("instanceIds") or ())
        self.count += max(0, numbers[0] - (int(old[0]["id"].removeprefix("act-")) if old else 0))

    def judge_what_is_open(self, objects: Iterable[Object], features: set[str]) -> None:
        """Long after everything has settled no record says that something is still under way."""
        if features & FORGETFUL:
            return
        for obj in objects:
            for line in _lines(obj):
                if line["state"] in ("Submitted", "Processing"):
                    self._complain(f"O6 {obj['metadata']['name']}: {line['id']} never ended: {line}")

    def judge_the_end(self, instances: Iterable[Instance], features: set[str]) -> None:
        """Every instance that ran for a while is named by the record of its launch or its adoption."""
        if features & FORGETFUL:
            return
        for instance in instances:
            environment_id = instance.order.tags.get(ENVIRONMENT_TAG)
            if environment_id is None:
                continue
            if all(change.state != "RUNNING" for change in instance.changes):
                continue  # it never lived: no launch to speak of, and nothing to pay
            ended = next((change.time for change in instance.changes if change.state not in LIVE), float("inf"))
            if ended - instance.created_at < UNNOTICED_SECONDS:
                continue
            told = self._told[environment_id]
            if instance.id not in told["Launch"] | told["Adopt"]:
                self._complain(f"O6 {environment_id}: nothing tells of {instance.id}, which was launched")


def _is_rewritten(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """What has ended well stays as it is, and of a launch that was accepted only the end is still to come."""
    if (before["type"], before["state"]) == ("Launch", "Processing"):
        return any(before.get(key) != after.get(key) for key in (before.keys() | after.keys()) - {"state", "endTime"})
    return bool(before["state"] == "Succeeded" and before != after)


def _lines(obj: Object) -> list[dict[str, Any]]:
    return list((obj.get("status") or {}).get("activities") or ())
