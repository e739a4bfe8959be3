"""What the observation says about the ledger: who has been seen, who is lost, who is gone, who belongs to us.

Separate from the planner because these are conclusions, not wishes: they hold whatever the spec asks for.
Everything in the ledger is a claim (others can edit status); everything here holds it against the cloud's own word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from spotcompute.cloud.errors import Unclassified
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.desired import Desired
from spotcompute.model.identity import is_named_by_us, is_of_launch, sequence_in
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Intent, Ledger, Member, StateRefusal, StateRefusalKind, Trouble
from spotcompute.model.observation import Absence, Observation
from spotcompute.plan.backoff import backoff_after, without_stale_backoffs
from spotcompute.plan.capacity import occupying
from spotcompute.plan.policy import Policy
from spotcompute.plan.pool_trust import after_loss, is_early

#: Sequences begin with seconds since 1970, and many launches at once run ahead of the clock a little.
_AHEAD = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Synced:
    """The ledger brought up to date, and what there is to tell about it."""

    ledger: Ledger
    activities: tuple[Activity, ...] = ()


def sync_ledger(ledger: Ledger, desired: Desired, observed: Observation, now: datetime, policy: Policy) -> Synced:
    """Bring `ledger` up to date with `observed`. Total and deterministic, in whatever order things were observed."""
    clerk = _LedgerSync(ledger, desired, observed, now, policy)
    clerk.match_intents()
    clerk.adopt()
    for instance_id in sorted(ledger.members.keys() | clerk.ledger.members.keys()):
        clerk.examine(clerk.ledger.members[instance_id])
    named = clerk.ledger.backoffs if desired.unmet is not None else (pool for pool, _ in desired.pools)
    pools = frozenset(pool for pool in named if pool is not None)
    if clerk.ledger.members:
        clerk.ledger = replace(clerk.ledger, account=observed.account or None)
    kept = without_stale_backoffs(clerk.ledger, pools, desired.generation, now, policy)
    settled = _with_quarantine(kept, observed, now, policy)
    return Synced(_without_old_refusal(settled, now, policy), tuple(clerk.activities))


def in_quarantine(ledger: Ledger, now: datetime, policy: Policy) -> Ledger:
    """The same ledger, which launches nothing until whatever it may have forgotten must have shown itself."""
    return replace(
        ledger, quarantine_until=now + policy.signature_lifetime + policy.listing_lag_max, quarantine_looks=()
    )


def with_state_refusal(
    ledger: Ledger, doubt: StateRefusalKind, message: str, now: datetime, instance_ids: tuple[str, ...] = ()
) -> tuple[Ledger, Activity]:
    """The same ledger, in which it stands for a while that this was not believed; and the line for its history."""
    activity = Activity(
        ActivityType.REFUSE,
        ActivityState.SUCCEEDED,
        cause=str(doubt),
        started_at=now,
        ended_at=now,
        instance_ids=instance_ids,
        message=message,
    )
    return replace(ledger, state_refused=StateRefusal(doubt, message, now)), activity


def _without_old_refusal(ledger: Ledger, now: datetime, policy: Policy) -> Ledger:
    """Forget a refusal once it has been told for long enough, and the waiting that came of it is over."""
    refused = ledger.state_refused
    if (
        refused is None
        or ledger.quarantine_until is not None
        or abs(now - refused.refused_at) < policy.refusal_shown_for
    ):
        return ledger
    return replace(ledger, state_refused=None)


def _with_quarantine(ledger: Ledger, observed: Observation, now: datetime, policy: Policy) -> Ledger:
    """End a quarantine that is over, and shorten one that is longer than the cloud can be late.

    It can be longer when the clock has stepped back or somebody has edited status; waiting could take years.
    """
    if ledger.quarantine_until is None:
        return ledger
    longest = now + policy.signature_lifetime + policy.listing_lag_max
    if observed.observed_at < ledger.quarantine_until:
        return replace(ledger, quarantine_until=min(ledger.quarantine_until, longest))
    looks = tuple(sorted({*ledger.quarantine_looks, observed.observed_at}))
    if len(looks) < policy.absence_sweeps:
        return replace(ledger, quarantine_looks=looks)
    return replace(ledger, quarantine_until=None, quarantine_looks=())


def is_another_account(ledger: Ledger, observed: Observation) -> bool:
    """True when another key than before looks, and sees none of the instances that should be there.

    It belongs to another account, most likely: then their absence says nothing, and the old ones cost money still. One
    that this key has shown before proves the contrary, whatever account the ledger names.
    """
    if ledger.account in (None, observed.account) or not occupying(ledger):
        return False
    is_known = any(absence.was_listed for key, absence in observed.absent.items() if key in ledger.members)
    return not observed.instances and not is_known


class _LedgerSync:
    """One pass over the books; holds what every step needs, so that the steps read plainly."""

    def __init__(self, ledger: Ledger, desired: Desired, observed: Observation, now: datetime, policy: Policy) -> None:
        self.ledger, self.activities = ledger, list[Activity]()
        self._desired, self._observed, self._now, self._policy = desired, observed, now, policy

    # --- launches in flight ------------------------------------------------------------------------------------------

    def match_intents(self) -> None:
        """Close every intent whose instances have all been seen, or can no longer appear."""
        for intent in self.ledger.intents:
            if intent.created_at > self._now:
                # The clock has stepped back, or status was edited: count its time from now on.
                intent = replace(intent, created_at=self._now)
                self.ledger = self.ledger.with_intent(intent)
            seen = [instance for instance in self._observed.instances.values() if self._is_of(instance, intent)]
            fresh = sorted((item for item in seen if item.id not in intent.found), key=lambda item: item.id)
            for instance in fresh:
                self._take_in(instance, intent)
            matched = replace(intent, found=intent.found | {instance.id for instance in fresh})
            if matched.missing == 0 or self._can_no_longer_appear(matched):
                self.ledger = self.ledger.without_intent(intent.sequence)
                self._tell_settled(matched)
            elif fresh:
                self.ledger = self.ledger.with_intent(matched)

    def _is_of(self, instance: Instance, intent: Intent) -> bool:
        """True when the name says so; or when a renamed instance carries our marks and fits in place and time.

        One that has ended is not guessed at: it may have been somebody else's that was let go of already, and to
        take it for an open launch would end the search too early.
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
            )
            self.ledger = self.ledger.with_member(member)

    def _can_no_longer_appear(self, intent: Intent) -> bool:
        deadline = intent.created_at + self._policy.launch_uncertain_for
        return self._observed.observed_at >= deadline and intent.name in self._observed.searched

    def _tell_settled(self, intent: Intent) -> None:
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

    # --- instances nobody remembers ----------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take in what carries our marks and our name and is not remembered: the ledger was lost, or is older."""
        for instance in sorted(self._observed.instances.values(), key=lambda item: item.id):
            if instance.id in self.ledger.members or instance.has_ended or not self._is_ours(instance):
                continue
            if not is_named_by_us(instance, self._desired.ownership):
                continue
            member = Member(instance.id, instance.pool, instance.created_at, seen=True, on_demand=instance.on_demand)
            self.ledger = self.ledger.with_member(member)
            self._tell(ActivityType.ADOPT, Cause.ADOPTED, instance.id, instance.created_at)
            self._doubt_memory(sequence_in(instance, self._desired.ownership) or 0)

    def _doubt_memory(self, sequence: int) -> None:
        """An instance of a later launch than any we remember: status was restored from a backup. There may be more.

        A sequence far ahead of the clock was never given by us: names can be changed by hand.
        """
        if self.ledger.sequence < sequence < self._now.timestamp() + _AHEAD.total_seconds():
            self.ledger = in_quarantine(replace(self.ledger, sequence=sequence), self._now, self._policy)

    def _is_ours(self, instance: Instance) -> bool:
        return instance.ownership == self._desired.ownership

    # --- members -----------------------------------------------------------------------------------------------------

    def examine(self, member: Member) -> None:
        """Update one member from what was seen of it, or drop it when its absence is proven."""
        if member.launched_at > self._now:
            # As with launches: what lies in the future would not be old enough to be gone before that time has come.
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
            is_doubted = member.claims_end and not (absence is not None and absence.had_ended)
            if is_doubted != member.end_unconfirmed:
                self.ledger = self.ledger.with_member(replace(member, end_unconfirmed=is_doubted))

    def _examine_seen(self, member: Member, instance: Instance) -> None:
        if self._is_a_stranger(member, instance) and not self._may_have_been_altered(member, instance):
            self.ledger = self.ledger.without_member(member.id)
            self._tell(ActivityType.DISOWN, Cause.NOT_OURS, member.id, self._now)
            self._refuse(
                StateRefusalKind.NOT_OURS,
                member.id,
                f"{member.id} was recorded here, but neither its tags nor its name say so",
            )
            return
        arrived = member.arrived or instance.state is InstanceState.RUNNING
        if self._desired.deleting and instance.state is InstanceState.LAUNCH_FAILED:
            # It never lived, is not billed, cannot be released, and may stay listed for an hour.
            self.ledger = self.ledger.without_member(member.id)
            return
        verified = member.verified or self._is_ours(instance)
        updated = replace(
            member,
            seen=True,
            arrived=arrived,
            verified=verified,
            pool=instance.pool,
            on_demand=instance.on_demand,
        )
        if not instance.has_ended and member.lost is not None:
            updated = replace(updated, lost=None)
            self._refuse(
                StateRefusalKind.END,
                member.id,
                f"{member.id} was recorded as ended, but the cloud shows it {instance.state}",
            )
        updated = replace(updated, end_unconfirmed=updated.claims_end and not instance.has_ended)
        if instance.has_ended and not member.claims_end:
            if member.termination is None:
                updated = replace(updated, lost=_cause_of_end(instance))
                self._note_loss(updated, instance)
            else:
                # It ended while its release was still being asked for: what was wanted has happened.
                updated = replace(updated, termination=replace(member.termination, accepted_at=self._now))
        if updated != member:
            self.ledger = self.ledger.with_member(updated)

    def _is_a_stranger(self, member: Member, instance: Instance) -> bool:
        """True when neither tags nor name say it is ours, and its tags have had time to attach.

        One that came with an answer to a launch, and has no tags at all, gets the time by which our clock may be wrong
        on top: renamed by somebody at once, it would else be bought again.
        """
        patience = self._policy.listing_lag_max
        if member.sequence is not None and instance.ownership is None:
            patience += self._policy.signature_lifetime
        has_had_time = self._now - instance.created_at > patience
        return not self._is_ours(instance) and has_had_time and not is_named_by_us(instance, self._desired.ownership)

    def _may_have_been_altered(self, member: Member, instance: Instance) -> bool:
        """True when its tags had been ours, nobody else's stand there now, and it is as old as what we launched."""
        age = abs(instance.created_at - member.launched_at)
        fits = instance.pool == member.pool and age <= self._policy.replay_window + self._policy.signature_lifetime
        return member.verified and instance.ownership is None and fits

    def _is_gone(self, member: Member, absence: Absence | None) -> bool:
        """Gone needs evidence per id: several complete sweeps, a look-up by id that agrees, and old enough."""
        if absence is None or absence.sweeps < self._policy.absence_sweeps or not absence.looked_up:
            return False
        has_ended = member.seen and member.claims_end
        return has_ended or self._observed.observed_at - member.launched_at > self._policy.listing_lag_max

    def _drop(self, member: Member) -> None:
        if member.termination is None and member.lost is None:
            lost = replace(member, lost=Cause.DISAPPEARED)
            self.ledger = self.ledger.with_member(lost)
            self._note_loss(lost, None)
        self.ledger = self.ledger.without_member(member.id)

    def _note_loss(self, member: Member, instance: Instance | None) -> None:
        cause = member.lost or Cause.DISAPPEARED
        message = _EXPLANATIONS[cause]
        if instance is not None and instance.failure:
            message = f"{message}: {instance.failure}"
        request_id = instance.last_operation_request_id if instance and cause is Cause.RELEASED_OUTSIDE else None
        self._tell(ActivityType.LOSS, cause, member.id, self._now, message, member, request_id)
        if cause in _RECLAIMS and not member.on_demand:
            self.ledger = replace(self.ledger, reclaimed=self.ledger.reclaimed + 1)
        is_of_the_pool = cause is not Cause.RELEASED_OUTSIDE and not member.on_demand
        if is_of_the_pool:
            self.ledger = after_loss(self.ledger, member, self._now, self._policy)
        if is_of_the_pool and is_early(member, self._now, self._policy):
            failed = cause is Cause.LAUNCH_FAILED
            trouble = Trouble.LAUNCH_FAILED if failed else Trouble.EARLY_LOSS
            error = Unclassified(str(cause), message)
            backoff = backoff_after(
                self.ledger, member.pool, trouble, error, self._desired.generation, self._now, self._policy
            )
            if self._desired.placement(member.pool) is not None and not self._rests_already(backoff.pool):
                self.ledger = self.ledger.with_backoff(backoff)

    def _rests_already(self, pool: object) -> bool:
        """Several losses seen in one run are one failure of their pool."""
        backoff = next((backoff for backoff in self.ledger.backoffs.values() if backoff.pool == pool), None)
        return backoff is not None and backoff.failed_at == self._now

    def _refuse(self, doubt: StateRefusalKind, instance_id: str, message: str) -> None:
        self.ledger, activity = with_state_refusal(self.ledger, doubt, message, self._now, (instance_id,))
        if doubt is not StateRefusalKind.NOT_OURS:  # which has a line of its own
            self.activities.append(activity)

    def _tell(
        self,
        type_: ActivityType,
        cause: Cause,
        instance_id: str,
        since: datetime,
        message: str | None = None,
        member: Member | None = None,
        request_id: str | None = None,
    ) -> None:
        self.activities.append(
            Activity(
                type_,
                ActivityState.SUCCEEDED,
                cause=str(cause),
                started_at=since,
                ended_at=self._now,
                pool=member.pool if member else None,
                instance_ids=(instance_id,),
                message=message,
                request_id=request_id,
            )
        )


_EXPLANATIONS = {
    Cause.RECLAIMED: "taken back by the cloud",
    Cause.RELEASED_OUTSIDE: "released by somebody else's TerminateInstances call",
    Cause.LAUNCH_FAILED: "accepted by the cloud, then failed to start",
    Cause.DISAPPEARED: "no longer listed, and nobody asked for it: reclaimed, or destroyed outside",
}


#: Ends that nobody is known to have asked for.
_RECLAIMS = (Cause.RECLAIMED, Cause.DISAPPEARED)


def _cause_of_end(instance: Instance) -> Cause:
    """The cloud does not say that it reclaimed an instance; it does name the last API call, if there was one."""
    if instance.state is InstanceState.LAUNCH_FAILED:
        return Cause.LAUNCH_FAILED
    return Cause.RELEASED_OUTSIDE if instance.was_released else Cause.RECLAIMED
