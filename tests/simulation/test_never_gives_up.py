"""Where something can be had, it is had: trouble of one part of the cloud keeps no other part from being asked.

Hours of virtual time at a simulated cloud that answers some requests as a test says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cvmsim.instance import ON_DEMAND
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from simulation.world import NAMES_OF_ENVIRONMENTS
from spotcompute.cloud.errors import OutcomeUnknown
from spotcompute.cloud.tencent.provider import TencentProvider
from spotcompute.plan import launching
from spotcompute.plan.policy import Policy

HOUR = 3600.0


def answer_launches(stage: Stage, code_for: Callable[[dict[str, Any]], str | None]) -> None:
    """Let `code_for` choose the error that a RunInstances request is answered with, None for the cloud's own answer."""
    simulator = stage.world.cloud.simulator
    answer = simulator.handle

    def handle(account: str, action: str, parameters: dict[str, Any], now: float) -> Any:
        code = code_for(parameters) if action == "RunInstances" else None
        if code is not None:
            return {"Error": {"Code": code, "Message": "planted"}, "RequestId": "r"}
        return answer(account, action, parameters, now)

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


@pytest.mark.parametrize(
    ("code", "zones", "sold_first"),
    [
        pytest.param("ResourceInsufficient.SpecifiedInstanceType", 1, 0, id="sold-out"),
        pytest.param("ResourceInsufficient.SpecifiedInstanceType", 2, 0, id="sold-out-in-two-zones"),
        pytest.param("ResourceInsufficient.SpecifiedInstanceType", 1, 1, id="after-the-first"),
        pytest.param("LimitExceeded.InstanceQuota", 1, 0, id="above-a-quota"),
        pytest.param("InternalServerError", 1, 0, id="in-doubt"),
        pytest.param("NeverHeardOf.IT", 1, 0, id="a-code-nobody-knows"),
    ],
)
def test_spot_that_is_quoted_in_stock_and_refused_costs_little_time(code: str, zones: int, sold_first: int) -> None:
    """A failed trial is followed by a purchase on demand at once, and makes the next trial later."""

    async def play() -> None:
        stage = Stage(f"quoted-and-refused-{code}-{zones}-{sold_first}", {}, [NAME], {})
        stage.world.policy = Policy()
        asked = Counter[str]()

        def code_for(parameters: dict[str, Any]) -> str | None:
            if parameters["InstanceChargeType"] != "SPOTPAID":
                return None
            asked["spot"] += loop.time() - begun > HOUR / 3
            return None if 0 < asked["spot"] <= sold_first else code

        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer_launches(stage, code_for)
        stage.create(3, zones, onDemandFallback={"afterSeconds": 60, "maxReplicas": 3, "stableForSeconds": 300})
        stage.start()
        await asyncio.sleep(HOUR / 3)
        minutes, short = 12 * 60, 0
        for _ in range(minutes):
            await asyncio.sleep(60)
            short += living(stage) < 3
        machines = stage.world.cloud.simulator.world.instances.values()
        ended = sum(machine.order.charge_type == ON_DEMAND and not machine.is_live for machine in machines)
        assert short <= minutes / 10, (short, ended)
        assert ended <= 12
        assert not stage.world.cloud.violations

    run_virtual(play())


