"""Actions around the instances: networks, disks, tags and key pairs, asked with the official SDK's generic client."""

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from cvmsim.actions import ACTIONS, VERSIONS, published

MAIN = "100000000001"
SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
REGION = "ap-guangzhou"


def ask(served: Any, service: str, action: str, region: str = REGION, **params: Any) -> dict[str, Any]:
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=served.address.api))
    client = CommonClient(service, VERSIONS[service], Credential(SECRET_ID, SECRET_KEY), region, profile)
    answer: dict[str, Any] = client.call_json(action, params)["Response"]
    return answer


def refusal(served: Any, service: str, action: str, **params: Any) -> str:
    with pytest.raises(TencentCloudSDKException) as caught:
        ask(served, service, action, **params)
    return str(caught.value.get_code())


def bought(served: Any, **changes: Any) -> str:
    order = {"InstanceChargeType": "SPOTPAID", "Placement": {"Zone": "ap-guangzhou-3"}, "InstanceType": "S2.MEDIUM4",
             "ImageId": "img-pmqg1cw7"}  # fmt: skip
    found: str = ask(served, "cvm", "RunInstances", **{**order, **changes})["InstanceIdSet"][0]
    served.control("POST", "clock", {"advance": 10})
    return found


# --- vpc ------------------------------------------------------------------------------------------


