"""An existing cluster is as it was when the demo has left it, also after a demo that could not tidy up."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from localcluster.cluster import ClusterError, ExistingCluster
from localcluster.controlplane import ControlPlane
from localcluster.kubectl import Kubectl
from localdemo import installation
from localdemo.surroundings import REPOSITORY

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.environ.get("SKIP_E2E") == "1", reason="SKIP_E2E=1: no real control plane is wanted"),
]


@pytest.fixture(scope="module")
def host() -> Iterator[ExistingCluster]:
    """Somebody else's cluster."""
    with ControlPlane() as plane, ExistingCluster(plane.kubectl) as existing:
        yield existing


def inventory(kubectl: Kubectl) -> list[str]:
    kinds = "crd,namespaces,clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,secrets"
    return sorted(kubectl.run("get", kinds, "--all-namespaces", "-o", "name").split())


def test_a_killed_demos_leavings_go_and_what_others_brought_stays(host: ExistingCluster) -> None:
    kubectl = host.kubectl
    kubectl.run("create", "clusterrole", "spotcompute-view", "--verb=get", "--resource=pods")
    theirs, before = kubectl.json("get", "clusterrole", "spotcompute-view"), inventory(kubectl)
    killed = installation.installed(host)
    killed.__enter__()
    here = f"--namespace={installation.NAMESPACE}"
    kubectl.run("apply", here, "-f", str(REPOSITORY / "deploy" / "samples" / "first.yaml"))
    kubectl.run("patch", here, "sce", "first", "--type=merge", '--patch={"metadata":{"finalizers":["a/finalizer"]}}')
    kubectl.run("create", here, "secret", "generic", "tencent-credentials")
    with installation.installed(host):
        assert kubectl.run("get", here, "sce,secrets", "-o", "name").split() == []
        assert kubectl.run(
            "get", "serviceaccount", f"--namespace={installation.OPERATOR_NAMESPACE}", installation.OPERATOR_ACCOUNT
        )
    assert inventory(kubectl) == before
    assert kubectl.json("get", "clusterrole", "spotcompute-view") == theirs


def test_where_an_operator_is_installed_the_demo_does_not_play(host: ExistingCluster) -> None:
    kubectl, label = host.kubectl, f"app.kubernetes.io/name={installation.OPERATOR_ACCOUNT}"
    kubectl.run("create", "deployment", installation.OPERATOR_ACCOUNT, "--image=operator")
    kubectl.run("label", "deployment", installation.OPERATOR_ACCOUNT, label)
    assert_refused(host, "an operator")
    kubectl.run("delete", "deployment", installation.OPERATOR_ACCOUNT)


def test_a_namespace_that_is_not_ours_is_not_emptied(host: ExistingCluster) -> None:
    host.kubectl.run("create", "namespace", installation.NAMESPACE)
    host.kubectl.run("create", f"--namespace={installation.NAMESPACE}", "secret", "generic", "precious")
    assert_refused(host, "a namespace")


def assert_refused(host: ExistingCluster, because: str) -> None:
    before = inventory(host.kubectl)
    with pytest.raises(ClusterError, match=f"this cluster has {because}"), installation.installed(host):
        pytest.fail("it moved in")
    assert set(inventory(host.kubectl)) >= set(before)
    assert not host.kubectl.run("get", "crd", "--ignore-not-found", installation.CRD)
