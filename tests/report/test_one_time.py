"""What a OneTime environment says once its attempt is over: refused and lost are different stories."""

from __future__ import annotations

from dataclasses import replace

from plan.given import A, backoff_of, desired_of, ledger_of, observed_of, situation_of
from spotcompute.model.ledger import Trouble
from spotcompute.report.conclusion import Conclusion, conclude


def over(trouble: Trouble) -> Conclusion:
    desired = desired_of(1, [A], one_time=True)
    return conclude(
        situation_of(desired, ledger_of(backoff_of(A, trouble, code="TheCode"), attempted_generation=1), observed_of())
    )


def test_a_refused_attempt_is_called_by_its_kind_and_told_by_the_clouds_code() -> None:
    failed = over(Trouble.INSUFFICIENT_CAPACITY)
    assert (failed.phase, failed.reason) == ("Failed", "InsufficientCapacity")
    assert "TheCode" in failed.message


def test_the_condition_of_a_failed_attempt_holds_its_request_and_one_full_stop() -> None:
    desired = desired_of(1, [A], one_time=True)
    refused = replace(backoff_of(A), message="sold out for 1.", request_id="req-7")
    failed = conclude(situation_of(desired, ledger_of(refused, attempted_generation=1), observed_of()))
    assert failed.message.endswith(": sold out for 1 (request req-7). Change the spec for another one")


def test_an_early_loss_is_called_a_loss_and_not_a_failed_attempt() -> None:
    assert over(Trouble.EARLY_LOSS).reason == "InstancesLost"
