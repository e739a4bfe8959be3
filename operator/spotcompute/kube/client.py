"""Implements `KubePort` with the official client: live reads, and writes with the resourceVersion they were decided on.

Apart from `transport`, which sends one request and names its failure, and from `events`, which may lose what it sends.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from spotcompute.api.events import Event
from spotcompute.kube.connection import Connection
from spotcompute.kube.events import EventRecorder
from spotcompute.kube.names import (
    ACCOUNTS,
    ENVIRONMENT_ID,
    FIELD_MANAGER,
    FINALIZER,
    GROUP,
    PLURAL,
    SECRET_FINALIZER,
    VERSION,
)
from spotcompute.kube.port import ApiUnavailable, Conflict, KubeObject, NotFound, NotServed, SecretData
from spotcompute.kube.transport import MERGE_PATCH, TIMEOUT_SECONDS, Expired, Transport, segment

#: Asks for `metadata` of each object only: 0.4 kB instead of several, and no spec or status passes through us.
#: Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ ("Metadata-only fetches").
METADATA_OF_ONE = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

PAGE = 500  # objects in one page of a list
ATTEMPTS = 5  # for a Secret that keeps changing, and for a list that keeps expiring


class KubeClient:
    """`KubeClient` asks the API server about environments in some namespaces, or in all when `namespaces` is empty."""

    def __init__(
        self,
        connection: Connection,
        namespaces: Collection[str] = (),
        *,
        home: str = "spotcompute-system",
        timeout_seconds: float = TIMEOUT_SECONDS,
        page: int = PAGE,
    ) -> None:
        """Takes `home`, the operator's own namespace, for texts that belong to no environment."""
        self._transport = Transport(connection, timeout_seconds)
        self._home = f"/api/v1/namespaces/{segment(home)}/configmaps"
        self._home_namespace = home
        self._page = page
        self._collections = tuple(map(_collection, namespaces)) or (_collection(None),)
        #: Its `run` must be started in the background of the process. Until then events only wait.
        self.events = EventRecorder(self.post_event, self.patch_event, now=lambda: datetime.now(UTC))

    async def cluster_id(self) -> str:
        """Returns the uid of the kube-system namespace. Needs `get` on that one namespace."""
        namespace = await self._transport.call("GET", "/api/v1/namespaces/kube-system")
        return str(namespace["metadata"]["uid"])

    async def get(self, namespace: str, name: str) -> KubeObject | None:
        """Reads live.

        Returns None only when the API server knows environments and says that this one does not exist.
        """
        try:
            found: KubeObject = await self._transport.call("GET", _path(namespace, name))
        except NotFound:
            return None
        return found

    async def check_served(self) -> None:
        """Reads what kopf reads to find our kind. It may lack a new kind for seconds after objects can be listed."""
        groups = await self._transport.call("GET", "/apis")
        if any(group.get("name") == GROUP for group in groups.get("groups") or ()):
            kinds = await self._transport.call("GET", f"/apis/{GROUP}/{VERSION}")
            if any(kind.get("name") == PLURAL for kind in kinds.get("resources") or ()):
                return
        raise NotServed(f"the API server does not know {PLURAL}.{GROUP} {VERSION}: install this release's CRD")

    async def list_environments(self) -> Sequence[KubeObject]:
        """Lists the metadata of all, namespace by namespace where some are watched. Raises KubeError unless complete.

        The pages of a namespace are of one consistent snapshot. It begins again when the snapshot expires.
        """
        return [obj for collection in self._collections for obj in await self._list(collection)]

    async def try_namespace(self, namespace: str) -> None:
        """Lists one object at most, to see whether we may list them."""
        await self._transport.call("GET", _collection(namespace), query={"limit": "1"}, accept=METADATA_ONLY)

    async def _list(self, collection: str) -> Sequence[KubeObject]:
        for _ in range(ATTEMPTS):
            try:
                return await self._list_once(collection)
            except Expired:
                continue
        raise ApiUnavailable(f"GET {collection}: the list expired {ATTEMPTS} times while it was being read")

    async def add_identity(self, obj: KubeObject, environment_id: str) -> KubeObject:
        """Adds finalizer and annotation in one merge patch. Sends no request when both are already there."""
        metadata = obj["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if FINALIZER in finalizers and (metadata.get("annotations") or {}).get(ENVIRONMENT_ID) == environment_id:
            return obj
        patch = {
            "resourceVersion": metadata["resourceVersion"],
            "finalizers": finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER],
            "annotations": {ENVIRONMENT_ID: environment_id},
        }
        return await self._patch(_path_of(obj), {"metadata": patch})

    async def write_status(self, obj: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        """Sends one merge patch with the differences. Objects are merged key by key, lists are sent whole."""
        changes = merge_patch(obj.get("status") or {}, status)
        if not changes:
            return obj
        patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "status": changes}
        return await self._patch(f"{_path_of(obj)}/status", patch)

    async def remove_finalizer(self, obj: KubeObject) -> None:
        """Sends a merge patch with uid and resourceVersion. Raises Invalid when the stored object breaks its schema.

        After a restore of etcd, an object of this name may exist that must not be deleted. No request is sent when our
        finalizer is gone.
        """
        metadata = obj["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if FINALIZER not in finalizers:
            return
        patch = {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "finalizers": [finalizer for finalizer in finalizers if finalizer != FINALIZER],
        }
        with contextlib.suppress(NotFound):
            await self._patch(_path_of(obj), {"metadata": patch})

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        """Returns decoded data. Needs `get` on secrets in that namespace."""
        secret = await self._transport.call("GET", f"/api/v1/namespaces/{segment(namespace)}/secrets/{segment(name)}")
        data = SecretData({key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()})
        metadata = secret.get("metadata") or {}
        data.is_going = "deletionTimestamp" in metadata and SECRET_FINALIZER in (metadata.get("finalizers") or ())
        return data

    async def secret_version(self, namespace: str, name: str) -> str:
        """Asks for metadata only, so that no key travels. Needs `get` on secrets in that namespace."""
        path = f"/api/v1/namespaces/{segment(namespace)}/secrets/{segment(name)}"
        metadata = (await self._transport.call("GET", path, accept=METADATA_OF_ONE))["metadata"]
        return f"{metadata['uid']}/{metadata['resourceVersion']}"

    async def protect_secret(self, namespace: str, name: str) -> None:
        """Sends one GET, and a merge patch with the resourceVersion when our finalizer is missing.

        Needs `patch` on it.
        """
        await self._change_secret(namespace, name, is_protection=True)

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        """Undoes `protect_secret`."""
        await self._change_secret(namespace, name, is_protection=False)

    async def _change_secret(self, namespace: str, name: str, *, is_protection: bool) -> None:
        path = f"/api/v1/namespaces/{segment(namespace)}/secrets/{segment(name)}"
        for attempt in range(ATTEMPTS):
            try:
                metadata = (await self._transport.call("GET", path))["metadata"]
                finalizers = list(metadata.get("finalizers") or ())
                is_pointless = (SECRET_FINALIZER in finalizers) == is_protection
                if is_pointless or (is_protection and "deletionTimestamp" in metadata):
                    return
                others = [finalizer for finalizer in finalizers if finalizer != SECRET_FINALIZER]
                wanted = [*others, SECRET_FINALIZER] if is_protection else others
                patch = {"resourceVersion": metadata["resourceVersion"], "finalizers": wanted}
                await self._patch(path, {"metadata": patch})
                return
            except NotFound:
                return
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise

    async def remembered_accounts(self) -> Mapping[str, str]:
        """Returns the data of our ConfigMap. Needs `get` on it."""
        try:
            config_map = await self._transport.call("GET", f"{self._home}/{ACCOUNTS}")
        except NotFound:
            return {}
        return dict(config_map.get("data") or {})

    async def remember_account(self, key: str, text: str) -> None:
        """Sends a merge patch. The first one creates the ConfigMap. Needs `patch` on it and `create`."""
        try:
            await self._patch(f"{self._home}/{ACCOUNTS}", {"data": {key: text}})
        except NotFound:
            metadata = {"name": ACCOUNTS, "namespace": self._home_namespace}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {key: text}}
            try:
                await self._transport.call("POST", self._home, query={"fieldManager": FIELD_MANAGER}, body=body)
            except Conflict:
                await self._patch(f"{self._home}/{ACCOUNTS}", {"data": {key: text}})

    async def forget_account(self, key: str) -> None:
        """Sends a merge patch with null."""
        with contextlib.suppress(NotFound):
            await self._patch(f"{self._home}/{ACCOUNTS}", {"data": {key: None}})

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns `data` and, decoded, `binaryData`: what a volume of a Pod would hold as files."""
        config_map = await self._transport.call(
            "GET", f"/api/v1/namespaces/{segment(namespace)}/configmaps/{segment(name)}"
        )
        return files_of(config_map)

    async def record(self, obj: KubeObject, event: Event) -> None:
        """Passes the event to `EventRecorder`, which posts it when it can."""
        self.events.record(obj, event)

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Creates an Event (events.k8s.io/v1) at once. Needs `create` on events."""
        await self._transport.call("POST", _events_path(namespace), query={"fieldManager": FIELD_MANAGER}, body=event)

    async def patch_event(self, namespace: str, name: str, change: Mapping[str, Any]) -> None:
        """Changes an Event at once. Needs `patch` on events. Raises NotFound when the API server has removed it."""
        await self._patch(f"{_events_path(namespace)}/{segment(name)}", change)

    async def _list_once(self, collection: str) -> Sequence[KubeObject]:
        items: list[KubeObject] = []
        query = {"limit": str(self._page)}  # no resourceVersion: a consistent read, never from a cache
        while True:
            page = await self._transport.call("GET", collection, query=query, accept=METADATA_ONLY)
            if page.get("kind") != "PartialObjectMetadataList":  # a list that is empty by mistake would orphan all
                raise ApiUnavailable(f"GET {collection}: an answer of kind {page.get('kind')!r}")
            items += [{"metadata": item["metadata"]} for item in page["items"] or ()]  # null when there are none
            token = page["metadata"].get("continue")
            if not token:
                return items
            query = {"limit": str(self._page), "continue": token}

    async def _patch(self, path: str, body: Any) -> KubeObject:
        query = {"fieldManager": FIELD_MANAGER}
        patched: KubeObject = await self._transport.call(
            "PATCH", path, query=query, body=body, content_type=MERGE_PATCH
        )
        return patched


