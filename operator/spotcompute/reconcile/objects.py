"""Reads and writes the object of an environment, and keeps the store's copy of it as new as what was written.

Apart from `reconciler`, which decides when: here is only how.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotcompute.api.environment import Environment
from spotcompute.api.ledger import UnreadableLedger
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import KubeObject
from spotcompute.model.ledger import Ledger


def holders_of(environment: Environment) -> list[str]:
    """Returns the finalizers of others on the object."""
    return [finalizer for finalizer in environment.finalizers if finalizer != FINALIZER]


def stored_ledger(environment: Environment) -> Ledger | None:
    """Returns the ledger in status. None when there is none, or none that can be read."""
    try:
        return environment.ledger()
    except UnreadableLedger:
        return None


class Objects:
    """Writes objects of one cluster. Raises Conflict when an object has changed, and KubeError when it cannot write."""

    def __init__(self, cluster: Cluster) -> None:
        self._kube, self._store, self._sources = cluster.kube, cluster.store, cluster.sources

    async def read_again(self, raw: KubeObject) -> KubeObject | None:
        """Returns the newest version of the object. Returns None when it is gone."""
        metadata = raw["metadata"]
        fresh = await self._kube.get(metadata["namespace"], metadata["name"])
        if fresh is None or fresh["metadata"]["uid"] != metadata["uid"]:
            self._store.drop(metadata["uid"])
            return None
        self._store.put(fresh, instead_of=metadata["resourceVersion"])
        return fresh

    async def write_status(self, raw: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        """Replaces the status. Returns the object as it was written."""
        written = await self._kube.write_status(raw, status)
        self._store.put(written)
        return written

    async def remove_finalizer(self, raw: KubeObject, environment: Environment) -> None:
        """Lets Kubernetes delete the object. While finalizers of others hold it, it stays in the store."""
        await self._kube.remove_finalizer(raw)
        if not holders_of(environment):
            self._store.drop(environment.uid)

    async def unprotect_secret(self, environment: Environment) -> None:
        """Lets Kubernetes delete the Secret that the environment used, unless another environment uses it too."""
        secret = environment.secret
        others = (Environment.of(other) for other in self._store.all())
        if not any(other.namespace == environment.namespace and other.secret == secret for other in others):
            await self._sources.unprotect(environment.namespace, secret)
