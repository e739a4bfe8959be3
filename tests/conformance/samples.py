"""Replay the vendor's published samples: each request as it is printed, but for names that the world does not have.

The samples come with the vendor's command line and are not copied here. All samples of all actions that the simulator
carries out are played, on machines, disks, keys and timers that are made before. One that asks for what is not
simulated must be refused with a code; every other one must be carried out.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

#: Every action that the simulator carries out, by product and the folder of its samples.
ACTIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("cvm", "v20170312"): (
        "RunInstances", "InquiryPriceRunInstances", "DescribeInstances", "DescribeInstancesStatus",
        "DescribeZoneInstanceConfigInfos", "DescribeInstanceTypeConfigs", "DescribeZones", "DescribeRegions",
        "DescribeImages", "DescribeAccountQuota", "DescribeKeyPairs", "CreateKeyPair", "DeleteKeyPairs",
        "DescribeInstancesAttributes", "ModifyInstancesAttribute", "ImportInstancesActionTimer",
        "DescribeInstancesActionTimer", "DeleteInstancesActionTimer", "StopInstances", "StartInstances",
        "TerminateInstances",
    ),
    ("vpc", "v20170312"): (
        "DescribeAddresses", "DescribeSecurityGroups", "DescribeSubnets", "DescribeUsedIpAddress", "DescribeVpcs",
    ),
    ("cbs", "v20170312"): ("DescribeDisks", "TerminateDisks"),
    ("tag", "v20180813"): ("DescribeResourceTagsByResourceIds", "ModifyResourceTags"),
    ("sts", "v20180813"): ("AssumeRole", "GetCallerIdentity", "AssumeRoleWithWebIdentity"),
}  # fmt: skip
#: Names of the samples, and those of the simulator's world.
RENAMED = {
    "ap-shanghai-2": "ap-guangzhou-3", "ap-guangzhou-5": "ap-guangzhou-6", "img-dkwyg6sr": "img-pmqg1cw7",
    "vpc-1urkhbj4": "vpc-gz000001", "subnet-dcs9x3gz": "subnet-gz000003", "S5.16XLARGE256": "S5.MEDIUM4",
    "S5.2XLARGE32": "S5.MEDIUM4", "S3.MEDIUM2": "S5.MEDIUM4", "S2.SMALL1": "S2.MEDIUM4",
    "vpc-bx0vq623": "vpc-gz000001", "subnet-dl3wd0vq": "subnet-gz000003", "ap-beijing": "ap-guangzhou",
    "uin/1234567:": "uin/100000000001:",
    "uin/100015158414:roleName/readOnlyRole": "uin/100000000001:roleName/spot-worker",
}  # fmt: skip
#: What is not simulated.
NOT_PLAYED = re.compile("PREPAID|CDHPAID|HostIds|dedicated-cluster-id")
#: Samples that cannot be carried out as they are printed, with the code that the simulator answers, and why.
OTHERWISE = {
    "AssumeRoleWithWebIdentity 1": ("InvalidParameter.ParamError", "its role and its token are printed with stars"),
}
#: Makes what a sample names: the pattern of the name, and who makes one.
Made = tuple[tuple[str, Callable[[Any], str]], ...]


def replayed(bench: Any) -> Iterator[tuple[str, str]]:
    """Every sample with what was wrong with its answer, or nothing."""
    bench.begin_again()
    bench.sim("POST", "quota", vcpu=100_000, account="100000000001")
    (services,) = bench.tccli.parents[1].glob("lib/python*/site-packages/tccli/services")
    for (product, version), actions in ACTIONS.items():
        examples = json.loads((services / product / version / "examples.json").read_text(encoding="utf-8"))["actions"]
        for action in actions:
            for number, example in enumerate(examples.get(action, ()), 1):
                yield f"sample {action} {number}", replay(bench, product, action, number, example["input"])


def replay(bench: Any, product: str, action: str, number: int, printed: str) -> str:
    """What was wrong with the answer to a sample, or nothing."""
    text = json.dumps(asked(printed))
    for before, after in RENAMED.items():
        text = text.replace(before, after)
    for pattern, make in MADE:
        for name in dict.fromkeys(re.findall(pattern, text)):
            text = text.replace(name, make(bench))
    if action == "StartInstances":
        bench.plain("cvm", "StopInstances", {"InstanceIds": json.loads(text)["InstanceIds"]})
        bench.sim("POST", "clock", advance=10)
    code = str(bench.plain(product, action, json.loads(text)).get("Error", {}).get("Code", ""))
    if NOT_PLAYED.search(text):
        return "" if code else "was carried out, and is not simulated"
    wanted, _ = OTHERWISE.get(f"{action} {number}", ("", ""))
    return "" if code == wanted else code or f"was carried out, although {wanted} was expected"


def asked(printed: str) -> dict[str, Any]:
    """The parameters of a sample: the JSON of a POST, or the lines of a URL."""
    found = re.search(r"\n\n(\{.*)", printed, re.DOTALL)
    if found is not None:
        body: dict[str, Any] = json.loads(found[1])
        return body
    return dict(re.findall(r"\n&([\w.]+)=([^\n]*)", printed))


def a_machine(bench: Any) -> str:
    """The id of a running instance with a disk that outlives it."""
    order = {
        "InstanceChargeType": "SPOTPAID", "Placement": {"Zone": "ap-guangzhou-3"}, "InstanceType": "S2.MEDIUM4",
        "ImageId": "img-pmqg1cw7", "DataDisks": [{"DiskSize": 10, "DeleteWithInstance": False}],
    }  # fmt: skip
    (instance_id,) = bench.plain("cvm", "RunInstances", order)["InstanceIdSet"]
    bench.sim("POST", "clock", advance=10)
    return str(instance_id)


def a_disk(bench: Any) -> str:
    """The id of a disk whose instance has ended."""
    instance_id = a_machine(bench)
    (shown,) = bench.plain("cvm", "DescribeInstances", {"InstanceIds": [instance_id]})["InstanceSet"]
    bench.plain("cvm", "TerminateInstances", {"InstanceIds": [instance_id]})
    bench.sim("POST", "clock", advance=10)
    return str(shown["DataDisks"][0]["DiskId"])


def a_key_pair(bench: Any) -> str:
    """The id of a key pair that no instance uses."""
    return str(bench.plain("cvm", "CreateKeyPair", {"KeyName": "sample", "ProjectId": 0})["KeyPair"]["KeyId"])


def a_timer(bench: Any) -> str:
    """The id of a timer that ends an instance tomorrow."""
    timer = {"TimerAction": "TerminateInstances", "ActionTime": tomorrow(bench)}
    wanted = {"InstanceIds": [a_machine(bench)], "ActionTimer": timer}
    return str(bench.plain("cvm", "ImportInstancesActionTimer", wanted)["ActionTimerIds"][0])


def an_address(bench: Any) -> str:
    """The id of an elastic address."""
    return str(bench.sim("POST", "address")["address"]["id"])


def tomorrow(bench: Any) -> str:
    """A moment to come: those of the samples are over."""
    now = datetime.fromtimestamp(bench.sim("GET", "clock")["now"], UTC)
    return (now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


MADE: Made = (
    (r"\bins-\w+", a_machine),
    (r"\bdisk-[0-9a-z]{8}\b", a_disk),
    (r"\bskey-[0-9a-z]{8}\b", a_key_pair),
    (r"\beip-[0-9a-z]{8}\b", an_address),
    (r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", a_timer),
    (r"\b20\d\d-\d\d-\d\dT[\d:]{8}Z", tomorrow),
)
