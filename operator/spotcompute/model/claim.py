"""Defines `Claim`: work that wants room for its pods, and what an environment offers to claims.

Apart from `node`, which is a machine that has joined: a claim is there before any machine is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

#: Amounts of resources by Kubernetes' names, in thousandths: 500 of `cpu` is half a core, 1000 of `pods` is one pod.
Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PodGroup:
    """`PodGroup` is a number of pods of one shape. `requests` is what one pod asks for; `pods` is among it."""

    name: str
    count: int
    requests: Amounts


@dataclass(frozen=True, slots=True)
class Claim:
    """`Claim` is one piece of work that wants room: a Workload with reserved quota, or a marked Job.

    `groups` holds the pods that it has still to run. `has_begun` is True once its pods may run: then it keeps what it
    has. `check` is the admission check that waits for an answer, None for a Job, which has none.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    since: datetime
    groups: tuple[PodGroup, ...]
    has_begun: bool = False
    check: str | None = None

    @property
    def pods(self) -> int:
        """Returns how many pods it has still to run."""
        return sum(group.count for group in self.groups)


@dataclass(frozen=True, slots=True)
class CapacityWishes:
    """`CapacityWishes` says how claims become instances.

    There are `count_max` instances at most. What no claim needs goes after `idle`. With `any_is_enough` a claim may
    begin as soon as one of its pods has room. `reserved` is what pods of claims cannot have of each machine.
    """

    count_max: int
    idle: timedelta = timedelta(seconds=60)
    any_is_enough: bool = False
    reserved: Amounts = field(default_factory=dict)
