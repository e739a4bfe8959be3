"""Says how an environment stands: one word, one reason and one sentence, from which conditions and columns are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from spotcompute.api.conditions import Condition, ConditionType, Reason
from spotcompute.api.status import Phase, PoolState
from spotcompute.api.times import to_text
from spotcompute.cloud.errors import CloudError
from spotcompute.model.desired import CapacityUnit, Desired
from spotcompute.model.ledger import Backoff, Cause, Ledger, Member, Trouble
from spotcompute.model.offering import Pool
from spotcompute.plan.account_match import is_number
from spotcompute.plan.actions import Learned
from spotcompute.plan.adoption import searching_until
from spotcompute.plan.allocation import Obstacle, RejectedPool
from spotcompute.plan.backoff import FOR_A_PERSON, trouble_of
from spotcompute.plan.capacity import finished, in_flight, is_countable, launching, occupying, ready_count
from spotcompute.plan.launching import may_launch
from spotcompute.plan.notices import noticed
from spotcompute.plan.rollout import for_age_only, outdated, surging
from spotcompute.plan.situation import Situation
from spotcompute.plan.work import is_over
from spotcompute.report.blocked import why_not_released
from spotcompute.report.notes import (
    at_list_price,
    dearer,
    left_as_they_are,
    number_of,
    returning,
    too_old,
    waiting_for,
)
from spotcompute.report.why import Why, correction, in_words, stopping, why_short
from spotcompute.report.work import all_lost, done

#: What the condition Stalled says while it is false: its reason alone reads as a riddle.
NOTHING_TO_DO = "no person is needed: the operator goes on by itself"


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`Conclusion` says how an environment stands. `stalled`: a person must act; waiting for stock is not stalled.

    `unknown`: it cannot be said whether it is ready, because the cloud was not seen lately.
    """

    phase: Phase
    reason: str
    message: str
    ready: bool = False
    stalled: bool = False
    unknown: bool = False

    def conditions(self) -> list[Condition]:
        """Returns the three conditions. At most one of Ready, Reconciling and Stalled is True."""
        reconciling = not self.ready and not self.stalled and self.phase not in ("Paused", "Expired")
        return [
            Condition(
                ConditionType.READY, "Unknown" if self.unknown else _truth(self.ready), self.reason, self.message
            ),
            Condition(
                ConditionType.RECONCILING,
                _truth(reconciling),
                self.reason if reconciling else Reason.SUCCEEDED if self.ready else self.reason,
                self.message if reconciling else "",
            ),
            Condition(
                ConditionType.STALLED,
                _truth(self.stalled),
                self.reason if self.stalled else Reason.NOT_STALLED,
                self.message if self.stalled else NOTHING_TO_DO,
            ),
        ]


def _truth(value: bool) -> Literal["True", "False"]:
    return "True" if value else "False"


def cloud_unreadable(error: CloudError, last_seen: datetime | None, *, is_lasting: bool, deleting: bool) -> Conclusion:
    """Returns the conclusion when the cloud does not show all instances: nothing is decided on half a view.

    It is not known then whether the environment is ready. It is not when the trouble lasts, as nothing lost would be
    replaced, or when the cloud refuses. The request id is left out, as it differs each time: a lasting trouble is
    written once.
    """
    trouble = trouble_of(error)
    stalled = trouble in FOR_A_PERSON
    since = f"the cloud was last seen at {to_text(last_seen)} and" if last_seen is not None else "the cloud"
    message = (
        f"{since} cannot be asked, so nothing is decided, and what runs is not known: {error.code}: {error.message}"
    )
    phase: Phase = "Stalled" if stalled else "Deleting" if deleting else "Waiting"
    unknown = not (stalled or is_lasting or deleting)
    return Conclusion(phase, str(trouble), message, stalled=stalled, unknown=unknown)


def account_awaited(error: CloudError | None) -> Conclusion:
    """Says how an environment stands that has bought nothing yet while the cloud does not tell whose its key is."""
    why = f": {error.code}" if error is not None else ""
    message = (
        f"the cloud has not told yet to which account the key belongs{why}. It is asked again, and after a minute"
        " instances are launched without that answer"
    )
    return Conclusion("Waiting", Reason.ACCOUNT_UNKNOWN, message)


