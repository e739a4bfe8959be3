"""What is sent and what is read, field by field; the seed case in full."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from tencentcloud.cvm.v20170312 import models

from spotcompute.cloud.tencent.translate import (
    MALFORMED,
    check_parameters,
    inquired_price,
    inquiry_parameters,
    instance_from,
    launch_parameters,
    offerings_from,
)
from spotcompute.model.instance import InstanceState, Ownership
from spotcompute.model.launch import Disk, LaunchRequest, Part, Template, template_digest, without
from spotcompute.model.offering import Pool

OWNERSHIP = Ownership("cluster-1", "a1b2c3d4e5-f6g7h8")

SEED = LaunchRequest(
    pool=Pool("ap-guangzhou-3", "S2.MEDIUM4"),
    count=1,
    name="web-f6g7h8-1",
    ownership=OWNERSHIP,
    owner="default@web",
    template=Template(image_id="img-pmqg1cw7"),
    max_price=Decimal("0.0923"),
)


def sdk_request(parameters: dict[str, Any]) -> dict[str, Any]:
    """What the official SDK's own model makes of `parameters`: it drops what it does not know."""
    request = models.RunInstancesRequest()
    request.from_json_string(json.dumps(parameters))
    return dict(request._serialize())


def test_a_dry_run_is_the_same_request_without_a_token() -> None:
    launch = launch_parameters(SEED, "IyE=", "token-1")
    del launch["ClientToken"]
    assert check_parameters(SEED, "IyE=") == launch | {"DryRun": True}
    assert sdk_request(check_parameters(SEED, "IyE="))["DryRun"] is True


def test_a_dry_run_without_an_image_starts_from_a_public_one() -> None:
    request = without(SEED, [Part.IMAGE])
    assert check_parameters(request, None)["ImageId"].startswith("img-")


def test_the_seed_case_asks_for_exactly_this() -> None:
    assert launch_parameters(SEED, None, "token-1") == {
        "Placement": {"Zone": "ap-guangzhou-3"},
        "InstanceType": "S2.MEDIUM4",
        "InstanceChargeType": "SPOTPAID",
        "InstanceMarketOptions": {
            "MarketType": "spot",
            "SpotOptions": {"MaxPrice": "0.0923", "SpotInstanceType": "one-time"},
        },
        "InstanceCount": 1,
        "InstanceName": "web-f6g7h8-1",
        "ClientToken": "token-1",
        "ImageId": "img-pmqg1cw7",
        "TagSpecification": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "spotcompute-cluster", "Value": "cluster-1"},
                    {"Key": "spotcompute-environment", "Value": "a1b2c3d4e5-f6g7h8"},
                    {"Key": "spotcompute-owner", "Value": "default@web"},
                    {"Key": "managed-by", "Value": "spotcompute-operator"},
                ],
            }
        ],
    }


FULL = LaunchRequest(
    pool=Pool("ap-guangzhou-3", "S5.MEDIUM4"),
    count=7,
    name="web-f6g7h8-2-",
    ownership=OWNERSHIP,
    owner="default@web",
    max_price=None,
    vpc_id="vpc-1",
    subnet_id="subnet-1",
    template=Template(
        image_id="img-1",
        system_disk=Disk(type="CLOUD_PREMIUM", size=60),
        data_disks=(Disk(type="CLOUD_SSD", size=100, snapshot_id="snap-1", delete_with_instance=False), Disk(size=10)),
        security_group_ids=("sg-1", "sg-2"),
        key_ids=("skey-1",),
        keep_image_login=True,
        host_name="host",
        internet_charge_type="TRAFFIC_POSTPAID_BY_HOUR",
        internet_max_bandwidth_out=0,
        public_ip=False,
        project_id=0,
        cam_role_name="role",
        hpc_cluster_id="hpc-1",
        placement_group_ids=("ps-1",),
        security_service=False,
        monitor_service=True,
        automation_service=None,
        tags=(("team", "blue"), ("managed-by", "somebody-else")),
    ),
)


