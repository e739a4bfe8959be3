"""The install for one namespace: the real operator under its Roles, in a cluster where it has no ClusterRole at all.

Apart from the other end-to-end tests, and on a control plane of its own: there `deploy/base` has bound ClusterRoles to
the same ServiceAccount, and a right that is missing here would be found there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from controlplane import AUDIT_POLICY, CRDS
from e2e.rights import (
    LEASE,
    Binding,
    Place,
    Row,
    assert_each_is_missed,
    assert_used_as_widely_as_given,
    bindings,
    is_refused,
    life,
    requested,
)
from e2e.running import Operator
from e2e.simulator import ROOT, Simulator
from e2e.stage import Object, Stage
from localcluster.controlplane import ControlPlane
from waiting import eventually

pytestmark = pytest.mark.e2e

OVERLAY = ROOT / "deploy" / "overlays" / "single-namespace"
HOME, ACCOUNT = "spotcompute-system", "spotcompute-operator"
CLUSTER_ID = "a-name-of-my-own"
AS_OPERATOR = f"--as=system:serviceaccount:{HOME}:{ACCOUNT}"


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlPlane]:
    """A control plane that knows our kinds, and nothing of the operator."""
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane(crds=CRDS, audit_policy=AUDIT_POLICY) as cluster:
        yield cluster


class Confined(Stage):
    """A stage whose operator has the rights of the overlay, copied and filled in as its comments say."""

    def __init__(self, cluster: ControlPlane, cloud: Simulator, directory: Path, cluster_id: str) -> None:
        self.cluster, self.cluster_id, self._operators = cluster, cluster_id, 0
        super().__init__(cluster, cloud, f"test-{secrets.token_hex(4)}", directory)

    def let_operator_read_sources(self) -> None:
        copy = self.directory / "overlay"
        copy.mkdir()
        text = (OVERLAY / "kustomization.yaml").read_text()
        for old, new in (
            ("../../base", os.path.relpath(ROOT / "deploy" / "base", copy)),
            ("SPOTCOMPUTE_NAMESPACE=spot-jobs", f"SPOTCOMPUTE_NAMESPACE={self.namespace}"),
            ("SPOTCOMPUTE_CLUSTER_ID=\n", f"SPOTCOMPUTE_CLUSTER_ID={self.cluster_id}\n"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (copy / "kustomization.yaml").write_text(text)
        (copy / "role-binding.yaml").write_text((OVERLAY / "role-binding.yaml").read_text())
        # Not by the stage's own kubectl, which names a namespace: the overlay says where each object belongs.
        kubectl = self.cluster.kubectl
        self.objects: list[Object] = list(yaml.safe_load_all(kubectl.run("kustomize", str(copy))))
        kubectl.run("apply", "--server-side", "-k", str(copy))
        eventually(lambda: self.kubectl.can("get", "secrets", AS_OPERATOR), "the operator may read the Secret")

    @property
    def operator_kubeconfig(self) -> Path:
        return self.cluster.service_account_kubeconfig(HOME, ACCOUNT)

    def operator(self, **others: str) -> Operator:
        """The operator with the settings that the overlay gives its pod, and `others` in their place."""
        (config,) = [item for item in self.objects if item["kind"] == "ConfigMap"]
        settings = {name.removeprefix("SPOTCOMPUTE_"): value for name, value in config["data"].items()}
        self._operators += 1
        log = self.directory / f"operator-{self._operators}.log"
        return Operator(self.operator_kubeconfig, self.cloud.endpoint, log, **{**settings, **others})


@pytest.fixture(scope="module")
def confined(bare: ControlPlane, cloud: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    stage = Confined(bare, cloud, tmp_path_factory.mktemp("confined"), CLUSTER_ID)
    yield stage
    stage.judge()
    stage.close()


def refused(cluster: ControlPlane) -> set[tuple[str, str]]:
    """Verb and resource of what the API server has forbidden the operator, as its audit log tells."""
    rows = [row for row in cluster.audit_events() if row.get("responseStatus", {}).get("code") == 403]
    return {(row["verb"], row["objectRef"]["resource"]) for row in rows}


def test_it_fills_replaces_and_releases_with_roles_alone(bare: ControlPlane, confined: Confined) -> None:
    bindings = bare.kubectl.json("get", "clusterrolebindings")["items"]
    assert not [item for item in bindings for subject in item.get("subjects", []) if subject["name"] == ACCOUNT]
    operator, cloud = confined.operator(), confined.cloud
    operator.start()
    confined.apply(replicas=2)
    confined.until_ready(2)
    (first, _) = cloud.running(confined.account)
    assert first["originalTags"]["spotcompute-cluster"] == CLUSTER_ID
    cloud.post("interrupt", account=confined.account.uin, count=1, notice_seconds=0)
    eventually(lambda: len(cloud.instances(confined.account, gone=True)) == 3, "what was taken back is replaced")
    confined.until_ready(2)
    confined.delete()
    confined.until_gone()
    assert cloud.running(confined.account) == []
    operator.kill9()
    operator.judge()
    # The guard of the Secret is never bound in a namespace: its end would take the right to let go of it again.
    assert refused(bare) <= {("patch", "secrets")}


@pytest.fixture(scope="module")
def lived(bare: ControlPlane, confined: Confined) -> list[Row]:
    """What was asked of the API server in a life that takes every right."""

    def start(**settings: str) -> Operator:
        operator = confined.operator(**settings)
        operator.start()
        return operator

    places = [Place(confined, "yard"), Place(confined, "mill")]
    return life(bare, places, start, confined.operator_kubeconfig)


@pytest.fixture(scope="module")
def bound(bare: ControlPlane, confined: Confined, lived: list[Row]) -> list[Binding]:
    found = bindings(bare.kubectl, confined.namespace)
    assert {(binding.kind, binding.namespace) for binding in found} == {
        ("RoleBinding", HOME),
        ("RoleBinding", confined.namespace),
    }
    return found


def test_it_uses_every_right_of_its_roles(lived: list[Row], bound: list[Binding]) -> None:
    assert_used_as_widely_as_given(bound, requested(lived))
    assert {(row["verb"], row["objectRef"]["resource"]) for row in lived if is_refused(row)} <= {("patch", "secrets")}


def test_whoever_lacks_any_one_of_them_is_refused_what_it_asks_for(
    bare: ControlPlane, lived: list[Row], bound: list[Binding]
) -> None:
    assert_each_is_missed(bare.kubectl, bound, requested(lived))


@pytest.mark.parametrize(
    ("verb", "resource", "scope"),
    [
        ("get", "namespaces/kube-system", ()),
        ("list", "customresourcedefinitions", ()),
        ("list", "namespaces", ()),
        ("list", "spotcomputeenvironments", ("-A",)),
        ("get", "spotcomputeenvironments", ("-n", "default")),
        ("get", "secrets", ("-n", "default")),
        ("get", "secrets", ("-n", HOME)),
        ("patch", "secrets", ("-n", "{watched}")),
        ("list", "secrets", ("-n", "{watched}")),
    ],
)
def test_the_api_server_grants_it_nothing_else(
    bare: ControlPlane, confined: Confined, verb: str, resource: str, scope: tuple[str, ...]
) -> None:
    where = [word.format(watched=confined.namespace) for word in scope]
    assert not bare.kubectl.can(verb, resource, *where, AS_OPERATOR)


def test_without_a_name_of_the_cluster_it_ends_and_says_what_to_set(
    bare: ControlPlane, cloud: Simulator, tmp_path: Path
) -> None:
    stage = Confined(bare, cloud, tmp_path, cluster_id="")
    bare.kubectl.run(
        "-n", HOME, "delete", "lease", LEASE, "--ignore-not-found"
    )  # else it waits for one that was killed
    operator = stage.operator()
    operator.start()
    eventually(lambda: operator.returncode == 1, "it has ended with an error")
    assert "Set SPOTCOMPUTE_CLUSTER_ID to a name that no other cluster" in operator.log_text()
    assert "Traceback" not in operator.log_text()
    stage.close()
