"""`spotcompute check` on a real API server: a healthy install, and each way in which one is not.

And `spotcompute market`, which asks the same cloud. A control plane of its own, because rights are taken away.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from controlplane import CRDS
from deploy.manifests import BASE
from e2e.running import Operator, grant_shipped_rights
from e2e.simulator import ROOT, Simulator
from e2e.stage import Stage
from kubectl_spot.watched import operators, why_unseen
from localcluster.controlplane import ControlPlane
from spotcompute.commands.check import Check, Install, State, check_cluster
from spotcompute.commands.rights import rights_needed
from spotcompute.kube.connection import connect
from spotcompute.kube.inspection import Inspection
from waiting import eventually

pytestmark = pytest.mark.e2e

HOME = "spotcompute-system"
DEFINITIONS = {
    CRDS / "spotcompute.dev_spotcomputeenvironments.yaml": "observedTime",
    CRDS / "spotcompute.dev_spotinstances.yaml": "privateIP",
}
NODES = ROOT / "deploy" / "overlays" / "nodes" / "cluster-role-nodes.yaml"


class Place:
    """An install with one environment that runs, and a shell beside it."""

    def __init__(self, cluster: ControlPlane, cloud: Simulator, directory: Path) -> None:
        self.cluster, self.cloud = cluster, cloud
        self.account = grant_shipped_rights(cluster)
        self.stage = Stage(cluster, cloud, f"test-{secrets.token_hex(4)}", directory)
        self.operator = Operator(self.account, cloud.endpoint, directory / "operator.log", LEASE="spotcompute-operator")
        self.operator.start()
        self.stage.apply(replicas=1)
        self.stage.until_ready(1)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "operator"),
            "SPOTCOMPUTE_ENDPOINT": self.cloud.endpoint,
            "SPOTCOMPUTE_PROTOCOL": "http",
        }
        return subprocess.run(
            [sys.executable, "-m", "spotcompute", *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def check(self, kubeconfig: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("check", "--kubeconfig", str(kubeconfig or self.cluster.kubectl.kubeconfig), **variables)

    def at(self, moment: datetime) -> list[Check]:
        """What the checks of the cluster say at another time."""

        async def checked() -> list[Check]:
            connection = await connect({"KUBECONFIG": str(self.cluster.kubectl.kubeconfig)})
            try:
                install = Install(HOME, "0", user=f"system:serviceaccount:{HOME}:spotcompute-operator")
                return await check_cluster(Inspection(connection), install, lambda: moment)
            finally:
                await connection.close()

        return asyncio.run(checked())


@pytest.fixture(scope="module")
def place(cloud: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane(crds=CRDS) as cluster:
        place = Place(cluster, cloud, tmp_path_factory.mktemp("place"))
        yield place
        if not place.operator.is_running:
            place.operator.start()  # as a kubelet would: it ends when its rights or its definition go
        place.stage.delete()
        # Not by the stage's watch: the API server ends it when the definition changes.
        gone = ("get", "sce", "--all-namespaces", "--output=name")
        eventually(lambda: not cluster.kubectl.run(*gone).strip(), "the environment is released")
        place.stage.close()
        place.operator.kill9()


def test_a_healthy_install_passes_for_a_person_and_for_the_operator(place: Place) -> None:
    done = place.check()
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "The CRD spotcomputeenvironments.spotcompute.dev is that of this release",
        "The CRD spotinstances.spotcompute.dev is that of this release",
        "leads, and renewed its Lease",
        "The operator has the 6 rights of role-home.yaml",
        "The operator has seen 1 environment",
        "The operator may read 1 Secret of credentials",
        "answers, asked from here",
        "here and in the cluster",
    ):
        assert f"✔ {words}" in done.stdout or words in done.stdout, done.stdout
    assert "✗" not in done.stdout
    own = place.check(place.account)
    assert (own.returncode, "✗" in own.stdout) == (0, False), own.stdout + own.stderr
    assert "The operator has the 6 rights of role-home.yaml" in own.stdout


def test_a_right_that_is_missing_is_named_with_its_manifest(place: Place) -> None:
    kubectl = place.cluster.kubectl
    kubectl.run("delete", "rolebinding", "--namespace", HOME, "spotcompute-operator-home")
    try:
        done = eventually(lambda: (one := place.check()).returncode == 1 and one, "a check fails")
        assert "✗ The operator lacks rights of role-home.yaml: " in done.stdout, done.stdout
        assert f"patch leases spotcompute-operator in {HOME}" in done.stdout
        assert "kubectl apply -f deploy/base/role-home.yaml" in done.stdout
        own = place.check(place.account)
        assert "✗ The operator lacks rights of role-home.yaml: " in own.stdout, "the pod sees the same"
    finally:
        kubectl.run("apply", "--namespace", HOME, "-f", str(BASE / "role-home.yaml"))
        place.operator.kill9()  # it ends by itself when it cannot renew its Lease
        place.operator.start()
        eventually(lambda: place.check().returncode == 0, "it leads again")


def test_a_person_without_rights_is_told_what_could_not_be_checked(place: Place) -> None:
    stranger = place.cluster.service_account_kubeconfig(place.stage.namespace, "default")
    done = place.check(stranger)
    assert "- You may not ask for the operator's rights" in done.stdout, done.stdout
    assert "exec deploy/spotcompute-operator -- spotcompute check" in done.stdout
    assert "could not be made" in done.stdout
    assert "✗" not in done.stdout


def test_rights_for_nodes_are_missing_until_the_overlay_grants_them(place: Place) -> None:
    done = place.check(place.account, SPOTCOMPUTE_NODES="true")
    assert "✗ The operator lacks rights of cluster-role-nodes.yaml: list nodes, " in done.stdout, done.stdout
    assert "approve signers kubernetes.io/kubelet-serving" in done.stdout
    place.cluster.kubectl.run("apply", "-f", str(NODES))
    try:
        needed = [right for right in rights_needed("x", keeps_nodes=True) if right.manifest.endswith(NODES.name)]
        said = f"✔ The operator has the {len(needed)} rights of cluster-role-nodes.yaml"
        eventually(lambda: said in place.check(place.account, SPOTCOMPUTE_NODES="true").stdout, "it has them")
    finally:
        place.cluster.kubectl.run("delete", "-f", str(NODES))


def test_old_definitions_are_named_with_the_fields_that_they_lack(place: Place) -> None:
    for path, field in DEFINITIONS.items():
        old = yaml.safe_load(path.read_text())
        (version,) = old["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        del schema["properties"]["status"]["properties"][field]
        version["additionalPrinterColumns"] = []
        place.cluster.kubectl.apply(yaml.safe_dump(old))
    lacking = [f"is older than this program: it lacks status.{field}" for field in DEFINITIONS.values()]
    try:
        eventually(
            lambda: (said := place.check().stdout) and all(one in said for one in lacking), "the server publishes", 60
        )
    finally:
        for path in DEFINITIONS:
            place.cluster.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(path))
        eventually(lambda: place.check().stdout.count("is that of this release") == 2, "it is as before", 60)


def test_an_operator_that_is_down_is_named(place: Place) -> None:
    later = {one.name: one for one in place.at(datetime.now(UTC) + timedelta(minutes=5))}
    assert later["lease"].state is State.FAILED
    assert "Nobody leads" in later["lease"].said
    assert "logs --selector" in later["lease"].remedy
    assert later["clock"].state is State.FAILED, "this machine would be five minutes ahead"
    rendered = place.cluster.kubectl.run("kustomize", str(BASE))
    documents = [one for one in yaml.safe_load_all(rendered) if one["kind"] in ("Deployment", "ConfigMap")]
    place.cluster.kubectl.apply(yaml.safe_dump_all(documents))
    try:
        done = place.check()
        assert (done.returncode, "The operator is down: 0 of 2 replicas" in done.stdout) == (1, True), done.stdout
    finally:
        place.cluster.kubectl.run("delete", "deployment", "--namespace", HOME, "spotcompute-operator")


def test_a_namespace_that_is_not_watched_is_known_from_the_announcement(place: Place) -> None:
    found = json.loads(place.cluster.kubectl.run("get", "cm", "-A", "-o", "json"))["items"]
    (known,) = operators(found)
    assert (known.home, known.namespaces) == (HOME, None)
    obj = {"metadata": {"namespace": "elsewhere", "name": "web"}}
    assert f"The operator in {HOME} has not looked at it" in why_unseen(obj, [known])


def test_the_market_is_shown_without_a_cluster(place: Place) -> None:
    key = {
        "TENCENTCLOUD_SECRET_ID": place.stage.account.secret_id,
        "TENCENTCLOUD_SECRET_KEY": place.stage.account.secret_key,
    }
    zone = place.stage.account.zones[0]
    done = place.run("market", "--region", zone.rpartition("-")[0], "--zone", zone, "-o", "json", **key)
    assert done.returncode == 0, done.stderr
    pools = json.loads(done.stdout)["pools"]
    assert {one["zone"] for one in pools} == {zone}
    assert all(one["pricePerHour"] and one["stock"] for one in pools)
