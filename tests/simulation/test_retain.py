"""An environment with deletionPolicy Retain goes, its instances stay, and nothing of ours ever ends them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation.cloudworld import CLUSTER_TAG, ENVIRONMENT_TAG, RETAINED_TAG
from simulation.faultpoint import Cell, Kind, Phase
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from simulation.world import ORPHAN_SECONDS

#: What the promise says.
SWEEPS = 100


def requests(stage: Stage, action: str) -> int:
    return sum(one.action == action for one in stage.world.cloud.simulator.ledger.requests())


def is_gone(stage: Stage) -> bool:
    return ("default", NAME) not in stage.world.api.objects


async def left_alone(stage: Stage, count: int, asked_before: int = 0) -> None:
    """What was left lives, belongs to nobody, and is left alone for a hundred orphan sweeps."""
    await asyncio.sleep(SWEEPS * ORPHAN_SECONDS + 60)
    stage.world.cloud.advance()
    living = stage.living()
    assert len(living) == count == len(stage.world.cloud.left)
    for instance in living:
        assert instance.state == "RUNNING"
        assert {CLUSTER_TAG, ENVIRONMENT_TAG} & instance.tags.keys() == set()
        assert instance.tags[RETAINED_TAG] == f"default@{NAME}"
    assert requests(stage, "TerminateInstances") == asked_before
    assert stage.world.cloud.violations == []


@pytest.mark.parametrize("lag", ["0", "150"])
def test_a_hundred_orphan_sweeps_leave_alone_what_an_environment_has_left(lag: str) -> None:
    async def play() -> None:
        stage = Stage(f"retain-{lag}", {}, [NAME], {"list-lag": lag})
        stage.create(4, deletionPolicy="Retain")
        stage.start()
        await stage.ready()
        await asyncio.sleep(200)
        stage.delete()
        await stage.until(lambda: is_gone(stage))
        assert requests(stage, "ModifyResourceTags") == 4
        await left_alone(stage, 4)

    run_virtual(play())


LOST: Cell = (Phase.NO_REPLY, Kind.TIMEOUT)


def test_what_a_launch_in_doubt_has_brought_is_found_and_left_too() -> None:
    async def play() -> None:
        stage = Stage("retain-doubt", {}, [NAME], {})
        stage.world.fault.loops, stage.world.fault.loops_left = {"cloud RunInstances": LOST}, 9
        stage.create(3, deletionPolicy="Retain")
        stage.start()
        await stage.until(lambda: len(stage.living()) == 3)
        stage.delete()
        for _ in range(4):
            if not is_gone(stage):
                await asyncio.sleep(300)
        assert is_gone(stage)
        await left_alone(stage, 3)

    run_virtual(play())


def test_a_spec_that_makes_no_sense_any_more_still_keeps_what_runs() -> None:
    async def play() -> None:
        stage = Stage("retain-invalid", {}, [NAME], {})
        stage.create(2, deletionPolicy="Retain")
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        stage.change("template", "of an older schema")
        stage.delete()
        await stage.until(lambda: is_gone(stage))
        await left_alone(stage, 2)

    run_virtual(play())


def test_a_release_that_was_still_to_come_is_not_asked_for() -> None:
    async def play() -> None:
        stage = Stage("retain-scaled-down", {}, [NAME], {})
        stage.create(3, deletionPolicy="Retain")
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        for instance in stage.living():
            instance.is_protected = True
        stage.scale(0)
        await asyncio.sleep(60)
        assert "protected" in str(conditions(stage))
        asked_before = requests(stage, "TerminateInstances")
        stage.delete()
        await stage.until(lambda: is_gone(stage))
        for instance in stage.living():
            instance.is_protected = False
        await left_alone(stage, 3, asked_before)

    run_virtual(play())


def conditions(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stage.world.api.objects["default", NAME]["status"]["conditions"]
    return found


def test_a_key_that_may_not_change_tags_is_told_and_the_object_waits() -> None:
    async def play() -> None:
        stage = Stage("retain-refused", {}, [NAME], {})
        stage.create(2, deletionPolicy="Retain")
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        cloud, handle = stage.world.cloud, stage.world.cloud.simulator.handle

        def refuse(account: str, action: str, *rest: Any, **named: Any) -> dict[str, Any]:
            if action == "ModifyResourceTags":
                error = {"Code": "UnauthorizedOperation", "Message": "not with this key"}
                return {"Error": error, "RequestId": "r"}
            return dict(handle(account, action, *rest, **named))

        cloud.simulator.handle = refuse  # type: ignore[method-assign]  # put in its place for this test
        stage.delete()
        await asyncio.sleep(120)
        (stalled,) = (one for one in conditions(stage) if one["type"] == "Stalled")
        assert (stalled["status"], stalled["reason"]) == ("True", "InvalidCredentials")
        assert "Allow tag:ModifyResourceTags" in stalled["message"]
        cloud.simulator.handle = handle  # type: ignore[method-assign]  # put in its place for this test
        await stage.until(lambda: is_gone(stage))
        await left_alone(stage, 2)

    run_virtual(play())


def test_an_environment_of_the_same_name_buys_its_own() -> None:
    async def play() -> None:
        stage = Stage("retain-again", {}, [NAME], {})
        stage.create(2, deletionPolicy="Retain")
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        stage.delete()
        await stage.until(lambda: is_gone(stage))
        stage.create(1)
        await stage.ready()
        assert len(stage.living()) == 3
        stage.delete()
        await stage.until(lambda: is_gone(stage))
        await asyncio.sleep(SWEEPS * ORPHAN_SECONDS)
        stage.world.cloud.advance()
        assert [one.state for one in stage.world.cloud.left] == ["RUNNING"] * 2
        assert stage.world.cloud.violations == []

    run_virtual(play())


def test_an_object_that_comes_back_from_a_backup_does_not_count_what_it_has_left() -> None:
    async def play() -> None:
        stage = Stage("retain-rewind", {}, [NAME], {})
        stage.create(2, deletionPolicy="Retain")
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        backup = stage.world.api.snapshot()
        stage.delete()
        await stage.until(lambda: is_gone(stage))
        stage.world.crash(0, 1.0)
        stage.world.api.restore(backup)
        stage.world.want(NAME, 2)
        await asyncio.sleep(60)
        await stage.ready()
        assert [one.state for one in stage.world.cloud.left] == ["RUNNING"] * 2
        assert len(stage.living()) == 4
        assert stage.world.cloud.violations == []

    run_virtual(play())
