"""ClientToken: one purchase however often it is asked for, and every rule nobody wrote down."""

from typing import Any

import pytest


def bought(cloud: Any) -> int:
    return len(cloud.world.instances)


def test_the_same_request_under_the_same_token_buys_once(cloud: Any) -> None:
    first = cloud.buy(3, ClientToken="t")
    assert cloud.buy(3, ClientToken="t") == first
    assert bought(cloud) == 3
    (record,) = cloud.simulator.ledger.export()["tokens"]
    assert (record["instanceIds"], len(record["replays"])) == (first, 1)


def test_without_a_token_the_same_request_buys_again(cloud: Any) -> None:
    cloud.buy(2)
    cloud.buy(2)
    assert bought(cloud) == 4


def test_a_replay_is_answered_whatever_became_of_stock_and_price(cloud: Any) -> None:
    first = cloud.buy(2, ClientToken="t")
    cloud.sells(stock=0, price="5")
    assert cloud.buy(2, ClientToken="t") == first


def test_a_token_belongs_to_one_account_and_region(cloud: Any) -> None:
    cloud.buy(1, ClientToken="t")
    cloud.account = "100000000002"
    cloud.buy(1, ClientToken="t")
    assert bought(cloud) == 2


@pytest.mark.parametrize(("lifetime", "later", "count"), [("600", 599, 1), ("600", 600, 2), ("forever", 10**9, 1)])
def test_a_token_is_remembered_for_its_lifetime(new_cloud: Any, lifetime: str, later: int, count: int) -> None:
    cloud = new_cloud(token_lifetime=lifetime)
    cloud.buy(1, ClientToken="t")
    cloud.wait(later)
    cloud.buy(1, ClientToken="t")
    assert bought(cloud) == count


@pytest.mark.parametrize(
    ("setting", "code", "count"),
    [("error", "InvalidParameterCombination", 1), ("old-ids", None, 1), ("relaunch", None, 3)],
)
def test_other_parameters_under_an_old_token(new_cloud: Any, setting: str, code: str | None, count: int) -> None:
    cloud = new_cloud(token_mismatch=setting)
    cloud.buy(1, ClientToken="t")
    answer = cloud("RunInstances", **cloud.ORDER, InstanceCount=2, ClientToken="t")
    assert answer.get("Error", {}).get("Code") == code
    assert bought(cloud) == count


@pytest.mark.parametrize(
    ("setting", "code", "count"),
    [("same-ids", None, 1), ("error", "InvalidParameterValue", 1), ("relaunch", None, 2)],
)
def test_a_token_whose_instances_are_gone(new_cloud: Any, setting: str, code: str | None, count: int) -> None:
    cloud = new_cloud(token_of_terminated=setting)
    ids = cloud.buy(1, ClientToken="t")
    cloud.wait(10)
    cloud("TerminateInstances", InstanceIds=ids)
    cloud.wait(10)
    answer = cloud("RunInstances", **cloud.ORDER, InstanceCount=1, ClientToken="t")
    assert answer.get("Error", {}).get("Code") == code
    assert bought(cloud) == count


@pytest.mark.parametrize(("setting", "is_consumed"), [("free", False), ("consumed", True)])
def test_a_refused_attempt_may_consume_the_token(new_cloud: Any, setting: str, is_consumed: bool) -> None:
    cloud = new_cloud(token_after_failure=setting)
    cloud.sells(stock=0)
    assert "Error" in cloud("RunInstances", **cloud.ORDER, ClientToken="t")
    cloud.sells(stock=9)
    answer = cloud("RunInstances", **cloud.ORDER, ClientToken="t")
    assert ("Error" in answer) is is_consumed
    assert bought(cloud) == (0 if is_consumed else 1)


def test_a_dry_run_does_not_use_the_token(cloud: Any) -> None:
    cloud("RunInstances", **cloud.ORDER, ClientToken="t", DryRun=True)
    assert len(cloud.buy(1, ClientToken="t")) == 1
    assert bought(cloud) == 1
