"""Defines what is asked of the API server about nodes, their pods and requests for certificates.

Apart from `port`, because an installation without nodes has none of these rights and asks none of this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from spotcompute.kube.port import KubeObject
from spotcompute.model.node import Pod


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

    async def pods(self) -> tuple[Sequence[KubeObject], str]:
        """Returns all pods that a node has and that have neither succeeded nor failed, and the version of the list."""
        ...

    def watch_pods(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Yields each change among them since `version`, for a while. One that ends is DELETED. Raises Expired."""
        ...

    async def pods_on(self, node: str) -> Sequence[KubeObject]:
        """Returns the pods that a node has at this moment."""
        ...

    async def fail_pod(self, pod: Pod, status: Mapping[str, Any]) -> None:
        """Writes a pod's status, and then deletes the pod without grace. Does nothing when that pod is gone."""
        ...

    async def evict_pod(self, pod: Pod) -> None:
        """Evicts a pod. Raises ApiUnavailable while a PodDisruptionBudget forbids it."""
        ...

    async def certificate_requests(self) -> Sequence[KubeObject]:
        """Returns all requests for certificates."""
        ...

    async def approve(self, request: KubeObject) -> None:
        """Writes the approval that stands in `request`. Raises Conflict when the request has changed."""
        ...
