"""Who deletes a protected environment, or its namespace, is refused and told how to lift the protection."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from e2e.simulator import ROOT
from localcluster.controlplane import ControlPlane
from localcluster.kubectl import KubectlError
from objects import manifest
from spotcompute.kube.names import DELETION_PROTECTION as PROTECTION
from waiting import eventually

pytestmark = pytest.mark.e2e

POLICIES = ROOT / "deploy" / "base" / "admission-policy-deletion.yaml"


def environment(plane: ControlPlane, namespace: str, name: str, protection: str | None) -> None:
    obj = manifest(namespace, name, annotations={} if protection is None else {PROTECTION: protection})
    plane.kubectl.run("apply", "-f", "-", stdin=json.dumps(obj))


def refusal(plane: ControlPlane, *words: str) -> str:
    """What the API server says when this must not be deleted; empty when it would be."""
    try:
        plane.kubectl.run("delete", "--dry-run=server", *words)
    except KubectlError as error:
        return str(error)
    return ""


@pytest.fixture
def namespace(swept: ControlPlane) -> str:
    """A namespace of its own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    swept.kubectl.run("create", "namespace", name)
    return name


@pytest.fixture
def protecting(swept: ControlPlane, namespace: str) -> Iterator[ControlPlane]:
    """The shipped policies in force, and a namespace with a protected environment and others."""
    swept.kubectl.run("apply", "-f", str(POLICIES))
    environment(swept, namespace, "kept", "true")
    environment(swept, namespace, "free", None)
    environment(swept, namespace, "open", "false")
    eventually(lambda: "protected" in refusal(swept, "-n", namespace, "sce", "kept"), "the first policy is in force")
    eventually(lambda: "protected" in refusal(swept, "namespace", namespace), "the second policy is in force")
    yield swept
    swept.kubectl.run("delete", "-f", str(POLICIES))
    # It is in force for a moment still.
    eventually(lambda: not refusal(swept, "-n", namespace, "sce", "--all"), "nothing is protected any more")


def test_a_protected_environment_and_its_namespace_stay_until_the_protection_is_lifted(
    protecting: ControlPlane, namespace: str
) -> None:
    lift = f"kubectl -n {namespace} annotate sce kept {PROTECTION}-"
    said = refusal(protecting, "-n", namespace, "sce", "kept")
    assert f"this environment is protected from deletion. To delete it, lift the protection first: {lift}" in said
    said = refusal(protecting, "namespace", namespace)
    assert "environment kept in this namespace is protected from deletion. To delete both, lift the protection" in said
    assert lift in said
    assert "kept" in refusal(protecting, "-n", namespace, "sce", "--all")
    assert refusal(protecting, "-n", namespace, "sce", "free", "open") == ""
    protecting.kubectl.run("create", "namespace", f"{namespace}-empty")
    assert refusal(protecting, "namespace", f"{namespace}-empty") == ""

    protecting.kubectl.run(*lift.split()[1:])
    eventually(lambda: refusal(protecting, "-n", namespace, "sce", "kept") == "", "the environment may go")
    eventually(lambda: refusal(protecting, "namespace", namespace) == "", "the namespace may go")


def test_where_the_kind_is_missing_namespaces_can_be_deleted(protecting: ControlPlane) -> None:
    found = protecting.kubectl.json("get", "validatingadmissionpolicy", "spotcompute-deletion-of-namespaces")
    assert found["spec"]["failurePolicy"] == "Ignore"
    assert not (found.get("status") or {}).get("typeChecking", {}).get("expressionWarnings")