@pytest.mark.parametrize("is_restarted", [False, True], ids=["same-process", "operator-restarted"])
@pytest.mark.parametrize("zones", [1, 2], ids=["beside-other-types", "alone-in-its-zone"])
def test_a_type_that_is_quoted_no_more_keeps_no_other_from_being_bought(zones: int, is_restarted: bool) -> None:
    """A limit on the whole cost counts the running instance at the price that was quoted last."""

    async def play() -> None:
        stage = Stage(f"quoted-no-more-{zones}-{is_restarted}", {}, [NAME], {})
        simulator = stage.world.cloud.simulator
        zone = f"ap-guangzhou-{2 + zones}"
        for type_, count in (("S2.MEDIUM4", 1), ("S5.MEDIUM4", 100 if zones == 1 else 1)):
            stage.stock("ap-guangzhou-3", type_, count)
        market = {"maxPrice": "0.5", "allocationStrategy": "Prioritized"}
        stage.create(4, zones, 2, limits={"maxHourlyCost": "50"}, market=market)
        stage.start()
        await stage.ready()
        await asyncio.sleep(300)
        answer = simulator.handle

        def is_quoted(row: dict[str, Any]) -> bool:
            return row["Zone"] != zone or (zones == 1 and row["InstanceType"] != "S2.MEDIUM4")

        def handle(account: str, action: str, parameters: dict[str, Any], now: float) -> Any:
            found = answer(account, action, parameters, now)
            if action != "DescribeZoneInstanceConfigInfos":
                return found
            return {**found, "InstanceTypeQuotaSet": list(filter(is_quoted, found["InstanceTypeQuotaSet"]))}

        simulator.handle = handle
        await asyncio.sleep(600)
        if is_restarted:
            stage.world.crash(0, 1.0)
        held = [
            one for one in stage.living() if is_quoted({"Zone": one.order.zone, "InstanceType": one.order.type.name})
        ]
        stage.stock("ap-guangzhou-3", "S5.MEDIUM4", 100)
        assert 0 < len(held) < 4, "some must run where nothing is quoted any more, and some elsewhere"
        simulator.world.reclaim(held, 0.0)
        await asyncio.sleep(HOUR)
        assert living(stage) == 4
        assert not stage.world.cloud.violations

    run_virtual(play())


TYPES = ["S5.MEDIUM4", "S2.MEDIUM4", "S5.SMALL2", "S5.LARGE8", "SA2.MEDIUM4", "S4.MEDIUM4", "C5.LARGE8", "S5.SMALL1"]


