"""What is not seen: no write when nothing changes, no word that is not true yet, no secret.

The API server's audit log judges what the operator asked of Kubernetes; the cloud's ledger judges the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from e2e.running import Operator
from e2e.simulator import IMAGE, MUTATING
from e2e.stage import Stage, condition, kstatus
from localcluster.controlplane import ControlPlane
from waiting import eventually

pytestmark = pytest.mark.e2e

WRITES = {"create", "update", "patch", "delete", "deletecollection"}
QUIET_SECONDS = 10.0
Row = dict[str, Any]


def asked_of_kubernetes(control_plane: ControlPlane, namespace: str) -> list[Row]:
    """What the operator has asked of the API server about one namespace."""
    return [row for row in control_plane.audit_events() if row.get("objectRef", {}).get("namespace") == namespace]


def test_satisfied_it_writes_nothing_and_changes_nothing(
    stage: Stage, own_operator: Callable[..., Operator], control_plane: ControlPlane
) -> None:
    own_operator()
    stage.apply(replicas=3)
    stage.until_ready(3)
    eventually(stage.events, "the launch is told")
    time.sleep(1)  # what was still on its way when it became ready
    before = stage.get(), len(asked_of_kubernetes(control_plane, stage.namespace)), len(changes(stage))
    looked = len(stage.cloud.requests(stage.account, "DescribeInstances"))
    time.sleep(QUIET_SECONDS)
    found, asked, changed = before
    later = asked_of_kubernetes(control_plane, stage.namespace)[asked:]
    assert [row for row in later if row["verb"] in WRITES] == []
    assert stage.get() == found
    assert len(changes(stage)) == changed
    assert len(stage.cloud.requests(stage.account, "DescribeInstances")) > looked, "it no longer looks"


def changes(stage: Stage) -> list[Row]:
    """Requests that change something in the cloud."""
    return stage.cloud.requests(stage.account, *MUTATING)


def test_clients_that_read_kstatus_are_told_the_truth_from_birth(
    stage: Stage, own_operator: Callable[..., Operator]
) -> None:
    """Before the operator is there, an object it has never seen is in progress, not current."""
    stage.apply(replicas=2)
    born = stage.until(lambda obj: True, "it is born")
    assert kstatus(born) == "InProgress"
    assert condition(born, "Ready") == {}
    own_operator()
    stage.until_ready(2)
    stage.scale(3)
    stage.until_ready(3)
    stage.delete()
    stage.until_gone()
    told = [kstatus(event["object"]) for event in stage.history()]
    story = [word for number, word in enumerate(told) if number == 0 or told[number - 1] != word]
    assert story == ["InProgress", "Current", "InProgress", "Current", "Terminating"]


def test_no_secret_is_told_to_anybody(stage: Stage, own_operator: Callable[..., Operator]) -> None:
    """At the most talkative log level, through success, a refused key, a lost answer and user data."""
    secrets = {
        "secretId": "AKIDcanaryOfTheSecretId00000001",
        "secretKey": "canaryOfTheSecretKey+/=00000001",
        "token": "canaryOfTheToken+/=&?0000000001",
    }
    user_data = "#!/bin/sh\necho canaryOfTheUserData-0000001 >/etc/motd\n"
    stage.cloud.post("credentials", op="add", account=stage.account.uin, **secrets)
    stage.write_secret("temporary", **secrets)
    stage.write_secret("wrong", **{**secrets, "secretKey": "canaryOfTheWrongKey00000000001"})
    stage.write_secret("boot", script=user_data)
    stage.cloud.post("faults", kind="lost_after_commit", action="RunInstances", account=stage.account.uin)
    operator = own_operator()
    template = {"imageId": IMAGE, "userDataFrom": {"secretKeyRef": {"name": "boot", "key": "script"}}}
    stage.apply(replicas=2, template=template, credentialsSecretRef={"name": "temporary"})
    stage.apply("wrong", replicas=1, template=template, credentialsSecretRef={"name": "wrong"})
    stage.until_ready(2)
    stage.until_reason("InvalidCredentials", "wrong")
    (sent,) = {row["params"]["UserData"] for row in stage.cloud.launches(stage.account) if not row["code"]}
    assert base64.b64decode(sent).decode() == user_data, "the user data did not arrive"
    told = {
        "log": operator.log_text(),
        "objects": json.dumps(stage.history() + stage.history("wrong"), ensure_ascii=False),
        "events": stage.kubectl.run("get", "events", "-o", "json"),
        "annotations": stage.kubectl.run("get", "sce", "-o", "json", "--show-managed-fields"),
    }
    canaries = [*secrets.values(), "canaryOfTheWrongKey00000000001", user_data, "canaryOfTheUserData-0000001"]
    seen = [
        (where, form) for where, text in told.items() for canary in canaries for form in forms(canary) if form in text
    ]
    assert seen == []
    assert len(told["log"]) > 1000, "a log that says nothing proves nothing"


def forms(secret: str) -> set[str]:
    """A secret as it may show: raw, base64 at any offset, in a URL, in JSON, in hexadecimal."""
    raw = secret.encode()
    shifted = {base64.b64encode(b"x" * offset + raw).decode()[4:-4] for offset in range(3)}
    encoded = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
    escaped = {urllib.parse.quote(secret, safe=""), json.dumps(secret)[1:-1], binascii.hexlify(raw).decode()}
    return {secret} | shifted | encoded | escaped
