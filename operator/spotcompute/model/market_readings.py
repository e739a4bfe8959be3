"""Judges readings of the market: which to believe, and how long instances of a pool can be expected to stay.

Apart from `plan.pool_trust`, which is what a pool has done to one environment, because these readings cover all pools,
also those that were never asked. They are kept in memory with the quotes and are lost when the process ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from spotcompute.model.offering import ExpectedStay, Market, Offering, Pool

#: A reading this old counts half, because markets change over days.
HALF_LIFE = timedelta(days=3)

#: How long an instance is expected to stay in a pool of which nothing is known yet.
_PRIOR_HOURS = 1.0


def with_expected_stays(market: Market, before: Market) -> Market:
    """Returns `market`, a new reading, with the expected stays that follow from it and from `before`."""
    if market.observed_at is None:
        return market
    expected_stays = {
        offering.pool: _updated(before.expected_stays.get(offering.pool), offering, market.observed_at)
        for offering in market.offerings.values()
    }
    return replace(market, expected_stays=expected_stays)


def _updated(before: ExpectedStay | None, offering: Offering, now: datetime) -> ExpectedStay:
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
    """Returns for how many hours the pool can be expected to stay open.

    It is the open time divided by how often the pool closed. The longer it has been open now, the higher the result.
    """
    if expected_stay is None:
        return _PRIOR_HOURS
    mean = (expected_stay.open_seconds / 3600 + _PRIOR_HOURS) / (expected_stay.closings + 1)
    since = expected_stay.open_since
    age = max(0.0, (expected_stay.as_of - since).total_seconds() / 3600) if since is not None else 0.0
    return mean * math.sqrt(1 + age)


def relative(pools: Iterable[Pool], market: Market) -> dict[Pool, float]:
    """Returns each pool's expected hours as a fraction (0 to 1) of the best pool's."""
    hours = {pool: expected_stay_hours(market.expected_stays.get(pool)) for pool in pools}
    best = max(hours.values(), default=1.0)
    return {pool: value / best for pool, value in hours.items()}


#: A reading with fewer pools than this fraction of the last one's is most likely a partial answer.
_FRACTION_MIN = 0.5


def quotes_flaw(offerings: Sequence[Offering], before: Mapping[Pool, Offering]) -> str | None:
    """Returns why a reading of the market is not believed. None when it is believed.

    `before` holds the offerings that were believed last.
    """
    if not offerings:
        return "they are empty"
    if not has_prices(offerings):
        return "every price is 0 or missing"
    if len({offering.pool for offering in offerings} & before.keys()) < len(before) * _FRACTION_MIN:
        return f"{len(offerings)} pools are quoted, and {len(before)} were before"
    return None


def has_prices(offerings: Sequence[Offering]) -> bool:
    """True when at least one price is above 0."""
    return any(offering.price_per_hour for offering in offerings)
