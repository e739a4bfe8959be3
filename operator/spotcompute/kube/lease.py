"""The Lease by which replicas agree who acts: read it, and write who holds it.

Apart from `spotcompute.runtime.election`, which decides, so that its clockwork can be tested against any Lease.
The official client's own leader election cannot be used: it never creates its Lease, and goes on leading after a
network error.
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

#: Shorter than other calls: an answer that comes after the deadline of a renewal is worth nothing.
TIMEOUT_SECONDS = 3.0

#: Of `renewTime` and `acquireTime`. Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/
MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Lease:
    """What stands in a Lease. Equal values: nobody has written in between."""

    holder: str  # empty: given back
    duration_seconds: float  # as its holder promised; 0 when it says nothing
    transitions: int  # how often it has changed hands
    version: str


class LeasePort(Protocol):
    """One Lease. Every method raises `KubeError`."""

    async def read(self) -> Lease | None:
        """As it is now, never from a cache; None when there is none yet."""
        ...

    async def write(self, before: Lease | None, holder: str, duration_seconds: int, now: datetime) -> Lease:
        """Make `holder` (empty: nobody) its holder as of `now`, and return it as it is then.

        Raises Conflict when it is no longer as in `before`, or exists although `before` is None.
        """
        ...


class LeaseClient:
    """A Lease on the API server. Needs `create` on leases in its namespace, and `get` and `patch` on this one."""

    def __init__(self, connection: Connection, namespace: str, name: str) -> None:
        self._transport = Transport(connection, TIMEOUT_SECONDS)
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{segment(namespace)}/leases"
        self._name = name

    async def read(self) -> Lease | None:
        """One GET."""
        try:
            return _lease(await self._transport.call("GET", f"{self._collection}/{segment(self._name)}"))
        except NotFound:
            return None

    async def write(self, before: Lease | None, holder: str, duration_seconds: int, now: datetime) -> Lease:
        """One POST, or one merge patch with the version: labels that others have put on the Lease stay."""
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