def test_a_cloud_that_answers_no_launch_keeps_a_worker_for_two_minutes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the worker would count as stuck after ten minutes, and the process would be restarted."""

    async def hang(*_: Any) -> None:
        await asyncio.sleep(10)
        raise OutcomeUnknown("ClientTimeout", "no answer within 10 s")

    async def play() -> None:
        stage = Stage("no-answer-to-launches", {}, [NAME], {})
        monkeypatch.setattr(TencentProvider, "launch", hang)
        monkeypatch.setattr(launching, "LAUNCHES_AT_ONCE", 4)  # else one round asks for all of them
        stage.create(2000, zones=2, instanceTypes=TYPES)
        stage.start()
        longest = 0.0
        for _ in range(180):
            await asyncio.sleep(5)
            longest = max(longest, stage.world.replicas[0].queue.longest_run_seconds())
        assert 20 < longest <= 140

    run_virtual(play())


def test_a_zone_with_two_subnets_is_filled_beyond_the_first() -> None:
    async def play() -> None:
        stage = Stage("two-subnets-of-one-zone", {}, [NAME], {})
        network = {"zone": "ap-guangzhou-3", "vpcId": "vpc-gz000001"}
        subnets = ("subnet-gzsmall3", "subnet-gz000003")
        stage.start()
        stage.create(30, placements=[{**network, "subnetId": subnet} for subnet in subnets])
        await stage.ready()
        assert {instance.order.subnet.id for instance in stage.living()} == {subnets[1]}
        stage.scale(34)  # fewer than the first has room for, and its backoff is over
        await asyncio.sleep(120)
        await stage.ready()
        assert {instance.order.subnet.id for instance in stage.living()} <= set(subnets)
        assert living(stage) == 34

    run_virtual(play())


ZONES = ("ap-guangzhou-3", "ap-guangzhou-4", "ap-guangzhou-6")


@pytest.mark.parametrize("is_quoted", [False, True], ids=["quotes-do-not-tell", "quotes-tell"])
@pytest.mark.parametrize("wanted", [1, 10])
def test_a_market_that_is_sold_out_is_asked_once_a_minute_and_pool(wanted: int, is_quoted: bool) -> None:
    """The status is written once for each question, and the first stock is noticed within a minute all the same."""

    async def play() -> None:
        stage = Stage(f"sold-out-{wanted}-{is_quoted}", {}, [NAME], {})
        simulated = stage.world.cloud.simulator.world
        open_pools: set[tuple[str, str]] = set()
        asked = Counter[tuple[str, str]]()

        def code_for(parameters: dict[str, Any]) -> str | None:
            pool = parameters["Placement"]["Zone"], parameters["InstanceType"]
            asked[pool] += 1
            return None if pool in open_pools else "ResourceInsufficient.SpecifiedInstanceType"

        for offering in simulated.offerings.values():
            if is_quoted:
                offering.set_stock(0, simulated.now)
        answer_launches(stage, code_for)
        pools = {"placements": [{"zone": zone} for zone in ZONES], "instanceRequirements": {"cpu": {"min": 1}}}
        stage.create(wanted, market={"maxPrice": "50"}, instanceTypes=[], **pools)
        stage.start()
        await asyncio.sleep(HOUR / 2)
        asked.clear()
        writes = stage.world.api.writes
        await asyncio.sleep(HOUR)
        assert len(asked) > 10
        assert max(asked.values()) <= 61, asked
        assert (stage.world.api.writes - writes) / 60 <= len(asked) + 2
        for pool in sorted(asked)[::6]:
            open_pools.add(pool)
            simulated.offerings[pool].set_stock(100, simulated.now)
            await asyncio.sleep(65)
            assert living(stage) == wanted, pool
            open_pools.clear()
            simulated.offerings[pool].set_stock(0 if is_quoted else 100, simulated.now)
            simulated.reclaim(stage.living(), 0.0)
            await asyncio.sleep(HOUR / 4)
        assert not stage.world.cloud.violations

    run_virtual(play())


def test_environments_that_wait_together_keep_to_a_tenth_of_the_rate_and_notice_the_first_stock() -> None:
    """RunInstances is documented at ten calls a second; all of them together ask at most once a second."""

    async def play() -> None:
        names = NAMES_OF_ENVIRONMENTS[:8]
        stage = Stage("waiting-together", {}, names, {})
        asked, is_open = 0, False

        def code_for(parameters: dict[str, Any]) -> str | None:
            nonlocal asked
            asked += 1
            return None if is_open else "ResourceInsufficient.SpecifiedInstanceType"

        answer_launches(stage, code_for)
        pools = {"placements": [{"zone": zone} for zone in ZONES], "instanceRequirements": {"cpu": {"min": 1}}}
        for name in names:
            stage.create(2, name=name, market={"maxPrice": "50"}, instanceTypes=[], **pools)
        stage.start()
        await asyncio.sleep(HOUR)
        asked = 0
        await asyncio.sleep(HOUR / 2)
        assert 0 < asked / 30 <= 60
        is_open = True
        await asyncio.sleep(60)
        assert living(stage) > 0
        await asyncio.sleep(60)
        assert living(stage) == 2 * len(names)
        assert not stage.world.cloud.violations

    run_virtual(play())


@pytest.mark.parametrize("hold_seconds", [0, 300])
def test_a_gang_of_which_no_pool_may_hold_the_whole_is_built_from_parts_at_once(hold_seconds: int) -> None:
    async def play() -> None:
        stage = Stage(f"gang-in-parts-{hold_seconds}", {}, (NAME,), {})
        stage.create(
            4,
            types=2,
            market={"maxPrice": "0.5", "maxSharePerPool": 50},
            gang={"minAvailable": 4, "holdSeconds": hold_seconds},
        )
        stage.start()
        await asyncio.sleep(60)
        assert living(stage) == 4
        assert len(stage.world.cloud.simulator.world.instances) == 4
        assert not stage.world.cloud.violations

    run_virtual(play())
