"""What `kubectl explain` says of each field: meaning, unit, what holds when it is left out, and the vendor's words.

The words are not taken on trust. CVM's parameters are those of the official SDK, and a value written into a field is
looked for in the very parameter that its description names; BatchCompute's are listed here from its API.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tencentcloud.cvm.v20170312 import models

from plan.given import market_of
from spotcompute.api.crd import custom_resource_definition
from spotcompute.api.environment import Environment
from spotcompute.api.pools import RequirementsSpec
from spotcompute.cloud.tencent.translate import launch_parameters, offerings_from
from spotcompute.model.instance import Ownership
from spotcompute.plan.budget import bid_for
from spotcompute.plan.launching import request_for

ROOT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]

Schema = dict[str, Any]


def fields(
    schema: Schema, path: str, above: tuple[Schema, ...] = ()
) -> Iterator[tuple[str, Schema, tuple[Schema, ...]]]:
    """Every field below `schema`: its path, its schema, and those of the fields it stands in, the nearest first."""
    schema = schema.get("items", schema)
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, field, above
        yield from fields(field, here, (field, *above))


DESIRED, STATUS = list(fields(ROOT["spec"], "spec")), list(fields(ROOT["status"], "status"))
DESCRIPTIONS = {path: field.get("description", "") for path, field, _ in DESIRED + STATUS}
LEAVES = [(path, field, above) for path, field, above in DESIRED if "properties" not in field.get("items", field)]


@pytest.mark.parametrize("path", DESCRIPTIONS)
def test_every_field_is_described_in_sentences(path: str) -> None:
    text = DESCRIPTIONS[path]
    assert len(text) >= 15, "no description"
    assert text.endswith("."), "not a sentence"
    assert "|" not in text, "would break the table of docs/reference/spec.md"
    assert ".." not in text


def required(path: str) -> bool:
    *before, name = path.split(".")
    schema = ROOT
    for step in before:
        schema = schema.get("items", schema).get("properties", schema)[step]
    return name in schema.get("items", schema).get("required", ())


@pytest.mark.parametrize(("path", "field"), [pytest.param(path, field, id=path) for path, field, _ in DESIRED])
def test_what_holds_when_a_field_is_left_out_is_said(path: str, field: Schema) -> None:
    """`kubectl explain` shows no defaults."""
    default = field.get("default")
    says = field["description"]
    if default is None or isinstance(default, dict):
        assert required(path) != ("Left out: " in says or path == "spec.market"), (
            "said for required fields, or not said"
        )
    elif isinstance(default, str):
        assert f"{default}, the default" in says
    else:
        assert f"Default {json.dumps(default)}" in says


UNITS = {
    r"Seconds$": "in seconds",
    r"GiB$|[dD]iskSize$": "in GiB",
    r"Bandwidth": "Mbit/s",
    r"Percent|Share": "percent",
    r"(max|min)Replicas$|replicas$|minAvailable$": "instances",
    r"spec.*(Price|Cost)$": "per hour|per instance and hour",
    r"status.*(perHour|PerHour)$|bid$": "hour|for one|The same|Of that|price of one",
}


@pytest.mark.parametrize(
    ("path", "unit"),
    [(path, unit) for path in DESCRIPTIONS for pattern, unit in UNITS.items() if re.search(pattern, path)],
)
def test_a_number_has_a_unit(path: str, unit: str) -> None:
    assert re.search(unit, DESCRIPTIONS[path], re.IGNORECASE)


# --- the vendor's words ----------------------------------------------------------------------------------------------

#: Leaves that no parameter of CVM is for, and why.
NOT_IN_CVM = {
    "spec.expiresAt": "instances end when they are ended",
    "spec.ttlSeconds": "likewise",
    "spec.maxAgeSeconds": "likewise",
    "spec.onStop": "what a stop means is the operator's part",
    "spec.maxAttempts": "how often a request is sent",
    "spec.orphanProtection.afterSeconds": "ActionTimer names a moment, which is another one at each renewal",
    "spec.capacityUnit": "how many instances are asked for",
    "spec.paused": "a request is sent or not",
    "spec.instanceObjects": "objects of Kubernetes",
    "spec.adopt.instanceIds": "tags are changed, by another product",
    "spec.adopt.tag.key": "tags are changed, by another product",
    "spec.adopt.tag.value": "tags are changed, by another product",
    "spec.deletionPolicy": "what becomes of instances when an object of Kubernetes goes",
    "spec.requestPolicy": "every request is one-time; asking again is the operator's part",
    "spec.market.allocationStrategy": "the order of requests",
    "spec.market.zonePolicy": "the order of requests",
    "spec.limits.maxReplicas": "whether a request is sent",
    "spec.limits.maxVcpu": "whether a request is sent",
    "spec.onDemand.base": "how many requests ask for another charge type",
    "spec.onDemand.percentageAboveBase": "how many requests ask for another charge type",
    "spec.scaleIn.order": "the caller names the instances",
    "spec.market.maxSharePerPool": "where requests go",
    "spec.limits.maxHourlyCost": "whether a request is sent",
    "spec.onDemandFallback.afterSeconds": "when a request is sent",
    "spec.onDemandFallback.afterInterruptions.count": "when a request is sent",
    "spec.onDemandFallback.afterInterruptions.withinSeconds": "when a request is sent",
    "spec.onDemandFallback.maxReplicas": "whether a request is sent",
    "spec.onDemandFallback.maxHourlyCost": "whether a request is sent",
    "spec.onDemandFallback.stableForSeconds": "when instances are let go",
    "spec.onDemandFallback.deadline": "when a request is sent",
    "spec.gang.minAvailable": "whether what was launched is kept",
    "spec.gang.holdSeconds": "whether what was launched is kept",
    "spec.credentialsSecretRef.name": "an object of Kubernetes",
    "spec.roleArn": "with which key a request is signed",
    "spec.strategy.type": "when instances are let go",
    "spec.strategy.maxSurge": "when a request is sent",
    "spec.strategy.maxUnavailable": "when instances are let go",
    "spec.strategy.pauseSeconds": "when instances are let go",
    **dict.fromkeys(
        (
            "spec.nodes.nameFrom",
            "spec.nodes.labels",
            "spec.nodes.taints.key",
            "spec.nodes.taints.value",
            "spec.nodes.taints.effect",
            "spec.nodes.podsOfLostNodes",
            "spec.nodes.drain.onNotice",
            "spec.nodes.drain.timeoutSeconds",
            "spec.capacity.from",
            "spec.capacity.maxReplicas",
            "spec.capacity.minAvailable",
            "spec.capacity.idleSeconds",
            "spec.capacity.reserved.cpuMillis",
            "spec.capacity.reserved.memoryMiB",
        ),
        "objects of Kubernetes",
    ),
}

#: Leaves that a compute environment of BatchCompute has no setting for, and why.
NOT_IN_BATCH = {path: why for path, why in NOT_IN_CVM.items() if path != "spec.requestPolicy"} | {
    "spec.instanceRequirements.gpu.min": "InstanceTypeOptions knows CPU, Memory and categories",
    "spec.instanceRequirements.gpu.max": "InstanceTypeOptions knows CPU, Memory and categories",
    "spec.instanceRequirements.families": "InstanceTypeOptions knows CPU, Memory and categories",
    "spec.instanceRequirements.excludedTypes": "InstanceTypeOptions knows CPU, Memory and categories",
    "spec.market.maxPricePercentOfOnDemand": "there is one MaxPrice, an amount",
    "spec.market.overrides.instanceType": "there is one MaxPrice, for all types",
    "spec.market.overrides.maxPrice": "there is one MaxPrice, for all types",
    "spec.template.hostName": "not in EnvData",
    "spec.template.userData": "not in EnvData",
    "spec.template.userDataFrom.secretKeyRef.name": "not in EnvData",
    "spec.template.userDataFrom.secretKeyRef.key": "not in EnvData",
    "spec.template.userDataFrom.configMapKeyRef.name": "not in EnvData",
    "spec.template.userDataFrom.configMapKeyRef.key": "not in EnvData",
    "spec.template.camRoleName": "not in EnvData",
    "spec.template.hpcClusterId": "not in EnvData",
    "spec.template.disasterRecoverGroupIds": "not in EnvData",
    "spec.template.metadata": "not in EnvData",
    "spec.template.tags": "its Tags are those of the environment, not of the instances",
}

#: Fields whose model serves in several places: the field they stand in has the word.
SERVES_SEVERAL = re.compile(r"instanceRequirements\.\w+\.(min|max)|userDataFrom\.\w+\.(name|key)")

#: Names of BatchCompute. What lies below `same` is spelled as in CVM.
#: Source: Batch API 2017-03-12, CreateComputeEnv and the data types NamedComputeEnv, EnvData, InstanceTypeOptions,
#: ComputeEnvView, ComputeNode, ComputeNodeMetrics and Activity.
BATCH = re.compile(
    r"Region|DesiredComputeNodeCount|ActionIfComputeNodeInactive|Placement\.ProjectId|EnvId|ComputeNodeSet"
    r"|DescribeComputeEnvActivities|ComputeNodeMetrics\.RunningCount"
    r"|ComputeNode\.(ComputeNodeInstanceId|ComputeNodeState|PrivateIpAddresses|PublicIpAddresses)"
    r"|Activity\.(ActivityId|ComputeNodeActivityType|ActivityState|Cause|InstanceId|StateReason|StartTime|EndTime)"
    r"|EnvData(\.(ImageId|InstanceName|InstanceTypes|InstanceChargeType|SecurityGroupIds|Zones"
    r"|InstanceTypeOptions(\.(CPU|Memory))?|VirtualPrivateClouds\.(VpcId|SubnetId)"
    r"|(?P<same>(VirtualPrivateCloud|SystemDisk|DataDisks|LoginSettings|InternetAccessible|EnhancedService|InstanceMarketOptions)[\w.]*)))?"
)

USER_DATA = "#!/bin/sh"
MINIMAL = {
    "region": "ap-guangzhou",
    "placements": [{"zone": "ap-guangzhou-3", "vpcId": "vpc-1a", "subnetId": "subnet-2b"}],
    "instanceTypes": ["S5.MEDIUM4"],
    "template": {"imageId": "img-3c"},
}

#: Together they set every field that goes into a request, each to a value of its own.
SPECS: list[dict[str, Any]] = [
    MINIMAL
    | {
        "replicas": 7,
        "market": {"maxPrice": "0.0123"},
        "template": {
            "imageId": "img-3c",
            "instanceName": "worker",
            "hostName": "host",
            "systemDisk": {"diskType": "CLOUD_BSSD", "diskSize": 51, "encrypt": True, "kmsKeyId": "key-1"},
            "dataDisks": [
                {
                    "diskType": "CLOUD_HSSD",
                    "diskSize": 120,
                    "snapshotId": "snap-4d",
                    "encrypt": True,
                    "kmsKeyId": "key-2",
                    "throughputPerformance": 70,
                }
            ],
            "securityGroupIds": ["sg-5e", "sg-6f"],
            "loginSettings": {"keyIds": ["skey-7a"]},
            "userData": USER_DATA,
            "internetAccessible": {
                "internetChargeType": "BANDWIDTH_PACKAGE",
                "internetMaxBandwidthOut": 13,
                "publicIpAssigned": False,
                "bandwidthPackageId": "bwp-1b",
            },
            "privateIpAddresses": ["10.0.0.77"],
            "ipv6AddressCount": 2,
            "metadata": {"colour": "blue"},
            "enhancedService": {"securityService": False, "monitorService": True, "automationService": False},
            "projectId": 17,
            "camRoleName": "role",
            "hpcClusterId": "hpc-8b",
            "disasterRecoverGroupIds": ["ps-9c"],
            "tags": {"team": "render"},
        },
    },
    MINIMAL
    | {
        "market": {"overrides": [{"instanceType": "S5.MEDIUM4", "maxPrice": "0.0456"}]},
        "template": {
            "imageId": "img-3c",
            "loginSettings": {"keepImageLogin": True},
            "userDataFrom": {
                "secretKeyRef": {"name": "boot", "key": "script"},
                "configMapKeyRef": {"name": "boot", "key": "script"},
            },
        },
    },
    MINIMAL | {"market": {"maxPricePercentOfOnDemand": 50}},
]

#: What becomes of a value on its way, where it is not sent as it was written.
SENT_AS = {
    "spec.market.maxPricePercentOfOnDemand": ["0.10000000"],  # half of ten times the quote
    "spec.template.instanceName": ["worker-f6g7h8-1-"],
    "spec.template.loginSettings.keepImageLogin": ["true"],
    "spec.template.userData": [base64.b64encode(USER_DATA.encode()).decode()],
    "spec.template.tags": [{"Key": "team", "Value": "render"}],
    "spec.template.metadata": [{"Key": "colour", "Value": "blue"}],
} | {path: [base64.b64encode(USER_DATA.encode()).decode()] for path, _, _ in LEAVES if "userDataFrom" in path}


def request_of(spec: dict[str, Any]) -> dict[str, Any]:
    """The RunInstances request for all of `spec`, with what the official SDK knows of it."""
    metadata = {"namespace": "default", "name": "web", "uid": "1", "creationTimestamp": "2026-11-23T04:00:00Z"}
    environment = Environment.of({"metadata": metadata, "spec": spec})
    desired = environment.desired(environment.spec(), Ownership("cluster-1", "a1b2c3d4e5-f6g7h8"), None)
    ((pool, _),) = desired.pools
    bid = bid_for(desired.caps, pool, market_of({pool: "0.02"})).limit  # ten times that on demand
    launch = request_for(desired, pool, desired.replicas or 1, 1, bid)
    assert launch is not None
    request = models.RunInstancesRequest()
    encoded = base64.b64encode(USER_DATA.encode()).decode()
    request.from_json_string(json.dumps(launch_parameters(launch, encoded, "token")))
    return dict(request._serialize())


def values(whole: Any, names: list[str]) -> list[Any]:
    """Every value at a path, through lists."""
    if isinstance(whole, list) and names:
        return [value for item in whole for value in values(item, names)]
    if not names:
        return whole if isinstance(whole, list) else [whole]
    return values(whole[names[0]], names[1:]) if isinstance(whole, Mapping) and names[0] in whole else []


REQUESTS = [request_of(spec) for spec in SPECS]


def word(vendor: str, path: str, field: Schema, above: tuple[Schema, ...]) -> str | None:
    """The vendor's word in the description of a field, or of the one it stands in."""
    text = (above[0] if SERVES_SEVERAL.search(path) else field)["description"]
    found = re.search(rf"\b{vendor}: ([A-Z][\w.]*\w)", text)
    return found[1] if found else None


