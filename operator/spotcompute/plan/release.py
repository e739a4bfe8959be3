"""Decides which recorded releases are asked for now, and which ones wait: for a state, for protection, for a while.

Apart from `planner`, which decides who goes: here it is decided when the cloud is asked, and when it would be in vain.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.desired import Desired
from spotcompute.model.instance import TRANSIENT_STATES, Instance, InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member, Termination
from spotcompute.model.moments import age
from spotcompute.model.node import NodeState
from spotcompute.plan.actions import Action, Terminate
from spotcompute.plan.capacity import is_stuck, surplus, units_of
from spotcompute.plan.retirement import is_protected, staying
from spotcompute.plan.situation import Situation

#: The obstacle of an instance that the list shows as protected, and what would remove it.
PROTECTED = "protected against termination (DisableApiTermination)"
UNPROTECT = "Lift the protection in the console, or by ModifyInstancesAttribute with DisableApiTermination false"

#: The obstacle of an instance that is protected by a mark on its object, and what would remove it.
MARKED_PROTECTED = "protected by the annotation spotcompute.dev/do-not-terminate"
UNMARK = "Take the annotation off its SpotInstance"

#: The obstacle of an instance with a pod that must not be disturbed, and what would remove it.
AT_WORK = "a pod on its node is not to be disturbed"
LET_END = "It goes when that pod has ended, or no longer bears the annotation"

#: What removes each kind of protection.
REMEDIES = {PROTECTED: UNPROTECT, MARKED_PROTECTED: UNMARK, AT_WORK: LET_END}

#: The obstacles of an instance whose node is known too little, and whose pods are about to leave.
NODE_UNREAD, DRAINING = "the nodes of the cluster have not been read yet", "the pods on its node leave first"

#: Releases that have no time to wait for pods: what is asked for is the end, or nothing works there any more.
_AT_ONCE = frozenset(
    {
        Cause.ENVIRONMENT_DELETED,
        Cause.EXPIRED,
        Cause.STOPPED_OUTSIDE,
        Cause.WORK_ENDED,
        Cause.STUCK_PENDING,
        Cause.STUCK,
        Cause.RECYCLE_BIN,
        Cause.GANG_INCOMPLETE,
    }
)

#: Releases that choose among instances, and may choose another one.
_BY_CHOICE = frozenset({Cause.SCALED_DOWN, Cause.ROLLED_OUT, Cause.BACK_TO_SPOT, Cause.NOT_INTERRUPTED})

#: The condition of a protected instance, whatever its state.
_PROTECTED = "protected"


def condition_of(instance: Instance) -> str:
    """Returns what decides whether the cloud releases an instance: its protection, or otherwise its state."""
    return _PROTECTED if instance.protected else str(instance.state)


def due_releases(situation: Situation) -> tuple[Ledger, tuple[Action, ...], tuple[Activity, ...]]:
    """Returns the recorded releases that are to be asked for now, and tells of those that a person must make possible.

    The ledger that comes with them notes when they are sent, and what the others wait for.
    """
    ledger, now, observed = situation.ledger, situation.now, situation.observed
    # One call takes instances of one charge type only.
    due: dict[tuple[Cause, bool, int | None], list[str]] = {}
    protected: dict[tuple[Cause, str], list[str]] = {}
    for instance_id in sorted(ledger.members):
        member = ledger.members[instance_id]
        instance, termination = observed.instances.get(instance_id), member.termination
        if termination is None or (instance is None and termination.accepted_at is not None):
            continue  # meant to stay, or on its way out and no longer listed
        obstacle = _why_not_yet(member, instance, situation)
        if obstacle is not None:
            waiting = _waiting(termination, obstacle, instance)
            if waiting != termination:
                ledger = ledger.with_member(replace(member, termination=waiting))
            if obstacle in REMEDIES and obstacle != termination.obstacle:
                protected.setdefault((termination.cause, obstacle), []).append(instance_id)
        elif _is_due(termination, instance, situation):
            ledger = ledger.with_member(replace(member, termination=replace(termination, sent_at=now)))
            due.setdefault((termination.cause, member.on_demand, termination.together), []).append(instance_id)
    actions = tuple(
        Terminate(tuple(ids), cause, _because(cause, situation.desired), together)
        for (cause, _, together), ids in due.items()
    )
    return ledger, actions, tuple(_told(cause, why, ids, situation) for (cause, why), ids in protected.items())


def _waiting(termination: Termination, obstacle: str, instance: Instance | None) -> Termination:
    """Returns the release with what it waits for. An earlier refusal counts as one of the present condition.

    Otherwise the end of that condition would not be seen, and that the cloud can be asked again.
    """
    refused_in = termination.refused_in
    if instance is not None and refused_in is not None:
        refused_in = condition_of(instance)
    return replace(termination, obstacle=obstacle, refused_in=refused_in)


def _told(cause: Cause, why: str, ids: list[str], situation: Situation) -> Activity:
    now, message = situation.now, f"{why}, so no release is asked for. {REMEDIES[why]}"
    return Activity(
        ActivityType.TERMINATE,
        ActivityState.FAILED,
        cause=str(cause),
        started_at=now,
        ended_at=now,
        instance_ids=tuple(ids),
        reason="InstancesProtected",
        message=message,
    )


def _why_not_yet(member: Member, instance: Instance | None, situation: Situation) -> str | None:
    """Returns why a recorded release cannot be asked for yet. Returns None when it can.

    A call that must be refused is not made: with it the whole batch would be refused. An instance that never leaves a
    state between two others is asked for nevertheless.
    """
    if instance is None:
        return "not in the cloud's lists yet"
    if instance.ownership != situation.desired.ownership:
        return "its tags do not (yet) say that it belongs to this environment, so it is not touched"
    if instance.has_ended and not instance.is_in_recycle_bin:
        return None
    if instance.protected:
        return PROTECTED
    if situation.wish(member.id).protect and not situation.desired.deleting:
        return MARKED_PROTECTED
    if instance.state not in TRANSIENT_STATES:
        return _why_not_yet_for_its_pods(member, situation)
    if is_stuck(member, instance, situation.now, situation.policy.launch_timeout):
        return None
    if instance.state is InstanceState.PENDING:
        return "still starting, and cannot be released before it runs"
    return f"{instance.state}, and cannot be released before that is over"


def _why_not_yet_for_its_pods(member: Member, situation: Situation) -> str | None:
    """Returns why the work on its node keeps an instance for now: None without a node, and after the time to drain."""
    termination, limit, node = member.termination, situation.desired.drain_limit, situation.nodes.get(member.id)
    if termination is None or limit is None or node is None or situation.desired.deleting:
        return None
    if termination.cause in _AT_ONCE:
        return None
    if node.is_kept and node.name and termination.cause in _BY_CHOICE:
        return AT_WORK
    is_over = age(termination.recorded_at, situation.now) >= limit
    return None if is_over else _why_not_drained(node)


def _why_not_drained(node: NodeState) -> str | None:
    if not node.name:
        return NODE_UNREAD
    return DRAINING if node.pods or not node.is_unschedulable else None


def _is_due(termination: Termination, instance: Instance | None, situation: Situation) -> bool:
    """True when the release was never asked for, or long enough ago without effect."""
    if instance is None or (instance.has_ended and not instance.is_in_recycle_bin):
        return False
    now, policy = situation.now, situation.policy
    if termination.accepted_at is not None:
        sent_at = termination.sent_at or termination.accepted_at
        # An observation from before the request says nothing about its effect.
        shows_effect = not sent_at < now or situation.observed.observed_at > sent_at
        return shows_effect and age(sent_at, now) >= policy.repeat_release
    if termination.sent_at is None:
        return True
    if termination.refused_in is not None:
        has_changed = termination.refused_in != condition_of(instance)
        return has_changed or age(termination.sent_at, now) >= policy.repeat_refused
    longest = policy.backoff_max if termination.together is None else policy.repeat_refused
    wait = min(longest, policy.poll_interval * (1 << min(max(0, termination.attempts - 1), 10)))
    return age(termination.sent_at, now) >= wait


def _because(cause: Cause, desired: Desired) -> str:
    if cause is Cause.SCALED_DOWN:
        return f"more than the {desired.replicas} wanted"
    return {
        Cause.ENVIRONMENT_DELETED: "the environment is deleted",
        Cause.EXPIRED: "the environment has expired",
        Cause.STOPPED_OUTSIDE: "stopped outside; a stopped spot instance costs money and does nothing",
        Cause.WORK_ENDED: "it has powered itself off, so its work is done",
        Cause.STUCK_PENDING: "pending for too long",
        Cause.STUCK: "in a state between two others for too long",
        Cause.RECYCLE_BIN: "in the recycle bin",
        Cause.BACK_TO_SPOT: "spot is to be had again",
        Cause.ROLLED_OUT: "replaced, because it is not as the spec asks for now",
        Cause.TOO_OLD: "replaced, because it is as old as maxAgeSeconds allows",
        Cause.NOT_INTERRUPTED: "its notice of interruption was false, and others run in its place",
        Cause.GANG_INCOMPLETE: "the gang was not completed in time",
        Cause.UNHEALTHY: "marked as unhealthy",
        Cause.DELETED_BY_HAND: "its object was deleted",
    }.get(cause, str(cause))


# --- taking a release back --------------------------------------------------------------------------------------------


def with_releases_taken_back(situation: Situation, going_anyway: Collection[str]) -> Ledger:
    """Returns the ledger without the releases of protected instances for which others can go, or that are no longer
    needed.

    Only a release for scaling down is taken back, and only one that had no effect: it was never sent, or was refused.
    `going_anyway` are instances that are to go for another cause.
    """
    ledger, desired = situation.ledger, situation.desired
    protected = [] if desired.deleting else [one for one in ledger.members.values() if _may_stay(one, situation)]
    if not protected:
        return ledger
    present = staying(ledger)
    others = [one for one in present if one.id not in going_anyway and not is_protected(one, situation)]
    needed = max(0, desired.replicas - units_of(present, desired))
    room = needed + max(0, units_of(others, desired) - surplus(ledger, desired))
    for member in sorted(protected, key=lambda one: one.id):
        if room <= 0:
            break
        ledger = ledger.with_member(replace(member, termination=None))
        room -= desired.units(member.pool)
    return ledger


def _may_stay(member: Member, situation: Situation) -> bool:
    termination = member.termination
    if termination is None or termination.cause is not Cause.SCALED_DOWN or termination.accepted_at is not None:
        return False
    has_no_effect = termination.sent_at is None or termination.refused_in is not None
    return has_no_effect and is_protected(member, situation)
