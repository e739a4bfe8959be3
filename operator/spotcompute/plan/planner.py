"""The order of the questions: settle what is open, let go what must go, ask for what is missing.

One planner and not several controllers: two loops that launch and terminate would need a treaty.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.launch import template_digest
from spotcompute.model.ledger import Cause, Intent, Ledger, Member, Termination
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market
from spotcompute.plan.actions import Action, Launch, Learned, Plan, Terminate
from spotcompute.plan.allocation import how_many, next_offer, rank
from spotcompute.plan.backoff import is_backing_off
from spotcompute.plan.capacity import is_stuck, shortfall, surplus
from spotcompute.plan.fallback import on_demand_to_buy, on_demand_to_release, with_fallback_clocks, without_on_demand
from spotcompute.plan.gang import gang_to_release, with_gang_clocks
from spotcompute.plan.launching import (
    Choice,
    build_request,
    in_calls,
    launch_of,
    may_await_answer,
    may_be_repeated,
    may_launch,
)
from spotcompute.plan.policy import Policy
from spotcompute.plan.retirement import in_order_of_leaving, why_replace


def make_plan(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy, learned: Learned
) -> Plan:
    """Decide the next steps from `observed` towards `desired`; `ledger` has been brought up to date already.

    Total and deterministic: same values, same plan, in whatever order things were observed. Launches in flight
    count as capacity, so nothing is ever bought beyond `replicas`. A launch that can be settled by repeating it is
    settled before anything new is asked for; one that can only be searched for keeps its places and holds up
    nothing else. An empty plan means nothing to do.
    """
    if desired.paused and not desired.deleting:
        return Plan(ledger)
    ledger = _with_clocks(desired, ledger, observed, now, policy)
    ledger, releases = _releases(desired, ledger, observed, now, policy)
    may_repeat = partial(
        may_be_repeated, desired=desired, ledger=ledger, market=observed.market, now=now, policy=policy
    )
    repeatable = [intent for intent in ledger.intents if may_repeat(intent)]
    if repeatable:
        ledger, launches = _replays(repeatable, desired, ledger, now)
    elif any(may_await_answer(intent, now, policy) for intent in ledger.intents):
        launches = ()
    else:
        ledger, launches = _launches(desired, ledger, observed, now, policy, learned)
    return Plan(ledger, (*releases, *launches))


def _with_clocks(desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy) -> Ledger:
    """The same ledger with what fallback and gang must remember of time; unchanged for everybody else."""
    if desired.fallback is not None or ledger.short_since or ledger.spot_since or ledger.switched_at:
        ranking = rank(desired, without_on_demand(ledger), observed.market, now, policy)
        ledger = with_fallback_clocks(desired, ledger, ranking, observed.market, now)
    return with_gang_clocks(desired, ledger, now)


# --- letting go ------------------------------------------------------------------------------------------------------


def _releases(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy
) -> tuple[Ledger, tuple[Action, ...]]:
    """Record who has to go, and ask for every recorded release that is due."""
    for member, cause in _leaving(desired, ledger, observed, now, policy):
        ledger = _with_switch_recorded(ledger, cause, now)
        ledger = ledger.with_member(replace(member, termination=Termination(cause, recorded_at=now)))
    # One call takes instances of one charge type only.
    due: dict[tuple[Cause, bool], list[str]] = {}
    for instance_id in sorted(ledger.members):
        member = ledger.members[instance_id]
        instance = observed.instances.get(instance_id)
        if member.termination is None or (instance is None and member.termination.accepted_at is not None):
            continue  # meant to stay, or on its way out and no longer listed
        obstacle = _obstacle(desired, instance, now, policy)
        if obstacle != member.termination.obstacle and obstacle is not None:
            ledger = ledger.with_member(replace(member, termination=replace(member.termination, obstacle=obstacle)))
        elif obstacle is None and _is_due(member.termination, instance, observed.observed_at, now, policy):
            ledger = ledger.with_member(replace(member, termination=replace(member.termination, sent_at=now)))
            due.setdefault((member.termination.cause, member.on_demand), []).append(instance_id)
    return ledger, tuple(Terminate(tuple(ids), cause, _because(cause, desired)) for (cause, _), ids in due.items())


def _with_switch_recorded(ledger: Ledger, cause: Cause, now: datetime) -> Ledger:
    """When it was last gone back to spot, or a gang was given up."""
    if cause is Cause.GANG_INCOMPLETE:
        return replace(ledger, broken_up_at=now)
    is_first = cause is Cause.BACK_TO_SPOT and (ledger.switched_at is None or not _has_gone_back(ledger))
    return replace(ledger, switched_at=now) if is_first else ledger


def _has_gone_back(ledger: Ledger) -> bool:
    """True when the last change over was back to spot, so that what follows belongs to it."""
    return ledger.spot_since is not None and ledger.switched_at is not None and ledger.switched_at > ledger.spot_since


def _leaving(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy
) -> list[tuple[Member, Cause]]:
    if desired.deleting:
        remaining = [ledger.members[key] for key in sorted(ledger.members)]
        return [(member, Cause.ENVIRONMENT_DELETED) for member in remaining if member.termination is None]
    leaving: dict[str, tuple[Member, Cause]] = {}
    for key in sorted(ledger.members):
        member = ledger.members[key]
        cause = why_replace(member, observed.instances.get(key), min(now, observed.observed_at), policy.launch_timeout)
        if cause is not None and member.termination is None:
            leaving[key] = (member, cause)
    present = template_digest(desired.template, desired.user_data_digest)
    candidates = in_order_of_leaving(ledger, observed.instances, observed.market, present)
    too_many = surplus(ledger, desired.replicas)
    useless_and_counted = sum(member.id in leaving for member in candidates)
    others = [member for member in candidates if member.id not in leaving]
    for member in others[: max(0, too_many - useless_and_counted)]:
        leaving[member.id] = (member, Cause.SCALED_DOWN)
    if not leaving:
        leaving = {member.id: (member, Cause.GANG_INCOMPLETE) for member in gang_to_release(desired, ledger, now)}
    if not leaving:
        leaving = {
            member.id: (member, Cause.BACK_TO_SPOT) for member in on_demand_to_release(desired, ledger, now, policy)
        }
    return [leaving[key] for key in sorted(leaving)]


def _obstacle(desired: Desired, instance: Instance | None, now: datetime, policy: Policy) -> str | None:
    """Why a recorded release cannot be asked for yet; None when it can.

    One that is still starting would be refused, and with it the whole batch it is in; one that is stuck there is
    asked for nevertheless.
    """
    if instance is None:
        return "not in the cloud's lists yet"
    if instance.ownership != desired.ownership:
        return "its tags do not (yet) say that it belongs to this environment, so it is not touched"
    if instance.state is InstanceState.PENDING and not is_stuck(instance, now, policy.launch_timeout):
        return "still starting, and cannot be released before it runs"
    return None


def _is_due(
    termination: Termination, instance: Instance | None, observed_at: datetime, now: datetime, policy: Policy
) -> bool:
    if instance is None or (instance.has_ended and not instance.is_in_recycle_bin):
        return False
    # A time to come is as old as it is far: the clock has stepped back since, and to wait for it may take years.
    if termination.accepted_at is not None:
        sent_at = termination.sent_at or termination.accepted_at
        shows_effect = not sent_at < now or observed_at > sent_at  # an older look says nothing of it
        return shows_effect and abs(now - sent_at) >= policy.repeat_release
    if termination.sent_at is None:
        return True
    wait = min(policy.backoff_max, policy.poll_interval * (1 << min(max(0, termination.attempts - 1), 10)))
    return abs(now - termination.sent_at) >= wait


def _because(cause: Cause, desired: Desired) -> str:
    if cause is Cause.SCALED_DOWN:
        return f"more than the {desired.replicas} wanted"
    return {
        Cause.ENVIRONMENT_DELETED: "the environment is deleted",
        Cause.STOPPED_OUTSIDE: "stopped outside; a stopped spot instance costs money and does nothing",
        Cause.STUCK_PENDING: "pending for too long",
        Cause.RECYCLE_BIN: "in the recycle bin",
        Cause.BACK_TO_SPOT: "spot is to be had again",
        Cause.GANG_INCOMPLETE: "the rest of the gang has not come in time",
    }.get(cause, str(cause))


# --- settling --------------------------------------------------------------------------------------------------------


def _replays(
    repeatable: list[Intent], desired: Desired, ledger: Ledger, now: datetime
) -> tuple[Ledger, tuple[Action, ...]]:
    """Mark the launches as sent again, and send them; while the whole environment rests, wait."""
    if is_backing_off(ledger, None, now):
        return ledger, ()
    replays: list[Action] = []
    for intent in repeatable:
        marked = replace(intent, sent_at=now, answer_lost=True)
        ledger = ledger.with_intent(marked)
        request = build_request(desired, intent.pool, intent.count, intent.sequence, intent.bid, intent.on_demand)
        replays.append(Launch(marked, request, "its outcome is unknown: the same request under the same token", True))
    return ledger, tuple(replays)


# --- asking ----------------------------------------------------------------------------------------------------------


def _launches(
    desired: Desired, ledger: Ledger, observed: Observation, now: datetime, policy: Policy, learned: Learned
) -> tuple[Ledger, tuple[Action, ...]]:
    missing = shortfall(ledger, desired.replicas)
    if missing == 0 or observed.other_identities or not may_launch(desired, ledger, learned):
        return ledger, ()
    choice = _choice(desired, ledger, observed.market, now, policy, learned, missing)
    if choice is None:
        return ledger, ()
    launches: list[Action] = []
    sequence = max(ledger.sequence, int(now.timestamp()) - 1)
    for count in in_calls(choice.total):
        sequence += 1
        launch = launch_of(desired, choice, count, sequence, now, observed.market)
        ledger = replace(ledger.with_intent(launch.intent), sequence=sequence)
        launches.append(launch)
    if desired.one_time:
        ledger = replace(ledger, attempted_generation=desired.generation)
    return ledger, tuple(launches)


def _choice(
    desired: Desired, ledger: Ledger, market: Market, now: datetime, policy: Policy, learned: Learned, missing: int
) -> Choice | None:
    """Spot if any pool may be asked for it, on demand if that is wanted and due, or nothing."""
    ranking = rank(desired, ledger, market, now, policy)
    least, offer = ranking.count_min, next_offer(ranking, ledger, learned, now)
    because = f"{missing} of {desired.replicas} missing"
    if offer is not None:
        total = max(least, how_many(missing, offer, ledger, market, learned))
        return Choice(offer.pool, total, offer.bid, False, least, because)
    instead = on_demand_to_buy(desired, ledger, market, learned, now, policy)
    if instead is None or instead.count < least:
        return None
    return Choice(instead.pool, instead.count, None, True, least, f"{because}, and spot has not brought them in time")
