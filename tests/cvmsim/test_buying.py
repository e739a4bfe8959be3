"""RunInstances: what is bought, what is refused, with which of the vendor's codes."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

NETWORK = {"VpcId": "vpc-gz000001", "SubnetId": "subnet-gz000003"}


def bid(price: Any, market: str = "spot", kind: str = "one-time") -> dict[str, Any]:
    return {"MarketType": market, "SpotOptions": {"MaxPrice": price, "SpotInstanceType": kind}}


def test_ids_are_allocated_at_once_and_the_machines_follow(cloud: Any) -> None:
    ids = cloud.buy(3)
    assert len(set(ids)) == 3
    assert cloud.states(ids) == ["PENDING"] * 3
    cloud.wait(10)
    assert cloud.states(ids) == ["RUNNING"] * 3


def test_a_purchase_takes_stock_and_a_termination_gives_it_back(cloud: Any) -> None:
    cloud.sells(stock=5)
    ids = cloud.buy(3)
    assert cloud.world.offerings["ap-guangzhou-3", "S2.MEDIUM4"].stock == 2
    cloud.wait(10)
    cloud("TerminateInstances", InstanceIds=ids)
    assert cloud.world.offerings["ap-guangzhou-3", "S2.MEDIUM4"].stock == 5


def test_without_min_count_it_is_all_or_nothing(cloud: Any) -> None:
    cloud.sells(stock=6)
    assert (
        cloud.refusal("RunInstances", **cloud.ORDER, InstanceCount=10) == "ResourceInsufficient.SpecifiedInstanceType"
    )


def test_with_min_count_what_is_there_is_delivered(cloud: Any) -> None:
    cloud.sells(stock=6)
    assert len(cloud.buy(10, MinCount=1)) == 6


def test_below_min_count_nothing_is_delivered(cloud: Any) -> None:
    cloud.sells(stock=6)
    code = cloud.refusal("RunInstances", **cloud.ORDER, InstanceCount=10, MinCount=7)
    assert code == "ResourceInsufficient.InsufficientOfferingMinimum"


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("unsupported-charge-type", "UnsupportedOperation.MinCountUnsupportedChargeType"),
        ("unsupported-region", "UnsupportedOperation.MinCountUnsupportedRegion"),
    ],
)
def test_min_count_may_be_closed_to_an_account(new_cloud: Any, setting: str, code: str) -> None:
    cloud = new_cloud(min_count=setting)
    assert cloud.refusal("RunInstances", **cloud.ORDER, InstanceCount=2, MinCount=1) == code
    assert len(cloud.buy(2)) == 2


def test_a_bid_at_the_price_is_enough_and_one_below_is_not(cloud: Any) -> None:
    cloud.sells(stock=10, price="0.0500")
    cloud.buy(1, InstanceMarketOptions=bid("0.05"))
    code = cloud.refusal("RunInstances", **{**cloud.ORDER, "InstanceMarketOptions": bid("0.0499")})
    assert code == "InvalidParameterValue.InsufficientPrice"


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("before-stock", "InvalidParameterValue.InsufficientPrice"),
        ("after-stock", "ResourceInsufficient.SpecifiedInstanceType"),
    ],
)
def test_which_of_two_obstacles_is_named_is_a_switch(new_cloud: Any, setting: str, code: str) -> None:
    cloud = new_cloud(price_check=setting)
    cloud.sells(stock=0, price="1")
    assert cloud.refusal("RunInstances", **cloud.ORDER) == code


def test_in_yuan_the_same_number_is_a_smaller_bid(new_cloud: Any) -> None:
    cloud = new_cloud(price_currency="CNY")
    assert cloud.refusal("RunInstances", **cloud.ORDER) == "InvalidParameterValue.InsufficientPrice"
    cloud.buy(1, InstanceMarketOptions=bid("0.1541"))


def test_the_spot_quota_counts_vcpu_per_zone_and_comes_back(cloud: Any) -> None:
    ids = cloud.buy(25)
    assert cloud.refusal("RunInstances", **cloud.ORDER) == "LimitExceeded.UserSpotQuota"
    cloud.buy(1, Placement={"Zone": "ap-guangzhou-4"})
    cloud.wait(10)
    cloud("TerminateInstances", InstanceIds=ids[:1])
    cloud.buy(1)


def test_on_demand_needs_no_spot_quota(cloud: Any) -> None:
    cloud.buy(25)
    cloud.buy(1, InstanceChargeType="POSTPAID_BY_HOUR", InstanceMarketOptions=None)


def test_an_hour_of_everything_that_lives_is_frozen(cloud: Any) -> None:
    cloud.world.balances[cloud.account] = cloud.world.balances[cloud.account] * 0
    assert cloud.refusal("RunInstances", **cloud.ORDER) == "InvalidAccount.InsufficientBalance"
    cloud.world.balances[cloud.account] += 2 * (
        cloud.world.offerings["ap-guangzhou-3", "S2.MEDIUM4"].price + cloud.DISK
    )
    cloud.buy(2)
    assert cloud.world.available_balance(cloud.account) == 0
    assert cloud.refusal("RunInstances", **cloud.ORDER) == "InvalidAccount.InsufficientBalance"


def test_a_small_subnet_runs_out_of_addresses(cloud: Any) -> None:
    small = {"VpcId": "vpc-gz000001", "SubnetId": "subnet-gzsmall3"}
    ids = cloud.buy(13, VirtualPrivateCloud=small)
    order = {**cloud.ORDER, "VirtualPrivateCloud": small}
    assert cloud.refusal("RunInstances", **order) == "ResourceInsufficient.CidrBlock"
    addresses = {cloud.world.instances[one].private_ip for one in ids}
    assert len(addresses) == 13
    cloud.wait(10)
    cloud("TerminateInstances", InstanceIds=ids[4:5])
    cloud.wait(10)
    assert cloud.world.instances[cloud.buy(1, VirtualPrivateCloud=small)[0]].private_ip in addresses


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Placement": {"Zone": "ap-nowhere-1"}}, "InvalidZone.MismatchRegion"),
        ({"Placement": {"Zone": "ap-singapore-1"}}, "InvalidZone.MismatchRegion"),
        ({"Placement": None}, "MissingParameter"),
        ({"InstanceType": "medium"}, "InvalidInstanceType.Malformed"),
        ({"InstanceType": "S9.MEDIUM4"}, "InvalidParameterValue.InstanceTypeNotFound"),
        ({"Placement": {"Zone": "ap-guangzhou-6"}}, "ResourceUnavailable.InstanceType"),
        ({"ImageId": None}, "MissingParameter"),
        ({"ImageId": "ubuntu"}, "InvalidImageId.Malformed"),
        ({"ImageId": "img-00000000"}, "InvalidImageId.NotFound"),
        ({"ImageId": "img-c0ld5t0r"}, "InvalidParameterValue.InvalidImageState"),
        ({"InstanceChargeType": "PREPAID"}, "InvalidParameterValue"),
        ({"InstanceChargeType": "POSTPAID_BY_HOUR"}, "InvalidParameterCombination"),
        ({"InstanceMarketOptions": bid("cheap")}, "InvalidParameterValue"),
        ({"InstanceMarketOptions": bid("-1")}, "InvalidParameterValue"),
        ({"InstanceMarketOptions": bid("NaN")}, "InvalidParameterValue"),
        ({"InstanceMarketOptions": bid("1", kind="persistent")}, "InvalidParameterValue"),
        ({"InstanceMarketOptions": bid(0.0923)}, "InvalidParameter"),
        ({"InstanceCount": 0}, "InvalidParameterValue.Range"),
        ({"InstanceCount": 101}, "InvalidParameterValue.Range"),
        ({"InstanceCount": "2"}, "InvalidParameter"),
        ({"InstanceCount": True}, "InvalidParameter"),
        ({"InstanceCount": 2, "MinCount": 3}, "InvalidParameterValue.InvalidParameterMinCount"),
        ({"InstanceCount": 2, "MinCount": 0}, "InvalidParameterValue.InvalidParameterMinCount"),
        ({"Colour": "red"}, "UnknownParameter"),
        ({"Placement": {"Zone": "ap-guangzhou-3", "Rack": "7"}}, "UnknownParameter"),
        ({"Placement": {"ProjectId": 0}}, "MissingParameter"),
        ({"ClientToken": "x" * 65}, "InvalidClientToken.TooLong"),
        ({"VirtualPrivateCloud": {**NETWORK, "VpcId": "vpc-1"}}, "InvalidParameterValue.VpcIdMalformed"),
        ({"VirtualPrivateCloud": {**NETWORK, "SubnetId": "s"}}, "InvalidParameterValue.SubnetIdMalformed"),
        ({"VirtualPrivateCloud": {**NETWORK, "VpcId": "vpc-00000000"}}, "InvalidParameterValue.VpcIdNotExist"),
        ({"VirtualPrivateCloud": {**NETWORK, "SubnetId": "subnet-00000000"}}, "InvalidParameterValue.SubnetNotExist"),
        (
            {"VirtualPrivateCloud": {**NETWORK, "SubnetId": "subnet-gz000004"}},
            "InvalidParameterValue.SubnetIdZoneIdNotMatch",
        ),
        ({"SecurityGroupIds": ["sg-00000000"]}, "InvalidSecurityGroupId.NotFound"),
        ({"LoginSettings": {"KeyIds": ["key"]}}, "InvalidKeyPairId.Malformed"),
        ({"LoginSettings": {"KeyIds": ["skey-00000000"]}}, "InvalidParameterValue.KeyPairNotFound"),
        ({"LoginSettings": {"KeyIds": ["skey-gz000011"]}}, "InvalidParameterValue.KeyPairNotFound"),
        ({"CamRoleName": "nobody"}, "AuthFailure.CamRoleNameAuthenticateFailed"),
        ({"LoginSettings": {"Password": "short"}}, "InvalidPassword"),
        ({"LoginSettings": {"Password": "Str0ng!pass", "KeepImageLogin": "true"}}, "InvalidParameterCombination"),
        ({"UserData": "not base64!"}, "InvalidParameterValue.InvalidUserDataFormat"),
        ({"UserData": base64.b64encode(b"x" * 16385).decode()}, "InvalidParameterValue.InvalidUserDataFormat"),
        ({"InstanceName": "n" * 61}, "InvalidInstanceName.TooLong"),
        ({"HostName": "-bad"}, "InvalidParameterValue.IllegalHostName"),
        ({"HostName": "12"}, "InvalidParameterValue.IllegalHostName"),
        ({"SystemDisk": {"DiskType": "FLOPPY"}}, "InvalidParameterValue"),
        ({"SystemDisk": {"DiskSize": 10}}, "InvalidParameterValue.Range"),
        ({"DataDisks": [{"DiskSize": 15}]}, "InvalidParameterValue.Range"),
        ({"DataDisks": [{"DiskType": "CLOUD_SSD"}]}, "MissingParameter"),
        ({"InternetAccessible": {"InternetChargeType": "FREE"}}, "InvalidParameterValue"),
        ({"ActionTimer": {"TimerAction": "RunInstances"}}, "InvalidParameterValue"),
        ({"ActionTimer": {"TimerAction": "TerminateInstances", "ActionTime": "soon"}},
         "InvalidParameterValue.InvalidTimeFormat"),
        ({"LaunchTemplate": {"LaunchTemplateId": "lt-00000000"}}, "UnsupportedOperation"),
    ],
)  # fmt: skip
def test_a_wrong_request_gets_the_vendors_code_and_buys_nothing(cloud: Any, changes: dict[str, Any], code: str) -> None:
    assert cloud.refusal("RunInstances", **{**cloud.ORDER, **changes}) == code
    assert cloud.world.instances == {}


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ([("qcloud-x", "1")], "FailedOperation.TagKeyReserved"),
        ([("key,name", "1")], "FailedOperation.IllegalTagKey"),
        ([("a", "b\tc")], "FailedOperation.IllegalTagValue"),
        ([("a", "")], "InvalidParameter"),
        ([("a", "1"), ("a", "2")], "InvalidParameterValue.DuplicateTags"),
        ([(f"k{n}", "1") for n in range(51)], "InvalidParameterValue.TagQuotaLimitExceeded"),
    ],
)
def test_illegal_tags_are_refused(cloud: Any, tags: list[tuple[str, str]], code: str) -> None:
    assert cloud.refusal("RunInstances", **cloud.ORDER, TagSpecification=cloud.tagged(*tags)) == code


def test_the_tag_products_page_allows_more_letters(new_cloud: Any) -> None:
    cloud = new_cloud(tag_charset="tag-product")
    cloud.buy(1, TagSpecification=cloud.tagged(("kubernetes.io/name", "a b")))


def test_the_name_limit_is_a_switch(new_cloud: Any) -> None:
    new_cloud(instance_name_limit="128").buy(1, InstanceName="n" * 128)


@pytest.mark.parametrize(
    ("name", "count", "names"),
    [
        ("web", 1, ["web"]),
        ("web", 3, ["web1", "web2", "web3"]),
        ("web-{R:7}", 2, ["web-7", "web-8"]),
        ("web-{R:9,F:3}", 2, ["web-009", "web-010"]),
        (None, 2, ["unnamed1", "unnamed2"]),
    ],
)
def test_names_are_expanded_as_the_vendor_does(cloud: Any, name: str | None, count: int, names: list[str]) -> None:
    ids = cloud.buy(count, InstanceName=name)
    rows = cloud("DescribeInstances", InstanceIds=ids)["InstanceSet"]
    assert [row["InstanceName"] for row in rows] == names


def test_a_launch_can_fail_after_it_was_accepted(cloud: Any) -> None:
    cloud.simulator.switches.set("launch-failure-rate", 1)
    ids = cloud.buy(1)
    cloud.wait(10)
    row = cloud("DescribeInstances", InstanceIds=ids)["InstanceSet"][0]
    assert (row["InstanceState"], row["LatestOperationState"]) == ("LAUNCH_FAILED", "FAILED")
    assert row["LatestOperationErrorMsg"]
    code = cloud.refusal("TerminateInstances", InstanceIds=ids)
    assert code == "UnsupportedOperation.InstanceStateLaunchFailed"
    cloud.wait(61)
    assert cloud.states(ids) == []
    assert cloud.simulator.ledger.summary()["cost"] == "0.00000000"


def test_an_action_timer_ends_what_nobody_else_does(cloud: Any) -> None:
    moment = datetime.fromtimestamp(cloud.now + 600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ids = cloud.buy(1, ActionTimer={"TimerAction": "TerminateInstances", "ActionTime": moment})
    cloud.wait(590)
    assert cloud.states(ids) == ["RUNNING"]
    cloud.wait(20)
    assert cloud.states(ids) == []


def test_an_action_timer_needs_five_minutes(cloud: Any) -> None:
    moment = datetime.fromtimestamp(cloud.now + 299, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    timer = {"TimerAction": "TerminateInstances", "ActionTime": moment}
    assert cloud.refusal("RunInstances", **cloud.ORDER, ActionTimer=timer) == "InvalidParameterValue"


def test_the_private_image_of_one_account_does_not_exist_for_another(cloud: Any) -> None:
    cloud.buy(1, ImageId="img-privat01")
    cloud.account = "100000000002"
    assert cloud.refusal("RunInstances", **{**cloud.ORDER, "ImageId": "img-privat01"}) == "InvalidImageId.NotFound"


@pytest.mark.parametrize(("setting", "code"), [("empty", None), ("code", "DryRunOperation")])
def test_a_dry_run_checks_and_buys_nothing(new_cloud: Any, setting: str, code: str | None) -> None:
    cloud = new_cloud(dry_run_answer=setting)
    answer = cloud("RunInstances", **cloud.ORDER, DryRun=True)
    assert answer.get("Error", {}).get("Code") == code
    assert not answer.get("InstanceIdSet")
    assert cloud.world.instances == {}
    cloud.sells(stock=0)
    assert cloud.refusal("RunInstances", **cloud.ORDER, DryRun=True) == "ResourceInsufficient.SpecifiedInstanceType"


@pytest.mark.parametrize(("setting", "is_refused"), [("yes", True), ("no", False)])
def test_whether_a_dry_run_compares_the_bid_is_a_switch(new_cloud: Any, setting: str, is_refused: bool) -> None:
    cloud = new_cloud(dry_run_checks_price=setting)
    cloud.sells(stock=9, price="1")
    assert ("Error" in cloud("RunInstances", **cloud.ORDER, DryRun=True)) is is_refused


def test_the_price_inquiry_speaks_for_the_whole_count(cloud: Any) -> None:
    price = cloud("InquiryPriceRunInstances", **cloud.ORDER, InstanceCount=10)["Price"]["InstancePrice"]
    assert price["UnitPriceDiscount"] == pytest.approx(0.214 + 0.035)
    assert price["UnitPrice"] == pytest.approx(1.071 + 0.035)
    cloud.sells(stock=5, price="1")
    assert cloud.refusal("InquiryPriceRunInstances", **cloud.ORDER) == "InvalidParameterValue.InsufficientPrice"


def test_every_shortage_code_can_be_the_clouds_choice(new_cloud: Any) -> None:
    code = "InvalidParameterValue.InsufficientOffering"
    cloud = new_cloud(sold_out_code=code)
    cloud.sells(stock=0)
    assert cloud.refusal("RunInstances", **cloud.ORDER) == code


def test_an_inquired_price_may_be_for_one(new_cloud: Any) -> None:
    cloud = new_cloud(inquiry_price="each")
    price = cloud("InquiryPriceRunInstances", **cloud.ORDER, InstanceCount=10)["Price"]["InstancePrice"]
    assert price["UnitPriceDiscount"] == pytest.approx(0.0214 + 0.0035)


@pytest.mark.parametrize(
    ("order", "disks"),
    [
        pytest.param({}, 0.0035, id="there-always-is-a-system-disk"),
        pytest.param({"SystemDisk": {"DiskSize": 100}}, 0.007, id="larger"),
        pytest.param({"SystemDisk": {"DiskType": "CLOUD_SSD"}}, 0.008, id="better"),
        pytest.param({"DataDisks": [{"DiskType": "CLOUD_SSD", "DiskSize": 200}] * 2}, 0.0675, id="two-more"),
        pytest.param({"SystemDisk": {"DiskType": "LOCAL_BASIC"}}, 0.0, id="a-local-one-is-part-of-the-machine"),
    ],
)
def test_disks_are_sold_at_full_price_and_billed(cloud: Any, order: dict[str, Any], disks: float) -> None:
    price = cloud("InquiryPriceRunInstances", **cloud.ORDER, **order)["Price"]["InstancePrice"]
    assert price["UnitPrice"] == pytest.approx(0.1071 + disks)
    assert price["UnitPriceDiscount"] == pytest.approx(0.0214 + disks)
    (one,) = cloud.buy(1, **order)
    instance = cloud.world.instances[one]
    cloud.wait(10)
    cloud.wait(instance.billed_from + 3600 - cloud.now)
    assert float(cloud.world.cost(instance)) == pytest.approx(0.0214 + disks)


def test_an_inquired_price_may_know_nothing_of_disks(new_cloud: Any) -> None:
    cloud = new_cloud(inquiry_disks="excluded")
    price = cloud("InquiryPriceRunInstances", **cloud.ORDER)["Price"]["InstancePrice"]
    assert price["UnitPriceDiscount"] == 0.0214
    (one,) = cloud.buy(1)
    assert float(cloud.world.hourly(cloud.world.instances[one].order)) == pytest.approx(0.0214 + 0.0035)


@pytest.mark.parametrize(
    ("internet", "price", "unit", "billed"),
    [
        pytest.param({}, 0.0, "HOUR", 0.0, id="none"),
        pytest.param({"InternetMaxBandwidthOut": 5}, 0.12, "GB", 0.0, id="by-traffic-unless-said"),
        pytest.param(
            {"InternetMaxBandwidthOut": 5, "InternetChargeType": "BANDWIDTH_POSTPAID_BY_HOUR"},
            0.055,
            "HOUR",
            0.055,
            id="by-bandwidth",
        ),
    ],
)
def test_the_internet_has_a_price_of_its_own(
    cloud: Any, internet: dict[str, Any], price: float, unit: str, billed: float
) -> None:
    order = {**cloud.ORDER, "InternetAccessible": internet}
    answer = cloud("InquiryPriceRunInstances", **order)["Price"]
    assert answer["InstancePrice"]["UnitPrice"] == pytest.approx(0.1071 + 0.0035)
    assert (answer["BandwidthPrice"]["UnitPrice"], answer["BandwidthPrice"]["ChargeUnit"]) == (price, unit)
    (one,) = cloud("RunInstances", **order)["InstanceIdSet"]
    instance = cloud.world.instances[one]
    assert float(cloud.world.hourly(instance.order)) == pytest.approx(0.0214 + 0.0035 + billed)


def test_the_count_limit_is_a_switch(new_cloud: Any) -> None:
    cloud = new_cloud(instance_count_limit="500")
    cloud.world.quotas[cloud.account]["default"] = 1000
    assert len(cloud.buy(150)) == 150
    assert cloud.refusal("RunInstances", **cloud.ORDER, InstanceCount=501) == "InvalidParameterValue.Range"
