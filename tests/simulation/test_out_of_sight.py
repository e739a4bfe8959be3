"""While the cloud cannot be seen, objects say so, and no number that nobody knows. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from simulation.scenarios import NAME, OTHER, Stage
from simulation.virtual import run_virtual
from spotcompute.api.times import from_text
from spotcompute.cloud.sight import GRACE_SECONDS

#: Numbers that only a look at the cloud can tell.
LOOKED_UP = ("readyReplicas", "updatedReplicas", "zones", "pools")


def cut_off(stage: Stage) -> None:
    stage.world.cloud_trouble.outage_until = 10_000.0


def revoke(stage: Stage) -> None:
    stage.world.cloud_trouble.revoked = True


def heal(stage: Stage) -> None:
    stage.world.cloud_trouble.outage_until, stage.world.cloud_trouble.revoked = 0.0, False


def status_of(stage: Stage, name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = stage.world.api.objects["default", name]["status"]
    return found


def condition(stage: Stage, kind: str, name: str = NAME) -> tuple[str, str]:
    found = {one["type"]: (one["status"], one["reason"]) for one in status_of(stage, name)["conditions"]}
    return found[kind]


async def filled(title: str) -> Stage:
    stage = Stage(title, {}, (NAME, OTHER), {})
    for name in (NAME, OTHER):
        stage.create(2, name=name)
    stage.start()
    await stage.ready()
    await asyncio.sleep(60)
    return stage


def live_for(stage: Stage) -> float:
    """For how many seconds a view counts as live; the pause between two sweeps and what one takes, twice, and more."""
    return 2 * (stage.world.pace.sweep.total_seconds() + 1) + GRACE_SECONDS


async def seconds_until(holds: Callable[[], bool], most: float = 600.0) -> float:
    began = asyncio.get_running_loop().time()
    while not holds():
        await asyncio.sleep(0.25)
        assert asyncio.get_running_loop().time() - began < most
    return asyncio.get_running_loop().time() - began


def is_told(stage: Stage) -> bool:
    return all(is_told_of(stage, name) for name in (NAME, OTHER))


def is_told_of(stage: Stage, name: str) -> bool:
    return condition(stage, "Ready", name)[0] != "True"


def is_well(stage: Stage) -> bool:
    return all(condition(stage, "Ready", name) == ("True", "AllReplicasReady") for name in (NAME, OTHER))


@pytest.mark.parametrize(
    ("trouble", "within", "ready", "reason", "phase"),
    [
        pytest.param(cut_off, live_for, "Unknown", "CloudUnreachable", "Waiting", id="no-line"),
        pytest.param(
            revoke,
            lambda stage: stage.world.pace.sweep.total_seconds() + 2.5,
            "False",
            "InvalidCredentials",
            "Stalled",
            id="a-revoked-key",
        ),
    ],
)
def test_every_environment_says_that_nobody_sees_its_instances_and_since_when(
    trouble: Callable[[Stage], None], within: Callable[[Stage], float], ready: str, reason: str, phase: str
) -> None:
    async def play() -> None:
        stage = await filled(f"out-of-sight-{trouble.__name__}")
        trouble(stage)
        cut_at = stage.world.clock()
        assert await seconds_until(lambda: is_told(stage)) <= within(stage)
        for name in (NAME, OTHER):
            status = status_of(stage, name)
            assert (status["phase"], status["reason"]) == (phase, reason)
            assert condition(stage, "Ready", name) == (ready, reason)
            assert not status.keys() & set(LOOKED_UP)
            assert "perHour" not in status["cost"]
            assert {(one["state"], one["ready"]) for one in status["instances"]} == {("UNSEEN", False)}
            assert status["replicas"] == 2
            assert abs((from_text(status["observedTime"]) - cut_at).total_seconds()) <= within(stage)
            assert status["observedTime"] in status["conditions"][0]["message"]
        heal(stage)
        await seconds_until(lambda: is_well(stage), 61)
        assert {status_of(stage, name)["readyReplicas"] for name in (NAME, OTHER)} == {2}
        assert not stage.world.cloud.violations

    run_virtual(play())


def test_both_are_told_of_the_cloud_that_is_back_in_the_same_second() -> None:
    async def play() -> None:
        stage = await filled("back-in-sight")
        cut_off(stage)
        await asyncio.sleep(300)
        heal(stage)
        await seconds_until(lambda: not is_told(stage), 61)
        await asyncio.sleep(1)
        assert is_well(stage)

    run_virtual(play())


def test_a_blip_changes_nothing_and_nothing_is_written_while_all_is_well() -> None:
    async def play() -> None:
        stage = await filled("blip")
        before = {name: stage.world.api.objects["default", name] for name in (NAME, OTHER)}
        for _ in range(20):
            cut_off(stage)
            await asyncio.sleep(live_for(stage) / 3)
            heal(stage)
            await asyncio.sleep(90)
        after = {name: stage.world.api.objects["default", name] for name in (NAME, OTHER)}
        assert after == before

    run_virtual(play())


@pytest.mark.parametrize("trouble", [cut_off, revoke])
def test_two_processes_that_see_nothing_agree_on_who_saw_it_last(trouble: Callable[[Stage], None]) -> None:
    """Without a Lease both write. Each has its own last look, and each write wakes the other."""

    async def play() -> None:
        stage = Stage(f"two-blind-{trouble.__name__}", {}, (NAME,), {})
        stage.create(2)
        stage.world.start_replicas(2)
        await stage.ready()
        stage.world.crash(1, 6.5)  # so that they do not look at the same moments
        await asyncio.sleep(67)
        before = stage.world.api.writes
        trouble(stage)
        await asyncio.sleep(300)
        assert is_told_of(stage, NAME)
        assert stage.world.api.writes - before <= 6

    run_virtual(play())


def test_an_outage_is_written_twice_and_its_end_once() -> None:
    async def play() -> None:
        stage = await filled("long-outage")
        written: list[dict[str, Any]] = []
        stage.world.api.watchers.append(lambda _, obj: written.append(obj))
        cut_off(stage)
        await asyncio.sleep(3600)
        heal(stage)
        await asyncio.sleep(300)
        for name in (NAME, OTHER):
            of_this = [obj["status"] for obj in written if obj["metadata"]["name"] == name]
            assert [(one["conditions"][0]["status"], one["reason"]) for one in of_this] == [
                ("Unknown", "CloudUnreachable"),
                ("False", "CloudUnreachable"),
                ("True", "AllReplicasReady"),
            ]

    run_virtual(play())


def test_an_operator_that_starts_while_the_cloud_is_down_believes_no_old_number() -> None:
    async def play() -> None:
        stage = await filled("starts-blind")
        cut_off(stage)
        stage.world.cloud.simulator.world.reclaim(stage.living(), 0.0)
        stage.world.crash(0, 1.0)
        assert await seconds_until(lambda: is_told(stage)) <= live_for(stage)
        assert not status_of(stage).keys() & set(LOOKED_UP)
        heal(stage)
        await stage.ready()
        assert is_well(stage)

    run_virtual(play())


def test_an_object_that_is_deleted_while_nobody_sees_its_instances_says_so_and_goes_later() -> None:
    async def play() -> None:
        stage = await filled("deleted-blind")
        cut_off(stage)
        await asyncio.sleep(120)
        stage.delete()
        await asyncio.sleep(60)
        assert status_of(stage)["phase"] == "Deleting"
        assert condition(stage, "Ready") == ("False", "CloudUnreachable")
        heal(stage)
        await seconds_until(lambda: ("default", NAME) not in stage.world.api.objects)
        assert not stage.world.cloud.violations

    run_virtual(play())
