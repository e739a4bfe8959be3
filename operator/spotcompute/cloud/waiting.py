"""Keeps which environments of one account wait for stock, and where a launch was last accepted.

Apart from `inventory`, which shows instances: these are answers to launches, and one environment's answer is news for
the others. In memory only: a fresh process asks as if no other environment waited, and learns with one run of
each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from spotcompute.model.moments import age
from spotcompute.model.offering import Pool

K = TypeVar("K")

#: An environment that has not said for so long that it waits is gone. Each says so at least every five minutes.
KEPT_FOR = timedelta(minutes=15)


#: Time between two wake-ups by sales of one pool.
PAUSE = timedelta(seconds=10)


class Waiting:
    """`Waiting` counts the environments that wait, and holds the time of the last sale in each pool."""

    def __init__(self, clock: Callable[[], datetime], wake: Callable[[Collection[str]], None]) -> None:
        """Takes `wake`, which is called with the ids of environments that a sale is news for."""
        self._clock, self._wake = clock, wake
        self._waiting: dict[str, datetime] = {}
        self._sold_at: dict[Pool, datetime] = {}

    @property
    def count(self) -> int:
        """Returns how many environments wait."""
        return len(self._recent(self._waiting))

    @property
    def sold_at(self) -> Mapping[Pool, datetime]:
        """Returns when a launch was last accepted in each pool."""
        return self._sold_at

    def note(self, environment_id: str, is_waiting: bool) -> None:
        """Takes note that an environment waits for instances, or does not."""
        self._waiting = self._recent(self._waiting)
        self._waiting.pop(environment_id, None)
        if is_waiting:
            self._waiting[environment_id] = self._clock()

    def sold(self, pool: Pool, environment_id: str) -> None:
        """Takes note that `pool` has sold, and wakes the others that wait, at most once in ten seconds."""
        before = self._sold_at.get(pool)
        self._sold_at = {**self._recent(self._sold_at), pool: self._clock()}
        if before is None or age(before, self._clock()) > PAUSE:
            self._wake([other for other in self._recent(self._waiting) if other != environment_id])

    def _recent(self, moments: Mapping[K, datetime]) -> dict[K, datetime]:
        return {key: moment for key, moment in moments.items() if age(moment, self._clock()) < KEPT_FOR}
