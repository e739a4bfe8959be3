"""Lists the rights that an install needs, and the manifest that grants each. A test compares it with `deploy/base`.

Apart from `check`, which asks for them: it is a table, and reads as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spotcompute.kube.names import ACCOUNTS, CRD_NAME, GROUP, PLURAL


class Where(StrEnum):
    """`Where` is the place in which a right is needed."""

    CLUSTER = "cluster"
    HOME = "home"
    WATCHED = "watched"


@dataclass(frozen=True, slots=True)
class Right:
    """`Right` is one verb on one resource. `name` limits it to one object. `manifest` is the file that grants it."""

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


_DISCOVERY, _ENVIRONMENTS, _HOME = "cluster-role-discovery.yaml", "cluster-role-environments.yaml", "role-home.yaml"
INSTANCES = "spotinstances"
_CRDS, _LEASES = "apiextensions.k8s.io", "coordination.k8s.io"


def rights_needed(lease: str) -> tuple[Right, ...]:
    """Returns all rights of an install whose replicas agree by the Lease of this name.

    Those of the discovery are none that an install for some namespaces has.
    """
    return (
        *(Right(_DISCOVERY, Where.CLUSTER, verb, _CRDS, "customresourcedefinitions", name=CRD_NAME) for verb in _LOOK),
        Right(_DISCOVERY, Where.CLUSTER, "get", "", "namespaces", name="kube-system"),
        *(Right(_ENVIRONMENTS, Where.WATCHED, verb, GROUP, PLURAL) for verb in ("get", *_LOOK, "patch")),
        Right(_ENVIRONMENTS, Where.WATCHED, "patch", GROUP, PLURAL, "status"),
        *(
            Right(_ENVIRONMENTS, Where.WATCHED, verb, GROUP, INSTANCES)
            for verb in (*_LOOK, "create", "patch", "delete")
        ),
        *(Right(_ENVIRONMENTS, Where.WATCHED, verb, "events.k8s.io", "events") for verb in ("create", "patch")),
        *(Right(_HOME, Where.HOME, verb, "", "configmaps", name=ACCOUNTS) for verb in ("get", "patch")),
        Right(_HOME, Where.HOME, "create", "", "configmaps"),
        *(Right(_HOME, Where.HOME, verb, _LEASES, "leases", name=lease) for verb in ("get", "patch")),
        Right(_HOME, Where.HOME, "create", _LEASES, "leases"),
    )


_LOOK = ("list", "watch")
