"""Decides about nodes: which machine one is, what it is to be called, when it is given up, and who may become one.

Apart from `planner`, because nothing here buys or releases: a node is a claim of a machine, and it is checked against
the ledger. What no machine of ours can be proven to be is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from spotcompute.model.node import (
    CertificateRequest,
    CertificateUse,
    Node,
    NodeNames,
    NodeState,
    NodeWishes,
    Pod,
    Taint,
)
from spotcompute.plan.notices import is_believable

#: Labels that no node can set on itself: the API server's NodeRestriction keeps this prefix from the kubelet.
RESTRICTED = "node-restriction.kubernetes.io"
ENVIRONMENT_LABEL = f"{RESTRICTED}/spotcompute-environment"
NAMESPACE_LABEL = f"{RESTRICTED}/spotcompute-namespace"
INSTANCE_LABEL = f"{RESTRICTED}/spotcompute-instance"

#: Well-known labels, see https://kubernetes.io/docs/reference/labels-annotations-taints/.
ZONE_LABEL, REGION_LABEL = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
TYPE_LABEL = "node.kubernetes.io/instance-type"
CAPACITY_LABEL = "spotcompute.dev/charge-type"

#: A machine keeps pods away with this taint until its node is bound.
STARTUP_TAINT = "spotcompute.dev/uninitialized"

#: The taint of a node whose machine has reported the notice of its end.
INTERRUPTION_TAINT = Taint("spotcompute.dev/interruption", "NoSchedule")

#: The taint of a node whose machine is to be released.
RELEASE_TAINT = Taint("spotcompute.dev/release", "NoSchedule")

NODE_USER, BOOTSTRAP_USER, NODES_GROUP = "system:node:", "system:bootstrap:", "system:nodes"
_CLIENT_USAGES = frozenset({"digital signature", "key encipherment", "client auth"})
_SERVING_USAGES = frozenset({"digital signature", "key encipherment", "server auth"})


@dataclass(frozen=True, slots=True)
class Machine:
    """`Machine` is an instance that an environment answers for, as far as nodes are concerned.

    `is_alive` is False once its end is known: the ledger says so, and the cloud has confirmed it. `is_leaving` is True
    from the decision to release it.
    """

    id: str
    namespace: str
    environment: str
    region: str
    zone: str
    instance_type: str
    wishes: NodeWishes
    addresses: tuple[str, ...] = ()
    on_demand: bool = False
    is_alive: bool = True
    is_leaving: bool = False

    @property
    def node_name(self) -> str | None:
        """Returns the name that its node must have. None while its address is not known."""
        if self.wishes.names is NodeNames.INSTANCE_ID:
            return self.id
        return self.addresses[0] if self.addresses else None


@dataclass(frozen=True, slots=True)
class Bind:
    """`Bind` gives a node the labels and taints of its environment, and takes the start-up taint off."""

    node: Node
    machine: Machine
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """`GiveUp` ends a node whose machine is gone: unschedulable, deleted, and then its pods are failed."""

    node: Node
    machine: Machine


@dataclass(frozen=True, slots=True)
class KeepFree:
    """`KeepFree` keeps new pods from a node whose machine will be taken back, or is to be released."""

    node: Node
    machine: Machine
    taints: tuple[Taint, ...]


@dataclass(frozen=True, slots=True)
class OpenAgain:
    """`OpenAgain` lets pods come to a node again, because its machine is not to be released any more."""

    node: Node
    machine: Machine
    taints: tuple[Taint, ...]


NodeStep = Bind | GiveUp | KeepFree | OpenAgain


def next_steps(nodes: Iterable[Node], machines: Collection[Machine], now: datetime) -> tuple[NodeStep, ...]:
    """Returns what is to be done about nodes now, by name. Nodes that are no machine of ours are in none of it."""
    by_id, by_name = _by_id(machines), _by_name(machines)
    taken = {node.labels[INSTANCE_LABEL] for node in nodes if INSTANCE_LABEL in node.labels}
    steps: list[NodeStep] = []
    for node in sorted(nodes, key=lambda one: one.name):
        machine = machine_of(node, by_id, by_name)
        if machine is None:
            steps += _mark_for_its_end(node, by_id)
            continue
        if not machine.is_alive:
            if INSTANCE_LABEL in node.labels:
                steps.append(GiveUp(node, machine))
        elif INSTANCE_LABEL not in node.labels and machine.id in taken:
            continue  # another node is this machine already
        elif (step := _bind(node, machine) or _cordon(node, machine, now) or _reopen(node, machine)) is not None:
            steps.append(step)
    return tuple(steps)


def to_drain(nodes: Iterable[Node], machines: Collection[Machine], now: datetime) -> tuple[Node, ...]:
    """Returns the cordoned nodes whose pods are to leave, by name: under notice, or of machines to be released."""
    by_id, by_name = _by_id(machines), _by_name(machines)
    found = []
    for node in sorted(nodes, key=lambda one: one.name):
        machine = machine_of(node, by_id, by_name)
        if machine is None or not machine.is_alive or INSTANCE_LABEL not in node.labels or not node.is_unschedulable:
            continue
        if machine.is_leaving or (machine.wishes.drains_on_notice and _is_noticed(node, now)):
            found.append(node)
    return tuple(found)


def to_evict(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Returns the pods of a node that are asked to leave. Those not to be disturbed have time until the end."""
    return tuple(pod for pod in pods if not pod.is_bound_to_node and not pod.is_kept)