def out_of_reach(
    ledger: Ledger,
    account: str | None,
    unknown_because: CloudError | None,
    waits_until: datetime | None,
    *,
    deleting: bool,
) -> Conclusion:
    """Says how an environment stands whose instances the key in use does not show: it may be of another account.

    `account` is that of the key. When it is None, `unknown_because` is why the cloud does not tell it. `waits_until` is
    when the object goes, or begins anew.
    """
    stalled = True
    if account is not None:
        reason, remedy = Reason.ANOTHER_ACCOUNT, f"Put back a key of account {ledger.account} until they are released"
        message = f"the key in use is of account {account}, but the instances were launched in account {ledger.account}"
    elif unknown_because is not None and is_number(ledger.account):
        reason, remedy = Reason.ACCOUNT_UNKNOWN, "Allow sts:GetCallerIdentity to the key, or put back the former one"
        message = (
            "the key was changed, shows no instance, and the cloud does not tell to which account it belongs:"
            f" {unknown_because.code}"
        )
        stalled = trouble_of(unknown_because) in FOR_A_PERSON
    else:
        reason, remedy = Reason.ACCOUNT_UNKNOWN, "Put back the former key, or delete the object and create it again"
        message = "the key was changed, shows no instance, and it was not noted in which account they were launched"
    if waits_until is not None:
        ids = [member.id for member in occupying(ledger)]
        named = ", ".join(ids[:10]) + (", …" if len(ids) > 10 else "")
        what = named or "what was launched"
        then = "the object goes" if deleting else "it begins anew in the account of this key"
        remedy += f". Otherwise {then} at {to_text(waits_until)}, and you must end {what} by hand"
    return Conclusion(
        "Stalled" if stalled else "Waiting", reason, f"{message}: nothing is decided. {remedy}", stalled=stalled
    )


def conclude(situation: Situation) -> Conclusion:
    """Says how the environment stands after a run that could see everything."""
    desired, ledger = situation.desired, situation.ledger
    blocked = why_not_released(situation)
    if desired.deleting:
        return _deleting(situation, blocked)
    ready = ready_count(ledger, situation.observed.instances, desired)
    still = replace(desired, replicas=max(0, desired.replicas - finished(ledger, desired)))
    counts = f"{_running(ready, still)}{at_list_price(situation)}{dearer(situation)}"
    counts = "; ".join(filter(None, (done(situation), counts)))
    if desired.paused:
        return Conclusion("Paused", Reason.PAUSED, f"{counts}; nothing is launched or released while paused")
    if is_over(ledger, desired) and not blocked:
        return _succeeded(situation)
    if desired.expired:
        return _expired(situation, blocked)
    if not is_countable(ledger, desired):
        return Conclusion("Waiting", Obstacle.NOT_QUOTED, f"{counts}; {_UNCOUNTED}")
    if situation.missing > 0:
        short = _missing(situation, counts)
        return replace(short, message=f"{short.message}. Besides, {blocked.text}") if blocked else short
    if blocked:
        return Conclusion("Stalled", blocked.reason, f"{counts}; {blocked.text}", stalled=True)
    if ledger.intents:
        message = (
            f"{counts}; {launching(ledger)} asked for without an answer yet: finding out whether they were launched"
        )
        return Conclusion("Filling", Reason.SETTLING, message)
    changing = _changing(situation, counts, still.replicas - ready)
    if changing is not None:
        return changing
    aged = len(outdated(situation))  # what is outdated otherwise has been told of
    notes = (left_as_they_are(situation), too_old(situation, aged), returning(situation), stopping(situation))
    message = "; ".join(filter(None, (counts, *notes)))
    return Conclusion("Ready", Reason.ALL_REPLICAS_READY, message, ready=True)


def _succeeded(situation: Situation) -> Conclusion:
    """Returns the state of an environment whose work is done, until the last machine is released and from then on."""
    message, left = str(done(situation)), len(occupying(situation.ledger)) + in_flight(situation.ledger)
    if left:
        return Conclusion("Releasing", Reason.WORK_DONE, f"{message}; releasing what is left: {left}")
    return Conclusion("Succeeded", Reason.WORK_DONE, message, ready=True)


#: The market lists every type that is sold, and sizes are remembered: this is a type that was found and never quoted.
_UNCOUNTED = (
    "replicas counts vCPU, and how many an instance has is not known, so nothing is launched or released. The market is"
    " read again; end what is not sold as spot any more"
)