def test_every_choice_of_a_template_is_sent_as_documented() -> None:
    sent = launch_parameters(FULL, "dXNlcg==", "token-2")
    assert sent == {
        "Placement": {"Zone": "ap-guangzhou-3", "ProjectId": 0},
        "InstanceType": "S5.MEDIUM4",
        "InstanceChargeType": "SPOTPAID",
        "InstanceCount": 7,
        "InstanceName": "web-f6g7h8-2-",
        "ClientToken": "token-2",
        "ImageId": "img-1",
        "SystemDisk": {"DiskType": "CLOUD_PREMIUM", "DiskSize": 60},
        "DataDisks": [
            {"DiskType": "CLOUD_SSD", "DiskSize": 100, "SnapshotId": "snap-1", "DeleteWithInstance": False},
            {"DiskSize": 10, "DeleteWithInstance": True},
        ],
        "VirtualPrivateCloud": {"VpcId": "vpc-1", "SubnetId": "subnet-1"},
        "InternetAccessible": {
            "InternetChargeType": "TRAFFIC_POSTPAID_BY_HOUR",
            "InternetMaxBandwidthOut": 0,
            "PublicIpAssigned": False,
        },
        "SecurityGroupIds": ["sg-1", "sg-2"],
        "LoginSettings": {"KeyIds": ["skey-1"], "KeepImageLogin": "true"},
        "EnhancedService": {"SecurityService": {"Enabled": False}, "MonitorService": {"Enabled": True}},
        "HostName": "host",
        "CamRoleName": "role",
        "HpcClusterId": "hpc-1",
        "DisasterRecoverGroupIds": ["ps-1"],
        "TagSpecification": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "spotcompute-cluster", "Value": "cluster-1"},
                    {"Key": "spotcompute-environment", "Value": "a1b2c3d4e5-f6g7h8"},
                    {"Key": "spotcompute-owner", "Value": "default@web"},
                    {"Key": "managed-by", "Value": "spotcompute-operator"},
                    {"Key": "team", "Value": "blue"},
                ],
            }
        ],
        "UserData": "dXNlcg==",
    }


def test_encryption_packages_addresses_and_metadata_are_sent_as_documented() -> None:
    template = Template(
        image_id="img-1",
        system_disk=Disk(encrypt=True, kms_key_id="key-1"),
        data_disks=(Disk(size=500, type="CLOUD_TSSD", encrypt=True, throughput_performance=70),),
        internet_charge_type="BANDWIDTH_PACKAGE",
        bandwidth_package_id="bwp-1",
        private_ips=("10.0.0.77",),
        ipv6_address_count=2,
        metadata=(("colour", "blue"),),
    )
    request = replace(SEED, template=template, vpc_id="vpc-1", subnet_id="subnet-1")
    sent = launch_parameters(request, None, "token-3")
    assert sent["SystemDisk"] == {"Encrypt": True, "KmsKeyId": "key-1"}
    assert sent["DataDisks"] == [
        {"DiskType": "CLOUD_TSSD", "DiskSize": 500, "DeleteWithInstance": True, "Encrypt": True,
         "ThroughputPerformance": 70}
    ]  # fmt: skip
    assert sent["InternetAccessible"] == {"InternetChargeType": "BANDWIDTH_PACKAGE", "BandwidthPackageId": "bwp-1"}
    assert sent["VirtualPrivateCloud"] == {
        "VpcId": "vpc-1", "SubnetId": "subnet-1", "PrivateIpAddresses": ["10.0.0.77"], "Ipv6AddressCount": 2,
    }  # fmt: skip
    assert sent["Metadata"] == {"Items": [{"Key": "colour", "Value": "blue"}]}
    assert sdk_request(sent)["Metadata"] == sent["Metadata"]
    left = launch_parameters(without(request, [Part.NETWORK, Part.INTERNET, Part.METADATA]), None, "token-3")
    assert not {"VirtualPrivateCloud", "InternetAccessible", "Metadata"} & set(left)


def test_what_is_not_asked_for_changes_no_digest() -> None:
    assert SEED.template_digest == template_digest(Template(image_id="img-pmqg1cw7"), None) == "de74f28c02d6"


@pytest.mark.parametrize("request_", [SEED, FULL], ids=["seed", "full"])
def test_the_official_sdk_knows_every_parameter(request_: LaunchRequest) -> None:
    parameters = launch_parameters(request_, "dXNlcg==", "token")
    assert sdk_request(parameters) == parameters


def test_without_a_highest_price_the_market_options_are_left_out() -> None:
    sent = launch_parameters(FULL, None, "t")
    assert sent["InstanceChargeType"] == "SPOTPAID"
    assert "InstanceMarketOptions" not in sent


