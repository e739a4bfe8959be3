"""What room an environment has for claims: on machines that live, and on those that could be bought."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from plan.given import A, B, desired_of, ledger_of, market_of, member, observed_of, released, situation_of
from spotcompute.model.claim import Amounts, CapacityWishes
from spotcompute.model.node import Node, Taint
from spotcompute.model.offering import Offering
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, INSTANCE_LABEL, NAMESPACE_LABEL, STARTUP_TAINT, TYPE_LABEL
from spotcompute.plan.situation import Situation
from spotcompute.plan.supply import nodes_of, supply_of

GIB = 1024**3 * 1000
ROOM: Amounts = {"cpu": 1800, "memory": 3 * GIB, "pods": 110_000}
WISHES = CapacityWishes(10, reserved={"cpu": 200, "memory": GIB})
LABELS = {NAMESPACE_LABEL: "jobs", ENVIRONMENT_LABEL: "farm", TYPE_LABEL: A.instance_type}


def node(instance_id: str, **more: object) -> Node:
    """A node that takes pods."""
    ready = Node(instance_id, f"uid-{instance_id}", "7", labels={**LABELS, INSTANCE_LABEL: instance_id}, is_ready=True)
    return replace(ready, **more)


def situation(*ids: str) -> Situation:
    market = market_of({A: "0.1", B: "0.2"})
    sizes = {pool: replace(one, vcpu=2, memory_gib=4) for pool, one in market.offerings.items()}
    ledger = ledger_of(*map(member, ids))
    desired = desired_of(len(ids), [A], capacity=WISHES)
    return situation_of(desired, ledger, observed_of(market=replace(market, offerings=sizes)))


def test_a_type_has_its_size_less_what_is_reserved() -> None:
    found = supply_of(situation(), (), {})
    assert found.types == {A.instance_type: ROOM}
    assert found.hosts == ()


def test_gpus_are_part_of_a_size() -> None:
    given = situation()
    offering = Offering(A, Decimal(1), Decimal(2), 8, 32, gpus=2)
    market = replace(given.market, offerings={A: offering})
    found = supply_of(replace(given, observed=replace(given.observed, market=market)), (), {})
    assert found.types is not None
    assert found.types[A.instance_type]["nvidia.com/gpu"] == 2000


def test_a_node_knows_better_than_the_market_what_it_has() -> None:
    said = {"n": {"cpu": 1500, "memory": 8 * GIB, "pods": 30_000, "example.org/fpga": 1000}}
    found = supply_of(situation("ins-1"), (node("ins-1", name="n"),), said)
    room = {"cpu": 1500, "memory": 3 * GIB, "pods": 30_000, "example.org/fpga": 1000}
    assert (found.hosts[0].room, found.hosts[0].is_ready) == (room, True)
    assert found.types == {A.instance_type: room}, "and the next machine of the type will be like it"


def test_a_device_that_a_node_does_not_show_yet_is_no_room_there_but_stays_in_the_type() -> None:
    given = situation("ins-1")
    market = replace(given.market, offerings={A: Offering(A, Decimal(1), Decimal(2), 2, 4, gpus=1)})
    said: dict[str, Amounts] = {"ins-1": {**ROOM, "nvidia.com/gpu": 0}}
    found = supply_of(replace(given, observed=replace(given.observed, market=market)), (node("ins-1"),), said)
    assert found.hosts[0].room["nvidia.com/gpu"] == 0
    assert found.types is not None
    assert found.types[A.instance_type]["nvidia.com/gpu"] == 1000


@pytest.mark.parametrize(
    ("joined", "hosts", "ready", "closed"),
    [
        pytest.param((), 1, 0, 0, id="not-joined"),
        pytest.param((node("ins-1"),), 1, 1, 0, id="ready"),
        pytest.param((node("ins-1", is_ready=False),), 1, 0, 0, id="not-ready"),
        pytest.param((node("ins-1", taints=(Taint(STARTUP_TAINT, "NoSchedule"),)),), 1, 0, 0, id="not-bound-yet"),
        pytest.param((node("ins-1", is_unschedulable=True),), 0, 0, 1, id="cordoned-by-a-person"),
        pytest.param((node("ins-1", is_unschedulable=True, notice="soon"),), 0, 0, 0, id="under-notice"),
    ],
)
def test_a_machine_is_room_as_long_as_it_can_take_pods(
    joined: tuple[Node, ...], hosts: int, ready: int, closed: int
) -> None:
    found = supply_of(situation("ins-1"), joined, {})
    assert (len(found.hosts), sum(one.is_ready for one in found.hosts), found.closed) == (hosts, ready, closed)


def test_a_machine_that_leaves_is_no_room() -> None:
    given = situation("ins-1")
    ledger = given.ledger.with_member(member("ins-1", termination=released()))
    assert supply_of(given.with_ledger(ledger), (node("ins-1"),), {}).hosts == ()


def test_a_type_that_is_bought_no_more_is_room_where_it_lives_and_nowhere_else() -> None:
    given = situation("ins-1")
    found = supply_of(replace(given, desired=desired_of(1, [B], capacity=WISHES)), (), {})
    assert [host.room for host in found.hosts] == [ROOM]
    assert found.types is not None
    assert A.instance_type not in found.types or A.instance_type == B.instance_type


def test_only_nodes_that_are_bound_to_the_environment_are_its_own() -> None:
    mine, strange = node("ins-1"), node("ins-2", labels={ENVIRONMENT_LABEL: "farm"})
    assert nodes_of("jobs", "farm", [mine, strange]) == (mine,)
    assert nodes_of("other", "farm", [mine, strange]) == ()
