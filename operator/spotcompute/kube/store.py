"""Keeps the latest version of every environment that we have seen.

Apart from `runtime.shell` because it knows nothing of kopf, and apart from `reconcile` because it decides only one
thing: whether an object has changed in a way that needs a run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from spotcompute.api.environment import LastKnown
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER, GROUP
from spotcompute.kube.port import KubeObject

log = structlog.get_logger(__name__)

#: Number of deleted objects that are remembered. Late answers about one come within seconds, not after thousands more.
TOMBSTONES_MAX = 10_000


class Store:
    """`Store` keeps the latest version of each object, by uid.

    The key is the uid, not the name, because DELETED(old) may come after ADDED(new). `wake(uid)` is called when another
    writer has changed an object in a way that needs a run.
    """

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._objects: dict[str, KubeObject] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._tombstones: OrderedDict[str, None] = OrderedDict()
        self._last_known: dict[str, LastKnown] = {}
        #: Set while the watch may show nothing. After etcd was restored from a backup, a watch waits for a version
        #: that is still to come (kubernetes 107457). Its next event shows that it works again.
        self.watch_is_stale = asyncio.Event()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> KubeObject | None:
        """Returns the latest version of this object, without managedFields. None when it is unknown or gone."""
        return self._objects.get(uid)

    def find(self, namespace: str, name: str) -> KubeObject | None:
        """Returns the object that has this name now. Of two objects of one name, it is the one created last."""
        uid = self._uids.get((namespace, name))
        return None if uid is None else self._objects.get(uid)

    def last_known(self, uid: str) -> LastKnown:
        """Returns the most that any version of this object has remembered while this process watched.

        An object whose status now holds less was restored from a backup, or its status was edited.
        """
        return self._last_known.get(uid, LastKnown())

    def all(self) -> list[KubeObject]:
        """Returns every known object, in no particular order."""
        return list(self._objects.values())

    def on_event(self, obj: KubeObject) -> None:
        """Takes in a version from the watch, and wakes a run when the difference matters."""
        self.watch_is_stale.clear()
        before = self._objects.get(uid_of(obj))
        needs_run = before is None or _signature(before) != _signature(obj) or self._has_forgotten(obj)
        if self._keep(obj) and needs_run:
            self._wake(uid_of(obj))

    def _has_forgotten(self, obj: KubeObject) -> bool:
        """True when its status was wiped or set back. Nothing else in status matters here, because status is ours."""
        return _remembered(obj).sequence < self.last_known(uid_of(obj)).sequence

    def put(self, obj: KubeObject, instead_of: str | None = None) -> None:
        """Takes in the answer to a read or write of our own. Neither it nor its echo on the watch wakes a run.

        `instead_of` is a resourceVersion that the API server has just refused. `obj` replaces that version even if it
        is older.
        """
        if instead_of is not None and self.version(uid_of(obj)) == instead_of:
            self._replace(obj)
        else:
            self._keep(obj)

    def replace(self, obj: KubeObject, instead_of: str | None) -> None:
        """Replaces version `instead_of` (a resourceVersion; None: unknown) by a live one, even if that looks older.

        Versions go back when etcd is restored from a backup. Nothing happens if another version came in meanwhile.
        """
        uid = uid_of(obj)
        if self.version(uid) != instead_of:
            return
        if uid in self._tombstones:  # deleted, and back again
            del self._tombstones[uid]
            self.watch_is_stale.set()
        self._replace(obj)
        self._wake(uid)

    def on_deleted(self, uid: str) -> None:
        """Drops an object that is gone, and wakes a run so that the queue drops its failures and dates."""
        self.drop(uid)
        self._wake(uid)

    def drop(self, uid: str) -> None:
        """Drops an object that is gone, without waking a run. Late answers about it are ignored from now on."""
        self._tombstones[uid] = None
        self._tombstones.move_to_end(uid)
        while len(self._tombstones) > TOMBSTONES_MAX:
            # `last_known` stays until then: after a restore of etcd the object may come back with an older status.
            self._last_known.pop(self._tombstones.popitem(last=False)[0], None)
        obj = self._objects.pop(uid, None)
        if obj is not None and self._uids.get(_name(obj)) == uid:
            del self._uids[_name(obj)]

    def version(self, uid: str) -> str | None:
        """Returns the resourceVersion of this object. None when the object is unknown."""
        obj = self._objects.get(uid)
        return None if obj is None else str(obj["metadata"]["resourceVersion"])

    def _keep(self, obj: KubeObject) -> bool:
        """Puts `obj` unless it is older than the known version. Events and answers overtake each other."""
        uid = uid_of(obj)
        known = self.version(uid)
        if uid in self._tombstones or (known is not None and int(known) >= int(obj["metadata"]["resourceVersion"])):
            return False
        self._put(obj)
        return True

    def _replace(self, obj: KubeObject) -> None:
        known = self.version(uid_of(obj))
        if known is not None and int(known) > int(obj["metadata"]["resourceVersion"]):
            self.watch_is_stale.set()
        self._put(obj)

    def _put(self, obj: KubeObject) -> None:
        # managedFields is half of a small object, and we never read it.
        metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
        self._objects[uid_of(obj)] = {**obj, "metadata": metadata}
        self._last_known[uid_of(obj)] = self.last_known(uid_of(obj)).newest(_remembered(obj))
        known = self.find(*_name(obj))
        if known is None or _born(known) <= _born(obj):
            self._uids[_name(obj)] = uid_of(obj)


def uid_of(obj: KubeObject) -> str:
    """Returns `metadata.uid`, the key of an object in the queue and the store."""
    return str(obj["metadata"]["uid"])


def _name(obj: KubeObject) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _born(obj: KubeObject) -> str:
    return str(obj["metadata"].get("creationTimestamp", ""))  # RFC 3339 in UTC sorts as text


def _remembered(obj: KubeObject) -> LastKnown:
    annotations: Mapping[str, str] = obj["metadata"].get("annotations") or {}
    return LastKnown.of(annotations.get(ENVIRONMENT_ID), obj.get("status") or {})


def _signature(obj: KubeObject) -> tuple[Any, ...]:
    """Returns the parts of an object that a run depends on: spec, deletion, our finalizer, our annotations.

    Not its status. Of an object that is being deleted also the other finalizers, because they are named.
    """
    metadata: Mapping[str, Any] = obj["metadata"]
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    finalizers = metadata.get("finalizers") or ()
    ours = sorted(item for item in annotations.items() if item[0].startswith(f"{GROUP}/"))
    return (
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        FINALIZER in finalizers,
        sorted(finalizers) if metadata.get("deletionTimestamp") else None,
        ours,
    )
