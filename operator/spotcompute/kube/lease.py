"""Reads and writes the Lease by which replicas agree which of them acts.

Apart from `spotcompute.runtime.election`, which decides, so that the election can be tested with any Lease. The
official client's own leader election cannot be used: it never creates its Lease, and goes on leading after a network
error.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from spotcompute.kube.connection import Connection
from spotcompute.kube.names import FIELD_MANAGER
from spotcompute.kube.port import NotFound
from spotcompute.kube.transport import Transport, segment

MERGE_PATCH = "application/merge-patch+json"

#: Shorter than for other calls, because an answer after the deadline of a renewal is worth nothing.
TIMEOUT_SECONDS = 3.0

#: The format of `renewTime` and `acquireTime`. Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/
MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Lease:
    """`Lease` holds the content of a Lease object. Equal values mean that there was no write in between."""

    holder: str  # empty: no replica holds it
    duration_seconds: float  # as its holder promised; 0 when the object has no duration
    transitions: int  # how often its holder has changed
    version: str


class LeasePort(Protocol):
    """`LeasePort` reads and writes one Lease. Every method raises KubeError."""

    async def read(self) -> Lease | None:
        """Returns the Lease as it is now, never from a cache. None when there is none yet."""
        ...

    async def write(self, before: Lease | None, holder: str, duration_seconds: int, now: datetime) -> Lease:
        """Makes `holder` (empty: no replica) its holder as of `now`, and returns the new Lease.

        Raises Conflict when it is no longer as in `before`, or exists although `before` is None.
        """
        ...


class LeaseClient:
    """`LeaseClient` keeps a Lease on the API server.

    Needs `create` on leases in its namespace, and `get` and `patch` on this one.
    """

    def __init__(self, connection: Connection, namespace: str, name: str) -> None:
        self._transport = Transport(connection, TIMEOUT_SECONDS)
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{segment(namespace)}/leases"
        self._name = name

    async def read(self) -> Lease | None:
        """Sends one GET."""
        try:
            return _lease(await self._transport.call("GET", f"{self._collection}/{segment(self._name)}"))
        except NotFound:
            return None

    async def write(self, before: Lease | None, holder: str, duration_seconds: int, now: datetime) -> Lease:
        """Sends one POST, or one merge patch with the resourceVersion.

        Labels that others have put on the Lease stay.
        """
        query = {"fieldManager": FIELD_MANAGER}
        moment = now.strftime(MICRO_TIME)
        spec: dict[str, Any] = {"holderIdentity": holder, "leaseDurationSeconds": duration_seconds, "renewTime": moment}
        if before is None or holder not in ("", before.holder):
            spec |= {"acquireTime": moment, "leaseTransitions": before.transitions + 1 if before else 0}
        if before is None:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name},
                "spec": spec,
            }
            return _lease(await self._transport.call("POST", self._collection, query=query, body=body))
        patch = {"metadata": {"resourceVersion": before.version}, "spec": spec}
        path = f"{self._collection}/{segment(self._name)}"
        return _lease(await self._transport.call("PATCH", path, query=query, body=patch, content_type=MERGE_PATCH))


def _lease(obj: Any) -> Lease:
    spec = obj.get("spec") or {}
    return Lease(
        holder=str(spec.get("holderIdentity") or ""),
        duration_seconds=float(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
        version=str(obj["metadata"]["resourceVersion"]),
    )
