"""Decides which instances go: those that are of no use any more, and those that are too many, in a fixed order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.model.offering import Market
from spotcompute.plan.budget import price_of
from spotcompute.plan.capacity import is_stuck, occupying


def why_replace(member: Member, instance: Instance | None, seen_at: datetime, timeout: timedelta) -> Cause | None:
    """Returns why an instance is to be replaced although it is not too many. Returns None when it is to stay.

    `seen_at` is when `instance` was in the state given here: it may have started since. A stopped spot instance still
    costs money and does nothing.
    """
    if instance is None:
        return None
    if instance.state is InstanceState.SHUTDOWN:
        return Cause.RECYCLE_BIN
    if member.lost is not None:
        return None
    if instance.state is InstanceState.STOPPED:
        return Cause.STOPPED_OUTSIDE
    if not is_stuck(member, instance, seen_at, timeout):
        return None
    return Cause.STUCK_PENDING if instance.state is InstanceState.PENDING else Cause.STUCK


def in_order_of_leaving(
    ledger: Ledger, instances: Mapping[str, Instance], market: Market, template_digest: str
) -> list[Member]:
    """Returns the members that may be released to scale down, in the order in which they go.

    Those that the cloud protects go last, because they do not go. Of the others, those that do not run yet go first,
    then those of an older template, the costliest, and the youngest: so the least work is lost.
    """

    def key(member: Member) -> tuple[bool, bool, bool, Decimal, float, str]:
        instance = instances.get(member.id)
        protected = instance is not None and instance.protected
        running = instance is not None and instance.state is InstanceState.RUNNING
        updated = member.template_digest in (None, template_digest)
        return (
            protected,
            running,
            updated,
            -(price_of(member.pool, member.on_demand, market) or Decimal(0)),
            -member.launched_at.timestamp(),
            member.id,
        )

    staying = (member for member in occupying(ledger) if member.termination is None and member.lost is None)
    return sorted(staying, key=key)