def leaves_with(vendor: str) -> list[Any]:
    found = [(path, word(vendor, path, field, above)) for path, field, above in LEAVES]
    return [pytest.param(path, name, id=path) for path, name in found if name]


@pytest.mark.parametrize(("path", "field", "above"), [pytest.param(*leaf, id=leaf[0]) for leaf in LEAVES])
def test_every_leaf_has_the_vendors_words_or_a_reason_why_not(
    path: str, field: Schema, above: tuple[Schema, ...]
) -> None:
    assert (word("CVM", path, field, above) is None) == (path in NOT_IN_CVM)
    assert (word("BatchCompute", path, field, above) is None) == (path in NOT_IN_BATCH)


def test_no_exception_outlives_its_field() -> None:
    assert {path for path, _, _ in LEAVES} >= NOT_IN_CVM.keys() | NOT_IN_BATCH.keys() | SENT_AS.keys()


@pytest.mark.parametrize(
    ("path", "name"),
    [leaf for leaf in leaves_with("CVM") if not str(leaf.values[0]).startswith(("spec.region", "spec.instanceReq"))],
)
def test_a_value_is_sent_in_the_very_parameter_its_description_names(path: str, name: str) -> None:
    """The region goes beside the request: tests/e2e/test_story.py."""
    written = [values(spec, path.split(".")[1:]) for spec in SPECS]
    number = next(number for number, found in enumerate(written) if found)
    expected = SENT_AS.get(path, written[number])
    assert [value for value in values(REQUESTS[number], name.split(".")) if value in expected] == expected


