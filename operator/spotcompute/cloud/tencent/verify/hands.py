"""Buys and ends: the only place of a verification from which an instance comes, and from which one is asked to go.

Apart from `course`, so that the promises about money stand in one place. Nothing is bought without a line in the
journal, room in the purse, and time to end it; nothing is ended that was not bought here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from spotcompute.cloud.tencent.verify import asks
from spotcompute.cloud.tencent.verify.journal import Journal
from spotcompute.cloud.tencent.verify.line import NO_ANSWER, RequestLine, call, seconds
from spotcompute.cloud.tencent.verify.purse import Purse
from spotcompute.cloud.tencent.verify.record import (
    LAUNCH_FAILED,
    TERMINATING,
    Answer,
    Appearance,
    Json,
    Life,
    Record,
)

#: Codes that say that an instance is ending or gone.
ENDED_CODES = (
    "UnsupportedOperation.InstanceStateTerminating",
    "UnsupportedOperation.InstanceStateTerminated",
    "InvalidInstanceId.NotFound",
)

#: Seconds between two requests to end an instance that cannot end yet.
AGAIN = 3.0

#: Seconds that a launch may take until it can be ended, at most. The budget counts them.
LAUNCH_SECONDS = 180.0

#: Seconds after the end of a run at which a timer of the cloud ends whatever this process no longer could.
NET_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Purchase:
    """`Purchase` is one launch: what for, how long it may live, under which token, and what is different in it."""

    purpose: str
    lives_for: float
    token: str | None = None
    changes: Json | None = None


class Hands:
    """`Hands` holds what a verification buys with, and everything that it has bought."""

    def __init__(self, line: RequestLine, journal: Journal, purse: Purse, record: Record, run: str) -> None:
        """Takes the parts. `run` is the name of this verification, and part of every name and token."""
        self.line, self.journal, self.purse, self.record, self.run = line, journal, purse, record, run
        self.goods: asks.Goods | None = None
        self.per_hour = Decimal(0)
        self.stops_buying_at = float("inf")
        self.ends_at = float("inf")
        self.watches_for = 0.0
        self.has_timers = True
        self._number = 0
        self._bodies: dict[str, Json] = {}
        self._buying = asyncio.Lock()

    async def ask(self, key: str, action: str, parameters: Json) -> Answer:
        """Sends a request that buys nothing, and keeps its answer under `key`."""
        answer = await call(self.line, action, parameters)
        self.record.answers[key] = answer
        return answer

    async def buy(self, key: str, order: Purchase) -> Life | None:
        """Launches one instance, one at a time, and keeps the answer under `key`.

        Returns None when the budget or the time forbids it, when it is refused, and when the answer names only
        instances that are known.
        """
        async with self._buying:
            return await self._buy(key, order)

    async def _buy(self, key: str, order: Purchase) -> Life | None:
        goods, at = self.goods, seconds()
        reason = self._forbidden(order, at)
        if goods is None or reason:
            self.record.skipped[key] = reason or "nothing could be bought"
            return None
        self._number += 1
        label = f"{asks.NAME_PREFIX}{self.run}-{self._number}"
        token = order.token or f"{self.run}-{self._number}"
        body = self._body(order, label, token, at)
        name = str(body["InstanceName"])
        self.journal.intend(label, name, self.line.region, self.line.now())
        self.purse.open(label, self.per_hour, order.lives_for + LAUNCH_SECONDS, at)
        answer = await call(self.line, "RunInstances", body)
        self.record.answers[key] = answer
        if answer.code == NO_ANSWER:
            return None  # the journal keeps it open, and the end of the run looks for it by its name
        self.journal.answered(label, answer.ids)
        self.purse.drop(label)
        return self._born(answer, order, name, token, at)

    def _body(self, order: Purchase, label: str, token: str, at: float) -> Json:
        """Returns the parameters of a launch. Under a known token they are those of its first use, with the changes."""
        if self.goods is None:
            raise ValueError("nothing was chosen to buy")
        if token not in self._bodies:
            timer: Json = {}
            if self.has_timers:
                wait = max(600.0, self.ends_at - at) + self.watches_for + NET_SECONDS
                timer = {"ActionTimer": asks.timer(self.line.now() + timedelta(seconds=wait))}
            fixed = {"ClientToken": token, **timer, **(order.changes or {})}
            self._bodies[token] = asks.launch(self.goods, self.run, label, fixed)
        return self._bodies[token] | (order.changes or {})

    def _forbidden(self, order: Purchase, at: float) -> str | None:
        if at >= self.stops_buying_at:
            return "the time was over before"
        if not self.purse.fits(self.per_hour, order.lives_for + LAUNCH_SECONDS, at):
            return "the budget did not allow another instance"
        return None

    def _born(self, answer: Answer, order: Purchase, name: str, token: str, at: float) -> Life | None:
        found = None
        for instance_id in answer.ids:
            if self.record.known(instance_id) is not None:
                continue
            found = Life(instance_id, name, order.purpose, token, answer.at, self._number)
            found.bid = float(self.goods.bid) if self.goods else 0.0
            found.by_id, found.in_list, found.tags = (Appearance(answer.at, at) for _ in range(3))
            self.purse.open(instance_id, self.per_hour, order.lives_for + LAUNCH_SECONDS, at)
            self.record.lives.append(found)
        return found

    async def end(self, life: Life, key: str | None = None) -> Answer:
        """Asks once that an instance of ours ends, and keeps the answer under `key` when there is one."""
        answer = await call(self.line, "TerminateInstances", {"InstanceIds": [life.id]})
        if key:
            self.record.answers[key] = answer
        if not answer.code:
            life.ended_at.append(answer.at)
        if not answer.code or answer.code in ENDED_CODES:
            self.purse.close(life.id, answer.at)
        return answer

    async def see_off(self, life: Life) -> None:
        """Asks until an instance ends, because it cannot be ended in every state."""
        while not life.is_gone and life.state not in (LAUNCH_FAILED, TERMINATING):
            answer = await self.end(life)
            if not answer.code or answer.code in ENDED_CODES:
                return
            await asyncio.sleep(AGAIN)
        self.purse.close(life.id, seconds())
