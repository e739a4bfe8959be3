"""What a person sees who asks the API server with kubectl: explanations, columns, selections, the scale subresource.

No operator runs here: a status is written by hand where one is needed, and everything else must be right without.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from e2e.stage import manifest
from localcluster.cluster import Cluster
from localcluster.kubectl import Kubectl, KubectlError
from spotcompute.api.crd import custom_resource_definition
from waiting import eventually

pytestmark = pytest.mark.e2e

SCHEMA = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
ZONES = ["ap-guangzhou-3", "ap-guangzhou-4"]
STATUS = {
    "observedGeneration": 1,
    "phase": "Waiting",
    "reason": "InsufficientCapacity",
    "replicas": 2,
    "readyReplicas": 2,
    "updatedReplicas": 1,
    "reclaimed": 5,
    "zones": ZONES,
    "selector": "spotcompute.dev/environment=0123456789-abcdef",
    "cost": {"perHour": "0.0452"},
    "nextAttemptTime": "2026-11-23T04:40:09Z",
}


@pytest.fixture(scope="module", autouse=True)
def served(cluster: Cluster) -> None:
    """A kind that has just been made takes some moments to get into all that kubectl reads."""

    def is_explained() -> bool:
        try:
            return bool(cluster.kubectl.run("explain", "sce.spec"))
        except KubectlError:
            return False

    eventually(is_explained, "kubectl explains the kind")


@pytest.fixture
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace."""
    namespace = f"kubectl-{secrets.token_hex(4)}"
    cluster.kubectl.run("create", "namespace", namespace)
    yield replace(cluster.kubectl, namespace=namespace)
    cluster.kubectl.run("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def three(cluster: Cluster) -> Iterator[Kubectl]:
    """kubectl in a namespace with three environments that differ in all that can be chosen by."""
    namespace = f"kubectl-{secrets.token_hex(4)}"
    cluster.kubectl.run("create", "namespace", namespace)
    ours = replace(cluster.kubectl, namespace=namespace)
    create(ours, "web", STATUS)
    stalled = STATUS | {"phase": "Stalled", "reason": "InvalidCredentials"}
    create(ours, "stalled", stalled, credentialsSecretRef={"name": "other"})
    create(ours, "far", region="ap-singapore", placements=[{"zone": "ap-singapore-1"}])
    yield ours
    cluster.kubectl.run("delete", "namespace", namespace, "--wait=false")


def create(kubectl: Kubectl, name: str = "web", status: dict[str, Any] | None = None, **spec: Any) -> None:
    """An environment, and its status as an operator would have written it."""
    kubectl.apply(json.dumps(manifest(name, ZONES[0], **spec)))
    if status:
        change = json.dumps({"status": status})
        kubectl.run("patch", "sce", name, "--subresource=status", "--type=merge", "-p", change)


def table(printed: str) -> list[list[str]]:
    """The cells of what kubectl prints, without the name and the age of a row."""
    return [re.split(r"\s{2,}", line.strip())[1:] for line in printed.splitlines()]


def test_explain_tells_of_every_field(kubectl: Kubectl) -> None:
    told = " ".join(kubectl.run("explain", "sce.spec").split())
    for name, field in SCHEMA["properties"]["spec"]["properties"].items():
        assert f"{name} <" in told
        assert field["description"] in told
    tree = kubectl.run("explain", "sce", "--recursive")
    for path in ("minAvailable", "internetMaxBandwidthOut", "configMapKeyRef", "nextAttemptTime", "reclaimed"):
        assert re.search(rf"^ +{path}\t<", tree, re.MULTILINE)


def test_a_list_is_explained_once(kubectl: Kubectl) -> None:
    told = kubectl.run("explain", "sce.spec.placements")
    description = " ".join(re.findall(r"DESCRIPTION:(.*?)FIELDS:", told, re.DOTALL)[0].split())
    assert description == SCHEMA["properties"]["spec"]["properties"]["placements"]["description"]


@pytest.mark.parametrize("word", ["sce", "spotcomputeenvironment", "spotcomputeenvironments.spotcompute.dev", "spot"])
def test_it_is_found_by_every_name_it_has(kubectl: Kubectl, word: str) -> None:
    create(kubectl)
    assert kubectl.run("get", word, "-o", "name").split() == ["spotcomputeenvironment.spotcompute.dev/web"]


def test_nobody_has_seen_a_newborn(kubectl: Kubectl) -> None:
    create(kubectl)
    status = kubectl.json("get", "sce", "web")["status"]
    assert status == {"observedGeneration": -1, "replicas": 0, "reclaimed": 0}, "what is ready is not known yet"


def test_the_columns_show_how_it_stands(kubectl: Kubectl) -> None:
    create(kubectl, status=STATUS, replicas=4, market={"maxPrice": "0.0923"})
    head, row = table(kubectl.run("get", "sce"))
    assert head == ["DESIRED", "READY", "UP-TO-DATE", "COST/H", "STATUS", "REASON", "AGE"]
    assert row[:-1] == ["4", "2", "1", "0.0452", "Waiting", "InsufficientCapacity"]


def test_wide_columns_show_what_it_has_been_through_and_where(kubectl: Kubectl) -> None:
    create(kubectl, status=STATUS, replicas=4, market={"maxPrice": "0.0923"})
    head, row = table(kubectl.run("get", "sce", "-o", "wide"))
    assert head[7:] == ["RECLAIMED", "NEXT-TRY", "ZONES", "MAXPRICE", "REGION", "TYPES", "UNIT"]
    assert row[7:] == [
        "5",
        "2026-11-23T04:40:09Z",
        '["ap-guangzhou-3","ap-guangzhou-4"]',
        "0.0923",
        "ap-guangzhou",
        '["S5.MEDIUM4"]',
        "Instance",
    ]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("spec.region=ap-singapore", ["far"]),
        ("spec.region!=ap-singapore", ["stalled", "web"]),
        ("spec.credentialsSecretRef.name=other", ["stalled"]),
        ("status.phase=Stalled", ["stalled"]),
        ("status.phase=", ["far"]),  # nobody has seen it yet
        ("status.reason=InsufficientCapacity", ["web"]),
        ("status.phase=Waiting,spec.region=ap-guangzhou", ["web"]),
    ],
)
def test_environments_are_chosen_by_their_fields(three: Kubectl, selector: str, names: list[str]) -> None:
    found = three.run("get", "sce", "--field-selector", selector, "-o", "name").split()
    assert found == [f"spotcomputeenvironment.spotcompute.dev/{name}" for name in names]


