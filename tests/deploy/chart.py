"""The chart as helm renders and installs it: what a user of Helm would get, as plain data."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from deploy.manifests import ROOT, Manifest
from localcluster import helm, pins

CHART = ROOT / "deploy" / "charts" / "spotcompute-operator"
#: What a chart without a published image asks for. This one is that of `deploy/base`.
REPOSITORY = "controller.image.repository=spotcompute-operator"
RELEASE, NAMESPACE = "spotcompute-operator", "spotcompute-system"


class HelmError(RuntimeError):
    """helm ended with another code than 0; the message is what it said."""


@dataclass(frozen=True)
class Helm:
    """helm with one kubeconfig, or with none for what needs no cluster. Nothing of the user's own helm is read."""

    kubeconfig: Path = Path("/dev/null")

    def run(self, *arguments: str) -> str:
        """Return stdout, or raise HelmError."""
        none = dict.fromkeys(("HELM_CONFIG_HOME", "HELM_DATA_HOME", "HELM_CACHE_HOME"), "/no-such-place")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        environment = {**kept, **none, "KUBECONFIG": str(self.kubeconfig), "NO_PROXY": "127.0.0.1,localhost"}
        command = [str(binary()), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
        if done.returncode != 0:
            raise HelmError(done.stderr)
        return done.stdout


@cache
def binary() -> Path:
    return helm.ensure()


def templated(*sets: str, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """What `helm template` prints for values given as `--set` takes them."""
    version = ".".join(map(str, pins.KUBERNETES_MINOR))
    options = [word for one in (REPOSITORY, *sets) for word in ("--set", one)]
    return Helm().run(
        "template", release, str(chart), "--namespace", namespace, "--kube-version", f"{version}.0", *options
    )


def objects(*sets: str, chart: Path = CHART, release: str = RELEASE, namespace: str = NAMESPACE) -> list[Manifest]:
    """The same as objects."""
    text = templated(*sets, chart=chart, release=release, namespace=namespace)
    return [item for item in yaml.safe_load_all(text) if item]


def only(manifests: list[Manifest], kind: str) -> Manifest:
    (found,) = [item for item in manifests if item["kind"] == kind]
    return found
