"""Where something can be had, it is had: trouble of one part of the cloud keeps no other part from being asked.

Hours of virtual time at a simulated cloud that answers some requests as a test says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual

HOUR = 3600.0


def answer_launches(stage: Stage, code_for: Callable[[dict[str, Any]], str | None]) -> None:
    """Let `code_for` choose the error that a RunInstances request is answered with, None for the cloud's own answer."""
    simulator = stage.world.cloud.simulator
    answer = simulator.handle

    def handle(account: str, action: str, parameters: dict[str, Any], now: float, **options: Any) -> Any:
        code = code_for(parameters) if action == "RunInstances" else None
        if code is not None:
            return {"Error": {"Code": code, "Message": "planted"}, "RequestId": "r"}
        return answer(account, action, parameters, now, **options)

    simulator.handle = handle


def living(stage: Stage) -> int:
    """How many instances run or start, by the cloud's own books."""
    stage.world.cloud.advance()
    return len(stage.world.cloud.living())


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("ResourceInsufficient.SpecifiedInstanceType", id="sold-out"),
        pytest.param("InternalServerError", id="in-doubt"),
        pytest.param("FailedOperation.SecurityGroupActionFailed", id="broken-off-inside-the-cloud"),
        pytest.param("ResourceInUse", id="refused-for-now"),
        pytest.param("MutexOperation.TaskRunning", id="busy"),
        pytest.param("NeverHeardOf.IT", id="a-code-nobody-knows"),
    ],
)
def test_one_zone_in_trouble_keeps_no_other_zone_from_being_asked(code: str) -> None:
    async def play() -> None:
        stage = Stage(f"one-zone-answers-{code}", {}, [NAME], {})
        asked = Counter[str]()

        def code_for(parameters: dict[str, Any]) -> str | None:
            zone = parameters["Placement"]["Zone"]
            asked[zone] += 1
            return code if zone == "ap-guangzhou-3" else None

        answer_launches(stage, code_for)
        stage.create(3, zones=2)
        stage.start()
        await asyncio.sleep(HOUR)
        assert living(stage) == 3, asked
        await asyncio.sleep(HOUR)
        assert living(stage) == 3, asked
        assert not stage.world.cloud.violations

    run_virtual(play())


@pytest.mark.parametrize("doubt_every", [pytest.param(1, id="every-launch"), pytest.param(8, id="each-eighth")])
def test_on_demand_stands_in_for_spot_launches_that_end_in_doubt(doubt_every: int) -> None:
    async def play() -> None:
        stage = Stage(f"fallback-doubt-{doubt_every}", {}, [NAME], {})
        asked, most = Counter[str](), 0

        def code_for(parameters: dict[str, Any]) -> str | None:
            kind = parameters["InstanceChargeType"]
            asked[kind] += 1
            if kind != "SPOTPAID":
                return None
            return "InternalServerError" if asked[kind] % doubt_every == 0 else "ResourceInsufficient"

        answer_launches(stage, code_for)
        fallback = {"afterSeconds": 60, "maxReplicas": 3, "stableForSeconds": 300}
        stage.create(3, onDemandFallback=fallback)
        stage.start()
        for _ in range(12):
            await asyncio.sleep(HOUR / 12)
            most = max(most, living(stage))
        assert most == 3, asked
        assert not stage.world.cloud.violations

    run_virtual(play())
