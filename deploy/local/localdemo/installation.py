"""Installs the demo into a cluster, and removes it again completely.

Apart from `stage`, which starts processes. The rights are read from `deploy/base` and not copied, so that the demo's
operator may do exactly what an installed operator may do.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import yaml

from localcluster.cluster import Cluster, ClusterError, ExistingCluster
from localcluster.kubectl import Kubectl, KubectlError
from localdemo.surroundings import REPOSITORY

NAMESPACE = "spotcompute-demo"
OPERATOR_NAMESPACE, OPERATOR_ACCOUNT = "spotcompute-system", "spotcompute-operator"
CRD = "spotcomputeenvironments.spotcompute.dev"
INSTANCES_CRD = "spotinstances.spotcompute.dev"
LABEL = "spotcompute.dev/local-demo"
#: There is no Deployment: the operator runs here as a process, with the ServiceAccount that the Deployment would use.
RIGHTS = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
KINDS = ("CustomResourceDefinition", "Namespace", "ServiceAccount", *RIGHTS)
RELEASE_SECONDS, REMOVAL_SECONDS = 30, 90
Manifest = dict[str, Any]
NAMESPACE_MANIFEST: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


@contextlib.contextmanager
def installed(cluster: Cluster, kustomization: str = "base") -> Iterator[None]:
    """Installs CRD, rights and the demo's namespace for the time of the block. Objects that the cluster already has
    stay. `kustomization` is the directory below `deploy` whose rights they are.

    Leave the block while operator and simulator live, because they release the instances as in any deletion. Our own
    control plane is not cleaned, because it ends with us. Raises ClusterError when an existing cluster cannot be used.
    """
    if not isinstance(cluster, ExistingCluster):
        _install(cluster.kubectl, kustomization)
        yield
        return
    _refuse_conflicts(cluster.kubectl)
    _remove(cluster.kubectl)  # left by a demo that was killed
    try:
        _install(cluster.kubectl, kustomization)
        yield
    finally:
        with contextlib.suppress(KubectlError):  # what the operator does not release in time is removed below
            everything = (CRD, "--all", f"--namespace={NAMESPACE}", f"--timeout={RELEASE_SECONDS}s")
            cluster.kubectl.run("delete", *everything)
        _remove(cluster.kubectl)


def _install(kubectl: Kubectl, kustomization: str) -> None:
    manifests = [*_rendered(kubectl, kustomization), NAMESPACE_MANIFEST]
    foreign = _foreign(kubectl, manifests)
    ours = [_labelled(each) for each in manifests if _key(each) not in foreign]
    kubectl.apply(_list_of(ours), "--server-side", "--force-conflicts")
    kubectl.wait_established(f"crd/{CRD}", f"crd/{INSTANCES_CRD}")


def _refuse_conflicts(kubectl: Kubectl) -> None:
    """Raises ClusterError when an installed operator would act on our objects, or our namespace's name is taken."""
    selector = f"--selector=app.kubernetes.io/name={OPERATOR_ACCOUNT}"
    installed = kubectl.run("get", "deployments", "--all-namespaces", selector, "-o", "name").split()
    if installed:
        raise ClusterError(f"this cluster has an operator ({installed[0]}), which would act on the demo's objects too")
    namesake = (f"--field-selector=metadata.name={NAMESPACE}", f"--selector=!{LABEL}")
    if kubectl.run("get", "namespaces", *namesake, "-o", "name"):
        raise ClusterError(f"this cluster has a namespace {NAMESPACE} that is not from the demo: delete or rename it")


def _remove(kubectl: Kubectl) -> None:
    """Removes everything with our label. Instances that are left were simulated, and ended with the simulator."""
    for kind in (CRD, INSTANCES_CRD):
        with contextlib.suppress(KubectlError):  # without the kind, no finalizer holds the namespace
            for name in kubectl.run("get", kind, f"--namespace={NAMESPACE}", "-o", "name").split():
                kubectl.run("delete", f"--namespace={NAMESPACE}", name, "--wait=false")
                no_finalizers = ("--type=merge", '--patch={"metadata":{"finalizers":null}}')
                kubectl.run("patch", f"--namespace={NAMESPACE}", name, *no_finalizers)
    home = (f"--namespace={OPERATOR_NAMESPACE}", f"--selector={LABEL}")
    kubectl.run("delete", "roles,rolebindings", *home, timeout=REMOVAL_SECONDS)
    kinds = "namespaces,clusterroles,clusterrolebindings,customresourcedefinitions"
    kubectl.run("delete", kinds, f"--selector={LABEL}", f"--timeout={REMOVAL_SECONDS}s", timeout=REMOVAL_SECONDS + 10)


def _rendered(kubectl: Kubectl, kustomization: str) -> list[Manifest]:
    rendered = yaml.safe_load_all(kubectl.run("kustomize", str(REPOSITORY / "deploy" / kustomization)))
    return [manifest for manifest in rendered if manifest["kind"] in KINDS]


def _foreign(kubectl: Kubectl, manifests: list[Manifest]) -> set[tuple[str, str]]:
    """Returns which of the manifests the cluster already has from another owner."""
    found = kubectl.run("get", "--ignore-not-found", "-f", "-", "-o", "json", stdin=_list_of(manifests))
    answer = json.loads(found) if found.strip() else {"items": []}
    present = answer.get("items", [answer])
    return {_key(each) for each in present if LABEL not in each["metadata"].get("labels", {})}


def _labelled(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    return {**manifest, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), LABEL: "yes"}}}


def _key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _list_of(manifests: list[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
