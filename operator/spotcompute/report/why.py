"""Says why something is missing, in a sentence: the cause, the pool, the next attempt, and what a person could change.

Apart from `conclusion`, which says how an environment stands: users read this when instances are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from spotcompute.api.conditions import Reason
from spotcompute.api.times import to_text
from spotcompute.model.ledger import Backoff, Trouble
from spotcompute.model.offering import ON_DEMAND
from spotcompute.plan.allocation import Obstacle
from spotcompute.plan.backoff import FOR_A_PERSON, is_backing_off
from spotcompute.plan.brake import REMEDY
from spotcompute.plan.fallback import due_at, is_due
from spotcompute.plan.field_errors import field_of_part
from spotcompute.plan.limits import room_in_number
from spotcompute.plan.situation import Situation


@dataclass(frozen=True, slots=True)
class Why:
    """`Why` is a `reason` for programs and a `text` for people; `stalled` means that only a person can change it."""

    reason: str
    text: str
    stalled: bool = False


def why_short(situation: Situation) -> Why | None:
    """Says why nothing is asked for now although something is missing. Returns None when a pool may be asked."""
    desired, ledger, ranking = situation.desired, situation.ledger, situation.ranking
    if desired.unmet is not None:
        return Why(Reason.MARKET_UNREADABLE, desired.unmet)
    if not desired.pools:
        text = "spec.instanceRequirements: no type that is sold as spot in these placements meets them. Widen them"
        return Why(Reason.NO_MATCHING_TYPE, text, stalled=True)
    whole = ledger.backoffs.get(None) if is_backing_off(ledger, None, situation.now) else None
    found = _of_backoffs([whole], situation) if whole is not None else _of_the_moment(situation)
    if found is None:
        return None
    at = situation.next_attempt
    promise = f"Next attempt {to_text(at)}" if at is not None else ""
    text = ". ".join(part for part in (found.text, promise, _about_fallback(situation)) if part)
    if len(ranking.rejected) > 1 and whole is None and found.reason != Reason.STOPPING:
        text += f"; {len(ranking.rejected)} pools tried, see status.pools"
    return Why(found.reason, text, found.stalled)


def _of_the_moment(situation: Situation) -> Why | None:
    """Says what keeps every pool from being asked. Returns None when one may be asked."""
    desired = situation.desired
    if situation.missing and room_in_number(desired, situation.ledger) == 0:
        text = f"limits.maxReplicas {desired.limits.count} holds what replicas {desired.replicas} asks for"
        return Why(Obstacle.OVER_LIMIT, f"{text}. Lower replicas, or raise it", stalled=True)
    if situation.braked_until is not None:
        return Why(Reason.STOPPING, f"{stopping(situation)}. {REMEDY}")
    if situation.missing and not situation.missing_spot:
        return Why(*_why_not_on_demand(situation, "onDemand"))
    return None if situation.ranking.kept else _of_rejected(situation)


def stopping(situation: Situation) -> str:
    """Says that instances end by themselves, and what is done about it. Returns nothing while the brake is loose."""
    ends = situation.ledger.self_ends
    if ends is None or not ends.is_braked:
        return ""
    launches = timedelta(hours=1) / situation.policy.place_held
    return (
        "instances stop by themselves soon after their launch, or fail to start, the last at"
        f" {to_text(ends.last_at)}: a place is filled at most {launches:.0f} times an hour"
    )


def _of_rejected(situation: Situation) -> Why:
    """Returns what would end the wait first. A refusal that time ends comes before the other obstacles."""
    rejected = situation.ranking.rejected
    backoffs = [one.backoff for one in rejected if one.backoff is not None]
    others = [one for one in rejected if one.backoff is None]
    if backoffs and not (others and all(backoff.trouble in FOR_A_PERSON for backoff in backoffs)):
        return _of_backoffs(backoffs, situation, is_all=not others)
    order = list(Obstacle)
    first = min(others, key=lambda one: (order.index(one.why), str(one.pool)))
    advice = _ADVICE_ON_OBSTACLES[first.why]
    is_lasting = all(one.why in _LASTING and one.until is None for one in rejected)
    stalled = is_lasting and (situation.desired.fallback is None or first.why is Obstacle.CORDONED)
    return Why(str(first.why), f"{first.pool}: {first.detail}. {advice}", stalled)


def _of_backoffs(backoffs: Sequence[Backoff], situation: Situation, is_all: bool = True) -> Why:
    decisive = decisive_backoff(backoffs)
    stalled = is_all and all(backoff.trouble in FOR_A_PERSON for backoff in backoffs)
    is_unbounded = decisive.trouble is Trouble.PRICE_TOO_LOW and _cap(decisive, situation) is None
    advice = "" if is_unbounded else _advice(decisive)
    text = _explained(decisive, situation)
    return Why(str(decisive.trouble), f"{text}. {advice}" if advice else text, stalled)


def _advice(backoff: Backoff) -> str:
    return correction(backoff) or _ADVICE.get(backoff.trouble, "")


def correction(backoff: Backoff) -> str | None:
    """Returns what to correct, with the path of the field where it is known. None when no correction is needed."""
    if backoff.trouble is not Trouble.INVALID_CONFIGURATION:
        return None
    return f"Correct {field_of_part(backoff.about) or 'the spec'}"


def decisive_backoff(backoffs: Sequence[Backoff]) -> Backoff:
    """Returns the backoff that names the reason: that of the trouble most likely to end by itself."""
    order = list(Trouble)
    return min(backoffs, key=lambda backoff: (backoff.trouble in FOR_A_PERSON, order.index(backoff.trouble)))


def _explained(backoff: Backoff, situation: Situation) -> str:
    where = f" in {backoff.pool}" if backoff.pool else ""
    text = f"{backoff.code}{where}: {in_words(backoff)}"
    cap = _cap(backoff, situation)
    if backoff.trouble is Trouble.PRICE_TOO_LOW and cap is not None:
        price = situation.market.price(backoff.pool) if backoff.pool else None
        # A quote within the bid is older than the refusal, and showing it would seem to deny the refusal.
        quote = f"the market asks {price} per hour, " if price is not None and price > cap else ""
        text += f"; {quote}maxPrice is {cap}"
    return text


def in_words(backoff: Backoff) -> str:
    """Returns the cloud's sentence without its full stop, because another sentence follows, and the request id."""
    request = f" (request {backoff.request_id})" if backoff.request_id else ""
    return f"{backoff.message.rstrip('. ')}{request}"


