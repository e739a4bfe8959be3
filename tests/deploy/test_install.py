"""The manifests on a real API server: admitted where they must be, and refused where they would be weaker."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import yaml

from deploy.manifests import ALL_SECRETS, BASE, EXAMPLE, ROOT, SAMPLES, SINGLE, Manifest, of_kind, only, rendered
from localcluster.cluster import Cluster
from localcluster.kubectl import KubectlError

pytestmark = pytest.mark.e2e

OPERATOR = "--as=system:serviceaccount:spotcompute-system:spotcompute-operator"
DRY = "--dry-run=server"


def pod() -> Manifest:
    template = only(BASE, "Deployment", "spotcompute-operator")["spec"]["template"]
    metadata = {**template["metadata"], "name": "probe", "namespace": "spotcompute-system"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def readme_manifests() -> list[str]:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [block for block in blocks if "apiVersion" in block]


def test_the_pod_is_admitted_where_the_restricted_standard_is_enforced(installed: Cluster) -> None:
    labels = installed.kubectl.json("get", "namespace", "spotcompute-system")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    installed.kubectl.apply(json.dumps(pod()), DRY)


@pytest.mark.parametrize("weakness", ["runAsNonRoot", "seccompProfile"])
def test_a_weaker_pod_is_refused_there(installed: Cluster, weakness: str) -> None:
    weaker = copy.deepcopy(pod())
    del weaker["spec"]["securityContext"][weakness]
    with pytest.raises(KubectlError, match=f"violates PodSecurity.*{weakness}"):
        installed.kubectl.apply(json.dumps(weaker), DRY)


@pytest.mark.parametrize("overlay", [BASE, ALL_SECRETS, SINGLE, EXAMPLE], ids=lambda path: path.name)
def test_every_object_of_every_install_is_accepted(installed: Cluster, overlay: Path) -> None:
    answer = installed.kubectl.run("apply", "--server-side", DRY, "-o", "name", "-k", str(overlay))
    assert len(answer.split()) == len(rendered(overlay))


@pytest.mark.parametrize(
    ("verb", "resource", "scope", "allowed"),
    [
        ("watch", "spotcomputeenvironments", ("-A",), True),
        ("patch", "spotcomputeenvironments", ("--subresource=status", "-n", "spot-jobs"), True),
        ("update", "spotcomputeenvironments", ("-n", "spot-jobs"), False),
        ("create", "events.events.k8s.io", ("-n", "spot-jobs"), True),
        ("get", "namespaces/kube-system", (), True),
        ("get", "namespaces/default", (), False),
        ("delete", "spotcomputeenvironments", ("-n", "spot-jobs"), False),
        ("get", "secrets", ("-n", "spot-jobs"), False),
        ("patch", "secrets", ("-n", "spot-jobs"), False),
        ("list", "secrets", ("-A",), False),
        ("create", "pods", ("-n", "spotcompute-system"), False),
    ],
)
def test_the_api_server_grants_the_operator(
    installed: Cluster, verb: str, resource: str, scope: tuple[str, ...], allowed: bool
) -> None:
    assert installed.kubectl.can(verb, resource, *scope, OPERATOR) is allowed


@pytest.mark.parametrize(
    ("role", "verb", "subresource", "allowed"),
    [
        ("view", "get", "", True),
        ("view", "get", "status", True),
        ("view", "create", "", False),
        ("edit", "get", "", True),
        ("edit", "create", "", True),
        ("edit", "patch", "scale", True),
        ("edit", "patch", "status", False),
        ("admin", "delete", "", True),
        ("admin", "patch", "status", False),
    ],
)
def test_the_common_roles_reach_environments(
    installed: Cluster, role: str, verb: str, subresource: str, allowed: bool
) -> None:
    user = f"{role}-user"
    binding = ("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", "-n", "spot-jobs")
    installed.kubectl.apply(installed.kubectl.run(*binding, "--dry-run=client", "-o", "yaml"))
    of = (f"--subresource={subresource}",) if subresource else ()
    assert installed.kubectl.can(verb, "spotcomputeenvironments", *of, "-n", "spot-jobs", f"--as={user}") is allowed


def test_a_namespace_opens_its_secrets_with_the_samples_binding(installed: Cluster) -> None:
    installed.kubectl.run("create", "namespace", "granting")
    installed.kubectl.run("-n", "granting", "apply", "-f", str(SAMPLES / "read-sources.yaml"))
    assert installed.kubectl.can("get", "secrets", "-n", "granting", OPERATOR)
    assert not installed.kubectl.can("patch", "secrets", "-n", "granting", OPERATOR)
    assert not installed.kubectl.can("list", "secrets", "-n", "granting", OPERATOR)
    assert not installed.kubectl.can("get", "secrets", "-n", "spot-jobs", OPERATOR)


def test_every_sample_is_accepted(installed: Cluster) -> None:
    answer = installed.kubectl.run("-n", "spot-jobs", "apply", DRY, "-o", "name", "-k", str(SAMPLES))
    kinds = [line.partition("/")[0] for line in answer.split()]
    assert kinds.count("spotcomputeenvironment.spotcompute.dev") == 3
    installed.kubectl.run("-n", "spot-jobs", "apply", DRY, "-f", str(SAMPLES / "secret.example.yaml"))


def test_no_sample_has_a_field_that_the_api_server_would_drop(installed: Cluster) -> None:
    for environment in of_kind(SAMPLES, "SpotComputeEnvironment"):
        text = json.dumps(environment)
        installed.kubectl.run("-n", "spot-jobs", "create", "--validate=strict", DRY, "-f", "-", stdin=text)


def test_samples_use_ids_of_the_simulators_default_world() -> None:
    world = yaml.safe_load((ROOT / "operator/cvmsim/worlds/default.yaml").read_text())
    images = {image["id"] for image in world["images"]}
    (account,) = [account for account in world["accounts"] if account["name"] == "main"]
    subnets = {name: net["zone"] for vpc in account["networks"].values() for name, net in vpc["subnets"].items()}
    for environment in of_kind(SAMPLES, "SpotComputeEnvironment"):
        spec = environment["spec"]
        assert spec["template"]["imageId"] in images
        for placement in spec["placements"]:
            assert world["offerings"][placement["zone"]].keys() >= set(spec["instanceTypes"])
            assert subnets.get(placement.get("subnetId"), placement["zone"]) == placement["zone"]


@pytest.mark.parametrize("manifest", readme_manifests())
def test_the_readmes_manifests_are_accepted(installed: Cluster, manifest: str) -> None:
    installed.kubectl.run("-n", "spot-jobs", "create", "--validate=strict", DRY, "-f", "-", stdin=manifest)


def test_the_readme_shows_a_manifest() -> None:
    assert readme_manifests()
