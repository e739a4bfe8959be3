"""Makes the whole status: what is written after a run, and what is committed before anything is bought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from spotcompute.api.conditions import Condition, ConditionType, carry_over
from spotcompute.api.ledger import encode
from spotcompute.api.status import InstanceStatus, NodesStatus, PoolStatus
from spotcompute.api.times import from_text, to_text
from spotcompute.model.activity import Activity
from spotcompute.model.ledger import Backoff, Ledger, Member
from spotcompute.model.node import UnknownNodes
from spotcompute.model.offering import Offering, Pool, Stock
from spotcompute.plan.allocation import RejectedPool
from spotcompute.plan.budget import price_of
from spotcompute.plan.capacity import finished, in_flight, is_ready, occupies, occupying, ready_count, taken, units_of
from spotcompute.plan.drift import Asked
from spotcompute.plan.situation import Situation
from spotcompute.report.adoption import adoption_condition, adoption_rows
from spotcompute.report.conclusion import (
    Conclusion,
    conclude,
    gang_condition,
    instances_in,
    leaving_note,
    nodes_condition,
    pool_state,
    state_refusal_condition,
)
from spotcompute.report.cordon import cordon_condition
from spotcompute.report.cost import cost_status, optional_money, summed_up, with_spending
from spotcompute.report.history import appended, settled
from spotcompute.report.quote import with_first_error
from spotcompute.report.timers import timers_condition
from spotcompute.report.work import complete_condition

#: With more instances than this, `status.instances` shows the `NOTEWORTHY` first ones, and `status.instanceIDs` all.
INSTANCES_SHOWN, NOTEWORTHY = 100, 35

#: Most zones shown: as many as there can be placements. Instances of earlier placements may be in others.
ZONES_SHOWN = 20


def intent_status(previous: Mapping[str, Any], ledger: Ledger, activities: Sequence[Activity]) -> dict[str, Any]:
    """Returns the status to commit before acting: with the new ledger and history, and everything else as it was."""
    history = appended(previous.get("activities") or [], activities)
    return {
        **{key: value for key, value in previous.items() if key != "quote"},  # what is being bought is quoted no more
        "environmentID": ledger.environment_id,
        "ledger": encode(ledger),
        **({"activities": history} if history else {}),
    }


def problem_status(
    previous: Mapping[str, Any],
    conclusion: Conclusion,
    ledger: Ledger | None,
    generation: int,
    now: datetime,
    seen_at: datetime | None = None,
) -> dict[str, Any]:
    """Returns the status after a run that could not look: the conditions say what is wrong, and since when.

    What only a look could tell is left out or marked, because it may be false by now. What was done, spent and
    remembered stays. A ledger is written even then. Its absence would later mean that it was lost. `seen_at` is when
    the cloud was last seen, if that is known.
    """
    before = previous.get("conditions") or []
    found = [*conclusion.conditions(), *_gang_unknown(before, conclusion), *state_refusal_condition(ledger)]
    status = {
        **{key: value for key, value in previous.items() if key not in _SEEN_ONLY},
        "observedGeneration": generation,
        "phase": conclusion.phase,
        "reason": conclusion.reason,
        "replicas": previous.get("replicas", 0) if ledger is None or (held := _held(ledger)) is None else held,
        "conditions": carry_over(before, found, generation, now),
        "instances": [_unseen(line) for line in previous.get("instances") or () if _is_held(line, ledger)],
        "cost": {key: value for key, value in (previous.get("cost") or {}).items() if key in _PAID},
        **({"environmentID": ledger.environment_id, "ledger": encode(ledger)} if ledger else {}),
    }
    told = {key: value for key, value in status.items() if value not in _NOTHING}
    return _with_time(told, previous, _if_later(seen_at, previous, now))


def later_look(seen_at: datetime | None, status: Mapping[str, Any], now: datetime) -> datetime | None:
    """Returns when the cloud was last seen, by this process or by the one that wrote the status.

    A process that has not seen the cloud yet knows nothing of it, and believes no time that it has not seen.
    """
    known = status.get("observedTime", "")
    if seen_at is None or not to_text(seen_at) < known <= to_text(now):
        return seen_at
    try:
        return from_text(known)
    except ValueError:  # written by hand
        return seen_at


def _if_later(seen_at: datetime | None, previous: Mapping[str, Any], now: datetime) -> datetime | None:
    """Returns `seen_at`, or None when status knows of a later look: another key was in use until now.

    A look that is still to come was written by a wrong clock or by hand.
    """
    known = previous.get("observedTime", "")
    return seen_at if seen_at is not None and (to_text(seen_at) > known or known > to_text(now)) else None


def _held(ledger: Ledger) -> int | None:
    """Returns how much exists or is on its way, in what `replicas` counts. Returns None when a size is not known."""
    if not ledger.counts_vcpu:
        return len(occupying(ledger)) + in_flight(ledger)
    sizes = {one.instance_type: one.vcpu for one in ledger.type_sizes}
    lots = [(member.pool, 1) for member in occupying(ledger)] + [(one.pool, one.missing) for one in ledger.intents]
    if any(pool.instance_type not in sizes for pool, _ in lots):
        return None
    return sum(sizes[pool.instance_type] * count for pool, count in lots)


#: What is known only while the cloud is seen. Of instances and cost a part is known all the same.
_SEEN_ONLY = ("readyReplicas", "updatedReplicas", "zones", "pools", "nodes", "quote", "nextAttemptTime")

#: The part of cost that is past.
_PAID = ("accrued", "accruedAt", "saved", "incompleteSince", "currency")


def is_concluded(status: Mapping[str, Any], generation: int) -> bool:
    """True when status already says how that generation of the spec stands."""
    return status.get("observedGeneration") == generation and bool(status.get("conditions"))


def _is_held(line: Mapping[str, Any], ledger: Ledger | None) -> bool:
    return ledger is None or line.get("id") in ledger.members


def _unseen(line: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the line of an instance that is out of sight: not that it runs, and not what it costs."""
    return {**{key: value for key, value in line.items() if key != "pricePerHour"}, "state": "UNSEEN", "ready": False}


