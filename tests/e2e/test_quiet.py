"""What is not seen: no write when nothing changes, no word that is not true yet, no secret, no right too many.

The API server's audit log judges what the operator asked of Kubernetes; the cloud's ledger judges the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from e2e.running import Operator
from e2e.simulator import IMAGE, MUTATING
from e2e.stage import Stage, condition, kstatus
from e2e.waiting import eventually
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.e2e

WRITES = {"create", "update", "patch", "delete", "deletecollection"}
QUIET_SECONDS = 10.0
ROLES = (
    "spotcompute-operator",
    "spotcompute-operator-discovery",
    "spotcompute-read-sources",
    "spotcompute-guard-credentials",
)
HOME = "spotcompute-system"
Row = dict[str, Any]

#: An Event that repeats is counted once a minute: longer than this suite can wait, and tested with the recorder.
AFTER_A_MINUTE = {("events.k8s.io", "events", "patch")}


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


def test_it_uses_every_right_it_is_given_and_lacks_none(
    stage: Stage, own_operator: Callable[..., Operator], control_plane: ControlPlane, right_to_guard: None
) -> None:
    """Two replicas quarrel, one of them finds nothing in stock; user data is in a ConfigMap; a third takes a Lease."""
    started = len(control_plane.audit_events())
    # What earlier tests have left there would be found, and not made.
    control_plane.kubectl.run("-n", HOME, "delete", "configmap", "spotcompute-accounts", "--ignore-not-found")
    control_plane.kubectl.run("-n", HOME, "delete", "lease", "spotcompute-operator", "--ignore-not-found")
    leader = own_operator(LEASE="spotcompute-operator")
    eventually(lambda: '"leading"' in leader.log_text(), "the Lease is taken")
    renewal = ("coordination.k8s.io", at_home("leases", "spotcompute-operator"), "patch")
    eventually(lambda: renewal in rights_used(control_plane.audit_events()[started:]), "the Lease is renewed")
    leader.kill9()
    control_plane.kubectl.run("-n", HOME, "delete", "lease", "spotcompute-operator")
    stage.kubectl.run("create", "configmap", "boot", "--from-literal=script=true")
    source = {"userDataFrom": {"configMapKeyRef": {"name": "boot", "key": "script"}}}
    own_operator(everywhere=True)
    other = own_operator(everywhere=True)
    stage.apply(replicas=2, template={"imageId": IMAGE, **source})
    eventually(lambda: quarrel(stage, control_plane, started), "one of the two is overtaken and reads again")
    other.kill9()
    stage.cloud.post("stock", zone=stage.account.zones[0], type="S5.MEDIUM4", stock=0)
    stage.scale(9)
    stage.until_reason("InsufficientCapacity")
    stage.delete()
    stage.until_gone()
    requests = control_plane.audit_events()[started:]
    granted = rights_of_the_operator(control_plane)
    assert granted - rights_used(requests) <= AFTER_A_MINUTE, "granted and never used"
    # Namespaces of earlier tests are gone with their grants; the operator still has a note of their keys.
    refused = [row for row in requests if row["responseStatus"]["code"] == 403 and stage.namespace in row["requestURI"]]
    told = [(row["requestReceivedTimestamp"], row["verb"], row["requestURI"], row["userAgent"]) for row in refused]
    assert told == [], "a right is missing"


def quarrel(stage: Stage, control_plane: ControlPlane, started: int) -> bool:
    """Give both replicas the same thing to do; True once one of them had to read the object again."""
    for replicas in (3, 2):
        stage.scale(replicas)
        stage.until_ready(replicas)
    used = rights_used(control_plane.audit_events()[started:])
    return ("spotcompute.dev", "spotcomputeenvironments", "get") in used


@pytest.fixture
def right_to_guard(cluster: Cluster) -> Iterator[None]:
    """What `deploy/overlays/all-namespaces-secrets` grants beyond `deploy/base`: a finalizer on the Secret in use."""
    name = "spotcompute-guard-credentials"
    account = "--serviceaccount=spotcompute-system:spotcompute-operator"
    cluster.kubectl.run("create", "clusterrolebinding", name, f"--clusterrole={name}", account)
    # The API server's authorizer learns of a binding some moments after it was made.
    somebody = "--as=system:serviceaccount:spotcompute-system:spotcompute-operator"
    eventually(lambda: cluster.kubectl.can("patch", "secrets", somebody, "-A"), "the right is known")
    yield
    cluster.kubectl.run("delete", "clusterrolebinding", name)


def rights_used(requests: list[Row]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of every request that was let in."""
    used = set()
    for row in requests:
        ref = row.get("objectRef")
        if ref and ref.get("resource") and row["responseStatus"]["code"] != 403:
            resource = ref["resource"] + (f"/{ref['subresource']}" if ref.get("subresource") else "")
            used.add((ref.get("apiGroup", ""), resource, row["verb"]))
            if ref.get("namespace") == HOME:
                name = "" if row["verb"] == "create" else ref.get("name", "")
                used.add((ref.get("apiGroup", ""), at_home(resource, name), row["verb"]))
    return used


def rights_of_the_operator(control_plane: ControlPlane) -> set[tuple[str, str, str]]:
    """(group, resource, verb) that the roles of the installation hold; people's roles are not among them."""
    granted = set()
    for name in ROLES:
        for rule in control_plane.kubectl.json("get", "clusterrole", name)["rules"]:
            for group in rule["apiGroups"]:
                granted |= {(group, resource, verb) for resource in rule["resources"] for verb in rule["verbs"]}
    # Apart, as those of one namespace: a right that is only used elsewhere is one too many.
    for rule in control_plane.kubectl.json("-n", HOME, "get", "role", "spotcompute-operator-home")["rules"]:
        for group in rule["apiGroups"]:
            names = {resource: rule.get("resourceNames", [""])[0] for resource in rule["resources"]}
            granted |= {
                (group, at_home(resource, name), verb) for resource, name in names.items() for verb in rule["verbs"]
            }
    return granted


def at_home(resource: str, name: str) -> str:
    """How a resource of the operator's own namespace is written here."""
    return f"{resource} {name} at home".replace("  ", " ")
