"""DescribeInstances and its status twin: filters, pages, order, and everything a list may hide."""

from typing import Any

import pytest


def env(cloud: Any, value: str) -> list[dict[str, Any]]:
    return cloud.tagged(("env", value), ("managed-by", "spot"))


def by_tag(value: str) -> list[dict[str, Any]]:
    return [{"Name": "tag:env", "Values": [value]}]


def test_a_tag_filter_finds_its_own_only(cloud: Any) -> None:
    mine = cloud.buy(3, TagSpecification=env(cloud, "a"))
    theirs = cloud.buy(2, TagSpecification=env(cloud, "b"))
    cloud.buy(1)
    assert cloud.listed(Filters=by_tag("a")) == mine
    assert cloud.listed(Filters=[{"Name": "tag:env", "Values": ["b", "a"]}]) == mine + theirs
    assert len(cloud.listed()) == 6


def test_another_account_and_another_region_see_nothing(cloud: Any) -> None:
    ids = cloud.buy(1)
    cloud.region = "ap-singapore"
    assert cloud.listed() == cloud.listed(InstanceIds=ids) == []
    cloud.region, cloud.account = "ap-guangzhou", "100000000002"
    assert cloud.listed() == cloud.listed(InstanceIds=ids) == []


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("zone", "ap-guangzhou-3", 2),
        ("zone", "ap-guangzhou-4", 1),
        ("instance-name", "one", 1),
        ("instance-charge-type", "SPOTPAID", 3),
        ("instance-charge-type", "POSTPAID_BY_HOUR", 0),
        ("instance-state", "PENDING", 3),
        ("instance-state", "RUNNING", 0),
        ("tag-key", "env", 1),
        ("tag-value", "a", 1),
        ("vpc-id", "vpc-gz000001", 3),
        ("subnet-id", "subnet-gz000004", 1),
        ("private-ip-address", "10.0.0.2", 1),
        ("security-group-id", "sg-gz000002", 1),
        ("project-id", "0", 3),
        ("creation-start-time", "2027-01-15 08:00:00", 3),
        ("creation-start-time", "2027-01-15 08:00:01", 0),
        ("creation-end-time", "2027-01-15 08:00:00", 3),
        ("public-ip-address", "1.1.1.1", 0),
    ],
)
def test_each_filter_means_what_its_name_says(cloud: Any, name: str, value: str, count: int) -> None:
    cloud.buy(1, InstanceName="one", TagSpecification=env(cloud, "a"))
    cloud.buy(1, SecurityGroupIds=["sg-gz000002"])
    cloud.buy(1, Placement={"Zone": "ap-guangzhou-4"})
    assert len(cloud.listed(Filters=[{"Name": name, "Values": [value]}])) == count


def test_filters_are_anded_and_values_ored(cloud: Any) -> None:
    cloud.buy(2, TagSpecification=env(cloud, "a"))
    far = cloud.buy(1, TagSpecification=env(cloud, "a"), Placement={"Zone": "ap-guangzhou-4"})
    zone = {"Name": "zone", "Values": ["ap-guangzhou-4", "ap-guangzhou-6"]}
    assert cloud.listed(Filters=[*by_tag("a"), zone]) == far


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"InstanceIds": ["ins-00000000"], "Filters": by_tag("a")}, "InvalidParameter"),
        ({"InstanceIds": [f"ins-{n:08}" for n in range(101)]}, "InvalidParameterValue.LimitExceeded"),
        ({"InstanceIds": ["i-1"]}, "InvalidInstanceId.Malformed"),
        ({"Limit": 101}, "InvalidParameterValue.LimitExceeded"),
        ({"Limit": 0}, "InvalidParameterValue.LimitExceeded"),
        ({"Offset": -1}, "InvalidParameterValueOffset"),
        ({"Filters": [{"Name": f"tag:k{n}", "Values": ["v"]} for n in range(11)]}, "InvalidFilterValue.LimitExceeded"),
        ({"Filters": [{"Name": "zone", "Values": list("abcdef")}]}, "InvalidFilterValue.LimitExceeded"),
        ({"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidFilter"),
        ({"Filters": [{"Name": "zone", "Values": []}]}, "InvalidFilter"),
        ({"Filters": [{"Name": "zone"}]}, "MissingParameter"),
        ({"Filters": {"Name": "zone", "Values": ["a"]}}, "InvalidParameter"),
        ({"Filters": [{"Name": "creation-start-time", "Values": ["now"]}]}, "InvalidParameterValue.InvalidTimeFormat"),
    ],
)
def test_the_published_limits_hold(cloud: Any, params: dict[str, Any], code: str) -> None:
    cloud.buy(1)
    assert cloud.refusal("DescribeInstances", **params) == code


def test_pages_are_of_twenty_unless_asked_and_say_the_total(cloud: Any) -> None:
    ids = cloud.buy(25)
    answer = cloud("DescribeInstances")
    assert (len(answer["InstanceSet"]), answer["TotalCount"]) == (20, 25)
    assert cloud.listed(Offset=20) == ids[20:]
    assert cloud.listed(Offset=25) == []
    assert len(cloud("DescribeInstances", InstanceIds=ids)["InstanceSet"]) == 20


