"""Builds launches from the spec, and decides whether one may be made or an open one repeated.

Apart from `planner`, which asks these questions in order, so that `report` can ask them without the planner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from spotcompute.model.desired import Desired
from spotcompute.model.identity import launch_name, launch_token
from spotcompute.model.launch import MAX_LAUNCH_COUNT, LaunchRequest
from spotcompute.model.ledger import Intent, Ledger
from spotcompute.model.offering import Pool
from spotcompute.plan.actions import Launch, Learned
from spotcompute.plan.budget import is_within, price_of
from spotcompute.plan.capacity import is_countable, places, taken
from spotcompute.plan.cordon import cordon_of
from spotcompute.plan.limits import is_within_limits
from spotcompute.plan.policy import Policy
from spotcompute.plan.situation import Situation
from spotcompute.plan.subnets import subnet_to_ask
from spotcompute.plan.timers import end_at_launch, may_have_its_timer
from spotcompute.plan.work import attempts_left

#: Launches committed and sent together, when one call cannot take all that is missing (100 instances each).
LAUNCHES_AT_ONCE = 20


def may_be_repeated(intent: Intent, situation: Situation) -> bool:
    """True when repeating the launch under its token is safe and still wanted; otherwise it is settled by search.

    The request is built anew from the spec and must have the intent's digest: whatever stands in status, nothing is
    bought that the spec does not ask for. Tokens do not live for ever, hence the window. While a lost ledger is
    rebuilt, instances cannot be counted yet, and the launch may never have been sent.
    """
    desired, ledger, now = situation.desired, situation.ledger, situation.now
    request = _request_again(intent, desired)
    if request is None or intent.found or ledger.quarantine_until is not None:
        return False
    if cordon_of(desired, intent.pool.zone, now) is not None:
        return False
    market = situation.market
    if not is_within(desired, ledger, intent, market) or not is_within_limits(desired, ledger, market):
        return False
    is_authentic = launch_token(request.ownership, intent.sequence, request.digest) == intent.token
    others = taken(ledger, desired) - desired.units(intent.pool)
    fits = is_countable(ledger, desired) and others < places(ledger, desired)
    in_time = timedelta(0) <= now - intent.created_at < situation.policy.replay_window
    return is_authentic and fits and in_time and not may_await_answer(intent, now, situation.policy)


def _request_again(intent: Intent, desired: Desired) -> LaunchRequest | None:
    """Returns the request of the launch as the spec makes it now. Returns None when that is another one, or none."""
    asked = desired.within(intent.pool.zone, intent.subnet_id)
    request = request_for(asked, intent.pool, intent.count, intent.sequence, intent.bid, intent.on_demand)
    if request is None or not may_have_its_timer(intent, desired):
        return None
    request = replace(request, ends_at=intent.ends_at)
    return request if request.digest == intent.digest else None


def may_await_answer(intent: Intent, now: datetime, policy: Policy) -> bool:
    """True when the process that committed the launch, most likely another replica, may still wait for its answer.

    Repeating the launch meanwhile would make the first answer useless for no reason.
    """
    return intent.sent_at is None and timedelta(0) <= now - intent.created_at < policy.answer_wait_max


@dataclass(frozen=True, slots=True)
class Choice:
    """`Choice` says what to ask for next: `total` instances of `pool`, in as many calls as needed.

    Fewer than `count_min` of them are of no use.
    """

    pool: Pool
    total: int
    bid: Decimal | None
    on_demand: bool
    count_min: int
    because: str


def may_launch(desired: Desired, ledger: Ledger, learned: Learned) -> bool:
    """True unless a lost ledger is being rebuilt, while deleting or paused, or once all attempts were made.

    A OneTime environment has one, and more where its machines work to their end.
    """
    if desired.deleting or desired.paused or ledger.quarantine_until is not None:
        return False
    if attempts_left(ledger, desired) == 0:
        return False
    attempted = ledger.attempted_generation == desired.generation
    return not desired.one_time or not attempted or learned.one_time_started


def in_calls(total: int) -> list[int]:
    """Splits what one call cannot take: 250 become 100, 100 and 50."""
    counts: list[int] = []
    while total > 0 and len(counts) < LAUNCHES_AT_ONCE:
        counts.append(min(total, MAX_LAUNCH_COUNT))
        total -= counts[-1]
    return counts


def launch_of(choice: Choice, count: int, sequence: int, situation: Situation) -> Launch:
    """Returns the launch of `count` instances: its intent, its token and the request both are derived from."""
    market, zone = situation.market, choice.pool.zone
    subnet_id = subnet_to_ask(situation.desired, situation.ledger, zone, situation.now)
    request = build_request(
        situation.desired.within(zone, subnet_id), choice.pool, count, sequence, choice.bid, choice.on_demand
    )
    request = replace(request, ends_at=end_at_launch(situation.desired, situation.ledger, situation.now))
    intent = Intent(
        sequence=sequence,
        token=launch_token(request.ownership, sequence, request.digest),
        name=request.name,
        pool=choice.pool,
        count=count,
        digest=request.digest,
        template_digest=request.template_digest,
        created_at=situation.now,
        bid=choice.bid,
        on_demand=choice.on_demand,
        subnet_id=subnet_id,
        ends_at=request.ends_at,
    )
    price = price_of(choice.pool, choice.on_demand, market)
    vcpu = market.vcpu(choice.pool)
    return Launch(intent, request, choice.because, vcpu=vcpu, price=price, count_min=choice.count_min)


def request_for(
    desired: Desired, pool: Pool, count: int, sequence: int, bid: Decimal | None, on_demand: bool = False
) -> LaunchRequest | None:
    """Returns the request that the spec makes for `count` instances of `pool`. Returns None when it makes none.

    Whether the spec allows the bid is said by `plan.budget`.
    """
    if desired.placement(pool) is None or not 1 <= count <= MAX_LAUNCH_COUNT:
        return None
    return build_request(desired, pool, count, sequence, bid, on_demand)


def build_request(
    desired: Desired, pool: Pool, count: int, sequence: int, bid: Decimal | None, on_demand: bool
) -> LaunchRequest:
    """Returns the request as the spec makes it; `request_for` says whether the spec makes one at all."""
    placement = desired.placement(pool)
    return LaunchRequest(
        pool=pool,
        count=count,
        name=launch_name(desired.name_prefix, desired.ownership, sequence, count),
        ownership=desired.ownership,
        owner=desired.owner,
        template=desired.template,
        max_price=bid,
        vpc_id=placement.vpc_id if placement else None,
        subnet_id=placement.subnet_id if placement else None,
        user_data_digest=desired.user_data_digest,
        on_demand=on_demand,
    )