def _running(ready: int, desired: Desired, least: str = "") -> str:
    """Returns `1 of 1 instance runs`, `2 of 3 instances run`, `8 of 8 vCPU run`."""
    wanted = desired.replicas
    if desired.unit is CapacityUnit.VCPU:
        return f"{ready} of {least}{wanted} vCPU run"
    return f"{ready} of {least}{wanted} {'instance runs' if wanted == 1 else 'instances run'}"


def _changing(situation: Situation, counts: str, not_ready: int) -> Conclusion | None:
    """Returns the state of an environment in which instances come, go or are replaced. None when none does."""
    members = situation.ledger.members.values()
    leaving = [member for member in members if _is_leaving(member) and not _is_aged(member)]
    old = outdated(situation)
    if len(for_age_only(situation, old)) < len(old):
        return _rolling_out(situation, counts, len(old))
    if leaving:
        return Conclusion("Releasing", Reason.SCALING_DOWN, f"{counts}; releasing {_listed(leaving)}")
    if not_ready > 0 and (doomed := noticed(situation)):
        return _awaiting_ends(situation, counts, len(doomed))
    if not_ready > 0:
        return Conclusion("Filling", Reason.PROVISIONING, f"{counts}; {not_ready} on their way")
    return None


def _awaiting_ends(situation: Situation, counts: str, doomed: int) -> Conclusion:
    """Returns the state of an environment of which the cloud has announced to take some back."""
    counts += f"; {number_of(range(doomed), 'more instance')} with notice of interruption"
    wider = surging(situation)
    why = why_short(wider) if wider.missing else None
    if why is None:
        return Conclusion("Filling", Reason.PROVISIONING, f"{counts}, and others are on their way")
    return Conclusion("Waiting", why.reason, f"{counts}, and others are not to be had: {why.text}")


def _rolling_out(situation: Situation, counts: str, old: int) -> Conclusion:
    """Returns the state of an environment that replaces what is not as the spec asks for. It says what it waits for."""
    counts += f"; rolling out, {number_of(range(old), 'instance')} left to replace{waiting_for(situation)}"
    return Conclusion("Filling", Reason.ROLLING_OUT, counts)


def _expired(situation: Situation, blocked: Why | None) -> Conclusion:
    """Returns the state of an environment that has expired, until all is released and from then on."""
    ledger, at = situation.ledger, situation.desired.expires_at
    message = f"expired at {to_text(at)}" if at is not None else "expired"
    if blocked:
        return Conclusion("Stalled", blocked.reason, f"{message}; {blocked.text}", stalled=True)
    left = len(occupying(ledger)) + in_flight(ledger)
    if left:
        return Conclusion("Releasing", Reason.EXPIRED, f"{message}; releasing what is left: {left}")
    remedy = "Nothing is launched any more. Set a later time, or delete the object"
    return Conclusion("Expired", Reason.EXPIRED, f"{message}, and all is released. {remedy}")


def _is_leaving(member: Member) -> bool:
    return member.termination is not None and member.termination.accepted_at is None


def _is_aged(member: Member) -> bool:
    return member.termination is not None and member.termination.cause is Cause.TOO_OLD


def _listed(members: Sequence[Member]) -> str:
    in_order = sorted(members, key=lambda member: member.id)
    return _named([(one, one.termination.obstacle if one.termination else None) for one in in_order])


def _named(members: Sequence[tuple[Member, str | None]]) -> str:
    """Returns the ids of the first few, each with its obstacle, and how many there are besides."""
    parts = [f"{member.id} ({obstacle})" if obstacle else member.id for member, obstacle in members[:5]]
    return ", ".join(parts) + (f" and {len(members) - 5} more" if len(members) > 5 else "")


def _deleting(situation: Situation, blocked: Why | None) -> Conclusion:
    """Returns what a deletion waits for. A person must act when the cloud does not let an instance go."""
    ledger = situation.ledger
    if situation.desired.retaining:
        return _retaining(ledger)
    members = sorted(ledger.members.values(), key=lambda member: member.id)
    reasons = []
    if members:
        reasons.append(f"{number_of(members, 'instance')} until the cloud confirms the end: {_listed(members)}")
    message = f"waiting for {' and '.join([*reasons, *_still_to_come(ledger)]) or 'nothing any more'}"
    if blocked:
        return Conclusion("Deleting", blocked.reason, f"{blocked.text}. {message}", stalled=True)
    return Conclusion("Deleting", Reason.DELETING, message)


