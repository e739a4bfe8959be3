"""The status as a whole: what is written after a run, and what is committed before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from spotcompute.api.conditions import carry_over
from spotcompute.api.ledger import encode
from spotcompute.api.status import InstanceStatus, PoolStatus
from spotcompute.api.times import to_text
from spotcompute.model.activity import Activity
from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance
from spotcompute.model.launch import template_digest
from spotcompute.model.ledger import Backoff, Ledger, Member
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.allocation import RejectedPool, next_attempt, rank, scores
from spotcompute.plan.budget import price_of
from spotcompute.plan.capacity import in_flight, is_ready, occupying, ready_count, shortfall
from spotcompute.plan.policy import Policy
from spotcompute.report.conclusion import (
    Conclusion,
    conclude,
    gang_condition,
    instances_in,
    leaving_note,
    pool_state,
    state_refusal_condition,
)
from spotcompute.report.cost import cost_status, optional_money, summed_up, with_spending
from spotcompute.report.history import appended, settled
from spotcompute.report.quote import with_first_error

#: Of more instances than this, `status.instances` shows the `NOTEWORTHY` first ones, and `status.instanceIDs` all.
INSTANCES_SHOWN, NOTEWORTHY = 100, 35

#: As many as there can be placements; instances of earlier ones may be in others.
ZONES_SHOWN = 20


def intent_status(previous: Mapping[str, Any], ledger: Ledger, activities: Sequence[Activity]) -> dict[str, Any]:
    """The status to commit before acting: the ledger and the history, everything else as it was."""
    history = appended(previous.get("activities") or [], activities)
    return {
        **{key: value for key, value in previous.items() if key != "quote"},  # what is being bought is quoted no more
        "environmentID": ledger.environment_id,
        "ledger": encode(ledger),
        **({"activities": history} if history else {}),
    }


def problem_status(
    previous: Mapping[str, Any], conclusion: Conclusion, ledger: Ledger | None, generation: int, now: datetime
) -> dict[str, Any]:
    """The status when the run could not see or decide: what was known stays, and the conditions say what is wrong.

    A ledger is written even then: its absence would later mean that it was lost.
    """
    is_known = previous.get("observedGeneration") == generation
    return {
        **{key: value for key, value in previous.items() if key != "quote" or is_known},
        "observedGeneration": generation,
        "phase": conclusion.phase,
        "reason": conclusion.reason,
        "replicas": previous.get("replicas", 0),
        "conditions": carry_over(
            previous.get("conditions") or [],
            [*conclusion.conditions(), *state_refusal_condition(ledger)],
            generation,
            now,
        ),
        **({"environmentID": ledger.environment_id, "ledger": encode(ledger)} if ledger else {}),
    }


def full_status(
    previous: Mapping[str, Any],
    desired: Desired,
    ledger: Ledger,
    observed: Observation,
    activities: Sequence[Activity],
    now: datetime,
    policy: Policy,
    selector: str,
    currency: str,
    quote: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole status after a run. Deterministic; equal circumstances give equal text, so nothing is written twice."""
    ledger = with_spending(ledger, observed.market, now)
    conclusion = with_first_error(conclude(desired, ledger, observed, now, policy), quote)
    present = template_digest(desired.template, desired.user_data_digest)
    occupied = occupying(ledger)
    optional: dict[str, Any] = {
        "zones": sorted({member.pool.zone for member in occupied})[:ZONES_SHOWN],
        "instances": _instances(ledger, observed, present),
        "instanceIDs": sorted(ledger.members) if len(ledger.members) > INSTANCES_SHOWN else None,
        "pools": _pools(desired, ledger, observed.market, now, policy),
        "cost": cost_status(ledger, observed.market, currency),
        "quote": quote,
        "nextAttemptTime": _next_attempt_time(desired, ledger, observed.market, conclusion, now, policy),
        "activities": settled(appended(previous.get("activities") or [], activities), ledger, now),
        "ledger": encode(ledger),
    }
    status = {
        "observedGeneration": desired.generation,
        "phase": conclusion.phase,
        "reason": conclusion.reason,
        "replicas": len(occupied) + in_flight(ledger),
        "readyReplicas": ready_count(ledger, observed.instances),
        "updatedReplicas": sum(_is_updated(member, present) for member in occupied),
        "reclaimed": ledger.reclaimed,
        "selector": selector,
        "environmentID": ledger.environment_id,
        "conditions": carry_over(
            previous.get("conditions") or [],
            [*conclusion.conditions(), *gang_condition(desired, ledger, observed), *state_refusal_condition(ledger)],
            desired.generation,
            now,
        ),
        **{key: value for key, value in optional.items() if value},
    }
    return status if status == previous else {**status, **_paid_until(now, ledger, observed.market, currency)}


