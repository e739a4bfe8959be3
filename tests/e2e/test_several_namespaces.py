"""One operator for some namespaces, with a Role in each: a Role that comes or goes concerns its own namespace only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.manifests import BASE, SEVERAL
from e2e.running import Operator
from e2e.simulator import Simulator
from e2e.stage import Stage
from localcluster.controlplane import ControlPlane
from waiting import eventually

pytestmark = pytest.mark.e2e

HOME, ACCOUNT = "spotcompute-system", "spotcompute-operator"
ROLES = SEVERAL / "namespace" / "roles.yaml"


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlPlane]:
    """A control plane that knows our kinds, and the operator in its own namespace."""
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane(crds=BASE.parents[1] / "crds") as cluster:
        cluster.kubectl.run("apply", "-f", str(BASE / "namespace.yaml"))
        for file in ("service-account.yaml", "role-home.yaml"):
            cluster.kubectl.run("apply", "-n", HOME, "-f", str(BASE / file))
        yield cluster


class Watched(Stage):
    """A namespace in which the operator gets its rights when a test says so."""

    def let_operator_read_sources(self) -> None:
        pass

    def grant(self) -> None:
        self.kubectl.run("apply", "-f", str(ROLES))

    def take(self) -> None:
        self.kubectl.run("delete", "-f", str(ROLES))


@pytest.mark.rare  # test_rights.py takes one right at a time
def test_a_role_that_is_missing_or_goes_keeps_the_operator_from_no_other_namespace(
    bare: ControlPlane, cloud: Simulator, tmp_path: Path
) -> None:
    yard, mill = (Watched(bare, cloud, f"test-{secrets.token_hex(4)}", tmp_path / name) for name in ("yard", "mill"))
    operator = Operator(
        bare.service_account_kubeconfig(HOME, ACCOUNT),
        cloud.endpoint,
        tmp_path / "operator.log",
        NAMESPACES=f"{yard.namespace},{mill.namespace}",
        CLUSTER_ID="mine",
        HOME_NAMESPACE=HOME,
    )
    operator.may_be_refused = True
    yard.grant()
    for stage in (yard, mill):
        stage.apply(replicas=1)
    operator.start()
    yard.until_ready(1)
    mill.grant()
    eventually(lambda: operator.returncode == 0, "it ends in order to begin anew with both", seconds=90)
    operator.start()
    mill.until_ready(1)
    mill.delete()
    mill.until_gone()
    mill.take()
    eventually(lambda: operator.returncode == 0, "it ends in order to begin anew with one", seconds=90)
    operator.start()
    yard.scale(2)
    yard.until_ready(2)
    yard.delete()
    yard.until_gone()
    for stage in (yard, mill):
        stage.close()
    operator.kill9()
    operator.judge()