def test_networks_are_those_of_the_world(served: Any) -> None:
    (vpc,) = ask(served, "vpc", "DescribeVpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["VpcSet"]
    assert (vpc["VpcId"], vpc["CidrBlock"], vpc["IsDefault"]) == ("vpc-gz000001", "10.0.0.0/16", True)
    in_zone = [{"Name": "zone", "Values": ["ap-guangzhou-4"]}]
    (subnet,) = ask(served, "vpc", "DescribeSubnets", Filters=in_zone)["SubnetSet"]
    assert (subnet["SubnetId"], subnet["AvailableIpAddressCount"]) == ("subnet-gz000004", 4093)
    groups = ask(served, "vpc", "DescribeSecurityGroups", Offset="1", Limit="1")
    assert (groups["TotalCount"], groups["SecurityGroupSet"][0]["SecurityGroupId"]) == (2, "sg-gz000002")


def test_a_subnet_counts_its_free_addresses(served: Any) -> None:
    bought(served)
    (subnet,) = ask(served, "vpc", "DescribeSubnets", SubnetIds=["subnet-gz000003"])["SubnetSet"]
    assert (subnet["AvailableIpAddressCount"], subnet["TotalIpAddressCount"]) == (4092, 4093)


@pytest.mark.parametrize(
    ("action", "params", "code"),
    [
        ("DescribeVpcs", {"VpcIds": ["vpc-00000000"]}, "ResourceNotFound"),
        ("DescribeVpcs", {"VpcIds": ["x"]}, "InvalidVpcId.Malformed"),
        ("DescribeVpcs", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameter.InvalidFilter"),
        ("DescribeVpcs", {"Limit": "many"}, "InvalidParameterValue"),
        ("DescribeVpcs", {"Limit": 5}, "InvalidParameter"),
        ("DescribeVpcs", {"VpcIds": ["vpc-gz000001"], "Filters": [{"Name": "vpc-id", "Values": ["x"]}]},
         "InvalidParameter"),
        ("DescribeSubnets", {"SubnetIds": ["subnet-00000000"]}, "ResourceNotFound"),
        ("DescribeSecurityGroups", {"SecurityGroupIds": ["sg-00000000"]}, "ResourceNotFound"),
        ("DescribeUsedIpAddress", {"VpcId": "vpc-00000000"}, "ResourceNotFound"),
        ("DescribeUsedIpAddress", {"VpcId": "vpc-gz000001", "SubnetId": "subnet-gz000013"}, "ResourceNotFound"),
        ("DescribeAddresses", {"AddressIds": ["eip-00000000"]}, "InvalidAddressId.NotFound"),
        ("CreateVpc", {"VpcName": "x", "CidrBlock": "10.0.0.0/16"}, "UnsupportedOperation"),
        ("Dance", {}, "InvalidAction"),
    ],
)  # fmt: skip
def test_what_a_network_question_is_refused(served: Any, action: str, params: dict[str, Any], code: str) -> None:
    assert refusal(served, "vpc", action, **params) == code


def test_an_elastic_address_made_in_the_console_is_seen(served: Any) -> None:
    instance = bought(served)
    made = served.control("POST", "address", {"instances": [instance]})[1]["address"]
    (row,) = ask(served, "vpc", "DescribeAddresses", AddressIds=[made["id"]])["AddressSet"]
    assert (row["AddressIp"], row["InstanceId"], row["AddressStatus"]) == (made["address"], instance, "BIND")
    (row,) = ask(served, "cvm", "DescribeInstances")["InstanceSet"]
    assert row["PublicIpAddresses"] == [made["address"]]


# --- cbs and tag ----------------------------------------------------------------------------------


def test_a_disk_is_found_by_the_id_that_its_instance_shows(served: Any) -> None:
    instance = bought(served)
    disk = ask(served, "cvm", "DescribeInstances")["InstanceSet"][0]["SystemDisk"]["DiskId"]
    (row,) = ask(served, "cbs", "DescribeDisks", DiskIds=[disk])["DiskSet"]
    assert (row["InstanceId"], row["DiskUsage"], row["DiskState"]) == (instance, "SYSTEM_DISK", "ATTACHED")
    assert ask(served, "cbs", "DescribeDisks", "ap-singapore")["TotalCount"] == 0


def tags_of(served: Any, instance: str) -> dict[str, str]:
    resource = {"ServiceType": "cvm", "ResourcePrefix": "instance", "ResourceRegion": REGION}
    rows = ask(served, "tag", "DescribeResourceTagsByResourceIds", **resource, ResourceIds=[instance])["Tags"]
    return {row["TagKey"]: row["TagValue"] for row in rows}


def test_tags_are_read_and_changed_as_declarative_tools_do(served: Any) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "env", "Value": "a"}, {"Key": "team", "Value": "渲染部"}]}]
    instance = bought(served, TagSpecification=tags)
    assert tags_of(served, instance) == {"env": "a", "team": "渲染部"}
    resource = f"qcs::cvm:{REGION}:uin/{MAIN}:instance/{instance}"
    ask(served, "tag", "ModifyResourceTags", Resource=resource, DeleteTags=[{"TagKey": "team"}],
        ReplaceTags=[{"TagKey": "env", "TagValue": "b c"}, {"TagKey": "org/app", "TagValue": "x_y"}])  # fmt: skip
    assert tags_of(served, instance) == {"env": "b c", "org/app": "x_y"}
    by_tag = [{"Name": "tag:env", "Values": ["b c"]}]
    assert ask(served, "cvm", "DescribeInstances", Filters=by_tag)["TotalCount"] == 1


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Resource": "ins-00000000"}, "InvalidParameterValue.ResourceDescriptionError"),
        ({"Resource": f"qcs::cvm:{REGION}:uin/{MAIN}:instance/ins-00000000"},
         "InvalidParameterValue.ResourceIdInvalid"),
        ({"Resource": f"qcs::cvm:{REGION}:uin/100000000002:instance/ins-00000000"},
         "InvalidParameterValue.UinInvalid"),
        ({"Resource": f"qcs::cos:{REGION}:uin/{MAIN}:bucket/b"}, "InvalidParameterValue.ServiceTypeInvalid"),
        ({"ReplaceTags": []}, "MissingParameter"),
        ({"ReplaceTags": [{"TagKey": "a", "TagValue": ""}]}, "InvalidParameterValue.TagValueEmpty"),
        ({"ReplaceTags": [{"TagKey": "qcs:a", "TagValue": "1"}]}, "InvalidParameterValue.ReservedTagKey"),
        ({"ReplaceTags": [{"TagKey": "a,b", "TagValue": "1"}]}, "InvalidParameterValue.TagKeyCharacterIllegal"),
        ({"ReplaceTags": [{"TagKey": "a", "TagValue": "1"}] * 2}, "InvalidParameterValue.TagKeyDuplicate"),
        ({"DeleteTags": [{"TagKey": "a"}]}, "InvalidParameterValue.DeleteTagsParamError"),
    ],
)  # fmt: skip
def test_a_wrong_change_of_tags_changes_nothing(served: Any, params: dict[str, Any], code: str) -> None:
    instance = bought(served)
    right = {"Resource": f"qcs::cvm:{REGION}:uin/{MAIN}:instance/{instance}",
             "ReplaceTags": [{"TagKey": "a", "TagValue": "1"}]}  # fmt: skip
    assert refusal(served, "tag", "ModifyResourceTags", **{**right, **params}) == code
    assert tags_of(served, instance) == {}


