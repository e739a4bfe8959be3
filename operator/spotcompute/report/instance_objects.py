"""Says what the object of each instance should show.

Apart from `status`, which is written after every run: these objects are written in the background, each when it is its
turn, and thousands of them may be compared before one is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from spotcompute.api.crd import GROUP, VERSION
from spotcompute.api.instance_object import (
    CHARGE_LABEL,
    DO_NOT_TERMINATE,
    ENVIRONMENT_LABEL,
    INSTANCE_FINALIZER,
    INSTANCE_KIND,
    KEEP,
    TYPE_LABEL,
    ZONE_LABEL,
    InstanceObjectStatus,
    owner_reference,
)
from spotcompute.api.times import to_text
from spotcompute.model.instance import Instance
from spotcompute.model.launch import template_digest
from spotcompute.model.ledger import Member
from spotcompute.model.node import NodeState
from spotcompute.model.offering import Pool
from spotcompute.plan.by_hand import kept_until
from spotcompute.plan.capacity import is_ready
from spotcompute.plan.notices import is_doomed
from spotcompute.plan.situation import Situation
from spotcompute.report.conclusion import leaving_note
from spotcompute.report.cost import optional_money

SPOT, ON_DEMAND = "SPOTPAID", "POSTPAID_BY_HOUR"

#: Returns the price per hour of a pool, on demand or not.
Price = Callable[[Pool, bool], Decimal | None]


class InstanceFacts(NamedTuple):
    """`InstanceFacts` is what one object shows. Equal facts need no write."""

    id: str
    pool: Pool
    state: str
    ready: bool
    on_demand: bool
    launched_at: datetime
    price: Decimal | None = None
    private_ip: str | None = None
    public_ip: str | None = None
    updated: bool = True
    note: str | None = None
    node: NodeState | None = None


class EnvironmentRef(NamedTuple):
    """`EnvironmentRef` is the environment that objects belong to."""

    namespace: str
    name: str
    uid: str


def facts_of(situation: Situation, price: Price) -> Iterator[InstanceFacts]:
    """Yields what the objects of an environment should show, by id. Nothing when it wants none.

    An instance that bears another owner's tags gets none: it is not ours to show.
    """
    desired, instances = situation.desired, situation.observed.instances
    if not desired.instance_objects:
        return
    present = template_digest(desired.template, desired.user_data_digest)
    for key in sorted(situation.ledger.members):
        member, instance = situation.ledger.members[key], instances.get(key)
        if instance is not None and instance.ownership not in (None, desired.ownership):
            continue
        has_ended = instance is not None and instance.has_ended
        yield InstanceFacts(
            id=key,
            pool=member.pool,
            state=str(instance.state) if instance else "UNSEEN" if member.seen else "LAUNCHED",
            ready=is_ready(member, instance),
            on_demand=member.on_demand,
            launched_at=instance.created_at if instance else member.launched_at,
            price=None if has_ended else price(member.pool, member.on_demand),
            **_addresses(instance),
            updated=member.template_digest in (None, present),
            note=_note(member, situation),
            node=_node_of(member, situation),
        )


def _addresses(instance: Instance | None) -> dict[str, Any]:
    return {} if instance is None else {"private_ip": instance.private_ip, "public_ip": instance.public_ip}


def _node_of(member: Member, situation: Situation) -> NodeState | None:
    """Returns the node of an instance, as far as its object shows it. None without one, and while none is read."""
    node = situation.nodes.get(member.id)
    return NodeState(node.name, node.is_ready) if node is not None and node.name else None


def out_of_sight(facts: InstanceFacts) -> InstanceFacts:
    """Returns the facts while the cloud cannot be seen: not that the instance runs, and not what it costs."""
    return facts._replace(state="UNSEEN", ready=False, price=None)


def _note(member: Member, situation: Situation) -> str | None:
    """Returns why the instance leaves, or what keeps it although it should leave."""
    leaving = leaving_note(member)
    if leaving is not None:
        return leaving
    wish = situation.wish(member.id)
    if wish.ended and situation.desired.paused:
        return "its object was deleted: it goes once the environment is no longer paused"
    if wish.protect and (wish.ended or wish.unhealthy):
        return f"protected by {DO_NOT_TERMINATE}: take the mark off to let it go"
    if is_doomed(member, situation.now):
        return "has notice of its interruption; another one is asked for"
    until = kept_until(member, wish)
    if until is not None and until > situation.now:
        return f"failed, and kept until {to_text(until)} because of {KEEP}"
    return None


def new_object(facts: InstanceFacts, owner: EnvironmentRef) -> dict[str, Any]:
    """Returns the whole object of an instance."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": INSTANCE_KIND,
        "metadata": {
            "name": facts.id,
            "namespace": owner.namespace,
            "labels": _labels(facts, owner),
            "ownerReferences": [owner_reference(owner.name, owner.uid)],
            "finalizers": [INSTANCE_FINALIZER],
        },
        "status": _status(facts).to_json(),
    }


def change_to(facts: InstanceFacts, owner: EnvironmentRef) -> dict[str, Any]:
    """Returns the merge patch that makes an object show these facts. It names every field, so none is left over."""
    return {
        "metadata": {
            "labels": _labels(facts, owner),
            "ownerReferences": [owner_reference(owner.name, owner.uid)],
        },
        "status": _status(facts).model_dump(mode="json", by_alias=True),
    }


def _labels(facts: InstanceFacts, owner: EnvironmentRef) -> dict[str, str]:
    return {
        ENVIRONMENT_LABEL: owner.name,
        ZONE_LABEL: facts.pool.zone,
        TYPE_LABEL: facts.pool.instance_type,
        CHARGE_LABEL: ON_DEMAND if facts.on_demand else SPOT,
    }


def _status(facts: InstanceFacts) -> InstanceObjectStatus:
    return InstanceObjectStatus(
        state=facts.state,
        ready=facts.ready,
        zone=facts.pool.zone,
        instance_type=facts.pool.instance_type,
        charge_type=ON_DEMAND if facts.on_demand else SPOT,
        private_ip=facts.private_ip,
        public_ip=facts.public_ip,
        price_per_hour=optional_money(facts.price),
        launched_at=to_text(facts.launched_at),
        updated=facts.updated,
        note=facts.note,
        node=facts.node.name if facts.node else None,
        node_ready=facts.node.is_ready if facts.node else None,
    )
