"""The store never goes back in time, wakes for what matters only, and the audit heals what the watch has missed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from spotcompute.api.environment import LastKnown
from spotcompute.kube.audit import Audit
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER
from spotcompute.kube.port import ApiUnavailable, KubeObject
from spotcompute.kube.store import TOMBSTONES_MAX, Store
from spotcompute.telemetry import metrics


def environment(
    version: int, uid: str = "u1", name: str = "web", born: str = "2026-11-23T00:00:00Z", **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "uid": uid,
            "namespace": "ns",
            "name": name,
            "generation": 1,
            "creationTimestamp": born,
            "resourceVersion": str(version),
            **metadata,
        },
        "spec": {"replicas": 1},
    }


@pytest.fixture
def wakes() -> list[str]:
    return []


@pytest.fixture
def store(wakes: list[str]) -> Store:
    return Store(wakes.append)


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


class Cluster:
    """The two reads the audit needs, over objects a test changes at will."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = {obj["metadata"]["name"]: obj for obj in objects}
        self.reads: list[str] = []
        self.is_down = False
        self.during_list: list[Any] = []
        self.during_read: list[Any] = []

    async def list_environments(self) -> Sequence[KubeObject]:
        if self.is_down:
            raise ApiUnavailable("GET: refused")
        listed = [{"metadata": obj["metadata"]} for obj in self.objects.values()]
        for happening in self.during_list:
            happening()
        return listed

    async def get(self, namespace: str, name: str) -> KubeObject | None:
        self.reads.append(name)
        read = self.objects.get(name)
        for happening in self.during_read:
            happening()
        return read


def audit_of(store: Store, cluster: Cluster) -> Audit:
    return Audit(store, cluster, seconds=300.0)  # type: ignore[arg-type]  # the two methods it uses


async def test_an_audit_that_finds_everything_as_known_reads_no_object(store: Store, wakes: list[str]) -> None:
    cluster = Cluster(environment(5), environment(6, uid="u2", name="db"))
    for obj in cluster.objects.values():
        store.on_event(obj)
    await audit_of(store, cluster).once()
    assert cluster.reads == []
    assert wakes == ["u1", "u2"]


async def test_an_object_force_deleted_while_the_watch_was_down_is_found(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    await audit_of(store, Cluster()).once()
    assert store.get("u1") is None
    assert wakes == ["u1", "u1"]


async def test_a_list_that_lacks_an_object_which_is_there_forgets_nothing(store: Store) -> None:
    store.on_event(environment(5))
    cluster = Cluster(environment(5))
    audit = audit_of(store, cluster)
    listed, cluster.objects = cluster.objects, {}
    cluster.during_list.append(lambda: cluster.objects.update(listed))
    await audit.once()
    assert store.version("u1") == "5"
    assert cluster.reads == ["web"]


async def test_an_object_replaced_under_its_name_counts_as_gone(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    await audit_of(store, Cluster(environment(9, uid="u2"))).once()
    assert store.get("u1") is None
    assert store.version("u2") == "9"
    assert sorted(wakes) == ["u1", "u1", "u2"]


async def test_an_object_and_a_change_the_watch_has_missed_are_found(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    await audit_of(store, Cluster(environment(7, generation=2), environment(8, uid="u2", name="db"))).once()
    assert (store.version("u1"), store.version("u2")) == ("7", "8")
    assert wakes == ["u1", "u1", "u2"]


async def test_after_a_restored_backup_the_store_follows_although_versions_went_back(store: Store) -> None:
    store.on_event(environment(50))
    store.on_event(environment(60, uid="u2", name="db"))
    store.on_deleted("u2")
    await audit_of(store, Cluster(environment(7), environment(8, uid="u2", name="db"))).once()
    assert (store.version("u1"), store.version("u2")) == ("7", "8")


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


async def test_who_comes_back_from_the_dead_tells_of_a_blind_watch_too(store: Store) -> None:
    store.on_event(environment(50))
    store.on_deleted("u1")
    await audit_of(store, Cluster(environment(7))).once()
    assert store.version("u1") == "7"
    assert store.watch_is_stale.is_set()


@pytest.mark.looptime
async def test_while_the_watch_is_blind_audits_come_often(store: Store) -> None:
    store.on_event(environment(50))
    cluster = Cluster(environment(7))
    task = asyncio.create_task(audit_of(store, cluster).run())
    await asyncio.sleep(301)
    assert store.version("u1") == "7"
    for version in (8, 9):
        cluster.objects["web"] = environment(version)
        await asyncio.sleep(10)
        assert store.version("u1") == str(version)
    store.on_event(environment(51))
    cluster.objects["web"] = environment(51)
    await asyncio.sleep(15)
    cluster.objects["web"] = environment(52)
    await asyncio.sleep(200)
    assert store.version("u1") == "51"
    await asyncio.sleep(100)
    assert store.version("u1") == "52"
    task.cancel()


async def test_what_the_watch_tells_during_the_list_is_believed(store: Store, wakes: list[str]) -> None:
    store.on_event(environment(5))
    cluster = Cluster(environment(5))
    cluster.during_list.append(lambda: store.on_event(environment(6, generation=2)))
    await audit_of(store, cluster).once()
    assert store.version("u1") == "6"
    assert cluster.reads == []
    cluster.during_list = [lambda: store.on_deleted("u1")]
    await audit_of(store, cluster).once()
    assert store.get("u1") is None
    assert cluster.reads == []


async def test_a_write_of_ours_during_the_live_read_is_newer_than_that_read(store: Store) -> None:
    store.on_event(environment(5))
    cluster = Cluster(environment(7))
    cluster.during_read.append(lambda: store.put(environment(8, finalizers=[FINALIZER])))
    await audit_of(store, cluster).once()
    assert store.version("u1") == "8"


@pytest.mark.looptime
async def test_an_api_server_that_is_away_changes_nothing_and_is_asked_again(store: Store) -> None:
    store.on_event(environment(5))
    cluster = Cluster()
    cluster.is_down = True
    audit = audit_of(store, cluster)
    assert audit.age_seconds() == 0.0
    task = asyncio.create_task(audit.run())
    with capture_logs() as lines:
        await asyncio.sleep(3 * 300 + 10)
    assert store.version("u1") == "5"
    assert [line["event"] for line in lines] == ["audit_failed"] * 3
    assert audit.age_seconds() == 10.0
    cluster.is_down = False
    await asyncio.sleep(300)
    assert store.get("u1") is None
    task.cancel()