def states_of(nodes: Iterable[Node], pods: Iterable[Pod], machines: Collection[Machine]) -> dict[str, NodeState]:
    """Returns what the cluster shows of the bound node of each machine, by the instance's id."""
    by_id, by_name = _by_id(machines), _by_name(machines)
    work: dict[str, list[Pod]] = {}
    for pod in pods:
        if not pod.is_bound_to_node:
            work.setdefault(pod.node, []).append(pod)
    states = {}
    for node in nodes:
        machine = machine_of(node, by_id, by_name) if INSTANCE_LABEL in node.labels else None
        if machine is None:
            continue
        there = work.get(node.name, [])
        states[machine.id] = NodeState(
            name=node.name,
            is_ready=node.is_ready,
            is_unschedulable=node.is_unschedulable,
            notice=node.notice,
            pods=len(there),
            working_since=min((pod.started_at for pod in there if pod.started_at is not None), default=None),
            is_kept=any(pod.is_kept for pod in there),
        )
    return states


def machine_of(node: Node, by_id: Mapping[str, Machine], by_name: Mapping[str, Machine]) -> Machine | None:
    """Returns the machine that a node is. None when it is none of ours.

    Once bound, our own label decides, which no node can change. Before that the name decides, because it stands in the
    certificate that was approved for this machine. A provider id that names another instance is not believed.
    """
    bound = node.labels.get(INSTANCE_LABEL)
    if bound is not None:
        machine = by_id.get(bound)
        is_same = machine is not None and node.labels.get(ENVIRONMENT_LABEL) == machine.environment
        return machine if is_same and machine and node.labels.get(NAMESPACE_LABEL) == machine.namespace else None
    machine = by_name.get(node.name)
    if machine is None or node.instance_id not in (None, machine.id):
        return None
    return machine


def _bind(node: Node, machine: Machine) -> Bind | None:
    """Returns what makes the node show its environment. None when it does already."""
    labels = {
        **dict(machine.wishes.labels),
        ENVIRONMENT_LABEL: machine.environment,
        NAMESPACE_LABEL: machine.namespace,
        INSTANCE_LABEL: machine.id,
        REGION_LABEL: machine.region,
        ZONE_LABEL: machine.zone,
        TYPE_LABEL: machine.instance_type,
        CAPACITY_LABEL: "on-demand" if machine.on_demand else "spot",
    }
    missing = {key: value for key, value in labels.items() if node.labels.get(key) != value}
    staying = tuple(taint for taint in node.taints if taint.key != STARTUP_TAINT)
    # Taints are put on when the node is bound. A person or a program that takes one off later has a reason.
    wanted = machine.wishes.taints if INSTANCE_LABEL not in node.labels else ()
    added = tuple(taint for taint in wanted if taint not in staying)
    if not missing and not added and len(staying) == len(node.taints):
        return None
    return Bind(node, machine, missing, (*staying, *added))


def _mark_for_its_end(node: Node, by_id: Mapping[str, Machine]) -> list[NodeStep]:
    """Returns what binds a node whose machine went before it was bound. Once bound, it is given up as any other.

    Only for nodes that are called by the id, because an address may be another machine's by now; and only with the
    start-up taint, which keeps pods away, and without which our own policy forbids the change.
    """
    machine = by_id.get(node.name)
    is_joining = any(taint.key == STARTUP_TAINT for taint in node.taints) and INSTANCE_LABEL not in node.labels
    if machine is None or machine.is_alive or machine.wishes.names is not NodeNames.INSTANCE_ID or not is_joining:
        return []
    if node.instance_id not in (None, machine.id):
        return []
    marks = {ENVIRONMENT_LABEL: machine.environment, NAMESPACE_LABEL: machine.namespace, INSTANCE_LABEL: machine.id}
    return [Bind(node, machine, marks, node.taints)]


