"""Implements `NodePort` with the official client's transport.

Apart from `client`, which asks about environments and in other rights.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from spotcompute.kube.connection import Connection
from spotcompute.kube.names import FIELD_MANAGER
from spotcompute.kube.port import Conflict, KubeObject, NotFound
from spotcompute.kube.transport import MERGE_PATCH, TIMEOUT_SECONDS, Transport, segment
from spotcompute.model.node import Pod

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PAGE = 500

#: Selects the pods that a node has, and that have not ended.
AT_WORK = {"fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"}

_FIELDS = {"fieldManager": FIELD_MANAGER}


class NodeClient:
    """`NodeClient` asks the API server about nodes."""

    def __init__(self, connection: Connection, *, timeout_seconds: float = TIMEOUT_SECONDS, page: int = PAGE) -> None:
        """Takes the connection, which is closed by its owner."""
        self._transport = Transport(connection, timeout_seconds)
        self._page = page

    async def nodes(self) -> tuple[Sequence[KubeObject], str]:
        """Lists page by page. Needs `list` on nodes."""
        return await self._list(NODES, {})

    def watch_nodes(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Sends one GET, and reads lines for a minute. Needs `watch` on nodes."""
        return self._transport.watch(NODES, version)

    async def patch_node(self, name: str, change: Mapping[str, Any]) -> KubeObject:
        """Sends one merge patch. Needs `patch` on nodes."""
        patched: KubeObject = await self._transport.call(
            "PATCH", f"{NODES}/{segment(name)}", query=_FIELDS, body=change, content_type=MERGE_PATCH
        )
        return patched

    async def delete_node(self, name: str, uid: str) -> None:
        """Sends one DELETE, which holds for this uid only. Needs `delete` on nodes."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        with contextlib.suppress(NotFound):
            await self._transport.call("DELETE", f"{NODES}/{segment(name)}", body=body)

    async def pods(self) -> tuple[Sequence[KubeObject], str]:
        """Lists page by page. Needs `list` on pods."""
        return await self._list(PODS, AT_WORK)

    def watch_pods(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Sends one GET, and reads lines for a minute. Needs `watch` on pods."""
        return self._transport.watch(PODS, version, AT_WORK)

    async def pods_on(self, node: str) -> Sequence[KubeObject]:
        """Lists by field selector. Needs `list` on pods."""
        return (await self._list(PODS, {"fieldSelector": f"spec.nodeName={node}"}))[0]

    async def fail_pod(self, pod: Pod, status: Mapping[str, Any]) -> None:
        """Sends a strategic merge patch and a DELETE. Needs `patch` on pods/status and `delete` on pods."""
        path = _path(pod)
        change = {"metadata": {"uid": pod.uid}, **status}
        with contextlib.suppress(NotFound, Conflict):  # Conflict: another pod has this name now
            await self._transport.call(
                "PATCH", f"{path}/status", query=_FIELDS, body=change, content_type=STRATEGIC_PATCH
            )
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
            await self._transport.call("DELETE", path, body={"apiVersion": "v1", "kind": "DeleteOptions", **body})

    async def evict_pod(self, pod: Pod) -> None:
        """Sends one POST. Needs `create` on pods/eviction."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        }
        with contextlib.suppress(NotFound, Conflict):
            await self._transport.call("POST", f"{_path(pod)}/eviction", body=body)

    async def certificate_requests(self) -> Sequence[KubeObject]:
        """Lists page by page. Needs `list` on certificatesigningrequests."""
        return (await self._list(REQUESTS, {}))[0]

    async def approve(self, request: KubeObject) -> None:
        """Sends one PUT. Needs `update` on certificatesigningrequests/approval, and `approve` on the signer."""
        path = f"{REQUESTS}/{segment(request['metadata']['name'])}/approval"
        await self._transport.call("PUT", path, query=_FIELDS, body=request)

    async def _list(self, path: str, query: Mapping[str, str]) -> tuple[Sequence[KubeObject], str]:
        items: list[KubeObject] = []
        more: dict[str, str] = {}
        while True:
            page = await self._transport.call("GET", path, query={**query, "limit": str(self._page), **more})
            items += page["items"] or ()
            if not page["metadata"].get("continue"):
                return items, str(page["metadata"]["resourceVersion"])
            more = {"continue": page["metadata"]["continue"]}


def _path(pod: Pod) -> str:
    return f"/api/v1/namespaces/{segment(pod.namespace)}/pods/{segment(pod.name)}"
