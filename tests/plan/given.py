"""Values in few words: what a test does not say is healthy, ours, and seen just now.

Shared by the tests of the pure rooms, so that each test shows only what it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from spotcompute.model.desired import Desired, Fallback, Placement
from spotcompute.model.identity import launch_token
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.launch import Template, template_digest
from spotcompute.model.ledger import Backoff, Cause, Intent, Ledger, Member, PoolTrust, Termination, Trouble
from spotcompute.model.observation import Absence, Observation
from spotcompute.model.offering import Market, Offering, Pool
from spotcompute.plan.actions import Launch, Learned, Outcome, Plan, Terminate
from spotcompute.plan.launching import request_for
from spotcompute.plan.ledger_sync import Synced, sync_ledger
from spotcompute.plan.outcomes import Applied, apply_outcomes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.policy import Policy
from spotcompute.plan.situation import Situation

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
POLICY = Policy()
NOTHING_LEARNED = Learned()

OURS = Ownership("cluster-a", "0123456789-web001")
THEIRS = Ownership("cluster-a", "9876543210-job002")

A = Pool("ap-guangzhou-3", "S5.MEDIUM4")
B = Pool("ap-guangzhou-4", "S5.MEDIUM4")
C = Pool("ap-guangzhou-6", "S5.MEDIUM4")

TEMPLATE = Template(image_id="img-11111111")
PRESENT = template_digest(TEMPLATE, None)


def seconds(count: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=count)


def ago(count: float) -> datetime:
    """A moment that many seconds before NOW."""
    return NOW - seconds(count)


def desired_of(replicas: int = 3, pools: Iterable[Pool] = (A, B, C), **other: Any) -> Desired:
    """`replicas` instances wanted in `pools`."""
    defaults: dict[str, Any] = {
        "ownership": OURS,
        "owner": "default@web",
        "generation": 1,
        "replicas": replicas,
        "pools": tuple((pool, Placement(pool.zone)) for pool in pools),
        "template": TEMPLATE,
        "name_prefix": "web",
    }
    return Desired(**(defaults | other))


def instance(instance_id: str, state: InstanceState = InstanceState.RUNNING, **other: Any) -> Instance:
    """A machine of ours, an hour old."""
    defaults: dict[str, Any] = {
        "name": f"web-web001-{1000 + sum(map(ord, instance_id))}",
        "pool": A,
        "created_at": ago(3600),
        "ownership": OURS,
    }
    return Instance(id=instance_id, state=state, **(defaults | other))


def member(instance_id: str, **other: Any) -> Member:
    """A remembered machine that arrived an hour ago and is meant to stay."""
    defaults: dict[str, Any] = {
        "pool": A,
        "launched_at": ago(3600),
        "template_digest": PRESENT,
        "seen": True,
        "arrived": True,
        "verified": True,
    }
    return Member(id=instance_id, **(defaults | other))


def released(cause: Cause = Cause.SCALED_DOWN, **other: Any) -> Termination:
    """A release recorded ten seconds ago."""
    return Termination(**({"cause": cause, "recorded_at": ago(10)} | other))


def accepted() -> Termination:
    """A release the cloud has taken."""
    return released(sent_at=ago(10), accepted_at=ago(10))


def intent(
    desired: Desired, count: int = 1, sequence: int = 700, pool: Pool = A, on_demand: bool = False, **other: Any
) -> Intent:
    """An open launch exactly as the planner would have made it for `desired`, twenty seconds ago."""
    bid = other.pop("bid", None if on_demand else desired.caps.explicit(pool.instance_type))
    request = request_for(desired, pool, count, sequence, bid, on_demand)
    assert request is not None
    made = Intent(
        sequence=sequence,
        token=launch_token(request.ownership, sequence, request.digest),
        name=request.name,
        pool=pool,
        count=count,
        digest=request.digest,
        template_digest=request.template_digest,
        created_at=ago(20),
        bid=bid,
        on_demand=on_demand,
    )
    return replace(made, **other)


def launched_by(intent: Intent, ids: Iterable[str], **other: Any) -> list[Instance]:
    """The machines of a launch, named as the cloud names them."""
    numbered = intent.name.endswith("-")
    return [
        instance(instance_id, name=f"{intent.name}{number}" if numbered else intent.name, **other)
        for number, instance_id in enumerate(ids, start=1)
    ]


def backoff_of(pool: Pool | None = A, trouble: Trouble = Trouble.INSUFFICIENT_CAPACITY, **other: Any) -> Backoff:
    """Asked no more for thirty seconds: the first failure was ten seconds ago."""
    defaults: dict[str, Any] = {
        "code": "ResourcesSoldOut",
        "message": "sold out",
        "request_id": "req-1",
        "failures": 1,
        "since": ago(10),
        "failed_at": ago(10),
        "until": NOW + seconds(30),
        "generation": 1,
    }
    return Backoff(pool=pool, trouble=trouble, **(defaults | other))


def fallback(**other: Any) -> Fallback:
    """On demand stands in after ten minutes, for three at most, and gives way when spot has been well for fifteen."""
    return Fallback(**({"after": seconds(600), "count_max": 3, "hourly": None, "stable_for": seconds(900)} | other))


def pool_trust_of(pool: Pool = A, early: float = 2.0, as_of: datetime = NOW, reclaims: int = 2) -> PoolTrust:
    """What a pool has done that has just taken two instances back."""
    return PoolTrust(pool=pool, reclaims=reclaims, early=early, as_of=as_of)


def ledger_of(*entries: Member | Intent | Backoff | PoolTrust, **other: Any) -> Ledger:
    """A ledger that holds `entries`."""
    result = Ledger(OURS.environment_id, **({"sequence": 700} | other))
    for entry in entries:
        if isinstance(entry, Member):
            result = result.with_member(entry)
        elif isinstance(entry, Intent):
            result = result.with_intent(entry)
        elif isinstance(entry, PoolTrust):
            result = replace(result, pool_trust={**result.pool_trust, entry.pool: entry})
        else:
            result = result.with_backoff(entry)
    return result


def observed_of(
    *instances: Instance,
    absent: Mapping[str, Absence] | None = None,
    searched: Iterable[str] = (),
    at: datetime = NOW,
    market: Market | None = None,
) -> Observation:
    """A complete look at the cloud that shows `instances`."""
    return Observation(
        observed_at=at,
        instances={item.id: item for item in instances},
        absent=absent or {},
        searched=frozenset(searched),
        market=market or Market(),
    )


def all_running(ledger: Ledger, market: Market | None = None) -> Observation:
    """A complete look at the cloud that shows every member of `ledger` running."""
    members = ledger.members.values()
    return observed_of(*(instance(one.id, pool=one.pool, on_demand=one.on_demand) for one in members), market=market)


def market_of(prices: Mapping[Pool, str | None], sold_out: Iterable[Pool] = (), extra: str | None = "0") -> Market:
    """Quotes: a price per hour for each pool, ten times that on demand; `extra` for what comes with an instance."""
    unavailable = frozenset(sold_out)
    return Market(
        {
            pool: _offering(pool, Decimal(price) if price else None, pool in unavailable)
            for pool, price in prices.items()
        },
        NOW,
        extras={} if extra is None else {pool.zone: Decimal(extra) for pool in prices},
    )


def _offering(pool: Pool, price: Decimal | None, sold_out: bool) -> Offering:
    return Offering(pool, price, price * 10 if price is not None else None, 2, 4, sold_out)


def launches(actions: Iterable[Launch | Terminate]) -> list[Launch]:
    """The launches among `actions`."""
    return [action for action in actions if isinstance(action, Launch)]


def terminated_ids(actions: Iterable[Launch | Terminate]) -> list[str]:
    """Every id that `actions` release."""
    return [key for action in actions if isinstance(action, Terminate) for key in action.instance_ids]


# --- decisions, by POLICY and at NOW unless said otherwise ------------------------------------------------------------


def situation_of(
    desired: Desired, ledger: Ledger | None = None, observed: Observation | None = None, now: datetime = NOW
) -> Situation:
    """What a decision is made from; without `ledger` and `observed`, nothing is remembered and the cloud is empty."""
    return Situation(desired, ledger or ledger_of(), observed or observed_of(), now, POLICY)


def synced(ledger: Ledger, desired: Desired, observed: Observation | None = None, now: datetime = NOW) -> Synced:
    """What a look at the cloud says about the ledger; without `observed`, an empty cloud."""
    return sync_ledger(situation_of(desired, ledger, observed, now))


def planned(
    desired: Desired,
    ledger: Ledger | None = None,
    observed: Observation | None = None,
    learned: Learned = NOTHING_LEARNED,
    now: datetime = NOW,
) -> Plan:
    """What the planner decides; without `ledger` and `observed`, from nothing."""
    return make_plan(situation_of(desired, ledger, observed, now), learned)


def applied(
    ledger: Ledger,
    outcomes: Sequence[Outcome],
    desired: Desired,
    learned: Learned = NOTHING_LEARNED,
    now: datetime = NOW,
) -> Applied:
    """What the outcomes of a plan's actions make of the ledger."""
    return apply_outcomes(situation_of(desired, ledger, now=now), outcomes, learned)


def asked(plan: Plan, on_demand: bool = False) -> list[tuple[Pool, int]]:
    """What `plan` asks for, as pool and count, in its order; all of it must be of the one kind."""
    made = [launch.intent for launch in launches(plan.actions)]
    assert all(one.on_demand is on_demand for one in made)
    return [(one.pool, one.count) for one in made]
