"""Says which zones are closed for launches now: a person has cordoned them, perhaps until a time.

Apart from `backoff`, which is about what the cloud refuses. What runs in a cordoned zone stays.
"""

from __future__ import annotations

from datetime import datetime

from spotcompute.model.desired import Cordon, Desired


def cordon_of(desired: Desired, zone: str, now: datetime) -> Cordon | None:
    """Returns the cordon that closes `zone` now. Returns None when launches are allowed there."""
    return next((one for one in in_force(desired, now) if one.zone == zone), None)


def in_force(desired: Desired, now: datetime) -> tuple[Cordon, ...]:
    """Returns the cordons that are not over, by zone."""
    return tuple(one for one in desired.cordons.closed if one.until is None or now < one.until)


def next_end(desired: Desired, now: datetime) -> datetime | None:
    """Returns when the first cordon ends. Returns None when none will end by itself."""
    return min((one.until for one in in_force(desired, now) if one.until is not None), default=None)
