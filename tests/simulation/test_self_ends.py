"""Instances that end by themselves are replaced ever more slowly, and the object says so.

Hours of virtual time at the simulated cloud, with the policy of an installation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cvmsim.world import LaunchOutcome
from simulation.scenarios import NAME, OTHER, Stage
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT, IMAGES
from spotcompute.plan.policy import Policy

HOUR = 3600.0


def installed(title: str, *names: str) -> Stage:
    """A world with the policy of an installation."""
    stage = Stage(title, {}, names or [NAME], {})
    stage.world.policy = Policy()
    return stage


async def power_off(stage: Stage, seconds: float, life: float, *, name: str = NAME) -> set[str]:
    """Let `seconds` pass, in which each instance of `name` stops when it has run for `life`. Returns what was said."""
    cloud, loop = stage.world.cloud.simulator.world, asyncio.get_running_loop()
    since: dict[str, float] = {}
    until, said = loop.time() + seconds, set[str]()
    while loop.time() < until:
        await asyncio.sleep(5)
        stage.world.cloud.advance()
        for instance in stage.living():
            if not instance.name.startswith(name) or instance.state != "RUNNING":
                continue
            if loop.time() - since.setdefault(instance.id, loop.time()) >= life:
                cloud.stop(instance, "it powered itself off", None)
        said.add(str(stage.world.api.objects["default", name]["status"].get("reason")))
    return said


def bought(stage: Stage, name: str = NAME) -> int:
    """How many instances were ever bought for `name`."""
    return sum(one.name.startswith(name) for one in stage.world.cloud.simulator.world.instances.values())


def until_ready(stage: Stage, name: str = NAME) -> Callable[[], bool]:
    return lambda: stage.world.api.objects["default", name]["status"].get("reason") == "AllReplicasReady"


def test_instances_that_power_themselves_off_are_bought_at_most_three_times_an_hour_in_each_place() -> None:
    async def play() -> None:
        stage = installed("power-off")
        stage.create(2, zones=2, types=2)
        stage.start()
        assert "InstancesStopping" in await power_off(stage, 2 * HOUR, 60)
        assert 8 <= bought(stage) <= 20
        message = stage.world.api.objects["default", NAME]["status"]["conditions"][0]["message"]
        assert "stop by themselves" in message
        assert any(event.reason == "InstancesStopping" and event.type == "Warning" for event in stage.world.api.events)
        before = bought(stage)
        stage.change("template", {"imageId": IMAGES[1]})
        await stage.until(lambda: bought(stage) >= before + 1 and until_ready(stage)())

    run_virtual(play())


def test_an_instance_that_has_lived_is_replaced_at_once() -> None:
    async def play() -> None:
        stage = installed("power-off-late")
        stage.create(2)
        stage.start()
        assert "InstancesStopping" not in await power_off(stage, 2 * HOUR, 700)
        assert bought(stage) >= 18

    run_virtual(play())


def test_images_that_never_boot_are_not_bought_for_ever() -> None:
    async def play() -> None:
        stage = installed("boot-fails")
        stage.world.cloud.simulator.world.launch_outcomes.append(LaunchOutcome("fail", 1000, ACCOUNT))
        stage.create(2, zones=2, types=2)
        stage.start()
        await asyncio.sleep(HOUR)
        status = stage.world.api.objects["default", NAME]["status"]
        assert status["reason"] == "InstancesStopping"
        await asyncio.sleep(HOUR)
        assert bought(stage) <= 20

    run_virtual(play())


@pytest.mark.parametrize("is_reclaimed", [True, False], ids=["a-reclaim", "growth"])
def test_who_did_not_end_by_himself_does_not_wait(is_reclaimed: bool) -> None:
    async def play() -> None:
        stage = installed(f"beside-the-brake-{is_reclaimed}", NAME, OTHER)
        stage.create(1)
        stage.create(3, name=OTHER)
        stage.start()
        await asyncio.sleep(30)
        await power_off(stage, 300, 60)
        before = bought(stage, OTHER)
        if is_reclaimed:
            (lost, *_) = [one for one in stage.living() if one.name.startswith(OTHER)]
            stage.world.cloud.simulator.world.reclaim([lost], 0)
        else:
            stage.scale(4, OTHER)
        await stage.until(lambda: bought(stage, OTHER) == before + 1)

    run_virtual(play())
