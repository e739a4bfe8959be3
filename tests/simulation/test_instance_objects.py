"""Objects of instances in virtual time: complete, quiet, repaired, and without any power to buy or to end others'."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from often import first
from simulation.objectworld import ObjectServer
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from spotcompute.api.instance_object import DO_NOT_TERMINATE, INSTANCE_FINALIZER
from spotcompute.kube.port import Forbidden

Script = Callable[[], Coroutine[Any, Any, None]]


def stage_of(title: str) -> tuple[Stage, ObjectServer]:
    stage = Stage(title, {}, (NAME,), {"tag-lag": "0"})
    stage.world.objects = ObjectServer(title)
    stage.world.set_pace(2.0)
    return stage, stage.world.objects


async def filled(title: str, replicas: int, **spec: Any) -> tuple[Stage, ObjectServer]:
    """An environment that is as wanted, with an object of each instance."""
    stage, objects = stage_of(title)
    stage.create(replicas, **spec)
    stage.start()
    await stage.ready()
    await stage.until(lambda: not differences(stage, objects))
    return stage, objects


def differences(stage: Stage, objects: ObjectServer) -> list[str]:
    """What the objects do not say as the cloud's own books do."""
    living = {one.id: one.state for one in stage.living()}
    shown = {name: obj["status"]["state"] for (_, name), obj in objects.objects.items()}
    return [] if living == shown else [f"live: {living}, shown: {shown}"]


def keys(objects: ObjectServer) -> list[tuple[str, str]]:
    return sorted(objects.objects)


def ids(stage: Stage) -> set[str]:
    return {one.id for one in stage.living()}


def played(script: Script) -> None:
    run_virtual(script())


def test_each_instance_has_an_object_and_at_rest_nothing_is_written() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-fill", 30)
        await asyncio.sleep(60)
        before = objects.writes
        await asyncio.sleep(3600)
        assert objects.writes == before
        stage.scale(5)
        await stage.until(lambda: not stage.world.differences() and not differences(stage, objects))
        assert len(objects.objects) == 5

    played(script)


def test_what_changes_while_an_object_is_written_is_shown_as_well() -> None:
    async def script() -> None:
        stage, objects = stage_of("objects-slow")
        objects.answer_seconds = 20.0
        stage.create(20)
        stage.start()
        await stage.ready()
        await stage.until(lambda: not differences(stage, objects))

    played(script)


def test_a_restart_writes_nothing() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-restart", 10)
        await asyncio.sleep(60)
        before = objects.writes
        stage.world.crash(0, 5.0)
        await asyncio.sleep(900)
        assert objects.writes == before

    played(script)


def test_a_deleted_object_ends_its_instance_once_and_another_takes_its_place() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-delete", 3)
        victim = keys(objects)[0]
        objects.delete(victim)
        await stage.until(lambda: victim[1] not in ids(stage) and not stage.world.differences())
        await stage.until(lambda: victim not in objects.objects and not differences(stage, objects))
        assert not stage.world.cloud.violations

    played(script)


def test_an_object_that_is_gone_by_force_comes_back_and_ends_nothing() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-force", 3)
        before = ids(stage)
        for key in keys(objects):
            objects.remove_by_force(key)
        await stage.until(lambda: not differences(stage, objects))
        await asyncio.sleep(600)
        assert ids(stage) == before
        for key in keys(objects):  # first without our finalizer, then deleted: both before it is put back
            objects.patch(key, {"metadata": {"finalizers": None}})
            await asyncio.sleep(1)
            objects.delete(key)
        await asyncio.sleep(600)
        assert ids(stage) == before
        assert not differences(stage, objects)

    played(script)


def test_marks_on_foreign_and_hand_made_objects_do_nothing() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-foreign", 2)
        before = ids(stage)
        owners = objects.objects[keys(objects)[0]]["metadata"]["ownerReferences"]
        for number, metadata in enumerate(
            (
                {},
                {"ownerReferences": owners},
                {"ownerReferences": owners, "finalizers": [INSTANCE_FINALIZER]},
                {"ownerReferences": [owners[0] | {"uid": "another"}], "finalizers": [INSTANCE_FINALIZER]},
                {"namespace": "elsewhere", "ownerReferences": owners, "finalizers": [INSTANCE_FINALIZER]},
            )
        ):
            made = {"namespace": "default", "name": f"ins-made{number}"} | metadata
            objects.make({"metadata": made, "status": {"state": "RUNNING"}})
            objects.mark((made["namespace"], made["name"]), unhealthy="true", delete_first="true")
            objects.delete((made["namespace"], made["name"]))
        for name in sorted(before):  # as if they belonged to another namespace's environment
            made = {
                "namespace": "elsewhere",
                "name": name,
                "ownerReferences": owners,
                "finalizers": [INSTANCE_FINALIZER],
            }
            objects.make({"metadata": made, "status": {"state": "RUNNING"}})
            objects.mark(("elsewhere", name), unhealthy="true")
            objects.delete(("elsewhere", name))
        await asyncio.sleep(900)
        assert ids(stage) == before
        assert {key[1] for key in keys(objects)} == before
        assert not stage.world.cloud.violations

    played(script)