def test_a_page_boundary_moves_when_an_instance_goes(cloud: Any) -> None:
    """Why a sweep must not trust offsets: after a departure the next page begins one too far."""
    ids = cloud.buy(20)
    cloud.wait(10)
    first = cloud.listed(Limit=10)
    cloud("TerminateInstances", InstanceIds=ids[:1])
    cloud.wait(10)
    second = cloud.listed(Limit=10, Offset=10)
    assert set(ids[1:]) - set(first) - set(second) == {ids[10]}


@pytest.mark.parametrize(("setting", "step"), [("creation", 1), ("newest-first", -1)])
def test_the_order_of_a_list_is_a_switch(new_cloud: Any, setting: str, step: int) -> None:
    cloud = new_cloud(order=setting)
    ids = cloud.buy(5) + cloud.buy(5)
    assert cloud.listed() == ids[::step]


def test_a_shuffled_list_has_everybody_once_per_page_of_all(new_cloud: Any) -> None:
    cloud = new_cloud(order="shuffled")
    ids = cloud.buy(20)
    first = cloud.listed()
    cloud.wait(1)
    second = cloud.listed()
    assert sorted(first) == sorted(second) == sorted(ids)
    assert first != second


def test_a_list_lags_in_both_directions(new_cloud: Any) -> None:
    cloud = new_cloud(list_lag=60, terminating_seconds=5)
    ids = cloud.buy(1)
    cloud.wait(59)
    assert cloud.listed() == []
    cloud.wait(1)
    assert cloud.listed() == ids
    assert cloud("DescribeInstances")["InstanceSet"][0]["InstanceState"] == "PENDING"
    cloud("TerminateInstances", InstanceIds=ids)
    cloud.wait(30)
    assert cloud.states(ids) == []
    assert cloud("DescribeInstances")["InstanceSet"][0]["InstanceState"] == "RUNNING"
    cloud.wait(36)
    assert cloud.listed() == []


def test_a_query_by_id_has_a_lag_of_its_own(new_cloud: Any) -> None:
    cloud = new_cloud(id_lag=30)
    ids = cloud.buy(1)
    assert (cloud.listed(), cloud.listed(InstanceIds=ids)) == (ids, [])
    cloud.wait(30)
    assert cloud.states(ids) == ["PENDING"]


def test_tags_attach_later_than_the_instance(new_cloud: Any) -> None:
    cloud = new_cloud(tag_lag=20)
    ids = cloud.buy(1, TagSpecification=env(cloud, "a"))
    assert cloud.listed() == ids
    assert cloud("DescribeInstances")["InstanceSet"][0]["Tags"] == []
    assert cloud.listed(Filters=by_tag("a")) == cloud.listed(Filters=[{"Name": "tag-key", "Values": ["env"]}]) == []
    cloud.wait(20)
    assert cloud.listed(Filters=by_tag("a")) == ids


@pytest.mark.parametrize(("setting", "count"), [("works", 2), ("ignored", 3), ("empty", 0)])
def test_the_charge_type_filter_may_not_know_spot(new_cloud: Any, setting: str, count: int) -> None:
    cloud = new_cloud(spot_charge_type_filter=setting)
    cloud.buy(2)
    cloud.buy(1, InstanceChargeType="POSTPAID_BY_HOUR", InstanceMarketOptions=None)
    assert len(cloud.listed(Filters=[{"Name": "instance-charge-type", "Values": ["SPOTPAID"]}])) == count


def test_the_charge_type_filter_may_refuse_spot(new_cloud: Any) -> None:
    cloud = new_cloud(spot_charge_type_filter="refused")
    filters = [{"Name": "instance-charge-type", "Values": ["SPOTPAID"]}]
    assert cloud.refusal("DescribeInstances", Filters=filters) == "InvalidFilter"


def test_an_unknown_id_is_absent_or_an_error(new_cloud: Any) -> None:
    cloud = new_cloud()
    known = cloud.buy(1)
    assert cloud.listed(InstanceIds=[*known, "ins-00000000"]) == known
    cloud.simulator.switches.set("unknown-id", "error")
    assert cloud.refusal("DescribeInstances", InstanceIds=[*known, "ins-00000000"]) == "InvalidInstanceId.NotFound"


def test_the_status_twin_shows_states_only(cloud: Any) -> None:
    ids = cloud.buy(2)
    answer = cloud("DescribeInstancesStatus", InstanceIds=[*ids, "ins-00000000"])
    assert answer["TotalCount"] == 2
    assert answer["InstanceStatusSet"] == [{"InstanceId": one, "InstanceState": "PENDING"} for one in ids]
    assert cloud.refusal("DescribeInstancesStatus", Filters=by_tag("a")) == "UnknownParameter"


def test_a_tag_moved_by_hand_keeps_lists_in_order_and_the_ledger_honest(cloud: Any) -> None:
    old = cloud.buy(1)
    mine = cloud.buy(1, TagSpecification=env(cloud, "a"))
    cloud.world.retag(cloud.world.instances[old[0]], {"env": "a"})
    assert cloud.listed(Filters=by_tag("a")) == old + mine
    rows = {row["id"]: row for row in cloud.simulator.ledger.export()["instances"]}
    assert (rows[old[0]]["originalTags"], rows[old[0]]["tags"]) == ({}, {"env": "a"})
    assert cloud.simulator.ledger.summary()["tags"]["env=a"] == {"live": 1, "peak": 1}