# --- cvm: attributes, key pairs, timers -----------------------------------------------------------


def test_user_data_comes_back_as_it_was_given(served: Any) -> None:
    data = base64.b64encode(b"#!/bin/sh\n").decode()
    instance = bought(served, UserData=data)
    asked = {"InstanceIds": [instance], "Attributes": ["UserData"]}
    (row,) = ask(served, "cvm", "DescribeInstancesAttributes", **asked)["InstanceSet"]
    assert row == {"InstanceId": instance, "Attributes": {"UserData": data}}
    changed = base64.b64encode(b"other").decode()
    ask(served, "cvm", "ModifyInstancesAttribute", InstanceIds=[instance], UserData=changed)
    (row,) = ask(served, "cvm", "DescribeInstancesAttributes", **asked)["InstanceSet"]
    assert row["Attributes"]["UserData"] == changed
    assert refusal(served, "cvm", "DescribeInstancesAttributes", InstanceIds=[instance], Attributes=["Colour"]) == (
        "InvalidParameterValue"
    )


def test_a_new_key_pair_opens_what_it_locks(served: Any, tmp_path: Path) -> None:
    made = ask(served, "cvm", "CreateKeyPair", KeyName="builder", ProjectId=0)["KeyPair"]
    private = tmp_path / "key"
    private.write_text(made["PrivateKey"])
    private.chmod(0o600)
    seen = subprocess.run(["openssl", "rsa", "-in", str(private), "-check", "-noout"], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert "RSA key ok" in seen.stdout + seen.stderr
    instance = bought(served, LoginSettings={"KeyIds": [made["KeyId"]]})
    (row,) = ask(served, "cvm", "DescribeKeyPairs", KeyIds=[made["KeyId"]])["KeyPairSet"]
    assert (row["KeyName"], row["PublicKey"], row["AssociatedInstanceIds"]) == (
        "builder", made["PublicKey"], [instance])  # fmt: skip
    assert refusal(served, "cvm", "DeleteKeyPairs", KeyIds=[made["KeyId"]]) == (
        "InvalidParameterValue.KeyPairNotSupported"
    )
    ask(served, "cvm", "TerminateInstances", InstanceIds=[instance])
    served.control("POST", "clock", {"advance": 10})
    ask(served, "cvm", "DeleteKeyPairs", KeyIds=[made["KeyId"]])
    assert refusal(served, "cvm", "DescribeKeyPairs", KeyIds=[made["KeyId"]]) == "InvalidKeyPairId.NotFound"


def test_the_key_pairs_of_the_world_are_listed(served: Any) -> None:
    (row,) = ask(served, "cvm", "DescribeKeyPairs", Filters=[{"Name": "key-name", "Values": ["skey_gz000001"]}])[
        "KeyPairSet"
    ]
    again = ask(served, "cvm", "DescribeKeyPairs", KeyIds=["skey-gz000001"])["KeyPairSet"][0]
    assert (row["KeyId"], row["PublicKey"]) == ("skey-gz000001", again["PublicKey"])
    assert row["PublicKey"].startswith("ssh-rsa AAAA")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "InvalidKeyPairNameEmpty"),
        ("a" * 26, "InvalidKeyPairNameTooLong"),
        ("a-b", "InvalidKeyPairNameIncludeIllegalChar"),
        ("skey_gz000001", "InvalidKeyPairName.Duplicate"),
    ],
)
def test_a_wrong_name_of_a_key_pair_is_refused(served: Any, name: str, code: str) -> None:
    assert refusal(served, "cvm", "CreateKeyPair", KeyName=name, ProjectId=0) == code


