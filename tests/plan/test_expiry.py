"""When an environment expires, and what it wants from then on."""

from __future__ import annotations

import pytest

from plan.given import NOW, ago, desired_of, ledger_of, member, observed_of, planned, terminated_ids
from plan.given import instance as machine
from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Cause
from spotcompute.plan.expiry import with_expiry


@pytest.mark.parametrize(
    ("desired", "is_expired"),
    [
        pytest.param(desired_of(3), False, id="it-never-expires-without-a-time"),
        pytest.param(desired_of(3, expires_at=ago(-1)), False, id="it-lives-until-its-time"),
        pytest.param(desired_of(3, expires_at=NOW), True, id="it-expires-at-its-time"),
        pytest.param(desired_of(3, expires_at=ago(1)), True, id="and-stays-so"),
        pytest.param(desired_of(3, expires_at=ago(1), deleting=True), False, id="a-deletion-comes-first"),
    ],
)
def test_an_environment_expires_at_its_time(desired: Desired, is_expired: bool) -> None:
    after = with_expiry(desired, NOW)
    assert after.expired is is_expired
    assert after.replicas == (0 if is_expired else 3)


def test_all_instances_go_for_this_cause_and_none_is_asked_for() -> None:
    desired = with_expiry(desired_of(3, expires_at=ago(1)), NOW)
    ledger = ledger_of(member("ins-1"), member("ins-2"))
    plan = planned(desired, ledger, observed_of(machine("ins-1"), machine("ins-2")))
    assert terminated_ids(plan.actions) == ["ins-1", "ins-2"]
    assert len(plan.actions) == 1
    assert {one.termination and one.termination.cause for one in plan.ledger.members.values()} == {Cause.EXPIRED}


def test_a_paused_environment_releases_nothing() -> None:
    desired = with_expiry(desired_of(3, expires_at=ago(1), paused=True), NOW)
    assert planned(desired, ledger_of(member("ins-1")), observed_of(machine("ins-1"))).actions == ()
