"""The status as a whole: what is written after a run, and what is committed before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

from spotcompute.api.conditions import carry_over
from spotcompute.api.ledger import encode
from spotcompute.api.status import CostStatus, InstanceStatus, PoolStatus
from spotcompute.api.times import to_text
from spotcompute.model.activity import Activity
from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance
from spotcompute.model.launch import template_digest
from spotcompute.model.ledger import Ledger, Member, Rest
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.capacity import in_flight, is_ready, occupying, ready_count, shortfall
from spotcompute.plan.cooldown import next_attempt
from spotcompute.report.conclusion import Conclusion, conclude, instances_in, leaving_note, pool_state, refusal_of
from spotcompute.report.history import appended

#: Instances no longer in use but not proven gone are shown too; this bounds the list for very large environments.
INSTANCES_SHOWN = 2200


def committed(previous: Mapping[str, Any], ledger: Ledger, activities: Sequence[Activity]) -> dict[str, Any]:
    """The status to commit before acting: the ledger and the history, everything else as it was."""
    history = appended(previous.get("activities") or [], activities)
    return {
        **previous,
        "environmentID": ledger.environment_id,
        "ledger": encode(ledger),
        **({"activities": history} if history else {}),
    }


def troubled(
    previous: Mapping[str, Any], conclusion: Conclusion, ledger: Ledger | None, generation: int, now: datetime
) -> dict[str, Any]:
    """The status when the run could not see or decide: what was known stays, and the conditions say what is wrong.

    A ledger is written even then: its absence would later mean that it was lost.
    """
    return {
        **previous,
        "observedGeneration": generation,
        "phase": conclusion.phase,
        "reason": conclusion.reason,
        "replicas": previous.get("replicas", 0),
        "conditions": carry_over(
            previous.get("conditions") or [], [*conclusion.conditions(), *refusal_of(ledger)], generation, now
        ),
        **({"environmentID": ledger.environment_id, "ledger": encode(ledger)} if ledger else {}),
    }


def report(
    previous: Mapping[str, Any],
    desired: Desired,
    ledger: Ledger,
    observed: Observation,
    activities: Sequence[Activity],
    now: datetime,
    selector: str,
) -> dict[str, Any]:
    """The whole status after a run. Deterministic; equal circumstances give equal text, so nothing is written twice."""
    conclusion = conclude(desired, ledger, observed, now)
    present = template_digest(desired.template, desired.user_data_digest)
    occupied = occupying(ledger)
    optional: dict[str, Any] = {
        "instances": _instances(ledger, observed, present),
        "pools": _pools(desired, ledger, observed.market, now),
        "cost": _cost(occupied, observed.market),
        "nextAttemptTime": _next_attempt_time(desired, ledger, conclusion, now),
        "activities": appended(previous.get("activities") or [], activities),
        "ledger": encode(ledger),
    }
    return {
        "observedGeneration": desired.generation,
        "phase": conclusion.phase,
        "reason": conclusion.reason,
        "replicas": len(occupied) + in_flight(ledger),
        "readyReplicas": ready_count(ledger, observed.instances),
        "updatedReplicas": sum(_is_updated(member, present) for member in occupied),
        "selector": selector,
        "environmentID": ledger.environment_id,
        "conditions": carry_over(
            previous.get("conditions") or [], [*conclusion.conditions(), *refusal_of(ledger)], desired.generation, now
        ),
        **{key: value for key, value in optional.items() if value},
    }


def _next_attempt_time(desired: Desired, ledger: Ledger, conclusion: Conclusion, now: datetime) -> str | None:
    waits = conclusion.phase in ("Waiting", "Stalled") and shortfall(ledger, desired.replicas) > 0
    return to_text(next_attempt(ledger, [pool for pool, _ in desired.pools], now)) if waits else None


def _is_updated(member: Member, present: str) -> bool:
    return member.template_digest in (None, present)


def _instances(ledger: Ledger, observed: Observation, present: str) -> list[dict[str, Any]]:
    members = [ledger.members[key] for key in sorted(ledger.members)][:INSTANCES_SHOWN]
    return [_instance(member, observed.instances.get(member.id), observed.market, present) for member in members]


def _instance(member: Member, instance: Instance | None, market: Market, present: str) -> dict[str, Any]:
    price = market.price(member.pool)
    return _instance_line(
        member.id,
        member.pool,
        str(instance.state) if instance else "UNSEEN" if member.seen else "LAUNCHED",
        is_ready(member, instance),
        price if not (instance and instance.has_ended) else None,
        instance.created_at if instance else member.launched_at,
        instance.private_ip if instance else None,
        instance.public_ip if instance else None,
        _is_updated(member, present),
        leaving_note(member),
    )


@lru_cache(16384)  # of thousands of instances, few have changed since the last report; nobody changes the result
def _instance_line(
    instance_id: str,
    pool: Pool,
    state: str,
    ready: bool,
    price: Decimal | None,
    launched_at: datetime,
    private_ip: str | None,
    public_ip: str | None,
    updated: bool,
    note: str | None,
) -> dict[str, Any]:
    return InstanceStatus(
        id=instance_id,
        zone=pool.zone,
        instance_type=pool.instance_type,
        state=state,
        ready=ready,
        price_per_hour=_optional_money(price),
        launched_at=to_text(launched_at),
        private_ip=private_ip,
        public_ip=public_ip,
        updated=updated,
        note=note,
    ).to_json()


def _pools(desired: Desired, ledger: Ledger, market: Market, now: datetime) -> list[dict[str, Any]]:
    return [_pool(pool, ledger, market, now) for pool, _ in desired.pools]


def _pool(pool: Pool, ledger: Ledger, market: Market, now: datetime) -> dict[str, Any]:
    rest: Rest | None = ledger.rests.get(pool)
    offering = market.offerings.get(pool)
    state = pool_state(rest, now)
    resting = rest is not None and state != "Available"
    return PoolStatus(
        zone=pool.zone,
        instance_type=pool.instance_type,
        state=state,
        instances=instances_in(ledger, pool),
        price_per_hour=_optional_money(offering.price_per_hour if offering else None),
        on_demand_price_per_hour=_optional_money(offering.on_demand_price_per_hour if offering else None),
        last_error=f"{rest.code}: {rest.message}" if rest else None,
        reason=str(rest.trouble) if rest else None,
        failures=rest.failures if rest else None,
        next_attempt_time=to_text(rest.until) if rest and resting else None,
    ).to_json()


def _cost(occupied: Sequence[Member], market: Market) -> dict[str, Any] | None:
    """What the instances cost per hour now; None while no price is known."""
    offerings = [market.offerings.get(member.pool) for member in occupied]
    prices = [offering.price_per_hour for offering in offerings if offering and offering.price_per_hour is not None]
    if not prices or len(prices) < len(occupied):
        return None
    lists = [item.on_demand_price_per_hour for item in offerings if item and item.on_demand_price_per_hour is not None]
    spot, full = sum(prices, Decimal(0)), sum(lists, Decimal(0)) if len(lists) == len(occupied) else None
    saved = int((1 - spot / full) * 100) if full else None
    return CostStatus(per_hour=_money(spot), on_demand_per_hour=_optional_money(full), saved_percent=saved).to_json()


@lru_cache(4096)
def _money(amount: Decimal) -> str:
    """At most six decimals, no exponent, no trailing zeros: `0.0923`."""
    text = format(amount.quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP), "f")
    return text.rstrip("0").rstrip(".") or "0"


def _optional_money(amount: Decimal | None) -> str | None:
    return None if amount is None else _money(amount)
