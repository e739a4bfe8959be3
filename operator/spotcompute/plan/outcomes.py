"""Applies outcomes to the ledger: which launches are settled, which pools back off, which releases were accepted.

Only an answer that says so settles a launch. A refusal after an attempt whose answer was lost settles nothing, because
that attempt may have been carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from spotcompute.cloud.errors import (
    OF_ONE_INSTANCE,
    CloudError,
    InstanceBusy,
    InstanceGone,
    NotSent,
    OutcomeUnknown,
    Refused,
)
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.instance import TRANSIENT_STATES, Instance
from spotcompute.model.launch import Part
from spotcompute.model.ledger import Backoff, Intent, Ledger, Marking, Member, Termination, Trouble
from spotcompute.model.offering import ON_DEMAND, whole_subnet, whole_zone
from spotcompute.plan.actions import Launch, Launched, Learned, Marked, Outcome, Postponed, Terminated, TimersSet
from spotcompute.plan.backoff import OF_THE_ACCOUNT, SPLITTABLE, Failure, backoff_after, trouble_of
from spotcompute.plan.release import condition_of
from spotcompute.plan.situation import Situation
from spotcompute.plan.subnets import open_subnets
from spotcompute.plan.timers import with_timers_set, without_timer_at_launch

#: Troubles that a sale does not disprove: an instance came, and then did not last.
_OF_LASTING = frozenset({Trouble.LAUNCH_FAILED, Trouble.EARLY_LOSS})


@dataclass(frozen=True, slots=True)
class Applied:
    """`Applied` holds the ledger after some outcomes, what was learned about stock, and the activities."""

    ledger: Ledger
    learned: Learned
    activities: tuple[Activity, ...]


def apply_outcomes(situation: Situation, outcomes: Sequence[Outcome], learned: Learned) -> Applied:
    """Enters `outcomes` into the ledger. Raises nothing. A newer ledger is safe, too: it keeps every id."""
    ledger, activities = situation.ledger, list[Activity]()
    for outcome in outcomes:
        if isinstance(outcome, Terminated):
            ledger = _with_answer(situation.with_ledger(ledger), outcome)
            if not isinstance(outcome.result, Postponed):
                activities.append(_termination_activity(outcome, outcome.result, situation.now))
            continue
        if isinstance(outcome, Marked):
            ledger = _with_mark(situation.with_ledger(ledger), outcome)
            activities += _mark_activity(outcome, situation.now)
            continue
        if isinstance(outcome, TimersSet):
            ledger = with_timers_set(situation.with_ledger(ledger), outcome)
            continue
        launch = _LaunchOutcome(situation.with_ledger(ledger), outcome.launch, learned)
        launch.apply(outcome)
        ledger, learned = launch.ledger, launch.learned
        activities.extend(launch.activities)
    return Applied(ledger, learned, tuple(activities))


# --- launches --------------------------------------------------------------------------------------------------------


class _LaunchOutcome:
    """Enters the outcome of one launch; `ledger`, `learned` and `activities` are what comes of it."""

    def __init__(self, situation: Situation, launch: Launch, learned: Learned) -> None:
        self.ledger, self.learned, self.activities = situation.ledger, learned, list[Activity]()
        self._launch, self._desired = launch, situation.desired
        self._now, self._policy, self._waiting = situation.now, situation.policy, situation.observed.waiting
        #: As committed meanwhile: another replica, or an earlier attempt, may have lost an answer to it.
        self._intent = next(
            (intent for intent in situation.ledger.intents if intent.sequence == launch.intent.sequence), launch.intent
        )

    def apply(self, outcome: Launched) -> None:
        """Enters what came back."""
        result = outcome.result
        if result is None:
            self._drop_unless_in_doubt()
        elif isinstance(result, CloudError) and self._was_settled_by_others():
            pass  # old news: this process was frozen, for example, and another replica has settled the launch since
        elif isinstance(result, LaunchReceipt):
            self._accepted(result)
        elif isinstance(result, OutcomeUnknown):
            self._keep_open(result)
        elif isinstance(result, (Refused, NotSent)) and not self._intent.answer_lost:
            self._refused(result)
        else:
            self._keep_open(result)

    def _was_settled_by_others(self) -> bool:
        """True when the launch is no longer in the ledger because its instances are known, or were meanwhile.

        While only its sender may settle it, it can only have been taken out by hand. A ledger with a lower sequence was
        wiped.
        """
        sequence = self._intent.sequence
        if sequence > self.ledger.sequence or any(intent.sequence == sequence for intent in self.ledger.intents):
            return False
        is_known = any(member.sequence == sequence for member in self.ledger.members.values())
        return is_known or self._now - self._intent.created_at >= self._policy.answer_wait_max

    def _accepted(self, receipt: LaunchReceipt) -> None:
        intent = self._intent
        for instance_id in receipt.instance_ids:
            if instance_id not in self.ledger.members:
                member = Member(
                    instance_id,
                    intent.pool,
                    self._now,
                    intent.template_digest,
                    intent.sequence,
                    on_demand=intent.on_demand,
                    ends_at=intent.ends_at,
                )
                self.ledger = self.ledger.with_member(member)
        self.ledger = self.ledger.without_intent(intent.sequence).without_backoff(None)
        zone = intent.pool.zone
        asked = [ON_DEMAND] if intent.on_demand else [intent.pool, whole_zone(zone)]
        for where in [*asked, *([whole_subnet(zone, intent.subnet_id)] if intent.subnet_id else [])]:
            backoff = self.ledger.backoffs.get(where)
            if backoff is not None and backoff.trouble not in _OF_LASTING and self._is_about_such(backoff):
                self.ledger = self.ledger.without_backoff(where)
        if not intent.on_demand:
            self._learn_sale(intent, len(receipt.instance_ids))
        self._record(ActivityState.PROCESSING, instance_ids=receipt.instance_ids, request_id=receipt.request_id)

    def _is_about_such(self, backoff: Backoff) -> bool:
        """True unless a smaller type was sold than the type for which the quota had no place."""
        return backoff.vcpu is None or self._launch.vcpu is None or self._launch.vcpu >= backoff.vcpu

    def _learn_sale(self, intent: Intent, count: int) -> None:
        room = dict(self.learned.room_below)
        if intent.pool in room:
            room[intent.pool] -= count
        self.learned = replace(self.learned, room_below=room, sells=self.learned.sells | {intent.pool})

    def _refused(self, error: CloudError) -> None:
        self.ledger = self.ledger.without_intent(self._intent.sequence)
        trouble = trouble_of(error)
        if self._desired.one_time and isinstance(error, NotSent):
            self.ledger = replace(self.ledger, attempted_generation=None)
        if self._intent.ends_at is not None and error.about is Part.TIMER:
            self.ledger = without_timer_at_launch(self.ledger, error, self._now)
        elif self._may_ask_for_fewer(trouble):
            room = {**self.learned.room_below, self._intent.pool: self._intent.count}
            self.learned = replace(self.learned, room_below=room)
        else:
            self._back_off(trouble, error)
        self._record_failure(trouble, error, ActivityState.FAILED)

    def _may_ask_for_fewer(self, trouble: Trouble) -> bool:
        is_spot = not self._intent.on_demand and not self._desired.one_time
        if trouble is Trouble.NO_ROOM and self._has_other_subnet():
            return False
        return is_spot and trouble in SPLITTABLE and self._intent.count > self._launch.count_min

    def _has_other_subnet(self) -> bool:
        """True when the zone has another subnet that may be asked. It comes before fewer instances in this one."""
        left = open_subnets(self._desired, self.ledger, self._intent.pool.zone, self._now)
        return any(subnet_id != self._intent.subnet_id for subnet_id in left)

    def _keep_open(self, error: CloudError) -> None:
        """Keeps the launch open: it is settled by repeating it under its token, or by looking for its instances."""
        self.ledger = self.ledger.with_intent(replace(self._intent, answer_lost=True, sent_at=self._now))
        trouble = trouble_of(error)
        if trouble not in OF_THE_ACCOUNT:
            trouble = Trouble.CLOUD_UNREACHABLE  # whatever it says of the pool, the first attempt may have succeeded
        self._back_off(trouble, error)
        self._record_failure(trouble, error, ActivityState.SUBMITTED)

    def _back_off(self, trouble: Trouble, error: CloudError) -> None:
        intent, is_last = self._intent, not self._has_other_subnet()
        # Without another subnet all purchases on demand back off. Otherwise this one would be asked at every look.
        subnet_id = None if intent.on_demand and is_last else intent.subnet_id
        failure = Failure(intent.pool, trouble, error, self._launch.vcpu, intent.on_demand, subnet_id)
        backoff = backoff_after(failure, self.ledger, self._desired.generation, self._now, self._policy, self._waiting)
        self.ledger = self.ledger.with_backoff(backoff)
        if intent.on_demand and not (subnet_id and trouble is Trouble.NO_ROOM):
            refused = self.learned.not_on_demand | {self._intent.pool}
            self.learned = replace(self.learned, not_on_demand=refused)

    def _drop_unless_in_doubt(self) -> None:
        if not self._intent.answer_lost:
            self.ledger = self.ledger.without_intent(self._intent.sequence)

    def _record_failure(self, trouble: Trouble, error: CloudError, state: ActivityState) -> None:
        self._record(state, reason=str(trouble), code=error.code, message=error.message, request_id=error.request_id)

    def _record(
        self,
        state: ActivityState,
        instance_ids: tuple[str, ...] = (),
        reason: str | None = None,
        code: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.activities.append(
            Activity(
                ActivityType.LAUNCH,
                state,
                cause=self._launch.because,
                started_at=self._intent.created_at,
                ended_at=self._now if state is ActivityState.FAILED else None,
                pool=self._intent.pool,
                instance_ids=instance_ids,
                reason=reason,
                code=code,
                message=message,
                request_id=request_id,
                sequence=self._intent.sequence,
                price=self._launch.price,
            )
        )


# --- releases --------------------------------------------------------------------------------------------------------


def _with_answer(situation: Situation, outcome: Terminated) -> Ledger:
    ledger = situation.ledger
    for instance_id in outcome.instance_ids:
        member = ledger.members.get(instance_id)
        if member is None or member.termination is None:
            continue
        instance = situation.observed.instances.get(instance_id)
        termination = _answered(member.termination, outcome.result, instance, situation.now)
        ledger = ledger.with_member(replace(member, termination=termination))
    return ledger


def _answered(
    before: Termination, result: str | CloudError | Postponed, instance: Instance | None, now: datetime
) -> Termination:
    """Returns the release after an answer. What was not asked for is due at once, the rest of a refused call soon."""
    if isinstance(result, Postponed):
        together = before.together if result.together is None else result.together
        return replace(before, sent_at=None if result.together is None else now, together=together)
    asked = replace(before, sent_at=now, attempts=before.attempts + 1)
    if isinstance(result, (str, InstanceGone)):
        return replace(asked, accepted_at=asked.accepted_at or now, obstacle=None)
    asked = replace(asked, obstacle=str(result))
    if not isinstance(result, OF_ONE_INSTANCE) or instance is None:
        return asked
    # It spoils every call for more than itself. A state that the list does not show is over soon, and is asked about.
    is_over_soon = isinstance(result, InstanceBusy) and instance.state not in TRANSIENT_STATES
    return replace(asked, together=1, refused_in=None if is_over_soon else condition_of(instance))


# --- tags ------------------------------------------------------------------------------------------------------------


def _with_mark(situation: Situation, outcome: Marked) -> Ledger:
    ledger = situation.ledger
    for instance_id in outcome.instance_ids:
        adoption, member = ledger.adoptions.get(instance_id), ledger.members.get(instance_id)
        if outcome.mark.ownership is not None:
            if adoption is not None and adoption.marking is not None:
                marking = _mark_answered(adoption.marking, outcome.result, situation.now)
                ledger = ledger.with_adoption(replace(adoption, marking=marking))
        elif member is not None and member.marking is not None:
            marking = _mark_answered(member.marking, outcome.result, situation.now)
            ledger = ledger.with_member(replace(member, marking=marking))
    return ledger


def _mark_answered(before: Marking, result: str | CloudError | Postponed, now: datetime) -> Marking:
    """Returns the marking after an answer. What was not sent is due at once."""
    if isinstance(result, Postponed):
        return replace(before, sent_at=None, answered=False)
    error = result if isinstance(result, CloudError) else None
    obstacle, trouble = (None, None) if error is None else (str(error), trouble_of(error))
    answered = not isinstance(error, OutcomeUnknown)
    asked = replace(before, sent_at=now, answered=answered, attempts=before.attempts + 1)
    return replace(asked, obstacle=obstacle, trouble=trouble)


def _mark_activity(outcome: Marked, now: datetime) -> list[Activity]:
    """Returns a line about tags that were not changed. The others are told of once the cloud shows the change."""
    error = outcome.result
    if not isinstance(error, CloudError):
        return []
    return [
        Activity(
            ActivityType.RETAIN if outcome.mark.ownership is None else ActivityType.ADOPT,
            ActivityState.FAILED,
            cause=outcome.mark.because,
            started_at=now,
            ended_at=now,
            instance_ids=outcome.instance_ids,
            reason=str(trouble_of(error)),
            code=error.code,
            message=error.message,
            request_id=error.request_id,
        )
    ]


def _termination_activity(outcome: Terminated, result: str | CloudError, now: datetime) -> Activity:
    error = result if isinstance(result, CloudError) else None
    accepted = error is None or isinstance(error, InstanceGone)
    waiting = isinstance(error, OutcomeUnknown)
    state = ActivityState.PROCESSING if accepted else ActivityState.SUBMITTED if waiting else ActivityState.FAILED
    return Activity(
        ActivityType.TERMINATE,
        state,
        cause=str(outcome.cause),
        started_at=now,
        ended_at=now if state is ActivityState.FAILED else None,
        instance_ids=outcome.instance_ids,
        reason=None if error is None else str(trouble_of(error)),
        code=None if error is None else error.code,
        message=None if error is None else error.message,
        request_id=result if isinstance(result, str) else result.request_id,
    )
