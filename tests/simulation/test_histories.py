"""Random histories of the operator in virtual time. `make prove` plays others.

The judge is tested first: it must see what it is there for.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation.cloudworld import ENVIRONMENT_TAG
from simulation.history import DAY, History, run
from simulation.plays import ABROAD_EACH
from simulation.records import UNNOTICED_SECONDS, Records
from simulation.virtual import run_virtual
from simulation.world import NAMES_OF_ENVIRONMENTS, World
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER
from spotcompute.reconcile.orphan_sweep import CALLER

HISTORIES = 25
CHUNK = 25
HOUR = 3600.0


def test_the_same_seed_gives_the_same_history() -> None:
    one, two = run(0, HOUR), run(0, HOUR)
    assert one.digest == two.digest
    assert one.log == two.log
    assert run(3, HOUR).digest != one.digest


def test_tasks_end_in_an_order_that_does_not_come_from_where_they_lie_in_memory() -> None:
    """asyncio keeps them in sets: of two workers of a killed process now one was told of first, now the other."""
    lying_about: list[asyncio.Task[None]] = []  # so that those of the next run lie elsewhere

    async def end_together() -> list[str]:
        order: list[str] = []

        async def work(name: str) -> None:
            try:
                await asyncio.sleep(1)
            finally:
                order.append(name)

        async def process() -> None:
            async with asyncio.TaskGroup() as group:
                lying_about.extend(group.create_task(work(str(number))) for number in range(50))

        running = asyncio.create_task(process())
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.sleep(0.1)
        return order

    orders = [run_virtual(end_together()) for _ in range(3)]
    assert len(orders[0]) == 50
    assert orders[1:] == orders[:1] * 2


def test_the_judge_sees_one_instance_too_many() -> None:
    async def buy_twice() -> tuple[str, ...]:
        history = History(3, with_market=False)
        world = history.world
        history.swarm = {"scale"}
        world.names = ["env0"]
        history._create("env0")
        world.want("env0", 1)
        world.api.change_spec("default", "env0", lambda spec: spec.update(replicas=1))
        world.start_replicas(1)
        await asyncio.sleep(300)
        row = next(row for row in world.cloud.simulator.ledger.requests() if row.action == "RunInstances")
        again = {**row.params, "ClientToken": "another-token"}
        for _ in range(7):
            again["ClientToken"] += "x"
            world.cloud.carry_out("100000000001", "RunInstances", again, "default/env0", False)
        return world.outcome("twice").violations

    assert any("O2 over" in violation for violation in run_virtual(buy_twice()))


def launch(world: World, **parameters: Any) -> list[str]:
    """Put one spot instance into the cloud, as nobody of the operator would; return its id."""
    base = {
        "Placement": {"Zone": "ap-guangzhou-3"},
        "ImageId": "img-pmqg1cw7",
        "InstanceType": "S2.MEDIUM4",
        "InstanceChargeType": "SPOTPAID",
    }
    answer = world.cloud.carry_out("100000000001", "RunInstances", {**base, **parameters}, "nobody", False)
    ids: list[str] = answer["InstanceIdSet"]
    return ids


def tagged(identity: str) -> list[dict[str, Any]]:
    """The tag of an environment, as RunInstances takes it."""
    return [{"ResourceType": "instance", "Tags": [{"Key": ENVIRONMENT_TAG, "Value": identity}]}]


def test_the_judge_sees_a_foreign_kill() -> None:
    async def kill_a_stranger() -> tuple[str, ...]:
        world = World("stranger", NAMES_OF_ENVIRONMENTS[:1], {})
        ids = {"InstanceIds": launch(world, InstanceName="somebody-elses")}
        world.cloud.carry_out("100000000001", "TerminateInstances", ids, "default/env0", False)
        return world.outcome("stranger").violations

    assert any("O3 foreign kill" in violation for violation in run_virtual(kill_a_stranger()))


@pytest.mark.parametrize(
    ("is_known", "seconds_since_the_claim", "is_wrong"),
    [
        pytest.param(True, 0.1, True, id="who-has-seen-it-knows"),
        pytest.param(False, 0.1, False, id="another-process-cannot-know-yet"),
        pytest.param(False, 0.5, True, id="but-must-soon"),
    ],
)
def test_the_judge_sees_an_end_of_what_has_an_owner(
    is_known: bool, seconds_since_the_claim: float, is_wrong: bool
) -> None:
    async def end_it() -> tuple[str, ...]:
        world = World("owned", NAMES_OF_ENVIRONMENTS[:1], {})
        identity = "0123456789-abcdef"
        ids = launch(world, TagSpecification=tagged(identity))
        world.api.add_identity(world.api.create("default", "env0", {}), identity)
        await asyncio.sleep(seconds_since_the_claim)
        world.cloud.judge_sending(ids, CALLER, lambda identity: is_known)
        return world.outcome("owned").violations

    assert any("O3 wrong orphan" in violation for violation in run_virtual(end_it())) == is_wrong


def test_the_judge_sees_an_early_release() -> None:
    async def let_go() -> tuple[str, ...]:
        world = World("let-go", NAMES_OF_ENVIRONMENTS[:1], {})
        launch(world, TagSpecification=tagged("0123456789-abcdef"))
        marks = {"finalizers": [FINALIZER], "annotations": {ENVIRONMENT_ID: "0123456789-abcdef"}}
        obj = world.api.create("default", "env0", {}, **marks)
        world.api.remove_finalizer(obj)
        return world.outcome("let-go").violations

    assert any("O1 leak" in violation for violation in run_virtual(let_go()))


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        pytest.param([], "numbered", id="all-gone"),
        pytest.param([("act-3", "Succeeded")], "act-2 was promised and is lost", id="one-gone"),
        pytest.param([("act-4", "Succeeded"), ("act-2", "Succeeded")], "numbered", id="a-gap"),
        pytest.param([("act-2", "Failed"), ("act-1", "Succeeded")], "act-2 was rewritten", id="another-end"),
    ],
)
def test_the_judge_sees_a_lost_record(after: list[tuple[str, str]], complaint: str) -> None:
    def holding(lines: list[tuple[str, str]]) -> dict[str, Any]:
        activities = [{"id": number, "type": "Launch", "state": state} for number, state in lines]
        return {"metadata": {"name": "env0"}, "status": {"activities": activities}}

    complaints: list[str] = []
    Records(complaints.append).judge(holding([("act-2", "Succeeded"), ("act-1", "Succeeded")]), holding(after))
    assert any(complaint in text for text in complaints)


@pytest.mark.parametrize(
    ("seconds", "is_missed"),
    [
        pytest.param(UNNOTICED_SECONDS + 1, True, id="half-an-hour-and-nobody-tells"),
        pytest.param(UNNOTICED_SECONDS - 1, False, id="a-shorter-life-and-hours-in-the-recycle-bin"),
    ],
)
def test_the_judge_misses_who_has_lived(seconds: float, is_missed: bool) -> None:
    async def live_untold() -> tuple[str, ...]:
        world = World("untold", NAMES_OF_ENVIRONMENTS[:1], {"recycle-bin": "yes"})
        ids = launch(world, TagSpecification=tagged("0123456789-abcdef"))
        await asyncio.sleep(seconds)
        world.cloud.advance()
        machines = world.cloud.simulator.world
        machines.terminate(machines.instances[ids[0]], "console", None)
        await asyncio.sleep(machines.switches.number("recycle-bin-seconds") + 60)
        world.cloud.advance()
        world.records.judge_the_end(machines.instances.values(), set())
        return world.outcome("untold").violations

    assert any("O6" in violation for violation in run_virtual(live_untold())) == is_missed


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_histories_from(first: int) -> None:
    """One in five on the vendor's international site."""
    seeds = range(first, first + CHUNK)
    failures = {seed: run(seed, HOUR, is_abroad=seed % ABROAD_EACH == 0).violations for seed in seeds}
    assert not {seed: violations for seed, violations in failures.items() if violations}


@pytest.mark.parametrize("seconds", [4 * HOUR, pytest.param(DAY, marks=pytest.mark.rare)], ids=["hours", "a-day"])
def test_without_news_nothing_is_written(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.world.UNCALMED", 1)
    assert run(11, quiet_seconds=seconds).violations == ()
