"""Decides which instances go: those that are of no use any more, and those that are too many, by one comparison.

The comparison has named steps, and everything that chooses among instances asks it: scaling down, and whatever
replaces instances one after the other. So the same instance is never the first to go for one and the last for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from spotcompute.model.desired import ScaleInOrder, ZonePolicy
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.model.offering import Pool
from spotcompute.plan.allocation import most_in_one_pool
from spotcompute.plan.budget import price_of
from spotcompute.plan.capacity import is_stuck, occupying
from spotcompute.plan.drift import OUTSIDE, Asked
from spotcompute.plan.situation import Situation


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


# --- who goes first --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """`Facts` holds what the steps compare of one instance.

    `pods` counts the pods that work on its node, and `working_since` is when the first of them started, in seconds.
    """

    member: Member
    instance: Instance | None
    is_outside: bool
    is_older: bool
    is_marked: bool
    pods: int
    working_since: float
    deletion_cost: int
    price: Decimal
    order: ScaleInOrder


#: One step of the comparison: of two instances, the one with the lower value goes first.
Step = Callable[[Facts], float | Decimal | str]


def _useless(facts: Facts) -> float:
    """Puts first what does not run yet, or no longer."""
    return facts.instance is not None and facts.instance.state is InstanceState.RUNNING


def _working(facts: Facts) -> float:
    """Puts first what no pod works on, and what is to be deleted first in spite of its work."""
    return facts.pods > 0 and not facts.is_marked


def _outside(facts: Facts) -> float:
    """Puts first what is in a zone or subnet, or of a type, that the spec names no more."""
    return not facts.is_outside


def _marked(facts: Facts) -> float:
    """Puts first what was marked to be deleted first."""
    return not facts.is_marked


def _older(facts: Facts) -> float:
    """Puts first what differs from the spec in another way: an older template, another charge type."""
    return not facts.is_older


def _pods(facts: Facts) -> float:
    """Puts first what the fewest pods work on."""
    return facts.pods


def _newest_work(facts: Facts) -> float:
    """Puts first what has worked for the shortest time."""
    return -facts.working_since


def _deletion_cost(facts: Facts) -> float:
    """Puts the lowest deletion cost first."""
    return facts.deletion_cost


def _in_order(facts: Facts) -> float | Decimal:
    """Puts first what `scaleIn.order` says."""
    if facts.order is ScaleInOrder.COSTLIEST_FIRST:
        return -facts.price
    launched = facts.member.launched_at.timestamp()
    return launched if facts.order is ScaleInOrder.OLDEST_FIRST else -launched


def _youngest(facts: Facts) -> float:
    """Puts the youngest first, because the least work is lost with it."""
    return -facts.member.launched_at.timestamp()


def _id(facts: Facts) -> str:
    """Puts the lowest id first, so that equal situations give equal plans."""
    return facts.member.id


#: The steps before and after the one that looks at all instances together: what each zone and pool holds.
BEFORE_BALANCE: tuple[Step, ...] = (_useless, _working, _outside, _marked, _older, _pods, _newest_work)
AFTER_BALANCE: tuple[Step, ...] = (_deletion_cost, _in_order, _youngest, _id)


def is_protected(member: Member, situation: Situation) -> bool:
    """True when nothing may choose the instance: the cloud protects it, a person asks for that, or a pod on its node
    must not be disturbed.
    """
    instance, node = situation.observed.instances.get(member.id), situation.nodes.get(member.id)
    is_kept_by_cloud = instance is not None and instance.protected and not instance.has_ended
    is_kept_by_work = node is not None and node.is_kept
    return is_kept_by_cloud or is_kept_by_work or situation.wish(member.id).protect


def staying(ledger: Ledger) -> list[Member]:
    """Returns the members that are meant to stay, by id."""
    return [one for one in occupying(ledger) if one.termination is None and one.lost is None]


def in_order_of_leaving(situation: Situation, going: Iterable[str] = (), room: int | None = None) -> list[Member]:
    """Returns the members that may be chosen to go, in the order in which they go; protected ones are not among them.

    With `room` they are those that go together without taking away more than that, in what `replicas` counts.

    Those that are not asked for their order, because they go anyway (`going`), are counted as gone. Zone balance and
    shares depend on what is left, so each choice is made after the one before.
    """
    gone = frozenset(going)
    left = [member for member in staying(situation.ledger) if member.id not in gone]
    choice = _Choice(situation, left)
    return list(choice.in_order((member for member in left if not is_protected(member, situation)), room))


class _Choice:
    """Chooses one member after the other, and keeps count of what each zone and pool is left with."""

    def __init__(self, situation: Situation, left: list[Member]) -> None:
        self._situation, self._asked = situation, Asked(situation)
        desired, intents = situation.desired, situation.ledger.intents
        self._units = desired.units
        self._on_demand = sum(self._units(member.pool) for member in left if member.on_demand)
        self._on_demand += sum(self._units(intent.pool) * intent.missing for intent in intents if intent.on_demand)
        self._limit, self._balances = most_in_one_pool(desired), desired.zone_policy is ZonePolicy.BALANCED
        self._zones, self._pools = Counter[str](), Counter[Pool]()
        lots = [(member.pool, member.on_demand, 1) for member in left]
        for pool, on_demand, count in [*lots, *((one.pool, one.on_demand, one.missing) for one in intents)]:
            self._zones[pool.zone] += count * self._units(pool)
            self._pools[pool] += 0 if on_demand else count * self._units(pool)

    def in_order(self, members: Iterable[Member], room: int | None) -> Iterator[Member]:
        """Yields the members, those that go first in front, and only as many as `room` holds if that is given.

        Members of one pool and charge type have the same place in the balance. So only the first of each such group is
        compared with those of the others, and thousands of members are soon put in order.
        """
        groups: dict[tuple[Pool, bool], list[tuple[tuple[Any, ...], tuple[Any, ...], Member]]] = {}
        for member in members:
            facts = self._facts(member)
            before = tuple(step(facts) for step in BEFORE_BALANCE)
            after = tuple(step(facts) for step in AFTER_BALANCE)
            groups.setdefault((member.pool, member.on_demand), []).append((before, after, member))
        for group in groups.values():
            group.sort(key=lambda one: one[:2], reverse=True)
        while groups:
            key = min(groups, key=lambda each: (groups[each][-1][0], self._balance(*each), groups[each][-1][1]))
            units = self._units(key[0])
            if room is not None and units > room:
                del groups[key]  # without one of these, less would be left than is wanted
                continue
            room = None if room is None else room - units
            yield self._taken(groups[key].pop()[2])
            if not groups[key]:
                del groups[key]

    def _balance(self, pool: Pool, on_demand: bool) -> tuple[bool, int, int]:
        """Returns the place in the balance: first the charge type of which there are too many, then pools above their
        share, then zones that hold the most.
        """
        is_of_the_scarce_kind = on_demand != (self._on_demand > self._situation.desired.on_demand_wanted)
        excess = 0 if on_demand else max(0, self._pools[pool] - self._limit)
        return is_of_the_scarce_kind, -excess, -self._zones[pool.zone] if self._balances else 0

    def _taken(self, member: Member) -> Member:
        units = self._units(member.pool)
        self._zones[member.pool.zone] -= units
        self._pools[member.pool] -= 0 if member.on_demand else units
        self._on_demand -= units if member.on_demand else 0
        return member

    def _facts(self, member: Member) -> Facts:
        situation, wish, drift = self._situation, self._situation.wish(member.id), self._asked.drift_of(member)
        node = situation.nodes.get(member.id)
        pods = node.pods if node is not None else 0
        began = node.working_since if node is not None else None
        return Facts(
            member=member,
            instance=situation.observed.instances.get(member.id),
            is_outside=not OUTSIDE.isdisjoint(drift),
            is_older=not drift <= OUTSIDE,
            is_marked=wish.delete_first,
            pods=pods,
            working_since=(began or situation.now).timestamp() if pods else 0.0,
            deletion_cost=wish.deletion_cost,
            price=price_of(member.pool, member.on_demand, situation.market) or Decimal(0),
            order=situation.desired.scale_in,
        )