def _cordon(node: Node, machine: Machine, now: datetime) -> KeepFree | None:
    """Returns what keeps new pods from a node under notice, or of a machine to be released. None when nothing is
    needed, or when it is kept so already.
    """
    wanted = [INTERRUPTION_TAINT] if _is_noticed(node, now) else []
    wanted += [RELEASE_TAINT] if machine.is_leaving else []
    if not wanted or (node.is_unschedulable and set(wanted) <= set(node.taints)):
        return None
    keys = {taint.key for taint in wanted}
    return KeepFree(node, machine, (*(taint for taint in node.taints if taint.key not in keys), *wanted))


def _reopen(node: Node, machine: Machine) -> OpenAgain | None:
    """Returns what opens a node whose machine stays after all. Only our own taint tells that we have closed it."""
    if machine.is_leaving or RELEASE_TAINT not in node.taints or INTERRUPTION_TAINT in node.taints:
        return None
    return OpenAgain(node, machine, tuple(taint for taint in node.taints if taint != RELEASE_TAINT))


def _is_noticed(node: Node, now: datetime) -> bool:
    """True when the machine, or the vendor's agent on it, has reported an end that is near."""
    return node.notice is not None and is_believable(node.notice, now)


def _by_id(machines: Iterable[Machine]) -> dict[str, Machine]:
    return {machine.id: machine for machine in machines}


def _by_name(machines: Iterable[Machine]) -> dict[str, Machine]:
    """Returns living machines by the name of their node. A name that two of them have, such as an address, is left out.

    Two networks may use the same addresses.
    """
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        if machine.is_alive and machine.node_name is not None:
            found.setdefault(machine.node_name, []).append(machine)
    return {name: same[0] for name, same in found.items() if len(same) == 1}


# --- who may become a node -------------------------------------------------------------------------------------------


def to_approve(
    requests: Sequence[CertificateRequest], nodes: Collection[Node], machines: Collection[Machine]
) -> tuple[CertificateRequest, ...]:
    """Returns the requests for certificates to approve. What is not approved is left to others, and never denied.

    A first certificate is for a machine of the ledger that has no node and no certificate yet. So a token that was
    stolen makes no node, and none in place of one that exists.
    """
    by_name, given = _by_name(machines), {one.common_name for one in requests if _is_given(one)}
    is_node = {
        machine.id: node for node in nodes if (machine := machine_of(node, _by_id(machines), by_name)) is not None
    }
    taken = {f"{NODE_USER}{node.name}" for node in nodes}
    approved = []
    for request in filter(_is_open, requests):
        machine = by_name.get(request.common_name.removeprefix(NODE_USER))
        if machine is None or not _names_only(request, machine):
            continue
        if request.username == request.common_name:
            # A node asks for itself: to renew its certificate, or for one to serve with.
            may_have = machine.id in is_node and is_node[machine.id].name == machine.node_name
        else:
            may_have = _is_first(request) and request.common_name not in given | taken
            given |= {request.common_name} if may_have else set()
        approved += [request] if may_have else []
    return tuple(approved)


def _is_open(request: CertificateRequest) -> bool:
    return not request.is_approved and not request.is_denied and _is_well_formed(request)


def _is_given(request: CertificateRequest) -> bool:
    return request.is_approved and request.use is CertificateUse.CLIENT


def _is_first(request: CertificateRequest) -> bool:
    """True when a bootstrap token asks for the certificate with which a node begins."""
    return request.use is CertificateUse.CLIENT and request.username.startswith(BOOTSTRAP_USER)


def _is_well_formed(request: CertificateRequest) -> bool:
    """True when it asks for exactly what a kubelet asks for.

    Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
    """
    needed, allowed = ("client auth", _CLIENT_USAGES)
    if request.use is CertificateUse.SERVING:
        needed, allowed = ("server auth", _SERVING_USAGES)
    return (
        request.common_name.startswith(NODE_USER)
        and request.organizations == (NODES_GROUP,)
        and needed in request.usages
        and request.usages <= allowed
        and not request.has_other_names
    )


def _names_only(request: CertificateRequest, machine: Machine) -> bool:
    """True when the certificate would name nothing but this machine."""
    if request.use is CertificateUse.CLIENT:
        return not request.dns_names and not request.addresses
    names = {machine.node_name, machine.id}
    has_any = bool(request.dns_names or request.addresses)
    return has_any and request.dns_names <= names and request.addresses <= set(machine.addresses)
