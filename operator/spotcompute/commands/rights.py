"""Lists the rights that an install needs, and the manifest that grants each. A test compares it with `deploy`.

Apart from `check`, which asks for them: it is a table, and reads as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spotcompute.api.instance_object import INSTANCE_PLURAL
from spotcompute.kube.names import ACCOUNTS, CRD_NAME, GROUP, PLURAL


class Where(StrEnum):
    """`Where` is the place in which a right is needed."""

    CLUSTER = "cluster"
    HOME = "home"
    WATCHED = "watched"


@dataclass(frozen=True, slots=True)
class Right:
    """`Right` is one verb on one resource. `name` limits it to one object. `manifest` is the file below `deploy`."""

    manifest: str
    where: Where
    verb: str
    group: str
    resource: str
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Returns it as `kubectl auth can-i` takes it: `patch spotcomputeenvironments/status`."""
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.verb} {resource}" + (f" {self.name}" if self.name else "")


#: The rights that an install for some namespaces does without.
DISCOVERY = "base/cluster-role-discovery.yaml"
_ENVIRONMENTS, _HOME, _NODES, _JOBS = (
    "base/cluster-role-environments.yaml",
    "base/role-home.yaml",
    "overlays/nodes/cluster-role-nodes.yaml",
    "overlays/jobs/cluster-role-jobs.yaml",
)
_CRDS, _LEASES, _CERTIFICATES = "apiextensions.k8s.io", "coordination.k8s.io", "certificates.k8s.io"
_REQUESTS = "certificatesigningrequests"
_SIGNERS = ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving")


def rights_needed(lease: str, keeps_nodes: bool, follows_claims: bool = False) -> tuple[Right, ...]:
    """Returns all rights of an install whose replicas agree by the Lease of this name, with or without nodes, and with
    or without claims.
    """
    nodes = _rights_for_nodes() if keeps_nodes else ()
    return (*_rights_of_all(lease), *nodes, *(_rights_for_claims() if follows_claims else ()))


def _rights_of_all(lease: str) -> tuple[Right, ...]:
    return (
        *(Right(DISCOVERY, Where.CLUSTER, verb, _CRDS, "customresourcedefinitions", name=CRD_NAME) for verb in _LOOK),
        Right(DISCOVERY, Where.CLUSTER, "get", "", "namespaces", name="kube-system"),
        *(Right(_ENVIRONMENTS, Where.WATCHED, verb, GROUP, PLURAL) for verb in ("get", *_LOOK, "patch")),
        Right(_ENVIRONMENTS, Where.WATCHED, "patch", GROUP, PLURAL, "status"),
        *(
            Right(_ENVIRONMENTS, Where.WATCHED, verb, GROUP, INSTANCE_PLURAL)
            for verb in (*_LOOK, "create", "patch", "delete")
        ),
        *(Right(_ENVIRONMENTS, Where.WATCHED, verb, "events.k8s.io", "events") for verb in ("create", "patch")),
        *(Right(_HOME, Where.HOME, verb, "", "configmaps", name=ACCOUNTS) for verb in ("get", "patch")),
        Right(_HOME, Where.HOME, "create", "", "configmaps"),
        *(Right(_HOME, Where.HOME, verb, _LEASES, "leases", name=lease) for verb in ("get", "patch")),
        Right(_HOME, Where.HOME, "create", _LEASES, "leases"),
    )


def _rights_for_nodes() -> tuple[Right, ...]:
    return (
        *(Right(_NODES, Where.CLUSTER, verb, "", "nodes") for verb in (*_LOOK, "patch", "delete")),
        *(Right(_NODES, Where.CLUSTER, verb, "", "pods") for verb in (*_LOOK, "delete")),
        Right(_NODES, Where.CLUSTER, "patch", "", "pods", "status"),
        Right(_NODES, Where.CLUSTER, "create", "", "pods", "eviction"),
        Right(_NODES, Where.CLUSTER, "list", _CERTIFICATES, _REQUESTS),
        Right(_NODES, Where.CLUSTER, "update", _CERTIFICATES, _REQUESTS, "approval"),
        *(Right(_NODES, Where.CLUSTER, "approve", _CERTIFICATES, "signers", name=signer) for signer in _SIGNERS),
    )


def _rights_for_claims() -> tuple[Right, ...]:
    kinds = ("workloads", "admissionchecks", "resourceflavors")
    return (
        Right(_JOBS, Where.CLUSTER, "patch", GROUP, PLURAL, "scale"),
        *(Right(_JOBS, Where.CLUSTER, verb, "batch", "jobs") for verb in _LOOK),
        *(Right(_JOBS, Where.CLUSTER, verb, "kueue.x-k8s.io", kind) for kind in kinds for verb in _LOOK),
        *(Right(_JOBS, Where.CLUSTER, "patch", "kueue.x-k8s.io", kind, "status") for kind in kinds[:2]),
    )


_LOOK = ("list", "watch")
