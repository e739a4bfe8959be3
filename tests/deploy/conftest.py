"""A real API server with the base installed, once for all tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from deploy.manifests import BASE, ROOT
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def installed() -> Iterator[Cluster]:
    """A control plane of our own, even with USE_CLUSTER=1: what is installed here would stay in somebody's cluster.

    `deploy/base` is applied, and there are the namespaces that samples and overlays name.
    """
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane(crds=ROOT / "crds") as cluster:
        cluster.kubectl.run("apply", "--server-side", "-k", str(BASE))
        for namespace in ("spot-jobs", "render"):
            cluster.kubectl.run("create", "namespace", namespace)
        yield cluster
