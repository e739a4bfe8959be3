"""Asks for the prices of disks and bandwidth. Spot discounts the instance only; these are charged at list price.

Apart from `inventory` because equipment belongs to a template and not to the market. One answer serves all environments
with the same equipment, and is kept for hours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.for_all import begun_for_all
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.launch import Equipment, Template
from spotcompute.model.moments import age
from spotcompute.model.offering import Market, Pool

_log = structlog.get_logger(__name__)

#: Time for which an answer is kept. Prices of disks change over months.
KEPT = timedelta(hours=6)

#: Time between two questions without an answer.
RETRY = timedelta(minutes=1)

#: Longest wait for a price, because a status has to be written meanwhile.
WAIT_MAX = timedelta(seconds=5)

#: Number of answers that are kept. The one whose question is the oldest goes first.
ANSWERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Answer:
    """`_Answer` holds `extra`, the price per instance and hour, and when the cloud was last asked (`asked_at`).

    `extra` is None when the cloud has never answered.
    """

    extra: Decimal | None
    asked_at: datetime
    is_fresh: bool


class EquipmentPrices:
    """`EquipmentPrices` holds what disks and bandwidth cost in one account and region."""

    def __init__(self, provider: Callable[[], CloudProvider], clock: Callable[[], datetime]) -> None:
        """Asks the cloud nothing until the first call of `extras_for`."""
        self._provider, self._clock = provider, clock
        self._answers: dict[tuple[str, Equipment], _Answer] = {}
        self._asking: dict[tuple[str, Equipment], asyncio.Task[None]] = {}

    async def extras_for(
        self, template: Template, pools: Iterable[Pool], market: Market, on_behalf_of: str
    ) -> Mapping[str, Decimal]:
        """Returns the hourly price of the disks and bandwidth of one instance of `template`, by zone of `pools`.

        The cloud only quotes an instance together with its equipment. The part above the market's list price of the
        instance is the price of the equipment. Zones without an answer are left out. Raises nothing: the cloud is asked
        again later, and a late answer is known the next time. While no type of a zone is quoted, its earlier answer
        stays in use.
        """
        pools = list(pools)
        examples = _examples(pools, market)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_MAX.total_seconds()):
                await asyncio.gather(*(self._refresh(pool, template, market, on_behalf_of) for pool in examples))
        known = {zone: self._answers.get((zone, template.equipment)) for zone in {pool.zone for pool in pools}}
        return {zone: answer.extra for zone, answer in known.items() if answer and answer.extra is not None}

    async def _refresh(self, pool: Pool, template: Template, market: Market, on_behalf_of: str) -> None:
        """Asks for a price that is due. All callers that need the same price wait for one answer."""
        key = (pool.zone, template.equipment)
        asking = self._asking.get(key)
        if asking is None:
            answer = self._answers.get(key)
            if answer is not None and age(answer.asked_at, self._clock()) < (KEPT if answer.is_fresh else RETRY):
                return
            asking = self._asking[key] = begun_for_all(self._ask(pool, template, market, on_behalf_of))
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        await asyncio.shield(asking)

    async def _ask(self, pool: Pool, template: Template, market: Market, on_behalf_of: str) -> None:
        key = (pool.zone, template.equipment)
        before = self._answers.pop(key, None)
        extra, is_fresh = before.extra if before else None, False
        try:
            whole = await self._provider().list_price(pool, template, on_behalf_of)
        except CloudError as error:
            if before is None or before.is_fresh:
                _log.warning("equipment_not_priced", account=self._provider().name, zone=pool.zone, error=str(error))
        else:
            extra, is_fresh = max(Decimal(0), whole - (market.list_price(pool) or whole)), True
        self._answers[key] = _Answer(extra, self._clock(), is_fresh)
        while len(self._answers) > ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]


def _examples(pools: Iterable[Pool], market: Market) -> Collection[Pool]:
    """Returns one pool of each zone to ask about: one with a list price, in stock if possible, and cheap."""
    found: dict[str, tuple[bool, Decimal, Pool]] = {}
    for pool in pools:
        offering = market.offerings.get(pool)
        if offering is None or not offering.on_demand_price_per_hour:
            continue
        rank = (offering.sold_out, offering.on_demand_price_per_hour, pool)
        found[pool.zone] = min(found.get(pool.zone, rank), rank)
    return [pool for _, _, pool in found.values()]
