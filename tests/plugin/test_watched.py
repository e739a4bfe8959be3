"""Why nobody looks at an environment: the namespace, the operator, or what may not be read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubectl_spot.watched import CONFIG_MAP, VERSION, WATCHES, Operator, is_unseen, operators, why_unseen
from spotcompute.kube import names

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
WEB = {"metadata": {"namespace": "jobs", "name": "web", "creationTimestamp": "2026-11-24T03:00:00Z"}}


def test_the_names_are_those_that_the_operator_writes() -> None:
    """The plugin shares no code with the operator, so only this holds them together."""
    assert (CONFIG_MAP, WATCHES, VERSION) == (names.ACCOUNTS, names.WATCHES, names.RUNS)


@pytest.mark.parametrize(
    ("status", "age", "expected"),
    [
        pytest.param({}, 60, True, id="nobody"),
        pytest.param({"observedGeneration": -1, "replicas": 0}, 60, True, id="the-default-of-the-schema"),
        pytest.param({}, 3, False, id="too-early"),
        pytest.param({"phase": "Ready"}, 60, False, id="seen"),
    ],
)
def test_an_object_is_unseen_when_there_was_time(status: dict[str, Any], age: int, expected: bool) -> None:
    created = datetime.fromisoformat(WEB["metadata"]["creationTimestamp"])
    assert is_unseen({**WEB, "status": status}, created + timedelta(seconds=age)) is expected


@pytest.mark.parametrize(
    ("known", "words"),
    [
        pytest.param(None, "none runs, or none watches namespace jobs", id="not-readable"),
        pytest.param([], "none runs, or none watches namespace jobs", id="no-operator"),
        pytest.param([Operator("home", None)], "The operator in home has not looked at it", id="all"),
        pytest.param([Operator("home", ("jobs",))], "`kubectl get pods -n home`", id="this-one"),
        pytest.param(
            [Operator("home", ("demo", "ci"))],
            "Namespace jobs is not watched: the operator in home watches ci, demo. Add jobs to its"
            " SPOTCOMPUTE_NAMESPACES",
            id="others",
        ),
    ],
)
def test_the_sentence_names_cause_and_remedy(known: list[Operator] | None, words: str) -> None:
    assert words in why_unseen(WEB, known)


def test_installs_are_read_from_their_annotation() -> None:
    def config_map(namespace: str, **annotations: str) -> dict[str, Any]:
        return {"metadata": {"namespace": namespace, "annotations": annotations}}

    found = operators([config_map("a", **{WATCHES: "x,y"}), config_map("b", **{WATCHES: "*"}), config_map("c")])
    assert found == [Operator("a", ("x", "y")), Operator("b", None)]
    assert operators([{"metadata": {"namespace": "d"}}]) == []
