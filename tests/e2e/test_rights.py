"""Least privilege, proven on the real API server: every right is used, as widely as it is given, and each is needed.

The install for all namespaces; that for one is held against the same in `test_namespaced`. Last, the operator itself is
run without one of some rights, and with `RIGHTS=each` (`make rights`) of all: it must say which it lacks.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.rights import Right
from e2e.rights import (
    HOME,
    LEASE,
    Binding,
    Place,
    Row,
    account_without,
    assert_each_is_missed,
    assert_used_as_widely_as_given,
    bindings,
    is_refused,
    life,
    requested,
    shipped,
)
from e2e.running import Operator, answer
from e2e.simulator import Simulator
from e2e.stage import Stage, condition
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane
from localcluster.processes import free_port
from waiting import eventually

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


WATCHED = "(the watched namespace)"
EACH = [right for binding in shipped(WATCHED) for right in binding.rights]

#: One that ends in a condition, one that ends in a log and a job not done, one that was silent once.
SOME = {("get", "configmaps", WATCHED), ("patch", "spotcomputeenvironments/status", ""), ("get", "configmaps", HOME)}


@pytest.mark.parametrize(
    "lack",
    [
        right
        for right in EACH
        if os.environ.get("RIGHTS") == "each" or (right.verb, right.resource, right.namespace) in SOME
    ],
    ids=lambda right: f"{right.verb}-{right.resource}-{right.namespace or 'everywhere'}",
)
def test_an_operator_that_lacks_one_says_which(
    control_plane: ControlPlane,
    stage: Stage,
    own_operator: Callable[..., Operator],
    cloud: Simulator,
    tmp_path: Path,
    lack: Right,
) -> None:
    """In its log, at the level of an install, or in the object. Another operator releases what it leaves behind."""
    lack = lack._replace(namespace=stage.namespace if lack.namespace == WATCHED else lack.namespace)
    control_plane.kubectl.run("-n", HOME, "delete", "configmap", "spotcompute-accounts", "--ignore-not-found")
    control_plane.kubectl.run("-n", HOME, "delete", "lease", LEASE, "--ignore-not-found")
    place = Place(stage, "web")
    place.prepare()
    # Sold out after the first, so that the same Event comes again and again.
    cloud.post("stock", zone=stage.account.zones[0], type="S5.MEDIUM4", stock=1)
    with account_without(control_plane, lack, shipped(stage.namespace)) as kubeconfig:
        operator = Operator(kubeconfig, cloud.endpoint, tmp_path / "lacking.log", LEASE=LEASE, LOG_LEVEL="INFO")
        operator.may_be_refused = True
        operator.start()
        place.apply()
        if (lack.verb, lack.resource) == (
            "get",
            "spotcomputeenvironments",
        ):  # read when instances have lost their owner
            stage.until_reason("InsufficientCapacity")
            stage.vanish()
        eventually(lambda: is_told(lack, operator, stage), f"it says that it may not {lack.verb} {lack.resource}")
        operator.kill9()
        operator.judge()
    # It was killed in mid-launch: else whoever comes after waits for minutes for what may still happen to that request.
    own_operator(REPLAY_SECONDS="1", SIGNATURE_SECONDS="1")
    stage.kubectl.run("delete", "sce", "--all", "--wait=false")
    eventually(lambda: stage.get() is None and not cloud.instances(stage.account), "everything is released")


async def test_without_the_right_to_list_it_says_so_and_is_not_ready(
    control_plane: ControlPlane, operator_kubeconfig: Path, stage: Stage, cloud: Simulator, tmp_path: Path
) -> None:
    """A rolling update would else take the good replicas away for one that never sees an object."""
    control_plane.kubectl.run("-n", HOME, "delete", "lease", LEASE, "--ignore-not-found")
    (lack,) = [right for right in EACH if (right.verb, right.resource) == ("list", "spotcomputeenvironments")]
    port = str(free_port())
    with account_without(control_plane, lack, shipped(stage.namespace)) as kubeconfig:
        settings = {"LEASE": LEASE, "LOG_LEVEL": "INFO", "HEALTH_PORT": port, "LISTEN_HOST": "127.0.0.1"}
        operator = Operator(kubeconfig, cloud.endpoint, tmp_path / "lacking.log", **settings)
        operator.may_be_refused = True
        operator.start()
        eventually(lambda: is_told(lack, operator, stage), "it says that it may not list")
        assert (await answer(port, "/healthz"), await answer(port, "/readyz")) == (200, 503)
        operator.kill9()
        operator.judge()


def is_told(lack: Right, operator: Operator, stage: Stage) -> bool:
    kind = {"secrets": "Secret", "configmaps": "ConfigMap"}.get(lack.resource, "?")
    in_the_object = f"the operator may not read {kind}" in str(condition(stage.get("web") or {}, "Ready"))
    said = operator.log_text().replace('\\"', '"')
    return in_the_object or f'cannot {lack.verb} resource "{lack.resource}"' in said
