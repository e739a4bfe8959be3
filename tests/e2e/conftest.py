"""One real control plane for the session, one fresh namespace for each test.

A test that asks for them fails when the control plane cannot be had: a suite that skips by itself stops testing
unnoticed. Only `SKIP_E2E=1`, set by hand, skips.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane, open_cluster

CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster that knows our kinds: a control plane of our own, or `$KUBECONFIG`'s with `USE_CLUSTER=1`."""
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1")
    with open_cluster(crds=CRDS) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def control_plane(cluster: Cluster) -> ControlPlane:
    """Our own control plane, for tests that stop, restart or restore it; somebody else's cluster is spared that."""
    if not isinstance(cluster, ControlPlane):
        pytest.skip("USE_CLUSTER=1: this test would stop the API server")
    return cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a new namespace; deleted afterwards without waiting for it."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl.run("create", "namespace", name)
    yield name
    cluster.kubectl.run("delete", "namespace", name, "--wait=false")
