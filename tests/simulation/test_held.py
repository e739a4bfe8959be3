"""An object says who holds it, or who refuses our writes, in their own words. In virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import Forbidden

AUDIT, BACKUP = "example.org/audit", "example.org/backup"
POLICY = "ValidatingAdmissionPolicy 'freeze' denied request: no changes on Fridays"


def object_of(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = stage.world.api.objects["default", NAME]
    return found


def told(stage: Stage) -> str:
    status = object_of(stage)["status"]
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    return f"{status['phase']}/{status['reason']}/{ready['status']}: {ready['message']}"


def hold(stage: Stage, *holders: str) -> None:
    """These and ours, if it is there, are the finalizers of the object now."""
    ours = [one for one in object_of(stage)["metadata"]["finalizers"] if one == FINALIZER]
    stage.world.api.edit("default", NAME, lambda obj: obj["metadata"].update(finalizers=[*ours, *holders]))


async def filled(title: str) -> Stage:
    stage = Stage(title, {}, (NAME,), {})
    stage.create(2)
    stage.start()
    await stage.ready()
    return stage


def test_what_is_released_and_held_by_others_says_by_whom_and_follows_them() -> None:
    async def play() -> None:
        stage = await filled("held")
        hold(stage, AUDIT, BACKUP)
        stage.delete()
        await asyncio.sleep(300)
        assert object_of(stage)["metadata"]["finalizers"] == [AUDIT, BACKUP]
        assert told(stage) == f"Deleting/Deleting/False: released; held by {AUDIT}, {BACKUP}"
        assert object_of(stage)["status"]["replicas"] == 0
        assert "instances" not in object_of(stage)["status"]
        hold(stage, BACKUP)
        await asyncio.sleep(5)
        assert told(stage).endswith(f"held by {BACKUP}")
        stage.world.crash(0, 1.0)
        await asyncio.sleep(60)
        assert told(stage).endswith(f"released; held by {BACKUP}")
        assert not stage.world.cloud.violations

    run_virtual(play())


def test_an_object_whose_finalizer_was_taken_off_is_not_called_released() -> None:
    async def play() -> None:
        stage = await filled("taken-off")
        stage.world.api.edit("default", NAME, lambda obj: obj["metadata"].update(finalizers=[AUDIT]))
        stage.delete()
        await asyncio.sleep(10)
        assert "released" not in told(stage)
        assert told(stage).endswith(f"2 instances; held by {AUDIT}")

    run_virtual(play())


@pytest.mark.parametrize(("when", "phase"), [("identify", "Stalled"), ("release", "Deleting")])
def test_a_policy_that_refuses_our_patch_is_quoted(when: str, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        stage = Stage(f"denied-{when}", {}, (NAME,), {})
        api = type(stage.world.api)
        allowed = {"add_identity": api.add_identity, "remove_finalizer": api.remove_finalizer}

        def deny(*_: Any) -> None:
            raise Forbidden(f"PATCH x: HTTP 403 {POLICY}")

        if when == "identify":
            monkeypatch.setattr(api, "add_identity", deny)
        stage.create(1)
        stage.start()
        if when == "release":
            await stage.ready()
            monkeypatch.setattr(api, "remove_finalizer", deny)
            stage.delete()
        await asyncio.sleep(200)
        assert told(stage).startswith(f"{phase}/WriteRefused/False")
        assert POLICY in told(stage)
        for name, method in allowed.items():
            monkeypatch.setattr(api, name, method)
        await asyncio.sleep(200)
        if when == "identify":
            assert told(stage).startswith("Ready/AllReplicasReady/True")
        else:
            assert ("default", NAME) not in stage.world.api.objects
        assert not stage.world.cloud.violations

    run_virtual(play())
