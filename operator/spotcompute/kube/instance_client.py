"""Implements `InstanceObjectPort` with the official client's transport.

Apart from `client`, which asks about environments: their writes decide what is bought, and these decide nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from spotcompute.api.instance_object import INSTANCE_PLURAL
from spotcompute.kube.connection import Connection
from spotcompute.kube.instance_objects import Key, Page
from spotcompute.kube.names import FIELD_MANAGER, GROUP, VERSION
from spotcompute.kube.port import KubeObject, NotFound
from spotcompute.kube.transport import MERGE_PATCH, TIMEOUT_SECONDS, Transport, segment

PAGE = 500  # objects in one page of a list

_FIELDS = {"fieldManager": FIELD_MANAGER}


class InstanceClient:
    """`InstanceClient` asks the API server about the objects of instances."""

    def __init__(self, connection: Connection, *, timeout_seconds: float = TIMEOUT_SECONDS, page: int = PAGE) -> None:
        """Takes the connection, which is closed by its owner."""
        self._transport = Transport(connection, timeout_seconds)
        self._page = page

    async def page(self, namespace: str, token: str | None) -> Page:
        """Sends one GET. The pages that follow a first one are of one consistent snapshot."""
        query = {"limit": str(self._page)} | ({"continue": token} if token else {})
        found = await self._transport.call("GET", _collection(namespace), query=query)
        metadata = found["metadata"]
        return Page(found["items"] or (), metadata.get("continue") or None, str(metadata["resourceVersion"]))

    def watch(self, namespace: str, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Sends one GET, and reads lines for a minute."""
        return self._transport.watch(_collection(namespace), version)

    async def create(self, obj: KubeObject) -> KubeObject:
        """Sends one POST."""
        path = _collection(obj["metadata"]["namespace"])
        created: KubeObject = await self._transport.call("POST", path, query=_FIELDS, body=obj)
        return created

    async def patch(self, key: Key, change: Mapping[str, Any]) -> KubeObject:
        """Sends one merge patch."""
        patched: KubeObject = await self._transport.call(
            "PATCH", _path(key), query=_FIELDS, body=change, content_type=MERGE_PATCH
        )
        return patched

    async def delete(self, key: Key, uid: str) -> None:
        """Sends one DELETE, which holds for this uid only."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        with contextlib.suppress(NotFound):
            await self._transport.call("DELETE", _path(key), body=body)


def _collection(namespace: str) -> str:
    within = f"namespaces/{segment(namespace)}/" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}/{within}{INSTANCE_PLURAL}"


def _path(key: Key) -> str:
    return f"{_collection(key[0])}/{segment(key[1])}"
