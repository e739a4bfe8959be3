"""Implements `ClaimPort` with the official client's transport.

Apart from `client`, which asks about environments and in other rights. Kueue's kinds are plain JSON here, in one
version of its API, so that no client of Kueue's own is needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from spotcompute.kube.claim_objects import JOB_LABEL, QUEUE_LABEL, is_work
from spotcompute.kube.claim_port import Kind
from spotcompute.kube.connection import Connection
from spotcompute.kube.names import FIELD_MANAGER, GROUP, PLURAL, VERSION
from spotcompute.kube.port import KubeObject
from spotcompute.kube.transport import MERGE_PATCH, TIMEOUT_SECONDS, Transport, segment

#: The version of Kueue's API since Kueue v0.15.
KUEUE = "kueue.x-k8s.io/v1beta2"
JOBS, PODS = "/apis/batch/v1/jobs", "/api/v1/pods"
APPLY = "application/apply-patch+yaml"
PAGE = 500

_PATHS = {
    Kind.WORKLOADS: f"/apis/{KUEUE}/workloads",
    Kind.CHECKS: f"/apis/{KUEUE}/admissionchecks",
    Kind.FLAVORS: f"/apis/{KUEUE}/resourceflavors",
    Kind.MARKED_JOBS: JOBS,
    Kind.QUEUED_JOBS: JOBS,
}
_SELECTIONS = {Kind.MARKED_JOBS: {"labelSelector": JOB_LABEL}, Kind.QUEUED_JOBS: {"labelSelector": QUEUE_LABEL}}

#: Most letters of the name of a writer in `managedFields`.
MANAGER_CHARACTERS = 128


class ClaimClient:
    """`ClaimClient` asks the API server about claims."""

    def __init__(self, connection: Connection, *, timeout_seconds: float = TIMEOUT_SECONDS, page: int = PAGE) -> None:
        """Takes the connection, which is closed by its owner."""
        self._transport = Transport(connection, timeout_seconds)
        self._page = page

    async def objects(self, kind: Kind) -> tuple[Sequence[KubeObject], str]:
        """Lists page by page. Needs `list` on the kind, in all namespaces."""
        items: list[KubeObject] = []
        more: dict[str, str] = {}
        while True:
            query = {"limit": str(self._page), **_SELECTIONS.get(kind, {}), **more}
            page = await self._transport.call("GET", _PATHS[kind], query=query)
            items += page["items"] or ()
            if not page["metadata"].get("continue"):
                return items, str(page["metadata"]["resourceVersion"])
            more = {"continue": page["metadata"]["continue"]}

    def watch(self, kind: Kind, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Sends one GET, and reads lines for a minute. Needs `watch` on the kind."""
        return self._transport.watch(_PATHS[kind], version, _SELECTIONS.get(kind))

    async def apply_status(self, kind: Kind, body: Mapping[str, Any], manager: str) -> KubeObject:
        """Sends one server-side apply. Needs `patch` on the kind's status.

        Kueue has made the entry that is applied, so the apply is forced.
        """
        metadata = body["metadata"]
        within = f"namespaces/{segment(metadata['namespace'])}/" if "namespace" in metadata else ""
        path = f"/apis/{KUEUE}/{within}{kind.value}/{segment(metadata['name'])}/status"
        query = {"fieldManager": f"{FIELD_MANAGER}-{manager}"[:MANAGER_CHARACTERS], "force": "true"}
        applied: KubeObject = await self._transport.call(
            "PATCH", path, query=query, body={"apiVersion": KUEUE, **body}, content_type=APPLY
        )
        return applied

    async def has_work(self, node: str) -> bool:
        """Lists by field selector, as far as the first pod that works. Needs `list` on pods."""
        more: dict[str, str] = {}
        while True:
            query = {"fieldSelector": f"spec.nodeName={node}", "limit": str(self._page), **more}
            page = await self._transport.call("GET", PODS, query=query)
            if any(map(is_work, page["items"] or ())):
                return True
            if not page["metadata"].get("continue"):
                return False
            more = {"continue": page["metadata"]["continue"]}

    async def set_replicas(self, environment: KubeObject, replicas: int) -> None:
        """Sends one merge patch to the scale subresource. Needs `patch` on it."""
        metadata = environment["metadata"]
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{segment(metadata['namespace'])}/{PLURAL}/"
        body = {
            "metadata": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
            "spec": {"replicas": replicas},
        }
        query = {"fieldManager": f"{FIELD_MANAGER}-claims"}
        await self._transport.call(
            "PATCH", f"{path}{segment(metadata['name'])}/scale", query=query, body=body, content_type=MERGE_PATCH
        )
