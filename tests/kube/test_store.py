"""The store never goes back in time, and wakes for what matters only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from objects import environment
from spotcompute.api.environment import LastKnown
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER
from spotcompute.kube.store import TOMBSTONES_MAX, Store
from spotcompute.telemetry import metrics


def test_a_new_object_is_kept_and_wakes(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    assert store.version("u1") == "5"
    assert wakes == ["u1"]


@pytest.mark.parametrize("version", [4, 5])
def test_old_news_is_ignored(store: Store, wakes: list[str], version: int) -> None:
    store.on_event(environment(5))
    store.on_event(environment(version, generation=2))
    assert store.get("u1") == environment(5)
    assert wakes == ["u1"]


def test_who_is_gone_is_no_longer_shown_to_prometheus(store: Store) -> None:
    store.on_event(environment(5, name="gauged"))
    gauges = metrics.Environments(store.all)
    assert sum(len(family.samples) for family in gauges.collect()) > 0
    store.on_deleted("u1")
    assert sum(len(family.samples) for family in gauges.collect()) == 0


def test_what_an_object_once_remembered_is_known_though_it_forgets(store: Store) -> None:
    remembering = environment(5, annotations={ENVIRONMENT_ID: "0123456789-web001"})
    store.on_event({**remembering, "status": {"ledger": {"sequence": 1_800_000_000}}})
    store.replace(environment(3), instead_of="5")
    assert store.last_known("u1") == LastKnown("0123456789-web001", 1_800_000_000)
    store.drop("u1")
    assert store.last_known("u1") == LastKnown("0123456789-web001", 1_800_000_000), "it may come back"
    for number in range(TOMBSTONES_MAX):
        store.drop(f"other-{number}")
    assert store.last_known("u1") == LastKnown()


@pytest.mark.parametrize("ledger", [None, "text", [], {"sequence": "1"}, {"sequence": -1}, {"sequence": 10**12}])
def test_nonsense_is_not_remembered(store: Store, ledger: object) -> None:
    store.on_event({**environment(5), "status": {"ledger": ledger}})
    assert store.last_known("u1") == LastKnown()


@pytest.mark.parametrize(
    "status", [{}, {"ledger": None}, {"ledger": {"sequence": 3}}], ids=["all", "ledger", "rewound"]
)
def test_a_status_that_has_lost_its_memory_wakes(store: Store, wakes: list[str], status: Mapping[str, Any]) -> None:
    store.on_event({**environment(5), "status": {"ledger": {"sequence": 7}}})
    wakes.clear()
    store.on_event({**environment(6), "status": status})
    assert wakes == ["u1"]


def test_versions_are_numbers_not_text(store: Store) -> None:
    store.on_event(environment(9))
    store.on_event(environment(10))
    assert store.version("u1") == "10"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"generation": 2}, id="the spec"),
        pytest.param({"deletionTimestamp": "2026-11-23T00:00:01Z"}, id="deletion"),
        pytest.param({"finalizers": [FINALIZER]}, id="our finalizer"),
        pytest.param({"annotations": {ENVIRONMENT_ID: "e1"}}, id="our annotation"),
    ],
)
def test_what_matters_wakes(store: Store, wakes: list[str], change: Mapping[str, Any]) -> None:
    store.on_event(environment(5))
    store.on_event(environment(6, **change))
    assert wakes == ["u1", "u1"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="status only"),
        pytest.param({"labels": {"a": "b"}}, id="a label"),
        pytest.param({"finalizers": ["other.example/x"]}, id="another's finalizer"),
        pytest.param({"annotations": {"kubectl.kubernetes.io/x": "y"}}, id="another's annotation"),
    ],
)
def test_what_does_not_matter_is_kept_but_wakes_nobody(
    store: Store, wakes: list[str], change: Mapping[str, Any]
) -> None:
    store.on_event(environment(5))
    store.on_event({**environment(6, **change), "status": {"replicas": 3}})
    assert store.version("u1") == "6"
    assert wakes == ["u1"]


def test_our_own_write_wakes_nobody_and_neither_does_its_echo(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    store.put(environment(6, finalizers=[FINALIZER]))
    store.on_event(environment(6, finalizers=[FINALIZER]))
    store.on_event(environment(5))  # an event that was under way while we wrote
    assert store.version("u1") == "6"
    assert wakes == ["u1"]


def test_somebody_elses_change_after_our_write_wakes(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    store.put(environment(6, finalizers=[FINALIZER]))
    store.on_event(environment(7))  # somebody has taken our finalizer away
    assert wakes == ["u1", "u1"]


def test_a_deleted_object_is_forgotten_and_wakes_once_more(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    store.on_deleted("u1")
    assert store.get("u1") is None
    assert store.find("ns", "web") is None
    assert store.all() == []
    assert wakes == ["u1", "u1"]


def test_a_late_answer_does_not_bring_a_deleted_object_back(store: Store) -> None:
    store.on_event(environment(5))
    store.on_deleted("u1")
    store.put(environment(9))
    store.on_event(environment(9))
    assert store.get("u1") is None


def test_a_name_belongs_to_the_object_born_last_in_whatever_order_the_news_comes(store: Store) -> None:
    old = environment(5, uid="old", born="2026-11-23T00:00:00Z")
    new = environment(9, uid="new", born="2026-11-23T00:00:09Z")
    for first, second in [(old, new), (new, old)]:
        again = Store(lambda uid: None)
        again.on_event(first)
        again.on_event(second)
        assert again.find("ns", "web") == new
        again.on_deleted("old")
        assert again.find("ns", "web") == new


def test_managed_fields_are_not_kept(store: Store) -> None:
    store.on_event(environment(5, managedFields=[{"manager": "kubectl"}]))
    assert store.get("u1") == environment(5)


def test_a_version_that_was_refused_is_replaced_by_what_is_read_then(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(50))
    store.put(environment(7), instead_of="49")
    assert store.version("u1") == "50"
    store.put(environment(51), instead_of="50")
    assert store.version("u1") == "51"
    assert not store.watch_is_stale.is_set()
    store.put(environment(7), instead_of="51")
    assert store.version("u1") == "7"
    assert store.watch_is_stale.is_set()
    store.on_event(environment(8))
    assert not store.watch_is_stale.is_set()
    store.on_deleted("u1")
    store.put(environment(9), instead_of="8")
    assert store.get("u1") is None
    assert wakes == ["u1", "u1"]
