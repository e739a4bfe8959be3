"""Looks at every instance of a verification, often while something changes, and seldom otherwise.

Apart from `course`, which waits for what is seen here. It runs beside the questions for as long as the run takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from spotcompute.cloud.tencent.verify import asks
from spotcompute.cloud.tencent.verify.answered import inquired
from spotcompute.cloud.tencent.verify.hands import Hands
from spotcompute.cloud.tencent.verify.line import NO_ANSWER, NOT_ALLOWED, call, items, seconds
from spotcompute.cloud.tencent.verify.record import RUNNING, Life, PriceLook

#: Seconds between two looks: right after a change, and the longest. It grows by a part of the time that has passed.
SHORTEST, LONGEST, GROWTH = 1.0, 10.0, 0.05

#: Seconds between two looks at the price.
PRICE_SECONDS = 15.0


async def until_true(condition: Callable[[], bool], end: float) -> None:
    """Waits until the condition holds, but not longer than to `end`."""
    while True:
        if condition() or seconds() >= end:
            return
        await asyncio.sleep(SHORTEST / 2)


class Watcher:
    """`Watcher` keeps the lives in the record up to date."""

    def __init__(self, hands: Hands, longest: float = LONGEST) -> None:
        """Takes the hands, which know all instances, and the longest time between two looks at one."""
        self._hands, self._longest = hands, longest
        self._due: dict[str, float] = {}
        self._price_due = 0.0

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(SHORTEST / 2)

    async def look(self) -> None:
        """Looks at everything that is due."""
        now = seconds()
        for life in list(self._hands.record.lives):
            if not life.is_gone and now >= self._due.get(life.id, 0.0):
                await self._look_at(life)
                self._due[life.id] = now + self._pause(life, now)
        if now >= self._price_due:
            self._price_due = now + PRICE_SECONDS
            await self._look_at_price()

    def _pause(self, life: Life, now: float) -> float:
        if not life.sightings:
            return SHORTEST
        lag = life.by_id.lag.upper if life.by_id.lag else 0.0
        asked = [at + later for at in (*life.ended_at, *life.asked_at) for later in (0.0, lag)]
        events = [life.born_at, *asked, *(one.first for one in life.sightings)]
        return min(self._longest, max(SHORTEST, GROWTH * min(abs(now - event) for event in events)))

    async def _look_at(self, life: Life) -> None:
        answer = await call(self._hands.line, "DescribeInstances", {"InstanceIds": [life.id]})
        is_absent = answer.code == "InvalidInstanceId.NotFound"
        if answer.code and not is_absent:
            return
        found = next((item for item in items(answer, "InstanceSet") if item.get("InstanceId") == life.id), None)
        was = life.state
        life.look(answer.at, found)
        if life.is_gone and was:
            self._hands.journal.gone(life.id)
            self._hands.purse.close(life.id, answer.at)
        if life.in_list.seen_at is None and not life.is_gone:
            await self._look_for(life)

    async def _look_for(self, life: Life) -> None:
        filters = [{"Name": "instance-name", "Values": [life.name]}]
        answer = await call(self._hands.line, "DescribeInstances", {"Filters": filters})
        if not answer.code:
            is_there = any(item.get("InstanceId") == life.id for item in items(answer, "InstanceSet"))
            life.in_list.look(answer.at, is_there)

    async def _look_at_price(self) -> None:
        hands = self._hands
        goods, first = hands.goods, hands.record.answers.get("inquiry")
        if goods is None or first is None or first.code in (*NOT_ALLOWED, NO_ANSWER):
            return
        names = {"zone": goods.zone, "instance-type": goods.type, "instance-charge-type": "SPOTPAID"}
        filters = [{"Name": name, "Values": [value]} for name, value in names.items()]
        quoted = await call(hands.line, "DescribeZoneInstanceConfigInfos", {"Filters": filters})
        told = await call(hands.line, "InquiryPriceRunInstances", asks.inquiry(goods))
        price = next((asks.quoted_price(item) for item in items(quoted, "InstanceTypeQuotaSet")), None)
        amount = inquired(told)
        if price is not None and amount is not None:
            hands.record.prices.append(PriceLook(told.at, float(price), amount))

    async def until(self, life: Life, *states: str, within: float) -> bool:
        """Waits until an instance is seen in one of the states. False when it was not, in so many seconds."""
        await until_true(lambda: life.is_gone or life.state in states, seconds() + within)
        return life.state in states

    async def until_running(self, life: Life, within: float) -> bool:
        """Waits until an instance is seen RUNNING. False when it was not."""
        return await self.until(life, RUNNING, within=within)
