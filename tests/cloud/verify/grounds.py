"""A verification in virtual time against the simulator in process: random switches, a foreign machine, and a kill."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cvmsim import catalog
from cvmsim.instance import GONE, Instance, Operation
from cvmsim.simulator import Simulator
from cvmsim.switches import TABLE
from simulation.virtual import run_virtual
from spotcompute.cloud.errors import NotSent
from spotcompute.cloud.tencent.codes import classify
from spotcompute.cloud.tencent.verify import verifying
from spotcompute.cloud.tencent.verify.leftovers import Leftovers
from spotcompute.cloud.tencent.verify.verifying import Done, Job

EPOCH = 1_800_000_000.0
#: When the price of what is bought falls a little, in seconds of the run.
PRICE_FALLS = 100.0
ACCOUNT = "100000000001"
REGION = "ap-guangzhou"
#: No question to the cloud, but the simulator's own choice.
LEFT_OPEN = {"skew-clock"}
#: Answered by watching: what a person, the market and the cloud do meanwhile.
WATCHED = {"price-interrupts", "reclaim-visible", "latest-operation-of-console"}
#: When the watch begins, in seconds of the run; a person stops the instance and starts it again, the price rises above
#: its bid and falls again, and at last the cloud takes it back. And how long it is watched.
STOPPED_AT, STARTED_AT, PRICE_RISES, RECLAIMED_AT = 1900.0, 2100.0, 2400.0, 3300.0
WATCH_SECONDS = 3000.0


class Killed(BaseException):
    """The process has ended at this point. Nothing after it happens."""


@dataclass
class SimulatedLine:
    """The line of a verification to a simulator: each request takes a moment, and the process may die at one."""

    simulator: Simulator
    site: str = "mainland"
    region: str = REGION
    forbidden: frozenset[str] = frozenset()
    dies_at: int | None = None
    requests: int = 0
    terminated: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, UTC)

    @property
    def time(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def boundary(self) -> None:
        self.requests += 1
        if self.dies_at is not None and self.requests >= self.dies_at:
            raise Killed

    async def send(self, action: str, parameters: dict[str, Any], region: str, *, at_once: bool) -> dict[str, Any]:
        self.boundary()
        if not at_once:
            await asyncio.sleep(0.02)
        if action in self.forbidden:
            raise classify(action, "UnauthorizedOperation")("UnauthorizedOperation", "not with this key", "r")
        if action == "TerminateInstances":
            self.terminated += parameters["InstanceIds"]
        answer = self.simulator.handle(ACCOUNT, action, parameters, self.time, region=region)
        self.boundary()
        error = answer.get("Error")
        if error is not None:
            raise classify(action, error["Code"])(error["Code"], error["Message"], answer["RequestId"])
        return answer


def world(settings: dict[str, str], seed: int = 1) -> Simulator:
    """The default world with one pool sold out, and two machines of the account that are nobody's business."""
    document = yaml.safe_load(catalog.DEFAULT_WORLD.read_text())
    document["offerings"]["ap-guangzhou-6"]["S5.LARGE8"]["stock"] = 0
    simulator = Simulator(catalog.parse(document), seed=seed, now=EPOCH - 7200, switches={"pending-seconds": "0"})
    for charge_type in ("SPOTPAID", "POSTPAID_BY_HOUR"):
        request = {
            "Placement": {"Zone": "ap-guangzhou-3"},
            "ImageId": "img-487zeit5",
            "InstanceType": "S2.MEDIUM4",
            "InstanceChargeType": charge_type,
            "InstanceName": "a-persons-own",
            "TagSpecification": [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "research"}]}],
        }
        assert "Error" not in simulator.handle(ACCOUNT, "RunInstances", request, EPOCH - 7200)
    simulator.world.advance(EPOCH - 3600)
    for name, value in settings.items():
        simulator.switches.set(name, value)
    cheapest = simulator.world.offerings["ap-guangzhou-3", "SA2.MEDIUM4"]
    fall = partial(simulator.world.set_price, cheapest, cheapest.price * Decimal("0.98"))
    simulator.world.schedule(EPOCH + PRICE_FALLS - simulator.world.now, fall)
    return simulator


def happenings(simulator: Simulator) -> None:
    """What happens while the last instance is watched: by a person, in the market, and by the cloud."""
    simulated = simulator.world

    def watched() -> Instance | None:
        return next((one for one in ours(simulator) if one.is_live), None)

    def by_a_person(name: str, act: Callable[[Instance, str, Operation | None], None], state: str) -> None:
        one = watched()
        if one is not None and one.state == state:
            is_recorded = simulator.switches["latest-operation-of-console"] == "recorded"
            act(one, "console", Operation(name, "", "OPERATING") if is_recorded else None)

    def price_rises() -> None:
        one = watched()
        if one is not None and one.order.bid is not None:
            simulated.set_price(simulated.offering_of(one), simulated.in_dollars(one.order.bid) * Decimal("1.02"))

    def take_back() -> None:
        simulated.reclaim([one for one in ours(simulator) if one.is_live], 0.0)

    at = simulated.now
    for moment, happen in (
        (STOPPED_AT, partial(by_a_person, "StopInstances", simulated.stop, "RUNNING")),
        (STARTED_AT, partial(by_a_person, "StartInstances", simulated.start, "STOPPED")),
        (PRICE_RISES, price_rises),
        (RECLAIMED_AT, take_back),
    ):
        simulated.schedule(EPOCH + moment - at, happen)


def random_settings(seed: int) -> dict[str, str]:
    """One setting of each switch, at random. A launch fails seldom, so that most worlds can be read."""
    rng = random.Random(seed)
    return {switch.name: rng.choice(switch.settings) for switch in TABLE if switch.name != "skew-clock"}


def foreign(simulator: Simulator) -> list[Instance]:
    return [one for one in simulator.world.instances.values() if one.name == "a-persons-own"]


def ours(simulator: Simulator) -> list[Instance]:
    return [one for one in simulator.world.instances.values() if one.name != "a-persons-own"]


def living(simulator: Simulator) -> list[Instance]:
    return [one for one in ours(simulator) if one.is_live]


def spent(simulator: Simulator) -> Decimal:
    """What it has really cost, in the currency of the quotes."""
    dollars = sum((simulator.world.cost(one) for one in ours(simulator)), Decimal(0))
    return dollars * simulator.world.currency_per_dollar


def verify(line: SimulatedLine, folder: Path, run: str = "r1", spend: str = "0.50", **more: Any) -> Done:
    return run_virtual(verifying.run_verification(line, Job(folder, run, line.site, Decimal(spend), **more)))


async def later_clean(line: SimulatedLine, folder: Path, start: float) -> Leftovers:
    await asyncio.sleep(start)
    return await verifying.clean(line, folder)


__all__ = ["GONE", "Killed", "NotSent", "SimulatedLine", "later_clean", "random_settings", "verify", "world"]
