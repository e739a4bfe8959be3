"""Implements `NodePort` with the official client's transport.

Apart from `client`, which asks about environments and in other rights.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from spotcompute.kube.connection import Connection
from spotcompute.kube.names import FIELD_MANAGER
from spotcompute.kube.node_port import PodRef
from spotcompute.kube.port import Conflict, KubeObject, NotFound
from spotcompute.kube.transport import MERGE_PATCH, TIMEOUT_SECONDS, Transport, segment

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PAGE = 500

#: Phases of a pod that does no work any more.
ENDED = ("Succeeded", "Failed")
#: The annotation of pods that the kubelet itself runs from a file.
MIRROR = "kubernetes.io/config.mirror"

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

    async def working_pods(self, node: str) -> Sequence[PodRef]:
        """Lists by field selector. Needs `list` on pods."""
        items, _ = await self._list(PODS, {"fieldSelector": f"spec.nodeName={node}"})
        return [_pod(item) for item in items if (item.get("status") or {}).get("phase") not in ENDED]

    async def fail_pod(self, pod: PodRef, status: Mapping[str, Any]) -> None:
        """Sends a strategic merge patch and a DELETE. Needs `patch` on pods/status and `delete` on pods."""
        path = _path(pod)
        change = {"metadata": {"uid": pod.uid}, **status}
        with contextlib.suppress(NotFound, Conflict):  # Conflict: another pod has this name now
            await self._transport.call(
                "PATCH", f"{path}/status", query=_FIELDS, body=change, content_type=STRATEGIC_PATCH
            )
            body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
            await self._transport.call("DELETE", path, body={"apiVersion": "v1", "kind": "DeleteOptions", **body})

    async def evict_pod(self, pod: PodRef) -> None:
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


def _pod(item: KubeObject) -> PodRef:
    metadata = item["metadata"]
    owners = [owner["kind"] for owner in metadata.get("ownerReferences") or ()]
    belongs_there = "DaemonSet" in owners or MIRROR in (metadata.get("annotations") or {})
    return PodRef(metadata["namespace"], metadata["name"], metadata["uid"], belongs_there)


def _path(pod: PodRef) -> str:
    return f"/api/v1/namespaces/{segment(pod.namespace)}/pods/{segment(pod.name)}"
