"""The life of a release on a real API server: installed, used, upgraded, removed, and installed again.

Apart from `test_chart`, because each test here has the one CRD of a cluster to itself.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from deploy import chart
from deploy.chart import CHART, NAMESPACE, RELEASE, Helm, HelmError
from deploy.manifests import BASE, SAMPLES, Manifest, rendered
from localcluster.controlplane import ControlPlane
from localcluster.kubectl import KubectlError

pytestmark = pytest.mark.e2e

CRD = "spotcomputeenvironments.spotcompute.dev"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def empty() -> Iterator[ControlPlane]:
    """A control plane of our own that knows nothing of us but the namespace to install in."""
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    with ControlPlane() as cluster:
        cluster.kubectl.run("apply", "-f", str(BASE / "namespace.yaml"))
        cluster.kubectl.run("create", "namespace", "spot-jobs")
        yield cluster


@pytest.fixture
def helm(empty: ControlPlane) -> Iterator[Run]:
    """helm in that namespace. At the end nothing of the release is left, and no CRD."""
    client = Helm(empty.kubeconfig)

    def run(verb: str, *arguments: str) -> str:
        image = ("--set", chart.REPOSITORY) if verb in ("install", "upgrade") else ()
        return client.run(verb, *arguments, *image, "--namespace", NAMESPACE)

    yield run
    run("uninstall", RELEASE, "--ignore-not-found")
    empty.kubectl.run("delete", "crd", CRD, "--ignore-not-found")


def _has_crd(cluster: ControlPlane) -> bool:
    return CRD in cluster.kubectl.run("get", "crd", "-o", "name")


def exists(cluster: ControlPlane, manifest: Manifest) -> bool:
    metadata = manifest["metadata"]
    group, _, version = manifest["apiVersion"].rpartition("/")
    kind = ".".join(filter(None, (manifest["kind"], version, group))) if group else manifest["kind"]
    scope = ("--namespace", metadata["namespace"]) if "namespace" in metadata else ()
    return bool(cluster.kubectl.run("get", kind, metadata["name"], *scope, "--ignore-not-found", "-o", "name"))


def test_a_release_makes_every_object_and_takes_all_but_the_crd_away_again(empty: ControlPlane, helm: Run) -> None:
    helm("install", RELEASE, str(CHART))
    made = chart.objects()
    assert [item for item in made if not exists(empty, item)] == []
    empty.kubectl.wait_established(f"crd/{CRD}")
    empty.kubectl.run("-n", "spot-jobs", "apply", "-f", str(SAMPLES / "first.yaml"))
    helm("uninstall", RELEASE)
    left = [item["kind"] for item in made if exists(empty, item)]
    assert left == ["CustomResourceDefinition"] * 2
    assert empty.kubectl.run("-n", "spot-jobs", "get", "sce", "-o", "name"), "environments stay with their CRD"
    helm("install", RELEASE, str(CHART))
    assert [item for item in made if not exists(empty, item)] == []


def test_a_crd_that_is_not_kept_goes_with_the_release(empty: ControlPlane, helm: Run) -> None:
    helm("install", RELEASE, str(CHART), "--set", "crds.keep=false")
    assert _has_crd(empty)
    helm("uninstall", RELEASE)
    empty.kubectl.run("wait", "--for=delete", f"crd/{CRD}", "--timeout=150s")


def test_the_notes_commands_work_as_they_stand(empty: ControlPlane, helm: Run) -> None:
    notes = helm("install", RELEASE, str(CHART)).partition("NOTES:")[2]
    rollout, grant = (line.strip() for line in notes.splitlines() if line.strip().startswith("kubectl "))
    assert rollout == f"kubectl -n {NAMESPACE} rollout status deployment/{RELEASE}"
    empty.kubectl.run(*shlex.split(rollout)[1:], "--watch=false")  # no pod ever starts here
    operator = f"--as=system:serviceaccount:{NAMESPACE}:{RELEASE}"
    assert not empty.kubectl.can("get", "secrets", "-n", "spot-jobs", operator)
    empty.kubectl.run(*shlex.split(grant)[1:])
    assert empty.kubectl.can("get", "secrets", "-n", "spot-jobs", operator)
    empty.kubectl.run("-n", "spot-jobs", "delete", "rolebinding", "spotcompute-read-sources")


def test_an_upgrade_changes_the_settings_and_lets_the_old_ones_go(empty: ControlPlane, helm: Run) -> None:
    helm("install", RELEASE, str(CHART))
    (before,) = settings(empty)
    helm("upgrade", RELEASE, str(CHART), "--set", "settings.site=international")
    (after,) = settings(empty)
    assert after["data"]["SPOTCOMPUTE_SITE"] == "international"
    deployment = empty.kubectl.json("-n", NAMESPACE, "get", "deployment", RELEASE)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": after["metadata"]["name"]}}]
    assert after["metadata"]["name"] != before["metadata"]["name"]


def settings(cluster: ControlPlane) -> list[Manifest]:
    found: list[Manifest] = cluster.kubectl.json("-n", NAMESPACE, "get", "configmaps")["items"]
    return [item for item in found if item["metadata"]["name"].startswith("spotcompute-settings")]


def test_an_upgrade_brings_an_older_crd_to_the_present_one(empty: ControlPlane, helm: Run, tmp_path: Path) -> None:
    older = shutil.copytree(CHART, tmp_path / "older")
    copy = older / "files" / "spotcompute.dev_spotcomputeenvironments.yaml"
    present = yaml.safe_load(copy.read_text())
    past = yaml.safe_load(copy.read_text())
    (version,) = past["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["gang"]
    spec["x-kubernetes-validations"] = [one for one in spec["x-kubernetes-validations"] if "gang" not in one["rule"]]
    version["additionalPrinterColumns"].pop()
    copy.write_text(yaml.safe_dump(past))
    first = yaml.safe_load((SAMPLES / "first.yaml").read_text())
    first["spec"]["gang"] = {"minAvailable": 1}

    helm("install", RELEASE, str(older))
    with pytest.raises(KubectlError, match=r"unknown field .*gang"):
        empty.kubectl.apply(json.dumps(first), "-n", "spot-jobs", "--validate=strict", "--dry-run=server")
    helm("upgrade", RELEASE, str(CHART))
    empty.kubectl.apply(json.dumps(first), "-n", "spot-jobs", "--validate=strict", "--dry-run=server")
    (found,) = empty.kubectl.json("get", "crd", CRD)["spec"]["versions"]
    (wanted,) = present["spec"]["versions"]
    assert found["schema"] == wanted["schema"]
    assert found["additionalPrinterColumns"] == wanted["additionalPrinterColumns"]


@pytest.mark.parametrize("asked", [("--set", "crds.enabled=false"), ("--take-ownership",)], ids=["left", "taken"])
def test_a_crd_from_the_other_way_is_not_taken_unasked(empty: ControlPlane, helm: Run, asked: tuple[str, ...]) -> None:
    empty.kubectl.run("apply", "--server-side", "-k", str(CHART.parents[2] / "crds"))
    with pytest.raises(HelmError, match="invalid ownership metadata"):
        helm("install", RELEASE, str(CHART))
    helm("install", RELEASE, str(CHART), *asked)
    assert _has_crd(empty)


def test_an_install_goes_from_one_way_to_the_other_and_back(empty: ControlPlane, helm: Run) -> None:
    """As docs/install.md says; the environments stay where they are."""
    empty.kubectl.run("apply", "--server-side", "-k", str(BASE))
    empty.kubectl.run("-n", "spot-jobs", "apply", "-f", str(SAMPLES / "first.yaml"))
    empty.kubectl.run("-n", NAMESPACE, "delete", "deployment,networkpolicy,poddisruptionbudget", RELEASE)
    helm("install", RELEASE, str(CHART), "--take-ownership")
    assert [item for item in chart.objects() if not exists(empty, item)] == []
    helm("uninstall", RELEASE)
    empty.kubectl.run("apply", "--server-side", "-k", str(BASE))
    assert [item for item in rendered(BASE) if not exists(empty, item)] == []
    assert empty.kubectl.run("-n", "spot-jobs", "get", "sce", "-o", "name").split() == [
        "spotcomputeenvironment.spotcompute.dev/first"
    ]
    kinds = "deployments,serviceaccounts,configmaps,roles,rolebindings,networkpolicies,poddisruptionbudgets"
    for scope in (("-n", NAMESPACE, kinds), ("clusterroles,clusterrolebindings",)):
        empty.kubectl.run("delete", *scope, "-l", "app.kubernetes.io/part-of=spotcompute")
