"""Play what a declarative tool sends over the life of one instance: create, read, drift, change, destroy.

The calls were written down from the documented behaviour of such tools; no tool's code is here. Each step must be
answered, and what is read must be what was declared, so that a second plan finds nothing to do.
"""

import base64
from collections.abc import Iterator
from typing import Any

ZONE, REGION, ACCOUNT = "ap-guangzhou-3", "ap-guangzhou", "100000000001"
USER_DATA = base64.b64encode(b"#!/bin/sh\n").decode()
DECLARED: dict[str, Any] = {
    "InstanceChargeType": "SPOTPAID",
    "Placement": {"Zone": ZONE, "ProjectId": 0},
    "InstanceType": "S5.MEDIUM4",
    "ImageId": "img-487zeit5",
    "InstanceName": "declared",
    "SystemDisk": {"DiskType": "CLOUD_PREMIUM", "DiskSize": 50},
    "DataDisks": [{"DiskType": "CLOUD_SSD", "DiskSize": 100, "DeleteWithInstance": True}],
    "VirtualPrivateCloud": {
        "VpcId": "vpc-gz000001",
        "SubnetId": "subnet-gz000003",
        "PrivateIpAddresses": ["10.0.0.77"],
    },
    "InternetAccessible": {
        "InternetChargeType": "TRAFFIC_POSTPAID_BY_HOUR", "InternetMaxBandwidthOut": 5, "PublicIpAssigned": True,
    },
    "SecurityGroupIds": ["sg-gz000001"],
    "LoginSettings": {"KeyIds": ["skey-gz000001"]},
    "UserData": USER_DATA,
    "TagSpecification": [{"ResourceType": "instance", "Tags": [{"Key": "managed_by", "Value": "a tool"}]}],
    "ClientToken": "declared-1",
}  # fmt: skip


class Life:
    """One declared instance."""

    def __init__(self, bench: Any) -> None:
        self.bench, self.id = bench, ""

    def ask(self, service: str, action: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.bench.plain(service, action, params)
        assert "Error" not in answer, f"{service} {action}: {answer['Error']}"
        return answer

    def tags(self) -> dict[str, str]:
        rows = self.ask("tag", "DescribeResourceTagsByResourceIds", ServiceType="cvm", ResourcePrefix="instance",
                        ResourceRegion=REGION, ResourceIds=[self.id])["Tags"]  # fmt: skip
        return {row["TagKey"]: row["TagValue"] for row in rows}

    def read(self) -> dict[str, Any]:
        """What a refresh reads, in the words of the declaration."""
        (row,) = self.ask("cvm", "DescribeInstances", InstanceIds=[self.id])["InstanceSet"]
        (attributes,) = self.ask("cvm", "DescribeInstancesAttributes", InstanceIds=[self.id], Attributes=["UserData"])[
            "InstanceSet"
        ]
        disks = [row["SystemDisk"]["DiskId"], *(disk["DiskId"] for disk in row["DataDisks"])]
        found = self.ask("cbs", "DescribeDisks", DiskIds=disks)["DiskSet"]
        self.ask("cvm", "DescribeKeyPairs", KeyIds=row["LoginSettings"]["KeyIds"])
        return {
            "InstanceName": row["InstanceName"],
            "InstanceType": row["InstanceType"],
            "UserData": attributes["Attributes"]["UserData"],
            "PrivateIpAddresses": row["PrivateIpAddresses"],
            "public": len(row["PublicIpAddresses"]),
            "disks": sorted((disk["DiskUsage"], disk["DiskSize"], disk["DiskState"]) for disk in found),
            "SecurityGroupIds": row["SecurityGroupIds"],
            "KeyIds": row["LoginSettings"]["KeyIds"],
            "tags": self.tags(),
            "protected": row["DisableApiTermination"],
        }


WANTED = {
    "InstanceName": "declared",
    "InstanceType": "S5.MEDIUM4",
    "UserData": USER_DATA,
    "PrivateIpAddresses": ["10.0.0.77"],
    "public": 1,
    "disks": [("DATA_DISK", 100, "ATTACHED"), ("SYSTEM_DISK", 50, "ATTACHED")],
    "SecurityGroupIds": ["sg-gz000001"],
    "KeyIds": ["skey-gz000001"],
    "tags": {"managed_by": "a tool"},
    "protected": False,
}


def apply(life: Life) -> None:
    """looks up network and image, buys, waits for RUNNING and for tags"""
    life.ask("vpc", "DescribeVpcs", VpcIds=["vpc-gz000001"])
    life.ask("vpc", "DescribeSubnets", SubnetIds=["subnet-gz000003"])
    life.ask("vpc", "DescribeSecurityGroups", SecurityGroupIds=["sg-gz000001"])
    used = life.ask("vpc", "DescribeUsedIpAddress", VpcId="vpc-gz000001", IpAddresses=["10.0.0.77"])
    assert used["TotalCount"] == 0
    (life.id,) = life.ask("cvm", "RunInstances", **DECLARED)["InstanceIdSet"]
    life.bench.sim("POST", "clock", advance=10)
    (row,) = life.ask("cvm", "DescribeInstances", InstanceIds=[life.id])["InstanceSet"]
    assert (row["InstanceState"], row["LatestOperationState"]) == ("RUNNING", "SUCCESS")


def plan(life: Life) -> None:
    """reads what was declared, so there is nothing to do"""
    seen = life.read()
    assert seen == WANTED, f"{seen} is not {WANTED}"


def drift(life: Life) -> None:
    """sees what a person changed, and puts it right"""
    life.bench.sim("POST", "rename", instances=[life.id], name_to="by hand")
    life.bench.sim("POST", "tag", instances=[life.id], tags={"managed_by": "a person", "extra": "1"})
    seen = life.read()
    assert (seen["InstanceName"], seen["tags"]) == ("by hand", {"managed_by": "a person", "extra": "1"})
    life.ask("cvm", "ModifyInstancesAttribute", InstanceIds=[life.id], InstanceName="declared")
    resource = f"qcs::cvm:{REGION}:uin/{ACCOUNT}:instance/{life.id}"
    replaced, deleted = [{"TagKey": "managed_by", "TagValue": "a tool"}], [{"TagKey": "extra"}]
    life.ask("tag", "ModifyResourceTags", Resource=resource, ReplaceTags=replaced, DeleteTags=deleted)
    plan(life)


def destroy(life: Life) -> None:
    """ends it, and leaves no disk and no address behind"""
    life.ask("cvm", "TerminateInstances", InstanceIds=[life.id])
    life.bench.sim("POST", "clock", advance=10)
    assert life.ask("cvm", "DescribeInstances", InstanceIds=[life.id])["TotalCount"] == 0
    assert life.ask("cbs", "DescribeDisks")["TotalCount"] == 0
    assert life.ask("vpc", "DescribeUsedIpAddress", VpcId="vpc-gz000001")["TotalCount"] == 0
    assert life.bench.sim("GET", "ledger/summary")["live"] == 0


def played(bench: Any) -> Iterator[tuple[str, str]]:
    """Every step of the life with what was wrong, or nothing."""
    bench.begin_again()
    life = Life(bench)
    for step in (apply, plan, drift, destroy):
        problem = ""
        try:
            step(life)
        except (AssertionError, KeyError, ValueError) as wrong:
            problem = f"{type(wrong).__name__}: {wrong}"
        yield f"declared: {step.__name__}", problem
