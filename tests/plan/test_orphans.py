"""The decision of the orphan sweep: every doubt means not yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from plan.given import NOW, OURS, ago, instance, seconds
from spotcompute.model.identity import new_environment_id
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.plan.orphans import Owner, Sighting, orphans_to_release, ownerless, sighted
from spotcompute.plan.policy import Policy

CLUSTER = OURS.cluster_id
GONE = new_environment_id(CLUSTER, "default", "web", "gone01")
HEIR = new_environment_id(CLUSTER, "default", "web", "heir02")
POLICY = Policy()


def left_behind(**other: Any) -> Instance:
    """A machine of default/web, which no longer exists."""
    made = instance("ins-1", name="web-gone01-1700000000", ownership=Ownership(CLUSTER, GONE), created_at=ago(600))
    return replace(made, **{"owner": "default@web", **other})


def is_orphan(machine: Instance, *owners: Owner, namespaces: tuple[str, ...] = ()) -> bool:
    return bool(ownerless([machine], owners, CLUSTER, namespaces))


def test_what_nobody_owns_is_ownerless() -> None:
    assert is_orphan(left_behind())
    assert is_orphan(left_behind(), Owner("default", "other", "x"), Owner("elsewhere", "web", None))


def test_a_successor_of_the_same_name_with_its_own_identity_is_no_owner() -> None:
    assert is_orphan(left_behind(), Owner("default", "web", HEIR))


@pytest.mark.parametrize(
    ("machine", "owners"),
    [
        pytest.param(left_behind(), [Owner("default", "web", GONE)], id="its-environment-lives"),
        pytest.param(left_behind(), [Owner("moved", "away", GONE)], id="its-identity-lives-elsewhere"),
        pytest.param(left_behind(), [Owner("default", "web", None)], id="one-without-identity-may-adopt-it"),
        pytest.param(left_behind(), [Owner("default", "web", "0123456789-forged")], id="one-with-a-forged-identity"),
        pytest.param(left_behind(ownership=None), [], id="no-marks"),
        pytest.param(left_behind(ownership=Ownership("other", GONE)), [], id="another-cluster"),
        pytest.param(left_behind(owner=None), [], id="nobody-to-ask-for"),
        pytest.param(left_behind(owner="default@copied"), [], id="an-identity-not-given-to-that-name"),
        pytest.param(left_behind(name="database-1"), [], id="stolen-tags-on-a-strangers-machine"),
        pytest.param(left_behind(state=InstanceState.TERMINATING), [], id="ending-already"),
    ],
)
def test_what_is_left_alone(machine: Instance, owners: list[Owner]) -> None:
    assert not is_orphan(machine, *owners)


def test_one_namespace_judges_only_its_own() -> None:
    assert is_orphan(left_behind(), namespaces=("default",))
    assert is_orphan(left_behind(), namespaces=("elsewhere", "default"))
    assert not is_orphan(left_behind(), namespaces=("elsewhere", "further"))


def test_sightings_count_sweeps_and_not_questions() -> None:
    machines = [left_behind()]
    first = sighted({}, machines, ago(10), NOW)
    again = sighted(first, machines, ago(10), NOW + seconds(1))
    assert again == first
    assert sighted(again, machines, NOW, NOW + seconds(2))["ins-1"] == Sighting(NOW, 2, NOW)
    assert sighted(again, [], NOW, NOW + seconds(2)) == {}


def test_a_clock_that_was_set_back_does_not_put_off_the_end() -> None:
    first = sighted({}, [left_behind()], ago(10), NOW + seconds(3600))
    assert sighted(first, [left_behind()], NOW, NOW)["ins-1"].since == NOW


@pytest.mark.parametrize(
    ("count", "since", "age", "is_ended"),
    [
        pytest.param(2, 45, 90, True, id="seen-twice-and-long-enough"),
        pytest.param(1, 600, 600, False, id="seen-once"),
        pytest.param(5, 44, 600, False, id="not-for-long"),
        pytest.param(5, 600, 89, False, id="too-young"),
    ],
)
def test_when_an_orphan_is_believed(count: int, since: float, age: float, is_ended: bool) -> None:
    machine = left_behind()
    machine = replace(machine, created_at=ago(age))
    sightings = {"ins-1": Sighting(ago(since), count, NOW)}
    assert (orphans_to_release(sightings, [machine], NOW, NOW, POLICY) == (machine,)) is is_ended


@pytest.mark.parametrize(
    ("first_start", "age", "is_ended"),
    [
        pytest.param(None, 7200, True, id="an-id-of-its-own"),
        pytest.param(ago(600), 7200, False, id="launched-elsewhere-and-perhaps-restored-soon"),
        pytest.param(ago(600), 300, True, id="launched-here"),
        pytest.param(ago(3601), 7200, True, id="nobody-restored-it-within-the-grace"),
    ],
)
def test_what_a_former_cluster_launched_waits_for_its_object(
    first_start: datetime | None, age: float, is_ended: bool
) -> None:
    machine = replace(left_behind(), created_at=ago(age))
    sightings = {"ins-1": Sighting(ago(600), 5, NOW)}
    assert (orphans_to_release(sightings, [machine], NOW, NOW, POLICY, first_start) == (machine,)) is is_ended
