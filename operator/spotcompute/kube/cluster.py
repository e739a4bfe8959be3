"""Holds the parts that work on one Kubernetes cluster in one value, so that the loop and the orphan sweep share them.

Apart from `port`, which says what can be asked of the API server, because these parts are what asks it.
"""

from __future__ import annotations

from dataclasses import dataclass

from spotcompute.kube.account_registry import AccountRegistry
from spotcompute.kube.port import KubePort
from spotcompute.kube.sources import Sources
from spotcompute.kube.store import Store


@dataclass(frozen=True, slots=True)
class Cluster:
    """`Cluster` names one Kubernetes cluster and holds every part that reads or writes its objects."""

    id: str
    """The cluster's name in the cloud's tags. It must differ between clusters that share an account."""
    kube: KubePort
    store: Store
    sources: Sources
    account_registry: AccountRegistry
    namespaces: tuple[str, ...] = ()
    """The only namespaces that are watched; empty for all of them."""
    uid: str | None = None
    """The uid that the API server gave when it was asked at the start; None when it was not asked."""
