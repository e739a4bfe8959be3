"""The manifests on a real API server: admitted where they must be, and refused where they would be weaker."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

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


def documented_manifests() -> list[Any]:
    """Every manifest that README or a page of docs shows, without Kueue's kinds: this cluster has none of them."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [
        (page, block) for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    return [
        pytest.param(document, id=f"{page.name} {document['kind']}")
        for page, block in blocks
        if block.startswith("apiVersion")
        for document in yaml.safe_load_all(block)
        if not document["apiVersion"].startswith("kueue.x-k8s.io/")
    ]


def test_the_pod_is_admitted_where_the_restricted_standard_is_enforced(installed: Cluster) -> None:
    labels = installed.kubectl.json("get", "namespace", "spotcompute-system")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    installed.kubectl.apply(json.dumps(pod()), DRY)


#: Every control of the standard for Linux, each broken: the part of the pod, what is put there, what the refusal names.
#: Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
WEAKNESSES: tuple[tuple[str, Manifest, str], ...] = (
    ("pod", {"hostNetwork": True}, "hostNetwork"),
    ("pod", {"hostPID": True}, "hostPID"),
    ("pod", {"hostIPC": True}, "hostIPC"),
    ("pod", {"volumes": [{"name": "tmp", "hostPath": {"path": "/"}}]}, "hostPath"),
    ("pod", {"volumes": [{"name": "tmp", "nfs": {"server": "server", "path": "/"}}]}, "restricted volume types"),
    ("pod context", {"runAsNonRoot": False}, "runAsNonRoot"),
    ("pod context", {"runAsUser": 0}, "runAsUser=0"),
    ("pod context", {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ("pod context", {"seccompProfile": None}, "seccompProfile"),
    ("pod context", {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}, "sysctls"),
    ("pod context", {"seLinuxOptions": {"type": "spc_t"}}, "seLinuxOptions"),
    ("pod context", {"appArmorProfile": {"type": "Unconfined"}}, "AppArmor profile"),
    ("container", {"ports": [{"containerPort": 8080, "hostPort": 8080}]}, "hostPort"),
    ("container context", {"allowPrivilegeEscalation": None}, "allowPrivilegeEscalation"),
    ("container context", {"privileged": True}, "privileged"),
    ("container context", {"capabilities": {}}, "unrestricted capabilities"),
    ("container context", {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}, "unrestricted capabilities"),
    ("container context", {"procMount": "Unmasked"}, "procMount"),
)


@pytest.mark.parametrize(
    ("part", "weakness", "named"), WEAKNESSES, ids=[f"{part}-{named}" for part, _, named in WEAKNESSES]
)
def test_a_weaker_pod_is_refused_there(installed: Cluster, part: str, weakness: Manifest, named: str) -> None:
    weaker = copy.deepcopy(pod())
    spec = weaker["spec"]
    (container,) = spec["containers"]
    parts = {"pod": spec, "pod context": spec["securityContext"], "container": container}
    parts["container context"] = container["securityContext"]
    parts[part] |= weakness
    if named in ("hostPath", "restricted volume types"):
        container["volumeMounts"] = []
    if named == "privileged":  # else it is no pod at all
        del container["securityContext"]["allowPrivilegeEscalation"]
    if named == "procMount":  # it takes a user namespace
        spec["hostUsers"] = False
    with pytest.raises(KubectlError, match=f"violates PodSecurity.*{named}"):
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


@pytest.mark.parametrize("manifest", documented_manifests())
def test_every_manifest_that_is_documented_is_accepted(installed: Cluster, manifest: Manifest) -> None:
    manifest["metadata"].pop("namespace", None)  # the reader's, which this cluster does not have
    text = json.dumps(manifest)
    installed.kubectl.run("-n", "spot-jobs", "create", "--validate=strict", DRY, "-f", "-", stdin=text)


def test_readme_and_docs_show_manifests() -> None:
    assert len(documented_manifests()) >= 3


@pytest.mark.parametrize("way", ["components", "configurations"])
def test_names_that_kustomize_makes_reach_the_environment(way: str, tmp_path: Path) -> None:
    """A prefix, and the digests of what is generated; our file named in each of the two ways that kustomize has."""
    given = ROOT / "deploy" / "kustomize"
    shutil.copy(given / "name-reference.yaml", tmp_path)
    named = {"components": [os.path.relpath(given, tmp_path)], "configurations": ["name-reference.yaml"]}
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namePrefix": "blue-",
        "nameSuffix": "-1",
        "resources": ["web.yaml"],
        "secretGenerator": [{"name": name, "literals": ["secretId=a"]} for name in ("key", "boot")],
        "configMapGenerator": [{"name": "script", "literals": ["ud=x"]}],
        way: named[way],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content))
    head = {"apiVersion": "spotcompute.dev/v1alpha1", "kind": "SpotComputeEnvironment"}
    sources = [{"secretKeyRef": {"name": "boot", "key": "ud"}}, {"configMapKeyRef": {"name": "script", "key": "ud"}}]
    environments = [
        {
            **head,
            "metadata": {"name": f"web-{number}"},
            "spec": {"credentialsSecretRef": {"name": "key"}, "template": {"userDataFrom": source}},
        }
        for number, source in enumerate(sources)
    ]
    (tmp_path / "web.yaml").write_text("---\n".join(json.dumps(one) + "\n" for one in environments))
    made = rendered(tmp_path)
    names = {item["kind"]: {one["metadata"]["name"] for one in made if one["kind"] == item["kind"]} for item in made}
    for item in made:
        if item["kind"] == "SpotComputeEnvironment":
            spec = item["spec"]
            assert spec["credentialsSecretRef"]["name"] in names["Secret"]
            ((reference, source),) = spec["template"]["userDataFrom"].items()
            assert source["name"] in names["Secret" if reference == "secretKeyRef" else "ConfigMap"]
            assert source["name"].startswith("blue-")


def test_the_sample_of_generated_names_finds_its_key_and_its_script() -> None:
    made = {item["kind"]: item for item in rendered(SAMPLES / "generated")}
    spec = made["SpotComputeEnvironment"]["spec"]
    assert spec["credentialsSecretRef"]["name"] == made["Secret"]["metadata"]["name"]
    assert spec["template"]["userDataFrom"]["configMapKeyRef"]["name"] == made["ConfigMap"]["metadata"]["name"]
