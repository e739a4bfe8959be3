"""Defines the port to the API server for claims: Jobs, the objects of Kueue, and the number of instances.

Apart from `port`, because only an installation with the overlay `jobs` has the rights to ask all of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from spotcompute.kube.port import KubeObject


class Kind(Enum):
    """`Kind` lists the collections that are followed."""

    WORKLOADS = "workloads"
    CHECKS = "admissionchecks"
    FLAVORS = "resourceflavors"
    MARKED_JOBS = "jobs with our label"
    QUEUED_JOBS = "jobs with a queue"


class ClaimPort(Protocol):
    """`ClaimPort` lists what is asked of an API server about claims. Every method raises KubeError."""

    async def objects(self, kind: Kind) -> tuple[Sequence[KubeObject], str]:
        """Returns all objects of a kind, and the version of the list. Raises NotServed where it is not installed."""
        ...

    def watch(self, kind: Kind, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Yields each change since `version`, as its type and the object, for a while. Raises Expired."""
        ...

    async def apply_status(self, kind: Kind, body: Mapping[str, Any], manager: str) -> KubeObject:
        """Applies a part of the status of one object, and returns the object.

        What others have written beside it stays. Raises Conflict when the object has changed since it was read.
        """
        ...

    async def has_work(self, node: str) -> bool:
        """Returns True when a pod on this node has not ended, and does not belong there as one of a DaemonSet does."""
        ...

    async def set_replicas(self, environment: KubeObject, replicas: int) -> None:
        """Sets the number of instances of an environment. Raises Conflict when it has changed since it was read."""
        ...
