"""A ledger whose open launches do not fit together was not written by us."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plan.given import OURS, desired_of, intent, ledger_of, observed_of, planned
from spotcompute.model.identity import launch_token
from spotcompute.plan.actions import Launch
from spotcompute.plan.ledger_check import INTENTS_MAX, ledger_flaw

DESIRED = desired_of(3)


@pytest.mark.parametrize("replicas", [1, 3, 250, 2000])
@pytest.mark.parametrize("prefix", ["web", "w", "x" * 63, "a.b-1_2"])
def test_what_the_planner_writes_is_believed(replicas: int, prefix: str) -> None:
    desired = desired_of(replicas, name_prefix=prefix)
    plan = planned(desired, ledger_of(), observed_of())
    assert [action for action in plan.actions if isinstance(action, Launch)]
    assert ledger_flaw(plan.ledger, OURS.cluster_id) is None


def retold(**fields: Any) -> Any:
    """An open launch whose token fits what it says, which anybody can compute."""
    forged = intent(DESIRED, **fields)
    return replace(forged, token=launch_token(OURS, forged.sequence, forged.digest))


@pytest.mark.parametrize(
    ("launches", "why"),
    [
        pytest.param([intent(DESIRED, token="0" * 40)], "token", id="another-token"),
        pytest.param([intent(DESIRED, digest="0" * 12)], "token", id="another-digest"),
        pytest.param([replace(retold(), count=0)], "count", id="none"),
        pytest.param([replace(retold(), count=-1)], "count", id="fewer-than-none"),
        pytest.param([replace(retold(), count=101)], "count", id="more-than-a-call-takes"),
        pytest.param([retold(name="")], "name", id="no-name"),
        pytest.param([retold(name="-web001-700")], "name", id="no-prefix"),
        pytest.param([retold(name="web-job002-700")], "name", id="the-neighbours-name"),
        pytest.param([retold(name="web-web001-701")], "name", id="another-launchs-name"),
        pytest.param([retold(name="web-web001-700-")], "name", id="a-name-for-several"),
        pytest.param([retold(name="w*b-web001-700")], "name", id="a-pattern"),
        pytest.param([retold(name="x" * 33 + "-web001-700")], "name", id="too-long"),
        pytest.param([intent(DESIRED, sequence=701)], "after the last", id="later-than-the-last"),
        pytest.param([intent(DESIRED), intent(DESIRED, 2)], "one sequence", id="a-sequence-twice"),
        pytest.param(
            [intent(DESIRED, sequence=number) for number in range(INTENTS_MAX + 1)], "more open", id="too-many"
        ),
    ],
)
def test_what_does_not_fit_together_is_doubted(launches: list[Any], why: str) -> None:
    assert why in str(ledger_flaw(replace(ledger_of(), intents=tuple(launches)), OURS.cluster_id))


def test_the_launches_of_another_cluster_are_doubted() -> None:
    assert "token" in str(ledger_flaw(ledger_of(intent(DESIRED)), "cluster-b"))
