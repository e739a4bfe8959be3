"""Draws namespaces, their environments and the machines of each as a tree. It is pure: `now` is a parameter.

Apart from `views`, whose tables have one line per thing of one kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from kubectl_spot.table import columns
from kubectl_spot.views import NOTHING, Object, age, pool, ready, status_of

#: What stands before a child and before the children of a child: first those of all but the last.
BRANCHES = (("├─ ", "│  "), ("└─ ", "   "))


def tree(objects: Sequence[Object], now: datetime) -> str:
    """Returns each namespace, below it its environments, below each its machines and what is missing."""
    lines: list[str] = []
    for namespace, group in groupby(sorted(objects, key=_place), key=lambda obj: obj["metadata"]["namespace"]):
        environments = list(group)
        heads = columns([_head(obj) for obj in environments])
        lines.append(str(namespace))
        for (mark, indent), head, obj in zip(_branches(len(environments)), heads, environments, strict=True):
            lines.append(mark + head)
            lines += [indent + line for line in _below(obj, now)]
    return "\n".join(lines) or "No environments."


def _place(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _branches(count: int) -> Iterator[tuple[str, str]]:
    for at in range(count):
        yield BRANCHES[at == count - 1]


def _head(obj: Object) -> tuple[str, ...]:
    status, cost = status_of(obj), status_of(obj).get("cost", {})
    price = f"{cost['perHour']} {cost.get('currency', '')}/h".replace(" /h", "/h") if "perHour" in cost else NOTHING
    return (
        obj["metadata"]["name"],
        f"{ready(status)}/{obj.get('spec', {}).get('replicas', 0)} ready",
        status.get("phase", "not seen yet"),
        price,
        status.get("reason", ""),
    )


def _below(obj: Object, now: datetime) -> Iterator[str]:
    status = status_of(obj)
    shown = status.get("instances", ())
    machines = columns([_machine(one, now) for one in shown]) if shown else []
    hidden = len(set(status.get("instanceIDs", ())) - {one["id"] for one in shown})
    missing = max(0, obj.get("spec", {}).get("replicas", 0) - status.get("replicas", 0))
    more = [f"and {hidden} more"] * bool(hidden) + [f"{missing} missing"] * bool(missing)
    for (mark, _), line in zip(_branches(len(machines) + len(more)), [*machines, *more], strict=True):
        yield mark + line


def _machine(one: dict[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        one["id"],
        one.get("state", NOTHING),
        pool(one) + (" (on demand)" if one.get("onDemand") else ""),
        one.get("privateIP") or NOTHING,
        age(one.get("launchedAt"), now),
        one.get("note", ""),
    )
