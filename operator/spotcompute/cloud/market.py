"""What the market of an account says, read once for everybody; a reading that cannot be believed changes nothing.

Apart from `inventory`, which lists instances: quotes may be old or missing, and nobody's instance depends on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.market_readings import has_prices, quotes_flaw, with_expected_stays
from spotcompute.model.offering import Market

_log = structlog.get_logger(__name__)

#: Quotes older than this are not reckoned with, when no newer ones can be had.
STALE_QUOTES = timedelta(minutes=10)

#: Readings of the market that lack much of what was quoted before, before that is believed.
BELIEVED_AFTER = 3


class MarketReader:
    """Keeps the latest believed reading; several who need quotes at once wait for the same read."""

    def __init__(self, provider: CloudProvider, clock: Callable[[], datetime], interval: timedelta) -> None:
        """`interval` passes between two readings, and between two that are both not believed."""
        self._provider, self._clock, self.interval = provider, clock, interval
        self.latest = Market()
        self._tried_at: datetime | None = None
        self._doubtful_readings = 0
        self._doubted_at: datetime | None = None
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self, oldest: timedelta) -> None:
        """Read quotes that are as old as `oldest`; everybody who needs them waits for the same read."""
        if self._reading is None or self._reading.done():
            tried_at = self._tried_at
            if tried_at is not None and self._since(tried_at) < oldest:
                return
            # For all: its lines in the log are not those of the reconcile that happens to ask.
            self._reading = asyncio.create_task(self._read(), context=Context())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        """Take in what the market says, if it can be believed; what was believed last stays otherwise, with the doubt.

        A part of what was quoted before is believed when it is said for some minutes: the vendor may sell less by now.
        """
        self._tried_at = now = self._clock()
        try:
            offerings = await self._provider.list_offerings()
        except CloudError as error:
            _log.warning("market_unreadable", account=self._provider.account, error=str(error))
            read_at = self.latest.observed_at
            if read_at is None or self._since(read_at) > STALE_QUOTES:
                self.latest = replace(self.latest, unreliable_because=f"they cannot be read: {error.code}")
            return
        doubt = quotes_flaw(offerings, self.latest.offerings)
        if doubt is None:
            self._doubtful_readings, self._doubted_at = 0, None
        elif self._doubted_at is None or self._since(self._doubted_at) >= self.interval:
            self._doubtful_readings, self._doubted_at = self._doubtful_readings + 1, now
        if doubt is None or (has_prices(offerings) and self._doubtful_readings >= BELIEVED_AFTER):
            self._doubtful_readings = 0
            fresh = Market({offering.pool: offering for offering in offerings}, now)
            self.latest = with_expected_stays(fresh, self.latest)
            return
        if self._doubtful_readings == 1:
            _log.warning("market_doubted", account=self._provider.account, why=doubt)
        self.latest = replace(self.latest, unreliable_because=doubt)

    def _since(self, moment: datetime) -> timedelta:
        """How old that is. A time to come is as old as it is far: the clock has been set back since."""
        return abs(self._clock() - moment)
