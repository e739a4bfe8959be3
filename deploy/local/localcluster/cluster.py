"""What tests and the demo need of any cluster, ours or an existing one: kubectl, kubeconfig files, tokens.

Apart from the control plane so that kind, k3d or a real cluster can take its place (`USE_CLUSTER=1`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from localcluster import assets
from localcluster.kubectl import Kubectl, KubectlError


class ClusterError(RuntimeError):
    """The cluster cannot be used; the message says what to do."""


class Cluster:
    """A cluster we are admin of. `directory` is private (mode 0700) and holds the kubeconfig files written here."""

    directory: Path
    kubectl: Kubectl

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig file."""
        return self.kubectl.kubeconfig

    def service_account_token(self, namespace: str, name: str, seconds: int = 3600) -> str:
        """A bearer token of an existing ServiceAccount, through the TokenRequest API; at least 600 s are granted."""
        account = ("--namespace", namespace, "create", "token", name, f"--duration={seconds}s")
        return self.kubectl.run(*account).strip()

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 86400) -> Path:
        """Write a kubeconfig that speaks as `system:serviceaccount:<namespace>:<name>` and return its path.

        The rights are that account's own, as its Role bindings in the cluster say. The file has mode 0600.
        """
        token = self.service_account_token(namespace, name, seconds)
        path = self.directory / f"{namespace}-{name}.kubeconfig"
        return write_kubeconfig(path, self._cluster_entry(), token, namespace)

    def install_crds(self, directory: Path) -> None:
        """Apply every manifest of `directory`, if it has any, and wait until the API server serves the kinds."""
        if not any(directory.glob("*.yaml")):
            return
        names = self.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(directory), "-o", "name")
        self.kubectl.wait_established(*names.split())

    def kubectl_as(self, namespace: str, name: str) -> Kubectl:
        """kubectl under a ServiceAccount's rights."""
        return Kubectl(self.kubectl.binary, self.service_account_kubeconfig(namespace, name))

    def _cluster_entry(self) -> dict[str, Any]:
        """The address and the CA, as the `cluster` part of a kubeconfig."""
        view = self.kubectl.json("config", "view", "--raw", "--minify", "--flatten")
        entry: dict[str, Any] = view["clusters"][0]["cluster"]
        return entry


class ExistingCluster(Cluster):
    """The cluster of a kubeconfig that the user chose. Nothing of it is started, stopped or reset by us."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.directory = Path(mkdtemp(prefix="spotcompute-cluster-"))

    @classmethod
    def from_kubeconfig(cls, path: Path | None = None, context: str | None = None) -> Self:
        """Use `path`, else `$KUBECONFIG`, else `~/.kube/config`, and its current context unless `context` names one.

        Raises ClusterError when there is no such file or the API server does not answer.
        """
        chosen = path or Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        if not chosen.is_file():
            raise ClusterError(f"no kubeconfig at {chosen}: set KUBECONFIG to one file, e.g. of `kind get kubeconfig`")
        kubectl = Kubectl(_any_kubectl(), chosen, context=context)
        try:
            kubectl.run("get", "--raw", "/readyz", timeout=20)
        except KubectlError as error:
            raise ClusterError(f"the cluster of {chosen} does not answer: {error.stderr.strip()}") from error
        return cls(kubectl)

    def stop(self) -> None:
        """Forget our kubeconfig files; the cluster itself stays as it is."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _any_kubectl() -> Path:
    """The kubectl the user runs against that cluster anyway; ours when there is none."""
    found = shutil.which("kubectl")
    return Path(found) if found else assets.ensure().kubectl


def write_kubeconfig(path: Path, cluster: dict[str, Any], token: str, namespace: str = "default") -> Path:
    """Write a kubeconfig with one context for a bearer token (JSON, which is YAML too), readable by its owner alone."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user", "namespace": namespace}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2))
    return path


def cluster_entry(server: str, ca_pem: str) -> dict[str, Any]:
    """The `cluster` part of a kubeconfig for `server` (https://host:port) with its CA inline."""
    return {"server": server, "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode()}
