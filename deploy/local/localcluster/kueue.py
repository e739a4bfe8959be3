"""Finds or builds Kueue, the queue for jobs, and runs it beside a control plane in which machines join as nodes.

Apart from the control plane: most clusters have no queue. Kueue publishes no binary, only an image and a Go module, so
it is built from the module once, in minutes. Its definitions and webhooks are read in the module and cached with it.
"""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

import yaml

from localcluster import pins
from localcluster.certificates import write_self_signed
from localcluster.cluster import Cluster
from localcluster.gobuild import Builder, find_go
from localcluster.processes import Child, answers, free_port
from localcluster.search import Search, cache_root, go_remedy

MODULE = "sigs.k8s.io/kueue"
READY_SECONDS = 60.0
#: The webhooks that are registered. The module has some for every kind of job that Kueue knows.
KINDS = frozenset({"job", "workload", "clusterqueue", "resourceflavor", "cohort", "localqueue"})
#: Kueue reads its certificate for metrics here and nowhere else, even when it serves no metrics.
FIXED_CERTIFICATES = "/etc/kueue/metrics/certs"


@dataclass(frozen=True)
class KueueAssets:
    """`KueueAssets` holds the executable, the directory of its definitions, and the file of its webhooks."""

    binary: Path
    definitions: Path
    webhooks: Path


@dataclass
class KueueFinder(Search):
    """`KueueFinder` is one search for it. Every argument has its real default; tests use their own."""

    cache: Path = field(default_factory=lambda: cache_root() / pins.kueue_cache_key())
    names = ("kueue",)

    def ensure(self) -> KueueAssets:
        """Returns Kueue, after building it when it is missing. Raises AssetsMissing.

        Several processes may call it: one works, the others wait for it.
        """
        binary = self.bring(self._build)["kueue"]
        return KueueAssets(binary, self.cache / "definitions", self.cache / "webhooks.yaml")

    def find(self, name: str) -> Path | None:
        """Returns the cached binary, if its definitions are there too. None otherwise.

        One on PATH is not taken, because its definitions would be missing.
        """
        complete = (self.cache / "webhooks.yaml").exists() and (self.cache / name).exists()
        return self.cache / name if complete else None

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """Returns True: only the pinned version is ever built."""
        return True

    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""
        return pins.KUEUE_VERSION

    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""
        return self.report(f"kueue {pins.KUEUE_VERSION}", go_remedy())

    def _build(self, missing: list[str]) -> None:
        """Builds it, and copies its definitions and webhooks out of the module. The webhooks come last."""
        super()._build(missing)
        with self._attempt("reading its definitions"):
            source = Builder(find_go(self.cache.parent, self.say), self.say).source("kueue", MODULE)
            components = source / "config" / "components"
            shutil.rmtree(self.cache / "definitions", ignore_errors=True)
            shutil.copytree(components / "crd" / "bases", self.cache / "definitions", copy_function=shutil.copyfile)
            shutil.copyfile(components / "webhook" / "manifests.yaml", self.cache / "webhooks.yaml")


class Kueue:
    """`Kueue` is a running Kueue. It ends with its owner. `stop` also takes its webhooks away.

    It runs outside the cluster, as the operator of a test does, and takes jobs of batch/v1.
    """

    def __init__(self, cluster: Cluster, child: Child, webhooks: Path) -> None:
        self._cluster, self._child, self._webhooks = cluster, child, webhooks

    @classmethod
    def start(cls, cluster: Cluster, directory: Path, assets: KueueAssets | None = None) -> Self:
        """Starts it, and returns once it takes jobs. Raises AssetsMissing, KubectlError and ProcessError."""
        assets = assets or ensure()
        cluster.install_crds(assets.definitions)
        directory.mkdir(parents=True, exist_ok=True)
        write_self_signed(IPv4Address("127.0.0.1"), directory / "tls.crt", directory / "tls.key")
        port, probes = free_port(), free_port()
        (directory / "config.yaml").write_text(yaml.safe_dump(_configuration(directory, port, probes)))
        child = Child.start("kueue", _command(cluster, assets.binary, directory), log=directory / "kueue.log")
        child.wait_until(lambda: answers(f"http://127.0.0.1:{probes}/readyz"), timeout=READY_SECONDS)
        webhooks = directory / "webhooks.yaml"
        webhooks.write_text(yaml.safe_dump_all(_webhooks(assets.webhooks, (directory / "tls.crt").read_bytes(), port)))
        cluster.kubectl.run("apply", "-f", str(webhooks))
        return cls(cluster, child, webhooks)

    def stop(self) -> None:
        """Ends it, and takes its webhooks away first: otherwise nobody could make a job any more."""
        self._cluster.kubectl.run("delete", "--ignore-not-found", "-f", str(self._webhooks))
        self._child.stop()


def ensure() -> KueueAssets:
    """Returns Kueue, and reports slow steps on stderr. Raises AssetsMissing."""
    return KueueFinder().ensure()


def _command(cluster: Cluster, binary: Path, directory: Path) -> list[str]:
    """Returns the command that starts Kueue in a mount namespace of its own, where its fixed directory can be made.

    That needs no root where the kernel lets users have namespaces, and changes nothing on this machine.
    """
    script = (
        f"mount -t tmpfs none /etc && mkdir -p {FIXED_CERTIFICATES} && cp {directory}/tls.* {FIXED_CERTIFICATES} &&"
        f" KUBECONFIG={cluster.kubeconfig} exec {binary} --config {directory}/config.yaml"
        " --feature-gates=VisibilityOnDemand=false"
    )
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script]


def _configuration(directory: Path, port: int, probes: int) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{probes}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(directory)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["batch/job"]},
    }


def _webhooks(manifests: Path, certificate: bytes, port: int) -> list[dict[str, Any]]:
    """Returns Kueue's registrations, reached by address, because there is no Service."""
    authority, found = base64.b64encode(certificate).decode(), list[dict[str, Any]]()
    for registration in filter(None, yaml.safe_load_all(manifests.read_text())):
        kept = [each for each in registration["webhooks"] if each["name"][1:].removesuffix(".kb.io") in KINDS]
        for webhook in kept:
            path = webhook["clientConfig"]["service"]["path"]
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority}
        registration["metadata"]["name"] = f"kueue-{registration['metadata']['name']}"
        found.append({**registration, "webhooks": kept})
    return found
