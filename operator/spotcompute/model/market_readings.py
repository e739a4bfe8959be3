"""What readings of the market are worth: which to believe, and how long a pool's machines can be expected to stay.

Apart from `pool_trust`, which is what a pool has done to one environment: this is what everybody can see of all
pools, those that were never asked too. It is kept in memory with the quotes, and begins anew with the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from spotcompute.model.offering import ExpectedStay, Market, Offering, Pool

#: What was seen longer ago counts half: markets change over days.
HALF_LIFE = timedelta(days=3)

#: What is expected of a pool of which nothing is known yet.
_PRIOR_HOURS = 1.0


def with_expected_stays(market: Market, before: Market) -> Market:
    """`market`, a new reading, with what `before` and it say together of how long pools stay open."""
    if market.observed_at is None:
        return market
    expected_stays = {
        offering.pool: _noted(before.expected_stays.get(offering.pool), offering, market.observed_at)
        for offering in market.offerings.values()
    }
    return replace(market, expected_stays=expected_stays)


def _noted(before: ExpectedStay | None, offering: Offering, now: datetime) -> ExpectedStay:
    is_open = not offering.sold_out
    if before is None:
        return ExpectedStay(0.0, 0.0, now if is_open else None, now)
    passed = max(0.0, (now - before.as_of).total_seconds())
    kept = 0.5 ** (passed / HALF_LIFE.total_seconds())
    was_open = before.open_since is not None
    return ExpectedStay(
        open_seconds=before.open_seconds * kept + (passed if was_open else 0.0),
        closings=before.closings * kept + (1.0 if was_open and not is_open else 0.0),
        open_since=(before.open_since or now) if is_open else None,
        as_of=now,
    )


def expected_stay_hours(expected_stay: ExpectedStay | None) -> float:
    """How long the pool may stay open: its open time by the number of its ends, and the longer the present one lasts
    the more.
    """
    if expected_stay is None:
        return _PRIOR_HOURS
    mean = (expected_stay.open_seconds / 3600 + _PRIOR_HOURS) / (expected_stay.closings + 1)
    since = expected_stay.open_since
    age = max(0.0, (expected_stay.as_of - since).total_seconds() / 3600) if since is not None else 0.0
    return mean * math.sqrt(1 + age)


def relative(pools: Iterable[Pool], market: Market) -> dict[Pool, float]:
    """The expectation of each pool as a part of the best one's: from 0 to 1."""
    hours = {pool: expected_stay_hours(market.expected_stays.get(pool)) for pool in pools}
    best = max(hours.values(), default=1.0)
    return {pool: value / best for pool, value in hours.items()}


#: A reading with less than this part of the pools of the last one is a partial answer, most likely.
_LEAST_PART = 0.5


def quotes_flaw(offerings: Sequence[Offering], before: Mapping[Pool, Offering]) -> str | None:
    """Why a reading of the market is not believed, or None. `before` is what was believed last."""
    if not offerings:
        return "they are empty"
    if not has_prices(offerings):
        return "every price is 0 or missing"
    if len({offering.pool for offering in offerings} & before.keys()) < len(before) * _LEAST_PART:
        return f"{len(offerings)} pools are quoted, and {len(before)} were before"
    return None


def has_prices(offerings: Sequence[Offering]) -> bool:
    """True when at least one price is above 0."""
    return any(offering.price_per_hour for offering in offerings)
