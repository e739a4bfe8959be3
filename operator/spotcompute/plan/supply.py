"""Decides what room an environment has for claims: on machines that live, and on those that could be bought.

Apart from `claims`, which hands that room out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from spotcompute.model.claim import Amounts
from spotcompute.model.ledger import Member
from spotcompute.model.node import Node
from spotcompute.model.offering import Market, Offering
from spotcompute.plan.capacity import occupies
from spotcompute.plan.claims import Host, Supply
from spotcompute.plan.nodes import (
    ENVIRONMENT_LABEL,
    INSTANCE_LABEL,
    INTERRUPTION_TAINT,
    NAMESPACE_LABEL,
    STARTUP_TAINT,
    TYPE_LABEL,
)
from spotcompute.plan.situation import Situation

#: Pods that a node takes: the default of a kubelet (maxPods).
PODS = 110

_GIB = 1024**3


def supply_of(situation: Situation, nodes: Collection[Node], allocatable: Mapping[str, Amounts]) -> Supply:
    """Returns what the environment can put claims on.

    `nodes` are those bound to its machines, `allocatable` what each of them says that pods can have, by its name. A
    machine that leaves, or has notice of its end, is no room, and is replaced elsewhere.
    """
    wishes = situation.desired.capacity
    reserved = wishes.reserved if wishes else {}
    types = _types(situation, nodes, allocatable, reserved)
    by_instance = {node.labels[INSTANCE_LABEL]: node for node in nodes if INSTANCE_LABEL in node.labels}
    hosts: list[Host] = []
    closed = 0
    for member in _staying(situation):
        room, node = types.get(member.pool.instance_type, {}), by_instance.get(member.id)
        if node is None:
            hosts.append(Host(member.id, room))
        elif _has_notice(node):
            continue
        elif node.is_unschedulable:
            closed += 1
        else:
            hosts.append(Host(member.id, _at_most(room, allocatable.get(node.name, {}), reserved), takes_pods(node)))
    wanted = {pool.instance_type for pool, _ in situation.desired.pools}
    return Supply(tuple(hosts), {name: room for name, room in types.items() if name in wanted}, closed)


def _staying(situation: Situation) -> Iterator[Member]:
    """Yields the members that live and are to stay, by id."""
    for key in sorted(situation.ledger.members):
        member = situation.ledger.members[key]
        if occupies(member) and member.termination is None and member.lost is None:
            yield member


def _has_notice(node: Node) -> bool:
    """True when the node is kept free because its machine will be taken back, or is about to be."""
    return node.notice is not None or any(taint.key == INTERRUPTION_TAINT.key for taint in node.taints)


def nodes_of(namespace: str, name: str, nodes: Collection[Node]) -> tuple[Node, ...]:
    """Returns the nodes that are bound to machines of this environment."""
    marks = {ENVIRONMENT_LABEL: name, NAMESPACE_LABEL: namespace}
    return tuple(node for node in nodes if marks.items() <= node.labels.items() and INSTANCE_LABEL in node.labels)


def takes_pods(node: Node) -> bool:
    """True when the scheduler may put pods there now."""
    is_free = all(taint.key != STARTUP_TAINT for taint in node.taints)
    return node.is_ready and not node.is_unschedulable and is_free


def _types(
    situation: Situation, nodes: Collection[Node], allocatable: Mapping[str, Amounts], reserved: Amounts
) -> dict[str, Amounts]:
    """Returns the room in a machine of each type whose size is known.

    A node of the type that has joined knows better than the market, which tells the size without what the system takes.
    """
    names = {pool.instance_type for pool, _ in situation.desired.pools}
    names |= {member.pool.instance_type for member in situation.ledger.members.values()}
    found: dict[str, Amounts] = {}
    for name in sorted(names):
        offering = _offering(situation.market, name)
        if offering is None:
            continue
        room = _less(_size(offering), reserved)
        for node in nodes:
            if node.labels.get(TYPE_LABEL) == name and takes_pods(node):
                room = _corrected(room, allocatable.get(node.name, {}))
        found[name] = room
    return found


def _offering(market: Market, instance_type: str) -> Offering | None:
    """Returns the type as the market describes it in any zone. None while it does not."""
    found = (one for pool, one in sorted(market.offerings.items()) if pool.instance_type == instance_type)
    return next((one for one in found if one.vcpu > 0), None)


def _size(offering: Offering) -> Amounts:
    gpus = {"nvidia.com/gpu": offering.gpus * 1000} if offering.gpus else {}
    return {
        "cpu": offering.vcpu * 1000,
        "memory": offering.memory_gib * _GIB * 1000,
        "pods": PODS * 1000,
        **gpus,
    }


def _less(size: Amounts, reserved: Amounts) -> Amounts:
    return {name: max(0, amount - reserved.get(name, 0)) for name, amount in size.items()}


def _corrected(room: Amounts, said: Amounts) -> Amounts:
    """Returns the room of a type, as a node of that type has shown it.

    A device of which it shows none may only not be ready yet.
    """
    return {
        name: min(room.get(name, amount), amount) if amount else room.get(name, 0)
        for name, amount in {**room, **said}.items()
    }


def _at_most(room: Amounts, said: Amounts, reserved: Amounts) -> Amounts:
    """Returns the room on a node that says what pods can have. It may have what the market knows nothing of."""
    if not said:
        return room
    if not room:
        return _less(said, reserved)
    return {name: min(amount, room.get(name, amount)) for name, amount in said.items()}
