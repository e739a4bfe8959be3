"""What a machine is ordered with: disks as objects, public and private addresses, the default type, price steps."""

from decimal import Decimal
from typing import Any

import pytest

HOUR = 3600.0
SUBNET = {"VpcId": "vpc-gz000001", "SubnetId": "subnet-gz000003"}
DATA_DISK = {"DiskSize": 100, "DiskType": "CLOUD_SSD", "DiskName": "work"}


def only(cloud: Any, **params: Any) -> dict[str, Any]:
    """The row of the single instance that is bought with these changes."""
    (bought,) = cloud.buy(**params)
    row: dict[str, Any] = cloud("DescribeInstances", InstanceIds=[bought])["InstanceSet"][0]
    return row


# --- disks ----------------------------------------------------------------------------------------


def test_disks_are_shown_as_they_were_asked_for(cloud: Any) -> None:
    row = only(cloud, SystemDisk={"DiskType": "CLOUD_BSSD", "DiskSize": 100, "DiskName": "root"},
               DataDisks=[{**DATA_DISK, "Encrypt": True, "KmsKeyId": "k"}, {"DiskSize": 50}])  # fmt: skip
    assert row["SystemDisk"] == {
        "DiskType": "CLOUD_BSSD", "DiskSize": 100, "DiskId": row["SystemDisk"]["DiskId"], "DiskName": "root",
    }  # fmt: skip
    first, second = row["DataDisks"]
    assert (first["DiskName"], first["Encrypt"], first["KmsKeyId"], first["DeleteWithInstance"]) == (
        "work", True, "k", True)  # fmt: skip
    assert (second["DiskType"], second["DiskName"], second["DeleteWithInstance"]) == ("CLOUD_PREMIUM", "", True)
    assert len({row["SystemDisk"]["DiskId"], first["DiskId"], second["DiskId"]}) == 3


def test_twenty_disks_have_twenty_ids(cloud: Any) -> None:
    row = only(cloud, DataDisks=[{"DiskSize": 10}] * 20)
    assert len({disk["DiskId"] for disk in row["DataDisks"]}) == 20
    assert cloud("DescribeDisks", Limit=100)["TotalCount"] == 21


def test_a_disk_that_must_not_go_with_its_instance_stays_and_is_billed_until_it_is_ended(cloud: Any) -> None:
    row = only(cloud, DataDisks=[{**DATA_DISK, "DeleteWithInstance": False}, {"DiskSize": 50}])
    (kept, _), instance = row["DataDisks"], row["InstanceId"]
    cloud.wait(10)
    assert cloud("TerminateDisks", DiskIds=[kept["DiskId"]])["Error"]["Code"] == "ResourceUnavailable.Attached"
    cloud("TerminateInstances", InstanceIds=[instance])
    cloud.wait(10)
    (left,) = cloud("DescribeDisks")["DiskSet"]
    assert (left["DiskId"], left["DiskState"], left["Attached"], left["InstanceId"], left["DiskName"]) == (
        kept["DiskId"], "UNATTACHED", False, "", "work")  # fmt: skip
    billed_from = cloud.world.storage.left[kept["DiskId"]].billed_from
    cloud.wait(2 * HOUR - (cloud.now - billed_from))
    summary = cloud.simulator.ledger.summary()
    assert (summary["disksLeft"], summary["disksCost"]) == (1, "0.03200000")  # 100 GiB x 0.00016 x 2 h
    assert "Error" not in cloud("TerminateDisks", DiskIds=[kept["DiskId"]])
    cloud.wait(HOUR)
    summary = cloud.simulator.ledger.summary()
    assert (summary["disksLeft"], summary["disksCost"]) == (0, "0.03200000")
    assert cloud("DescribeDisks")["TotalCount"] == 0
    assert cloud("TerminateDisks", DiskIds=[kept["DiskId"]])["Error"]["Code"] == "InvalidDiskId.NotFound"


def test_a_disk_that_was_left_draws_on_the_balance(cloud: Any) -> None:
    row = only(cloud, DataDisks=[{**DATA_DISK, "DeleteWithInstance": False}])
    cloud.wait(10)
    cloud("TerminateInstances", InstanceIds=[row["InstanceId"]])
    cloud.wait(10)
    spent = cloud.world.cost(cloud.world.instances[row["InstanceId"]])
    frozen = Decimal("1000.00") - spent - cloud.world.available_balance(cloud.account)
    assert frozen == Decimal("0.016")