def _paid_until(now: datetime, ledger: Ledger, market: Market, currency: str) -> dict[str, Any]:
    """What was spent until now, for a status that is written anyway; nothing while nothing was."""
    if ledger.spending is None:
        return {}
    ledger = summed_up(ledger, now)
    return {"cost": cost_status(ledger, market, currency), "ledger": encode(ledger)}


def _next_attempt_time(
    desired: Desired, ledger: Ledger, market: Market, conclusion: Conclusion, now: datetime, policy: Policy
) -> str | None:
    waits = conclusion.phase in ("Waiting", "Stalled") and shortfall(ledger, desired.replicas) > 0
    if not waits or not desired.pools:
        return None
    at = next_attempt(desired, ledger, rank(desired, ledger, market, now, policy), now)
    return to_text(at) if at is not None else None


def _is_updated(member: Member, present: str) -> bool:
    return member.template_digest in (None, present)


def _instances(ledger: Ledger, observed: Observation, present: str) -> list[dict[str, Any]]:
    members = [ledger.members[key] for key in sorted(ledger.members)]
    if len(members) > INSTANCES_SHOWN:
        # What is not as it should be first, then the youngest.
        members.sort(key=lambda one: (is_ready(one, observed.instances.get(one.id)), -one.launched_at.timestamp()))
        members = members[:NOTEWORTHY]
    return [_instance(member, observed.instances.get(member.id), observed.market, present) for member in members]


def _instance(member: Member, instance: Instance | None, market: Market, present: str) -> dict[str, Any]:
    price = price_of(member.pool, member.on_demand, market)
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
        member.on_demand,
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
    on_demand: bool,
) -> dict[str, Any]:
    return InstanceStatus(
        id=instance_id,
        zone=pool.zone,
        instance_type=pool.instance_type,
        state=state,
        ready=ready,
        price_per_hour=optional_money(price),
        launched_at=to_text(launched_at),
        private_ip=private_ip,
        public_ip=public_ip,
        updated=updated,
        note=note,
        on_demand=on_demand or None,
    ).to_json()


def _pools(desired: Desired, ledger: Ledger, market: Market, now: datetime, policy: Policy) -> list[dict[str, Any]]:
    """One line for each pool. What moves by itself (score, stock) is shown only while something is missing, when there
    is a next attempt to understand: else it would be written again and again.
    """
    if shortfall(ledger, desired.replicas) == 0:
        return [_pool(pool, ledger, market, now) for pool, _ in desired.pools]
    ranking = rank(desired, ledger, market, now, policy)
    rejected = {one.pool: one for one in ranking.rejected}
    score = scores(desired, ledger, market, now, policy)
    return [_pool(pool, ledger, market, now, rejected.get(pool), score[pool]) for pool, _ in desired.pools]


def _pool(
    pool: Pool,
    ledger: Ledger,
    market: Market,
    now: datetime,
    rejected: RejectedPool | None = None,
    score: float | None = None,
) -> dict[str, Any]:
    backoff: Backoff | None = ledger.backoffs.get(pool) or (rejected.backoff if rejected else None)
    offering = market.offerings.get(pool)
    reputation = ledger.pool_trust.get(pool)
    state = pool_state(backoff, rejected, now)
    until = rejected.until if rejected else backoff.until if backoff and state != "Available" else None
    return PoolStatus(
        zone=pool.zone,
        instance_type=pool.instance_type,
        state=state,
        instances=instances_in(ledger, pool),
        price_per_hour=optional_money(offering.price_per_hour if offering else None),
        on_demand_price_per_hour=optional_money(offering.on_demand_price_per_hour if offering else None),
        last_error=f"{backoff.code}: {backoff.message}" if backoff else None,
        reason=str(backoff.trouble) if backoff else None,
        failures=backoff.failures if backoff else None,
        reclaims=reputation.reclaims if reputation else None,
        score=f"{score:.2f}" if score is not None else None,
        stock=str(offering.stock) if offering and score is not None else None,
        note=rejected.detail if rejected and rejected.backoff is None else None,
        next_attempt_time=to_text(until) if until else None,
    ).to_json()
