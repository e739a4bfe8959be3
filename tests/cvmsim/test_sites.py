"""The two sites of the vendor, and the switches in which they differ."""

from typing import Any

import pytest

from cvmsim.switches import SITES, Switches


@pytest.fixture
def international(new_cloud: Any) -> Any:
    return new_cloud(**{name.replace("-", "_"): value for name, value in SITES["international"].items()})


@pytest.mark.parametrize("site", SITES)
def test_each_setting_of_a_site_is_one_of_its_switch(site: str) -> None:
    assert dict(Switches(SITES[site]).items()).items() >= SITES[site].items()


def test_the_international_site_wants_a_bid(international: Any) -> None:
    order = {**international.ORDER, "InstanceMarketOptions": None}
    assert international.refusal("RunInstances", **order) == "MissingParameter"
    assert len(international.buy()) == 1


def test_the_international_site_knows_two_internet_charge_types(international: Any, cloud: Any) -> None:
    by_hour = {"InternetAccessible": {"InternetChargeType": "BANDWIDTH_POSTPAID_BY_HOUR", "InternetMaxBandwidthOut": 1}}
    assert international.refusal("RunInstances", **{**international.ORDER, **by_hour}) == "InvalidParameterValue"
    assert len(cloud.buy(**by_hour)) == 1


def test_the_international_site_lacks_what_its_sdk_lacks(international: Any, cloud: Any) -> None:
    assert international.refusal("DescribeAccountQuota") == "InvalidAction"
    locked = {**international.ORDER, "SystemDisk": {"Encrypt": True}}
    assert international.refusal("RunInstances", **locked) == "UnknownParameter"
    for one, has_host_name in ((international, False), (cloud, True)):
        one.buy()
        (row,) = one("DescribeInstances")["InstanceSet"]
        assert ("HostName" in row) is has_host_name


def test_the_first_end_on_the_international_site_leads_to_the_recycle_bin(international: Any) -> None:
    ids = international.buy()
    international.wait(10)
    international("TerminateInstances", InstanceIds=ids)
    international.wait(10)
    assert international.states(ids) == ["SHUTDOWN"]
    international("TerminateInstances", InstanceIds=ids)
    international.wait(10)
    assert international.states(ids) == []


def test_the_mainland_sells_in_yuan_and_500_at_a_time(new_cloud: Any) -> None:
    cloud = new_cloud(**{name.replace("-", "_"): value for name, value in SITES["mainland"].items()})
    filters = [{"Name": "instance-charge-type", "Values": ["SPOTPAID"]}]
    (row, *_) = cloud("DescribeZoneInstanceConfigInfos", Filters=filters)["InstanceTypeQuotaSet"]
    assert row["Price"]["UnitPriceDiscount"] == pytest.approx(0.0214 * 7.2)
    assert cloud.refusal("RunInstances", **{**cloud.ORDER, "InstanceCount": 501}) == "InvalidParameterValue.Range"
