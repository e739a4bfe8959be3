"""The simulator judges others, so it is judged too: the same seed replays, and its books always agree."""

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cvmsim.instance import LIVE
from cvmsim.switches import TABLE

ABOUT_IDS = ("terminate", "reclaim", "stop", "retag")
ZONES = ("ap-guangzhou-3", "ap-guangzhou-4")
steps = st.one_of(
    st.tuples(st.just("buy"), st.integers(1, 6), st.sampled_from("ab"), st.sampled_from(ZONES)),
    st.tuples(st.just("replay"), st.integers(0, 5)),
    st.tuples(st.just("terminate"), st.integers(0, 30), st.integers(1, 3)),
    st.tuples(st.just("reclaim"), st.integers(0, 30), st.sampled_from([0, 120])),
    st.tuples(st.just("stop"), st.integers(0, 30)),
    st.tuples(st.just("price"), st.sampled_from(["0.0100", "0.0900", "0.1000"])),
    st.tuples(st.just("retag"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3, 60, 7300])),
)
choices = st.fixed_dictionaries(
    {},
    optional={
        switch.name.replace("-", "_"): st.sampled_from(switch.settings)
        for switch in TABLE
        if switch.name not in ("skew-clock", "sold-out-code", "price-currency")
    },
)


def act(cloud: Any, number: int, step: tuple[Any, ...]) -> Any:
    """One step of a history; returns what the customer was told."""
    ids = list(cloud.world.instances)
    some = ids[step[1] % len(ids) :][: step[2] if step[0] == "terminate" else 1] if ids and step[0] in ABOUT_IDS else []
    match step[0]:
        case "buy":
            return cloud("RunInstances", **{**cloud.ORDER, "Placement": {"Zone": step[3]}, "InstanceCount": step[1]},
                         ClientToken=f"t{number}", TagSpecification=cloud.tagged(("env", step[2])))  # fmt: skip
        case "replay":
            records = list(cloud.world.tokens)
            return records[step[1] % len(records)].instance_ids if records else None
        case "terminate":
            return cloud("TerminateInstances", InstanceIds=some) if some else None
        case "stop":
            return cloud("StopInstances", InstanceIds=some) if some else None
        case "reclaim":
            return cloud.world.reclaim([cloud.world.instances[one] for one in some], step[2])
        case "retag":
            return [cloud.world.retag(cloud.world.instances[one], {"env": "stolen"}) for one in some]
        case "price":
            return cloud.sells(stock=20, price=step[1])
        case _:
            return cloud.wait(step[1])


def check_books(cloud: Any) -> None:
    """Every counter equals what the instances themselves say."""
    world = cloud.world
    living = [one for one in world.instances.values() if one.state in LIVE]
    assert world.live.total() == len(living)
    assert +world.live_by_tag == Counter(tag for one in living for tag in one.order.tags.items())
    assert all(world.peak_by_tag[tag] >= count for tag, count in world.live_by_tag.items())
    for zone in ZONES:
        used = sum(one.order.type.cpu for one in living if one.order.zone == zone)
        assert world.used_vcpu(cloud.account, zone) == used <= world.spot_quota(cloud.account, zone)
    frozen = sum((world.hourly(one.order) for one in living), start=Decimal(0))
    spent = sum((world.cost(one) for one in world.instances.values() if one not in living), start=Decimal(0))
    assert world.available_balance(cloud.account) == world.balances[cloud.account] - frozen - spent
    taken = {one.private_ip for one in world.instances.values() if one.state != "GONE"}
    assert len(taken) == sum(one.state != "GONE" for one in world.instances.values())
    assert all(offering.stock >= 0 for offering in world.offerings.values())


def check_histories(cloud: Any) -> None:
    """Time and commits only grow, what is gone stays gone, and a token names its instances once."""
    for one in cloud.world.instances.values():
        moments = [(change.time, change.commit) for change in one.changes]
        assert moments == sorted(moments)
        states = [change.state for change in one.changes]
        assert states[0] == "PENDING"
        assert "GONE" not in states[:-1]
        assert not (LIVE & set(states[states.index("TERMINATING") :]) if "TERMINATING" in states else set())
    owners = [one for record in cloud.world.tokens for one in record.instance_ids]
    assert len(owners) == len(set(owners)) == len(cloud.world.instances)


@settings(max_examples=60, deadline=None)
@given(history=st.lists(steps, max_size=25), switches=choices)
def test_the_books_agree_after_every_step_under_every_switch(
    new_cloud: Any, history: list[tuple[Any, ...]], switches: dict[str, str]
) -> None:
    cloud = new_cloud(**switches)
    for number, step in enumerate(history):
        act(cloud, number, step)
        check_books(cloud)
    check_histories(cloud)


@settings(max_examples=20, deadline=None)
@given(history=st.lists(steps, min_size=5, max_size=25), seed=st.integers(0, 1000))
def test_the_same_seed_and_requests_give_the_same_ledger(
    new_cloud: Any, history: list[tuple[Any, ...]], seed: int
) -> None:
    runs = [new_cloud(seed, launch_failure_rate="0.1", order="shuffled") for _ in range(2)]
    for number, step in enumerate(history):
        first, second = (act(cloud, number, step) for cloud in runs)
        assert first == second
        assert runs[0]("DescribeInstances") == runs[1]("DescribeInstances")
    assert runs[0].simulator.ledger.export() == runs[1].simulator.ledger.export()


def test_another_seed_gives_other_ids(new_cloud: Any) -> None:
    assert new_cloud(1).buy(3) != new_cloud(2).buy(3)
