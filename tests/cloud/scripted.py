"""A cloud that shows exactly what a test puts there, takes as long as it is told, and counts its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from clock import clock, now
from plan.given import OURS, THEIRS, instance, seconds
from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.inventory import Inventory
from spotcompute.cloud.pace import Pace
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.instance import Instance
from spotcompute.model.launch import LaunchRequest, Template
from spotcompute.model.offering import Offering, Pool

PACE = Pace(sweep=seconds(15), suspect=seconds(5), market=seconds(60), failure_limit=seconds(60))

ENV, OTHER = OURS.environment_id, THEIRS.environment_id
MINE, HIS = instance("ins-1"), instance("ins-2", ownership=THEIRS)


@dataclass
class ScriptedCloud:
    """`listed` is what sweeps show, `hidden` what only a look-up by id or name shows, `lost` what no look-up shows.

    `trouble` fails calls by name.

    `number` is what it answers when asked whose the key is.
    """

    key: str = "key/region"
    number: str = "100000000001"
    account: str | None = None
    listed: list[Instance] = field(default_factory=list)
    hidden: list[Instance] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    offerings: list[Offering] = field(default_factory=list)
    list_prices: dict[str, Decimal] = field(default_factory=dict)
    trouble: dict[str, CloudError | Exception] = field(default_factory=dict)
    latency: float = 0.0
    calls: list[tuple[str, float]] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def _call(self, name: str) -> None:
        self.calls.append((name, now()))
        if self.latency:
            await asyncio.sleep(self.latency)
        if name in self.trouble:
            raise self.trouble[name]

    def times(self, name: str) -> list[float]:
        """When that method was called."""
        return [at for method, at in self.calls if method == name]

    @property
    def name(self) -> str:
        """The account as it is logged."""
        return self.account or self.key

    async def identify(self) -> str:
        """What stands in `number`."""
        await self._call("identify")
        self.account = self.number
        return self.number

    async def list_instances(self, cluster_id: str) -> tuple[Instance, ...]:
        """What stood in `listed` when the call began."""
        shown = tuple(self.listed)
        await self._call("list")
        return shown

    async def get_instances(self, ids: Sequence[str], on_behalf_of: str) -> tuple[Instance, ...]:
        """Listed or hidden, by id."""
        self.asked.append(tuple(ids))
        await self._call("get")
        return tuple(item for item in (*self.listed, *self.hidden) if item.id in ids and item.id not in self.lost)

    async def find_by_name(self, name: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """Listed or hidden, by name."""
        await self._call("find")
        return tuple(item for item in (*self.listed, *self.hidden) if item.name.startswith(name))

    async def list_offerings(self) -> tuple[Offering, ...]:
        """What stands in `offerings`."""
        await self._call("market")
        return tuple(self.offerings)

    async def list_price(self, pool: Pool, template: Template, on_behalf_of: str) -> Decimal:
        """What stands in `list_prices` for the zone."""
        await self._call("price")
        return self.list_prices[pool.zone]

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        """An inventory only looks."""
        raise AssertionError("an inventory launched something")

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        """An inventory only looks."""
        raise AssertionError("an inventory released something")


class News(list[set[str]]):
    """Every call of `on_change`."""

    def __call__(self, environments: Collection[str]) -> None:
        self.append(set(environments))


def inventory_of(cloud: ScriptedCloud, news: News | None = None) -> Inventory:
    return Inventory(cloud, "cluster-a", clock, PACE, news if news is not None else News())
