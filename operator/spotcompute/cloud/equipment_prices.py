"""What comes with a machine costs: its disks and its bandwidth, which are charged at full price beside it.

Apart from `inventory`, because it belongs to a template and not to the market: each is asked about once in a while,
and what the cloud answers goes for all environments whose machines are equipped alike.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.launch import Equipment, Template
from spotcompute.model.offering import Market, Pool

_log = structlog.get_logger(__name__)

#: Prices of disks change over months.
KEPT = timedelta(hours=6)

#: Between two questions that were not answered.
RETRY = timedelta(minutes=1)

#: Nobody waits longer for a price: a status is to be written meanwhile.
PATIENCE = timedelta(seconds=5)

#: Answers remembered; the one that was asked for longest ago goes first.
ANSWERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Answer:
    """`extra` per instance and hour, None when it was never told; `asked_at` is the last time it was tried."""

    extra: Decimal | None
    asked_at: datetime
    is_fresh: bool


class EquipmentPrices:
    """What one account is told of prices in one region, beside those of the machines themselves."""

    def __init__(self, provider: CloudProvider, clock: Callable[[], datetime]) -> None:
        """Nothing is asked before the first `extras`."""
        self._provider, self._clock = provider, clock
        self._answers: dict[tuple[str, Equipment], _Answer] = {}
        self._asking: dict[tuple[str, Equipment], asyncio.Task[None]] = {}

    async def extras_for(
        self, template: Template, pools: Iterable[Pool], market: Market, on_behalf_of: str
    ) -> Mapping[str, Decimal]:
        """What comes with one instance of `template` costs per hour in each zone of `pools`, where that is known.

        The cloud tells what a machine costs together with its equipment: what is more than the market's list price of
        the machine alone is the equipment's. Raises nothing; what is not answered is asked again later, and what is
        answered late is known the next time.
        """
        examples = _examples(pools, market)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await asyncio.gather(*(self._refresh(pool, template, market, on_behalf_of) for pool in examples))
        known = {pool.zone: self._answers.get((pool.zone, template.equipment)) for pool in examples}
        return {zone: answer.extra for zone, answer in known.items() if answer and answer.extra is not None}

    async def _refresh(self, pool: Pool, template: Template, market: Market, on_behalf_of: str) -> None:
        """Ask anew what is due; everybody who needs the same waits for the same answer."""
        key = (pool.zone, template.equipment)
        asking = self._asking.get(key)
        if asking is None:
            answer = self._answers.get(key)
            if answer is not None and abs(self._clock() - answer.asked_at) < (KEPT if answer.is_fresh else RETRY):
                return
            asking = self._asking[key] = asyncio.create_task(
                self._ask(pool, template, market, on_behalf_of), context=Context()
            )
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        await asyncio.shield(asking)

    async def _ask(self, pool: Pool, template: Template, market: Market, on_behalf_of: str) -> None:
        key = (pool.zone, template.equipment)
        before = self._answers.pop(key, None)
        extra, is_fresh = before.extra if before else None, False
        try:
            whole = await self._provider.list_price(pool, template, on_behalf_of)
        except CloudError as error:
            if before is None or before.is_fresh:
                _log.warning("equipment_not_priced", account=self._provider.account, zone=pool.zone, error=str(error))
        else:
            extra, is_fresh = max(Decimal(0), whole - (market.list_price(pool) or whole)), True
        self._answers[key] = _Answer(extra, self._clock(), is_fresh)
        while len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]


def _examples(pools: Iterable[Pool], market: Market) -> Collection[Pool]:
    """One pool of each zone to ask about: one that has a list price, is in stock if there is one, and is cheap."""
    found: dict[str, tuple[bool, Decimal, Pool]] = {}
    for pool in pools:
        offering = market.offerings.get(pool)
        if offering is None or not offering.on_demand_price_per_hour:
            continue
        rank = (offering.sold_out, offering.on_demand_price_per_hour, pool)
        found[pool.zone] = min(found.get(pool.zone, rank), rank)
    return [pool for _, _, pool in found.values()]
