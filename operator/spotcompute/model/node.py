"""Defines `Node`: one Kubernetes node as decisions need it, and what one asks for before it may join.

Apart from `instance`, because a node is what a machine says of itself. What is proven of it comes from the cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class NodeNames(StrEnum):
    """`NodeNames` says what a machine calls its node: by the instance's id, or by its private address."""

    INSTANCE_ID = "InstanceID"
    PRIVATE_IP = "PrivateIP"


@dataclass(frozen=True, slots=True)
class Taint:
    """`Taint` keeps pods away from a node that do not tolerate it."""

    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class NodeWishes:
    """`NodeWishes` is what an environment asks for its nodes.

    `fails_lost_pods`: pods of a machine that is gone are failed, so that their jobs start them anew. With
    `drains_on_notice` they are evicted as soon as the machine reports the notice of its end.
    """

    names: NodeNames = NodeNames.INSTANCE_ID
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    fails_lost_pods: bool = True
    drains_on_notice: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """`Node` is one node as the API server shows it, at `version`.

    `provider_id` is what the machine says of its instance. `notice` is the time of its end as the machine reports it,
    None without a notice.
    """

    name: str
    uid: str
    version: str
    provider_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    is_ready: bool = False
    is_unschedulable: bool = False
    notice: str | None = None

    @property
    def instance_id(self) -> str | None:
        """Returns the last element of the provider id. None when there is no provider id."""
        return self.provider_id.rpartition("/")[2] or None


class CertificateUse(StrEnum):
    """`CertificateUse` says what a certificate is asked for: to speak to the API server, or to serve to it."""

    CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
    SERVING = "kubernetes.io/kubelet-serving"


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """`CertificateRequest` is one request for a certificate that waits for approval, or had it.

    `username` is who asks, by the API server's word. The rest is the asker's: common name, organizations, other names
    and addresses, and usages.
    """

    name: str
    use: CertificateUse
    username: str
    common_name: str
    organizations: tuple[str, ...]
    dns_names: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    has_other_names: bool = False
    usages: frozenset[str] = frozenset()
    is_approved: bool = False
    is_denied: bool = False
