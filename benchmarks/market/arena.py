"""One environment of the real operator on a market made for it, in virtual time; the simulator's book is the judge.

Reconciler, queue, inventory and provider code are those that run in a cluster; network and API server are in memory, as
in `tests/simulation`. Nothing here decides what is bought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import yaml

from cvmsim.catalog import DEFAULT_WORLD, Catalog, parse
from cvmsim.instance import Instance, Operation
from cvmsim.ledger import Request
from simulation.cloudworld import EPOCH, Cloud
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT, IMAGES, NAMES_OF_ENVIRONMENTS, SECRET, World
from spotcompute.cloud.pace import Pace
from spotcompute.plan.policy import Policy

REGION, NAME = "ap-guangzhou", NAMES_OF_ENVIRONMENTS[0]
TYPE = "S5.MEDIUM4"
T = TypeVar("T")
Spec = Mapping[str, Any]


def zone(number: int) -> str:
    """Name of a zone of the arena."""
    return f"{REGION}-{number}"


def catalog(prices: Mapping[tuple[str, str], str], disks_cost: bool) -> Catalog:
    """A world that sells these (zone, type) at these spot prices in dollars, all of one size and list price."""
    document = yaml.safe_load(DEFAULT_WORLD.read_text())
    if not disks_cost:
        del document["disks"], document["internet"]
    zones = sorted({one for one, _ in prices})
    document["regions"] = {
        REGION: {"name": "Bench", "zones": {one: {"id": str(n), "name": one} for n, one in enumerate(zones)}}
    }
    document["types"] = {
        name: {"cpu": 2, "memory": 4, "family": name.partition(".")[0]} for name in sorted({name for _, name in prices})
    }
    document["offerings"] = {
        one: {name: {"stock": 1000, "spot": price, "list": "1"} for (at, name), price in prices.items() if at == one}
        for one in zones
    }
    for account in document["accounts"]:
        account.update(networks={}, securityGroups={}, keyPairs={}, spotQuota=100_000, balance="100000000")
    return parse(document)


class _World(World):
    """The operator with the settings it is shipped with, but for how often it lists."""

    def __init__(self, seed: str, cloud: Cloud, sweep_seconds: float) -> None:
        super().__init__(seed, (NAME,), {}, sweep_seconds=sweep_seconds, cloud=cloud)
        self.policy = Policy()

    @property
    def pace(self) -> Pace:
        sweep = timedelta(seconds=self._sweep_seconds)
        return Pace(sweep, min(timedelta(seconds=5), sweep), timedelta(seconds=60))

    def note(self, line: str) -> None:
        """Nobody reads the trace of days."""


class Arena:
    """`create` an environment, let time pass with `rest`, and read what the cloud knows."""

    def __init__(
        self,
        name: str,
        prices: Mapping[tuple[str, str], str],
        switches: Mapping[str, object] | None = None,
        sweep_seconds: float = 15.0,
        disks_cost: bool = False,
    ) -> None:
        """`disks_cost` False: machines come with disks and bandwidth for nothing, so that costs are those of pools."""
        usual = {"pending-seconds": "3", "terminating-seconds": "5", "reclaim-visible": "terminating"}
        self._cloud = Cloud(catalog(prices, disks_cost), 1, {**usual, **(switches or {})})
        self._world = _World(name, self._cloud, sweep_seconds)
        self._world.cloud_trouble.latency = 0.05  # each way at most: a line without trouble
        self.market = self._cloud.simulator.world
        self._prices = prices

    def create(self, replicas: int, **spec: Any) -> None:
        """Apply the environment and start the operator."""
        zones = sorted({one for one, _ in self._prices})
        usual: dict[str, Any] = {
            "region": REGION,
            "replicas": replicas,
            "placements": [{"zone": one} for one in zones],
            "instanceTypes": sorted({name for _, name in self._prices}),
            "template": {"imageId": IMAGES[0]},
            "credentialsSecretRef": {"name": SECRET},
        }
        self._world.want(NAME, replicas)
        self._world.api.create("default", NAME, {**usual, **spec})
        self._world.start_replicas(1)

    def edit(self, **fields: Any) -> None:
        """Change fields of the spec."""
        self._world.api.change_spec("default", NAME, lambda spec: spec.update(fields))

    def restart(self, down_seconds: float) -> None:
        """kill -9 the operator; it comes back later."""
        self._world.crash(0, down_seconds)

    async def rest(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
        self._cloud.advance()

    @property
    def now(self) -> float:
        """World seconds since the beginning."""
        return asyncio.get_running_loop().time()

    @property
    def status(self) -> dict[str, Any]:
        """What the object says."""
        found: dict[str, Any] = self._world.api.objects["default", NAME].get("status") or {}
        return found

    @property
    def violations(self) -> list[str]:
        """What the judge of the simulation has seen: instances beyond what was wanted, foreign kills."""
        return self._cloud.violations

    # --- the market --------------------------------------------------------------------------------------------------

    def stock(self, at: str, count: int, name: str = TYPE) -> None:
        """So many are to be had."""
        self.market.offerings[at, name].set_stock(count, self.market.now)

    def price(self, at: str, amount: str, name: str = TYPE) -> None:
        """What one costs from now on."""
        self.market.set_price(self.market.offerings[at, name], Decimal(amount))

    def reclaim(self, instances: list[Instance]) -> None:
        """The cloud takes them back without notice."""
        self.market.reclaim(instances, 0.0)
        self._cloud.advance()

    def release(self, instances: list[Instance]) -> None:
        """Somebody ends them in the console."""
        for one in instances:
            operation = Operation("TerminateInstances", f"console-{one.id}", "OPERATING")
            self.market.terminate(one, "console", operation)
        self._cloud.advance()

    def quota(self, at: str, vcpu: int) -> None:
        """Spot vCPU the account may use in a zone."""
        self.market.quotas[ACCOUNT][at] = vcpu

    # --- the book ----------------------------------------------------------------------------------------------------

    def living(self, at: str | None = None) -> list[Instance]:
        """Live instances, in one zone or in all."""
        return [one for one in self._cloud.living() if at in (None, one.order.zone)]

    def everything(self) -> list[Instance]:
        """Every instance there ever was."""
        return list(self.market.instances.values())

    def requests(self) -> list[Request]:
        """Every request that is kept, in order."""
        return list(self._cloud.simulator.ledger.requests())

    def asked(self) -> list[Request]:
        """Every request to buy, in order."""
        return [one for one in self.requests() if one.action == "RunInstances"]

    @staticmethod
    def since_start(moment: float) -> float:
        """A moment of the book in seconds since the beginning."""
        return moment - EPOCH

    def billed(self) -> float:
        """For how many seconds all instances together were paid."""
        ends = ((one.billed_from, one.billed_until or self.market.now) for one in self.everything())
        return sum(end - start for start, end in ends if start is not None)

    def spent(self) -> Decimal:
        """What all instances have cost, in the currency that prices are quoted in."""
        total = sum((self.market.cost(one) for one in self.everything()), Decimal(0))
        return total * self.market.currency_per_dollar

    def watch_purchases(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called after every request that reached the cloud."""
        carry_out = self._cloud.carry_out

        def watched(*arguments: Any) -> Any:
            answer = carry_out(*arguments)
            if arguments[1] == "RunInstances":
                watcher()
            return answer

        self._cloud.carry_out = watched  # type: ignore[method-assign]  # the one place all requests pass


def play(script: Callable[[], Awaitable[T]]) -> T:
    """Run a script in virtual time."""
    return run_virtual(script())
