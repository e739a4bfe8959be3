"""Follows one collection that belongs to others: lists it, then takes in each change, for ever.

Apart from `store`, which holds our own kind and wakes runs, and from `instance_watch`, whose objects are ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import structlog

from spotcompute.kube.port import Forbidden, KubeError, KubeObject, NotServed
from spotcompute.kube.transport import Expired

_log = structlog.get_logger(__name__)

#: Time until the next look for a kind that is not installed.
ABSENT_SECONDS = 15.0

#: So many answers in a row must say that the kind is not installed. An API server that starts says so for a moment.
ABSENT_LOOKS = 3

#: Pause after a failure. It doubles up to the second number.
RETRY_SECONDS, RETRY_SECONDS_MAX = 1.0, 5.0

Item = TypeVar("Item")


class Reading(Enum):
    """`Reading` says what is known of a collection.

    UNSEEN: it was never listed, or cannot be read any more. SEEN: what is held is what there is. ABSENT: its kind is
    not installed.
    """

    UNSEEN = "unseen"
    SEEN = "seen"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Source:
    """`Source` says how the objects of one kind are asked for.

    `list` returns all of them, and the version of the list. `watch` yields each change since a version, as its type and
    the object, for a while. Both raise KubeError. `kind` is a word for people.
    """

    kind: str
    list: Callable[[], Awaitable[tuple[Sequence[KubeObject], str]]]
    watch: Callable[[str], AsyncGenerator[tuple[str, KubeObject]]]


class Collection(Generic[Item]):
    """`Collection` holds each object of one kind as what `read` makes of it. What `read` makes None of is left out."""

    def __init__(self, source: Source, read: Callable[[KubeObject], Item | None]) -> None:
        self._source, self._read = source, read
        self._items: dict[str, Item] = {}
        self.sight = Reading.UNSEEN
        #: True once it was listed.
        self.is_listed = False
        #: Why it cannot be read, when a right is missing.
        self.refusal: Forbidden | None = None

    def all(self) -> tuple[Item, ...]:
        """Returns what is held. While it cannot be read, that is what was there last."""
        return tuple(self._items.values())

    def find(self, namespace: str, name: str) -> Item | None:
        """Returns what is held under this name. None when nothing is."""
        return self._items.get(f"{namespace}/{name}")

    def named(self) -> dict[str, Item]:
        """Returns what is held by name, for kinds without namespaces."""
        return {key.rpartition("/")[2]: item for key, item in self._items.items()}

    def drop(self, namespace: str, name: str) -> None:
        """Drops an object that is known to be gone, before the watch says so."""
        self._items.pop(f"{namespace}/{name}", None)

    async def follow(self) -> None:
        """Follows it for ever."""
        pause, unserved = RETRY_SECONDS, 0
        while True:
            try:
                version = await self._list()
                pause, unserved = RETRY_SECONDS, 0
                await self._watch(version)
            except Expired:
                continue
            except NotServed as error:
                unserved += 1
                await asyncio.sleep(self._took_absence(error, unserved))
            except KubeError as error:
                self._took_trouble(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS_MAX)

    def take(self, obj: KubeObject) -> None:
        """Takes in a version of an object: from the watch, or the answer to a write.

        One that makes no sense is left out, and keeps no other from being read.
        """
        try:
            item = self._read(obj)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("object_unreadable", kind=self._source.kind, object=_key(obj), error=repr(error))
            item = None
        if item is None:
            self._items.pop(_key(obj), None)
        else:
            self._items[_key(obj)] = item

    async def _list(self) -> str:
        items, version = await self._source.list()
        self._items.clear()
        for obj in items:
            self.take(obj)
        self.sight, self.refusal, self.is_listed = Reading.SEEN, None, True
        return version

    async def _watch(self, version: str) -> None:
        """Takes in changes for as long as watches go on from each other."""
        while True:
            begun_at = asyncio.get_running_loop().time()
            async with contextlib.aclosing(self._source.watch(version)) as events:
                async for kind, obj in events:
                    version = str(obj["metadata"]["resourceVersion"])
                    if kind == "DELETED":
                        self._items.pop(_key(obj), None)
                    elif kind != "BOOKMARK":
                        self.take(obj)
            # An API server that ends every watch at once is not asked without a pause.
            if asyncio.get_running_loop().time() - begun_at < RETRY_SECONDS:
                await asyncio.sleep(RETRY_SECONDS)

    def _took_absence(self, error: NotServed, times: int) -> float:
        """Takes in that the kind is not installed. Returns how long to wait."""
        if times < ABSENT_LOOKS:
            return RETRY_SECONDS
        if self.sight is not Reading.ABSENT:
            _log.info("objects_absent", kind=self._source.kind, error=str(error))
        self.sight = Reading.ABSENT
        self._items.clear()
        return ABSENT_SECONDS

    def _took_trouble(self, error: KubeError) -> None:
        if isinstance(error, Forbidden):
            if self.refusal is None:
                _log.warning("objects_not_read", kind=self._source.kind, error=str(error))
            self.refusal = error
        else:
            _log.info("objects_out_of_reach", kind=self._source.kind, error=f"{type(error).__name__}: {error}")
        if self.sight is Reading.SEEN:
            self.sight = Reading.UNSEEN


def _key(obj: KubeObject) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