def test_a_machine_that_never_ran_leaves_no_disk(cloud: Any) -> None:
    cloud.world.launch_outcomes.append(type("Row", (), {"outcome": "fail", "times": 1, "account": None})())
    only(cloud, DataDisks=[{**DATA_DISK, "DeleteWithInstance": False}])
    cloud.wait(600)
    assert cloud("DescribeDisks")["TotalCount"] == 0


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"disk-usage": ["DATA_DISK"]}, 1),
        ({"disk-type": ["CLOUD_SSD"]}, 1),
        ({"disk-state": ["UNATTACHED"]}, 0),
        ({"disk-name": ["work", "play"]}, 1),
        ({"zone": ["ap-guangzhou-3"], "portable": ["FALSE"]}, 1),
        ({"tag:env": ["a"]}, 2),
        ({"tag:env": ["b"]}, 0),
    ],
)
def test_disks_are_found_by_filters(cloud: Any, filters: dict[str, list[str]], count: int) -> None:
    only(cloud, DataDisks=[DATA_DISK], TagSpecification=cloud.tagged(("env", "a")))
    rows = [{"Name": name, "Values": values} for name, values in filters.items()]
    assert cloud("DescribeDisks", Filters=rows)["TotalCount"] == count


# --- public addresses -----------------------------------------------------------------------------


def internet(**fields: Any) -> dict[str, Any]:
    return {"InternetAccessible": {"InternetMaxBandwidthOut": 5, **fields}}


@pytest.mark.parametrize(
    ("fields", "has_one"),
    [
        ({"PublicIpAssigned": True}, True),
        ({}, True),
        ({"PublicIpAssigned": False}, False),
        ({"InternetMaxBandwidthOut": 0}, False),
    ],
)
def test_bandwidth_brings_a_public_address_unless_it_is_refused(
    cloud: Any, fields: dict[str, Any], has_one: bool
) -> None:
    row = only(cloud, **internet(**fields))
    assert (row["PublicIpAddresses"] is not None, row["InternetAccessible"]["PublicIpAssigned"]) == (has_one, has_one)


def test_two_machines_have_two_public_addresses_and_are_found_by_them(cloud: Any) -> None:
    ids = cloud.buy(2, **internet())
    rows = cloud("DescribeInstances", InstanceIds=ids)["InstanceSet"]
    assert len({row["PublicIpAddresses"][0] for row in rows}) == 2
    wanted = [{"Name": "public-ip-address", "Values": rows[1]["PublicIpAddresses"]}]
    assert cloud.listed(Filters=wanted) == ids[1:]


@pytest.mark.parametrize(
    ("internet", "code"),
    [
        ({"PublicIpAssigned": True}, "InvalidParameterCombination"),
        ({"PublicIpAssigned": True, "InternetMaxBandwidthOut": 0}, "InvalidParameterCombination"),
        ({"InternetMaxBandwidthOut": -1}, "InvalidParameterValue.Range"),
        ({"InternetChargeType": "BANDWIDTH_PACKAGE"}, "MissingParameter"),
        ({"InternetChargeType": "BANDWIDTH_PACKAGE", "BandwidthPackageId": "x"},
         "InvalidParameterValue.BandwidthPackageIdMalformed"),
        ({"BandwidthPackageId": "bwp-00000001"}, "InvalidParameterCombination"),
    ],
)  # fmt: skip
def test_internet_access_that_is_not_possible_is_refused(cloud: Any, internet: dict[str, Any], code: str) -> None:
    assert cloud.refusal("RunInstances", **{**cloud.ORDER, "InternetAccessible": internet}) == code


@pytest.mark.parametrize("releases", [True, False])
def test_a_bound_elastic_address_survives_its_machine_unless_it_is_released(cloud: Any, releases: bool) -> None:
    row = only(cloud, **internet())
    cloud.wait(10)
    instance = cloud.world.instances[row["InstanceId"]]
    bound = cloud.world.bind_address(cloud.account, cloud.region, instance)
    assert only_listed(cloud)["PublicIpAddresses"] == [bound.address]
    cloud("TerminateInstances", InstanceIds=[instance.id], ReleaseAddress=releases)
    cloud.wait(10)
    rows = cloud("DescribeAddresses")["AddressSet"]
    for kind, found in (("EIP", rows), ("WanIP", [])):
        assert cloud("DescribeAddresses", Filters=[{"Name": "address-type", "Values": [kind]}])["AddressSet"] == found
    assert [(one["AddressIp"], one["AddressStatus"], one["InstanceId"]) for one in rows] == (
        [] if releases else [(bound.address, "UNBIND", "")]
    )


def only_listed(cloud: Any) -> dict[str, Any]:
    (row,) = cloud("DescribeInstances")["InstanceSet"]
    found: dict[str, Any] = row
    return found


# --- private addresses ----------------------------------------------------------------------------


def placed(*addresses: str, **subnet: str) -> dict[str, Any]:
    return {"VirtualPrivateCloud": {**SUBNET, **subnet, "PrivateIpAddresses": list(addresses)}}


