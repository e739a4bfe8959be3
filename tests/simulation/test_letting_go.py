"""An object that remembers no launch is let go when the cloud shows none either, or cannot be asked for good reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from simulation.faultpoint import Cell, Kind, Phase
from simulation.scenarios import NAME, Stage, play, reference
from simulation.virtual import run_virtual


def nothing(stage: Stage) -> None:
    """The cloud is there."""


def revoke(stage: Stage) -> None:
    stage.world.cloud_trouble.revoked = True


def cut_off(stage: Stage) -> None:
    stage.world.cloud_trouble.outage_until = 10_000.0


@pytest.mark.parametrize(
    ("trouble", "least", "most"),
    [
        pytest.param(nothing, 0, 10, id="at-once"),
        pytest.param(revoke, 10, 30, id="without-a-valid-key-soon"),
        pytest.param(cut_off, 590, 700, id="and-without-a-cloud-after-ten-minutes"),
    ],
)
def test_who_never_bought_anything_goes(trouble: Callable[[Stage], None], least: float, most: float) -> None:
    async def script() -> float:
        stage = Stage(f"letting-go-{trouble.__name__}", {}, (NAME,), {})
        stage.create(0)
        stage.start()
        await stage.ready()
        stage.world.crash(0, 1.0)
        trouble(stage)
        await asyncio.sleep(60)
        stage.delete()
        asked_at = asyncio.get_running_loop().time()
        while ("default", NAME) in stage.world.api.objects:
            await asyncio.sleep(1)
            assert asyncio.get_running_loop().time() - asked_at < 2 * most
        assert not stage.world.cloud.violations
        return asyncio.get_running_loop().time() - asked_at

    assert least <= run_virtual(script()) <= most


REFUSED: Cell = (Phase.NOT_COMMITTED, Kind.REFUSED)
EMPTY: Cell = (Phase.NO_REPLY, Kind.EMPTY)


@pytest.mark.parametrize(
    ("request_name", "cell", "times"),
    [
        pytest.param("kube secret", REFUSED, 1, id="a-secret-refused"),
        pytest.param("kube secret", REFUSED, 2, id="a-secret-refused-twice"),
        pytest.param("cloud DescribeInstances", EMPTY, 1, id="a-falsely-empty-list"),
        pytest.param("cloud DescribeInstances", EMPTY, 2, id="two-falsely-empty-lists"),
    ],
)
def test_one_bad_answer_does_not_let_go_what_was_forgotten(request_name: str, cell: Cell, times: int) -> None:
    """etcd is back from before the launches, the process is new and the object is to go: only the cloud knows."""
    first = reference("forgotten-and-deleted")[1].index(request_name)
    outcome, _ = play("forgotten-and-deleted", {first + number: cell for number in range(times)})
    assert not outcome.violations
    assert outcome.faults_struck == times


def test_without_its_secret_it_goes_soon() -> None:
    async def script() -> float:
        stage = Stage("letting-go-without-secret", {}, (NAME,), {})
        stage.create(0)
        stage.start()
        await stage.ready()
        stage.world.crash(0, 1.0)
        stage.world.api.secrets.clear()
        await asyncio.sleep(60)
        stage.delete()
        asked_at = asyncio.get_running_loop().time()
        while ("default", NAME) in stage.world.api.objects:
            await asyncio.sleep(1)
            assert asyncio.get_running_loop().time() - asked_at < 100
        return asyncio.get_running_loop().time() - asked_at

    assert 10 <= run_virtual(script()) <= 30
