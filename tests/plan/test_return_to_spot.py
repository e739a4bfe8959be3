"""From on demand back to spot: launch first where one more may live, and one at a time where that is not allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from plan.given import (
    NOW,
    A,
    B,
    Pool,
    ago,
    all_running,
    asked,
    desired_of,
    fallback,
    ledger_of,
    market_of,
    member,
    planned,
    seconds,
    situation_of,
)
from plan.playing import Play
from spotcompute.cloud.errors import CloudError, InsufficientCapacity, InvalidConfiguration, NoRoom
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.desired import CapacityUnit, Caps, Desired, Limits, OnDemandShare, Rollout
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause
from spotcompute.model.offering import Market, Offering
from spotcompute.plan.actions import Launch
from spotcompute.plan.fallback import with_fallback_clocks
from spotcompute.report.conclusion import conclude

MARKET = market_of({A: "0.1", B: "0.2"})
SURGE = Rollout(surge_max=1, unavailable_max=0)
NO_SURGE = Rollout(surge_max=0, unavailable_max=1)
STANDS_IN = fallback(count_max=3, after=seconds(60), stable_for=seconds(60))


def wanting(
    replicas: int = 3, rollout: Rollout | None = SURGE, pools: tuple[Pool, ...] = (A, B), **other: Any
) -> Desired:
    """Three in A or B, with a stand-in for each, unless it is said otherwise."""
    return desired_of(replicas, pools, **({"rollout": rollout, "fallback": STANDS_IN} | other))


def stand_ins(count: int = 3) -> list[Any]:
    return [member(f"ins-{number}", on_demand=True) for number in range(count)]


class Counted(Play):
    """A play that keeps the fewest that ran, and the most that lived, while spot took the places of on demand."""

    fewest, most, counts = 99, 0, False

    def on_planned(self, before: Any, plan: Any) -> None:
        states = [self._state(one) for one in self.machines.values() if one.ended_at is None]
        if self.counts:
            going = sum(len(action.instance_ids) for action in plan.actions if hasattr(action, "instance_ids"))
            self.fewest = min(self.fewest, states.count(InstanceState.RUNNING) - going)
            self.most = max(self.most, len(states))


def after_a_drought(desired: Desired, until: float = 1200) -> Counted:
    """A play in which three stand in for spot, which comes back after `until` seconds."""

    def room(_: Pool, now: datetime) -> int:
        return 0 if now < NOW + seconds(until) else 1000

    play = Counted(
        desired,
        lambda now: market_of({A: "0.1", B: "0.2"}, [] if room(A, now) else [A, B]),
        room=room,
        starts_in=seconds(20),
    )
    play.run(seconds(1000))
    assert play.live(on_demand=True) == 3
    play.counts = True
    return play


def test_each_spot_instance_runs_before_the_one_on_demand_goes() -> None:
    play = after_a_drought(wanting())
    play.run(seconds(4 * 3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (0, 3)
    assert (play.fewest, play.most) == (3, 4)
    assert {one.cause for _, one in play.released} == {Cause.BACK_TO_SPOT}


@pytest.mark.parametrize("rollout", [None, NO_SURGE])
def test_where_no_surge_is_allowed_one_goes_at_a_time(rollout: Rollout | None) -> None:
    play = after_a_drought(wanting(rollout=rollout))
    play.run(seconds(4 * 3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (0, 3)
    assert (play.fewest, play.most) == (2, 3)


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        pytest.param({"caps": Caps(in_total=Decimal("3"))}, 4, id="money-and-then-there-is-some"),
        pytest.param({"limits": Limits(count=3)}, 3, id="number"),
        pytest.param({"limits": Limits(vcpu=6)}, 3, id="vcpu"),
    ],
)
def test_where_a_limit_leaves_no_room_for_one_more_one_goes_at_a_time(limits: dict[str, Any], most: int) -> None:
    play = after_a_drought(wanting(**limits))
    play.run(seconds(4 * 3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (0, 3)
    assert (play.fewest, play.most) == (2, most)


class Choosy(Counted):
    """A play whose pool A shows stock and refuses every launch of spot, with an error of any kind."""

    error: CloudError = InsufficientCapacity("ResourcesSoldOut", "sold out")
    #: How many addresses the subnet of each zone has.
    addresses = 1000

    def _launch(self, action: Launch) -> LaunchReceipt | CloudError:
        pool = action.intent.pool
        there = sum(one.ended_at is None and one.launch.intent.pool.zone == pool.zone for one in self.machines.values())
        if there + action.intent.count > self.addresses:
            return NoRoom("ResourcesSoldOut.EipInsufficient", "no address left")
        is_refused = pool == A and not action.intent.on_demand and self.addresses == 1000
        return self.error if is_refused else super()._launch(action)


LARGE = Pool("ap-guangzhou-4", "S5.LARGE8")
SIZES = {A.instance_type: 2, LARGE.instance_type: 4}


def sized(now: datetime) -> Market:
    """A has two vCPU and LARGE has four; stock comes after twenty minutes."""
    has_stock = now >= NOW + seconds(1200)
    prices = {A: Decimal("0.1"), LARGE: Decimal("0.2"), B: Decimal("0.2")}
    return Market(
        {
            pool: Offering(pool, price, price * 10, SIZES.get(pool.instance_type, 2), 4, not has_stock)
            for pool, price in prices.items()
        },
        NOW,
        extras={pool.zone: Decimal(0) for pool in prices},
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InsufficientCapacity("ResourcesSoldOut", "sold out"), id="sold-out"),
        pytest.param(InvalidConfiguration("InvalidParameter", "not here"), id="for-a-person"),
    ],
)
@pytest.mark.parametrize(
    ("desired", "at_first"),
    [
        pytest.param(wanting(caps=Caps(in_total=Decimal("3.15"))), 3, id="money"),
        pytest.param(wanting(caps=Caps(in_total=Decimal("2.15"))), 2, id="money-and-one-is-missing"),
        pytest.param(wanting(pools=(A, LARGE), limits=Limits(vcpu=12)), 3, id="vcpu"),
        pytest.param(
            wanting(
                4,
                pools=(A, LARGE),
                limits=Limits(count=7),
                unit=CapacityUnit.VCPU,
                vcpu_of_type=SIZES,
                fallback=replace(STANDS_IN, count_max=4),
            ),
            2,
            id="number-of-vcpu",
        ),
    ],
)
def test_a_pool_that_refuses_and_alone_has_room_for_one_more_keeps_nothing_on_demand(
    desired: Desired, at_first: int, error: CloudError
) -> None:
    play = Choosy(desired, sized, room=lambda _, now: 1000 if now >= NOW + seconds(1200) else 0, starts_in=seconds(20))
    play.error = error
    play.run(seconds(1000))
    assert play.live(on_demand=True) == at_first
    play.run(seconds(3 * 3600))
    there = [one.launch.intent for one in play.machines.values() if one.ended_at is None]
    assert [one.on_demand for one in there] == [False] * len(there)
    assert sum(desired.units(one.pool) for one in there) >= desired.replicas


def test_where_the_subnet_has_no_address_for_one_more_one_goes_at_a_time() -> None:
    play = Choosy(
        wanting(pools=(A,)),
        lambda now: market_of({A: "0.1"}, [] if now >= NOW + seconds(1200) else [A]),
        room=lambda _, now: 1000 if now >= NOW + seconds(1200) else 0,
        starts_in=seconds(20),
    )
    play.addresses = 3
    play.run(seconds(1000))
    assert play.live(on_demand=True) == 3
    play.counts = True
    play.run(seconds(3 * 3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (0, 3)
    assert (play.fewest, play.most) == (2, 3)


def test_spot_that_refuses_costs_no_running_instance() -> None:
    """The market promises stock all the time, and sells none for a day."""
    play = Counted(wanting(), lambda _: MARKET, room=lambda *_: 0, starts_in=seconds(20))
    play.run(seconds(600))
    assert play.live(on_demand=True) == 3
    play.counts = True
    play.run(seconds(86_400))
    assert (play.live(on_demand=True), play.released, play.fewest) == (3, [], 3)


def test_what_was_launched_first_is_kept_when_the_market_closes_behind_it() -> None:
    def room(pool: Pool, now: datetime) -> int:
        return 1000 if now > NOW + seconds(1200) and len(play.launched) == 1 else 0

    play = Counted(
        wanting(2),
        lambda now: market_of({A: "0.1", B: "0.2"}, [] if room(A, now) else [A, B]),
        room=room,
        starts_in=seconds(120),
    )
    play.run(seconds(8 * 3600))
    spot = [one for one in play.machines.values() if not one.launch.intent.on_demand]
    assert [one.ended_at for one in spot] == [None] * len(spot)
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (1, 1)


def test_without_its_fallback_on_demand_gives_way_launch_first_too() -> None:
    play = after_a_drought(wanting())
    play.desired = replace(play.desired, fallback=None, generation=2)
    play.run(seconds(3600))
    assert (play.live(on_demand=True), play.live(on_demand=False), play.fewest) == (0, 3, 3)


def test_a_lowered_base_gives_way_launch_first() -> None:
    entries = [member("ins-9"), *stand_ins(2)]
    desired = wanting(fallback=None, on_demand=OnDemandShare(1))
    ledger = ledger_of(*entries)
    situation = situation_of(desired, ledger, all_running(ledger, MARKET))
    assert with_fallback_clocks(situation).returning_since == NOW
    plan = planned(desired, ledger, all_running(ledger, MARKET))
    assert asked(plan) == [(A, 1)]
    assert not [one for one in plan.ledger.members.values() if one.termination]


def test_it_is_told_and_the_environment_stays_ready() -> None:
    ledger = ledger_of(*stand_ins(), returning_since=ago(10))
    observed = all_running(ledger, MARKET)
    concluded = conclude(situation_of(wanting(), ledger, observed))
    assert concluded.ready
    assert "a spot instance is launched first" in concluded.message


@pytest.mark.parametrize("change", [{"paused": True}, {"replicas": 0, "deleting": True}, {"rollout": None}])
def test_it_ends_with_what_allowed_it(change: dict[str, Any]) -> None:
    ledger = ledger_of(*stand_ins(), returning_since=ago(10))
    situation = situation_of(replace(wanting(fallback=None), **change), ledger, all_running(ledger, MARKET))
    assert with_fallback_clocks(situation).returning_since is None


def test_a_replaced_base_is_on_demand_again() -> None:
    """Three, one of them always on demand: after a change of the template they are so again, launch first."""
    first = wanting(fallback=None, on_demand=OnDemandShare(1))
    play = Counted(first, lambda _: MARKET, starts_in=seconds(20))
    play.run(seconds(600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (1, 2)
    play.counts = True
    play.desired = replace(first, template=replace(first.template, image_id="img-2"), generation=2)
    play.run(seconds(3600))
    assert (play.live(on_demand=True), play.live(on_demand=False)) == (1, 2)
    assert (play.fewest, play.most) == (3, 4)
    assert len(play.ends()) == 3
