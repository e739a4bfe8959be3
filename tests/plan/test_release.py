"""Which releases are asked for: not those that must be refused, and others at a bounded rate, for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plan.given import (
    NOW,
    accepted,
    ago,
    desired_of,
    instance,
    ledger_of,
    member,
    observed_of,
    planned,
    released,
    seconds,
    situation_of,
    terminated_ids,
)
from spotcompute.model.activity import Activity
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.model.node import NodeState
from spotcompute.plan.actions import Learned, Terminate
from spotcompute.plan.planner import make_plan

REFUSED = {"sent_at": ago(60), "attempts": 1, "together": 1}


def asked_for(seen: dict[str, Any], termination: dict[str, Any], **other: Any) -> bool:
    """True when the release of a member in that state is asked for now."""
    ledger = ledger_of(member("ins-1", termination=released(**termination), **other))
    return terminated_ids(planned(desired_of(0), ledger, observed_of(instance("ins-1", **seen))).actions) == ["ins-1"]


@pytest.mark.parametrize(
    ("seen", "termination", "is_asked"),
    [
        pytest.param({"protected": True}, {}, False, id="protected-is-never-asked-for"),
        pytest.param({"protected": True}, REFUSED | {"sent_at": ago(9999)}, False, id="however-long-ago"),
        pytest.param({}, REFUSED | {"refused_in": "protected"}, True, id="protection-lifted"),
        pytest.param({}, REFUSED | {"refused_in": "RUNNING"}, False, id="refused-lately"),
        pytest.param({}, REFUSED | {"refused_in": "RUNNING", "sent_at": ago(599)}, False, id="almost-ten-minutes"),
        pytest.param({}, REFUSED | {"refused_in": "RUNNING", "sent_at": ago(600)}, True, id="ten-minutes-ago"),
        pytest.param({}, REFUSED | {"refused_in": "PENDING"}, True, id="it-runs-now"),
        pytest.param({"state": InstanceState.STOPPED}, REFUSED | {"refused_in": "RUNNING"}, True, id="it-stopped"),
        pytest.param({"state": InstanceState.STARTING}, {}, False, id="starting"),
        pytest.param({"state": InstanceState.STOPPING}, {}, False, id="stopping"),
        pytest.param({"state": InstanceState.REBOOTING}, {}, False, id="rebooting"),
        pytest.param({"state": InstanceState.OTHER}, {}, True, id="a-state-nobody-knows-may-allow-it"),
        pytest.param({}, REFUSED | {"attempts": 99}, False, id="busy-for-long-is-asked-rarely"),
        pytest.param({}, REFUSED | {"attempts": 99, "sent_at": ago(600)}, True, id="and-for-ever"),
    ],
)
def test_when_a_release_is_asked_for(seen: dict[str, Any], termination: dict[str, Any], is_asked: bool) -> None:
    assert asked_for(seen, termination) is is_asked


#: A node that is open and at work, one that is closed and at work, and one that pods have left.
OPEN, CLOSED = NodeState("ins-1", pods=1), NodeState("ins-1", pods=1, is_unschedulable=True)
LEFT = NodeState("ins-1", is_unschedulable=True)


@pytest.mark.parametrize(
    ("node", "cause", "recorded", "is_asked"),
    [
        pytest.param(None, Cause.SCALED_DOWN, 10, True, id="it has no node"),
        pytest.param(OPEN, Cause.SCALED_DOWN, 10, False, id="new pods may still come"),
        pytest.param(replace(OPEN, pods=0), Cause.SCALED_DOWN, 10, False, id="to an idle one, too"),
        pytest.param(CLOSED, Cause.SCALED_DOWN, 10, False, id="its pods leave"),
        pytest.param(LEFT, Cause.SCALED_DOWN, 10, True, id="they have left"),
        pytest.param(CLOSED, Cause.UNHEALTHY, 10, False, id="those of one that a person wants replaced, too"),
        pytest.param(CLOSED, Cause.SCALED_DOWN, 300, True, id="the time to drain is over"),
        pytest.param(CLOSED, Cause.EXPIRED, 10, True, id="an expired environment does not wait"),
        pytest.param(replace(CLOSED, is_kept=True), Cause.ROLLED_OUT, 9999, False, id="a pod must not be disturbed"),
        pytest.param(replace(CLOSED, is_kept=True), Cause.UNHEALTHY, 300, True, id="but a person wants it"),
    ],
)
def test_a_release_waits_for_the_pods_on_its_node(
    node: NodeState | None, cause: Cause, recorded: float, is_asked: bool
) -> None:
    desired = replace(desired_of(0), drain_limit=seconds(300))
    ledger = ledger_of(member("ins-1", termination=released(cause, recorded_at=ago(recorded))))
    situation = situation_of(desired, ledger, observed_of(instance("ins-1")))
    situation = replace(situation, nodes={"ins-1": node} if node else {})
    plan = make_plan(situation, Learned())
    assert terminated_ids(plan.actions) == (["ins-1"] if is_asked else [])
    deleted = replace(situation, desired=replace(desired, deleting=True))
    assert terminated_ids(make_plan(deleted, Learned()).actions) == ["ins-1"], "who deletes it all waits for nothing"


@pytest.mark.parametrize("state", ["STARTING", "STOPPING", "REBOOTING"])
def test_what_never_leaves_a_state_is_asked_for_nevertheless(state: str) -> None:
    assert not asked_for({"state": InstanceState(state)}, {}, transient=state, transient_since=ago(600))
    assert asked_for({"state": InstanceState(state)}, {}, transient=state, transient_since=ago(601))


@pytest.mark.parametrize("state", ["STARTING", "STOPPING", "REBOOTING", "OTHER"])
def test_what_never_leaves_a_state_goes_although_it_is_not_too_many(state: str) -> None:
    stuck = member("ins-1", transient=state, transient_since=ago(601))
    made = planned(desired_of(1), ledger_of(stuck), observed_of(instance("ins-1", InstanceState(state))))
    assert made.actions == (Terminate(("ins-1",), Cause.STUCK, "in a state between two others for too long"),)


def test_protection_is_told_once_and_says_how_to_lift_it() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"), member("ins-3"))
    observed = observed_of(*(instance(f"ins-{number}", protected=number < 3) for number in (1, 2, 3)))
    first = planned(desired_of(0), ledger, observed)
    assert terminated_ids(first.actions) == ["ins-3"]
    (told,) = first.activities
    assert isinstance(told, Activity)
    assert told.instance_ids == ("ins-1", "ins-2")
    assert "DisableApiTermination" in str(told.message)
    again = planned(desired_of(0), first.ledger, observed, now=NOW + seconds(1))
    assert (again.ledger, again.actions, again.activities) == (first.ledger, (), ())


def test_a_refusal_before_the_list_showed_the_protection_is_forgotten_when_it_is_lifted() -> None:
    refused = ledger_of(member("ins-1", termination=released(**REFUSED, refused_in="RUNNING")))
    shown = planned(desired_of(0), refused, observed_of(instance("ins-1", protected=True)))
    assert shown.actions == ()
    lifted = planned(desired_of(0), shown.ledger, observed_of(instance("ins-1")))
    assert terminated_ids(lifted.actions) == ["ins-1"]


def test_refused_ones_are_asked_for_apart_from_the_others() -> None:
    due = released(**(REFUSED | {"sent_at": ago(600), "refused_in": "RUNNING"}))
    ledger = ledger_of(member("ins-1"), member("ins-2", termination=due), member("ins-3"))
    observed = observed_of(*(instance(key) for key in ledger.members))
    made = planned(desired_of(0), ledger, observed).actions
    assert {(one.instance_ids, one.together) for one in made if isinstance(one, Terminate)} == {
        (("ins-1", "ins-3"), None),
        (("ins-2",), 1),
    }


# --- scaling down beside protected instances --------------------------------------------------------------------------


def going(ledger: Ledger) -> set[str]:
    """The instances that are to go."""
    return {key for key, one in ledger.members.items() if one.termination is not None}


def scaled(replicas: int, protected: set[str], *members: Member) -> Ledger:
    """The ledger after a plan for `replicas`."""
    observed = observed_of(*(instance(one.id, protected=one.id in protected) for one in members))
    made = planned(desired_of(replicas), ledger_of(*members), observed)
    assert not protected.intersection(terminated_ids(made.actions))
    assert planned(desired_of(replicas), made.ledger, observed, now=NOW + seconds(1)).ledger == made.ledger
    return made.ledger


THREE = [member("ins-1", launched_at=ago(30)), member("ins-2"), member("ins-3")]


def leaving(instance_id: str, **termination: Any) -> Member:
    """An instance whose release for scaling down is recorded."""
    return member(instance_id, termination=released(**termination))


@pytest.mark.parametrize(
    ("replicas", "protected", "members", "gone"),
    [
        pytest.param(2, set(), THREE, {"ins-1"}, id="the-youngest-goes"),
        pytest.param(2, {"ins-1"}, THREE, {"ins-2"}, id="another-goes-instead-of-a-protected-one"),
        pytest.param(1, {"ins-2"}, THREE, {"ins-1", "ins-3"}, id="the-protected-stays"),
        pytest.param(1, {"ins-1", "ins-2"}, THREE, {"ins-1", "ins-3"}, id="when-too-few-others-a-protected-is-meant"),
        pytest.param(2, {"ins-1", "ins-2", "ins-3"}, THREE, {"ins-1"}, id="all-protected"),
        pytest.param(
            2, {"ins-1"}, [leaving("ins-1"), *THREE[1:]], {"ins-2"}, id="protected-before-its-release-was-sent"
        ),
        pytest.param(
            2, {"ins-1"}, [leaving("ins-1", **REFUSED, refused_in="RUNNING"), *THREE[1:]], {"ins-2"}, id="refused"
        ),
        pytest.param(
            2, {"ins-1"}, [leaving("ins-1", sent_at=ago(1)), *THREE[1:]], {"ins-1"}, id="no-answer-yet-so-it-may-go"
        ),
        pytest.param(
            2, {"ins-1"}, [member("ins-1", termination=accepted()), *THREE[1:]], {"ins-1"}, id="on-its-way-out"
        ),
        pytest.param(
            2,
            {"ins-1"},
            [member("ins-1", termination=released(Cause.STOPPED_OUTSIDE)), *THREE[1:]],
            {"ins-1"},
            id="of-no-use-in-any-case",
        ),
        pytest.param(3, {"ins-1"}, [leaving("ins-1"), *THREE[1:]], set(), id="it-is-wanted-again"),
        pytest.param(1, {"ins-1"}, [leaving("ins-1"), THREE[1]], {"ins-2"}, id="the-last-other-goes-instead"),
        pytest.param(
            1,
            {"ins-1", "ins-2", "ins-3"},
            [leaving("ins-1"), leaving("ins-2"), THREE[2]],
            {"ins-1", "ins-2"},
            id="nobody-else-can-go",
        ),
    ],
)
def test_who_goes_beside_protected_instances(
    replicas: int, protected: set[str], members: list[Member], gone: set[str]
) -> None:
    assert going(scaled(replicas, protected, *members)) == gone