def _cap(backoff: Backoff, situation: Situation) -> Decimal | None:
    return situation.desired.caps.explicit(backoff.pool.instance_type) if backoff.pool else None


def _about_fallback(situation: Situation) -> str:
    """Returns when on-demand instances will be bought in place of spot, or why they are not."""
    fallback, ledger = situation.desired.fallback, situation.ledger
    if fallback is None or fallback.count_max == 0 or ledger.short_since is None:
        return ""
    if not is_due(situation):
        at = due_at(situation)
        return f"On demand from {to_text(at)}" if at is not None else ""
    return _why_not_on_demand(situation, "onDemandFallback")[1]


def _why_not_on_demand(situation: Situation, field: str) -> tuple[str, str]:
    """Returns why nothing is bought on demand now, as a reason and a sentence. `field` of the spec asks for it."""
    ledger, market = situation.ledger, situation.market
    backoff = ledger.backoffs.get(ON_DEMAND)
    if backoff is not None and is_backing_off(ledger, ON_DEMAND, situation.now):
        return str(backoff.trouble), f"On demand refused too: {backoff.code}: {in_words(backoff)}"
    if market.unreliable_because is not None:
        text = f"Nothing is bought on demand while the quotes are not believed: {market.unreliable_because}"
        return Reason.MARKET_UNREADABLE, text
    if not any(market.list_price(pool) for pool, _ in situation.desired.pools):
        return Reason.MARKET_UNREADABLE, "Nothing is bought on demand, because no price on demand is quoted"
    return Obstacle.OVER_BUDGET, f"The limits of {field} allow no more on demand"


_ADVICE = {
    Trouble.INSUFFICIENT_CAPACITY: "More instanceTypes or placements would help",
    Trouble.NO_ROOM: "Another placement, or a larger subnet, would help",
    Trouble.PRICE_TOO_LOW: "A higher maxPrice, or more types or placements, would help",
    Trouble.QUOTA_EXCEEDED: "Other placements, or a higher quota of spot vCPU in this zone, would help",
    Trouble.INSUFFICIENT_BALANCE: "Add money to the account",
    Trouble.INVALID_CREDENTIALS: "Correct the credentials Secret, or what its key may do",
}

#: Obstacles that only a person can remove, unless they have an end.
_LASTING = frozenset({Obstacle.CORDONED, Obstacle.SHARE_FULL, Obstacle.OVER_LIMIT})

_ADVICE_ON_OBSTACLES = {
    Obstacle.CORDONED: "Take the zone out of the annotation spotcompute.dev/cordon-zone, or add other placements",
    Obstacle.BACKING_OFF: "",
    Obstacle.ZONE_BACKING_OFF: "",
    Obstacle.RECLAIMS_EARLY: "More instanceTypes or placements would help",
    Obstacle.NOT_QUOTED: "Prices are read again every minute; a maxPrice alone needs none",
    Obstacle.OVER_BUDGET: "Raise limits.maxHourlyCost, or lower replicas",
    Obstacle.OVER_LIMIT: "Raise limits.maxVcpu, or lower replicas",
    Obstacle.TOO_FEW: "No part of a gang is bought while the whole is not available",
    Obstacle.SHARE_FULL: "Raise market.maxSharePerPool, or add instanceTypes or placements",
}