def test_a_field_that_cannot_be_chosen_by_is_refused(three: Kubectl) -> None:
    with pytest.raises(KubectlError, match=r"field label not supported: spec\.replicas"):
        three.run("get", "sce", "--field-selector", "spec.replicas=2")


def test_scale_works_before_anybody_has_seen_the_object(kubectl: Kubectl) -> None:
    create(kubectl, replicas=None)
    path = f"/apis/spotcompute.dev/v1alpha1/namespaces/{kubectl.namespace}/spotcomputeenvironments/web/scale"
    scale = json.loads(kubectl.run("get", "--raw", path))
    assert (scale["spec"], scale["status"]) == ({}, {"replicas": 0})  # zeros of spec are left out
    kubectl.run("scale", "sce", "web", "--replicas=3")
    scaled = kubectl.json("get", "sce", "web")
    assert (scaled["spec"]["replicas"], scaled["metadata"]["generation"]) == (3, 2)
    with pytest.raises(KubectlError, match="Expected replicas to be 7, was 3"):
        kubectl.run("scale", "sce", "web", "--replicas=4", "--current-replicas=7")
    with pytest.raises(KubectlError, match="should be less than or equal to 2000"):
        kubectl.run("scale", "sce", "web", "--replicas=2001")


def test_an_autoscaler_is_told_the_selector(kubectl: Kubectl) -> None:
    create(kubectl, status=STATUS)
    path = f"/apis/spotcompute.dev/v1alpha1/namespaces/{kubectl.namespace}/spotcomputeenvironments/web/scale"
    scale = json.loads(kubectl.run("get", "--raw", path))
    assert scale["status"] == {"replicas": 2, "selector": STATUS["selector"]}
