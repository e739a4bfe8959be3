"""Limits requests per second by account, region and action, as published: one token bucket each, in world time.

Apart from the actions, because the gateway refuses before any parameter is read.
"""

from collections.abc import Mapping

from cvmsim.errors import ApiError


class Limits:
    """`Limits` holds the rates by action.

    A rate of 0, or none, is no limit. A bucket holds the requests of one second.
    """

    def __init__(self, rates: Mapping[str, float]) -> None:
        self.rates = dict(rates)
        self._buckets: dict[tuple[str, str, str], tuple[float, float]] = {}  # → (tokens, when)

    def take(self, account: str, scope: str, action: str, now: float) -> None:
        """Lets one request pass. `scope` is its region, or empty for one count over all regions.

        Raises RequestLimitExceeded when the bucket is empty.
        """
        rate = self.rates.get(action, 0)
        if not rate:
            return
        tokens, when = self._buckets.get((account, scope, action), (rate, now))
        tokens = min(rate, tokens + (now - when) * rate)
        is_allowed = tokens >= 1
        self._buckets[account, scope, action] = (tokens - 1 if is_allowed else tokens, now)
        if not is_allowed:
            raise ApiError(
                "RequestLimitExceeded", f"Your current request times exceed the limit of {rate:g} per second."
            )