TYPE = {
    "Zone": "ap-guangzhou-3",
    "InstanceType": "S5.MEDIUM4",
    "InstanceChargeType": "SPOTPAID",
    "InstanceFamily": "S5",
    "Cpu": 2,
    "Memory": 4,
    "GpuCount": 1,
}

#: A requirement that TYPE does not meet, and what its field of the market would have to be.
UNMET = {
    "cpu.min": ({"cpu": {"min": 3}}, 3),
    "cpu.max": ({"cpu": {"max": 1}}, 1),
    "memoryGiB.min": ({"memoryGiB": {"min": 5}}, 5),
    "memoryGiB.max": ({"memoryGiB": {"max": 3}}, 3),
    "gpu.min": ({"gpu": {"min": 2}}, 2),
    "gpu.max": ({"gpu": {"max": 0}}, 0),
    "families": ({"families": ["SA2"]}, "SA2"),
    "excludedTypes": ({"excludedTypes": ["S5.MEDIUM4"]}, "S5.LARGE8"),
}


@pytest.mark.parametrize(
    ("path", "name"), [leaf for leaf in leaves_with("CVM") if str(leaf.values[0]).startswith("spec.instanceReq")]
)
def test_a_requirement_is_held_against_the_very_field_its_description_names(path: str, name: str) -> None:
    kind, field = name.split(".")
    wanted, fitting = UNMET[path.removeprefix("spec.instanceRequirements.")]
    requirements = RequirementsSpec.model_validate(wanted).resolved()
    assert kind == "InstanceTypeQuotaItem"
    assert hasattr(models.InstanceTypeQuotaItem(), field)
    assert [requirements.fits(one) for one in offerings_from([TYPE, TYPE | {"Zone": "b", field: fitting}])] == [
        False,
        True,
    ]


def is_of_cvm(name: str) -> bool:
    """True for a parameter sent above, or one of the official SDK's names: of a data type, an instance or a call."""
    if any(values(request, name.split(".")) for request in REQUESTS):
        return True
    kind, _, field = name.rpartition(".")
    holders = (
        [getattr(models, kind)] if kind else [models.Instance, models.RunInstancesRequest, models.RunInstancesResponse]
    )
    return any(hasattr(holder(), field) for holder in holders)


def named(vendor: str) -> list[str]:
    found = (re.findall(rf"\b{vendor}: ([A-Z][\w.]*\w)", text) for text in DESCRIPTIONS.values())
    return sorted({name for names in found for name in names})


@pytest.mark.parametrize("name", named("CVM"))
def test_every_word_of_cvm_is_one(name: str) -> None:
    assert name == "Region" or is_of_cvm(name)


@pytest.mark.parametrize("name", named("BatchCompute"))
def test_every_word_of_batchcompute_is_one(name: str) -> None:
    found = BATCH.fullmatch(name)
    assert found
    assert found["same"] is None or is_of_cvm(found["same"])
