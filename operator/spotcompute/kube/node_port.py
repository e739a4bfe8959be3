"""Defines what is asked of the API server about nodes, their pods and requests for certificates.

Apart from `port`, because an installation without nodes has none of these rights and asks none of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spotcompute.kube.port import KubeObject


@dataclass(frozen=True, slots=True)
class PodRef:
    """`PodRef` names one pod on a node. `is_bound_to_node` is True for pods that belong there, as of a DaemonSet."""

    namespace: str
    name: str
    uid: str
    is_bound_to_node: bool = False


class NodePort(Protocol):
    """`NodePort` lists what is asked of an API server about nodes. Every method raises KubeError."""

    async def nodes(self) -> tuple[Sequence[KubeObject], str]:
        """Returns all nodes, and the version of the list."""
        ...

    def watch_nodes(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Yields each change since `version`, as its type and the node, for a while. Raises Expired."""
        ...

    async def patch_node(self, name: str, change: Mapping[str, Any]) -> KubeObject:
        """Applies a merge patch, and returns the new node. Raises Conflict when it holds another version."""
        ...

    async def delete_node(self, name: str, uid: str) -> None:
        """Deletes the node with this uid. Does nothing when it is gone."""
        ...

    async def working_pods(self, node: str) -> Sequence[PodRef]:
        """Returns the pods on a node that have neither succeeded nor failed."""
        ...

    async def fail_pod(self, pod: PodRef, status: Mapping[str, Any]) -> None:
        """Writes a pod's status, and then deletes the pod without grace. Does nothing when that pod is gone."""
        ...

    async def evict_pod(self, pod: PodRef) -> None:
        """Evicts a pod. Raises ApiUnavailable while a PodDisruptionBudget forbids it."""
        ...

    async def certificate_requests(self) -> Sequence[KubeObject]:
        """Returns all requests for certificates."""
        ...

    async def approve(self, request: KubeObject) -> None:
        """Writes the approval that stands in `request`. Raises Conflict when the request has changed."""
        ...
