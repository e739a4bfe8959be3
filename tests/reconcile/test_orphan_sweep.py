"""The orphan sweep over several accounts: none keeps it from the others, and what was seen long ago proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

import objects
from clock import clock
from cloud.scripted import ScriptedCloud
from plan.given import NOW, OURS, instance, seconds
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import InvalidCredentials, TerminationBlocked
from spotcompute.cloud.pace import Pace
from spotcompute.cloud.provider import CloudProvider
from spotcompute.kube.account_registry import AccountRef, AccountRegistry
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.port import ApiUnavailable, KubeError, KubeObject, KubePort
from spotcompute.kube.sources import Sources
from spotcompute.kube.store import Store
from spotcompute.model.identity import new_environment_id
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.orphan_sweep import OrphanSweep

pytestmark = pytest.mark.looptime

CLUSTER = OURS.cluster_id
PACE = Pace(sweep=seconds(15), suspect=seconds(5), market=seconds(60))
KEYS = {name: Credentials(f"id-{name}", "secret") for name in ("one", "two")}


def left_behind(instance_id: str, namespace: str = "default", name: str = "web") -> Instance:
    """A machine of an environment; whether that still exists, the API server says."""
    ownership = Ownership(CLUSTER, new_environment_id(CLUSTER, namespace, name, "gone01"))
    made = instance(instance_id, name=f"{name}-gone01-1700000000", ownership=ownership, created_at=NOW - seconds(600))
    return replace(made, owner=f"{namespace}@{name}")


def environment(namespace: str, name: str, suffix: str = "gone01") -> KubeObject:
    annotations = {ENVIRONMENT_ID: new_environment_id(CLUSTER, namespace, name, suffix)}
    return objects.environment(namespace=namespace, name=name, annotations=annotations)


@dataclass
class Account(ScriptedCloud):
    """A cloud that takes releases and keeps the ids; those of `frozen` it refuses."""

    released: list[str] = field(default_factory=list)
    frozen: frozenset[str] = frozenset()

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        """Accepted, without effect."""
        await self._call("terminate")
        self.released += ids
        if self.frozen.intersection(ids):
            raise TerminationBlocked("UnsupportedOperation.InstanceStateFreezing", "one of them is frozen")
        return "req-1"


@dataclass
class ScriptedCluster:
    """Environments, those a list leaves out, notes and protected Secrets; store and API server at once.

    `unheard` are those that neither a list nor the watch has shown: only who asks for them by name finds them.
    `arriving` come on the watch while the answer to the first, second, … such question is on its way.
    `trouble` fails calls by name.
    """

    environments: list[KubeObject] = field(default_factory=list)
    unlisted: list[KubeObject] = field(default_factory=list)
    unheard: list[KubeObject] = field(default_factory=list)
    arriving: dict[int, KubeObject] = field(default_factory=dict)
    asked: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    protected: list[str] = field(default_factory=list)
    trouble: dict[str, ApiUnavailable] = field(default_factory=dict)

    def all(self) -> Sequence[KubeObject]:
        return self.environments

    async def list_environments(self) -> Sequence[KubeObject]:
        return [obj for obj in self.environments if obj not in self.unlisted]

    async def get(self, namespace: str, name: str) -> KubeObject | None:
        sought = (namespace, name)
        everyone = [*self.environments, *self.unheard]
        named = (obj for obj in everyone if (obj["metadata"]["namespace"], obj["metadata"]["name"]) == sought)
        found = next(named, None)
        self.asked += 1
        if self.asked in self.arriving:
            self.environments = [*self.environments, self.arriving[self.asked]]
        return found

    async def remembered_accounts(self) -> Mapping[str, str]:
        return self.notes

    async def remember_account(self, key: str, text: str) -> None:
        self.notes[key] = text

    async def cluster_id(self) -> str:
        return CLUSTER

    async def forget_account(self, key: str) -> None:
        del self.notes[key]

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        return {"secretId": b"id-one", "secretKey": b"secret"}

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        if "unprotect" in self.trouble:
            raise self.trouble.pop("unprotect")
        self.protected.remove(name)


class World:
    """One sweep over accounts "one" and "two", of which those in `used` belong to some environment."""

    def __init__(self, *used: str, is_own_id: bool = True) -> None:
        self.one, self.two, self.cluster = Account("one", "1"), Account("two", "2"), ScriptedCluster()
        clouds = {KEYS["one"]: self.one, KEYS["two"]: self.two}

        def provider(credentials: Credentials, region: str) -> CloudProvider:
            return clouds[credentials]

        self.accounts = Accounts(provider, CLUSTER, clock, PACE, lambda _: None)
        self.used = [KEYS[name] for name in used]
        kube = cast(KubePort, self.cluster)
        store, sources, registry = cast(Store, self.cluster), Sources(kube, None, clock), AccountRegistry(kube)
        cluster = Cluster(CLUSTER, kube, store, sources, registry, uid=CLUSTER if is_own_id else None)
        self.sweep = OrphanSweep(cluster, self.accounts, Policy(), clock, seconds(30))

    async def looks(self, count: int) -> None:
        """So many looks, half a minute apart; a fresh sweep stands before each."""
        for key in self.used:
            await self.accounts.open(key, "region")
        for _ in range(count):
            await asyncio.sleep(30)
            await self.sweep.once()


def a_world_with_a_note(protected: bool = False) -> tuple[World, AccountRef]:
    """No environment uses the account, but a note is left. With `protected` its Secret still has our finalizer."""
    world, note = World(), AccountRef("default", "key", "region")
    world.cluster.notes = {note.key: note.to_json()}
    world.cluster.protected = ["key"] if protected else []
    return world, note


async def test_an_orphan_is_released_once_it_was_seen_for_long_enough() -> None:
    world = World("one")
    world.one.listed = [left_behind("ins-1")]
    await world.looks(2)
    assert world.one.released == []
    await world.looks(1)
    assert world.one.released == ["ins-1"]


async def test_under_a_chosen_id_what_is_older_than_the_first_start_waits_an_hour_for_its_object() -> None:
    world = World("one", is_own_id=False)
    world.one.listed = [left_behind("ins-1"), replace(left_behind("ins-2"), created_at=NOW + seconds(60))]
    for _ in range(11):
        await world.looks(10)
    assert set(world.one.released) == {"ins-2"}
    for _ in range(2):
        await world.looks(10)
    assert "ins-1" in world.one.released


async def test_the_first_start_under_a_chosen_id_is_noted_over_restarts() -> None:
    cluster = ScriptedCluster()
    kube = cast(KubePort, cluster)
    first = await AccountRegistry(kube).first_start("chosen", NOW)
    assert await AccountRegistry(kube).first_start("chosen", NOW + seconds(7200)) == first == NOW
    assert await AccountRegistry(kube).first_start("another", NOW + seconds(60)) == NOW + seconds(60)
    assert await AccountRegistry(kube).all() == []


async def test_an_orphan_that_is_protected_is_not_asked_for_until_that_is_lifted() -> None:
    world = World("one")
    orphan = left_behind("ins-1")
    world.one.listed = [replace(orphan, protected=True), left_behind("ins-2", name="other")]
    await world.looks(6)
    assert set(world.one.released) == {"ins-2"}
    world.one.listed = [orphan]
    await world.looks(1)
    assert "ins-1" in world.one.released


@pytest.mark.parametrize(
    "now",
    [
        pytest.param({"protected": True}, id="a-person-protects-it"),
        pytest.param({"state": InstanceState.TERMINATING}, id="it-ends-by-itself"),
        pytest.param({"owner": "default@other"}, id="its-tags-name-another-owner"),
        pytest.param({"ownership": None}, id="its-tags-are-gone"),
    ],
)
async def test_an_orphan_that_the_last_look_by_id_shows_otherwise_is_let_be(
    now: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World("one")
    world.one.listed = [left_behind("ins-1"), left_behind("ins-2", name="other")]

    async def looked_up(ids: Sequence[str], on_behalf_of: str) -> tuple[Instance, ...]:
        return tuple(replace(one, **(now if one.id == "ins-1" else {})) for one in world.one.listed if one.id in ids)

    monkeypatch.setattr(world.one, "get_instances", looked_up)
    await world.looks(6)
    assert set(world.one.released) == {"ins-2"}


async def test_an_orphan_that_the_cloud_refuses_to_release_is_asked_for_every_ten_minutes() -> None:
    world = World("one")
    world.one.listed, world.one.frozen = [left_behind("ins-1")], frozenset({"ins-1"})
    await world.looks(50)
    assert len(world.one.released) == 3


async def test_a_list_that_lacks_an_environment_we_know_decides_nothing_about_any() -> None:
    world = World("one")
    world.one.listed = [left_behind("ins-1")]
    world.cluster.environments = world.cluster.unlisted = [environment("default", "other")]
    for _ in range(5):
        with pytest.raises(KubeError):
            await world.looks(1)
    assert world.one.released == []
    world.cluster.unlisted = []
    await world.looks(3)
    assert world.one.released == ["ins-1"]


async def test_an_owner_that_no_list_has_shown_is_found_by_asking_for_it() -> None:
    world = World("one")
    world.one.listed = [left_behind("ins-1")]
    world.cluster.unheard = [environment("default", "web")]
    await world.looks(10)
    assert world.one.released == []
    world.cluster.unheard = []
    await world.looks(3)
    assert world.one.released == ["ins-1"]


@pytest.mark.parametrize("owner", [None, "", "web", "default@"])
async def test_who_was_the_owner_must_be_readable_to_ask_for_it(owner: str | None) -> None:
    world = World("one")
    world.one.listed = [replace(left_behind("ins-1"), owner=owner)]
    await world.looks(6)
    assert world.one.released == []


@pytest.mark.parametrize("suffix", ["earlie", "zlater"])
async def test_a_namesake_with_an_identity_of_its_own_owns_nothing_of_the_one_before(suffix: str) -> None:
    world = World("one")
    world.one.listed = [left_behind("ins-1")]
    world.cluster.environments = [environment("default", "web", suffix)]
    await world.looks(3)
    assert world.one.released == ["ins-1"]


@pytest.mark.parametrize("question", [1, 2, 3, 4])
async def test_an_owner_that_comes_while_it_is_being_asked_for_is_found(question: int) -> None:
    world = World("one")
    world.one.listed = [left_behind("ins-1")]
    world.cluster.arriving = {question: environment("default", "web")}
    await world.looks(3)
    assert world.cluster.asked >= question
    assert world.one.released == []


async def test_an_account_in_trouble_keeps_nobody_from_the_others() -> None:
    world = World("one", "two")
    world.one.listed, world.two.listed = [left_behind("ins-1")], [left_behind("ins-2")]
    world.one.trouble["get"] = InvalidCredentials("AuthFailure", "no")
    await world.looks(3)
    assert (world.one.released, world.two.released) == ([], ["ins-2"])


async def test_what_had_an_owner_again_is_counted_anew_while_another_account_has_suspects() -> None:
    world = World("one", "two")
    world.one.listed, world.two.listed = [left_behind("ins-1")], [left_behind("ins-2", name="other")]
    await world.looks(1)
    world.cluster.environments = [environment("default", "web")]
    await world.looks(1)
    world.cluster.environments = []
    await world.looks(2)
    assert (world.one.released, world.two.released[:1]) == ([], ["ins-2"])
    await world.looks(1)
    assert world.one.released == ["ins-1"]


async def test_a_note_is_forgotten_although_another_namespace_has_instances_in_the_account() -> None:
    world, _ = a_world_with_a_note(protected=True)
    world.one.listed = [left_behind("ins-1", namespace="elsewhere")]
    world.cluster.environments = [environment("elsewhere", "web")]
    await world.looks(30)
    assert (world.cluster.notes, world.cluster.protected) == ({}, [])


async def test_a_clock_that_is_set_does_not_make_a_note_old(monkeypatch: pytest.MonkeyPatch) -> None:
    world, note = a_world_with_a_note(protected=True)
    monkeypatch.setattr(world.sweep, "_clock", lambda: clock() - seconds(3600))
    await world.looks(2)
    monkeypatch.undo()
    await world.looks(5)
    assert list(world.cluster.notes) == [note.key]


async def test_a_note_stays_while_its_namespace_has_instances_in_the_account() -> None:
    world, note = a_world_with_a_note()
    world.one.listed = [left_behind("ins-1")]
    await world.looks(30)
    assert list(world.cluster.notes) == [note.key]


async def test_one_falsely_empty_sweep_does_not_make_a_note_go() -> None:
    world, note = a_world_with_a_note()
    world.one.listed = [left_behind("ins-1")]
    await world.looks(30)
    world.one.listed = []
    await world.looks(1)
    world.one.listed = [left_behind("ins-1")]
    await world.looks(5)
    assert list(world.cluster.notes) == [note.key]


async def test_a_note_outlives_the_protection_of_its_secret() -> None:
    world, note = a_world_with_a_note(protected=True)
    world.cluster.trouble["unprotect"] = ApiUnavailable("away")
    with pytest.raises(ApiUnavailable):
        await world.looks(30)
    assert list(world.cluster.notes) == [note.key]
    await world.looks(1)
    assert (world.cluster.notes, world.cluster.protected) == ({}, [])
