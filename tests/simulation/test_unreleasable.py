"""What the cloud does not let go is told, costs few requests, and goes as soon as the cloud lets it.

Hours of virtual time at the simulated cloud.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from cvmsim.world import LaunchOutcome
from simulation.scenarios import NAME, OTHER, Stage
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT

HOUR = 3600.0


def counted(stage: Stage) -> Counter[str]:
    """Counts the requests from now on, by action."""
    simulator = stage.world.cloud.simulator
    answer, calls = simulator.handle, Counter[str]()

    def handle(account: str, action: str, parameters: dict[str, Any], now: float) -> Any:
        calls[action] += 1
        return answer(account, action, parameters, now)

    simulator.handle = handle
    return calls


def protect(stage: Stage, count: int, is_protected: bool = True) -> None:
    """A person protects so many instances, or lifts the protection."""
    stage.world.cloud.advance()
    for instance in stage.living()[:count]:
        instance.is_protected = is_protected


def said(stage: Stage, name: str = NAME) -> tuple[str, str]:
    """The reason of the object, and its sentence."""
    status = stage.world.api.objects["default", name]["status"]
    return status["reason"], next(one["message"] for one in status["conditions"] if one["type"] == "Ready")


def living(stage: Stage) -> list[str]:
    """The states of what lives, by the cloud's own books."""
    stage.world.cloud.advance()
    return sorted(instance.state for instance in stage.world.cloud.living())


@pytest.mark.parametrize(
    ("count", "protected", "is_listed"),
    [
        pytest.param(60, 1, True, id="one-of-sixty"),
        pytest.param(60, 60, True, id="all"),
        pytest.param(60, 30, True, id="half"),
        pytest.param(60, 1, False, id="one-that-no-list-has-shown-yet"),
        pytest.param(60, 30, False, id="half-that-no-list-has-shown-yet"),
    ],
)
def test_protected_instances_cost_few_requests_and_go_when_protection_is_lifted(
    count: int, protected: int, is_listed: bool
) -> None:
    async def play() -> None:
        stage = Stage(f"protected-{protected}-of-{count}-{is_listed}", {}, [NAME], {})
        stage.create(count)
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        protect(stage, protected)
        await asyncio.sleep(30 if is_listed else 0)
        calls, writes = counted(stage), stage.world.api.writes
        stage.delete()
        await asyncio.sleep(HOUR)
        assert len(living(stage)) == protected
        assert calls["TerminateInstances"] <= (2 if is_listed else 2 + 2 * protected), calls
        assert stage.world.api.writes - writes <= 60
        reason, message = said(stage)
        assert reason == "InstancesProtected"
        assert "DisableApiTermination" in message
        protect(stage, protected, is_protected=False)
        await asyncio.sleep(60)
        assert living(stage) == []

    run_virtual(play())


def test_hundreds_of_protected_instances_keep_no_worker_for_long() -> None:
    async def play() -> None:
        stage = Stage("protected-slow", {}, [NAME, OTHER], {})
        for offering in stage.world.cloud.simulator.world.offerings.values():
            offering.set_stock(2000, stage.world.cloud.simulator.world.now)
        stage.create(400)
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        protect(stage, 400)
        stage.world.cloud_trouble.latency = 0.5  # each way, at most
        stage.delete()
        longest = 0.0
        for second in range(600):
            await asyncio.sleep(1)
            longest = max(longest, stage.world.replicas[0].queue.longest_run_seconds())
            if second == 60:
                stage.create(1, name=OTHER)
        assert longest <= 5.0
        assert said(stage, OTHER)[0] == "AllReplicasReady"

    run_virtual(play())