@pytest.mark.parametrize(
    ("price", "text"), [("0.0923", "0.0923"), ("5", "5"), ("1E-3", "0.001"), ("1E+1", "10"), ("0.10", "0.10")]
)
def test_a_bid_is_a_plain_decimal(price: str, text: str) -> None:
    request = LaunchRequest(SEED.pool, 1, "n", OWNERSHIP, SEED.owner, SEED.template, Decimal(price))
    assert launch_parameters(request, None, "t")["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == text


def test_equal_requests_are_sent_as_equal_bytes() -> None:
    first, second = (json.dumps(launch_parameters(FULL, "dQ==", "t")) for _ in range(2))
    assert first == second


def item(**changes: Any) -> dict[str, Any]:
    return {
        "InstanceId": "ins-1",
        "InstanceName": "web-f6g7h8-1",
        "InstanceState": "RUNNING",
        "InstanceType": "S2.MEDIUM4",
        "Placement": {"Zone": "ap-guangzhou-3"},
        "CreatedTime": "2026-11-23T04:05:06Z",
        **changes,
    }


def test_an_instance_is_read_field_by_field() -> None:
    instance = instance_from(
        item(
            PrivateIpAddresses=["10.0.0.2", "10.0.0.3"],
            PublicIpAddresses=["1.2.3.4"],
            VirtualPrivateCloud={"VpcId": "vpc-1", "SubnetId": "subnet-1"},
            DisableApiTermination=True,
            LatestOperation="TerminateInstances",
            LatestOperationRequestId="r-1",
            LatestOperationErrorMsg="no more",
            Tags=[
                {"Key": "spotcompute-cluster", "Value": "cluster-1"},
                {"Key": "spotcompute-environment", "Value": "env-1"},
                {"Key": "team", "Value": "blue"},
            ],
        )
    )
    assert (instance.id, instance.name, instance.state) == ("ins-1", "web-f6g7h8-1", InstanceState.RUNNING)
    assert instance.pool == Pool("ap-guangzhou-3", "S2.MEDIUM4")
    assert instance.created_at == datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
    assert instance.ownership == Ownership("cluster-1", "env-1")
    assert (instance.private_ip, instance.public_ip, instance.protected) == ("10.0.0.2", "1.2.3.4", True)
    assert (instance.last_operation, instance.last_operation_request_id) == ("TerminateInstances", "r-1")
    assert instance.failure == "no more"
    assert instance.subnet_id == "subnet-1"
    assert instance.tags["team"] == "blue"


def test_what_the_cloud_leaves_out_is_none() -> None:
    nothing: dict[str, Any] = {
        "PrivateIpAddresses": None,
        "PublicIpAddresses": [],
        "Tags": None,
        "LatestOperation": None,
        "LatestOperationErrorMsg": "",
    }
    for instance in (instance_from(item()), instance_from(item(**nothing))):
        assert instance.ownership is None
        assert (instance.private_ip, instance.public_ip, instance.failure) == (None, None, None)
        assert (instance.last_operation, instance.protected) == (None, False)


@pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.OTHER])
def test_a_known_state_is_itself(state: InstanceState) -> None:
    assert instance_from(item(InstanceState=state.value)).state is state


@pytest.mark.parametrize("state", ["RESCUE_MODE", "SERVICE_LIVE_MIGRATE", "SOMETHING_NEW"])
def test_a_state_unknown_here_is_other(state: str) -> None:
    assert instance_from(item(InstanceState=state)).state is InstanceState.OTHER


@pytest.mark.parametrize("mark", ["spotcompute-cluster", "spotcompute-environment"])
def test_half_the_marks_own_nothing(mark: str) -> None:
    instance = instance_from(item(Tags=[{"Key": mark, "Value": "x"}]))
    assert instance.ownership is None


@pytest.mark.parametrize(
    "broken",
    [
        item(InstanceId=None),
        item(InstanceId=""),
        item(Placement=None),
        item(Placement={}),
        item(CreatedTime=None),
        item(CreatedTime="yesterday"),
        item(InstanceType=7),
        item(Tags=[{"Key": "x"}]),
        "not an object",
    ],
)
def test_an_instance_of_another_shape_is_malformed(broken: Any) -> None:
    with pytest.raises(MALFORMED):
        instance_from(broken)


def quote(charge_type: str = "SPOTPAID", **changes: Any) -> dict[str, Any]:
    return {
        "Zone": "ap-guangzhou-3",
        "InstanceType": "S2.MEDIUM4",
        "InstanceChargeType": charge_type,
        "Cpu": 2,
        "Memory": 4,
        "Status": "SELL",
        "Price": {"UnitPrice": 0.1071, "UnitPriceDiscount": 0.0214, "ChargeUnit": "HOUR"},
        **changes,
    }


def test_an_offering_costs_what_is_charged_not_what_is_listed() -> None:
    (offering,) = offerings_from([quote()])
    assert offering.pool == Pool("ap-guangzhou-3", "S2.MEDIUM4")
    assert (offering.price_per_hour, offering.on_demand_price_per_hour) == (Decimal("0.0214"), Decimal("0.1071"))
    assert (offering.vcpu, offering.memory_gib, offering.sold_out) == (2, 4, False)


