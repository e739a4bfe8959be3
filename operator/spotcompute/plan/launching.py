"""How a launch is built from the spec, whether one may be made at all, and whether an open one may be repeated.

Apart from `planner`, which asks these questions in order, so that `report` can ask them without the planner.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from spotcompute.model.desired import Desired
from spotcompute.model.identity import launch_name, launch_token
from spotcompute.model.launch import MAX_LAUNCH_COUNT, LaunchRequest
from spotcompute.model.ledger import Intent, Ledger
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.actions import Launch, Learned
from spotcompute.plan.budget import is_within, price_of
from spotcompute.plan.capacity import in_flight, occupying
from spotcompute.plan.policy import Policy

#: Launches committed and sent together, when one call cannot take all that is missing (100 instances each).
LAUNCHES_AT_ONCE = 5


def may_be_repeated(
    intent: Intent, desired: Desired, ledger: Ledger, market: Market, now: datetime, policy: Policy
) -> bool:
    """True while repeating the launch under its token is safe and still wanted; otherwise it is settled by search.

    The request is built anew from the spec and must have the intent's digest: whatever somebody may have written
    into status, nothing is bought that the spec does not ask for. Tokens do not live for ever, hence the window. While
    a lost ledger is rebuilt, what there is cannot be counted, and a launch may never have been sent.
    """
    request = request_for(desired, intent.pool, intent.count, intent.sequence, intent.bid, intent.on_demand)
    if request is None or request.digest != intent.digest or intent.found or ledger.quarantine_until is not None:
        return False
    if not is_within(desired, ledger, intent, market):
        return False
    is_authentic = launch_token(request.ownership, intent.sequence, request.digest) == intent.token
    fits = len(occupying(ledger)) + in_flight(ledger) <= desired.replicas
    in_time = timedelta(0) <= now - intent.created_at < policy.replay_window
    return is_authentic and fits and in_time and not may_await_answer(intent, now, policy)


def may_await_answer(intent: Intent, now: datetime, policy: Policy) -> bool:
    """True while whoever committed the launch may still be waiting for its answer: another replica, most likely.

    To repeat it meanwhile would make the first answer doubtful for no reason.
    """
    return intent.sent_at is None and timedelta(0) <= now - intent.created_at < policy.answer_wait_max


@dataclass(frozen=True, slots=True)
class Choice:
    """What to ask for next: `total` instances of a pool, in as many calls as it takes."""

    pool: Pool
    total: int
    bid: Decimal | None
    on_demand: bool
    least: int
    because: str


def may_launch(desired: Desired, ledger: Ledger, learned: Learned) -> bool:
    """False while a lost ledger is being rebuilt, while deleting or paused, and once a OneTime attempt was made."""
    if desired.deleting or desired.paused or ledger.quarantine_until is not None:
        return False
    attempted = ledger.attempted_generation == desired.generation
    return not desired.one_time or not attempted or learned.one_time_started


def in_calls(total: int) -> list[int]:
    """Split what one call cannot take: 250 become 100, 100 and 50."""
    counts: list[int] = []
    while total > 0 and len(counts) < LAUNCHES_AT_ONCE:
        counts.append(min(total, MAX_LAUNCH_COUNT))
        total -= counts[-1]
    return counts


def launch_of(desired: Desired, choice: Choice, count: int, sequence: int, now: datetime, market: Market) -> Launch:
    """The launch of `count` instances: its intent, its token and the request both are derived from."""
    request = build_request(desired, choice.pool, count, sequence, choice.bid, choice.on_demand)
    intent = Intent(
        sequence=sequence,
        token=launch_token(request.ownership, sequence, request.digest),
        name=request.name,
        pool=choice.pool,
        count=count,
        digest=request.digest,
        template_digest=request.template_digest,
        created_at=now,
        bid=choice.bid,
        on_demand=choice.on_demand,
    )
    price = price_of(choice.pool, choice.on_demand, market)
    vcpu = market.vcpu(choice.pool)
    return Launch(intent, request, choice.because, vcpu=vcpu, price=price, count_min=choice.least)


def request_for(
    desired: Desired, pool: Pool, count: int, sequence: int, bid: Decimal | None, on_demand: bool = False
) -> LaunchRequest | None:
    """The request the spec makes for `count` instances of `pool`, or None when the spec makes no such request.

    Whether the spec allows the bid is `plan.budget`'s to say.
    """
    if desired.placement(pool) is None or not 1 <= count <= MAX_LAUNCH_COUNT:
        return None
    return build_request(desired, pool, count, sequence, bid, on_demand)


def build_request(
    desired: Desired, pool: Pool, count: int, sequence: int, bid: Decimal | None, on_demand: bool
) -> LaunchRequest:
    """The request as the spec makes it; `request_for` says whether the spec makes one at all."""
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
