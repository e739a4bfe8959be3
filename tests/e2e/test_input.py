"""What bad input gets that the API server cannot tell from good: a condition; never a purchase, never a loss.

One operator and one cloud for all. What the API server refuses itself is in `test_manifests`.
"""

from __future__ import annotations

from typing import Any

import pytest

from e2e.simulator import IMAGE
from e2e.stage import SECRET, Stage, condition
from waiting import throughout

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


def template(**fields: Any) -> dict[str, Any]:
    return {"template": {"imageId": IMAGE, **fields}}


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
