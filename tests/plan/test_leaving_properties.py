"""Who goes, in thousands of random specs and states: laws of the whole decision, and not of one step of it.

Counted by hand here. What could be better is what one other choice would make better: an instance that goes changes
places with one that stays, of the same class.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from plan.given import PRESENT, Pool, ago, desired_of, instance, ledger_of, market_of, member, observed_of, planned
from plan.given import situation_of as plainly
from plan.judge import complaints
from plan.worlds import Dice
from spotcompute.model.desired import Desired, ScaleInOrder, ZonePolicy
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Member
from spotcompute.model.wishes import Wish
from spotcompute.plan.actions import Learned
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation

ZONES = ["ap-guangzhou-3", "ap-guangzhou-4", "ap-guangzhou-6", "ap-guangzhou-7"]
TYPES = ["S5.MEDIUM4", "SA2.MEDIUM4", "S2.MEDIUM4"]
POOLS = [Pool(zone, name) for zone in ZONES for name in TYPES]


@dataclass(frozen=True)
class Scene:
    """A situation in which some are too many, and the plan that was made."""

    situation: Situation
    gone: frozenset[str]
    asked_to_end: frozenset[str]

    @property
    def desired(self) -> Desired:
        return self.situation.desired

    def is_protected(self, one: Member) -> bool:
        seen = self.situation.observed.instances[one.id]
        return seen.protected or self.situation.wish(one.id).protect

    def runs(self, one: Member) -> bool:
        return self.situation.observed.instances[one.id].state is InstanceState.RUNNING

    def is_inside(self, one: Member) -> bool:
        return one.pool in dict(self.desired.pools)

    def class_of(self, one: Member) -> tuple[bool, bool, bool, bool]:
        """What decides before all balance: of a lower class, whoever it is goes first."""
        is_older = one.template_digest not in (None, PRESENT) or one.on_demand
        is_marked = self.situation.wish(one.id).delete_first
        return self.runs(one), self.is_inside(one), not is_marked, not is_older

    def may_choose(self) -> list[Member]:
        return [one for one in self.situation.ledger.members.values() if not self.is_protected(one)]


def scene_of(seed: int) -> Scene:
    dice = Dice(f"{seed} leaving")
    zones, types = dice.sample(ZONES, dice.randint(1, 4)), dice.sample(TYPES, dice.randint(1, 3))
    count = dice.randint(1, 12)
    desired = desired_of(
        dice.randint(0, count),
        [Pool(zone, name) for zone in zones for name in types],
        zone_policy=dice.choice(list(ZonePolicy)),
        share=dice.choice([100, 100, 60, 50, 34]),
        scale_in=dice.choice(list(ScaleInOrder)),
    )
    is_plain = dice.chance(3)  # nothing but pools and prices, so that balance decides more often
    inside = [pool for pool, _ in desired.pools]
    members, seen, wishes = [], [], {}
    for number in range(count):
        key = f"ins-{number}"
        pool = dice.choice(inside if is_plain or not dice.chance(4) else POOLS)
        template = PRESENT if is_plain else dice.choice([PRESENT, PRESENT, None, "0" * 12])
        on_demand = not is_plain and dice.chance(8)
        launched_at = ago(dice.randint(700, 9000))
        members.append(member(key, pool=pool, launched_at=launched_at, template_digest=template, on_demand=on_demand))
        state = InstanceState.RUNNING if is_plain or not dice.chance(8) else InstanceState.PENDING
        is_shielded = not is_plain and dice.chance(6)
        seen.append(
            instance(
                key,
                state,
                pool=pool,
                on_demand=on_demand,
                protected=is_shielded,
                created_at=ago(1) if state is InstanceState.PENDING else launched_at,
            )
        )
        if not is_plain and dice.chance(3):
            wishes[key] = Wish(
                protect=dice.chance(5), delete_first=dice.chance(3), deletion_cost=dice.choice([0, 0, -5, 100])
            )
    market = market_of({pool: dice.choice(["0.1", "0.2", "0.3", None]) for pool in POOLS})
    situation = plainly(desired, ledger_of(*members), observed_of(*seen, market=market))
    situation = replace(situation, wishes=wishes)
    plan = make_plan(situation, Learned())
    assert complaints(situation, plan) == []
    after = plan.ledger.members
    gone = {key for key, one in after.items() if one.termination and one.termination.cause is Cause.SCALED_DOWN}
    ended = {key for action in plan.actions for key in getattr(action, "instance_ids", ())}
    return Scene(situation, frozenset(gone), frozenset(ended))


def spread_over_zones(members: list[Member], scene: Scene) -> int:
    """By how many the fullest and the emptiest zone of the spec differ."""
    zones = Counter(one.pool.zone for one in members)
    counts = [zones[zone] for zone in {pool.zone for pool, _ in scene.desired.pools}]
    return max(counts) - min(counts)


def unevenness(members: list[Member]) -> int:
    """How uneven zones are; each move from a fuller zone to an emptier one makes it less."""
    return sum(count * count for count in Counter(one.pool.zone for one in members).values())


def above_share(members: list[Member], scene: Scene) -> int:
    """How many spot instances are above the share of their pool."""
    limit = max(1, math.ceil(scene.desired.replicas * scene.desired.share / 100))
    pools = Counter(one.pool for one in members if not one.on_demand)
    return sum(max(0, count - limit) for count in pools.values())


def swaps(scene: Scene) -> Iterator[list[Member]]:
    """What else could be left: another instance of the same class goes in the place of one that goes."""
    members = scene.situation.ledger.members
    free = scene.may_choose()
    left = [one for one in members.values() if one.id not in scene.gone]
    for goes in (members[key] for key in sorted(scene.gone)):
        for stays in (one for one in free if one.id not in scene.gone):
            if goes.on_demand != stays.on_demand:
                continue  # what is too many of the mix goes before shares and zones are compared
            if scene.class_of(goes) == scene.class_of(stays) and not scene.is_protected(goes):
                yield [one for one in left if one.id != stays.id] + [goes]


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.rare)])
def test_the_laws_of_leaving_hold_in_thousands_of_situations(count: int) -> None:
    met: Counter[str] = Counter()
    for scene in map(scene_of, range(count)):
        members = scene.situation.ledger.members
        left = [one for one in members.values() if one.id not in scene.gone]
        free, wanted = scene.may_choose(), max(0, len(members) - scene.desired.replicas)
        assert len(scene.gone) == wanted
        # A protected one is never asked to end, and is meant to go only when nobody else is left.
        assert not [key for key in scene.asked_to_end if scene.is_protected(members[key])]
        chosen = [members[key] for key in scene.gone if not scene.is_protected(members[key])]
        assert len(chosen) == min(wanted, len(free))
        met["protected"] += len(chosen) < wanted
        # Nobody stays while somebody of a higher class goes: what is outside goes before what is inside, and what is
        # marked before what is not.
        staying = [one for one in free if one.id not in scene.gone]
        highest = max(map(scene.class_of, chosen), default=(False,) * 4)
        assert all(scene.class_of(one) >= highest for one in staying)
        met["outside"] += any(not scene.is_inside(one) for one in chosen) and bool(staying)
        met["marked"] += any(scene.situation.wish(one.id).delete_first for one in chosen) and bool(staying)
        # No other choice within a class leaves fewer above their share, or, with as many, zones more even.
        worst = above_share(left, scene)
        balance = unevenness(left) if scene.desired.zone_policy is ZonePolicy.BALANCED else 0
        for other in swaps(scene):
            assert above_share(other, scene) >= worst
            if above_share(other, scene) == worst and balance:
                assert unevenness(other) >= balance
        met["balanced"] += bool(balance and chosen and spread_over_zones(left, scene) <= 1)
        met["share"] += worst == 0 < above_share(list(members.values()), scene)
    assert all(met[each] > count / 100 for each in ("protected", "outside", "marked", "balanced", "share")), met


def test_balanced_zones_differ_by_one_at_most_afterwards() -> None:
    """Whatever number goes, from zones that were as even as can be."""
    for seed in range(500):
        dice = Dice(f"{seed} level")
        zones = dice.sample(ZONES, dice.randint(1, 4))
        count = dice.randint(1, 24)
        members = [
            member(
                f"ins-{number:02}", pool=Pool(zones[number % len(zones)], dice.choice(TYPES)), launched_at=ago(number)
            )
            for number in dice.sample(range(count), count)
        ]
        pools = [Pool(zone, name) for zone in zones for name in TYPES]
        desired = desired_of(dice.randint(0, count), pools, zone_policy=ZonePolicy.BALANCED)
        observed = observed_of(*(instance(one.id, pool=one.pool) for one in members))
        after = planned(desired, ledger_of(*members), observed).ledger.members.values()
        held = Counter(one.pool.zone for one in after if one.termination is None)
        assert max(held[zone] for zone in zones) - min(held[zone] for zone in zones) <= 1
