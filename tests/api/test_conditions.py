"""Conditions carried from one status to the next."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from plan.given import NOW, ago
from spotcompute.api.conditions import MESSAGE_LIMIT, Condition, ConditionType, Reason, carry_over
from spotcompute.api.times import to_text

LONG_AGO = to_text(ago(3600))


def ready(status: Literal["True", "False"] = "True", message: str = "3 of 3 instances run") -> Condition:
    return Condition(ConditionType.READY, status, Reason.ALL_REPLICAS_READY, message)


def before(**changes: Any) -> list[dict[str, Any]]:
    return [{"type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO, **changes}]


@pytest.mark.parametrize(
    ("previous", "since"),
    [
        pytest.param([], to_text(NOW), id="new"),
        pytest.param(before(), LONG_AGO, id="unchanged"),
        pytest.param(before(reason="Other", message="other"), LONG_AGO, id="another-reason-is-no-transition"),
        pytest.param(before(status="False"), to_text(NOW), id="another-status-is"),
        pytest.param(before(type="Stalled"), to_text(NOW), id="of-another-type"),
        pytest.param(before(lastTransitionTime=None), to_text(NOW), id="without-a-time"),
        pytest.param(["garbage", None, 7, {}], to_text(NOW), id="garbage"),
    ],
)
def test_the_time_of_transition_moves_only_with_the_status(previous: list[Any], since: str) -> None:
    (carried,) = carry_over(previous, [ready()], 5, NOW)
    assert carried == {
        "type": "Ready",
        "status": "True",
        "reason": "AllReplicasReady",
        "message": "3 of 3 instances run",
        "observedGeneration": 5,
        "lastTransitionTime": since,
    }


def test_carrying_over_twice_changes_nothing() -> None:
    once = carry_over([], [ready(), Condition(ConditionType.STALLED, "False", Reason.NOT_STALLED, "")], 5, ago(60))
    assert (
        carry_over(once, [ready(), Condition(ConditionType.STALLED, "False", Reason.NOT_STALLED, "")], 5, NOW) == once
    )


def test_what_is_not_decided_any_more_is_not_carried() -> None:
    previous = [*before(), *before(type="Retired")]
    assert [item["type"] for item in carry_over(previous, [ready()], 5, NOW)] == ["Ready"]


def test_a_message_is_cut_and_not_refused() -> None:
    (carried,) = carry_over([], [ready(message="x" * 40_000)], 5, NOW)
    assert carried["message"] == "x" * MESSAGE_LIMIT


@pytest.mark.parametrize("reason", list(Reason))
def test_reasons_have_the_form_the_api_conventions_ask_for(reason: Reason) -> None:
    assert reason.isalnum()
    assert reason[0].isupper()
