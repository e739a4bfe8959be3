"""Chooses the subnet of a launch where the spec gives several subnets of one zone: the first that is not full.

Apart from `allocation`, which chooses among pools, because a pool is a type in a zone whatever its subnet: its stock,
its price and the trust in it are the same in each.
"""

from __future__ import annotations

from datetime import datetime

from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Backoff, Ledger
from spotcompute.model.offering import whole_subnet
from spotcompute.plan.backoff import is_backing_off


def subnet_to_ask(desired: Desired, ledger: Ledger, zone: str, now: datetime) -> str | None:
    """Returns the first subnet of the zone that may be asked, or the first of all when none may.

    Returns None when the spec gives the zone once, so that there is nothing to choose.
    """
    subnets = desired.subnets(zone)
    return next(iter([*open_subnets(desired, ledger, zone, now), *subnets]), None)


def open_subnets(desired: Desired, ledger: Ledger, zone: str, now: datetime) -> list[str]:
    """Returns the subnets of the zone that may be asked, in the order of the spec.

    Empty when it gives the zone once.
    """
    return [one for one in desired.subnets(zone) if not is_backing_off(ledger, whole_subnet(zone, one), now)]


def refusals(desired: Desired, ledger: Ledger, zone: str) -> list[Backoff]:
    """Returns the last refusal of each subnet of the zone that has refused, whether its backoff is over or not."""
    known = (ledger.backoffs.get(whole_subnet(zone, one)) for one in desired.subnets(zone))
    return [backoff for backoff in known if backoff is not None]


def all_full(desired: Desired, ledger: Ledger, zone: str, now: datetime) -> Backoff | None:
    """Returns the backoff that ends first when every subnet of the zone backs off, otherwise None."""
    if not desired.subnets(zone) or open_subnets(desired, ledger, zone, now):
        return None
    return min(refusals(desired, ledger, zone), key=lambda backoff: backoff.until)
