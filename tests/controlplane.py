"""One real control plane for each process that runs tests: a fake's finalizers and conflicts would prove nothing.

Tests of every folder share it, so they keep to namespaces of their own, and leave no environment behind. Those that
take the definition away, or begin without it, start another one.

A test that asks for it fails when it cannot be had: a suite that skips by itself stops testing unnoticed. Only
`SKIP_E2E=1`, set by hand, skips.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster.controlplane import ControlPlane
from objects import manifest
from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import Connection, connect
from spotcompute.kube.names import PLURAL

CRDS = Path(__file__).resolve().parents[1] / "crds"

#: Every request made under a ServiceAccount; of all programs here only operators have one.
AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: ["system:serviceaccounts"]}
  - {level: None}
"""


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """Etcd, API server and controller manager of our own, with our definition, and an audit log of ServiceAccounts."""
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane(crds=CRDS, audit_policy=AUDIT_POLICY) as plane:
        yield plane


@pytest.fixture(scope="module")
def swept(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same, and after the last test of a module no environment is left, whatever its finalizers."""
    yield control_plane
    left = control_plane.kubectl.json("get", PLURAL, "--all-namespaces")["items"]
    if not left:
        return
    control_plane.kubectl.run("delete", PLURAL, "--all", "--all-namespaces", "--wait=false")
    held = control_plane.kubectl.json("get", PLURAL, "--all-namespaces")
    for obj in held["items"]:
        obj["metadata"] = {key: obj["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
    if held["items"]:
        control_plane.kubectl.run("replace", "--validate=false", "-f", "-", stdin=json.dumps(held))


@pytest.fixture
def namespace(swept: ControlPlane) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    swept.kubectl.run("create", "namespace", name)
    return name


@pytest.fixture
async def connection(control_plane: ControlPlane) -> AsyncIterator[Connection]:
    connection = await connect({"KUBECONFIG": str(control_plane.kubeconfig)})
    yield connection
    await connection.close()


@pytest.fixture
def kube(connection: Connection) -> KubeClient:
    return KubeClient(connection)


@pytest.fixture
def create(control_plane: ControlPlane, namespace: str) -> Callable[..., dict[str, Any]]:
    """Create an environment the way a user does, and return it as it was stored."""

    def create(name: str = "web", **metadata: Any) -> dict[str, Any]:
        control_plane.kubectl.apply(json.dumps(manifest(namespace, name, **metadata)))
        return control_plane.kubectl.json("get", PLURAL, name, "--namespace", namespace, "--show-managed-fields")

    return create
