"""Finds the four binaries of Kubernetes: on this machine, in our cache, in a published archive, or by a build.

Apart from the control plane, which only needs four paths, and from `search`, which knows how to look and wait, but not
what is wanted.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import pins
from localcluster.download import fetch, published_sha256, unpack
from localcluster.search import AssetsMissing, Search, cache_root, go_remedy

__all__ = ["Assets", "AssetsMissing", "Finder", "ensure"]

ARCHIVE_DIRECTORY = "controller-tools/envtest"


@dataclass(frozen=True)
class Assets:
    """`Assets` holds the paths of the executables of one Kubernetes minor version."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


@dataclass
class Finder(Search):
    """`Finder` is one search for them. Every argument has its real default; tests use their own."""

    cache: Path = field(default_factory=lambda: cache_root() / pins.cache_key())
    envtest_url: str = pins.ENVTEST_URL
    envtest_sha512: dict[str, str] = field(default_factory=lambda: dict(pins.ENVTEST_SHA512))
    release_url: str = pins.RELEASE_URL
    names = pins.NAMES

    def ensure(self) -> Assets:
        """Returns the four binaries, after downloading or building what is missing. Raises AssetsMissing.

        Several processes may call it: one works, the others wait for it.
        """
        found = self.bring(self._download_archive, self._download_controller_manager, self._build)
        return Assets(**{name.replace("-", "_"): path for name, path in found.items()})

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """True when `version` of a binary may be used."""
        return version[:2] >= pins.ETCD_OLDEST if name == "etcd" else version[:2] == pins.KUBERNETES_MINOR

    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""
        if name == "etcd":
            return "at least " + ".".join(map(str, pins.ETCD_OLDEST))
        return ".".join(map(str, pins.KUBERNETES_MINOR)) + ".x"

    def chosen_directory(self) -> tuple[str, Path] | None:
        """Returns the variable KUBEBUILDER_ASSETS and its directory. None when it is not set."""
        directory = os.environ.get("KUBEBUILDER_ASSETS")
        return ("KUBEBUILDER_ASSETS", Path(directory)) if directory else None

    def _download_archive(self, missing: list[str]) -> None:
        """Downloads the missing binaries that the envtest archive has."""
        names = [name for name in missing if name != "kube-controller-manager"]
        sha512 = self.envtest_sha512.get(self.platform)
        if not names or sha512 is None:
            if names:
                self._note(f"published archives: none for {self.platform}")
            return
        url = self.envtest_url.format(version=pins.ENVTEST_VERSION, platform=self.platform)
        self.say(f"fetching {', '.join(names)}: {url}")
        with self._attempt("published archive"), self._workbench() as bench:
            fetch(url, bench / "archive.tar.gz", sha512=sha512, say=self.say)
            unpack(bench / "archive.tar.gz", ARCHIVE_DIRECTORY, names, bench)
            for name in names:
                self._install(name, bench / name)

    def _download_controller_manager(self, missing: list[str]) -> None:
        """Downloads kube-controller-manager, which the archives lack and Kubernetes publishes for Linux.

        Does nothing while one of the other three is missing.
        """
        system, _, arch = self.platform.partition("-")
        if missing != ["kube-controller-manager"] or system != "linux":
            return
        name = missing[0]
        url = self.release_url.format(version=pins.ENVTEST_VERSION, os=system, arch=arch, name=name)
        self.say(f"fetching {name}: {url}")
        with self._attempt("published release"), self._workbench() as bench:
            fetch(url, bench / name, sha256=published_sha256(url), say=self.say)
            self._install(name, bench / name)

    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""
        minor = ".".join(map(str, pins.KUBERNETES_MINOR))
        return self.report(
            f"{', '.join(missing)} of Kubernetes {minor}",
            "internet access to github.com and dl.k8s.io, then the same command again",
            go_remedy(),
            f"KUBEBUILDER_ASSETS=<directory with {', '.join(pins.NAMES)}, {minor}.x>",
            "a cluster you have: KUBECONFIG=… USE_CLUSTER=1",
        )


def ensure() -> Assets:
    """Returns the four binaries, and reports slow steps on stderr. Raises AssetsMissing."""
    return Finder().ensure()
