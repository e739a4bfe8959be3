"""Reads the market's quotes once for all environments of an account. A reading that is not believed changes nothing.

Apart from `inventory`, which lists instances: quotes may be old or missing, and no instance depends on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.for_all import begun_for_all
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.market_readings import has_prices, quotes_flaw, with_expected_stays
from spotcompute.model.moments import age
from spotcompute.model.offering import Market

_log = structlog.get_logger(__name__)

#: Age above which quotes are not used any more when the market cannot be read.
STALE_QUOTES = timedelta(minutes=10)

#: Number of readings that must lack many of the earlier quotes before that is believed.
BELIEVED_AFTER = 3


class MarketReader:
    """`MarketReader` keeps the latest reading that is believed.

    Callers that need quotes at once wait for the same read.
    """

    def __init__(
        self, provider: Callable[[], CloudProvider], clock: Callable[[], datetime], interval: timedelta
    ) -> None:
        """Takes `interval`, the time between two readings, and between two that count as not believed."""
        self._provider, self._clock, self.interval = provider, clock, interval
        self.latest = Market()
        self._tried_at: datetime | None = None
        self._unbelieved_readings = 0
        self._unbelieved_at: datetime | None = None
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self, oldest: timedelta) -> None:
        """Reads the quotes anew when they are at least `oldest` old. All callers wait for the same read."""
        if self._reading is None or self._reading.done():
            tried_at = self._tried_at
            if tried_at is not None and age(tried_at, self._clock()) < oldest:
                return
            self._reading = begun_for_all(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        """Takes in a reading that is believed. Otherwise the earlier one stays, with the reason why the new one is not
        believed.

        A reading with only part of the earlier quotes is believed after some minutes, because the vendor may now sell
        less.
        """
        self._tried_at = now = self._clock()
        try:
            offerings = await self._provider().list_offerings()
        except CloudError as error:
            _log.warning("market_unreadable", account=self._provider().name, error=str(error))
            read_at = self.latest.observed_at
            if read_at is None or age(read_at, self._clock()) > STALE_QUOTES:
                self.latest = replace(self.latest, unreliable_because=f"they cannot be read: {error.code}")
            return
        flaw = quotes_flaw(offerings, self.latest.offerings)
        if flaw is None:
            self._unbelieved_at = None
        elif self._unbelieved_at is None or age(self._unbelieved_at, self._clock()) >= self.interval:
            self._unbelieved_readings, self._unbelieved_at = self._unbelieved_readings + 1, now
        if flaw is None or (has_prices(offerings) and self._unbelieved_readings >= BELIEVED_AFTER):
            self._unbelieved_readings = 0
            fresh = Market({offering.pool: offering for offering in offerings}, now)
            self.latest = with_expected_stays(fresh, self.latest)
            return
        if self._unbelieved_readings == 1:
            _log.warning("market_doubted", account=self._provider().name, why=flaw)
        self.latest = replace(self.latest, unreliable_because=flaw)
