"""What users write, row by row, and what the API server must make of it; `test_manifests` tries them all.

A row says only what differs from `manifest`: dotted paths below spec, `[0]` for the first of a list, None to leave out.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from e2e.stage import manifest

ZONE = "ap-guangzhou-3"

#: What an object must have before one of its fields can be looked at by itself.
BESIDE: dict[str, Any] = {
    "onDemandFallback": {"maxReplicas": 1},
    "gang": {"minAvailable": 1},
    "onDemandFallback.afterInterruptions": {"count": 2},
    "nodes.taints[0]": {"key": "example.org/spot", "effect": "NoSchedule"},
    "strategy": {"type": "RollingUpdate"},
    "capacity": {"from": "Claims", "maxReplicas": 2},
    "adopt.tag": {"key": "team", "value": "blue"},
    "orphanProtection": {"afterSeconds": 900},
    "market.overrides[0]": {"instanceType": "S5.MEDIUM4", "maxPrice": "1"},
    "template.dataDisks[0]": {"diskSize": 10},
    "template.userDataFrom.secretKeyRef": {"name": "boot", "key": "script"},
    "template.userDataFrom.configMapKeyRef": {"name": "boot", "key": "script"},
}


@dataclass(frozen=True, eq=False)
class Row:
    """`where` is the field that a refusal names, `says` a part of its sentence; both empty for what is accepted."""

    changes: dict[str, Any]
    where: str = ""
    says: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    beside_spec: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def id(self) -> str:
        """Its name, or the changes in short."""
        return self.name or " ".join(_short(path, value) for path, value in self.changes.items())

    @property
    def manifest(self) -> dict[str, Any]:
        """The whole object."""
        whole = manifest("web", ZONE)
        for path, value in self.changes.items():
            put(whole["spec"], path, deepcopy(value))
        whole["metadata"] |= self.metadata
        return whole | self.beside_spec


def _short(path: str, value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"{path}={text if len(text) <= 40 else f'{text[:20]}…{text[-16:]}'}"


def put(spec: dict[str, Any], path: str, value: Any) -> None:
    """Set one field, making the objects and lists it stands in where they are missing."""
    *before, last = re.findall(r"\w+|\[0\]", path)
    place: Any = spec
    for number, step in enumerate(before):
        following = (before[number + 1 :] or [last])[0]
        here = re.sub(r"\.\[", "[", ".".join(before[: number + 1]))
        beside = deepcopy(BESIDE.get(here, [] if following == "[0]" else {}))
        if step == "[0]":
            place[:] = place or [beside]
            place = place[0]
        else:
            place = place.setdefault(step, beside)
    if last == "[0]":
        place[:1] = [value]
    elif value is None:
        place.pop(last, None)
    else:
        place[last] = value


def refused(says: str, *manifests: dict[str, Any], where: str | None = None) -> list[Row]:
    """A row for each of `manifests`, refused with the same sentence; `where` is the one changed field unless given."""
    return [
        Row(changes, f"spec.{where if where is not None else only(changes)}".strip("."), says) for changes in manifests
    ]


def only(changes: dict[str, Any]) -> str:
    """The one field that is changed."""
    (path,) = changes
    return path


def outside(path: str, value: Any, says: str) -> Row:
    """A row for a value one step outside what the schema bounds."""
    return Row({path: value}, f"spec.{path}", says)


def without(path: str) -> Row:
    """A row for a required field that is left out."""
    return Row({path: None}, f"spec.{path}", "Required value")


def long(prefix: str, length: int) -> str:
    """An id or name of exactly that length."""
    return prefix + "1" * (length - len(prefix))


#: What lets work decide how many instances there are.
CLAIMED = {"from": "Claims", "maxReplicas": 2}


def claims(most: int, begins: str, idle: int, cpu: int, memory: int) -> dict[str, Any]:
    """The part of a spec that lets work decide, with every field."""
    reserved = {"cpuMillis": cpu, "memoryMiB": memory}
    return {"from": "Claims", "maxReplicas": most, "minAvailable": begins, "idleSeconds": idle, "reserved": reserved}


#: Access through a bandwidth package.
PACKAGE = {"internetChargeType": "BANDWIDTH_PACKAGE", "internetMaxBandwidthOut": 5}


def types(count: int, length: int = 9) -> list[str]:
    """So many instance types, all different."""
    return [f"S{number:03}.{'M' * (length - 5)}" for number in range(count)]


def key_of(name: str, key: str = "script") -> dict[str, str]:
    return {"name": name, "key": key}


REQUIREMENTS: dict[str, Any] = {
    "instanceTypes": None,
    "instanceRequirements": {"cpu": {"min": 2}},
    "market.allocationStrategy": "LowestPrice",
}

# --- refused: bounds -------------------------------------------------------------------------------------------------

#: One step outside each bound.
OUTSIDE = [
    outside("region", long("ap-", 65), "may not be more than 64"),
    outside("replicas", -1, "greater than or equal to 0"),
    outside("replicas", 2001, "less than or equal to 2000"),
    outside("capacityUnit", "GiB", '"Instance", "vCPU"'),
    outside("requestPolicy", "Sometimes", '"Persistent", "OneTime"'),
    outside("onStop", "Restart", '"Replace", "Release"'),
    outside("maxAttempts", 0, "greater than or equal to 1"),
    outside("maxAttempts", 101, "less than or equal to 100"),
    outside("deletionPolicy", "Orphan", '"Delete", "Retain"'),
    outside("placements", [], "at least 1 item"),
    outside("placements", [{"zone": f"ap-guangzhou-{number}"} for number in range(21)], "at most 20 items"),
    outside("placements[0].zone", long("ap-guangzhou-", 65), "may not be more than 64"),
    outside("placements[0].vpcId", long("vpc-", 65), "may not be more than 64"),
    outside("placements[0].subnetId", long("subnet-", 65), "may not be more than 64"),
    outside("instanceTypes", types(11), "at most 10 items"),
    outside("instanceTypes[0]", types(1, 33)[0], "may not be more than 32"),
    outside("instanceRequirements.cpu.min", -1, "greater than or equal to 0"),
    outside("instanceRequirements.cpu.min", 100_001, "less than or equal to 100000"),
    outside("instanceRequirements.cpu.max", -1, "greater than or equal to 0"),
    outside("instanceRequirements.cpu.max", 100_001, "less than or equal to 100000"),
    outside("instanceRequirements.memoryGiB.min", -1, "greater than or equal to 0"),
    outside("instanceRequirements.memoryGiB.min", 100_001, "less than or equal to 100000"),
    outside("instanceRequirements.memoryGiB.max", -1, "greater than or equal to 0"),
    outside("instanceRequirements.memoryGiB.max", 100_001, "less than or equal to 100000"),
    outside("instanceRequirements.gpu.min", -1, "greater than or equal to 0"),
    outside("instanceRequirements.gpu.min", 100_001, "less than or equal to 100000"),
    outside("instanceRequirements.gpu.max", -1, "greater than or equal to 0"),
    outside("instanceRequirements.gpu.max", 100_001, "less than or equal to 100000"),
    outside("instanceRequirements.families", types(21, 6), "at most 20 items"),
    outside("instanceRequirements.families[0]", long("S", 17), "may not be more than 16"),
    outside("instanceRequirements.excludedTypes", types(51), "at most 50 items"),
    outside("instanceRequirements.excludedTypes[0]", types(1, 33)[0], "may not be more than 32"),
    outside("market.maxPrice", long("0.", 33), "may not be more than 32"),
    outside("market.maxPricePercentOfOnDemand", 0, "greater than or equal to 1"),
    outside("market.maxPricePercentOfOnDemand", 101, "less than or equal to 100"),
    outside(
        "market.overrides", [{"instanceType": one, "maxPrice": "1"} for one in types(21)], "must have at most 20 items"
    ),
    outside("market.overrides[0].instanceType", types(1, 33)[0], "may not be more than 32"),
    outside("market.overrides[0].maxPrice", long("0.", 33), "may not be more than 32"),
    outside("market.allocationStrategy", "Best", '"PriceCapacityOptimized"'),
    outside("market.zonePolicy", "balanced", '"Ranked", "Balanced"'),
    outside("market.maxSharePerPool", 0, "greater than or equal to 1"),
    outside("market.maxSharePerPool", 101, "less than or equal to 100"),
    outside("limits.maxHourlyCost", long("0.", 33), "may not be more than 32"),
    outside("onDemandFallback.afterSeconds", -1, "greater than or equal to 0"),
    outside("onDemandFallback.afterSeconds", 86_401, "less than or equal to 86400"),
    outside("onDemandFallback.maxReplicas", -1, "greater than or equal to 0"),
    outside("onDemandFallback.maxReplicas", 2001, "less than or equal to 2000"),
    outside("onDemandFallback.maxHourlyCost", long("0.", 33), "may not be more than 32"),
    outside("onDemandFallback.stableForSeconds", 59, "greater than or equal to 60"),
    outside("onDemandFallback.stableForSeconds", 86_401, "less than or equal to 86400"),
    outside("onDemandFallback.deadline", f"2026-12-24T18:00:00.{'0' * 20}Z", "may not be more than 40"),
    outside("onDemandFallback.deadline", "tomorrow", "date-time"),
    outside("gang.minAvailable", 0, "greater than or equal to 1"),
    outside("gang.minAvailable", 2001, "less than or equal to 2000"),
    outside("limits.maxReplicas", 0, "greater than or equal to 1"),
    outside("limits.maxReplicas", 2001, "less than or equal to 2000"),
    outside("limits.maxVcpu", 0, "greater than or equal to 1"),
    outside("limits.maxVcpu", 1_000_001, "less than or equal to 1000000"),
    outside("onDemandFallback.afterInterruptions.count", 0, "greater than or equal to 1"),
    outside("onDemandFallback.afterInterruptions.count", 101, "less than or equal to 100"),
    outside("onDemandFallback.afterInterruptions.withinSeconds", 59, "greater than or equal to 60"),
    outside("onDemandFallback.afterInterruptions.withinSeconds", 86_401, "less than or equal to 86400"),
    without("onDemandFallback.afterInterruptions.count"),
    outside("adopt.instanceIds", [f"ins-{number:08d}" for number in range(501)], "at most 500 items"),
    outside("adopt.instanceIds[0]", long("ins-", 65), "may not be more than 64"),
    outside("adopt.tag.key", "", "at least 1"),
    outside("adopt.tag.key", "k" * 128, "may not be more than 127"),
    outside("adopt.tag.value", "", "at least 1"),
    outside("adopt.tag.value", "v" * 128, "may not be more than 127"),
    without("adopt.tag.key"),
    without("adopt.tag.value"),
    outside("scaleIn.order", "Oldest", '"OldestFirst"'),
    outside("onDemand.base", -1, "greater than or equal to 0"),
    outside("onDemand.base", 2001, "less than or equal to 2000"),
    outside("onDemand.percentageAboveBase", -1, "greater than or equal to 0"),
    outside("onDemand.percentageAboveBase", 101, "less than or equal to 100"),
    outside("nodes.nameFrom", "Hostname", '"PrivateIP"'),
    outside("nodes.labels", {f"example.org/key-{number}": "x" for number in range(21)}, "at most 20 items"),
    outside("nodes.labels", {"team": "v" * 64}, "may not be more than 63"),
    outside(
        "nodes.taints", [{"key": f"k{number}", "effect": "NoSchedule"} for number in range(11)], "at most 10 items"
    ),
    outside("nodes.taints[0].key", "k" * 318, "may not be more than 317"),
    outside("nodes.taints[0].value", "v" * 64, "may not be more than 63"),
    outside("nodes.taints[0].effect", "Never", '"NoExecute"'),
    without("nodes.taints[0].key"),
    without("nodes.taints[0].effect"),
    outside("nodes.podsOfLostNodes", "Delete", '"Leave"'),
    outside("nodes.drain.timeoutSeconds", -1, "greater than or equal to 0"),
    outside("nodes.drain.timeoutSeconds", 86_401, "less than or equal to 86400"),
    outside("capacity.from", "Pods", '"Claims"'),
    outside("capacity.maxReplicas", 0, "greater than or equal to 1"),
    outside("capacity.maxReplicas", 2001, "less than or equal to 2000"),
    outside("capacity.minAvailable", "Most", '"Any"'),
    outside("capacity.idleSeconds", -1, "greater than or equal to 0"),
    outside("capacity.idleSeconds", 86_401, "less than or equal to 86400"),
    outside("capacity.reserved.cpuMillis", -1, "greater than or equal to 0"),
    outside("capacity.reserved.cpuMillis", 1_000_001, "less than or equal to 1000000"),
    outside("capacity.reserved.memoryMiB", -1, "greater than or equal to 0"),
    outside("capacity.reserved.memoryMiB", 10_000_001, "less than or equal to 10000000"),
    without("capacity.from"),
    without("capacity.maxReplicas"),
    outside("strategy.type", "Recreate", '"RollingUpdate"'),
    outside("strategy.maxSurge", -1, "greater than or equal to 0"),
    outside("strategy.maxSurge", 101, "less than or equal to 100"),
    outside("strategy.maxUnavailable", -1, "greater than or equal to 0"),
    outside("strategy.maxUnavailable", 101, "less than or equal to 100"),
    outside("strategy.pauseSeconds", -1, "greater than or equal to 0"),
    outside("strategy.pauseSeconds", 86_401, "less than or equal to 86400"),
    outside("expiresAt", f"2026-12-24T18:00:00.{'0' * 20}Z", "may not be more than 40"),
    outside("expiresAt", "tomorrow", "date-time"),
    outside("ttlSeconds", 59, "greater than or equal to 60"),
    outside("ttlSeconds", 315360001, "less than or equal to 315360000"),
    outside("orphanProtection.afterSeconds", 899, "greater than or equal to 900"),
    outside("orphanProtection.afterSeconds", 2_592_001, "less than or equal to 2592000"),
    without("orphanProtection.afterSeconds"),
    outside("maxAgeSeconds", 599, "greater than or equal to 600"),
    outside("maxAgeSeconds", 315360001, "less than or equal to 315360000"),
    outside("gang.holdSeconds", -1, "greater than or equal to 0"),
    outside("gang.holdSeconds", 86_401, "less than or equal to 86400"),
    outside("template.imageId", long("img-", 65), "may not be more than 64"),
    outside("template.instanceName", "", "at least 1 chars"),
    outside("template.instanceName", "w" * 33, "may not be more than 32"),
    outside("template.hostName", "", "at least 1 chars"),
    outside("template.hostName", "h" * 33, "may not be more than 32"),
    outside("template.systemDisk.diskType", "FLOPPY", '"CLOUD_PREMIUM"'),
    outside("template.systemDisk.diskSize", 19, "greater than or equal to 20"),
    outside("template.systemDisk.diskSize", 2049, "less than or equal to 2048"),
    outside("template.dataDisks", [{"diskSize": 10}] * 21, "at most 20 items"),
    outside("template.dataDisks[0].diskType", "cloud_premium", '"CLOUD_PREMIUM"'),
    outside("template.dataDisks[0].diskSize", 0, "greater than or equal to 10"),
    outside("template.dataDisks[0].diskSize", 32_010, "less than or equal to 32000"),
    outside("template.dataDisks[0].diskSize", 15, "multiple of 10"),
    outside("template.dataDisks[0].snapshotId", long("snap-", 65), "may not be more than 64"),
    outside("template.securityGroupIds", [f"sg-{number}" for number in range(11)], "at most 10 items"),
    outside("template.securityGroupIds[0]", long("sg-", 65), "may not be more than 64"),
    outside("template.loginSettings.keyIds", [f"skey-{number}" for number in range(6)], "at most 5 items"),
    outside("template.loginSettings.keyIds[0]", long("skey-", 65), "may not be more than 64"),
    outside("template.userData", "x" * 65_537, "may not be more than 65536"),
    outside("template.userDataFrom.secretKeyRef", key_of(""), "at least 1 chars"),
    outside("template.userDataFrom.secretKeyRef", key_of("Boot_1"), "must be the name of an object of this namespace"),
    outside("template.userDataFrom.secretKeyRef", key_of("n" * 254), "may not be more than 253"),
    outside("template.userDataFrom.secretKeyRef", key_of("boot", ""), "at least 1 chars"),
    outside("template.userDataFrom.secretKeyRef", key_of("boot", "k" * 254), "may not be more than 253"),
    outside("template.userDataFrom.configMapKeyRef", key_of(""), "at least 1 chars"),
    outside(
        "template.userDataFrom.configMapKeyRef", key_of("Boot_1"), "must be the name of an object of this namespace"
    ),
    outside("template.userDataFrom.configMapKeyRef", key_of("n" * 254), "may not be more than 253"),
    outside("template.userDataFrom.configMapKeyRef", key_of("boot", ""), "at least 1 chars"),
    outside("template.userDataFrom.configMapKeyRef", key_of("boot", "k" * 254), "may not be more than 253"),
    outside("template.internetAccessible.internetChargeType", "BANDWIDTH_PREPAID", '"TRAFFIC_POSTPAID_BY_HOUR"'),
    outside("template.internetAccessible.internetMaxBandwidthOut", -1, "greater than or equal to 0"),
    outside("template.internetAccessible.internetMaxBandwidthOut", 2001, "less than or equal to 2000"),
    outside("template.projectId", -1, "greater than or equal to 0"),
    outside("template.projectId", 2**31, "less than or equal to 2147483647"),
    outside("template.camRoleName", "", "at least 1 chars"),
    outside("template.camRoleName", "r" * 129, "may not be more than 128"),
    outside("template.hpcClusterId", long("hpc-", 65), "may not be more than 64"),
    outside("template.disasterRecoverGroupIds", ["ps-1", "ps-2"], "at most 1 item"),
    outside("template.disasterRecoverGroupIds[0]", long("ps-", 65), "may not be more than 64"),
    outside("template.systemDisk", {"kmsKeyId": "", "encrypt": True}, "at least 1 chars"),
    outside("template.systemDisk", {"kmsKeyId": "k" * 65, "encrypt": True}, "may not be more than 64"),
    outside("template.dataDisks", [{"diskSize": 10, "kmsKeyId": "", "encrypt": True}], "at least 1 chars"),
    outside("template.dataDisks", [{"diskSize": 10, "kmsKeyId": "k" * 65, "encrypt": True}], "may not be more than 64"),
    outside("template.dataDisks", [{"diskSize": 10, "throughputPerformance": -1}], "greater than or equal to 0"),
    outside("template.dataDisks", [{"diskSize": 10, "throughputPerformance": 1001}], "less than or equal to 1000"),
    outside(
        "template.internetAccessible", PACKAGE | {"bandwidthPackageId": long("bwp-", 65)}, "may not be more than 64"
    ),
    outside("template.privateIpAddresses", ["10.0.0.5", "10.0.0.6"], "at most 1 item"),
    outside("template.privateIpAddresses[0]", "10.0.0.5" * 2, "may not be more than 15"),
    outside("template.ipv6AddressCount", -1, "greater than or equal to 0"),
    outside("template.ipv6AddressCount", 11, "less than or equal to 10"),
    outside("template.metadata", {f"key{number}": "value" for number in range(11)}, "at most 10 items"),
    outside("template.metadata.team", "", "at least 1 chars"),
    outside("template.metadata.team", "v" * 257, "may not be more than 256"),
    outside("template.tags", {f"key{number}": "value" for number in range(11)}, "at most 10 items"),
    outside("template.tags.team", "v" * 128, "may not be more than 127"),
    outside("credentialsSecretRef.name", "", "at least 1 chars"),
    outside("credentialsSecretRef.name", "a%2fb", "must be the name of an object of this namespace"),
    outside("credentialsSecretRef.name", "../boot", "must be the name of an object of this namespace"),
    outside("credentialsSecretRef.name", "n" * 254, "may not be more than 253"),
    outside("roleArn", "qcs::cam::uin/1:roleName/" + "r" * 160, "may not be more than 184"),
    *refused(
        "must name a CAM role by its account and name",
        {"roleArn": ""},
        {"roleArn": "spot-operator"},
        {"roleArn": "qcs::cam::uin/1:roleName/"},
        {"roleArn": "qcs::cam::uin/me:roleName/spot-operator"},
        {"roleArn": "qcs::cam::uin/1:policyName/spot-operator"},
    ),
    Row(
        {"roleArn": "qcs::cam::uin/1:role/2", "credentialsSecretRef": None},
        "spec",
        "a role is taken with the key of a Secret",
    ),
]

MISSING = [
    without("region"),
    without("placements"),
    without("placements[0].zone"),
    without("market.overrides[0].instanceType"),
    without("market.overrides[0].maxPrice"),
    without("onDemandFallback.maxReplicas"),
    without("gang.minAvailable"),
    without("template"),
    without("template.imageId"),
    without("template.dataDisks[0].diskSize"),
    without("template.userDataFrom.secretKeyRef.name"),
    without("template.userDataFrom.secretKeyRef.key"),
    without("template.userDataFrom.configMapKeyRef.name"),
    without("template.userDataFrom.configMapKeyRef.key"),
    without("credentialsSecretRef.name"),
]

# --- refused: rules --------------------------------------------------------------------------------------------------

NET = {"vpcId": "vpc-1", "subnetId": "subnet-1"}
WEB = {"zone": ZONE}
PRICES = ("0", "0.0000", "-1", "cheap", "1e-3", "0,09", "0.123456789", "1000000", "$0.09", ".5", "1.", " 1", "")
SHARED = {"market.maxSharePerPool": 50, "instanceTypes": types(2)}

RULES = [
    *refused(
        "region name such as ap-guangzhou", {"region": "moon"}, {"region": "a.evil.example"}, {"region": "AP-moon"}
    ),
    *refused(
        "must belong to the region",
        {"placements[0].zone": "ap-shanghai-2"},
        {"placements[0].zone": "ap-guangzhou2-1"},
        {"placements[0].zone": "ap-guangzhou"},
        where="",
    ),
    *refused(
        "placements of one zone need different subnets",
        {"placements": [WEB, WEB]},
        {"placements": [WEB, WEB | NET]},
        {"placements": [WEB | NET, WEB | NET]},
        where="placements",
    ),
    *refused(
        "vpcId and subnetId go together",
        {"placements[0].subnetId": "subnet-1"},
        {"placements[0].vpcId": "vpc-1"},
        where="placements[0]",
    ),
    *refused(
        "the id of a VPC",
        {"placements": [WEB | {"vpcId": "vpc1", "subnetId": "subnet-1"}]},
        where="placements[0].vpcId",
    ),
    *refused(
        "the id of a subnet",
        {"placements": [WEB | {"vpcId": "vpc-1", "subnetId": "net-1"}]},
        where="placements[0].subnetId",
    ),
    *refused(
        "give either instanceTypes or instanceRequirements",
        {"instanceTypes": []},
        {"instanceTypes": None},
        REQUIREMENTS | {"instanceTypes": ["S5.MEDIUM4"]},
        where="",
    ),
    *refused(
        "must look like S5.MEDIUM4",
        {"instanceTypes": ["S5.MEDIUM4", "big"]},
        {"instanceTypes": ["s5.medium4"]},
        {"instanceTypes": ["S5.MEDIUM4 "]},
    ),
    *refused("remove the duplicate", {"instanceTypes": ["S5.MEDIUM4", "S2.MEDIUM4", "S5.MEDIUM4"]}),
    *refused(
        "name no order to prioritize by",
        REQUIREMENTS | {"market.allocationStrategy": "Prioritized"},
        REQUIREMENTS | {"market.allocationStrategy": None},
        where="",
    ),
    *(
        row
        for what in ("cpu", "memoryGiB", "gpu")
        for row in refused(
            "min must not be above max",
            REQUIREMENTS | {f"instanceRequirements.{what}": {"min": 1, "max": 0}},
            where=f"instanceRequirements.{what}",
        )
    ),
    *refused("must be a positive decimal number", *({"market.maxPrice": price} for price in PRICES)),
    *refused("must be a positive decimal number", {"market.overrides[0].maxPrice": "0.0"}),
    *refused("must be a positive decimal number", {"limits.maxHourlyCost": "0"}),
    *refused("must be a positive decimal number", {"onDemandFallback.maxHourlyCost": "0"}),
    *refused("Duplicate value", {"market.overrides": [{"instanceType": "S5.MEDIUM4", "maxPrice": "1"}] * 2}),
    *refused(
        "raise it, or add placements or types",
        {"market.maxSharePerPool": 99},
        SHARED | {"market.maxSharePerPool": 49},
        where="",
    ),
    *refused(
        "lower it, or raise replicas", {"gang.minAvailable": 3}, {"gang.minAvailable": 2, "replicas": 1}, where=""
    ),
    *refused(
        "gang and onDemandFallback exclude each other",
        {"gang.minAvailable": 2, "onDemandFallback.maxReplicas": 2},
        where="",
    ),
    *refused(
        "onDemand makes several launches",
        {"onDemand.base": 1, "gang.minAvailable": 2},
        {"onDemand.percentageAboveBase": 10, "requestPolicy": "OneTime"},
        where="",
    ),
    *refused(
        "or use Persistent",
        {"requestPolicy": "OneTime", "onDemandFallback.maxReplicas": 2},
        {"requestPolicy": "OneTime", "gang.minAvailable": 2},
        {"requestPolicy": "OneTime"} | SHARED,
        where="",
    ),
    *refused(
        "the id of an image, such as img-",
        {"template.imageId": "ubuntu"},
        {"template.imageId": "img-ABC"},
        {"template.imageId": "img-"},
    ),
    *refused(
        "CVM would expand a pattern",
        {"template.instanceName": "web{R:1}"},
        {"template.instanceName": "}"},
        {"template.hostName": "h{IP}"},
    ),
    *refused(
        "must start and end with a letter or digit",
        {"template.instanceName": "web:1"},
        {"template.instanceName": "-web"},
        {"template.instanceName": "web_"},
        {"template.instanceName": "机器"},
        {"template.hostName": "web."},
        {"template.hostName": "a b"},
    ),
    *refused("the id of a snapshot", {"template.dataDisks[0].snapshotId": "x"}),
    *refused("the id of a security group", {"template.securityGroupIds[0]": "default"}),
    *refused("the id of a key pair", {"template.loginSettings.keyIds[0]": "mine"}),
    *refused(
        "keyIds and keepImageLogin exclude each other",
        {"template.loginSettings": {"keyIds": ["skey-1"], "keepImageLogin": True}},
    ),
    *refused("at most 16 KiB", {"template.userData": "x" * 16_385}, {"template.userData": "ü" * 8193}),
    *refused(
        "userData and userDataFrom exclude each other",
        {"template.userData": "x", "template.userDataFrom.secretKeyRef": key_of("boot")},
        where="template",
    ),
    *refused(
        "give exactly one of",
        {"template.userDataFrom": {"secretKeyRef": key_of("a"), "configMapKeyRef": key_of("b")}},
        {"template.userDataFrom": {}},
    ),
    *refused(
        "the name of a CAM role",
        {"template.camRoleName": "<script>"},
        {"template.camRoleName": "qcs::cam::uin/1:roleName/a"},
    ),
    *refused(
        "must look like ins-1a2b3c4d", {"adopt.instanceIds": ["ins-1A"]}, {"adopt.instanceIds": ["disk-1a2b3c4d"]}
    ),
    *refused("only spotcompute-retained can be given", {"adopt.tag.key": "spotcompute-environment"}, where="adopt"),
    *refused("such as hpc-1a2b", {"template.hpcClusterId": "../x"}, {"template.hpcClusterId": "ps-1"}),
    *refused("such as ps-1a2b", {"template.disasterRecoverGroupIds[0]": "x y"}),
    *refused(
        "tag keys must be at most 127 characters",
        {"template.tags": {"a,b": "c"}},
        {"template.tags": {"k" * 128: "c"}},
        {"template.tags": {"": "c"}},
    ),
    *refused(
        "choose another key",
        {"template.tags": {"spotcompute-cluster": "x"}},
        {"template.tags": {"managed-by": "me"}},
        {"template.tags": {"qcloud-x": "x"}},
        {"template.tags": {"tencent": "x"}},
        {"template.tags": {"projectId": "x"}},
    ),
    *refused("tag values must not be empty", {"template.tags": {"a": ""}}, {"template.tags": {"a": "b,c"}}),
    *refused(
        "kmsKeyId needs encrypt",
        {"template.systemDisk": {"kmsKeyId": "k"}},
        {"template.systemDisk": {"kmsKeyId": "k", "encrypt": False}},
    ),
    *refused(
        "kmsKeyId needs encrypt",
        {"template.dataDisks": [{"diskSize": 10, "kmsKeyId": "k"}]},
        where="template.dataDisks[0]",
    ),
    *refused(
        "such as bwp-1a2b",
        {"template.internetAccessible": PACKAGE | {"bandwidthPackageId": "package-1"}},
        where="template.internetAccessible.bandwidthPackageId",
    ),
    *refused("set bandwidthPackageId to its id", {"template.internetAccessible": PACKAGE}),
    *refused(
        "bandwidthPackageId needs internetChargeType",
        {"template.internetAccessible": {"bandwidthPackageId": "bwp-1"}},
    ),
    *refused(
        "its instances are not replaced one after the other",
        {"gang": {"minAvailable": 1}, "strategy": {"type": "RollingUpdate"}},
        {"gang": {"minAvailable": 1}, "maxAgeSeconds": 600},
        where="",
    ),
    *refused(
        "requestPolicy OneTime replaces nothing",
        {"requestPolicy": "OneTime", "strategy": {"type": "RollingUpdate"}},
        {"requestPolicy": "OneTime", "maxAgeSeconds": 600},
        where="",
    ),
    *refused(
        "onStop Release is for work that is done once",
        {"onStop": "Release"},
        {"onStop": "Release", "requestPolicy": "Persistent", "maxAttempts": 3},
        where="",
    ),
    *refused(
        "which is done with onStop Release alone",
        {"maxAttempts": 3},
        {"maxAttempts": 3, "requestPolicy": "OneTime"},
        {"maxAttempts": 3, "requestPolicy": "OneTime", "onStop": "Replace"},
        where="",
    ),
    *refused(
        "leaves open how many instances there are",
        {"capacityUnit": "vCPU", "gang": {"minAvailable": 1}},
        {"capacityUnit": "vCPU", "requestPolicy": "OneTime"},
        {"capacityUnit": "vCPU", "template.privateIpAddresses": ["10.0.0.9"]},
        where="",
    ),
    *refused("add nodes, or remove capacity", {"capacity": CLAIMED}, where=""),
    *refused("and remove gang", {"nodes": {}, "capacity": CLAIMED, "gang": {"minAvailable": 1}}, where=""),
    *refused(
        "asks once, and claims come at any time",
        {"nodes": {}, "capacity": CLAIMED, "requestPolicy": "OneTime"},
        where="",
    ),
    *refused(
        "capacity.maxReplicas is above limits.maxReplicas",
        {"nodes": {}, "capacity": CLAIMED, "limits.maxReplicas": 1},
        where="",
    ),
    *refused(
        "or set capacity.maxReplicas to 1",
        {"nodes": {}, "capacity": CLAIMED, "replicas": None, "template.privateIpAddresses": ["10.0.0.7"]},
        where="",
    ),
    *refused(
        "gang.minAvailable is above limits.maxReplicas", {"gang.minAvailable": 2, "limits.maxReplicas": 1}, where=""
    ),
    *refused(
        "are not yours to set",
        {"nodes.labels": {"kubernetes.io/os": "x"}},
        {"nodes.labels": {"node-restriction.kubernetes.io/team": "x"}},
        {"nodes.labels": {"spotcompute.dev/environment": "x"}},
    ),
    *refused("every key must be a label key", {"nodes.labels": {"a b": "x"}}),
    *refused("must be a label value", {"nodes.labels": {"team": "a b"}}, where="nodes.labels[team]"),
    *refused("must be a label value", {"nodes.taints[0].value": "a b"}),
    *refused("must be a label key", {"nodes.taints[0].key": "a b"}),
    *refused("belong to type RollingUpdate", {"strategy": {"type": "OnDelete", "maxSurge": 2}}, where=""),
    *refused(
        "no second one can be launched before",
        {"template.privateIpAddresses": ["10.0.0.9"], "strategy": {"type": "RollingUpdate"}},
        {"template.privateIpAddresses": ["10.0.0.9"], "maxAgeSeconds": 600},
        where="",
    ),
    *refused("nothing could ever be replaced", {"strategy": {"type": "RollingUpdate", "maxSurge": 0}}),
    *refused(
        "both say when the environment expires",
        {"expiresAt": "2026-12-24T18:00:00Z", "ttlSeconds": 3600},
        where="",
    ),
    *refused(
        "ends instances that no operator looks after",
        {"orphanProtection": {"afterSeconds": 900}, "deletionPolicy": "Retain"},
        where="",
    ),
    *refused("must be an IPv4 address", {"template.privateIpAddresses[0]": "10.0.0.256"}),
    *refused("metadata keys must be", {"template.metadata": {"a b": "c"}}),
    *refused(
        "names the address of one instance",
        {"template.privateIpAddresses": ["10.0.0.5"], "replicas": 2},
        where="",
    ),
]

# --- refused: shape --------------------------------------------------------------------------------------------------

TYPES = [
    *refused("must be of type integer", {"replicas": "three"}, {"replicas": 2.5}, {"template.projectId": "0"}),
    *refused(
        "must be of type string", {"market.maxPrice": 0.09}, {"template.tags.team": 7}, {"region": ["ap-guangzhou"]}
    ),
    *refused("must be of type boolean", {"paused": "yes"}, {"template.loginSettings.keepImageLogin": "true"}),
    *refused("must be of type array", {"placements": ZONE}, {"instanceTypes": "S5.MEDIUM4,S2.MEDIUM4"}),
    *refused("must be of type object", {"template": "small"}, {"credentialsSecretRef": "tencent"}),
]

UNKNOWN = [
    *refused(
        "unknown field",
        {"replica": 1},
        {"InstanceCount": 1},
        {"market.maxprice": "1"},
        {"template.imageID": "img-1"},
        {"template.loginSettings.password": "x"},
        {"placements[0].subnetID": "subnet-1"},
        {"credentialsSecretRef.namespace": "elsewhere"},
    ),
    Row({}, "specs", "unknown field", beside_spec={"specs": {}}, name="beside spec"),
    Row({}, "metadata.lables", "unknown field", metadata={"lables": {}}, name="in metadata"),
    Row({}, "status.state", "unknown field", beside_spec={"status": {"state": "Ready"}}, name="in status"),
]

NAMES = [
    Row({}, "", "metadata.name must be at most 63 characters", metadata={"name": "x" * 64}, name="name of 64"),
    Row({}, "metadata.name", "lowercase RFC 1123 subdomain", metadata={"name": "Web"}, name="name in capitals"),
    Row({}, "metadata.name", "must be no more than 253", metadata={"name": "x" * 254}, name="name of 254"),
    Row({}, "metadata.labels", "a valid label must be", metadata={"labels": {"team": "a b"}}, name="label"),
]

REFUSED = [*OUTSIDE, *MISSING, *RULES, *TYPES, *UNKNOWN, *NAMES]

# --- accepted --------------------------------------------------------------------------------------------------------


def accepted(**changes: Any) -> Row:
    """A row for what must pass; `__` stands for a dot."""
    return Row({path.replace("__", "."): value for path, value in changes.items()})


CLOUD_DISKS = ("BASIC", "SSD", "PREMIUM", "BSSD", "HSSD", "TSSD")
FALLBACK = {"afterSeconds": 0, "maxReplicas": 0, "stableForSeconds": 60}

#: Every bounded field exactly at its bounds; several manifests, since some fields exclude others.
AT_THE_BOUNDS = [
    Row(
        {
            "replicas": 0,
            "instanceTypes": types(10, 32),
            "placements": [{"zone": f"ap-guangzhou-{number}"} for number in range(20)],
            "market": {"maxPricePercentOfOnDemand": 1, "maxSharePerPool": 1},
            "gang": {"minAvailable": 1, "holdSeconds": 0},
            "template.instanceName": "w",
            "template.hostName": "h",
            "template.systemDisk.diskSize": 20,
            "template.dataDisks": [{"diskSize": 10}],
            "template.userDataFrom.secretKeyRef": key_of("n", "k"),
            "template.internetAccessible.internetMaxBandwidthOut": 0,
            "template.projectId": 0,
            "template.camRoleName": "r",
            "credentialsSecretRef.name": "n",
            "roleArn": "qcs::cam::uin/1:role/1",
        },
        name="as little as can be",
    ),
    Row(
        {"replicas": 1, "onDemandFallback": FALLBACK, "template.userDataFrom.configMapKeyRef": key_of("n", "k")}
        | REQUIREMENTS
        | {f"instanceRequirements.{what}": {"min": 0, "max": 0} for what in ("cpu", "memoryGiB", "gpu")},
        name="as little as can be of requirements",
    ),
    Row(
        {
            "region": (region := long("ap-x-", 62)),
            "replicas": 2000,
            "placements": [{"zone": f"{region}-1", "vpcId": long("vpc-", 64), "subnetId": long("subnet-", 64)}],
            "market": {
                "maxPrice": "999999.99999999",
                "maxPricePercentOfOnDemand": 100,
                "maxSharePerPool": 100,
                "overrides": [{"instanceType": one, "maxPrice": "0.00000001"} for one in types(20, 32)],
            },
            "limits.maxHourlyCost": "999999",
            "gang": {"minAvailable": 2000, "holdSeconds": 86_400},
            "template": {
                "imageId": long("img-", 64),
                "instanceName": "w" * 32,
                "hostName": "h" * 32,
                "systemDisk": {"diskType": "CLOUD_TSSD", "diskSize": 2048},
                "dataDisks": [{"diskSize": 32_000, "snapshotId": long("snap-", 64)}] * 20,
                "securityGroupIds": [long(f"sg-{number}", 64) for number in range(10)],
                "loginSettings": {"keyIds": [long(f"skey-{number}", 64) for number in range(5)]},
                "userData": "ü" * 8192,
                "internetAccessible": {"internetMaxBandwidthOut": 2000},
                "projectId": 2**31 - 1,
                "camRoleName": "r" * 128,
                "hpcClusterId": long("hpc-", 64),
                "disasterRecoverGroupIds": [long("ps-", 64)],
                "tags": {long(f"key{number}", 127): "v" * 127 for number in range(10)},
            },
            "credentialsSecretRef.name": "n" * 253,
            "roleArn": "qcs::cam::uin/" + "1" * 32 + ":roleName/" + "r" * 128,
        },
        metadata={"name": "x" * 63},
        name="as much as can be",
    ),
    Row(
        {
            "instanceTypes": None,
            "instanceRequirements": {what: {"min": 100_000, "max": 100_000} for what in ("cpu", "memoryGiB", "gpu")}
            | {"families": types(20, 16), "excludedTypes": types(50, 32)},
            "market.allocationStrategy": "PriceCapacityOptimized",
            "onDemandFallback": {
                "afterSeconds": 86_400,
                "maxReplicas": 2000,
                "maxHourlyCost": "0.5",
                "stableForSeconds": 86_400,
                "deadline": f"2026-12-24T18:00:00.{'0' * 14}+00:00",
            },
            "template.userDataFrom.secretKeyRef": key_of("n" * 253, "k" * 253),
        },
        name="as much as can be of requirements",
    ),
    accepted(template__userDataFrom__configMapKeyRef=key_of("n" * 253, "k" * 253)),
]

#: Every value of every enumeration.
AT_THE_BOUNDS += [
    *(accepted(nodes__drain={"timeoutSeconds": seconds}) for seconds in (0, 86_400)),
    Row({"nodes": {}, "capacity": claims(1, "All", 0, 0, 0)}, name="the least of claims"),
    Row({"nodes": {}, "capacity": claims(2000, "Any", 86_400, 1_000_000, 10_000_000)}, name="the most of claims"),
]

ONE_OF = [
    *(accepted(requestPolicy=value) for value in ("Persistent", "OneTime")),
    *(accepted(deletionPolicy=value) for value in ("Delete", "Retain")),
    accepted(adopt={"instanceIds": [long("ins-", 64)], "tag": {"key": "k", "value": "x" * 127}}),
    accepted(adopt={"instanceIds": [f"ins-{number:08d}" for number in range(500)]}),
    accepted(adopt={"tag": {"key": "k" * 127, "value": "v"}}),
    accepted(adopt={"tag": {"key": "spotcompute-retained", "value": "default@web"}}),
    *(
        accepted(market__allocationStrategy=value)
        for value in ("Prioritized", "LowestPrice", "CapacityOptimized", "PriceCapacityOptimized")
    ),
    *(accepted(market__zonePolicy=value) for value in ("Ranked", "Balanced")),
    *(accepted(scaleIn__order=value) for value in ("CostliestFirst", "OldestFirst", "NewestFirst")),
    *(accepted(nodes__nameFrom=value) for value in ("InstanceID", "PrivateIP")),
    *(accepted(nodes__podsOfLostNodes=value) for value in ("Fail", "Leave")),
    *(
        accepted(nodes__taints=[{"key": "example.org/spot", "effect": value}])
        for value in ("NoSchedule", "PreferNoSchedule", "NoExecute")
    ),
    *(accepted(strategy={"type": value}) for value in ("OnDelete", "RollingUpdate")),
    *(
        accepted(template__systemDisk__diskType=value, template__dataDisks=[{"diskSize": 10, "diskType": value}])
        for value in ("LOCAL_BASIC", "LOCAL_SSD", *(f"CLOUD_{kind}" for kind in CLOUD_DISKS))
    ),
    *(
        accepted(template__internetAccessible__internetChargeType=value)
        for value in ("TRAFFIC_POSTPAID_BY_HOUR", "BANDWIDTH_POSTPAID_BY_HOUR")
    ),
    accepted(template__internetAccessible=PACKAGE | {"bandwidthPackageId": "bwp-1"}),
]

#: What the rules must let pass.
SENSE = [
    accepted(strategy={"type": "RollingUpdate", "maxSurge": 0, "maxUnavailable": 100, "pauseSeconds": 86_400}),
    accepted(strategy={"type": "RollingUpdate", "maxSurge": 100, "maxUnavailable": 0, "pauseSeconds": 0}),
    accepted(nodes__labels={f"example.org/key-{number}": "v" * 63 for number in range(20)}),
    accepted(nodes__labels={"team": ""}),
    accepted(limits={"maxReplicas": 1, "maxVcpu": 1}),
    accepted(limits={"maxReplicas": 2000, "maxVcpu": 1_000_000}),
    accepted(nodes__taints=[{"key": f"{'p' * 253}/{'k' * 63}", "value": "v" * 63, "effect": "NoSchedule"}] * 10),
    accepted(nodes__drain={"onNotice": False}),
    accepted(ttlSeconds=60),
    accepted(ttlSeconds=315360000),
    accepted(maxAgeSeconds=600),
    accepted(orphanProtection={"afterSeconds": 900}),
    accepted(orphanProtection={"afterSeconds": 2_592_000}, deletionPolicy="Delete"),
    *(accepted(capacityUnit=value) for value in ("Instance", "vCPU")),
    accepted(maxAgeSeconds=315360000, strategy={"type": "OnDelete", "maxSurge": 3, "pauseSeconds": 60}),
    accepted(
        replicas=1,
        template__privateIpAddresses=["10.0.0.9"],
        strategy={"type": "RollingUpdate", "maxSurge": 0, "maxUnavailable": 1},
    ),
    accepted(expiresAt=f"2026-12-24T18:00:00.{'0' * 19}Z"),
    accepted(onDemand={"base": 0, "percentageAboveBase": 0}),
    accepted(onDemand={"base": 2000, "percentageAboveBase": 100}),
    accepted(onDemandFallback=FALLBACK | {"afterInterruptions": {"count": 1, "withinSeconds": 60}}),
    accepted(onDemandFallback=FALLBACK | {"afterInterruptions": {"count": 100, "withinSeconds": 86_400}}),
    Row({}, name="as it is"),
    accepted(credentialsSecretRef=None),
    *(accepted(template__tags={"team": value}) for value in ("渲染部", "org/app", "a:b", "CI Team", "(x)[y]_z@w=1+2")),
    accepted(template__tags={"org/app:part_1": "x"}),
    accepted(replicas=1, template__privateIpAddresses=["10.0.0.255"]),
    accepted(template__systemDisk={"encrypt": True, "kmsKeyId": "k"}),
    accepted(template__systemDisk={"encrypt": True, "kmsKeyId": "k" * 64}, template__metadata={"team": "v" * 256}),
    accepted(
        template__dataDisks=[
            {"diskSize": 10, "encrypt": True, "kmsKeyId": "k", "throughputPerformance": 0},
            {"diskSize": 10, "encrypt": True, "kmsKeyId": "k" * 64, "throughputPerformance": 1000},
        ],
        template__metadata={f"key_{number}": "v" for number in range(10)},
        template__ipv6AddressCount=0,
        template__internetAccessible=PACKAGE | {"bandwidthPackageId": long("bwp-", 64)},
    ),
    accepted(replicas=1, template__privateIpAddresses=["210.210.210.210"], template__ipv6AddressCount=10),
    accepted(replicas=None),
    accepted(paused=True),
    accepted(region="na-siliconvalley", placements=[{"zone": "na-siliconvalley-1"}]),
    accepted(region="ap-shanghai-fsi", placements=[{"zone": "ap-shanghai-fsi-1"}]),
    accepted(placements=[WEB | {"vpcId": "vpc-1a", "subnetId": "subnet-2b"}, {"zone": "ap-guangzhou-4"}]),
    accepted(instanceTypes=["S5.MEDIUM4", "GN7.2XLARGE32", "SA2.SMALL1"]),
    *(accepted(market__maxPrice=price) for price in ("1", "0.0923", "0.00000001", "10.50")),
    accepted(market={"maxPrice": "0.1", "maxPricePercentOfOnDemand": 100}),
    accepted(market__overrides=[{"instanceType": "S9.NOBODY", "maxPrice": "1"}]),
    Row(SHARED, name="half of replicas in each of two pools"),
    Row(REQUIREMENTS, name="requirements"),
    Row(REQUIREMENTS | {"market.maxSharePerPool": 1}, name="a share of who knows how many pools"),
    Row(REQUIREMENTS | {"instanceTypes": []}, name="requirements and an empty list of types"),
    Row(REQUIREMENTS | {"instanceRequirements": {}}, name="requirements that require nothing"),
    Row(REQUIREMENTS | {"instanceRequirements.gpu": {"max": 0}}, name="no GPU"),
    Row(REQUIREMENTS | {"instanceRequirements.cpu": {"min": 2, "max": 2}}, name="exactly two vCPU"),
    Row(REQUIREMENTS | {"limits.maxHourlyCost": "0.5"}, name="requirements and a limit"),
    accepted(nodes={}, capacity=CLAIMED),
    accepted(nodes={}, capacity=CLAIMED, limits={"maxReplicas": 2}),
    accepted(gang={"minAvailable": 2}),
    accepted(gang={"minAvailable": 2}, replicas=0),
    accepted(gang={"minAvailable": 2}, replicas=None),
    accepted(onDemandFallback={"maxReplicas": 2, "deadline": "2026-12-24T18:00:00Z"}),
    accepted(onDemandFallback={"maxReplicas": 2, "deadline": "2026-12-24T18:00:00.5+08:00"}),
    accepted(requestPolicy="OneTime", onStop="Replace"),
    accepted(requestPolicy="OneTime", onStop="Release"),
    *(accepted(requestPolicy="OneTime", onStop="Release", maxAttempts=value) for value in (1, 100)),
    accepted(requestPolicy="OneTime", limits={"maxHourlyCost": "1"}),
    accepted(requestPolicy="OneTime", market={"maxSharePerPool": 100}),
    accepted(template__instanceName="web-1.a_b"),
    accepted(template__loginSettings={"keyIds": [], "keepImageLogin": True}),
    accepted(template__loginSettings={"keyIds": ["skey-1a"], "keepImageLogin": False}),
    accepted(template__userData=""),
    accepted(template__userData="#!/bin/sh\n" + "x" * 16_374),
    accepted(template__camRoleName="role+a=b,c.d@e_f-g"),
    accepted(template__tags={"team": "render", "cost.center": "a=b@c+d", "a_b-c": "-"}),
    accepted(template__tags={"a-project": "x", "my-qcloud": "y"}),
    Row({}, metadata={"name": "x" * 63, "labels": {"team": "render"}}, name="name of 63"),
    Row({}, beside_spec={"status": {"phase": "Ready"}}, name="a status nobody will believe"),
]

ACCEPTED = [*AT_THE_BOUNDS, *ONE_OF, *SENSE]