def test_a_failed_instance_is_kept_and_then_replaced() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-keep", 2)
        key = keys(objects)[0]
        objects.mark(key, keep="30m")
        objects.mark(key, unhealthy="true")
        await asyncio.sleep(1500)
        assert key[1] in ids(stage)
        assert "kept until" in objects.objects[key]["status"]["note"]
        stage.world.crash(0, 5.0)  # a restart does not begin it anew
        await asyncio.sleep(600)
        assert key[1] not in ids(stage)
        assert not stage.world.differences()

    played(script)


def test_without_the_kind_everything_works_as_before_and_objects_come_with_it() -> None:
    async def script() -> None:
        stage, objects = stage_of("objects-absent")
        objects.is_served = False
        stage.create(3)
        stage.start()
        await stage.ready()
        stage.scale(2)
        await stage.until(lambda: not stage.world.differences())
        assert objects.writes == 0
        objects.is_served = True
        await stage.until(lambda: not differences(stage, objects))

    played(script)


def test_a_deleted_environment_leaves_no_object() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-gone", 5)
        stage.delete()
        await stage.until(lambda: not stage.world.api.objects)
        objects.collect(lambda namespace, uid: False)
        await stage.until(lambda: not objects.objects)

    played(script)


def test_what_is_wiped_from_status_brings_no_object_down_with_it() -> None:
    async def script() -> None:
        stage, objects = await filled("objects-wiped", 3)
        objects.mark(keys(objects)[0], do_not_terminate="true")
        stage.world.api.edit("default", NAME, lambda obj: obj.update(status={}))
        await asyncio.sleep(1200)
        assert not differences(stage, objects)
        assert any(DO_NOT_TERMINATE in (obj["metadata"].get("annotations") or {}) for obj in objects.objects.values())

    played(script)


@pytest.mark.parametrize("seed", first(25, range(60)))
def test_whatever_people_do_nothing_is_bought_beyond_replicas_and_the_protected_stay(seed: int) -> None:
    async def script() -> None:
        dice = random.Random(f"objects/{seed}")
        stage, objects = await filled(f"objects-history-{seed}", 4)
        protected = keys(objects)[0]
        objects.mark(protected, do_not_terminate="true")
        await asyncio.sleep(10)
        for _ in range(25):
            _do_something(dice, stage, objects, protected)
            await asyncio.sleep(dice.choice((0.1, 1, 5, 20)))
        stage.world.heal()
        stage.change("instanceObjects", True)
        stage.scale(3)
        await stage.world.converge()
        await stage.until(lambda: not differences(stage, objects))
        assert protected[1] in ids(stage)
        assert not stage.world.cloud.violations
        await asyncio.sleep(1200)  # failed instances were kept long enough, and the new price is shown
        assert not differences(stage, objects)
        before = objects.writes
        await asyncio.sleep(600)
        assert objects.writes == before

    played(script)


def _do_something(dice: random.Random, stage: Stage, objects: ObjectServer, protected: tuple[str, str]) -> None:
    others = [key for key in keys(objects) if key != protected] or [("default", "ins-none")]
    key = dice.choice(others)
    trouble, now = stage.world.kube_trouble, asyncio.get_running_loop().time()
    actions: list[Callable[[], Any]] = [
        lambda: objects.delete(key),
        lambda: objects.remove_by_force(key),
        lambda: objects.mark(key, unhealthy="true"),
        lambda: objects.mark(key, delete_first=dice.choice(("true", "false", "?"))),
        lambda: objects.mark(key, deletion_cost=dice.choice(("5", "-5", "much", "9" * 99))),
        lambda: objects.mark(key, keep=dice.choice(("1m", "for ever"))),
        lambda: objects.forge(protected, state="TERMINATING", ready=False),
        lambda: objects.forge(key, state="RUNNING", zone="nowhere"),
        lambda: objects.make({"metadata": {"namespace": "default", "name": f"ins-{dice.random()}"}, "status": {}}),
        lambda: stage.scale(dice.randint(1, 6)),
        lambda: stage.world.crash(0, dice.choice((0.5, 5.0, 40.0))),
        lambda: setattr(trouble, "refuse", dice.choice((0.0, 0.3))),
        lambda: setattr(trouble, "lose_answer", dice.choice((0.0, 0.2))),
        lambda: setattr(trouble, "outage_until", now + dice.choice((1.0, 20.0))),
        lambda: setattr(trouble, "forbidden_until", now + dice.choice((1.0, 5.0))),
    ]
    dice.choice(actions)()


def test_an_object_that_is_refused_is_tried_ever_more_rarely_and_comes_soon_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script() -> None:
        stage, objects = stage_of("objects-refused")
        tries: list[float] = []
        create, is_refused = objects.create, True

        def refusing(obj: Any) -> Any:
            tries.append(asyncio.get_running_loop().time())
            if is_refused:
                raise Forbidden("a policy")
            return create(obj)

        monkeypatch.setattr(objects, "create", refusing)
        stage.create(1)
        stage.start()
        await stage.ready()
        await asyncio.sleep(900)
        pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tries)]
        assert pauses[:6] == [1, 2, 4, 8, 16, 32]
        assert set(pauses[6:]) == {60}
        is_refused = False
        await asyncio.sleep(62)
        assert not differences(stage, objects)

    played(script)