def _gang_unknown(previous: Sequence[Any], conclusion: Conclusion) -> list[Condition]:
    """Returns the condition of a gang that is out of sight; none for any other environment."""
    is_gang = any(isinstance(one, dict) and one.get("type") == ConditionType.GANG_READY for one in previous)
    if not is_gang:
        return []
    return [Condition(ConditionType.GANG_READY, "Unknown", conclusion.reason, conclusion.message)]


def _with_time(status: dict[str, Any], previous: Mapping[str, Any], seen_at: datetime | None) -> dict[str, Any]:
    """Returns the status with the time at which the cloud was seen. A newer time alone is no reason to write."""
    known = {"observedTime": previous["observedTime"]} if "observedTime" in previous else {}
    if seen_at is None or {**status, **known} == previous:
        return {**status, **known}
    return {**status, "observedTime": to_text(seen_at)}


@dataclass(frozen=True, slots=True)
class StatusExtras:
    """Extras are what status shows besides the situation: selector of the scale subresource, currency, a quote, and
    claims.
    """

    selector: str
    currency: str
    quote: Mapping[str, Any] | None = None
    claims: Sequence[Mapping[str, Any]] = ()


def full_status(
    previous: Mapping[str, Any], situation: Situation, activities: Sequence[Activity], extras: StatusExtras
) -> dict[str, Any]:
    """Returns the whole status after a run. Equal circumstances give equal text, so nothing is written twice."""
    paid = situation.with_ledger(with_spending(situation.ledger, situation.market, situation.now))
    sections = {
        "observedGeneration": situation.desired.generation,
        "environmentID": situation.ledger.environment_id,
        "selector": extras.selector,
        **_conditions(previous, situation, with_first_error(conclude(situation), extras.quote)),
        **_counts(situation),
        **_instances(situation),
        "adoptions": adoption_rows(situation),
        **_pools(situation),
        **_nodes(situation),
        **_cost(paid, extras.currency),
        **_history(previous, situation, activities),
        "quote": extras.quote,
        "claims": list(extras.claims),
        "ledger": encode(paid.ledger),
    }
    status = {key: value for key, value in sections.items() if value not in _NOTHING}
    if situation.missing == 0 and "pools" in status:
        status = _with_scores(status, previous, situation)
    status = _with_time(status, previous, situation.observed.observed_at)
    return status if status == previous else {**status, **_paid_until_now(paid, extras.currency)}


def _with_scores(status: dict[str, Any], previous: Mapping[str, Any], situation: Situation) -> dict[str, Any]:
    """Returns the status of a full environment with the score of each pool, for whoever thinks of scaling.

    Scores move by themselves. While nothing is missing they alone are no reason to rank, or to write: those of the
    last change stay.
    """
    if _unscored(status) == _unscored(previous):
        return {**status, "pools": previous["pools"]}
    scores = situation.ranking.scores
    scored = [{**one, "score": f"{scores[Pool(one['zone'], one['instanceType'])]:.2f}"} for one in status["pools"]]
    return {**status, "pools": scored}


