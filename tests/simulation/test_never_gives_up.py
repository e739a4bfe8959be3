"""Where something can be had, it is had: trouble of one part of the cloud keeps no other part from being asked.

Hours of virtual time at a simulated cloud that answers some requests as a test says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual

HOUR = 3600.0


def refuse_zones(stage: Stage, code: str, zones: set[str]) -> Counter[str]:
    """Let RunInstances in these zones be answered with `code`; returns how often each zone was asked."""
    simulator, asked = stage.world.cloud.simulator, Counter[str]()
    answer = simulator.handle

    def handle(account: str, action: str, parameters: dict[str, Any], now: float) -> Any:
        if action == "RunInstances":
            zone = parameters["Placement"]["Zone"]
            asked[zone] += 1
            if zone in zones:
                return {"Error": {"Code": code, "Message": "planted"}, "RequestId": "r"}
        return answer(account, action, parameters, now)

    simulator.handle = handle
    return asked


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
        asked = refuse_zones(stage, code, {"ap-guangzhou-3"})
        stage.create(3, zones=2)
        stage.start()
        await asyncio.sleep(HOUR)
        assert living(stage) == 3, asked
        await asyncio.sleep(HOUR)
        assert living(stage) == 3, asked
        assert not stage.world.cloud.violations

    run_virtual(play())
