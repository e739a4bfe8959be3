"""Brings the ledger up to date with the observation: which instances were seen, are lost, are gone, or belong to us.

Apart from `planner`, because these are conclusions and not wishes: they hold whatever the spec asks for. Others can
edit status, so every entry of the ledger is a claim; here it is compared with the cloud's own word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from spotcompute.cloud.errors import OutcomeUnknown, Unclassified
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.identity import is_named_by_us, is_of_launch, sequence_in, was_adopted
from spotcompute.model.instance import TRANSIENT_STATES, Instance, InstanceState
from spotcompute.model.ledger import Cause, Intent, Ledger, Member, StateRefusal, StateRefusalKind, Trouble
from spotcompute.model.observation import Absence
from spotcompute.model.offering import ON_DEMAND, whole_subnet
from spotcompute.plan.absence import has_proof, is_old_enough, was_missed_often
from spotcompute.plan.account_match import account_to_note
from spotcompute.plan.backoff import Failure, backoff_after, without_stale_backoffs
from spotcompute.plan.brake import after_self_end, with_brake_loosened
from spotcompute.plan.budget import with_prices_noted
from spotcompute.plan.limits import with_sizes_noted
from spotcompute.plan.policy import Policy
from spotcompute.plan.pool_trust import after_loss, is_early
from spotcompute.plan.retaining import is_let_go
from spotcompute.plan.situation import Situation
from spotcompute.plan.work import with_end_counted

#: How far a sequence may be ahead of the clock. Sequences begin with seconds since 1970, and many launches at once run
#: ahead of it a little.
_AHEAD = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Synced:
    """`Synced` holds the ledger brought up to date, and the activities that this has brought to light."""

    ledger: Ledger
    activities: tuple[Activity, ...] = ()


def sync_ledger(situation: Situation) -> Synced:
    """Concludes from the observation what is lost, gone or ours, and returns the ledger with it. Raises nothing."""
    sync = _LedgerSync(situation)
    sync.match_intents()
    sync.adopt()
    sync.examine_members()
    ledger = sync.ledger
    ledger = replace(ledger, account=account_to_note(situation.ledger, situation.observed))
    for step in (_with_fresh_backoffs, _with_quarantine, _without_old_refusal, _with_prices, _with_brake):
        ledger = step(situation.with_ledger(ledger))
    return Synced(ledger, tuple(sync.activities))


def in_quarantine(ledger: Ledger, now: datetime, policy: Policy) -> Ledger:
    """Returns the ledger in quarantine: nothing is launched until all that it may have forgotten must have shown up."""
    return replace(
        ledger, quarantine_until=now + policy.signature_lifetime + policy.listing_lag_max, quarantine_looks=()
    )


def with_state_refusal(
    ledger: Ledger, kind: StateRefusalKind, message: str, now: datetime, instance_ids: tuple[str, ...] = ()
) -> tuple[Ledger, Activity]:
    """Returns the ledger that shows for a while what was not believed, and the line about it for the history."""
    activity = Activity(
        ActivityType.REFUSE,
        ActivityState.SUCCEEDED,
        cause=str(kind),
        started_at=now,
        ended_at=now,
        instance_ids=instance_ids,
        message=message,
    )
    return replace(ledger, state_refused=StateRefusal(kind, message, now)), activity


def _with_fresh_backoffs(situation: Situation) -> Ledger:
    """Forgets backoffs that the present spec has no use for. While its pools are not known, all are kept."""
    desired, ledger = situation.desired, situation.ledger
    named = ledger.backoffs if desired.unmet is not None else (pool for pool, _ in desired.pools)
    subnets = {whole_subnet(one.zone, one.subnet_id) for one in desired.placements if one.subnet_id}
    pools = frozenset(pool for pool in named if pool is not None) | subnets
    return without_stale_backoffs(ledger, pools, desired.generation, situation.now, situation.policy)


def _with_prices(situation: Situation) -> Ledger:
    """Notes what the instances cost now, and how large they are, in case their type is quoted no more."""
    ledger = with_prices_noted(situation.desired, situation.ledger, situation.market)
    return with_sizes_noted(situation.desired, ledger, situation.market)


def _without_old_refusal(situation: Situation) -> Ledger:
    """Forgets a state refusal once it has been shown for long enough, and the quarantine that came of it is over."""
    ledger, shown_for = situation.ledger, situation.policy.refusal_shown_for
    refused = ledger.state_refused
    if refused is None or ledger.quarantine_until is not None or abs(situation.now - refused.refused_at) < shown_for:
        return ledger
    return replace(ledger, state_refused=None)


def _with_brake(situation: Situation) -> Ledger:
    """Forgets ends that no longer hold a place."""
    return with_brake_loosened(situation.ledger, situation.desired.generation, situation.now, situation.policy)


def _with_quarantine(situation: Situation) -> Ledger:
    """Ends a quarantine that is over, and shortens one that is longer than the cloud can be late.

    It can be longer when the clock was set back or status was edited. Waiting could take years.
    """
    ledger, policy, seen_at = situation.ledger, situation.policy, situation.observed.observed_at
    if ledger.quarantine_until is None:
        return ledger
    longest = situation.now + policy.signature_lifetime + policy.listing_lag_max
    if seen_at < ledger.quarantine_until:
        return replace(ledger, quarantine_until=min(ledger.quarantine_until, longest))
    looks = tuple(sorted({*ledger.quarantine_looks, seen_at}))
    if len(looks) < policy.absence_sweeps:
        return replace(ledger, quarantine_looks=looks)
    return replace(ledger, quarantine_until=None, quarantine_looks=())


class _LedgerSync:
    """Goes once through the ledger, step by step; `ledger` and `activities` are what has come of it so far."""

    def __init__(self, situation: Situation) -> None:
        self.ledger, self.activities = situation.ledger, list[Activity]()
        self._before = situation.ledger
        self._desired, self._observed = situation.desired, situation.observed
        self._now, self._policy = situation.now, situation.policy
        self._let_go: list[str] = []

    # --- launches in flight ------------------------------------------------------------------------------------------

    def match_intents(self) -> None:
        """Closes every intent whose instances have all been seen, or can no longer appear."""
        for intent in self.ledger.intents:
            if intent.created_at > self._now:
                # The clock was set back, or status was edited: count its time from now on.
                intent = replace(intent, created_at=self._now)
                self.ledger = self.ledger.with_intent(intent)
            seen = [instance for instance in self._observed.instances.values() if self._is_of(instance, intent)]
            fresh = sorted((item for item in seen if item.id not in intent.found), key=lambda item: item.id)
            for instance in fresh:
                self._take_in(instance, intent)
            matched = replace(intent, found=intent.found | {instance.id for instance in fresh})
            if matched.missing == 0 or self._can_no_longer_appear(matched):
                self.ledger = self.ledger.without_intent(intent.sequence)
                self._record_settled(matched)
                if not matched.found:
                    self._count_as_failure(matched)
            elif fresh:
                self.ledger = self.ledger.with_intent(matched)

    def _count_as_failure(self, intent: Intent) -> None:
        """Lets the pool of a launch that brought nothing back off, so that another pool has its turn.

        Otherwise the same pool would be first again, and its next doubt would keep the places once more.
        """
        before = self.ledger.backoffs.get(ON_DEMAND if intent.on_demand else intent.pool)
        code, words = (before.code, before.message) if before else ("NothingLaunched", "its answer was lost")
        error = OutcomeUnknown(code, words)
        self._back_off(Failure(intent.pool, Trouble.CLOUD_UNREACHABLE, error, on_demand=intent.on_demand))

    def _is_of(self, instance: Instance, intent: Intent) -> bool:
        """True when the name says so; or when a renamed instance carries our marks and fits in pool and time.

        An instance that has ended is accepted by its name only. It may be of an earlier launch that was settled
        already, and the search for the open launch would end too early.
        """
        if is_of_launch(instance, intent):
            return True
        if instance.has_ended:
            return False
        is_unclaimed = instance.id not in self.ledger.members and not is_named_by_us(instance, self._desired.ownership)
        age = instance.created_at - intent.created_at
        in_time = (
            -self._policy.signature_lifetime <= age <= self._policy.replay_window + self._policy.signature_lifetime
        )
        return is_unclaimed and self._is_ours(instance) and instance.pool == intent.pool and in_time

    def _take_in(self, instance: Instance, intent: Intent) -> None:
        if instance.id not in self.ledger.members:
            member = Member(
                instance.id,
                instance.pool,
                instance.created_at,
                intent.template_digest,
                intent.sequence,
                seen=True,
                on_demand=instance.on_demand,
                ends_at=intent.ends_at,
            )
            self.ledger = self.ledger.with_member(member)

    def _can_no_longer_appear(self, intent: Intent) -> bool:
        deadline = intent.created_at + self._policy.launch_uncertain_for
        return self._observed.observed_at >= deadline and intent.name in self._observed.searched

    def _record_settled(self, intent: Intent) -> None:
        found = tuple(sorted(intent.found))
        self.activities.append(
            Activity(
                ActivityType.LAUNCH,
                ActivityState.PROCESSING if found else ActivityState.FAILED,
                cause=str(Cause.SHORTFALL),
                started_at=intent.created_at,
                ended_at=None if found else self._now,
                pool=intent.pool,
                instance_ids=found,
                reason=None if found else "NothingLaunched",
                message="settled by looking for its instances, since its answer was lost",
                sequence=intent.sequence,
            )
        )

    # --- instances that are not remembered ---------------------------------------------------------------------------

    def adopt(self) -> None:
        """Adopts instances with our marks and our name that are not remembered: the ledger was lost, or is older."""
        for instance in sorted(self._observed.instances.values(), key=lambda item: item.id):
            if instance.id in self.ledger.members or instance.has_ended or not self._is_ours(instance):
                continue
            if not is_named_by_us(instance, self._desired.ownership):
                continue
            member = Member(instance.id, instance.pool, instance.created_at, seen=True, on_demand=instance.on_demand)
            self.ledger = self.ledger.with_member(member)
            is_taken_over = was_adopted(instance, self._desired.ownership)
            cause = Cause.TAKEN_OVER if is_taken_over else Cause.ADOPTED
            since = self._now if is_taken_over else instance.created_at
            self.activities.append(self._activity(ActivityType.ADOPT, cause, instance.id, since))
            self._check_memory(sequence_in(instance, self._desired.ownership) or 0)

    def _check_memory(self, sequence: int) -> None:
        """Begins a quarantine when the launch of an instance is later than any in the ledger.

        Status was restored from a backup then, and more instances may appear. We never give a sequence far ahead of the
        clock: such a name was changed by hand.
        """
        if self.ledger.sequence < sequence < self._now.timestamp() + _AHEAD.total_seconds():
            self.ledger = in_quarantine(replace(self.ledger, sequence=sequence), self._now, self._policy)

    def _is_ours(self, instance: Instance) -> bool:
        return instance.ownership == self._desired.ownership

    # --- members -----------------------------------------------------------------------------------------------------

    def examine_members(self) -> None:
        """Examines every member there was or has just been found, by id."""
        for instance_id in sorted(self._before.members.keys() | self.ledger.members.keys()):
            self._examine(self.ledger.members[instance_id])
        if self._let_go:
            activity = self._activity(ActivityType.RETAIN, Cause.RETAINED, self._let_go[0], self._now)
            self.activities.append(replace(activity, instance_ids=tuple(self._let_go)))

    def _examine(self, member: Member) -> None:
        """Updates one member from what was seen of it, or drops it when its absence is proven."""
        if member.launched_at > self._now:
            # As with launches. Otherwise it could not be gone before that time has come.
            member = replace(member, launched_at=self._now)
            self.ledger = self.ledger.with_member(member)
        instance = self._observed.instances.get(member.id)
        absence = self._observed.absent.get(member.id)
        if instance is not None:
            self._examine_seen(member, instance)
        elif self._is_gone(member, absence):
            self._drop(member)
        else:
            # Its place is free when the cloud has shown its end, and not because the entry says so.
            is_unconfirmed = member.claims_end and not (absence is not None and absence.had_ended)
            if is_unconfirmed != member.end_unconfirmed:
                self.ledger = self.ledger.with_member(replace(member, end_unconfirmed=is_unconfirmed))

    def _examine_seen(self, member: Member, instance: Instance) -> None:
        if self._desired.deleting and is_let_go(member, instance, self._desired, self._now, self._policy):
            self._let_go.append(member.id)
            self.ledger = self.ledger.without_member(member.id)
            return
        if self._is_a_stranger(member, instance) and not self._may_have_been_altered(member, instance):
            self._disown(member)
            return
        if self._desired.deleting and instance.state is InstanceState.LAUNCH_FAILED:
            # It never lived, is not billed, cannot be released, and may stay listed for an hour.
            self.ledger = self.ledger.without_member(member.id)
            return
        updated = replace(
            member,
            seen=True,
            arrived=member.arrived or instance.state is InstanceState.RUNNING,
            verified=member.verified or self._is_ours(instance),
            pool=instance.pool,
            on_demand=instance.on_demand,
        )
        updated = self._with_transience(updated, instance.state)
        updated = self._with_end(updated, instance) if instance.has_ended else self._without_end(updated, instance)
        if updated != member:
            self.ledger = self.ledger.with_member(updated)

    def _with_transience(self, member: Member, state: InstanceState) -> Member:
        """Returns the member with since when it has been in a state that should not last, or without."""
        if state not in _SHOULD_NOT_LAST:
            return replace(member, transient=None, transient_since=None) if member.transient else member
        since = member.transient_since if member.transient == state else None
        seen_at = min(self._now, self._observed.observed_at)
        return replace(member, transient=str(state), transient_since=min(since or seen_at, self._now))

    def _disown(self, member: Member) -> None:
        self.ledger = self.ledger.without_member(member.id)
        self.activities.append(self._activity(ActivityType.DISOWN, Cause.NOT_OURS, member.id, self._now))
        message = f"{member.id} was recorded here, but neither its tags nor its name say so"
        self._refuse(StateRefusalKind.NOT_OURS, member.id, message)

    def _with_end(self, member: Member, instance: Instance) -> Member:
        """Returns the member of an instance that has ended: lost, unless its release was asked for."""
        member = replace(member, end_unconfirmed=False)
        if member.claims_end:
            return member
        if member.termination is not None:
            # It ended while its release was still being asked for: what was wanted has happened.
            return replace(member, termination=replace(member.termination, accepted_at=self._now))
        lost = replace(member, lost=_cause_of_end(instance))
        self._record_loss(lost, instance)
        return lost

    def _without_end(self, member: Member, instance: Instance) -> Member:
        """Returns the member of an instance that lives, whatever the ledger says of its end."""
        if member.lost is not None:
            message = f"{member.id} was recorded as ended, but the cloud shows it {instance.state}"
            self._refuse(StateRefusalKind.END, member.id, message)
            member = replace(member, lost=None)
        return replace(member, end_unconfirmed=member.claims_end)

    def _is_a_stranger(self, member: Member, instance: Instance) -> bool:
        """True when neither tags nor name say that it is ours, and its tags have had time to attach.

        An untagged instance from the answer to a launch gets `signature_lifetime` more time, for clock skew. Otherwise
        a quick rename in the console would make us buy a replacement.
        """
        if self._is_retained(instance):
            return not (
                self._desired.deleting and instance.retained == self._desired.owner
            )  # an environment has left it, perhaps this one, before etcd was restored from a backup
        patience = self._policy.listing_lag_max
        if member.sequence is not None and instance.ownership is None:
            patience += self._policy.signature_lifetime
        has_had_time = self._now - instance.created_at > patience
        return not self._is_ours(instance) and has_had_time and not is_named_by_us(instance, self._desired.ownership)

    def _may_have_been_altered(self, member: Member, instance: Instance) -> bool:
        """True when its tags were ours once, it has no other tags now, and it is as old as what we launched."""
        age = abs(instance.created_at - member.launched_at)
        fits = instance.pool == member.pool and age <= self._policy.replay_window + self._policy.signature_lifetime
        return member.verified and instance.ownership is None and not self._is_retained(instance) and fits

    def _is_retained(self, instance: Instance) -> bool:
        return instance.ownership is None and instance.retained is not None

    def _is_gone(self, member: Member, absence: Absence | None) -> bool:
        """True when there is evidence for this very id: look-ups with witnesses, or complete sweeps and look-ups.

        An instance that has not been seen to end must also be too old to be unlisted still. For a young one the note in
        the ledger does not count, because a look-up may have made it: lists that lag may not have shown it yet, and
        then show it as alive when it has long been forgotten.
        """
        if absence is None or not absence.looked_up:
            return False
        if not is_old_enough(member, self._observed.observed_at, self._policy):
            return was_missed_often(None, absence, self._policy) and member.seen and member.claims_end
        return was_missed_often(member, absence, self._policy) or has_proof(member, absence, self._policy)

    def _drop(self, member: Member) -> None:
        if member.termination is None and member.lost is None:
            lost = replace(member, lost=Cause.DISAPPEARED)
            self.ledger = self.ledger.with_member(lost)
            self._record_loss(lost, None)
        self._forget(member.id)

    def _forget(self, instance_id: str) -> None:
        """Removes a member that has gone, and counts how it went where that matters."""
        member = self.ledger.members[instance_id]
        self.ledger = with_end_counted(self.ledger.without_member(instance_id), member, self._desired)

    def _record_loss(self, member: Member, instance: Instance | None) -> None:
        cause = member.lost or Cause.DISAPPEARED
        message = _EXPLANATIONS[cause]
        if instance is not None and instance.failure:
            message = f"{message}: {instance.failure}"
        request_id = instance.last_operation_request_id if instance and cause is Cause.RELEASED_OUTSIDE else None
        activity = self._activity(ActivityType.LOSS, cause, member.id, self._now)
        self.activities.append(replace(activity, message=message, pool=member.pool, request_id=request_id))
        if not member.on_demand:
            self._count_spot_loss(member, cause, message)
        self.ledger, told = after_self_end(self.ledger, member, cause, self._desired, self._now, self._policy)
        self.activities.extend(told)

    def _count_spot_loss(self, member: Member, cause: Cause, message: str) -> None:
        """Counts the loss against the pool, unless a person released the instance. Only an early one is a failure."""
        if cause in _RECLAIMS:
            self.ledger = replace(self.ledger, reclaimed=self.ledger.reclaimed + 1)
            self._note_interruption()
        if cause is Cause.RELEASED_OUTSIDE:
            return
        self.ledger = after_loss(self.ledger, member, self._now, self._policy)
        if is_early(member, self._now, self._policy):
            trouble = Trouble.LAUNCH_FAILED if cause is Cause.LAUNCH_FAILED else Trouble.EARLY_LOSS
            self._back_off(Failure(member.pool, trouble, Unclassified(str(cause), message)))

    def _note_interruption(self) -> None:
        """Notes the time, if the fallback counts interruptions: as many of the last ones as it asks about."""
        fallback = self._desired.fallback
        if fallback is not None and fallback.interruptions is not None:
            noted = (*self.ledger.interruptions, self._now)[-fallback.interruptions :]
            self.ledger = replace(self.ledger, interruptions=noted)

    def _back_off(self, failure: Failure) -> None:
        """Lets the pool back off, unless the spec no longer names it. Losses seen in one run are one failure."""
        backoff = backoff_after(failure, self.ledger, self._desired.generation, self._now, self._policy)
        before = self.ledger.backoffs.get(backoff.pool)
        is_known = before is not None and before.failed_at == self._now
        if self._desired.placement(failure.pool) is not None and not is_known:
            self.ledger = self.ledger.with_backoff(backoff)

    def _refuse(self, kind: StateRefusalKind, instance_id: str, message: str) -> None:
        self.ledger, activity = with_state_refusal(self.ledger, kind, message, self._now, (instance_id,))
        if kind is not StateRefusalKind.NOT_OURS:  # which has a line of its own
            self.activities.append(activity)

    def _activity(self, type_: ActivityType, cause: Cause, instance_id: str, since: datetime) -> Activity:
        """Returns a line about something that has happened to one instance and is over."""
        return Activity(
            type_,
            ActivityState.SUCCEEDED,
            cause=str(cause),
            started_at=since,
            ended_at=self._now,
            instance_ids=(instance_id,),
        )


#: States whose duration is remembered. PENDING lasts since the launch, which is known.
_SHOULD_NOT_LAST = frozenset({*TRANSIENT_STATES, InstanceState.OTHER} - {InstanceState.PENDING})


_EXPLANATIONS = {
    Cause.RECLAIMED: "taken back by the cloud",
    Cause.RELEASED_OUTSIDE: "released from outside by a TerminateInstances call",
    Cause.LAUNCH_FAILED: "accepted by the cloud, then failed to start",
    Cause.DISAPPEARED: "no longer listed, and no release was asked for: reclaimed, or destroyed outside",
}


#: Ends without a known request.
_RECLAIMS = (Cause.RECLAIMED, Cause.DISAPPEARED)


def _cause_of_end(instance: Instance) -> Cause:
    """Returns why an instance has ended. The cloud never says that it reclaimed one, but names the last API call."""
    if instance.state is InstanceState.LAUNCH_FAILED:
        return Cause.LAUNCH_FAILED
    return Cause.RELEASED_OUTSIDE if instance.was_released else Cause.RECLAIMED
