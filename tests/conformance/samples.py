"""Replay the vendor's published samples: each request as it is printed, but for names that the world does not have.

The samples come with the vendor's command line and are not copied here. One that asks for what is not simulated must
be refused with a code; every other one must be carried out.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

ACTIONS = (
    "RunInstances", "InquiryPriceRunInstances", "DescribeInstances", "DescribeInstancesStatus",
    "DescribeZoneInstanceConfigInfos", "DescribeInstanceTypeConfigs", "DescribeZones", "DescribeRegions",
    "DescribeImages", "DescribeAccountQuota", "DescribeKeyPairs", "CreateKeyPair",
)  # fmt: skip
#: Names of the samples, and those of the simulator's world.
RENAMED = {
    "ap-shanghai-2": "ap-guangzhou-3", "ap-guangzhou-5": "ap-guangzhou-6", "img-dkwyg6sr": "img-pmqg1cw7",
    "vpc-1urkhbj4": "vpc-gz000001", "subnet-dcs9x3gz": "subnet-gz000003", "S5.16XLARGE256": "S5.MEDIUM4",
    "S5.2XLARGE32": "S5.MEDIUM4", "S3.MEDIUM2": "S5.MEDIUM4", "S2.SMALL1": "S2.MEDIUM4",
}  # fmt: skip
#: What is not simulated.
NOT_PLAYED = re.compile("PREPAID|CDHPAID|HostIds|dedicated-cluster-id")


def replayed(bench: Any) -> Iterator[tuple[str, str]]:
    """Every sample with what was wrong with its answer, or nothing."""
    bench.begin_again()
    bench.sim("POST", "quota", vcpu=100_000, account="100000000001")
    (path,) = bench.tccli.parents[1].glob("lib/python*/site-packages/tccli/services/cvm/v20170312/examples.json")
    examples = json.loads(path.read_text(encoding="utf-8"))["actions"]
    for action in ACTIONS:
        for number, example in enumerate(examples.get(action, ()), 1):
            found = re.search(r"\n\n(\{.*)", example["input"], re.DOTALL)
            if found is not None:
                yield f"sample {action} {number}", replay(bench, action, found[1])


def replay(bench: Any, action: str, text: str) -> str:
    """What was wrong with the answer to a sample, or nothing."""
    for before, after in RENAMED.items():
        text = text.replace(before, after)
    answer = bench.plain("cvm", action, json.loads(text))
    code = answer.get("Error", {}).get("Code", "")
    if NOT_PLAYED.search(text):
        return "" if code else "was carried out, and is not simulated"
    return code
