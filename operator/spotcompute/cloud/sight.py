"""Tells the environments of an account when its cloud goes out of sight, and when it can be seen again.

Apart from `inventory`, which lists instances: here is only how old the latest view is, who looks at it, and since when
one of them sees less than everything. Time is the running loop's, which cannot be set back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import structlog

from spotcompute.cloud.errors import CloudError, OutcomeUnknown

_log = structlog.get_logger(__name__)

#: A view counts as live for two sweeps and this many seconds. Status says so a second later at most, before it is 10 s.
GRACE_SECONDS = 9.0

#: A view that is this many times as old as one that just counts as live will not be back in a moment.
LASTING = 3

#: How long a caller waits for an answer of a cloud that is out of sight. All are told as soon as it is seen again.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """`View` is one complete listing: when it began, by the wall clock and by the loop's, and how long it took."""

    started_at: datetime
    began: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Blindness:
    """`Blindness` says how old the view is that an environment still has: `last_seen` is None when it never had one.

    `is_passing`: the view still counts as live, and the trouble may be over in a moment. `is_lasting`: it is not.
    """

    last_seen: datetime | None
    is_passing: bool = False
    is_lasting: bool = False


@dataclass(slots=True)
class _Watcher:
    """`_Watcher` is an environment that looks with a key. `half_seen` is its last complete view while look-ups fail."""

    key: str
    asked_at: float
    half_seen: View | None = None


class Sight:
    """`Sight` watches how old the latest view of one account is."""

    def __init__(
        self,
        account: Callable[[], str],
        interval: Callable[[], float],
        kept: float,
        wake: Callable[[Collection[str]], None],
    ) -> None:
        """Takes `interval`, the seconds between two sweeps now, and `wake`, which gets ids of environments to be told.

        An environment that has not asked for `kept` seconds is told no more.
        """
        self._account, self._interval, self._kept, self._wake = account, interval, kept, wake
        self._watchers: dict[str, _Watcher] = {}
        self._view: View | None = None
        self._waits_since: float | None = None  # for the first view
        self._refused: frozenset[str] = frozenset()
        self._failures = 0
        self._error: CloudError | None = None
        self._is_lost = self._is_closed = False
        self._alarm: asyncio.TimerHandle | None = None

    # --- who looks ---------------------------------------------------------------------------------------------------

    def looks(self, environment_id: str, key: str) -> None:
        """Takes note that an environment looks with that key. From now on it is told."""
        known = self._watchers.get(environment_id)
        self._watchers[environment_id] = _Watcher(key, self._now(), known.half_seen if known else None)
        if self._view is None and self._waits_since is None:
            self._waits_since = self._now()
            self._arm()

    def sees_half(self, environment_id: str) -> None:
        """Takes note that an environment could not look up what the list lacks."""
        watcher = self._watchers.get(environment_id)
        if watcher is not None and watcher.half_seen is None:
            watcher.half_seen = self._view

    def sees_all(self, environment_id: str) -> None:
        """Takes note that an environment has a complete view."""
        if environment_id in self._watchers:
            self._watchers[environment_id].half_seen = None

    def blindness_of(self, environment_id: str | None, *, is_refused: bool) -> Blindness:
        """Says how old the view of an environment is that has just failed to look. A refused key never passes."""
        watcher = self._watchers.get(environment_id or "")
        view = (watcher.half_seen if watcher else None) or self._view
        if is_refused or view is None:
            since = view.began if view else self._waits_since
            return Blindness(
                view.started_at if view else None, is_lasting=is_refused or self._age(since) >= self._lasting
            )
        age = self._age(view.began)
        return Blindness(view.started_at, age < self._limit, age >= self._lasting)

    # --- what the sweeps bring ---------------------------------------------------------------------------------------

    @property
    def error(self) -> CloudError | None:
        """Returns why nothing can be seen while the view is too old to be live. None otherwise."""
        if not self._is_lost:
            return None
        return self._error or OutcomeUnknown("NoAnswer", "the cloud does not answer")

    def came(self, view: View) -> None:
        """Takes in a complete view: environments that were told that there was none are told again."""
        self._prune()
        was_lost, failures, before = self._is_lost, self._failures, self._view
        self._view, self._failures, self._error, self._is_lost = view, 0, None, False
        self._arm()
        if was_lost or failures:
            last_seen = before.started_at.isoformat() if before else None
            _log.info("sweep_recovered", account=self._account(), failures=failures, last_seen=last_seen)
        if was_lost:
            self._wake(tuple(self._watchers))

    def failed(self, error: CloudError) -> None:
        """Takes in a sweep that brought nothing. One outage is one line in the log, whichever caller saw it."""
        self._failures, self._error = self._failures + 1, error
        if self._failures == 1 and not self._is_lost:
            _log.warning("sweep_failed", account=self._account(), error=str(error))
        if self._view is None:
            self._lose()

    def refusals(self, keys: Collection[str]) -> None:
        """Takes in the keys that the cloud refuses now, and tells the environments that look with one that changed."""
        changed, self._refused = self._refused ^ frozenset(keys), frozenset(keys)
        concerned = [one for one, watcher in self._watchers.items() if watcher.key in changed]
        if concerned:
            self._wake(concerned)

    def close(self) -> None:
        """Tells no environment any more, because the account is swept no more."""
        self._is_closed = True
        self._disarm()

    # --- the age of the view -----------------------------------------------------------------------------------------

    @property
    def _limit(self) -> float:
        """Returns the age up to which a view counts as live: two sweeps, each with its pause, and the grace."""
        return 2 * (self._interval() + (self._view.seconds if self._view else 0.0)) + GRACE_SECONDS

    @property
    def _lasting(self) -> float:
        return LASTING * self._limit

    def _arm(self) -> None:
        """Sets the alarm for the moment at which the view is too old, and then for the one at which that lasts."""
        self._disarm()
        if self._is_closed:
            return
        since = self._view.began if self._view else self._waits_since or self._now()
        loop, due = asyncio.get_running_loop(), since + self._limit
        if not self._is_lost:
            self._alarm = loop.call_at(due, self._lose)
        elif loop.time() < since + self._lasting:
            self._alarm = loop.call_at(since + self._lasting, self._tell_all)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _lose(self) -> None:
        if self._is_lost:
            return
        if not self._failures:  # a cloud that hangs has not failed yet
            _log.warning("sweep_failed", account=self._account(), error="NoAnswer: the cloud does not answer")
        self._is_lost = True
        self._tell_all()
        self._arm()

    def _tell_all(self) -> None:
        self._wake(tuple(self._watchers))

    def _prune(self) -> None:
        oldest = self._now() - self._kept
        self._watchers = {one: watcher for one, watcher in self._watchers.items() if watcher.asked_at >= oldest}

    def _age(self, began: float | None) -> float:
        return 0.0 if began is None else self._now() - began

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
