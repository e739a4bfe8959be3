"""For each module a simulated cloud; for each test a namespace and an account, on the control plane that all share."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane import CRDS
from e2e.running import Operator, grant_shipped_rights
from e2e.simulator import Simulator, world
from e2e.stage import Stage
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane, open_cluster
from localcluster.kubectl import KubectlError
from waiting import PATIENCE_SECONDS

ACCOUNTS = 40  # of one simulated cloud: at least one for each test of a module


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster that knows our kinds: a control plane of our own, or `$KUBECONFIG`'s with `USE_CLUSTER=1`."""
    if os.environ.get("SKIP_E2E") != "1" and os.environ.get("USE_CLUSTER") == "1":
        with open_cluster(crds=CRDS) as existing:
            yield existing
        return
    yield request.getfixturevalue("control_plane")


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> ControlPlane:
    """Our own control plane, for tests that stop, restart or audit it; somebody else's cluster is spared that."""
    if os.environ.get("USE_CLUSTER") == "1":
        pytest.skip("USE_CLUSTER=1: this test needs an API server of its own")
    shared: ControlPlane = request.getfixturevalue("control_plane")
    return shared


@pytest.fixture(scope="session")
def operator_kubeconfig(cluster: Cluster) -> Path:
    """The kubeconfig of the operator's own ServiceAccount, with the rights that `deploy/base` gives it and no other."""
    return grant_shipped_rights(cluster)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulated cloud in which every test gets an account and zones of its own."""
    simulator = Simulator.start(tmp_path_factory.mktemp("cloud"), world=world(ACCOUNTS))
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def shared_operator(
    cluster: Cluster, operator_kubeconfig: Path, cloud: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """One operator for all tests of a module, watching all namespaces. At the end nothing may be left of any test."""
    operator = Operator(operator_kubeconfig, cloud.endpoint, tmp_path_factory.mktemp("operator") / "operator.log")
    operator.start()
    yield operator
    _delete_everything(cluster, cloud)
    operator.kill9()
    operator.judge()


def _delete_everything(cluster: Cluster, cloud: Simulator) -> None:
    """No environment is left, and with it has gone every instance that an operator of ours has launched."""
    try:
        cluster.kubectl.run("delete", "sce", "--all", "--all-namespaces", f"--timeout={PATIENCE_SECONDS:g}s")
    except (KubectlError, subprocess.TimeoutExpired) as failure:
        raise AssertionError(f"{failure}\n{cluster.kubectl.run('get', 'sce', '-A', '-o', 'wide')}") from None
    left = [row for row in cloud.get("instances")["instances"] if row["live"] and "managed-by" in row["originalTags"]]
    assert not left, f"environments are gone, but these live: {left}"


@pytest.fixture
def stage(cluster: Cluster, operator_kubeconfig: Path, cloud: Simulator, tmp_path: Path) -> Iterator[Stage]:
    """A fresh namespace with an account's Secret in it. Judged at the end, whatever the test looked at.

    `operator_kubeconfig` stands for the shipped roles, without which the operator could not be let read the Secret.
    """
    stage = Stage(cluster, cloud, f"test-{secrets.token_hex(4)}", tmp_path)
    yield stage
    stage.judge()
    stage.close()


@pytest.fixture
def own_operator(
    cluster: Cluster, operator_kubeconfig: Path, cloud: Simulator, stage: Stage, tmp_path: Path
) -> Iterator[Callable[..., Operator]]:
    """Start operators that watch this test's namespace alone, unless told `everywhere=True`.

    At the end they must be able to release everything.
    """
    operators: list[Operator] = []

    def start(*, everywhere: bool = False, **settings: str) -> Operator:
        log = tmp_path / f"operator-{len(operators)}.log"
        scope = {} if everywhere else {"NAMESPACE": stage.namespace}
        operator = Operator(operator_kubeconfig, cloud.endpoint, log, **scope, **settings)
        operator.start()
        operators.append(operator)
        return operator

    yield start
    cloud.clear_faults()
    if not any(operator.is_running for operator in operators):
        start()
    _delete_everything(cluster, cloud)
    for operator in operators:
        operator.kill9()
        operator.judge()
