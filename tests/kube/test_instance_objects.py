"""What is kept of the objects of instances: the newest version of each, who owns it, and what it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from spotcompute.api.instance_object import DO_NOT_TERMINATE, INSTANCE_FINALIZER
from spotcompute.kube.instance_objects import GONE_MAX, InstanceObjects
from spotcompute.kube.names import GROUP, KIND, VERSION


def obj(name: str = "a", version: int = 5, owner: str | None = "u1", namespace: str = "ns", **metadata: Any) -> Any:
    owners = [{"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "name": "web", "uid": owner, "controller": True}]
    about = {"namespace": namespace, "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": about | ({"ownerReferences": owners} if owner else {}) | metadata}


def protected(**other: Any) -> Any:
    return obj(annotations={DO_NOT_TERMINATE: "true"}, **other)


class Kept(InstanceObjects):
    """The objects, with what was told about them."""

    def __init__(self, *scopes: str) -> None:
        self.woken: list[tuple[str, str]] = []
        self.changes: list[tuple[str, str]] = []
        super().__init__(scopes, lambda *home: self.woken.append(home))
        self.changed = self.changes.append


@pytest.fixture
def kept() -> Kept:
    return Kept()


def names(kept: Kept, uid: str = "u1", namespace: str = "ns") -> list[str]:
    return [name for _, name in kept.owned(namespace, uid)]


def test_the_newest_version_counts_whatever_comes_late(kept: Kept) -> None:
    kept.on_object(obj(version=5, finalizers=[INSTANCE_FINALIZER]))
    kept.on_object(obj(version=4))
    kept.on_object(obj(version=5))
    seen = kept.get(("ns", "a"))
    assert seen is not None
    assert (seen.version, seen.held, seen.owner_uid, seen.deleting) == (5, True, "u1", False)
    kept.on_object(obj(version=6, deletionTimestamp="2026-11-23T04:00:00Z"))
    seen = kept.get(("ns", "a"))
    assert seen is not None
    assert (seen.version, seen.held, seen.deleting) == (6, False, True)
    assert len(kept) == 1


def test_what_changed_is_told_once_and_a_version_alone_is_no_change(kept: Kept) -> None:
    kept.on_object(obj(version=5))
    kept.on_object(obj(version=6))
    assert kept.changes == [("ns", "a")]
    kept.on_object(obj(version=7, finalizers=[INSTANCE_FINALIZER]))
    kept.on_gone(obj(version=8))
    assert kept.changes == [("ns", "a")] * 3


def test_what_is_gone_does_not_come_back_with_an_older_version(kept: Kept) -> None:
    kept.on_object(obj(version=5))
    kept.on_gone(obj(version=4))
    assert kept.get(("ns", "a")) is not None, "that is an older one of the name"
    kept.on_gone(obj(version=7))
    assert kept.get(("ns", "a")) is None
    kept.on_gone(obj(version=8))
    kept.on_object(obj(version=7))
    assert kept.get(("ns", "a")) is None
    kept.on_object(obj(version=8))
    assert kept.get(("ns", "a")) is not None, "the name is used again"


def test_of_many_that_are_gone_the_first_are_forgotten(kept: Kept) -> None:
    for number in range(GONE_MAX + 1):
        kept.on_object(obj(f"i{number}", 5))
        kept.on_gone(obj(f"i{number}", 9))
    for number, is_back in ((0, True), (1, False), (GONE_MAX, False)):
        kept.on_object(obj(f"i{number}", 6))
        assert (kept.get(("ns", f"i{number}")) is not None) is is_back


def test_objects_belong_to_the_environment_that_they_name_in_their_own_namespace(kept: Kept) -> None:
    for one in (obj("b"), obj("a"), obj("c", owner="u2"), obj("d", owner=None), obj("e", namespace="other")):
        kept.on_object(one)
    assert (names(kept), names(kept, "u2"), names(kept, "u1", "other")) == (["a", "b"], ["c"], ["e"])
    kept.on_object(obj("a", 6, owner="u2"))
    assert (names(kept), names(kept, "u2")) == (["b"], ["a", "c"])
    kept.on_gone(obj("b", 7))
    assert names(kept) == []


def test_a_list_ends_what_it_lacks_unless_that_is_newer(kept: Kept) -> None:
    for one in (obj("a", 5), obj("b", 5), obj("c", 11), obj("d", 5, namespace="other")):
        kept.on_object(one)
    told: list[str] = []
    kept.listed = told.append
    kept.on_list("ns", [("ns", "a")], "10")
    assert sorted(names(kept) + names(kept, "u1", "other")) == ["a", "c", "d"]
    assert told == ["ns"]
    kept.on_list("", [], "20")
    assert len(kept) == 0


def test_a_namespace_is_listed_by_its_own_list_or_by_that_of_all(kept: Kept) -> None:
    assert not kept.is_listed("ns")
    kept.on_list("", [], "10")
    assert kept.is_listed("ns")
    assert kept.has_gone_back("", "9")
    assert not kept.has_gone_back("", "10")
    assert not kept.has_gone_back("ns", "1")


def test_everything_is_known_once_each_scope_is_listed_or_cannot_be_had() -> None:
    kept = Kept("ns", "other")
    kept.on_list("ns", [], "10")
    assert not kept.known.is_set()
    assert kept.on_absent("other")
    assert kept.known.is_set()
    assert not kept.on_absent("other"), "that is no news"
    assert not kept.is_listed("other")
    kept.on_list("other", [], "10")
    assert kept.is_listed("other")
    assert kept.on_absent("other"), "it was there in between"


def test_what_is_forgotten_may_come_back_older(kept: Kept) -> None:
    kept.on_object(obj("a", 50))
    kept.on_object(obj("b", 50))
    kept.on_gone(obj("b", 60))
    kept.on_object(obj("d", 50, namespace="other"))
    kept.forget("ns")
    assert len(kept) == 1
    for name in ("a", "b"):
        kept.on_object(obj(name, 3))
    assert names(kept) == ["a", "b"]
    kept.forget("")
    assert len(kept) == 0


def test_a_wish_wakes_its_environment_when_it_comes_changes_and_goes(kept: Kept) -> None:
    kept.on_object(obj(version=5))
    assert (dict(kept.wishes("ns", "u1")), kept.woken) == ({}, [])
    kept.on_object(protected(version=6))
    assert {name: wish.protect for name, wish in kept.wishes("ns", "u1").items()} == {"a": True}
    kept.on_object(protected(version=7))
    assert kept.woken == [("ns", "u1")]
    kept.on_object(protected(version=8, owner="u2"))
    assert kept.woken == [("ns", "u1"), ("ns", "u1"), ("ns", "u2")]
    assert (dict(kept.wishes("ns", "u1")), list(kept.wishes("ns", "u2"))) == ({}, ["a"])
    kept.on_object(protected(version=9, owner=None))
    assert kept.woken[3:] == [("ns", "u2")], "nobody owns it, so nobody is woken"
    kept.on_object(protected(name="b", version=9))
    kept.on_gone(protected(name="b", version=10))
    assert kept.woken[4:] == [("ns", "u1"), ("ns", "u1")]
    assert dict(kept.wishes("ns", "u1")) == {}
