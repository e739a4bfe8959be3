"""Defines `Node`: one Kubernetes node as decisions need it, and what one asks for before it may join.

Apart from `instance`, because a node is what a machine says of itself. What is proven of it comes from the cloud.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
    `drains_on_notice` they are evicted as soon as the machine reports the notice of its end. A machine that is to be
    released waits for its pods to leave, for `drain_limit` at most.
    """

    names: NodeNames = NodeNames.INSTANCE_ID
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[Taint, ...] = ()
    fails_lost_pods: bool = True
    drains_on_notice: bool = True
    drain_limit: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Node:
    """`Node` is one node as the API server shows it, at `version`.

    `provider_id` is what the machine says of its instance. `allocatable` is what it says that pods can have, by
    resource and as Kubernetes writes quantities. `notice` is the time of its end as the machine or the vendor's agent
    on it reports it, empty when they tell no time, and None without a notice.
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
    allocatable: Mapping[str, str] = field(default_factory=dict)

    @property
    def instance_id(self) -> str | None:
        """Returns the last element of the provider id. None when there is no provider id."""
        return self.provider_id.rpartition("/")[2] or None


@dataclass(frozen=True, slots=True)
class Pod:
    """`Pod` is one pod on a node that has neither succeeded nor failed.

    `is_bound_to_node` is True for pods that belong to the node and are no work, as of a DaemonSet. `is_kept` is True
    when a mark says that it must not be disturbed. `started_at` is None before it has started.
    """

    namespace: str
    name: str
    uid: str
    node: str
    is_bound_to_node: bool = False
    is_kept: bool = False
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NodeState:
    """`NodeState` is what the cluster shows of the node of one instance.

    `notice` is what the machine reports of its coming end: a time, or nothing in particular; None without a notice.
    `pods` counts those that work there, `working_since` is when the first of them started. With `is_kept` one of them
    is not to be disturbed.
    """

    name: str
    is_ready: bool = False
    is_unschedulable: bool = False
    notice: str | None = None
    pods: int = 0
    working_since: datetime | None = None
    is_kept: bool = False


class UnknownNodes(Mapping[str, NodeState]):
    """`UnknownNodes` stands for nodes that have not been read yet. Any instance may be at work, so none is ended by
    choice.
    """

    _AT_WORK = NodeState("", is_kept=True)

    def __getitem__(self, instance_id: str) -> NodeState:
        """Returns a node at work for any instance."""
        return self._AT_WORK

    def __iter__(self) -> Iterator[str]:
        """Returns an iterator of no ids, because none is known."""
        return iter(())

    def __len__(self) -> int:
        """Returns 0."""
        return 0


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
