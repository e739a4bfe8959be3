"""The judge of what users read and pay sees what it is there for: each fault is planted in the operator, and noticed.

Each play is short and passes with the operator as it is; with the fault, which an earlier version had or could have
had, the judge complains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import spotcompute.plan.allocation as allocation
import spotcompute.plan.backoff as backoff
import spotcompute.plan.ledger_sync as ledger_sync
import spotcompute.plan.outcomes as outcomes
import spotcompute.plan.planner as planner
import spotcompute.report.status as status
from simulation.oracles import Oracles
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from simulation.wishes import CODES
from simulation.world import EPOCH_UTC, ZONES
from spotcompute.api.times import to_text
from spotcompute.cloud import errors
from spotcompute.plan.budget import Room
from spotcompute.plan.policy import Policy

Script = Callable[[Stage], Awaitable[None]]
Plant = Callable[[pytest.MonkeyPatch], None]


def judged(name: str, script: Script, **switches: str) -> tuple[str, ...]:
    """Play a script under the judge; return what it complains about."""

    async def play() -> tuple[str, ...]:
        stage = Stage(name, {}, (NAME,), switches)
        stage.world.policy = Policy()
        stage.world.judge_all_the_time()
        await script(stage)
        return stage.world.outcome(name).violations

    return run_virtual(play())


# --- plays -----------------------------------------------------------------------------------------------------------


async def within_a_limit(stage: Stage) -> None:
    stage.create(5, limits={"maxHourlyCost": "0.08"})
    stage.start()
    await asyncio.sleep(120)


async def beside_a_cap_on_demand(stage: Stage) -> None:
    for zone in ZONES:
        stage.stock(zone, "S2.MEDIUM4", 0)
    fallback = {"afterSeconds": 0, "maxReplicas": 2, "stableForSeconds": 300}
    stage.create(4, zones=2, onDemandFallback=fallback)
    stage.start()
    await asyncio.sleep(600)


async def that_power_themselves_off(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    for _ in range(360):
        await asyncio.sleep(20)
        stage.world.cloud.advance()
        for instance in stage.living():
            if instance.state == "RUNNING" and stage.world.cloud.simulator.world.now - instance.created_at > 60:
                stage.world.cloud.simulator.world.stop(instance, "it powered itself off", None)


async def out_of_sight(stage: Stage) -> None:
    stage.create(2)
    stage.start()
    await stage.ready()
    stage.world.cloud_trouble.outage_until = asyncio.get_running_loop().time() + 900
    await asyncio.sleep(900)


async def that_lose_their_machines(stage: Stage) -> None:
    stage.create(3)
    stage.start()
    await stage.ready()
    await asyncio.sleep(120)
    stage.stock(ZONES[0], "S2.MEDIUM4", 0)
    stage.world.cloud.simulator.world.reclaim(stage.living(), 0.0)
    await asyncio.sleep(1200)


async def beside_a_zone_in_doubt(stage: Stage) -> None:
    stage.world.cloud.pool_troubles[ZONES[0], "S2.MEDIUM4"] = "InternalServerError"
    stage.create(3, zones=2)
    stage.start()
    await asyncio.sleep(2 * 3600)


async def while_all_is_sold_out(stage: Stage) -> None:
    for offering in stage.world.cloud.simulator.world.offerings.values():
        offering.set_stock(0, stage.world.cloud.simulator.world.now)
    stage.create(4, zones=2, types=2)
    stage.start()
    await asyncio.sleep(1500)


# --- faults ----------------------------------------------------------------------------------------------------------


def no_limit_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(allocation, "room_for", lambda *given: Room())


def every_stand_in_is_bought(patch: pytest.MonkeyPatch) -> None:
    real = planner.on_demand_to_buy  # type: ignore[attr-defined]  # imported there
    patch.setattr(planner, "on_demand_to_buy", lambda situation, *more: real(_without_a_cap(situation), *more))


def _without_a_cap(situation: Any) -> Any:
    fallback = replace(situation.desired.fallback, count_max=100) if situation.desired.fallback else None
    return replace(situation, desired=replace(situation.desired, fallback=fallback))


def nothing_brakes(patch: pytest.MonkeyPatch) -> None:
    for module in (ledger_sync, planner):
        patch.setattr(module, "after_self_end", lambda ledger, *given: (ledger, ()))


def counts_are_kept_while_nobody_sees(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(status, "_SEEN_ONLY", ())


def ready_counts_all_members(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(status, "ready_count", lambda ledger, *_: len(ledger.members) or 3)


def a_cost_that_never_falls(patch: pytest.MonkeyPatch) -> None:
    real = status.cost_status
    highest: list[Any] = []

    def cost(*given: Any) -> Any:
        now = real(*given)
        if now is not None and "perHour" in now:
            highest.append(now["perHour"])
            now = {**now, "perHour": max(highest, key=float)}
        return now

    patch.setattr(status, "cost_status", cost)


def a_doubt_keeps_every_pool_from_being_asked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(backoff, "_what_backs_off", lambda failure: None)
    patch.setattr(
        planner, "next_offer", lambda ranking, ledger, learned, now: None if _rests(ledger, now) else _first(ranking)
    )


def _rests(ledger: Any, now: Any) -> bool:
    return backoff.is_backing_off(ledger, None, now)


def _first(ranking: Any) -> Any:
    return next(iter(ranking.kept), None)


def who_was_refused_asks_again_at_once(patch: pytest.MonkeyPatch) -> None:
    real = outcomes.backoff_after

    def soon(failure: Any, ledger: Any, generation: int, now: Any, *more: Any) -> Any:
        return replace(real(failure, ledger, generation, now, *more), until=now + timedelta(seconds=2))

    patch.setattr(outcomes, "backoff_after", soon)


CASES = [
    pytest.param(within_a_limit, no_limit_is_kept, "O7 money", {}, id="a-limit"),
    pytest.param(beside_a_cap_on_demand, every_stand_in_is_bought, "O7 money", {}, id="a-cap-on-demand"),
    pytest.param(that_power_themselves_off, nothing_brakes, "O8 churn", {}, id="a-loop"),
    pytest.param(out_of_sight, counts_are_kept_while_nobody_sees, "nothing was seen", {}, id="out-of-sight"),
    pytest.param(that_lose_their_machines, ready_counts_all_members, "O9 untrue", {}, id="too-many-ready"),
    pytest.param(that_lose_their_machines, a_cost_that_never_falls, "perHour is", {}, id="a-cost"),
    pytest.param(beside_a_zone_in_doubt, a_doubt_keeps_every_pool_from_being_asked, "O11 short", {}, id="a-doubt"),
    pytest.param(while_all_is_sold_out, who_was_refused_asks_again_at_once, "O12 often", {}, id="a-sold-out-market"),
]


@pytest.mark.parametrize(("script", "plant", "complaint", "switches"), CASES)
def test_the_judge_notices(
    script: Script, plant: Plant, complaint: str, switches: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judged(script.__name__, script, **switches) == ()
    plant(monkeypatch)
    found = judged(script.__name__, script, **switches)
    assert any(complaint in violation for violation in found), found


NOT_READY = [{"type": "Ready", "status": "False"}]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        pytest.param({"cost": {"accrued": "2"}}, {"cost": {"accrued": "1"}}, "accrued falls", id="money"),
        pytest.param({"observedTime": 20}, {"observedTime": 10}, "goes back", id="time"),
        pytest.param({}, {"observedTime": 600}, "the last list", id="a-time-to-come"),
        pytest.param({}, {"phase": "Ready", "readyReplicas": 0, "conditions": NOT_READY}, "phase", id="phase"),
        pytest.param({}, {"readyReplicas": 0, "updatedReplicas": 1, "conditions": NOT_READY}, "of 0", id="counts"),
        pytest.param(
            {},
            {"readyReplicas": 1, "replicas": 1, "instances": [{"ready": False}], "conditions": NOT_READY},
            "listed so",
            id="lines",
        ),
    ],
)
def test_the_judge_reads_each_status(old: dict[str, Any], new: dict[str, Any], complaint: str) -> None:
    async def read() -> list[str]:
        stage = Stage("read", {}, (NAME,), {})
        oracles = Oracles(stage.world)
        oracles.seen_at = 30.0
        oracles.judge_status(*({"metadata": {"name": NAME}, "status": _dated(one)} for one in (old, new)))
        return stage.world.cloud.violations

    (violation,) = run_virtual(read())
    assert complaint in violation


def _dated(part: dict[str, Any]) -> dict[str, Any]:
    if "observedTime" not in part:
        return part
    return {**part, "observedTime": to_text(EPOCH_UTC + timedelta(seconds=part["observedTime"]))}


def test_pools_are_troubled_by_every_class_that_a_launch_can_meet() -> None:
    drawn = {errors.InsufficientCapacity, errors.NoRoom, errors.PriceTooLow, errors.QuotaExceeded, errors.Unavailable}
    drawn |= {errors.InvalidConfiguration, errors.OutcomeUnknown, errors.Unclassified}
    assert CODES.keys() == drawn