def files_of(config_map: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns what a ConfigMap holds under each key. `kubectl create configmap` puts what is no text in `binaryData`.

    Raises ValueError when `binaryData` is not base64, which only a file can have.
    """
    binary = {key: base64.b64decode(text, validate=True) for key, text in (config_map.get("binaryData") or {}).items()}
    return binary | {key: str(text).encode() for key, text in (config_map.get("data") or {}).items()}


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the JSON merge patch (RFC 7386) that turns `old` into `new`. Empty when they are equal.

    None in `new` means absent. Objects are compared key by key, lists as a whole.
    """
    patch: dict[str, Any] = {key: None for key in old if new.get(key) is None}
    for key, value in new.items():
        before = old.get(key)
        if value is None or value == before:
            continue
        if not isinstance(value, Mapping):
            patch[key] = value
            continue
        inner = merge_patch(before if isinstance(before, Mapping) else {}, value)
        if inner or not isinstance(before, Mapping):
            patch[key] = inner
    return patch


def _collection(namespace: str | None) -> str:
    return f"/apis/{GROUP}/{VERSION}/" + (f"namespaces/{segment(namespace)}/" if namespace else "") + PLURAL


def _path(namespace: str, name: str) -> str:
    return f"{_collection(namespace)}/{segment(name)}"


def _path_of(obj: KubeObject) -> str:
    return _path(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _events_path(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{segment(namespace)}/events"
