"""A machine that ends is asked for again within seconds, however the cloud shows it. Lists that lie double nothing.

Virtual time; from the end in the cloud's own books to the birth of the machine in its place.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from statistics import quantiles
from typing import Any

import pytest

from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual

OLD = 11 * 60.0

#: Half of all ends and nearly all of them are answered within so many seconds.
HALF, NEARLY_ALL = 3.0, 5.0


async def filled(title: str, replicas: int, **switches: str) -> Stage:
    """An environment whose machines are old, at the pace of an installation."""
    stage = Stage(title, {}, (NAME,), {"tag-lag": "0", **switches})
    stage.world.set_pace(2.0)
    stage.create(replicas)
    stage.start()
    await stage.ready()
    await asyncio.sleep(OLD)
    return stage


async def reaction(stage: Stage, end: Callable[[Stage], None]) -> float:
    """Seconds from the end of a machine to the birth of another."""
    simulated = stage.world.cloud.simulator.world
    stage.world.cloud.advance()
    known, ended = set(simulated.instances), stage.world.cloud.now
    end(stage)
    for _ in range(600):
        await asyncio.sleep(0.1)
        stage.world.cloud.advance()
        born = [one.created_at for key, one in simulated.instances.items() if key not in known]
        if born:
            return min(born) - ended
    raise AssertionError("not replaced within a minute")


def take_one(stage: Stage) -> None:
    oldest = min(stage.living(), key=lambda instance: (instance.created_at, instance.id))
    stage.world.cloud.simulator.world.reclaim([oldest], 0.0)


def played(script: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(script())


@pytest.mark.parametrize("visible", ["terminating", "shutdown", "absent"])
@pytest.mark.parametrize("seconds", ["0.5", "60"])
@pytest.mark.parametrize("replicas", [3, 10])
def test_an_end_is_answered_within_seconds(visible: str, seconds: str, replicas: int) -> None:
    async def play() -> None:
        switches = {"reclaim-visible": visible, "terminating-seconds": seconds}
        stage = await filled(f"{visible}-{seconds}-{replicas}", replicas, **switches)
        dice, took = random.Random(f"{visible}{seconds}"), []
        for _ in range(40):
            await asyncio.sleep(dice.uniform(OLD / replicas, OLD / replicas + 30))
            took.append(await reaction(stage, take_one))
        assert quantiles(took, n=2)[0] <= HALF
        assert max(took) <= NEARLY_ALL
        assert stage.world.cloud.violations == []

    played(play)


@pytest.mark.parametrize("visible", ["terminating", "absent"])
@pytest.mark.parametrize(
    ("replicas", "within"),
    [
        pytest.param(3, NEARLY_ALL, id="with-witnesses"),
        pytest.param(1, 20.0, id="alone"),
    ],
)
def test_what_ends_while_no_operator_runs_is_counted_no_longer_than_its_proof_takes(
    visible: str, replicas: int, within: float
) -> None:
    """The process that begins has never seen it in a list. The one before has, and noted it."""

    async def play() -> None:
        stage = await filled(f"restart-{visible}-{replicas}", replicas, **{"reclaim-visible": visible})
        stage.world.crash(0, 60.0)
        await asyncio.sleep(30.0)
        gone = min(stage.living(), key=lambda instance: (instance.created_at, instance.id)).id
        take_one(stage)
        await asyncio.sleep(30.0 + within)
        status = stage.world.api.objects["default", NAME]["status"]
        assert gone not in {one["id"] for one in status["instances"]}
        assert len(stage.living()) == replicas
        assert stage.world.cloud.violations == []

    played(play)


def test_the_only_machine_of_an_account_has_no_witness_and_takes_longer() -> None:
    async def play() -> None:
        stage = await filled("alone", 1, **{"reclaim-visible": "absent"})
        assert 8.0 < await reaction(stage, take_one) < 20.0
        assert stage.world.cloud.violations == []

    played(play)


def test_when_all_end_at_once_all_are_replaced_and_no_more() -> None:
    async def play() -> None:
        stage = await filled("all-at-once", 5, **{"reclaim-visible": "absent"})
        stage.world.cloud.simulator.world.reclaim(stage.living(), 0.0)
        await stage.until(lambda: len(stage.living()) == 5)
        await asyncio.sleep(600)
        assert len(stage.living()) == 5
        assert stage.world.cloud.violations == []

    played(play)


@pytest.mark.parametrize("replicas", [1, 2, 3, 6])
@pytest.mark.parametrize(("empty", "partial"), [(0.2, 0.0), (0.0, 0.2), (0.1, 0.1)], ids=["empty", "partial", "both"])
def test_lists_and_look_ups_that_lie_double_nothing(replicas: int, empty: float, partial: float) -> None:
    """Nothing ends here: whatever is launched after the first filling is one too many."""

    async def play() -> None:
        stage = await filled(f"lies-{replicas}-{empty}-{partial}", replicas)
        trouble = stage.world.cloud_trouble
        trouble.empty_list, trouble.partial_list = empty, partial
        await asyncio.sleep(1200)
        assert stage.world.cloud.violations == []
        assert len(stage.world.cloud.simulator.world.instances) == replicas

    played(play)


@pytest.mark.parametrize("lag", ["30", "150"])
@pytest.mark.parametrize("lagging", ["list-lag", "id-lag", "both"])
def test_lists_and_look_ups_that_lag_delay_and_double_nothing(lag: str, lagging: str) -> None:
    async def play() -> None:
        lags = ("list-lag", "id-lag") if lagging == "both" else (lagging,)
        stage = await filled(f"{lagging}-{lag}", 3, **{"reclaim-visible": "absent", **dict.fromkeys(lags, lag)})
        for _ in range(3):
            stage.world.cloud.advance()
            before = stage.world.cloud.now
            take_one(stage)
            await stage.until(lambda: len(stage.living()) == 3)
            assert stage.world.cloud.now - before <= float(lag) + 30
            await asyncio.sleep(OLD)
        assert stage.world.cloud.violations == []

    played(play)
