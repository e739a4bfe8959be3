"""What the object says of instances that should go and stay: a reason of its own, the cause, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from plan.given import (
    A,
    B,
    C,
    accepted,
    ago,
    backoff_of,
    desired_of,
    instance,
    ledger_of,
    member,
    observed_of,
    released,
    situation_of,
)
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause
from spotcompute.plan.release import PROTECTED
from spotcompute.report.blocked import why_not_released
from spotcompute.report.conclusion import Conclusion, conclude

REFUSAL = "UnsupportedOperation.InstanceStatePending: it is PENDING (request r-1)"
#: An instance whose release was refused, by the condition in which it was refused.
PROTECTED_ONE = {"termination": {"obstacle": PROTECTED}, "seen": {"protected": True}}
FROZEN = {
    "termination": {"obstacle": "UnsupportedOperation.InstanceStateFreezing: frozen", "refused_in": "RUNNING"},
    "seen": {},
}
STUCK = {
    "termination": {"cause": Cause.STUCK_PENDING, "obstacle": REFUSAL, "refused_in": "PENDING"},
    "seen": {"state": InstanceState.PENDING, "created_at": ago(3600)},
}


def concluded(*kinds: dict[str, Any], replicas: int = 1, beside: tuple[Any, ...] = (), **desired: Any) -> Conclusion:
    """How an environment stands with one running instance, and one of each kind that should go."""
    numbered = list(enumerate(kinds, start=2))
    members = [member(f"ins-{number}", termination=released(**kind["termination"])) for number, kind in numbered]
    seen = [instance(f"ins-{number}", **kind["seen"]) for number, kind in numbered]
    ledger = ledger_of(member("ins-1"), *members, *beside)
    return conclude(situation_of(desired_of(replicas, **desired), ledger, observed_of(instance("ins-1"), *seen)))


@pytest.mark.parametrize(
    ("kinds", "reason", "mentioned"),
    [
        pytest.param([PROTECTED_ONE], "InstancesProtected", ["ins-2", "DisableApiTermination", "Lift"], id="protected"),
        pytest.param([FROZEN], "ReleaseRefused", ["ins-2", "InstanceStateFreezing", "10 minutes"], id="frozen"),
        pytest.param(
            [STUCK],
            "InstancesStuck",
            ["ins-2", "PENDING since 2026-11-23T03:00:00Z", "InstanceStatePending", "console", "Nothing is bought"],
            id="stuck",
        ),
        pytest.param([STUCK, PROTECTED_ONE], "InstancesProtected", ["ins-2 stuck", "ins-3: protected"], id="both"),
    ],
)
def test_what_the_cloud_does_not_let_go_is_for_a_person(
    kinds: list[dict[str, Any]], reason: str, mentioned: list[str]
) -> None:
    for found, phase in (
        (concluded(*kinds), "Stalled"),
        (concluded(*kinds, replicas=0, deleting=True), "Deleting"),
    ):
        assert (found.phase, found.reason, found.stalled) == (phase, reason, True)
        for words in mentioned:
            assert words in found.message or (phase == "Deleting" and words == "Nothing is bought")
        assert len(found.message) < 900


def test_a_deletion_still_says_what_it_waits_for() -> None:
    assert "waiting for 2 instances until" in concluded(PROTECTED_ONE, replicas=0, deleting=True).message


def test_what_is_missing_is_said_first() -> None:
    beside = tuple(backoff_of(pool) for pool in (A, B, C))
    found = concluded(PROTECTED_ONE, replicas=3, beside=beside)
    assert (found.phase, found.reason) == ("Waiting", "InsufficientCapacity")
    assert "Besides, ins-2: protected" in found.message


@pytest.mark.parametrize(
    ("termination", "seen"),
    [
        pytest.param(released(), {}, id="just-recorded"),
        pytest.param(released(obstacle="still starting"), {"state": InstanceState.PENDING}, id="still-starting"),
        pytest.param(released(obstacle="Throttled: slow down", attempts=1, sent_at=ago(1)), {}, id="not-its-fault"),
        pytest.param(accepted(), {}, id="accepted"),
        pytest.param(released(refused_in="RUNNING"), {"state": InstanceState.TERMINATING}, id="ended-since"),
    ],
)
def test_what_goes_by_itself_is_not_for_a_person(termination: Any, seen: dict[str, Any]) -> None:
    ledger = ledger_of(member("ins-1", termination=termination))
    situation = situation_of(desired_of(0), ledger, observed_of(instance("ins-1", **seen)))
    assert why_not_released(situation) is None


def test_of_many_the_first_are_named() -> None:
    found = concluded(*[PROTECTED_ONE] * 400)
    assert "ins-10, ins-100, ins-101, ins-102, ins-103 and 395 more" in found.message
