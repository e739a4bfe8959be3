"""The operator in virtual time: every fault point of the scenarios, and some hundred random histories.

`make prove` plays many more of both, and prints its figures.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from simulation.history import History, run
from simulation.scenarios import SCENARIOS, play, single_points
from simulation.virtual import run_virtual
from simulation.world import NAMES_OF_ENVIRONMENTS, World

#: Seeds that once failed: kept for ever. See docs/reliability.md for what each of them found.
REGRESSIONS = json.loads((Path(__file__).parent / "regressions.json").read_text())

HISTORIES = 240
CHUNK = 20


def test_the_same_seed_gives_the_same_history() -> None:
    one, two = run(7, quiet_seconds=60), run(7, quiet_seconds=60)
    assert one.digest == two.digest
    assert one.log == two.log
    assert run(8, quiet_seconds=60).digest != one.digest


def test_the_judge_sees_one_instance_too_many() -> None:
    async def buy_twice() -> tuple[str, ...]:
        history = History(3)
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


def test_the_judge_sees_a_foreign_kill() -> None:
    async def kill_a_stranger() -> tuple[str, ...]:
        world = World("stranger", NAMES_OF_ENVIRONMENTS[:1], {})
        parameters = {
            "Placement": {"Zone": "ap-guangzhou-3"},
            "ImageId": "img-pmqg1cw7",
            "InstanceType": "S2.MEDIUM4",
            "InstanceChargeType": "SPOTPAID",
            "InstanceName": "somebody-elses",
        }
        answer = world.cloud.carry_out("100000000001", "RunInstances", parameters, "nobody", False)
        ids = {"InstanceIds": answer["InstanceIdSet"]}
        world.cloud.carry_out("100000000001", "TerminateInstances", ids, "default/env0", False)
        return world.outcome("stranger").violations

    assert any("O3 foreign kill" in violation for violation in run_virtual(kill_a_stranger()))


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_single_fault_in(name: str) -> None:
    failures = []
    for cells in single_points(name):
        outcome, _ = play(name, cells)
        if outcome.violations:
            failures.append(f"{outcome.name}: {outcome.violations[0]}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_histories_from(first: int) -> None:
    failures = {seed: run(seed, 600).violations for seed in range(first, first + CHUNK)}
    assert not {seed: violations for seed, violations in failures.items() if violations}


def test_histories_that_once_failed() -> None:
    assert {seed: run(seed, 600).violations for seed in REGRESSIONS} == dict.fromkeys(REGRESSIONS, ())


def test_a_day_without_news_writes_nothing() -> None:
    outcome = run(11, quiet_seconds=24 * 3600.0)
    assert outcome.violations == ()
