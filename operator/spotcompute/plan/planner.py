"""Asks the questions in their order: settle what is open, release what must go, ask for what is missing.

One planner and not several controllers, because two loops that launch and release would need a treaty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from datetime import datetime

from spotcompute.model.activity import Activity
from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Cause, Ledger, Member, Termination
from spotcompute.plan.actions import Action, Launch, Learned, Plan
from spotcompute.plan.adoption import searching_until, taking_over
from spotcompute.plan.allocation import how_many, next_offer
from spotcompute.plan.backoff import is_held_back
from spotcompute.plan.brake import after_self_end
from spotcompute.plan.by_hand import to_replace, with_kept_clocks
from spotcompute.plan.capacity import occupies, surplus, units_of
from spotcompute.plan.fallback import (
    is_spot_in_doubt,
    on_demand_part,
    on_demand_to_buy,
    on_demand_to_release,
    with_fallback_clocks,
)
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
from spotcompute.plan.notices import is_doomed, to_let_go, with_notices
from spotcompute.plan.release import due_releases, with_releases_taken_back
from spotcompute.plan.retaining import letting_go
from spotcompute.plan.retirement import in_order_of_leaving, is_protected, staying
from spotcompute.plan.rollout import surging, to_retire
from spotcompute.plan.situation import Situation
from spotcompute.plan.timers import with_timers


def make_plan(situation: Situation, learned: Learned) -> Plan:
    """Decides the next steps towards what is desired; the ledger has been synced with the observation already.

    Raises nothing. Equal situations give equal plans, in whatever order things were observed. Launches in
    flight count as capacity, so nothing is ever bought beyond `replicas`. A launch in doubt keeps its own places until
    it is settled, by repeating it or by searching for its instances. Other places are filled meanwhile, except for the
    first seconds, in which another process may still wait for the answer. An empty plan means that nothing is to be
    done.
    """
    ledger, timers = with_timers(situation)
    situation = situation.with_ledger(ledger)
    if situation.desired.paused and not situation.desired.deleting:
        return Plan(ledger, timers)
    if situation.desired.retaining:
        situation = situation.with_ledger(taking_over(situation)[0])
        if situation.ledger.timers is not None:  # a timer would end what is kept
            return Plan(situation.ledger, timers)
        ledger, mark = letting_go(situation)
        return Plan(ledger, (mark,) if mark is not None else ())
    situation = situation.with_ledger(_with_clocks(situation))
    ledger, mark = taking_over(situation)
    ledger, notices = with_notices(situation.with_ledger(ledger))
    ledger, releases, activities = _releases(situation.with_ledger(ledger))
    situation = surging(situation.with_ledger(ledger))
    ledger, replays = _replays(situation)
    situation = situation.with_ledger(ledger)
    ledger, launches = _launches(situation, learned)
    marks = (mark,) if mark is not None else ()
    return Plan(ledger, (*releases, *marks, *timers, *replays, *launches), (*notices, *activities))


def _with_clocks(situation: Situation) -> Ledger:
    """Returns the ledger with what fallback, gang and kept instances must remember of time; otherwise unchanged."""
    kept = situation.with_ledger(with_kept_clocks(situation))
    return with_gang_clocks(situation.desired, with_fallback_clocks(kept), situation.now)


# --- releasing -------------------------------------------------------------------------------------------------------


def _releases(situation: Situation) -> tuple[Ledger, tuple[Action, ...], tuple[Activity, ...]]:
    """Records which instances have to go, and asks for every recorded release that is due."""
    situation = situation.with_ledger(with_releases_taken_back(situation, to_replace(situation).keys()))
    ledger, now = situation.ledger, situation.now
    activities: list[Activity] = []
    for member, cause in _leaving(situation):
        if cause is not Cause.BACK_TO_SPOT or situation.desired.fallback is not None:
            ledger = _with_switch_recorded(ledger, cause, now)
        ledger = ledger.with_member(replace(member, termination=Termination(cause, recorded_at=now)))
        ledger, told = after_self_end(ledger, member, cause, situation.desired, now, situation.policy)
        activities += told
    ledger, actions, told = due_releases(situation.with_ledger(ledger))
    return ledger, actions, (*activities, *told)


def _with_switch_recorded(ledger: Ledger, cause: Cause, now: datetime) -> Ledger:
    """Returns the ledger with the time of this release, when it goes back to spot, ends a gang or rolls out."""
    if cause in (Cause.ROLLED_OUT, Cause.TOO_OLD):
        return replace(ledger, rolled_at=now)
    if cause is Cause.GANG_INCOMPLETE:
        return replace(ledger, broken_up_at=now)
    if cause is Cause.BACK_TO_SPOT and ledger.returning_since is None:
        ledger = replace(ledger, trial_since=ledger.trial_since or now)
    is_first = cause is Cause.BACK_TO_SPOT and (ledger.switched_at is None or not _has_gone_back(ledger))
    return replace(ledger, switched_at=now) if is_first else ledger


def _has_gone_back(ledger: Ledger) -> bool:
    """True when the last change over was back to spot, so that what follows belongs to it."""
    return ledger.spot_since is not None and ledger.switched_at is not None and ledger.switched_at > ledger.spot_since


#: Who goes when nothing else has to, and why: the first of these that names some.
_IN_TURN: tuple[tuple[Cause, Callable[[Situation], list[Member]]], ...] = (
    (Cause.GANG_INCOMPLETE, lambda at: gang_to_release(at.desired, at.ledger, at.now)),
    (Cause.BACK_TO_SPOT, on_demand_to_release),
    (Cause.NOT_INTERRUPTED, to_let_go),
    (Cause.ROLLED_OUT, lambda at: to_retire(at, Cause.ROLLED_OUT)),
    (Cause.TOO_OLD, lambda at: to_retire(at, Cause.TOO_OLD)),
)


def _leaving(situation: Situation) -> list[tuple[Member, Cause]]:
    """Returns the instances that are to go from now on, and why; by id."""
    desired = situation.desired
    if desired.deleting or desired.expired:
        return _everything(situation, Cause.ENVIRONMENT_DELETED if desired.deleting else Cause.EXPIRED)
    leaving = to_replace(situation)
    leaving |= {member.id: (member, Cause.SCALED_DOWN) for member in _too_many(situation, leaving.keys())}
    for cause, chosen in _IN_TURN:
        if not leaving:
            leaving = {member.id: (member, cause) for member in chosen(situation)}
    return [leaving[key] for key in sorted(leaving)]


def _everything(situation: Situation, cause: Cause) -> list[tuple[Member, Cause]]:
    """Returns all that does not go yet. What has ended already goes with its object only."""
    members = (situation.ledger.members[key] for key in sorted(situation.ledger.members))
    staying = (one for one in members if one.termination is None)
    return [(one, cause) for one in staying if cause is Cause.ENVIRONMENT_DELETED or occupies(one)]


def _too_many(situation: Situation, leaving: Set[str]) -> list[Member]:
    """Returns the surplus beyond `replicas`; of that, `leaving` go anyway.

    Those that the cloud is about to take back go after all others. Protected ones are meant only when there are not
    enough others. They are not released, and the object says why.
    """
    present, desired = staying(situation.ledger), surging(situation).desired
    going_anyway = units_of((member for member in present if member.id in leaving), desired)
    # What comes first for a replacement may be larger, and as much more lives until that runs.
    larger = max((desired.units(member.pool) for member in present), default=1) - 1 if desired.surge else 0
    room = max(0, surplus(situation.ledger, desired) - going_anyway - larger)
    if room == 0:
        return []
    doomed = {member.id for member in present if is_doomed(member, situation.now)}
    chosen = in_order_of_leaving(situation, {*leaving, *doomed}, room)
    room -= units_of(chosen, desired)
    chosen += in_order_of_leaving(situation, {*leaving, *(member.id for member in chosen)}, room)
    protected = [one for one in present if one.id not in leaving and is_protected(one, situation)]
    return [*chosen, *_fitting(protected, surplus(situation.ledger, desired) - going_anyway - larger, chosen, desired)]


def _fitting(members: Sequence[Member], room: int, chosen: Sequence[Member], desired: Desired) -> list[Member]:
    """Returns those of the members that the room holds beside those that were chosen."""
    room, fitting = room - units_of(chosen, desired), list[Member]()
    for member in members:
        if 0 < desired.units(member.pool) <= room:
            fitting.append(member)
            room -= desired.units(member.pool)
    return fitting


# --- settling --------------------------------------------------------------------------------------------------------


def _replays(situation: Situation) -> tuple[Ledger, tuple[Action, ...]]:
    """Marks the open launches that may be repeated as sent again, and sends them, each when its pool may be asked."""
    ledger, now = situation.ledger, situation.now
    replays: list[Action] = []
    for intent in ledger.intents:
        if is_held_back(ledger, intent, now) or not may_be_repeated(intent, situation):
            continue
        marked = replace(intent, sent_at=now, answer_lost=True)
        ledger = ledger.with_intent(marked)
        request = build_request(
            situation.desired.within(intent.pool.zone, intent.subnet_id),
            intent.pool,
            intent.count,
            intent.sequence,
            intent.bid,
            intent.on_demand,
        )
        request = replace(request, ends_at=intent.ends_at)
        replays.append(Launch(marked, request, "its outcome is unknown: the same request under the same token", True))
    return ledger, tuple(replays)


# --- asking ----------------------------------------------------------------------------------------------------------


def _launches(situation: Situation, learned: Learned) -> tuple[Ledger, tuple[Action, ...]]:
    """Records launches of what is missing, and asks for them."""
    desired, ledger = situation.desired, situation.ledger
    if situation.missing == 0 or situation.observed.other_identities or not may_launch(desired, ledger, learned):
        return ledger, ()
    if searching_until(situation) is not None:
        return ledger, ()
    if any(may_await_answer(intent, situation.now, situation.policy) for intent in ledger.intents):
        return ledger, ()
    choice = _choice(situation, learned)
    if choice is None:
        return ledger, ()
    launches: list[Action] = []
    sequence = max(ledger.sequence, int(situation.now.timestamp()) - 1)
    for count in in_calls(choice.total):
        sequence += 1
        launch = launch_of(choice, count, sequence, situation)
        ledger = replace(ledger.with_intent(launch.intent), sequence=sequence)
        launches.append(launch)
    if desired.one_time:
        ledger = replace(ledger, attempted_generation=desired.generation)
    return ledger, tuple(launches)


def _choice(situation: Situation, learned: Learned) -> Choice | None:
    """Returns spot if any pool may be asked for it, on demand if that is wanted and due, and otherwise None."""
    if situation.braked_until is not None or situation.to_ask_for < situation.ranking.count_min:
        return None
    ledger, ranking = situation.ledger, situation.ranking
    count_min, wanted = ranking.count_min, min(situation.to_ask_for, situation.missing_spot)
    offer = next_offer(ranking, ledger, learned, situation.now, wanted)
    because = f"{situation.missing} of {situation.desired.replicas} missing"
    part = on_demand_part(situation, learned)
    if part is not None:
        because += f", and onDemand asks for {situation.desired.on_demand_wanted} on demand"
        return Choice(part.pool, part.count, None, True, 1, because)
    instead = on_demand_to_buy(situation, learned)
    if instead is not None and instead.count < count_min:
        instead = None
    if wanted and offer is not None and (instead is None or not is_spot_in_doubt(situation)):
        total = max(count_min, how_many(wanted, offer, ledger, situation.market, learned))
        return Choice(offer.pool, total, offer.bid, False, count_min, because)
    if instead is None:
        return None
    because += ", and spot has not brought them in time"
    return Choice(instead.pool, instead.count, None, True, count_min, because)
