"""What we know of every environment.

Apart from `runtime.shell` because it knows nothing of kopf, and apart from `reconcile` because it only remembers:
it decides nothing but whether an object has changed in a way that is worth a look.
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

#: So many deleted objects are remembered as such; late answers about one come within seconds, not after thousands more.
TOMBSTONES_MAX = 10_000


class Store:
    """The latest version of each object, by uid. By uid, not by name: DELETED(old) may come after ADDED(new).

    `wake(uid)` is called when somebody else changed an object in a way a reconcile cares about.
    """

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._objects: dict[str, KubeObject] = {}
        self._uids: dict[tuple[str, str], str] = {}
        self._tombstones: OrderedDict[str, None] = OrderedDict()
        self._memories: dict[str, LastKnown] = {}
        #: Set while the watch may show nothing: etcd came back from a backup, and a watch goes on from the version it
        #: has reached, which is still to come (kubernetes 107457). Its next event says that it sees again.
        self.watch_is_stale = asyncio.Event()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> KubeObject | None:
        """The latest version seen of this object, without managedFields; None when it is unknown or gone."""
        return self._objects.get(uid)

    def find(self, namespace: str, name: str) -> KubeObject | None:
        """The object that has this name now; of two generations of one name, the one seen to be born last."""
        uid = self._uids.get((namespace, name))
        return None if uid is None else self._objects.get(uid)

    def last_known(self, uid: str) -> LastKnown:
        """The most that any version of the object has remembered while this process watched.

        An object that remembers less by now was restored from a backup, or somebody has edited its status.
        """
        return self._memories.get(uid, LastKnown())

    def all(self) -> list[KubeObject]:
        """Every object known, in no particular order."""
        return list(self._objects.values())

    def on_event(self, obj: KubeObject) -> None:
        """Take in a version from the watch, and wake a reconcile if it differs in what matters."""
        self.watch_is_stale.clear()
        before = self._objects.get(uid_of(obj))
        is_worth_a_look = before is None or _signature(before) != _signature(obj) or self._has_forgotten(obj)
        if self._keep(obj) and is_worth_a_look:
            self._wake(uid_of(obj))

    def _has_forgotten(self, obj: KubeObject) -> bool:
        """True when somebody wiped or rewound its status: of status, which is ours, nothing else matters."""
        return _memory(obj).sequence < self.last_known(uid_of(obj)).sequence

    def put(self, obj: KubeObject, instead_of: str | None = None) -> None:
        """Take in the answer to a read or write of our own: it wakes nobody, nor will its echo on the watch.

        `instead_of` is a resourceVersion that the API server has just refused: `obj` replaces it, older or not.
        """
        if instead_of is not None and self.version(uid_of(obj)) == instead_of:
            self._replace(obj)
        else:
            self._keep(obj)

    def replace(self, obj: KubeObject, instead_of: str | None) -> None:
        """Replace version `instead_of` (a resourceVersion; None: unknown) by a live one, even if that looks older.

        Versions go back when etcd is restored from a backup. Nothing happens if another version came in meanwhile.
        """
        uid = uid_of(obj)
        if self.version(uid) != instead_of:
            return
        if uid in self._tombstones:  # deleted, and there again
            del self._tombstones[uid]
            self.watch_is_stale.set()
        self._replace(obj)
        self._wake(uid)

    def on_deleted(self, uid: str) -> None:
        """The object is gone: forget it, and wake a reconcile, so that the queue forgets its failures and dates."""
        self.drop(uid)
        self._wake(uid)

    def drop(self, uid: str) -> None:
        """The object is gone, and the caller knows. Late answers about it are ignored from now on."""
        self._tombstones[uid] = None
        self._tombstones.move_to_end(uid)
        while len(self._tombstones) > TOMBSTONES_MAX:
            # Till then its memory stays: it may come back, with an older status, when etcd is restored.
            self._memories.pop(self._tombstones.popitem(last=False)[0], None)
        obj = self._objects.pop(uid, None)
        if obj is not None and self._uids.get(_name(obj)) == uid:
            del self._uids[_name(obj)]

    def version(self, uid: str) -> str | None:
        """The resourceVersion known of this object; None when it is unknown."""
        obj = self._objects.get(uid)
        return None if obj is None else str(obj["metadata"]["resourceVersion"])

    def _keep(self, obj: KubeObject) -> bool:
        """Put `obj` unless it is old news: events and answers overtake each other, and an object never gets younger."""
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
        # managedFields is half of a small object, and nobody here reads it.
        metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
        self._objects[uid_of(obj)] = {**obj, "metadata": metadata}
        self._memories[uid_of(obj)] = self.last_known(uid_of(obj)).newest(_memory(obj))
        known = self.find(*_name(obj))
        if known is None or _born(known) <= _born(obj):
            self._uids[_name(obj)] = uid_of(obj)


def uid_of(obj: KubeObject) -> str:
    """`metadata.uid`: what the queue and the store know an object by."""
    return str(obj["metadata"]["uid"])


def _name(obj: KubeObject) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _born(obj: KubeObject) -> str:
    return str(obj["metadata"].get("creationTimestamp", ""))  # RFC 3339 in UTC sorts as text


def _memory(obj: KubeObject) -> LastKnown:
    annotations: Mapping[str, str] = obj["metadata"].get("annotations") or {}
    return LastKnown.of(annotations.get(ENVIRONMENT_ID), obj.get("status") or {})


def _signature(obj: KubeObject) -> tuple[Any, ...]:
    """What a reconcile cares about: the spec, deletion, our finalizer, our annotations. Not status, which is ours."""
    metadata: Mapping[str, Any] = obj["metadata"]
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    ours = sorted(item for item in annotations.items() if item[0].startswith(f"{GROUP}/"))
    return (
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        FINALIZER in (metadata.get("finalizers") or ()),
        ours,
    )
