"""What is read from the object of an instance: marks of any kind and quality, and whom it belongs to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from spotcompute.api.instance_object import INSTANCE_FINALIZER, environment_of, owner_reference, shown_digest, wish_in
from spotcompute.model.wishes import NO_WISH, Wish


def marked(annotations: Any = None, labels: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "ins-1", "annotations": annotations, "labels": labels, **metadata}}


@pytest.mark.parametrize(
    ("mark", "text", "wish"),
    [
        ("do-not-terminate", "true", Wish(protect=True)),
        ("do-not-terminate", "", Wish(protect=True)),
        ("do-not-terminate", "perhaps", Wish(protect=True)),
        ("do-not-terminate", "False", NO_WISH),
        ("delete-first", "true", Wish(delete_first=True)),
        ("delete-first", "no", NO_WISH),
        ("deletion-cost", "-100", Wish(deletion_cost=-100)),
        ("deletion-cost", "2147483647", Wish(deletion_cost=2**31 - 1)),
        ("deletion-cost", "2147483648", NO_WISH),
        ("deletion-cost", "9" * 5000, NO_WISH),
        ("deletion-cost", "cheap", NO_WISH),
        ("deletion-cost", "1e3", NO_WISH),
        ("unhealthy", "the disk is broken", Wish(unhealthy=True)),
        ("unhealthy", "false", NO_WISH),
        ("keep", "2h", Wish(keep_for=timedelta(hours=2))),
        ("keep", "1h30m5s", Wish(keep_for=timedelta(seconds=5405))),
        ("keep", "true", Wish(keep_for=timedelta(hours=1))),
        ("keep", "9999h", Wish(keep_for=timedelta(hours=24))),
        ("keep", "for ever", NO_WISH),
        ("keep", "-1h", NO_WISH),
        ("keep", "false", NO_WISH),
        ("interruption-notice", "2026-12-01T00:00:00Z", Wish(notice="2026-12-01T00:00:00Z")),
        ("interruption-notice", "x" * 9999, Wish(notice="x" * 256)),
    ],
)
def test_a_mark_asks_for(mark: str, text: str, wish: Wish) -> None:
    key = f"spotcompute.dev/{mark}"
    assert wish_in(marked({key: text})) == wish
    assert wish_in(marked(labels={key: text})) == wish


def test_an_annotation_wins_over_a_label() -> None:
    key = "spotcompute.dev/deletion-cost"
    assert wish_in(marked({key: "1"}, {key: "2"})).deletion_cost == 1


def test_an_object_without_marks_asks_for_nothing() -> None:
    assert wish_in({}) is NO_WISH
    assert wish_in(marked({"other.example/unhealthy": "true"})) is NO_WISH


@pytest.mark.parametrize(
    ("finalizers", "ended"),
    [([INSTANCE_FINALIZER], True), ([], False), (["other.example/holds"], False)],
    ids=["ours", "none", "another's"],
)
def test_a_deleted_object_asks_for_an_end_while_our_finalizer_holds_it(finalizers: list[str], ended: bool) -> None:
    deleted = marked(deletionTimestamp="2026-11-30T00:00:00Z", finalizers=finalizers)
    assert wish_in(deleted).ended is ended
    assert not wish_in(marked(finalizers=finalizers)).ended


def test_the_owner_is_the_controlling_environment_and_nothing_else() -> None:
    ours = owner_reference("web", "uid-1")
    assert environment_of(marked(ownerReferences=[ours])) == ("web", "uid-1")
    for forged in (
        ours | {"kind": "Deployment"},
        ours | {"apiVersion": "apps/v1"},
        ours | {"controller": False},
    ):
        assert environment_of(marked(ownerReferences=[forged])) is None
    assert environment_of({}) is None


def test_the_digest_covers_what_the_operator_writes_and_nothing_of_other_peoples() -> None:
    obj = marked(labels={"spotcompute.dev/zone": "z"}) | {"status": {"state": "RUNNING", "note": None}}
    same = marked({"mine": "1"}, {"spotcompute.dev/zone": "z", "team": "a"}) | {"status": {"state": "RUNNING"}}
    assert shown_digest(obj) == shown_digest(same)
    for other in (
        marked(labels={"spotcompute.dev/zone": "y"}) | {"status": {"state": "RUNNING"}},
        marked(labels={"spotcompute.dev/zone": "z"}) | {"status": {"state": "STOPPED"}},
        marked(labels={"spotcompute.dev/zone": "z"}),
    ):
        assert shown_digest(obj) != shown_digest(other)
