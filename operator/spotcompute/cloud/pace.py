"""Says how often an account is swept: as fast as its size and its share of the rate allow, slower after a refusal.

Apart from `inventory`, which sweeps, because these are numbers and moments, without a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotcompute.cloud.errors import CloudError, Throttled
from spotcompute.model.moments import age

#: An account that was not asked about for this long is no longer swept, unless its environments run more rarely.
IDLE = timedelta(minutes=30)

#: A sweep serves until the second after it is due, and at least for this long after the next is due.
GRACE = timedelta(seconds=5)

#: Time until a key that was refused for the first time is tried again, because one refusal may be an accident.
RECHECK = timedelta(seconds=1)

#: Longest rest of a key that the cloud refuses.
KEY_RESTS_MAX = timedelta(seconds=35)

#: Sweeps that are planned this far apart may begin a little closer together, and still count each.
NEARLY_APART = 0.75

#: The most that refusals for the rate stretch the time between two sweeps.
SLOWEST = 4.0

#: Less than this over the usual time is the usual time.
NEARLY = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """`Pace` holds the times between two sweeps and between two readings of the market.

    Two sweeps begin at least `sweep` apart. In an account with many instances it is as long as it takes to list them at
    `instances_per_second`, but because of that no longer than `sweep_limit`. While an instance is missing, sweeps begin
    `suspect` apart, where that is sooner.

    An account that was not asked about for `idle` is no longer swept. `idle` must be longer than the longest time
    between two runs of an environment, because a quiet environment asks only in a run. Otherwise its losses would not
    be noticed.
    """

    sweep: timedelta
    suspect: timedelta
    market: timedelta
    failure_limit: timedelta = timedelta(seconds=60)
    idle: timedelta = IDLE
    sweep_limit: timedelta = timedelta(seconds=60)
    instances_per_second: float = 760.0

    def rest_after(self, failures: int) -> timedelta:
        """Returns how long to wait after so many failures in a row."""
        return min(self.failure_limit, self.suspect * (1 << min(max(0, failures - 1), 10)))

    def rest_of_key(self, refusals: int) -> timedelta:
        """Returns how long a refused key rests. It may be allowed again without a change of its Secret."""
        return RECHECK if refusals <= 1 else min(KEY_RESTS_MAX, self.rest_after(refusals))

    @property
    def agreeing_apart(self) -> float:
        """Returns the least time in seconds between the beginnings of two sweeps that are evidence each."""
        return NEARLY_APART * self.suspect.total_seconds()

    def to_list(self, instances: int) -> timedelta:
        """Returns the time that a list of so many instances should take, at most `sweep_limit`."""
        return min(self.sweep_limit, timedelta(seconds=instances / self.instances_per_second))


class Tempo:
    """`Tempo` says when the next sweep of an account is due, and how old its view may be."""

    def __init__(self, pace: Pace, clock: Callable[[], datetime]) -> None:
        """Begins with an account of no instances in which no sweep has failed."""
        self._pace, self._clock = pace, clock
        self._instances, self._stretch = 0, 1.0
        self.failures, self.error = 0, None
        self._failed_at: datetime | None = None
        self._is_key_in_doubt = False

    error: CloudError | None

    def went_well(self, instances: int) -> None:
        """Takes note of a complete sweep, and of the number of instances in it."""
        self._instances = instances
        self.failures, self.error, self._failed_at = 0, None, None
        self._stretch = 1 + (self._stretch - 1) / 2 if self._stretch > 1 + NEARLY else 1.0

    def failed(self, error: CloudError, *, is_key_in_doubt: bool) -> None:
        """Takes note of a sweep that showed nothing. After a refusal for the rate all sweeps are rarer for a while."""
        self.failures, self.error, self._failed_at = self.failures + 1, error, self._clock()
        self._is_key_in_doubt = is_key_in_doubt
        if isinstance(error, Throttled):
            self._stretch = min(SLOWEST, 2 * self._stretch)

    def forgive(self) -> None:
        """Lets the next sweep begin at once: a new key has come, and the failures before say nothing about it."""
        self._failed_at = None

    @property
    def interval(self) -> timedelta:
        """Returns the time from the beginning of one sweep to that of the next."""
        return max(self._pace.sweep, self._pace.to_list(self._instances)) * self._stretch

    def interval_seconds(self) -> float:
        """Returns `interval` in seconds."""
        return self.interval.total_seconds()

    @property
    def hurried(self) -> timedelta:
        """Returns the same while an instance is missing. It is never shorter than the size of the account allows."""
        soonest = max(self._pace.suspect, self._pace.to_list(self._instances)) * self._stretch
        return min(soonest, self.interval)

    @property
    def oldest_view(self) -> timedelta:
        """Returns how old a sweep may be that still serves."""
        return self.interval + max(self.interval, GRACE)

    @property
    def rest(self) -> timedelta:
        """Returns how long until the next sweep while the last sweeps have failed. Zero otherwise."""
        if self._failed_at is None:
            return timedelta(0)
        is_checked = self._is_key_in_doubt and self.failures <= 1
        rest = RECHECK if is_checked else self._pace.rest_after(self.failures)
        return max(timedelta(0), rest - age(self._failed_at, self._clock()))