def test_private_addresses_that_were_asked_for_are_given(cloud: Any) -> None:
    ids = cloud.buy(2, **placed("10.0.0.77", "10.0.0.5"))
    rows = cloud("DescribeInstances", InstanceIds=ids)["InstanceSet"]
    assert [row["PrivateIpAddresses"] for row in rows] == [["10.0.0.77"], ["10.0.0.5"]]
    used = cloud("DescribeUsedIpAddress", VpcId="vpc-gz000001")["IpAddressStates"]
    assert [(row["IpAddress"], row["ResourceId"]) for row in used] == [("10.0.0.77", ids[0]), ("10.0.0.5", ids[1])]


def test_an_address_is_free_again_after_the_end_and_never_given_twice(cloud: Any) -> None:
    first = cloud.buy(**placed("10.0.0.3"))
    cloud.world.quotas[cloud.account]["default"] = 1000
    others = cloud("DescribeInstances", InstanceIds=cloud.buy(3, VirtualPrivateCloud=SUBNET))["InstanceSet"]
    assert "10.0.0.3" not in [row["PrivateIpAddresses"][0] for row in others]
    assert cloud.refusal("RunInstances", **{**cloud.ORDER, **placed("10.0.0.3")}) == "VpcIpIsUsed"
    cloud.wait(10)
    cloud("TerminateInstances", InstanceIds=first)
    cloud.wait(10)
    cloud.buy(**placed("10.0.0.3"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (placed("10.0.16.5"), "VpcAddrNotInSubNet"),
        (placed("10.0.0.0"), "VpcAddrNotInSubNet"),
        (placed("10.0.0.1"), "VpcAddrNotInSubNet"),
        (placed("10.0.15.255"), "VpcAddrNotInSubNet"),
        (placed("ten"), "InvalidParameterValue.IPAddressMalformed"),
        (placed("10.0.0.5", "10.0.0.6"), "InvalidParameterCombination"),
        ({**placed("10.0.0.5"), "InstanceCount": 2}, "InvalidParameterCombination"),
        ({**placed("10.0.0.5", "10.0.0.5"), "InstanceCount": 2}, "InvalidParameterValue.Duplicate"),
        (
            {**placed(*(f"10.0.0.{n}" for n in range(5, 26))), "InstanceCount": 21},
            "InvalidParameterValue.LimitExceeded",
        ),
    ],
)
def test_private_addresses_that_cannot_be_had_are_refused(cloud: Any, changes: dict[str, Any], code: str) -> None:
    assert cloud.refusal("RunInstances", **{**cloud.ORDER, **changes}) == code


# --- the type and the price -----------------------------------------------------------------------


def test_a_zone_and_an_image_are_enough_to_buy(cloud: Any) -> None:
    bare = {"Placement": {"Zone": "ap-guangzhou-3"}, "ImageId": "img-pmqg1cw7"}
    (bought,) = cloud("RunInstances", **bare)["InstanceIdSet"]
    assert only_listed(cloud)["InstanceType"] == "SA2.MEDIUM4"
    assert cloud.world.instances[bought].order.charge_type == "POSTPAID_BY_HOUR"
    assert cloud("InquiryPriceRunInstances", **bare)["Price"]["InstancePrice"]["UnitPrice"] > 0


def test_the_default_type_is_one_that_is_in_stock(cloud: Any) -> None:
    cloud.sells(0, type="SA2.MEDIUM4")
    row = only(cloud, InstanceType=None)
    assert row["InstanceType"] == "S2.MEDIUM4"


def test_prices_have_three_steps(new_cloud: Any) -> None:
    cloud = new_cloud(price_steps="falling")
    filters = [{"Name": "instance-type", "Values": ["S2.MEDIUM4"]}, {"Name": "zone", "Values": ["ap-guangzhou-3"]},
               {"Name": "instance-charge-type", "Values": ["POSTPAID_BY_HOUR", "SPOTPAID"]}]  # fmt: skip
    demand, spot = cloud("DescribeZoneInstanceConfigInfos", Filters=filters)["InstanceTypeQuotaSet"]
    prices = [demand["Price"][name] for name in ("UnitPrice", "UnitPriceSecondStep", "UnitPriceThirdStep")]
    assert prices == pytest.approx([0.1071, 0.06426, 0.05355])
    assert spot["Price"]["UnitPriceDiscountThirdStep"] == spot["Price"]["UnitPriceDiscount"]


def test_the_bill_follows_the_steps(new_cloud: Any) -> None:
    cloud = new_cloud(price_steps="falling", pending_seconds=0)
    (bought,) = cloud.buy(InstanceChargeType="POSTPAID_BY_HOUR", InstanceMarketOptions=None)
    cloud.wait(400 * HOUR)
    hours = Decimal(96) + Decimal(264) * Decimal("0.6") + Decimal(40) * Decimal("0.5")
    assert cloud.world.cost(cloud.world.instances[bought]) == Decimal("0.1071") * hours + cloud.DISK * 400
