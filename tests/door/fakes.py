"""A reconciler that does as little as a correct one may, so that the door is what is tested."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from spotcompute.kube.lease import Lease
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import Conflict, KubeError, KubePort, NotFound
from spotcompute.kube.store import Store, uid_of


class SmallReconciler:
    """Claims, writes `status.seen`, and releases at once on deletion. Counts looks, writes, and what is not there."""

    def __init__(self, store: Store, kube: KubePort) -> None:
        self._store = store
        self._kube = kube
        self.looks: Counter[str] = Counter()
        self.looks_without_object: Counter[str] = Counter()
        self.errors: list[Exception] = []

    async def reconcile(self, uid: str) -> float | None:
        self.looks[uid] += 1
        obj = self._store.get(uid)
        if obj is None:
            self.looks_without_object[uid] += 1
            return None
        try:
            if obj["metadata"].get("deletionTimestamp"):
                if FINALIZER in (obj["metadata"].get("finalizers") or ()):
                    await self._kube.remove_finalizer(obj)
                return None
            obj = await self._kube.add_identity(obj, "e-1")
            self._store.put(obj)
            obj = await self._kube.write_status(obj, {"seen": obj["metadata"]["generation"]})
            self._store.put(obj)
        except NotFound:
            self._store.drop(uid)
        except Conflict:
            live = await self._kube.get(obj["metadata"]["namespace"], obj["metadata"]["name"])
            if live is not None and uid_of(live) == uid:
                self._store.put(live)
            raise
        except Exception as error:
            self.errors.append(error)
            raise
        return None


class OneLease:
    """A Lease in memory that replicas share. `away` is raised instead of an answer while it is set."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.away: KubeError | None = None
        self.hangs = False
        self.writes: list[tuple[float, str]] = []
        self._version = 0

    async def read(self) -> Lease | None:
        await self._answer()
        return self.lease

    async def write(self, before: Lease | None, holder: str, duration_seconds: int, now: datetime) -> Lease:
        await self._answer()
        if before != self.lease:
            raise Conflict("it has changed")
        self._version += 1
        changes_hands = before is not None and holder not in ("", before.holder)
        transitions = (before.transitions if before else 0) + changes_hands
        self.lease = Lease(holder, duration_seconds, transitions, str(self._version))
        self.writes.append((asyncio.get_running_loop().time(), holder))
        return self.lease

    async def _answer(self) -> None:
        await asyncio.sleep(0.01)
        if self.hangs:
            await asyncio.Event().wait()
        if self.away is not None:
            raise self.away
