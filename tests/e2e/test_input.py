"""What bad input gets: a sentence from the API server, or a condition; never a purchase, never a loss.

One operator and one cloud for all.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.simulator import IMAGE
from e2e.stage import SECRET, Stage, condition, manifest
from e2e.waiting import throughout
from localcluster.cluster import Cluster
from localcluster.kubectl import KubectlError

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]

ZONE = "ap-guangzhou-3"


def template(**fields: Any) -> dict[str, Any]:
    return {"template": {"imageId": IMAGE, **fields}}


def requiring(strategy: str = "LowestPrice", **what: Any) -> dict[str, Any]:
    return {
        "instanceTypes": None,
        "instanceRequirements": what or {"cpu": {"min": 2}},
        "market": {"allocationStrategy": strategy},
    }


STAND_IN = {"maxReplicas": 2}

#: What a user writes, the field the answer must name, and the remedy it must give.
REJECTED = [
    pytest.param({"replicas": -1}, "spec.replicas", "greater than or equal to 0", id="negative-replicas"),
    pytest.param({"replicas": 2001}, "spec.replicas", "less than or equal to 2000", id="absurd-replicas"),
    pytest.param({"replicas": "three"}, "spec.replicas", "must be of type integer", id="replicas-in-words"),
    pytest.param({"market": {"maxPrice": "0"}}, "spec.market.maxPrice", "positive decimal", id="price-zero"),
    pytest.param({"market": {"maxPrice": "-1"}}, "spec.market.maxPrice", "positive decimal", id="price-negative"),
    pytest.param({"market": {"maxPrice": "cheap"}}, "spec.market.maxPrice", "positive decimal", id="price-words"),
    pytest.param({"market": {"maxPrice": "1e-3"}}, "spec.market.maxPrice", "positive decimal", id="price-exponent"),
    pytest.param({"market": {"maxPrice": 0.09}}, "spec.market.maxPrice", "must be of type string", id="price-number"),
    pytest.param({"placements": []}, "spec.placements", "at least 1 item", id="no-placement"),
    pytest.param({"placements": None}, "spec.placements", "Required value", id="placements-missing"),
    pytest.param({"placements": [{"zone": ZONE}, {"zone": ZONE}]}, "spec.placements", "Duplicate", id="zone-twice"),
    pytest.param({"placements": [{"zone": "ap-shanghai-2"}]}, "spec", "must belong to the region", id="foreign-zone"),
    pytest.param(
        {"placements": [{"zone": ZONE, "subnetId": "subnet-1"}]},
        "spec.placements[0]",
        "vpcId and subnetId go together",
        id="subnet-alone",
    ),
    pytest.param({"instanceTypes": []}, "spec", "give either instanceTypes or instanceRequirements", id="no-type"),
    pytest.param(
        {"instanceTypes": ["S5.MEDIUM4", "S5.MEDIUM4"]}, "spec.instanceTypes", "remove the duplicate", id="type-twice"
    ),
    pytest.param({"instanceTypes": ["big"]}, "spec.instanceTypes", "must look like S5.MEDIUM4", id="type-malformed"),
    pytest.param({"region": "moon"}, "spec.region", "region name such as ap-guangzhou", id="region-malformed"),
    pytest.param({"region": "a.evil.example"}, "spec.region", "region name such as", id="region-a-host"),
    pytest.param({"requestPolicy": "Sometimes"}, "spec.requestPolicy", '"Persistent", "OneTime"', id="policy"),
    pytest.param(template(imageId="ubuntu"), "spec.template.imageId", "must be the id of an image", id="image"),
    pytest.param({"template": {}}, "spec.template.imageId", "Required value", id="no-image"),
    pytest.param(template(userData="x" * 16385), "spec.template.userData", "at most 16 KiB", id="user-data-16KiB+1"),
    pytest.param(template(userData="ü" * 8193), "spec.template.userData", "at most 16 KiB", id="user-data-in-bytes"),
    pytest.param(
        template(userData="x", userDataFrom={"secretKeyRef": {"name": "a", "key": "b"}}),
        "spec.template",
        "exclude each other: remove one",
        id="user-data-twice",
    ),
    pytest.param(template(instanceName="web{R:1}"), "spec.template.instanceName", "would expand", id="name-pattern"),
    pytest.param(template(hostName="h{IP}"), "spec.template.hostName", "would expand", id="host-name-pattern"),
    pytest.param(template(instanceName="web:1"), "spec.template.instanceName", "hold only letters", id="name-colon"),
    pytest.param(template(instanceName="-web"), "spec.template.instanceName", "start and end with", id="name-dash"),
    pytest.param(template(tags={"a/b": "c"}), "spec.template.tags", "letters, digits", id="tag-key"),
    pytest.param(template(tags={"a": "b c"}), "spec.template.tags", "letters, digits", id="tag-value"),
    pytest.param(
        template(tags={"spotcompute-cluster": "x"}), "spec.template.tags", "choose another key", id="tag-of-ours"
    ),
    pytest.param(template(systemDisk={"diskSize": 19}), "spec.template.systemDisk.diskSize", "20", id="tiny-disk"),
    pytest.param(template(systemDisk={"diskSize": 2049}), "spec.template.systemDisk.diskSize", "2048", id="huge-disk"),
    pytest.param(
        template(dataDisks=[{}]), "spec.template.dataDisks[0].diskSize", "Required value", id="data-disk-of-0"
    ),
    pytest.param(
        template(dataDisks=[{"diskSize": 15}]),
        "spec.template.dataDisks[0].diskSize",
        "multiple of 10",
        id="data-disk-of-15",
    ),
    pytest.param(
        template(dataDisks=[{"diskSize": 10, "snapshotId": "x"}]), "dataDisks[0].snapshotId", "snap-1a2b", id="snapshot"
    ),
    pytest.param(template(camRoleName="<script>"), "spec.template.camRoleName", "letters, digits", id="role"),
    pytest.param(template(hpcClusterId="../x"), "spec.template.hpcClusterId", "such as hpc-1a2b", id="hpc-cluster"),
    pytest.param(
        template(disasterRecoverGroupIds=["x y"]), "disasterRecoverGroupIds[0]", "such as ps-1a2b", id="placement-group"
    ),
    pytest.param(template(projectId=2**31), "spec.template.projectId", "less than or equal", id="project"),
    pytest.param({"credentialsSecretRef": {"name": ""}}, "spec.credentialsSecretRef.name", "at least 1", id="secret"),
    pytest.param({"replica": 1}, "spec.replica", "unknown field", id="misspelt-field"),
    pytest.param(
        {"market": {"maxPricePercentOfOnDemand": 0}},
        "maxPricePercentOfOnDemand",
        "greater than or equal to 1",
        id="0-%",
    ),
    pytest.param(
        {"market": {"maxPricePercentOfOnDemand": 101}},
        "maxPricePercentOfOnDemand",
        "less than or equal to 100",
        id="101-%",
    ),
    pytest.param({"limits": {"maxHourlyCost": "0"}}, "spec.limits.maxHourlyCost", "positive decimal", id="no-money"),
    pytest.param(
        {"market": {"overrides": [{"instanceType": "S5.MEDIUM4", "maxPrice": "0.0"}]}},
        "spec.market.overrides[0].maxPrice",
        "positive decimal",
        id="override-zero",
    ),
    pytest.param(
        {"market": {"overrides": [{"instanceType": "S5.MEDIUM4", "maxPrice": "1"}] * 2}},
        "spec.market.overrides",
        "Duplicate",
        id="override-twice",
    ),
    pytest.param(
        {"market": {"allocationStrategy": "Best"}}, "allocationStrategy", "PriceCapacityOptimized", id="strategy"
    ),
    pytest.param(
        {"market": {"maxSharePerPool": 40}}, "spec", "raise it, or add placements or types", id="share-of-one-pool"
    ),
    pytest.param(requiring() | {"instanceTypes": ["S5.MEDIUM4"]}, "spec", "give either instanceTypes", id="both"),
    pytest.param(requiring("Prioritized"), "spec", "name no order to prioritize by", id="no-order"),
    pytest.param(requiring(cpu={"min": 8, "max": 4}), "instanceRequirements.cpu", "min must not be above", id="span"),
    pytest.param({"gang": {"minAvailable": 3}}, "spec", "lower it, or raise replicas", id="gang-above-replicas"),
    pytest.param({"gang": {"minAvailable": 0}}, "spec.gang.minAvailable", "greater than or equal to 1", id="gang-of-0"),
    pytest.param(
        {"gang": {"minAvailable": 2}, "onDemandFallback": STAND_IN}, "spec", "exclude each other", id="gang-on-demand"
    ),
    pytest.param(
        {"requestPolicy": "OneTime", "onDemandFallback": STAND_IN}, "spec", "or use Persistent", id="one-time-on-demand"
    ),
    pytest.param({"onDemandFallback": {}}, "spec.onDemandFallback.maxReplicas", "Required value", id="no-cap"),
    pytest.param(
        {"onDemandFallback": {**STAND_IN, "deadline": "tomorrow"}},
        "onDemandFallback.deadline",
        "date-time",
        id="deadline",
    ),
]

#: What the same rules must let pass.
ACCEPTED = [
    pytest.param({"market": {"maxPricePercentOfOnDemand": 100, "maxPrice": "0.1"}}, id="two-caps"),
    pytest.param({"market": {"maxSharePerPool": 50}, "instanceTypes": ["S5.MEDIUM4", "S2.MEDIUM4"]}, id="half-each"),
    pytest.param(requiring(cpu={"min": 2, "max": 2}, gpu={"max": 0}, families=["S5"]), id="requirements"),
    pytest.param(requiring("CapacityOptimized") | {"limits": {"maxHourlyCost": "0.5"}}, id="requirements-and-limit"),
    pytest.param({"gang": {"minAvailable": 2, "holdSeconds": 0}}, id="gang-of-all"),
    pytest.param({"gang": {"minAvailable": 2}, "replicas": 0}, id="gang-at-rest"),
    pytest.param({"gang": {"minAvailable": 2}, "replicas": None}, id="gang-of-an-autoscaler"),
    pytest.param({"onDemandFallback": {**STAND_IN, "deadline": "2026-12-24T18:00:00Z"}}, id="deadline"),
    pytest.param({"requestPolicy": "OneTime", "limits": {"maxHourlyCost": "1"}}, id="one-time-with-a-limit"),
]


@pytest.mark.parametrize("spec", ACCEPTED)
def test_what_makes_sense_is_accepted(cluster: Cluster, spec: dict[str, Any]) -> None:
    cluster.kubectl.apply(json.dumps(manifest("web", ZONE, **spec)), "--dry-run=server")


@pytest.mark.parametrize(("spec", "field", "remedy"), REJECTED)
def test_what_makes_no_sense_is_refused_with_field_and_remedy(
    cluster: Cluster, spec: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(KubectlError) as refusal:
        cluster.kubectl.apply(json.dumps(manifest("web", ZONE, **spec)), "--dry-run=server")
    assert field in refusal.value.stderr
    assert remedy in refusal.value.stderr


def test_a_name_too_long_for_the_cloud_is_refused(stage: Stage) -> None:
    with pytest.raises(KubectlError, match=r"metadata\.name must be at most 63 characters"):
        stage.apply("x" * 64)


def test_the_region_of_an_environment_cannot_change(stage: Stage) -> None:
    stage.apply(replicas=0)
    with pytest.raises(KubectlError, match="region cannot change: create a new environment"):
        stage.patch(region="ap-singapore", placements=[{"zone": "ap-singapore-1"}])


#: Accepted by the API server, refused by the cloud: what to spoil, and the cloud's code.
REFUSED_BY_THE_CLOUD = [
    pytest.param(template(imageId="img-00000000"), "InvalidImageId.NotFound", id="unknown-image"),
    pytest.param({"instanceTypes": ["S99.MEDIUM4"]}, "InvalidParameterValue.InstanceTypeNotFound", id="unknown-type"),
    pytest.param(template(securityGroupIds=["sg-00000000"]), "InvalidSecurityGroupId.NotFound", id="security-group"),
]


@pytest.mark.parametrize(("wrong", "code"), REFUSED_BY_THE_CLOUD)
def test_what_the_cloud_refuses_stalls_takes_nothing_away_and_recovers(
    stage: Stage, wrong: dict[str, Any], code: str
) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    before = [row["id"] for row in stage.cloud.running(stage.account)]
    stage.apply(replicas=2, **wrong)
    found = stage.until_reason("InvalidConfiguration")
    stalled = condition(found, "Stalled")
    assert stalled["status"] == "True"
    assert code in stalled["message"]
    assert [row["id"] for row in stage.cloud.running(stage.account)] == before
    stage.apply(replicas=2)
    stage.until_ready(2)
    assert before[0] in {row["id"] for row in stage.cloud.running(stage.account)}


def test_a_subnet_of_another_zone_stalls_with_the_clouds_words(stage: Stage) -> None:
    first, second = stage.account.zones[:2]
    subnet = {"vpcId": stage.account.vpc, "subnetId": stage.account.subnet}
    stage.apply(replicas=1, placements=[{"zone": second, **subnet}])
    found = stage.until_reason("InvalidConfiguration")
    assert "InvalidParameterValue.SubnetIdZoneIdNotMatch" in condition(found, "Stalled")["message"]
    stage.apply(replicas=1, placements=[{"zone": first, **subnet}])
    stage.until_ready(1)
    assert [row["subnetId"] for row in stage.cloud.running(stage.account)] == [stage.account.subnet]


def test_one_wrong_pool_does_not_keep_the_others_from_being_used(stage: Stage) -> None:
    stage.apply(replicas=2, instanceTypes=["S99.MEDIUM4", "S5.MEDIUM4"])
    found = stage.until_ready(2)
    states = {pool["instanceType"]: pool["state"] for pool in found["status"]["pools"]}
    assert states == {"S99.MEDIUM4": "Invalid", "S5.MEDIUM4": "Available"}


#: Name of a Secret: what is in it (None: there is no such Secret), and what the condition must say.
BROKEN_SECRETS: dict[str, tuple[dict[str, str] | None, str]] = {
    "missing": (None, "does not exist"),
    "empty": ({}, "secretId"),
    "half": ({"secretId": "AKIDx"}, "secretKey"),
    "spaced": ({"secretId": "AKID x", "secretKey": "y"}, "spaces"),
}


def test_broken_secrets_are_named_and_their_repair_noticed_while_others_go_on(stage: Stage) -> None:
    for secret, (data, _) in BROKEN_SECRETS.items():
        if data is not None:
            stage.write_secret(secret, **data)
        stage.apply(secret, replicas=1, credentialsSecretRef={"name": secret})
    stage.apply("healthy", replicas=1)
    stage.until_ready(1, "healthy")
    for secret, (_, says) in BROKEN_SECRETS.items():
        stalled = condition(stage.until_reason("CredentialsUnavailable", secret), "Stalled")
        assert stalled["status"] == "True"
        assert says in stalled["message"]
        assert f"Secret {secret}" in stalled["message"]
    for secret in BROKEN_SECRETS:
        stage.write_secret(secret, secretId=stage.account.secret_id, secretKey=stage.account.secret_key)
    for secret in BROKEN_SECRETS:
        stage.until_ready(1, secret)


def test_a_namespace_that_grants_nothing_is_told_so(stage: Stage) -> None:
    stage.kubectl.run("delete", "rolebinding", "spotcompute-read-sources")
    stage.apply(replicas=1)
    found = stage.until_reason("CredentialsUnavailable")
    assert SECRET in condition(found, "Stalled")["message"]
    stage.let_operator_read_sources()
    stage.until_ready(1)


def test_a_wrong_key_takes_nothing_away_and_a_rotation_needs_no_restart(stage: Stage) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    before = {row["id"] for row in stage.cloud.running(stage.account)}
    new_key = stage.account.secret_key[::-1]
    stage.cloud.post("credentials", op="rotate", secretId=stage.account.secret_id, secretKey=new_key)
    stage.scale(3)
    found = stage.until_reason("InvalidCredentials")
    assert "AuthFailure" in condition(found, "Stalled")["message"]
    throughout(lambda: len(stage.cloud.running(stage.account)) == 2, "nothing is taken away", 1)
    stage.write_secret(secretId=stage.account.secret_id, secretKey=new_key)
    stage.until_ready(3)
    assert before <= {row["id"] for row in stage.cloud.running(stage.account)}
