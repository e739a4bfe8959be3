"""The audit corrects the store where the watch has missed something, and believes no list alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from objects import environment
from spotcompute.kube.audit import Audit
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import ApiUnavailable, KubeObject
from spotcompute.kube.store import Store


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


async def test_who_comes_back_from_the_dead_tells_of_a_blind_watch_too(store: Store) -> None:
    store.on_event(environment(50))
    store.on_deleted("u1")
    await audit_of(store, Cluster(environment(7))).once()
    assert store.version("u1") == "7"
    assert store.watch_is_stale.is_set()


async def test_a_watch_that_has_missed_something_is_stale_until_it_shows_something(store: Store) -> None:
    await audit_of(store, Cluster(environment(5))).once()
    assert store.version("u1") == "5"
    assert store.watch_is_stale.is_set()
    store.on_event(environment(6))
    assert not store.watch_is_stale.is_set()
    await audit_of(store, Cluster()).once()
    assert store.get("u1") is None
    assert store.watch_is_stale.is_set()


@pytest.mark.looptime
async def test_while_the_watch_is_stale_audits_come_often(store: Store) -> None:
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