def _retaining(ledger: Ledger) -> Conclusion:
    """Returns what the deletion of an environment waits for whose instances are kept."""
    members = [ledger.members[key] for key in sorted(ledger.members)]
    reasons = ["the timers of orphanProtection, which are taken off first"] if ledger.timers is not None else []
    if members:
        shown = f"{number_of(members, 'instance')} until the cloud shows that they belong to no environment: "
        reasons.append(shown + _named([(one, one.marking.obstacle if one.marking else None) for one in members]))
    message = (
        f"keeping what runs; waiting for {' and '.join([*reasons, *_still_to_come(ledger)]) or 'nothing any more'}"
    )
    troubles = sorted(one.marking.trouble for one in members if one.marking is not None and one.marking.trouble)
    refused = next((one for one in troubles if one in FOR_A_PERSON), None)
    if refused is not None:
        remedy = "Allow tag:ModifyResourceTags and sts:GetCallerIdentity to the key, or set deletionPolicy to Delete"
        return Conclusion("Deleting", refused, f"the cloud refuses to change tags. {remedy}. {message}", stalled=True)
    return Conclusion("Deleting", Reason.DELETING, message)


def _still_to_come(ledger: Ledger) -> list[str]:
    """Returns what a deletion waits for besides the instances that it knows."""
    reasons = []
    if ledger.intents:
        count = launching(ledger)
        reasons.append(f"{count} launch without an answer" if count == 1 else f"{count} launches without an answer")
    if ledger.is_taking_over:
        reasons.append("instances whose tags were being changed")
    if ledger.quarantine_until:
        reasons.append(f"{to_text(ledger.quarantine_until)}, since status was lost")
    return reasons


def confirming_empty() -> Conclusion:
    """Returns the conclusion for a deletion with an empty ledger, until more than one sweep has found nothing."""
    return Conclusion(
        "Deleting", Reason.DELETING, "waiting until a few sweeps of the cloud have shown that nothing is left"
    )


def held_by_others(holders: Sequence[str], ledger: Ledger | None) -> Conclusion:
    """Says who keeps a deleted object that our finalizer no longer holds. Normally all that it owned is released.

    Somebody may have taken our finalizer off. Then the orphan sweep looks for the instances once the object is gone.
    """
    what = "released"
    if ledger is not None and not ledger.is_empty:
        what = f"not waited for, because our finalizer was removed: {number_of(list(ledger.members), 'instance')}"
    return Conclusion("Deleting", Reason.DELETING, f"{what}; held by {', '.join(holders)}")


def write_refused(error: Exception, *, deleting: bool) -> Conclusion:
    """Says in the API server's own words that it refuses what we write. A policy or a missing right is the cause."""
    message = f"the API server refuses a write of the operator, so it cannot go on: {error}"
    return Conclusion("Deleting" if deleting else "Stalled", Reason.WRITE_REFUSED, message, stalled=True)


def state_refusal_condition(ledger: Ledger | None) -> list[Condition]:
    """Returns one condition more while something in status was lately not believed; none otherwise."""
    if ledger is None or ledger.state_refused is None:
        return []
    return [
        Condition(ConditionType.STATE_REFUSED, "True", str(ledger.state_refused.kind), ledger.state_refused.message)
    ]


def _missing(situation: Situation, counts: str) -> Conclusion:
    """Returns the state of an environment with too few instances. `counts` is the first half of its sentence."""
    ledger = situation.ledger
    if situation.observed.other_identities:
        others = ", ".join(sorted(situation.observed.other_identities))
        message = f"{counts}; instances of this object run under another identity, {others}: nothing is launched"
        return Conclusion("Waiting", Reason.IDENTITY_CONFLICT, message)
    if ledger.quarantine_until is not None:
        until = to_text(ledger.quarantine_until)
        message = (
            f"{counts}; status was lost: nothing is launched before {until}, so that all instances can show up first"
        )
        return Conclusion("Filling", Reason.RECOVERING, message)
    if (shown_by := searching_until(situation)) is not None:
        message = (
            f"{counts}; nothing is bought before {to_text(shown_by)}, so that all instances with the tag can show up"
        )
        return Conclusion("Filling", Reason.ADOPTING, message)
    if not may_launch(situation.desired, ledger, Learned()):
        return _one_time_over(situation, counts)
    why, held = why_short(situation), _held_for(situation)
    if why is None:
        message = f"{counts}; asking for {situation.to_ask_for} more{held}"
        return Conclusion("Filling", Reason.PROVISIONING, message)
    message = f"{counts}; {situation.missing} missing{held}. {why.text}"
    return Conclusion("Stalled" if why.stalled else "Waiting", why.reason, message, stalled=why.stalled)


