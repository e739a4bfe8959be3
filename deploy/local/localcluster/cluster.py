"""Offers what tests and the demo need of any cluster, ours or an existing one: kubectl, kubeconfig files, tokens.

Apart from the control plane so that kind, k3d or a real cluster can replace it (`USE_CLUSTER=1`).
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
    """`ClusterError` means that the cluster cannot be used. Its message says what to do."""


class Cluster:
    """`Cluster` is a cluster of which we are admin.

    `directory` is private (mode 0700) and holds our kubeconfig files.
    """

    directory: Path
    kubectl: Kubectl

    @property
    def kubeconfig(self) -> Path:
        """Returns the path of the admin's kubeconfig."""
        return self.kubectl.kubeconfig

    def service_account_token(self, namespace: str, name: str, seconds: int = 3600) -> str:
        """Returns a bearer token of an existing ServiceAccount, through the TokenRequest API.

        At least 600 s are granted.
        """
        account = ("--namespace", namespace, "create", "token", name, f"--duration={seconds}s")
        return self.kubectl.run(*account).strip()

    def service_account_kubeconfig(self, namespace: str, name: str, seconds: int = 86400) -> Path:
        """Writes a kubeconfig for `system:serviceaccount:<namespace>:<name>`, and returns its path.

        Its rights are those that the cluster's role bindings give to that account. The file has mode 0600.
        """
        token = self.service_account_token(namespace, name, seconds)
        path = self.directory / f"{namespace}-{name}.kubeconfig"
        return write_kubeconfig(path, self._cluster_entry(), token, namespace)

    def install_crds(self, directory: Path) -> None:
        """Applies every manifest of `directory`, and waits until the API server serves the kinds.

        Does nothing when it is empty.
        """
        if not any(directory.glob("*.yaml")):
            return
        names = self.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", str(directory), "-o", "name")
        self.kubectl.wait_established(*names.split())

    def kubectl_as(self, namespace: str, name: str) -> Kubectl:
        """Returns a kubectl with the rights of a ServiceAccount."""
        return Kubectl(self.kubectl.binary, self.service_account_kubeconfig(namespace, name))

    def _cluster_entry(self) -> dict[str, Any]:
        """Returns the address and the CA, as the `cluster` part of a kubeconfig."""
        view = self.kubectl.json("config", "view", "--raw", "--minify", "--flatten")
        entry: dict[str, Any] = view["clusters"][0]["cluster"]
        return entry


class ExistingCluster(Cluster):
    """`ExistingCluster` is the cluster of a kubeconfig that the user chose. We never start, stop or reset it."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.directory = Path(mkdtemp(prefix="spotcompute-cluster-"))

    @classmethod
    def from_kubeconfig(cls, path: Path | None = None, context: str | None = None) -> Self:
        """Uses `path`, otherwise `$KUBECONFIG`, otherwise `~/.kube/config`, and its current context unless `context` is
        given.

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
        """Removes our kubeconfig files. The cluster itself stays as it is."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _any_kubectl() -> Path:
    """Returns the kubectl on PATH, which the user has for that cluster. Ours when there is none."""
    found = shutil.which("kubectl")
    return Path(found) if found else assets.ensure().kubectl


def write_kubeconfig(path: Path, cluster: dict[str, Any], token: str, namespace: str = "default") -> Path:
    """Writes a kubeconfig with one context for a bearer token (JSON, which is also YAML).

    Only its owner can read it.
    """
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
    """Returns the `cluster` part of a kubeconfig for `server` (https://host:port), with its CA inline."""
    return {"server": server, "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode()}
