"""How many: what takes a place, what is missing, what is too much."""

from __future__ import annotations

from typing import Any

import pytest

from plan.given import A, accepted, ago, desired_of, instance, intent, ledger_of, member, released, seconds
from spotcompute.model.desired import CapacityUnit
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.plan.capacity import in_flight, is_ready, is_stuck, occupies, ready_count, shortfall, surplus

DESIRED = desired_of(5)


@pytest.mark.parametrize(
    ("who", "takes_a_place"),
    [
        pytest.param(member("ins-1"), True, id="running"),
        pytest.param(member("ins-1", seen=False, arrived=False), True, id="accepted-and-never-seen"),
        pytest.param(member("ins-1", lost=Cause.RECLAIMED), False, id="reclaimed"),
        pytest.param(member("ins-1", termination=released()), True, id="release-only-recorded"),
        pytest.param(member("ins-1", termination=released(sent_at=ago(5))), True, id="release-sent-without-an-answer"),
        pytest.param(member("ins-1", termination=accepted()), False, id="release-accepted"),
    ],
)
def test_what_nothing_proves_to_be_gone_takes_a_place(who: Member, takes_a_place: bool) -> None:
    assert occupies(who) is takes_a_place


@pytest.mark.parametrize(
    ("ledger", "missing", "too_many"),
    [
        pytest.param(ledger_of(), 3, 0, id="nothing-yet"),
        pytest.param(ledger_of(*[member(f"ins-{n}") for n in range(3)]), 0, 0, id="as-wanted"),
        pytest.param(ledger_of(*[member(f"ins-{n}") for n in range(5)]), 0, 2, id="two-too-many"),
        pytest.param(ledger_of(member("ins-1"), intent(DESIRED, 2)), 0, 0, id="launches-in-flight-count-as-there"),
        pytest.param(ledger_of(intent(DESIRED, 5)), 0, 0, id="more-in-flight-than-wanted-is-not-a-known-surplus"),
        pytest.param(
            ledger_of(intent(DESIRED, 5, found=frozenset({"ins-1", "ins-2"})), member("ins-1"), member("ins-2")),
            0,
            0,
            id="found-instances-are-not-counted-twice",
        ),
        pytest.param(
            ledger_of(*[member(f"ins-{n}") for n in range(3)], member("ins-9", termination=released())),
            0,
            0,
            id="one-on-its-way-out-is-neither-missing-nor-too-many",
        ),
        pytest.param(
            ledger_of(*[member(f"ins-{n}") for n in range(2)], member("ins-9", termination=accepted())),
            1,
            0,
            id="an-accepted-release-frees-its-place",
        ),
        pytest.param(
            ledger_of(member("ins-1"), member("ins-2", lost=Cause.RECLAIMED), member("ins-3", lost=Cause.DISAPPEARED)),
            2,
            0,
            id="the-lost-are-replaced",
        ),
    ],
)
def test_shortfall_and_surplus_of_three_wanted(ledger: Ledger, missing: int, too_many: int) -> None:
    assert (shortfall(ledger, desired_of(3)), surplus(ledger, desired_of(3))) == (missing, too_many)


def test_an_instance_found_twice_over_never_makes_the_flight_negative() -> None:
    ledger = ledger_of(intent(DESIRED, 1, found=frozenset({"ins-1", "ins-2", "ins-3"})))
    assert in_flight(ledger) == 0


@pytest.mark.parametrize(
    ("who", "seen", "ready"),
    [
        pytest.param(member("ins-1"), instance("ins-1"), True, id="running"),
        pytest.param(member("ins-1"), instance("ins-1", InstanceState.PENDING), False, id="pending"),
        pytest.param(member("ins-1"), instance("ins-1", InstanceState.STOPPED), False, id="stopped"),
        pytest.param(member("ins-1"), None, False, id="not-seen-this-time"),
        pytest.param(member("ins-1", termination=released()), instance("ins-1"), False, id="meant-to-go"),
        pytest.param(member("ins-1", lost=Cause.RECLAIMED), instance("ins-1"), False, id="lost-already"),
    ],
)
def test_ready_is_running_and_meant_to_stay(who: Member, seen: Instance | None, ready: bool) -> None:
    assert is_ready(who, seen) is ready
    assert ready_count(ledger_of(who), {"ins-1": seen} if seen else {}, desired_of()) == int(ready)


@pytest.mark.parametrize(
    ("state", "age", "transient", "stuck"),
    [
        pytest.param("PENDING", 600, {}, False, id="starting"),
        pytest.param("PENDING", 601, {}, True, id="starting-for-ever"),
        pytest.param("RUNNING", 99999, {}, False, id="running"),
        pytest.param("STOPPED", 99999, {}, False, id="stopped-is-no-state-between-two"),
        pytest.param("REBOOTING", 99999, {}, False, id="seen-rebooting-for-the-first-time"),
        pytest.param(
            "REBOOTING", 99999, {"transient": "REBOOTING", "transient_since": ago(600)}, False, id="rebooting"
        ),
        pytest.param("REBOOTING", 9, {"transient": "REBOOTING", "transient_since": ago(601)}, True, id="for-ever"),
        pytest.param("STOPPING", 9, {"transient": "REBOOTING", "transient_since": ago(601)}, False, id="another-state"),
        pytest.param("OTHER", 9, {"transient": "OTHER", "transient_since": ago(601)}, True, id="unknown-for-ever"),
    ],
)
def test_what_stays_between_two_states_for_too_long_is_stuck(
    state: str, age: float, transient: dict[str, Any], stuck: bool
) -> None:
    seen = instance("ins-1", InstanceState(state), created_at=ago(age), pool=A)
    assert is_stuck(member("ins-1", **transient), seen, ago(0), seconds(600)) is stuck


def test_what_cannot_be_counted_is_neither_missing_nor_too_much() -> None:
    desired = desired_of(8, unit=CapacityUnit.VCPU)  # and no type's size is known
    assert (shortfall(ledger_of(member("ins-1")), desired), surplus(ledger_of(member("ins-1")), desired)) == (0, 0)
