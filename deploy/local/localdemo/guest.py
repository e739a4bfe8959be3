"""What the demo puts into a cluster, and how it takes that out again: a guest leaves nothing behind.

Apart from `stage`, which starts processes. The rights are those of `deploy/base`, read from there and not copied,
so that the demo's operator can do exactly what an installed one can.
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
LABEL = "spotcompute.dev/local-demo"
#: No Deployment: the operator runs here, as a process, under the ServiceAccount that the Deployment would give it.
KINDS = ("CustomResourceDefinition", "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding")
RELEASE_SECONDS, REMOVAL_SECONDS = 30, 90
Manifest = dict[str, Any]
NAMESPACE_MANIFEST: Manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


@contextlib.contextmanager
def lodging(cluster: Cluster) -> Iterator[None]:
    """CRD, rights and the demo's namespace, for the time of the block. What a cluster has from others stays as it is.

    Leave the block while operator and simulator live: they release the instances, as in any deletion. A control plane
    of our own is not tidied, since it ends with us. Raises ClusterError when an existing cluster has no place for us.
    """
    if not isinstance(cluster, ExistingCluster):
        _move_in(cluster.kubectl)
        yield
        return
    _refuse_company(cluster.kubectl)
    _remove(cluster.kubectl)  # what a demo that was killed has left
    try:
        _move_in(cluster.kubectl)
        yield
    finally:
        with contextlib.suppress(KubectlError):  # what the operator does not release in time goes the hard way
            everything = (CRD, "--all", f"--namespace={NAMESPACE}", f"--timeout={RELEASE_SECONDS}s")
            cluster.kubectl.run("delete", *everything)
        _remove(cluster.kubectl)


def _move_in(kubectl: Kubectl) -> None:
    manifests = [*_installation(kubectl), NAMESPACE_MANIFEST]
    foreign = _foreign(kubectl, manifests)
    ours = [_labelled(each) for each in manifests if _key(each) not in foreign]
    kubectl.apply(_list_of(ours), "--server-side", "--force-conflicts")
    kubectl.wait_established(f"crd/{CRD}")


def _refuse_company(kubectl: Kubectl) -> None:
    """An installed operator would act on our objects too; a namespace of somebody else's is not ours to empty."""
    selector = f"--selector=app.kubernetes.io/name={OPERATOR_ACCOUNT}"
    installed = kubectl.run("get", "deployments", "--all-namespaces", selector, "-o", "name").split()
    if installed:
        raise ClusterError(f"this cluster has an operator ({installed[0]}), which would act on the demo's objects too")
    namesake = (f"--field-selector=metadata.name={NAMESPACE}", f"--selector=!{LABEL}")
    if kubectl.run("get", "namespaces", *namesake, "-o", "name"):
        raise ClusterError(f"this cluster has a namespace {NAMESPACE} that is not from the demo: delete or rename it")


def _remove(kubectl: Kubectl) -> None:
    """Everything with our label. Instances of environments without an operator are simulated ones that died with it."""
    with contextlib.suppress(KubectlError):  # the kind is not there: nothing holds the namespace
        for name in kubectl.run("get", CRD, f"--namespace={NAMESPACE}", "-o", "name").split():
            kubectl.run("delete", f"--namespace={NAMESPACE}", name, "--wait=false")
            no_finalizers = ("--type=merge", '--patch={"metadata":{"finalizers":null}}')
            kubectl.run("patch", f"--namespace={NAMESPACE}", name, *no_finalizers)
    kinds = "namespaces,clusterroles,clusterrolebindings,customresourcedefinitions"
    kubectl.run("delete", kinds, f"--selector={LABEL}", f"--timeout={REMOVAL_SECONDS}s", timeout=REMOVAL_SECONDS + 10)


def _installation(kubectl: Kubectl) -> list[Manifest]:
    rendered = yaml.safe_load_all(kubectl.run("kustomize", str(REPOSITORY / "deploy" / "base")))
    return [manifest for manifest in rendered if manifest["kind"] in KINDS]


def _foreign(kubectl: Kubectl, manifests: list[Manifest]) -> set[tuple[str, str]]:
    """Which of them the cluster has from somebody else."""
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
