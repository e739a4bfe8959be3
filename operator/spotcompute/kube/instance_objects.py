"""Keeps what is known of the objects of instances, and defines what is asked of the API server about them.

Apart from `store`, which holds whole environments, because of ten thousand instances only what is compared is kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from spotcompute.api.instance_object import INSTANCE_FINALIZER, environment_of, shown_digest, wish_in
from spotcompute.kube.port import KubeObject
from spotcompute.model.wishes import NO_WISH, Wish

#: Namespace and name of an object.
Key = tuple[str, str]

#: Number of objects that are remembered as gone, so that a late answer does not bring them back.
GONE_MAX = 10_000


class Page(NamedTuple):
    """`Page` is a part of a list, with the token of the next part (None after the last) and the version of all."""

    items: Sequence[KubeObject]
    token: str | None
    version: str


class InstanceObjectPort(Protocol):
    """`InstanceObjectPort` lists what is asked of an API server about the objects of instances.

    Every method raises KubeError; `NotServed` where the kind is not installed. `namespace` may be empty for all.
    """

    async def page(self, namespace: str, token: str | None) -> Page:
        """Returns a part of the list of all objects: the first without a token. Raises Expired."""
        ...

    def watch(self, namespace: str, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Yields each change since `version`, as its type and the object, for about a minute.

        A BOOKMARK only tells a newer version. Raises Expired when the changes since then are no longer known.
        """
        ...

    async def create(self, obj: KubeObject) -> KubeObject:
        """Creates an object. Raises Conflict when there is one of that name."""
        ...

    async def patch(self, key: Key, change: Mapping[str, Any]) -> KubeObject:
        """Applies a merge patch, and returns the new object."""
        ...

    async def delete(self, key: Key, uid: str) -> None:
        """Deletes the object with this uid. Does nothing when it is gone."""
        ...


class Seen(NamedTuple):
    """`Seen` is what is kept of one object: how to change it, what it shows as a number, and what it asks for."""

    uid: str
    version: int
    owner: tuple[str, str] | None
    digest: int
    finalizers: tuple[str, ...]
    deleting: bool
    wish: Wish

    @classmethod
    def of(cls, obj: KubeObject) -> Seen:
        """Returns what is kept of `obj`."""
        metadata = obj["metadata"]
        return cls(
            uid=str(metadata["uid"]),
            version=int(metadata["resourceVersion"]),
            owner=environment_of(obj),
            digest=shown_digest(obj),
            finalizers=tuple(metadata.get("finalizers") or ()),
            deleting="deletionTimestamp" in metadata,
            wish=wish_in(obj),
        )

    @property
    def held(self) -> bool:
        """Returns True while our finalizer is on it."""
        return INSTANCE_FINALIZER in self.finalizers

    @property
    def owner_uid(self) -> str:
        """Returns the uid of its environment, empty when it has none."""
        return self.owner[1] if self.owner else ""