def _held_for(situation: Situation) -> str:
    gang, since = situation.desired.gang, situation.ledger.incomplete_since
    if gang is None or since is None:
        return ""
    return f", and fewer than {gang.count_min} are released at {to_text(since + gang.hold)}"


def gang_condition(situation: Situation) -> list[Condition]:
    """Returns one condition more for a gang, whether enough of it runs; none for any other environment."""
    gang = situation.desired.gang
    if gang is None or situation.desired.deleting:
        return []
    ready = ready_count(situation.ledger, situation.observed.instances, situation.desired)
    message = _running(ready, replace(situation.desired, replicas=gang.count_min), "at least ")
    if ready >= gang.count_min:
        return [Condition(ConditionType.GANG_READY, "True", Reason.GANG_COMPLETE, message)]
    return [Condition(ConditionType.GANG_READY, "False", Reason.GANG_INCOMPLETE, message + _held_for(situation))]


def nodes_condition(situation: Situation) -> list[Condition]:
    """Returns one condition more while the nodes of the instances cannot be looked after; none otherwise."""
    problem = situation.nodes_problem
    if problem is None or not situation.desired.has_nodes or situation.desired.deleting:
        return []
    message = f"nodes are not bound, and not given up when their instance is gone: {problem}"
    return [Condition(ConditionType.NODES_KEPT, "False", Reason.NODES_NOT_KEPT, message)]


def _one_time_over(situation: Situation, counts: str) -> Conclusion:
    """Returns the state after all attempts of a OneTime environment: one failed, or instances were lost."""
    if (failed := all_lost(situation)) is not None:
        return Conclusion("Failed", Reason.ATTEMPTS_USED, f"{counts}; {failed}", stalled=True)
    backoffs = [
        backoff
        for backoff in situation.ledger.backoffs.values()
        if _is_refusal(backoff) and backoff.generation == situation.desired.generation
    ]
    if backoffs:
        last = max(backoffs, key=lambda backoff: backoff.failed_at)
        remedy = correction(last) or "Change the spec"
        message = f"{counts}; the one attempt failed: {last.code}: {in_words(last)}. {remedy} for another one"
        return Conclusion("Failed", str(last.trouble), message, stalled=True)
    message = f"{counts}; instances were lost, and a OneTime request does not replace them. Change the spec for more"
    return Conclusion("Failed", Reason.LOST, message, stalled=True)


def _is_refusal(backoff: Backoff) -> bool:
    """True when a refusal caused the backoff.

    After an early loss it is False, because the attempt itself had succeeded.
    """
    return backoff.trouble is not Trouble.EARLY_LOSS


_STATES: dict[Obstacle, PoolState] = {
    Obstacle.CORDONED: "Cordoned",
    Obstacle.RECLAIMS_EARLY: "Avoided",
    Obstacle.NOT_QUOTED: "Unpriced",
    Obstacle.OVER_BUDGET: "OverBudget",
    Obstacle.OVER_LIMIT: "OverLimit",
    Obstacle.SHARE_FULL: "Full",
    Obstacle.TOO_FEW: "TooFew",
}


def pool_state(backoff: Backoff | None, rejected: RejectedPool | None, now: datetime) -> PoolState:
    """Returns `Available`, `Resting`, `Invalid` when a person must correct something first, or another reason not to
    ask.
    """
    if rejected is not None and rejected.why in _STATES:
        return _STATES[rejected.why]
    if backoff is None or now >= backoff.until:
        return "Available"
    return "Invalid" if backoff.trouble is Trouble.INVALID_CONFIGURATION else "Resting"


def instances_in(ledger: Ledger, pool: Pool) -> int:
    """Returns how many members take a place and come from `pool`."""
    return sum(member.pool == pool for member in occupying(ledger))


def leaving_note(member: Member) -> str | None:
    """Returns why an instance goes, with the obstacle to its release if there is one. Returns None when it stays."""
    if member.lost is not None:
        return str(member.lost)
    if member.termination is None:
        return None
    cause: Cause = member.termination.cause
    return f"{cause}: {member.termination.obstacle}" if member.termination.obstacle else str(cause)