def test_the_on_demand_price_is_the_on_demand_items_own_when_it_is_listed() -> None:
    on_demand = quote("POSTPAID_BY_HOUR", Price={"UnitPrice": 0.12, "UnitPriceDiscount": 0.11})
    for items in ([quote(), on_demand], [on_demand, quote()]):
        (offering,) = offerings_from(items)
        assert (offering.price_per_hour, offering.on_demand_price_per_hour) == (Decimal("0.0214"), Decimal("0.11"))


def test_what_is_not_sold_as_spot_is_no_offering() -> None:
    assert offerings_from([quote("POSTPAID_BY_HOUR"), quote("PREPAID")]) == ()


def test_sold_out_is_the_markets_word() -> None:
    assert [offering.sold_out for offering in offerings_from([quote(Status="SOLD_OUT")])] == [True]


def test_an_offering_without_a_price_is_not_quoted() -> None:
    (offering,) = offerings_from([quote(Price=None)])
    assert (offering.price_per_hour, offering.on_demand_price_per_hour) == (None, None)


def test_offerings_come_in_the_same_order_whatever_the_order_of_the_answer() -> None:
    items = [quote(Zone=zone) for zone in ("ap-guangzhou-6", "ap-guangzhou-3", "ap-guangzhou-4")]
    assert offerings_from(items) == offerings_from(items[::-1])


# --- what comes with a machine ---------------------------------------------------------------------------------------


def test_only_what_has_a_price_is_inquired_about() -> None:
    template = Template(
        "img-1",
        system_disk=Disk("CLOUD_SSD", 100),
        data_disks=(Disk("CLOUD_PREMIUM", 200, snapshot_id="snap-1"),),
        security_group_ids=("sg-1",),
        key_ids=("skey-1",),
        internet_charge_type="BANDWIDTH_POSTPAID_BY_HOUR",
        internet_max_bandwidth_out=5,
        cam_role_name="role",
        tags=(("team", "blue"),),
    )
    assert inquiry_parameters(Pool("zone-a", "S5.MEDIUM4"), template) == {
        "Placement": {"Zone": "zone-a"},
        "InstanceType": "S5.MEDIUM4",
        "InstanceChargeType": "POSTPAID_BY_HOUR",
        "InstanceCount": 1,
        "ImageId": "img-1",
        "SystemDisk": {"DiskType": "CLOUD_SSD", "DiskSize": 100},
        "DataDisks": [
            {"DiskType": "CLOUD_PREMIUM", "DiskSize": 200, "SnapshotId": "snap-1", "DeleteWithInstance": True}
        ],
        "InternetAccessible": {
            "InternetChargeType": "BANDWIDTH_POSTPAID_BY_HOUR",
            "InternetMaxBandwidthOut": 5,
        },
    }


def hourly(amount: Any, unit: str | None = "HOUR") -> dict[str, Any]:
    return {"UnitPrice": amount, "UnitPriceDiscount": 0.01, "ChargeUnit": unit}


@pytest.mark.parametrize(
    ("price", "amount"),
    [
        pytest.param({"InstancePrice": hourly(0.11)}, "0.11", id="no-bandwidth"),
        pytest.param({"InstancePrice": hourly(0.11, None)}, "0.11", id="no-unit"),
        pytest.param({"InstancePrice": hourly(0.11), "BandwidthPrice": None}, "0.11", id="null"),
        pytest.param({"InstancePrice": hourly(0.11), "BandwidthPrice": hourly(0.02)}, "0.13", id="both-by-the-hour"),
        pytest.param(
            {"InstancePrice": hourly(0.11), "BandwidthPrice": hourly(0.12, "GB")}, "0.11", id="by-the-gigabyte"
        ),
    ],
)
def test_what_is_charged_by_the_hour_is_added_up(price: dict[str, Any], amount: str) -> None:
    assert inquired_price(price) == Decimal(amount)


@pytest.mark.parametrize(
    "price",
    [
        None,
        {},
        {"InstancePrice": None},
        {"InstancePrice": hourly(0.11, "MONTH")},
        *({"InstancePrice": hourly(amount)} for amount in (None, "x", "NaN", "Infinity", 0, -1)),
    ],
)
def test_a_price_that_makes_no_sense_is_none(price: Any) -> None:
    with pytest.raises(MALFORMED):
        inquired_price(price)


@pytest.mark.parametrize(
    ("charged", "told", "on_demand"),
    [
        pytest.param("SPOTPAID", None, False, id="spot"),
        pytest.param("POSTPAID_BY_HOUR", None, True, id="on-demand"),
        pytest.param("PREPAID", "PREPAID", False, id="by-the-month"),
        pytest.param("", None, False, id="not-said"),
    ],
)
def test_how_an_instance_is_charged_for(charged: str, told: str | None, on_demand: bool) -> None:
    found = instance_from(item(InstanceChargeType=charged))
    assert (found.charge_type, found.on_demand) == (told, on_demand)
