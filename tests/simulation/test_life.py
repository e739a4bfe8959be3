"""The judge sees what people mark, what has an end, and what is counted otherwise: each fault is planted and noticed.

As in test_oracles: each play passes with the operator as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import spotcompute.plan.allocation as allocation
import spotcompute.plan.drift as drift
import spotcompute.plan.situation as situation
import spotcompute.reconcile.observe as observe
from simulation.marks import Marks
from simulation.measure import granted
from simulation.objectworld import ObjectServer
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from simulation.world import ZONES
from spotcompute.api.cordon import CORDON_ZONE
from spotcompute.model.desired import Desired
from spotcompute.model.wishes import NO_WISH
from spotcompute.plan.budget import Room
from spotcompute.reconcile.mirror import Mirror

Script = Callable[[Stage], Awaitable[None]]
Plant = Callable[[pytest.MonkeyPatch], None]


def judged(script: Script) -> tuple[str, ...]:
    """Play a script under the judge, with objects of instances; return what it complains about."""

    async def play() -> tuple[str, ...]:
        stage = Stage(script.__name__, {}, (NAME,), {"tag-lag": "0"})
        stage.world.objects = ObjectServer(script.__name__)
        stage.world.set_pace(2.0)
        stage.world.judge_all_the_time()
        stage.world.marks = Marks(stage.world)
        await script(stage)
        return (*stage.world.outcome(script.__name__).violations, *stage.world.differences())

    return run_virtual(play())


# --- plays -----------------------------------------------------------------------------------------------------------


async def with_protected_ones(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    objects, marks = stage.world.objects, stage.world.marks
    assert objects is not None
    assert marks is not None
    for key in sorted(objects.objects):
        objects.mark(key, do_not_terminate="true")
        marks.protect(key[1], is_protected=True)
    await asyncio.sleep(90)
    stage.scale(1)
    await asyncio.sleep(120)
    stage.scale(2)
    await stage.ready()


async def with_a_cordoned_zone(stage: Stage) -> None:
    stage.create(1, zones=2)
    stage.start()
    await stage.ready()
    stage.world.annotate(NAME, CORDON_ZONE, ZONES[0])
    await asyncio.sleep(500)
    stage.scale(3)
    await stage.ready()


async def below_a_number(stage: Stage) -> None:
    stage.create(4, limits={"maxReplicas": 2})
    stage.start()
    await asyncio.sleep(120)


async def below_a_size(stage: Stage) -> None:
    stage.create(4, limits={"maxVcpu": 7})
    stage.start()
    await asyncio.sleep(120)


async def that_are_shown(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await asyncio.sleep(60)


async def after_its_end(stage: Stage) -> None:
    stage.create(2, ttlSeconds=300)
    asyncio.get_running_loop().call_later(300, stage.world.expire, NAME)
    stage.start()
    await asyncio.sleep(700)


async def in_vcpu(stage: Stage) -> None:
    stage.create(7, types=2, capacityUnit="vCPU")
    stage.start()
    await asyncio.sleep(300)
    stage.world.cloud.simulator.world.reclaim(stage.living()[:1], 0.0)
    await asyncio.sleep(300)


async def that_grow_old(stage: Stage) -> None:
    stage.create(3, maxAgeSeconds=600)
    stage.world.surges[NAME] = 1
    stage.start()
    await asyncio.sleep(700)
    stage.change("maxAgeSeconds", None)
    await asyncio.sleep(120)


# --- faults ----------------------------------------------------------------------------------------------------------


def no_mark_is_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(situation.Situation, "wish", lambda self, instance_id: NO_WISH)


def no_zone_is_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(allocation, "cordon_of", lambda *given: None)


def no_limit_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(situation, "room_in_number", lambda *given: None)
    patch.setattr(allocation, "room_in_vcpu", lambda *given: Room())


def nothing_ever_expires(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(observe, "with_expiry", lambda desired, now: replace(desired, expires_at=None))


def each_counts_as_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Desired, "units", lambda self, pool: 1)


def all_are_old_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(drift, "life_of", lambda instance_id, age: timedelta(seconds=60))


def no_object_is_made(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Mirror, "show", lambda self, raw, seen: None)


CASES = [
    pytest.param(with_protected_ones, no_mark_is_read, "O20 marked", id="protection"),
    pytest.param(with_a_cordoned_zone, no_zone_is_closed, "O20 cordoned", id="a-cordon"),
    pytest.param(below_a_number, no_limit_is_kept, "are the limit", id="a-number"),
    pytest.param(below_a_size, no_limit_is_kept, "vCPU are above 7", id="vcpu"),
    pytest.param(after_its_end, nothing_ever_expires, "wants 0, has", id="an-end"),
    pytest.param(in_vcpu, each_counts_as_one, "O2 over", id="sizes"),
    pytest.param(that_grow_old, all_are_old_at_once, "O8 churn", id="ages"),
    pytest.param(that_are_shown, no_object_is_made, "without object", id="objects"),
]


@pytest.mark.parametrize(("script", "plant", "complaint"), CASES)
def test_the_judge_notices(script: Script, plant: Plant, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(script) == ()
    plant(monkeypatch)
    found = judged(script)
    assert any(complaint in violation for violation in found), found


@pytest.mark.parametrize(
    ("spec", "most"),
    [
        ({"replicas": 5}, 5),
        ({"replicas": 5, "limits": {"maxReplicas": 3}}, 3),
        ({"replicas": 5, "limits": {"maxVcpu": 7}}, 3),
        ({"replicas": 1, "limits": {"maxVcpu": 7, "maxReplicas": 4}}, 1),
    ],
)
def test_a_limit_grants_a_part(spec: dict[str, Any], most: int) -> None:
    assert granted(spec) == most
