"""A reconciler that does as little as a correct one may, so that the shell is what is tested."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from spotcompute.kube.account_registry import AccountRegistry
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import Conflict, KubePort, NotFound
from spotcompute.kube.sources import Sources
from spotcompute.kube.store import Store, uid_of


def cluster_around(kube: KubePort, store: Store, namespaces: tuple[str, ...] = ()) -> Cluster:
    """A cluster whose parts are the real ones around `kube` and `store`."""
    sources = Sources(kube, None, lambda: datetime.now(UTC))
    return Cluster("cluster-1", kube, store, sources, AccountRegistry(kube), namespaces)


class SmallReconciler:
    """Claims, writes `status.observedGeneration`, releases at once on deletion, and counts its looks."""

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
            obj = await self._kube.write_status(obj, {"observedGeneration": obj["metadata"]["generation"]})
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