def _unscored(status: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the status without scores and without the time of the look."""
    pools = [{key: value for key, value in one.items() if key != "score"} for one in status.get("pools") or ()]
    return {**{key: value for key, value in status.items() if key != "observedTime"}, "pools": pools}


#: What is left out of status. A count of 0 is not.
_NOTHING: tuple[object, ...] = (None, [], {})


# --- sections --------------------------------------------------------------------------------------------------------


def _conditions(previous: Mapping[str, Any], situation: Situation, conclusion: Conclusion) -> dict[str, Any]:
    """Returns the state of the environment in one word, one reason and conditions, and when the next attempt is."""
    others = (
        *gang_condition(situation),
        *cordon_condition(situation),
        *adoption_condition(situation),
        *timers_condition(situation),
        *nodes_condition(situation),
        *complete_condition(situation),
    )
    found = [*conclusion.conditions(), *others, *state_refusal_condition(situation.ledger)]
    before = previous.get("conditions") or []
    return {
        "phase": conclusion.phase,
        "reason": conclusion.reason,
        "conditions": carry_over(before, found, situation.desired.generation, situation.now),
        "nextAttemptTime": _next_attempt_time(situation, conclusion),
    }


def _next_attempt_time(situation: Situation, conclusion: Conclusion) -> str | None:
    is_waiting = conclusion.phase in ("Waiting", "Stalled") and situation.missing > 0
    if not is_waiting or not situation.desired.pools or situation.next_attempt is None:
        return None
    return to_text(situation.next_attempt)


def _counts(situation: Situation) -> dict[str, Any]:
    """Returns how much there is, in what `replicas` counts. Launches in flight count as present."""
    desired, ledger, asked = situation.desired, situation.ledger, Asked(situation)
    return {
        "replicas": taken(ledger, desired),
        "readyReplicas": ready_count(ledger, situation.observed.instances, desired),
        "updatedReplicas": units_of(filter(asked.is_updated, occupying(ledger)), desired),
        "reclaimed": situation.ledger.reclaimed,
        "finished": None if desired.runs is None else finished(ledger, desired),
    }


def _instances(situation: Situation) -> dict[str, Any]:
    """Returns the zones of the instances, and each instance. Of many only the noteworthy ones, and all ids."""
    ids, asked = sorted(situation.ledger.members), Asked(situation)
    return {
        "zones": sorted({member.pool.zone for member in occupying(situation.ledger)})[:ZONES_SHOWN],
        "instances": [_instance(member, situation, asked) for member in _shown(situation)],
        "instanceIDs": ids if len(ids) > INSTANCES_SHOWN else None,
    }


def _pools(situation: Situation) -> dict[str, Any]:
    """Returns one line for each pool. While nothing is missing, no pool is ranked: `_with_scores` adds the scores."""
    pools = [pool for pool, _ in situation.desired.pools]
    if situation.missing == 0:
        return {"pools": [_pool(pool, situation) for pool in pools]}
    ranking = situation.ranking
    rejected = {one.pool: one for one in ranking.rejected}
    return {"pools": [_pool(pool, situation, rejected.get(pool), ranking.scores[pool]) for pool in pools]}


def _nodes(situation: Situation) -> dict[str, Any]:
    """Returns how many instances are nodes. Nothing without `spec.nodes`, and while nodes are not known."""
    if not situation.desired.has_nodes or situation.nodes_problem or isinstance(situation.nodes, UnknownNodes):
        return {}
    found = [node for key, node in situation.nodes.items() if key in situation.ledger.members]
    notices = sum(node.notice is not None for node in found)
    nodes = NodesStatus(joined=len(found), ready=sum(node.is_ready for node in found), under_notice=notices)
    return {"nodes": nodes.to_json()}


def _cost(situation: Situation, currency: str) -> dict[str, Any]:
    """Returns what the instances cost now and have cost so far."""
    return {"cost": cost_status(situation.ledger, situation.market, currency)}


def _paid_until_now(situation: Situation, currency: str) -> dict[str, Any]:
    """Returns what was spent until now, for a status that is written anyway. Nothing while nothing was spent."""
    if situation.ledger.spending is None:
        return {}
    ledger = summed_up(situation.ledger, situation.now)
    return {"cost": cost_status(ledger, situation.market, currency), "ledger": encode(ledger)}


def _history(previous: Mapping[str, Any], situation: Situation, activities: Sequence[Activity]) -> dict[str, Any]:
    """Returns what happened lately, the newest first."""
    lines = appended(previous.get("activities") or [], activities)
    return {"activities": settled(lines, situation.ledger, situation.now)}


# --- one instance, one pool ------------------------------------------------------------------------------------------


def _shown(situation: Situation) -> list[Member]:
    """Returns the members to show, by id; of many those first that do not run as they should, then the youngest."""
    ledger, instances = situation.ledger, situation.observed.instances
    members = [ledger.members[key] for key in sorted(ledger.members)]
    if len(members) <= INSTANCES_SHOWN:
        return members
    members.sort(key=lambda one: (is_ready(one, instances.get(one.id)), -one.launched_at.timestamp()))
    return members[:NOTEWORTHY]


class _Line(NamedTuple):
    """`_Line` holds the facts that make the line of one instance. They are the key of a cache."""

    id: str
    pool: Pool
    state: str
    ready: bool
    price: Decimal | None
    launched_at: datetime
    private_ip: str | None
    public_ip: str | None
    updated: bool
    note: str | None
    on_demand: bool


def _instance(member: Member, situation: Situation, asked: Asked) -> dict[str, Any]:
    instance = situation.observed.instances.get(member.id)
    price = price_of(member.pool, member.on_demand, situation.market)
    return _written(
        _Line(
            id=member.id,
            pool=member.pool,
            state=str(instance.state) if instance else "UNSEEN" if member.seen else "LAUNCHED",
            ready=is_ready(member, instance),
            price=price if occupies(member) and not (instance and instance.has_ended) else None,
            launched_at=instance.created_at if instance else member.launched_at,
            private_ip=instance.private_ip if instance else None,
            public_ip=instance.public_ip if instance else None,
            updated=asked.is_updated(member),
            note=leaving_note(member),
            on_demand=member.on_demand,
        )
    )


@lru_cache(16384)  # of thousands of instances, few change between two reports; the result is never changed
def _written(line: _Line) -> dict[str, Any]:
    return InstanceStatus(
        id=line.id,
        zone=line.pool.zone,
        instance_type=line.pool.instance_type,
        state=line.state,
        ready=line.ready,
        price_per_hour=optional_money(line.price),
        launched_at=to_text(line.launched_at),
        private_ip=line.private_ip,
        public_ip=line.public_ip,
        updated=line.updated,
        note=line.note,
        on_demand=line.on_demand or None,
    ).to_json()


def _pool(
    pool: Pool, situation: Situation, rejected: RejectedPool | None = None, score: float | None = None
) -> dict[str, Any]:
    ledger, offering = situation.ledger, situation.market.offerings.get(pool)
    trust = ledger.pool_trust.get(pool)
    return PoolStatus(
        zone=pool.zone,
        instance_type=pool.instance_type,
        instances=instances_in(ledger, pool),
        price_per_hour=optional_money(offering.price_per_hour if offering else None),
        on_demand_price_per_hour=optional_money(offering.on_demand_price_per_hour if offering else None),
        reclaims=trust.reclaims if trust else None,
        score=f"{score:.2f}" if score is not None else None,
        stock=str(stock) if (stock := _stock(offering)) else None,
        note=rejected.detail if rejected and rejected.backoff is None else None,
        **_pool_state(pool, situation, rejected),
    ).to_json()


def _stock(offering: Offering | None) -> Stock | None:
    return None if offering is None else Stock.NONE if offering.sold_out else offering.stock


def _pool_state(pool: Pool, situation: Situation, rejected: RejectedPool | None) -> dict[str, Any]:
    """Says whether the pool may be asked, how it refused last, and when it may be asked again."""
    backoff: Backoff | None = situation.ledger.backoffs.get(pool) or (rejected.backoff if rejected else None)
    state = pool_state(backoff, rejected, situation.now)
    until = rejected.until if rejected else backoff.until if backoff and state != "Available" else None
    refusal: dict[str, Any] = {}
    if backoff is not None:
        refusal = {
            "last_error": f"{backoff.code}: {backoff.message}",
            "reason": str(backoff.trouble),
            "failures": backoff.failures,
        }
    return {"state": state, "next_attempt_time": to_text(until) if until else None, **refusal}
