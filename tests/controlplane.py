"""A real API server, shared by the tests of every folder that need no other: finalizers, subresources, conflicts."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from localcluster.controlplane import ControlPlane
from objects import manifest
from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import Connection, connect
from spotcompute.kube.names import CRD_NAME, GROUP, KIND, PLURAL, VERSION

#: The least that behaves like ours: a generation, a status subresource, fields that are kept.
CRD = f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {CRD_NAME}}}
spec:
  group: {GROUP}
  scope: Namespaced
  names: {{kind: {KIND}, plural: {PLURAL}, singular: {KIND.lower()}, listKind: {KIND}List}}
  versions:
    - name: {VERSION}
      served: true
      storage: true
      subresources: {{status: {{}}}}
      schema:
        openAPIV3Schema:
          type: object
          x-kubernetes-preserve-unknown-fields: true
"""


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane() as plane:
        plane.kubectl.apply(CRD)
        plane.kubectl.wait_established(f"crd/{CRD_NAME}")
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl.run("create", "namespace", name)
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