def test_another_instance_goes_in_place_of_a_protected_one() -> None:
    async def play() -> None:
        stage = Stage("protected-victim", {}, [NAME], {})
        stage.create(3)
        stage.start()
        await stage.ready()
        stage.scale(1)
        victims = {instance.id for instance in stage.living()}
        protect(stage, 3)  # after the decision at the earliest, and no list shows it
        await asyncio.sleep(60)
        assert len(living(stage)) == 3
        assert said(stage)[0] == "InstancesProtected"
        stage.living()[0].is_protected = stage.living()[2].is_protected = False
        kept = stage.living()[1].id
        await asyncio.sleep(60)
        assert [instance.id for instance in stage.living()] == [kept]
        assert victims > {kept}
        assert said(stage)[0] == "AllReplicasReady"

    run_virtual(play())


def test_protected_instances_that_are_wanted_again_stay() -> None:
    async def play() -> None:
        stage = Stage("protected-wanted-again", {}, [NAME], {})
        stage.create(3)
        stage.start()
        await stage.ready()
        protect(stage, 3)
        await asyncio.sleep(30)
        calls = counted(stage)
        stage.scale(0)
        await asyncio.sleep(60)
        stage.scale(3)
        await asyncio.sleep(60)
        assert said(stage)[0] == "AllReplicasReady"
        assert (calls["TerminateInstances"], calls["RunInstances"]) == (0, 0)

    run_virtual(play())


def stuck(stage: Stage, **switches: str) -> None:
    """Let the next instance that is launched never leave PENDING."""
    stage.world.cloud.simulator.world.launch_outcomes.append(LaunchOutcome("stuck", 1, ACCOUNT))


def test_an_instance_stuck_in_pending_is_told_and_goes_when_the_cloud_lets_it() -> None:
    async def play() -> None:
        stage = Stage("stuck-pending", {}, [NAME], {})
        stuck(stage)
        stage.create(2)
        stage.start()
        calls = counted(stage)
        await asyncio.sleep(HOUR)
        assert living(stage) == ["PENDING", "RUNNING"]
        reason, message = said(stage)
        assert reason == "InstancesStuck"
        assert "UnsupportedOperation.InstanceStatePending" in message
        assert "support" in message
        assert any(event.reason == "ReleaseRefused" for event in stage.world.api.events)
        assert 3 <= calls["TerminateInstances"] <= 10
        stage.world.cloud.simulator.world.switches.set("terminate-pending", "accepted")
        await asyncio.sleep(700)
        assert living(stage) == ["RUNNING", "RUNNING"]
        assert said(stage)[0] == "AllReplicasReady"
        assert not stage.world.cloud.violations

    run_virtual(play())


def test_an_instance_that_leaves_pending_after_an_hour_goes_and_is_replaced() -> None:
    async def play() -> None:
        stage = Stage("late-pending", {}, [NAME], {})
        stuck(stage)
        stage.create(2)
        stage.start()
        await asyncio.sleep(HOUR)
        world = stage.world.cloud.simulator.world
        (late,) = [instance for instance in stage.living() if instance.state == "PENDING"]
        world._enter(late, "RUNNING", "launched at last")
        await asyncio.sleep(60)
        assert living(stage) == ["RUNNING", "RUNNING"]
        assert late.id not in {instance.id for instance in stage.living()}
        assert not stage.world.cloud.violations

    run_virtual(play())


def test_an_instance_that_stops_for_ever_is_told_and_deletion_says_what_it_waits_for() -> None:
    async def play() -> None:
        stage = Stage("stopping-for-ever", {}, [NAME], {"stop-seconds": "forever"})
        stage.create(2)
        stage.start()
        await stage.ready()
        world = stage.world.cloud.simulator.world
        world.stop(stage.living()[0], "by hand", None)
        await asyncio.sleep(HOUR)
        reason, message = said(stage)
        assert reason == "InstancesStuck"
        assert "UnsupportedOperation.InstanceStateStopping" in message
        stage.delete()
        calls = counted(stage)
        await asyncio.sleep(HOUR)
        reason, message = said(stage)
        assert reason == "InstancesStuck"
        assert "waiting for 1 instance until" in message
        assert 3 <= calls["TerminateInstances"] <= 10
        world._enter(stage.living()[0], "STOPPED", "at last")
        await asyncio.sleep(60)
        assert living(stage) == []

    run_virtual(play())
