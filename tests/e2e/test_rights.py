"""Least privilege, proven on the real API server: every right is used, as widely as it is given, and each is needed.

The install for all namespaces; that for one is held against the same in `test_namespaced`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.rights import (
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
from e2e.simulator import Simulator
from e2e.stage import Stage
from e2e.waiting import eventually
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def right_to_guard(cluster: Cluster) -> Iterator[None]:
    """What `deploy/overlays/all-namespaces-secrets` grants beyond `deploy/base`: a finalizer on the Secret in use."""
    name = "spotcompute-guard-credentials"
    account = "--serviceaccount=spotcompute-system:spotcompute-operator"
    cluster.kubectl.run("create", "clusterrolebinding", name, f"--clusterrole={name}", account)
    # The API server's authorizer learns of a binding some moments after it was made.
    somebody = "--as=system:serviceaccount:spotcompute-system:spotcompute-operator"
    eventually(lambda: cluster.kubectl.can("patch", "secrets", somebody, "-A"), "the right is known")
    yield
    cluster.kubectl.run("delete", "clusterrolebinding", name)


@pytest.fixture(scope="module")
def places(
    control_plane: ControlPlane, cloud: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Place]]:
    """Two environments in two namespaces, of which nobody has told the operator before."""
    names = ("web", "farm")
    stages = [
        Stage(control_plane, cloud, f"test-{secrets.token_hex(4)}", tmp_path_factory.mktemp(name)) for name in names
    ]
    yield [Place(stage, name) for stage, name in zip(stages, names, strict=True)]
    for stage in stages:
        stage.judge()
        stage.close()


@pytest.fixture(scope="module")
def lived(
    control_plane: ControlPlane,
    places: list[Place],
    operator_kubeconfig: Path,
    cloud: Simulator,
    right_to_guard: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Row]:
    """What was asked of the API server in a life that takes every right."""
    logs = tmp_path_factory.mktemp("operators")

    def start(**settings: str) -> Operator:
        log = logs / f"operator-{len(list(logs.iterdir()))}.log"
        operator = Operator(operator_kubeconfig, cloud.endpoint, log, **settings)
        operator.start()
        return operator

    return life(control_plane, places, start, operator_kubeconfig)


@pytest.fixture(scope="module")
def bound(control_plane: ControlPlane, places: list[Place], lived: list[Row]) -> list[Binding]:
    return bindings(control_plane.kubectl, *(place.stage.namespace for place in places))


def test_it_uses_every_right_it_is_given_as_widely_as_it_is_given_and_lacks_none(
    lived: list[Row], bound: list[Binding], places: list[Place]
) -> None:
    assert_used_as_widely_as_given(bound, requested(lived))
    # Namespaces of earlier tests are gone with their grants; the operator still has a note of their keys.
    ours = {place.stage.namespace for place in places}
    refused = [row for row in lived if is_refused(row) and row["objectRef"].get("namespace") in ours]
    told = [(row["requestReceivedTimestamp"], row["verb"], row["requestURI"], row["userAgent"]) for row in refused]
    assert told == [], "a right is missing"


def test_whoever_lacks_any_one_of_them_is_refused_what_the_operator_asks_for(
    control_plane: ControlPlane, lived: list[Row], bound: list[Binding]
) -> None:
    assert_each_is_missed(control_plane.kubectl, bound, requested(lived))