class InstanceObjects:
    """`InstanceObjects` keeps what was last seen of each object.

    `wake(namespace, uid)` is called when the wishes for an environment have changed, and `changed(key)` for each object
    that has. `listed(scope)` is called when everything in a scope has been seen.
    """

    def __init__(self, scopes: Collection[str], wake: Callable[[str, str], None]) -> None:
        """`scopes` are the namespaces that are watched; empty for all."""
        self.scopes = tuple(scopes) or ("",)
        self.changed: Callable[[Key], None] = lambda key: None
        self.listed: Callable[[str], None] = lambda scope: None
        #: Set once everything that can be known is known: all objects, or that there are none to be had.
        self.known = asyncio.Event()
        self.wake = wake
        self._seen: dict[Key, Seen] = {}
        self._owned: dict[Key, set[str]] = {}  # by namespace and uid of the environment
        self._wishes: dict[Key, dict[str, Wish]] = {}
        self._gone: OrderedDict[Key, int] = OrderedDict()
        self._listed: dict[str, int] = {}
        self._absent: set[str] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def get(self, key: Key) -> Seen | None:
        """Returns what was last seen of this object. None when there is none."""
        return self._seen.get(key)

    def owned(self, namespace: str, uid: str) -> Iterator[Key]:
        """Yields the objects that say they belong to this environment."""
        return ((namespace, name) for name in sorted(self._owned.get((namespace, uid), ())))

    def wishes(self, namespace: str, uid: str) -> Mapping[str, Wish]:
        """Returns what is asked for instances of this environment, by the names of their objects.

        An owner reference holds within its namespace only. Otherwise people could ask for what is not theirs.
        """
        return dict(self._wishes.get((namespace, uid), {}))

    def is_listed(self, namespace: str) -> bool:
        """Returns True once every object of the namespace has been seen."""
        return "" in self._listed or namespace in self._listed

    def on_object(self, obj: KubeObject) -> None:
        """Takes in a version of an object, from the watch or from an answer. An older one is ignored."""
        key, seen = _key(obj), Seen.of(obj)
        known = self._seen.get(key)
        if seen.version <= max(known.version if known else -1, self._gone.get(key, -1)):
            return
        self._gone.pop(key, None)
        self._put(key, seen)

    def on_gone(self, obj: KubeObject) -> None:
        """Takes in that an object is gone."""
        key, version = _key(obj), int(obj["metadata"]["resourceVersion"])
        known = self._seen.get(key)
        if known is not None and known.version <= version:
            self._gone[key] = version
            while len(self._gone) > GONE_MAX:
                self._gone.popitem(last=False)
            self._drop(key)

    def on_list(self, scope: str, keys: Collection[Key], version: str) -> None:
        """Takes in the end of a list, whose objects have been taken in: all others of that time are gone."""
        at = int(version)
        for key in [key for key in self._seen if scope in ("", key[0]) and key not in keys]:
            if self._seen[key].version <= at:
                self._drop(key)
        self._listed[scope] = at
        self._absent.discard(scope)
        self._note_known()
        self.listed(scope)

    def forget(self, scope: str) -> None:
        """Drops everything known of a namespace: its versions have gone back, so they say nothing any more."""
        self._gone.clear()
        for key in [key for key in self._seen if scope in ("", key[0])]:
            self._drop(key)

    def has_gone_back(self, scope: str, version: str) -> bool:
        """True when a list is older than the one before: etcd was restored from a backup."""
        return int(version) < self._listed.get(scope, 0)

    def on_absent(self, scope: str) -> bool:
        """Takes in that the objects cannot be had there. True when that is news."""
        is_news = scope not in self._absent
        self._absent.add(scope)
        self._listed.pop(scope, None)
        self._note_known()
        return is_news

    def _note_known(self) -> None:
        if all(scope in self._listed or scope in self._absent for scope in self.scopes):
            self.known.set()

    def _put(self, key: Key, seen: Seen) -> None:
        before = self._seen.get(key)
        if before is not None and before.owner_uid != seen.owner_uid:
            self._forget_owner(key, before)
        self._seen[key] = seen
        home = (key[0], seen.owner_uid)
        self._owned.setdefault(home, set()).add(key[1])
        self._wish(home, key[1], seen.wish)
        if before is None or before._replace(version=seen.version) != seen:
            self.changed(key)

    def _drop(self, key: Key) -> None:
        self._forget_owner(key, self._seen.pop(key))
        self.changed(key)

    def _forget_owner(self, key: Key, seen: Seen) -> None:
        home = (key[0], seen.owner_uid)
        names = self._owned.get(home, set())
        names.discard(key[1])
        if not names:
            self._owned.pop(home, None)
        self._wish(home, key[1], NO_WISH)

    def _wish(self, home: Key, name: str, wish: Wish) -> None:
        known = self._wishes.get(home, {})
        if known.get(name, NO_WISH) == wish:
            return
        if wish == NO_WISH:
            del known[name]
        else:
            self._wishes[home] = known | {name: wish}
        if not self._wishes.get(home):
            self._wishes.pop(home, None)
        if home[1]:
            self.wake(*home)


def _key(obj: KubeObject) -> Key:
    return str(obj["metadata"]["namespace"]), str(obj["metadata"]["name"])
