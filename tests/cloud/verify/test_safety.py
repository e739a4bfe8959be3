"""Whatever happens to a verification, nothing stays, nothing foreign is touched, and no secret is written."""

from __future__ import annotations

import asyncio
import contextlib
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloud.verify.grounds import Killed, SimulatedLine, foreign, living, ours, spent, verify, world
from simulation.virtual import run_virtual
from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.tencent.verify import verifying
from spotcompute.cloud.tencent.verify.line import CannotVerify
from spotcompute.cloud.tencent.verify.verifying import Job
from spotcompute.telemetry import redaction

#: Settings under which what was bought is hard to see and hard to end.
HARD = {"list-lag": "60", "id-lag": "60", "tag-lag": "180", "pending-seconds": "120", "recycle-bin": "yes"}


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.rare)])
@pytest.mark.parametrize("settings", [{}, HARD], ids=["as-we-assume", "late-and-slow"])
def test_after_a_kill_at_any_point_a_second_command_leaves_nothing(
    settings: dict[str, str], count: int, tmp_path: Path
) -> None:
    whole = SimulatedLine(world(settings))
    verify(whole, tmp_path / "whole")
    rng = random.Random(7)
    points = sorted(rng.sample(range(1, min(whole.requests, 1200)), count))
    left = []
    for point in points:
        folder = tmp_path / str(point)
        line = SimulatedLine(world(settings), dies_at=point)
        with pytest.raises(Killed):
            verify(line, folder)
        died_at = line.simulator.world.now
        second = SimulatedLine(line.simulator)

        async def clean(second: SimulatedLine = second, folder: Path = folder, died_at: float = died_at) -> None:
            await asyncio.sleep(died_at - 1_800_000_000 + 1)
            await verifying.clean(second, folder)

        run_virtual(clean())
        if living(line.simulator) or not all(one.is_live for one in foreign(line.simulator)):
            left.append(point)
    assert left == []


def test_without_its_journal_what_is_left_is_found_by_tag_and_name(tmp_path: Path) -> None:
    line = SimulatedLine(world({}), dies_at=120)
    with pytest.raises(Killed):
        verify(line, tmp_path / "lost")
    assert living(line.simulator)
    died_at, second = line.simulator.world.now, SimulatedLine(line.simulator)

    async def clean() -> None:
        await asyncio.sleep(died_at - 1_800_000_000 + 1)
        await verifying.clean(second, tmp_path / "another")

    run_virtual(clean())
    assert living(line.simulator) == []
    assert all(one.is_live for one in foreign(line.simulator))


def test_an_interrupted_verification_ends_what_it_has_bought(tmp_path: Path) -> None:
    line = SimulatedLine(world({}))

    async def interrupted() -> None:
        task = asyncio.create_task(verifying.run_verification(line, Job(tmp_path, "r1", "mainland", Decimal("0.50"))))
        await asyncio.sleep(90)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(interrupted())
    assert ours(line.simulator)
    assert living(line.simulator) == []


@pytest.mark.parametrize("spend", ["0.0001", "0.004", "0.02", "0.05"])
def test_the_budget_is_never_passed(spend: str, tmp_path: Path) -> None:
    simulator = world({"pending-seconds": "120"})
    with contextlib.suppress(CannotVerify):
        verify(SimulatedLine(simulator), tmp_path, spend=spend)
    assert spent(simulator) <= Decimal(spend)
    assert living(simulator) == []


@pytest.mark.parametrize("action", ["RunInstances", "TerminateInstances", "DescribeInstances"])
def test_a_key_that_may_not_buy_and_end_is_told_what_it_lacks_and_buys_nothing(action: str, tmp_path: Path) -> None:
    simulator = world({})
    with pytest.raises(CannotVerify, match=f"name/cvm:{action}.*cam-policy"):
        verify(SimulatedLine(simulator, forbidden=frozenset({action})), tmp_path)
    assert ours(simulator) == []


def test_a_key_with_fewer_rights_leaves_their_questions_open_and_says_so(tmp_path: Path) -> None:
    lacking = frozenset({"StopInstances", "InquiryPriceRunInstances", "GetCallerIdentity"})
    verify(SimulatedLine(world({}), forbidden=lacking), tmp_path)
    text = (tmp_path / "report.md").read_text()
    for name in ("name/cvm:StopInstances", "name/cvm:InquiryPriceRunInstances", "name/sts:GetCallerIdentity"):
        assert name in text


def test_a_reclaim_is_seen_while_one_instance_is_watched(tmp_path: Path) -> None:
    simulator = world({"reclaim-visible": "shutdown"})

    def take_back() -> None:
        simulator.world.reclaim([one for one in ours(simulator) if one.is_live], 0.0)

    simulator.world.schedule(1_800_002_500 - simulator.world.now, take_back)
    verify(SimulatedLine(simulator), tmp_path, watch_seconds=3600.0)
    assert "| `reclaim-visible` | `shutdown` |" in (tmp_path / "report.md").read_text()
    assert living(simulator) == []


SECRET = "secretThatNoPageMayShow0001"


class EchoingLine(SimulatedLine):
    """The line to a cloud that repeats the key in what it refuses."""

    async def send(self, action: str, parameters: dict[str, Any], region: str, *, at_once: bool) -> dict[str, Any]:
        try:
            return await super().send(action, parameters, region, at_once=at_once)
        except CloudError as refusal:
            raise type(refusal)(f"{refusal.code}.{SECRET}", f"{SECRET} may not", refusal.request_id) from None


def test_a_secret_that_the_cloud_repeats_stands_in_no_file(tmp_path: Path) -> None:
    redaction.register(SECRET)
    lacking = frozenset({"StopInstances", "GetCallerIdentity"})
    done = verify(EchoingLine(world({}), forbidden=lacking), tmp_path)
    assert any(SECRET in answer.code for answer in done.record.answers.values())
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"report.md", "world.yaml"}
    assert [file.name for file in files if SECRET in file.read_text()] == []