def at(served: Any, seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(served.sim.clock.now() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timers(served: Any, **params: Any) -> list[tuple[str, str]]:
    rows = ask(served, "cvm", "DescribeInstancesActionTimer", **params)["ActionTimers"]
    return [(row["InstanceId"], row["Status"]) for row in rows]


def test_a_timer_ends_its_machine_and_says_so(served: Any) -> None:
    instance = bought(served)
    timer = {"TimerAction": "TerminateInstances", "ActionTime": at(served, 600)}
    (timer_id,) = ask(served, "cvm", "ImportInstancesActionTimer", InstanceIds=[instance], ActionTimer=timer)[
        "ActionTimerIds"
    ]
    assert timers(served, ActionTimerIds=[timer_id]) == [(instance, "UNDO")]
    again = {"InstanceIds": [instance], "ActionTimer": timer}
    assert refusal(served, "cvm", "ImportInstancesActionTimer", **again) == "FailedOperation.MutActionTimerExist"
    served.control("POST", "clock", {"advance": 595})
    assert ask(served, "cvm", "DescribeInstances")["InstanceSet"][0]["InstanceState"] == "RUNNING"
    served.control("POST", "clock", {"advance": 6})
    assert timers(served, InstanceIds=[instance]) == [(instance, "DOING")]
    served.control("POST", "clock", {"advance": 10})
    assert ask(served, "cvm", "DescribeInstances")["TotalCount"] == 0
    assert timers(served, StatusList=["DONE"]) == [(instance, "DONE")]
    assert refusal(served, "cvm", "DeleteInstancesActionTimer", ActionTimerIds=[timer_id]) == "UnsupportedOperation"


def test_a_timer_that_was_deleted_does_nothing(served: Any) -> None:
    timer = {"TimerAction": "TerminateInstances", "ActionTime": at(served, 600)}
    instance = bought(served, ActionTimer=timer)
    ((_, status),) = timers(served, InstanceIds=[instance])
    assert status == "UNDO"
    (row,) = ask(served, "cvm", "DescribeInstancesActionTimer", InstanceIds=[instance])["ActionTimers"]
    ask(served, "cvm", "DeleteInstancesActionTimer", ActionTimerIds=[row["ActionTimerId"]])
    served.control("POST", "clock", {"advance": 3600})
    assert ask(served, "cvm", "DescribeInstances")["InstanceSet"][0]["InstanceState"] == "RUNNING"
    assert timers(served, InstanceIds=[instance]) == []
    assert refusal(served, "cvm", "DeleteInstancesActionTimer", ActionTimerIds=["x"]) == "InvalidParameterValue"


# --- what is not simulated ------------------------------------------------------------------------


def test_every_action_is_one_that_the_vendor_publishes() -> None:
    assert {(product, action) for product, action in ACTIONS if action not in published()[product]} == set()


def test_an_action_that_is_not_simulated_is_told_from_one_that_does_not_exist(served: Any) -> None:
    assert refusal(served, "cvm", "ResetInstance", InstanceId="ins-00000000") == "UnsupportedOperation"
    assert refusal(served, "cvm", "Dance") == "InvalidAction"
    assert refusal(served, "cbs", "CreateDisks") == "UnsupportedOperation"
