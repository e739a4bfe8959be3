"""What an answer means for the ledger; above all, that no answer settles what may have happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    POLICY,
    A,
    B,
    accepted,
    ago,
    applied,
    backoff_of,
    desired_of,
    instance,
    intent,
    ledger_of,
    member,
    observed_of,
    released,
    situation_of,
)
from spotcompute.cloud import errors
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.activity import ActivityState
from spotcompute.model.desired import Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Intent, Ledger, Member, Trouble
from spotcompute.model.offering import ON_DEMAND, whole_zone
from spotcompute.plan.actions import Launch, Launched, Learned, Outcome, Postponed, Terminated
from spotcompute.plan.backoff import OF_THE_ACCOUNT, is_held_back, trouble_of
from spotcompute.plan.launching import request_for
from spotcompute.plan.outcomes import Applied, apply_outcomes

DESIRED = desired_of(5)
ONCE = desired_of(5, one_time=True)
WIPED = ledger_of(sequence=0)
REFUSALS = errors.Refused.__subclasses__()


def launch_of(made: Intent, replay: bool = False) -> Launch:
    request = request_for(DESIRED, made.pool, made.count, made.sequence, made.bid)
    assert request is not None
    return Launch(made, request, "some are missing", replay)


def enter(
    before: Ledger, *outcomes: Outcome, desired: Desired = DESIRED, learned: Learned = NOTHING_LEARNED
) -> Applied:
    return applied(before, outcomes, desired, learned)


def sold(*ids: str) -> LaunchReceipt:
    return LaunchReceipt(ids, "req-5")


# --- launches --------------------------------------------------------------------------------------------------------


def test_an_accepted_launch_turns_into_members_in_one_step() -> None:
    made = intent(DESIRED, 2)
    after = enter(ledger_of(made), Launched(launch_of(made), sold("ins-1", "ins-2")))
    assert after.ledger.intents == ()
    assert after.ledger.members == {
        key: Member(key, A, NOW, made.template_digest, made.sequence) for key in ("ins-1", "ins-2")
    }
    (line,) = after.activities
    assert (line.state, line.instance_ids, line.request_id) == (ActivityState.PROCESSING, ("ins-1", "ins-2"), "req-5")


def test_an_accepted_launch_of_a_replay_is_accepted_too() -> None:
    made = intent(DESIRED, 1, answer_lost=True)
    assert set(enter(ledger_of(made), Launched(launch_of(made, True), sold("ins-1"))).ledger.members) == {"ins-1"}


@pytest.mark.parametrize(
    ("newer", "kept"),
    [
        pytest.param(ledger_of(), {"ins-1", "ins-2"}, id="settled-by-another-replica"),
        pytest.param(ledger_of(member("ins-1"), member("ins-9")), {"ins-1", "ins-2", "ins-9"}, id="one-was-found"),
        pytest.param(ledger_of(intent(DESIRED, 1, 999)), {"ins-1", "ins-2"}, id="another-launch-began"),
    ],
)
def test_entering_into_a_newer_ledger_loses_no_id(newer: Ledger, kept: set[str]) -> None:
    made = intent(DESIRED, 2)
    after = enter(newer, Launched(launch_of(made), sold("ins-1", "ins-2"))).ledger
    assert set(after.members) == kept
    assert {item.sequence for item in after.intents} == {item.sequence for item in newer.intents}


def test_what_is_known_of_a_member_survives_its_late_receipt() -> None:
    made = intent(DESIRED, 1)
    known = member("ins-1", termination=released())
    assert enter(ledger_of(known, made), Launched(launch_of(made), sold("ins-1"))).ledger.members["ins-1"] == known


def test_a_sale_ends_the_rests_it_disproves() -> None:
    made = intent(DESIRED, 1)
    before = ledger_of(made, backoff_of(A), backoff_of(B), backoff_of(None, Trouble.RATE_LIMITED))
    assert set(enter(before, Launched(launch_of(made), sold("ins-1"))).ledger.backoffs) == {B}


@pytest.mark.parametrize("trouble", [Trouble.LAUNCH_FAILED, Trouble.EARLY_LOSS])
def test_a_sale_does_not_prove_that_machines_last(trouble: Trouble) -> None:
    made = intent(DESIRED, 1)
    before = ledger_of(made, backoff_of(A, trouble))
    assert set(enter(before, Launched(launch_of(made), sold("ins-1"))).ledger.backoffs) == {A}


@pytest.mark.parametrize(
    ("vcpu", "refused", "is_over"),
    [
        pytest.param(2, 4, False, id="a-smaller-type"),
        pytest.param(4, 4, True, id="the-same-size"),
        pytest.param(8, 4, True, id="a-larger-type"),
        pytest.param(None, 4, True, id="nobody-knows-how-large"),
        pytest.param(2, None, True, id="the-subnet-was-full"),
    ],
)
def test_a_sale_ends_the_rest_of_a_zone_for_what_is_no_larger(
    vcpu: int | None, refused: int | None, is_over: bool
) -> None:
    made = intent(DESIRED, 1)
    zone = backoff_of(whole_zone(A.zone), Trouble.QUOTA_EXCEEDED, vcpu=refused)
    after = enter(ledger_of(made, zone), Launched(replace(launch_of(made), vcpu=vcpu), sold("ins-1")))
    assert (zone.pool not in after.ledger.backoffs) is is_over


def test_a_sale_on_demand_says_nothing_of_spot() -> None:
    made = intent(DESIRED, 1, on_demand=True)
    launch = replace(launch_of(intent(DESIRED, 1)), intent=made)
    after = enter(
        ledger_of(made, backoff_of(A), backoff_of(whole_zone(A.zone)), backoff_of(ON_DEMAND)),
        Launched(launch, sold("ins-1")),
    )
    assert set(after.ledger.backoffs) == {A, whole_zone(A.zone)}
    assert after.learned.sells == frozenset()
    assert after.ledger.members["ins-1"].on_demand


@pytest.mark.parametrize("kind", [*REFUSALS, errors.NotSent], ids=lambda kind: kind.__name__)
def test_a_refusal_settles_a_launch_that_was_never_in_doubt(kind: type[errors.CloudError]) -> None:
    made = intent(DESIRED, 1)
    after = enter(ledger_of(made), Launched(launch_of(made), kind("Code", "words", "req-1")))
    assert after.ledger.intents == ()
    assert len(after.ledger.backoffs) == 1
    (line,) = after.activities
    assert (line.state, line.code, line.message, line.request_id) == (
        ActivityState.FAILED,
        "Code",
        "words",
        "req-1",
    )


@pytest.mark.parametrize("kind", [*REFUSALS, errors.NotSent, errors.OutcomeUnknown], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("where", ["in-the-launch", "in-the-newer-ledger"])
def test_a_refusal_after_a_doubt_settles_nothing(kind: type[errors.CloudError], where: str) -> None:
    made = intent(DESIRED, 2)
    doubtful = replace(made, answer_lost=True)
    before, launch = (ledger_of(doubtful), made) if where == "in-the-newer-ledger" else (WIPED, doubtful)
    after = enter(before, Launched(launch_of(launch, True), kind("Code", "words")))
    assert after.ledger.intents == (replace(doubtful, sent_at=NOW),)
    assert is_held_back(after.ledger, doubtful, NOW), "it would be repeated in a hot loop"
    assert (None in after.ledger.backoffs) is (trouble_of(kind("", "")) in OF_THE_ACCOUNT or kind is errors.NotSent)
    assert after.activities[0].state is ActivityState.SUBMITTED


def test_no_answer_leaves_a_launch_open_and_in_doubt() -> None:
    made = intent(DESIRED, 2)
    after = enter(ledger_of(made), Launched(launch_of(made), errors.OutcomeUnknown("ClientTimeout", "no answer")))
    assert after.ledger.intents == (replace(made, answer_lost=True, sent_at=NOW),)


@pytest.mark.parametrize("kind", [*REFUSALS, errors.NotSent, errors.OutcomeUnknown], ids=lambda kind: kind.__name__)
def test_an_error_is_old_news_once_others_have_settled_the_launch(kind: type[errors.CloudError]) -> None:
    """Of a process that was frozen for a while, and wakes up to a request that has timed out meanwhile."""
    made, error = intent(DESIRED, 2), kind("ClientTimeout", "no answer")
    empty = replace(ledger_of(), sequence=made.sequence)
    known = empty.with_member(replace(member("ins-1"), sequence=made.sequence))
    assert enter(known, Launched(launch_of(made), error)) == Applied(known, NOTHING_LEARNED, ())
    long_ago = replace(made, created_at=NOW - POLICY.answer_wait_max)
    assert enter(empty, Launched(launch_of(long_ago), error)) == Applied(empty, NOTHING_LEARNED, ())
    just_now = replace(made, created_at=NOW)
    assert enter(empty, Launched(launch_of(just_now), errors.OutcomeUnknown("Code", "words"))).ledger.intents


def test_a_launch_that_was_not_sent_after_all_leaves_no_trace() -> None:
    made = intent(DESIRED, 2)
    after = enter(ledger_of(made), Launched(launch_of(made), None))
    assert (after.ledger, after.activities) == (ledger_of(), ())


def test_a_doubtful_launch_that_was_not_sent_again_stays_open() -> None:
    doubtful = intent(DESIRED, 2, answer_lost=True)
    assert enter(ledger_of(doubtful), Launched(launch_of(doubtful, True), None)).ledger == ledger_of(doubtful)


# --- what is learned of stock ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count", "desired", "is_learned"),
    [
        pytest.param(errors.InsufficientCapacity, 4, DESIRED, True, id="no-stock-for-four"),
        pytest.param(errors.NoRoom, 4, DESIRED, True, id="no-addresses-for-four"),
        pytest.param(errors.QuotaExceeded, 4, DESIRED, True, id="no-quota-for-four"),
        pytest.param(errors.InsufficientCapacity, 1, DESIRED, False, id="not-even-one"),
        pytest.param(errors.PriceTooLow, 4, DESIRED, False, id="fewer-are-not-cheaper"),
        pytest.param(errors.InvalidConfiguration, 4, DESIRED, False, id="fewer-are-not-more-valid"),
        pytest.param(errors.InsufficientCapacity, 4, ONCE, False, id="one-attempt-only"),
    ],
)
def test_a_refusal_for_many_may_be_a_yes_for_fewer(
    kind: type[errors.CloudError], count: int, desired: Desired, is_learned: bool
) -> None:
    made = intent(DESIRED, count)
    after = enter(ledger_of(made), Launched(launch_of(made), kind("Code", "words")), desired=desired)
    assert after.learned.room_below == ({A: count} if is_learned else {})
    assert (after.ledger.backoffs == {}) is is_learned


def test_a_sale_uses_up_the_room_that_is_left() -> None:
    made = intent(DESIRED, 4)
    after = enter(
        ledger_of(made), Launched(launch_of(made), sold("a", "b", "c", "d")), learned=Learned(room_below={A: 8, B: 3})
    )
    assert after.learned == Learned(room_below={A: 4, B: 3}, sells=frozenset({A}))


@pytest.mark.parametrize(
    ("kind", "attempted"), [(errors.NotSent, None), (errors.InsufficientCapacity, 1), (errors.Throttled, 1)]
)
def test_an_attempt_that_never_left_this_machine_is_no_attempt(
    kind: type[errors.CloudError], attempted: int | None
) -> None:
    made = intent(DESIRED, 1)
    before = ledger_of(made, attempted_generation=1)
    after = enter(before, Launched(launch_of(made), kind("Code", "words")), desired=ONCE)
    assert after.ledger.attempted_generation == attempted


# --- releases --------------------------------------------------------------------------------------------------------


def release(result: str | errors.CloudError | Postponed, ids: Sequence[str] = ("ins-1",)) -> Terminated:
    return Terminated(tuple(ids), Cause.SCALED_DOWN, "more than wanted", result)


@pytest.mark.parametrize(
    ("result", "state", "is_accepted"),
    [
        pytest.param("req-1", ActivityState.PROCESSING, True, id="accepted"),
        pytest.param(errors.InstanceGone("NotFound", "gone"), ActivityState.PROCESSING, True, id="gone-is-done"),
        pytest.param(errors.InstanceBusy("Busy", "wait"), ActivityState.FAILED, False, id="busy"),
        pytest.param(errors.OutcomeUnknown("Timeout", "lost"), ActivityState.SUBMITTED, False, id="no-answer"),
        pytest.param(errors.TerminationBlocked("Protected", "no"), ActivityState.FAILED, False, id="protected"),
        pytest.param(errors.NotSent("NoRoute", "offline"), ActivityState.FAILED, False, id="not-sent"),
        pytest.param(errors.Throttled("Rate", "slow"), ActivityState.FAILED, False, id="throttled"),
    ],
)
def test_what_becomes_of_a_release(result: str | errors.CloudError, state: ActivityState, is_accepted: bool) -> None:
    before = ledger_of(member("ins-1", termination=released(sent_at=ago(1))))
    after = enter(before, release(result))
    termination = after.ledger.members["ins-1"].termination
    assert termination is not None
    assert (termination.accepted_at == NOW) is is_accepted
    assert (termination.obstacle is None) is is_accepted
    assert (termination.attempts, termination.sent_at) == (1, NOW)
    assert after.activities[0].state is state


def test_a_refused_repeat_does_not_take_an_acceptance_back() -> None:
    before = ledger_of(member("ins-1", termination=accepted()))
    after = enter(before, release(errors.InstanceBusy("Busy", "wait"))).ledger.members["ins-1"].termination
    assert after is not None
    assert after.accepted_at == ago(10)


def test_a_repeat_that_is_accepted_too_does_not_move_the_acceptance() -> None:
    before = ledger_of(member("ins-1", termination=accepted()))
    after = enter(before, release("req-2")).ledger.members["ins-1"].termination
    assert after is not None
    assert (after.accepted_at, after.sent_at) == (ago(10), NOW)


def test_the_answer_of_a_release_nobody_remembers_changes_nothing() -> None:
    before = ledger_of(member("ins-2"))
    assert enter(before, release("req-1", ["ins-1", "ins-2"])).ledger == before


def test_the_obstacle_is_in_the_words_of_the_cloud() -> None:
    before = ledger_of(member("ins-1", termination=released()))
    error = errors.TerminationBlocked("UnsupportedOperation.InstanceProtected", "is protected", "req-3")
    after = enter(before, release(error)).ledger.members["ins-1"].termination
    assert after is not None
    assert after.obstacle == "UnsupportedOperation.InstanceProtected: is protected (request req-3)"


@pytest.mark.parametrize(
    ("error", "seen", "refused_in"),
    [
        pytest.param(errors.TerminationBlocked("Frozen", "no"), {}, "RUNNING", id="refused-in-its-state"),
        pytest.param(errors.TerminationBlocked("Frozen", "no"), {"protected": True}, "protected", id="or-protected"),
        pytest.param(errors.InstanceBusy("Busy", "no"), {"state": InstanceState.PENDING}, "PENDING", id="stuck"),
        pytest.param(errors.InstanceBusy("Busy", "no"), {}, None, id="busy-in-a-way-the-list-does-not-show"),
    ],
)
def test_a_release_that_is_refused_because_of_the_instance_is_asked_for_alone(
    error: errors.CloudError, seen: dict[str, Any], refused_in: str | None
) -> None:
    before = ledger_of(member("ins-1", termination=released(sent_at=NOW)))
    shown = instance("ins-1", **seen)
    situation = situation_of(DESIRED, before, observed_of(shown))
    after = apply_outcomes(situation, [release(error)], Learned()).ledger.members["ins-1"].termination
    assert after is not None
    assert (after.together, after.refused_in) == (1, refused_in)


@pytest.mark.parametrize(
    ("postponed", "sent_at", "together"),
    [
        pytest.param(Postponed(), None, None, id="not-asked-for-and-due-at-once"),
        pytest.param(Postponed(25), NOW, 25, id="part-of-a-refused-call-and-due-soon"),
    ],
)
def test_a_release_that_a_run_had_no_time_for_is_due_in_the_next(
    postponed: Postponed, sent_at: datetime | None, together: int | None
) -> None:
    before = ledger_of(member("ins-1", termination=released(sent_at=NOW)))
    after = enter(before, release(postponed))
    termination = after.ledger.members["ins-1"].termination
    assert termination is not None
    assert (termination.sent_at, termination.together, termination.attempts) == (sent_at, together, 0)
    assert after.activities == ()


def test_outcomes_are_entered_one_after_another() -> None:
    first, second = intent(DESIRED, 2, 701), intent(DESIRED, 2, 702)
    after = enter(
        ledger_of(first, second),
        Launched(launch_of(first), sold("ins-1", "ins-2")),
        Launched(launch_of(second), errors.InsufficientCapacity("SoldOut", "no")),
    )
    assert set(after.ledger.members) == {"ins-1", "ins-2"}
    assert after.ledger.intents == ()
    assert [line.state for line in after.activities] == [ActivityState.PROCESSING, ActivityState.FAILED]
