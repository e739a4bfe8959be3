"""Instances outlive a deleted environment: no release is asked for, and only what the cloud shows is let go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings

from plan.given import (
    NOW,
    POLICY,
    accepted,
    ago,
    desired_of,
    instance,
    intent,
    ledger_of,
    member,
    observed_of,
    planned,
    released,
    situation_of,
    synced,
)
from plan.worlds import situations
from spotcompute.cloud.errors import CloudError, InvalidCredentials, NotSent, OutcomeUnknown, Throttled
from spotcompute.model.activity import ActivityState, ActivityType
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.ledger import Cause, Marking, Member, Trouble
from spotcompute.plan.actions import Learned, Mark, Marked, Plan, Postponed, Terminate
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.outcomes import apply_outcomes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.retaining import next_marking
from spotcompute.plan.situation import Situation

LEAVING = desired_of(0, deleting=True, retaining=True)
LEFT = {"ownership": None, "retained": LEAVING.owner}


def marked(plan: Plan) -> list[str]:
    """The ids whose tags the plan changes."""
    return [one.id for action in plan.actions if isinstance(action, Mark) for one in action.instances]


@pytest.mark.parametrize(
    ("marking", "seen", "is_marked"),
    [
        pytest.param(None, instance("ins-1"), True, id="never-marked"),
        pytest.param(None, instance("ins-1", InstanceState.PENDING), True, id="starting"),
        pytest.param(None, instance("ins-1", InstanceState.STOPPED), True, id="stopped"),
        pytest.param(None, instance("ins-1", protected=True), True, id="protected"),
        pytest.param(None, instance("ins-1", InstanceState.TERMINATING), False, id="ending-anyway"),
        pytest.param(None, instance("ins-1", ownership=None, created_at=ago(60)), False, id="tags-still-to-come"),
        pytest.param(None, instance("ins-1", ownership=None, created_at=ago(900)), True, id="tags-taken-off-by-hand"),
        pytest.param(None, instance("ins-1", ownership=Ownership("c", "e")), False, id="of-another"),
        pytest.param(None, instance("ins-1", **LEFT), False, id="left-already"),
        pytest.param(Marking(sent_at=ago(8), answered=True), instance("ins-1"), False, id="just-marked"),
        pytest.param(Marking(sent_at=ago(61), answered=True), instance("ins-1"), True, id="without-effect"),
        pytest.param(Marking(), instance("ins-1"), True, id="not-sent-after-all"),
        pytest.param(Marking(ago(4), attempts=1, obstacle="no"), instance("ins-1"), False, id="just-refused"),
        pytest.param(Marking(ago(6), attempts=1, obstacle="no"), instance("ins-1"), True, id="refused-a-while-ago"),
        pytest.param(Marking(ago(6), attempts=3, obstacle="no"), instance("ins-1"), False, id="refused-often"),
    ],
)
def test_tags_are_changed_when_that_is_due(marking: Marking | None, seen: Instance, is_marked: bool) -> None:
    ledger = ledger_of(member("ins-1", marking=marking))
    plan = planned(LEAVING, ledger, observed_of(seen))
    assert marked(plan) == (["ins-1"] if is_marked else [])
    now = plan.ledger.members["ins-1"].marking
    assert not is_marked or (now is not None and now.sent_at == NOW)


@pytest.mark.parametrize(
    ("marking", "seen", "is_let_go"),
    [
        pytest.param(Marking(sent_at=ago(8), answered=True), LEFT, True, id="the-cloud-shows-it"),
        pytest.param(None, LEFT, True, id="marked-by-another-process"),
        pytest.param(Marking(sent_at=ago(8), answered=True), {}, False, id="not-shown-yet"),
        pytest.param(Marking(sent_at=ago(8), answered=True), {"ownership": None}, False, id="no-tags-at-all"),
        pytest.param(Marking(sent_at=ago(200)), LEFT, False, id="a-request-may-still-arrive"),
        pytest.param(Marking(sent_at=ago(301)), LEFT, True, id="no-request-can-arrive-any-more"),
        pytest.param(
            Marking(sent_at=ago(8), answered=True, doubtful_at=ago(200)), LEFT, False, id="an-earlier-one-may-arrive"
        ),
    ],
)
def test_a_member_is_dropped_once_the_cloud_shows_it_without_our_tags(
    marking: Marking | None, seen: dict[str, object], is_let_go: bool
) -> None:
    kept = synced(ledger_of(member("ins-1", marking=marking)), LEAVING, observed_of(instance("ins-1", **seen)))
    assert (kept.ledger.members == {}) is is_let_go
    told = [(one.type, one.cause, one.instance_ids) for one in kept.activities]
    assert told == ([(ActivityType.RETAIN, Cause.RETAINED, ("ins-1",))] if is_let_go else [])


def test_a_launch_in_doubt_is_waited_for() -> None:
    kept = synced(ledger_of(intent(LEAVING, 1)), LEAVING, observed_of())
    assert not kept.ledger.is_empty
    assert planned(LEAVING, kept.ledger).actions == ()


def test_releases_that_were_not_accepted_are_forgotten_and_others_wait_for_their_end() -> None:
    ledger = ledger_of(member("ins-1", termination=released()), member("ins-2", termination=accepted()))
    plan = planned(LEAVING, ledger, observed_of(instance("ins-1"), instance("ins-2", InstanceState.TERMINATING)))
    assert marked(plan) == ["ins-1"]
    assert plan.ledger.members["ins-1"].termination is None
    assert plan.ledger.members["ins-2"].termination is not None


@given(situations)
@settings(max_examples=100)
def test_nothing_is_ever_ended_or_bought(drawn: tuple[Situation, Learned]) -> None:
    situation, learned = drawn
    leaving = replace(situation.desired, replicas=0, deleting=True, retaining=True)
    kept = replace(situation, desired=leaving)
    plan = make_plan(kept.with_ledger(sync_ledger(kept).ledger), learned)
    assert all(isinstance(action, Mark) for action in plan.actions)


def answer(result: str | CloudError | Postponed, before: Marking) -> tuple[Marking, list[ActivityState]]:
    ledger = ledger_of(member("ins-1", marking=before))
    mark = Mark((instance("ins-1"),), None, LEAVING.owner, "because")
    situation = Situation(LEAVING, ledger, observed_of(instance("ins-1")), NOW, POLICY)
    applied = apply_outcomes(situation, [Marked(("ins-1",), mark, result)], Learned())
    marking = applied.ledger.members["ins-1"].marking
    assert marking is not None
    return marking, [one.state for one in applied.activities]


@pytest.mark.parametrize(
    ("result", "expected", "told"),
    [
        pytest.param("r-1", Marking(NOW, answered=True, attempts=2), 0, id="done"),
        pytest.param(Postponed(), Marking(None, attempts=1), 0, id="postponed"),
        pytest.param(
            Throttled("Limit", "slow"), Marking(NOW, True, None, 2, "Limit: slow", Trouble.RATE_LIMITED), 1, id="no"
        ),
        pytest.param(
            NotSent("Net", "down"), Marking(NOW, True, None, 2, "Net: down", Trouble.CLOUD_UNREACHABLE), 1, id="unsent"
        ),
        pytest.param(
            OutcomeUnknown("Net", "lost"),
            Marking(NOW, False, None, 2, "Net: lost", Trouble.CLOUD_UNREACHABLE),
            1,
            id="lost",
        ),
        pytest.param(
            InvalidCredentials("No", "key"),
            Marking(NOW, True, None, 2, "No: key", Trouble.INVALID_CREDENTIALS),
            1,
            id="forbidden",
        ),
    ],
)
def test_an_answer_is_noted(result: str | CloudError | Postponed, expected: Marking, told: int) -> None:
    assert answer(result, Marking(sent_at=NOW, attempts=1)) == (expected, [ActivityState.FAILED] * told)


def test_no_release_is_in_a_plan_even_when_one_was_due() -> None:
    plan = planned(LEAVING, ledger_of(member("ins-1", termination=released())), observed_of(instance("ins-1")))
    assert not any(isinstance(action, Terminate) for action in plan.actions)


@pytest.mark.parametrize(
    ("one", "due"),
    [
        pytest.param(member("ins-1"), NOW + POLICY.poll_interval, id="never-marked"),
        pytest.param(member("ins-1", marking=Marking()), NOW + POLICY.poll_interval, id="never-sent"),
        pytest.param(member("ins-1", marking=Marking(sent_at=ago(7))), ago(7) + POLICY.repeat_release, id="sent"),
        pytest.param(member("ins-1", termination=accepted()), None, id="it-ends"),
        pytest.param(
            member("ins-1", termination=released()), NOW + POLICY.poll_interval, id="its-end-is-not-taken-yet"
        ),
    ],
)
def test_when_tags_are_changed_again(one: Member, due: datetime | None) -> None:
    assert next_marking(one, situation_of(LEAVING, ledger_of(one))) == due
