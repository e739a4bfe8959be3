"""Finds kube-scheduler: on this machine, in our cache, in a published release, or by a build, in this order.

Apart from `assets` because only a cluster in which machines join as nodes needs it. It is built from the same module as
the other binaries, so it lies in their cache.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import pins
from localcluster.download import fetch, published_sha256
from localcluster.search import Search, cache_root, go_remedy

NAME = "kube-scheduler"


@dataclass
class SchedulerFinder(Search):
    """`SchedulerFinder` is one search for it. Every argument has its real default; tests use their own."""

    cache: Path = field(default_factory=lambda: cache_root() / pins.cache_key())
    release_url: str = pins.RELEASE_URL
    names = (NAME,)

    def ensure(self) -> Path:
        """Returns the binary, after downloading or building it when it is missing. Raises AssetsMissing.

        Several processes may call it: one works, the others wait for it.
        """
        return self.bring(self._download, self._build)[NAME]

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """True when `version` may be used."""
        return version[:2] == pins.KUBERNETES_MINOR

    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""
        return ".".join(map(str, pins.KUBERNETES_MINOR)) + ".x"

    def chosen_directory(self) -> tuple[str, Path] | None:
        """Returns the variable KUBEBUILDER_ASSETS and its directory. None when it is not set, or has no scheduler.

        The published archives of these assets hold no scheduler, so its absence there is no mistake.
        """
        directory = os.environ.get("KUBEBUILDER_ASSETS")
        found = directory is not None and (Path(directory) / NAME).exists()
        return ("KUBEBUILDER_ASSETS", Path(directory)) if directory and found else None

    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""
        return self.report(
            f"{NAME} {self.wanted(NAME)}",
            "internet access to dl.k8s.io, then the same command again",
            go_remedy(),
            f"KUBEBUILDER_ASSETS=<directory with {NAME}, {self.wanted(NAME)}>",
        )

    def _download(self, missing: list[str]) -> None:
        system, _, arch = self.platform.partition("-")
        if system != "linux":
            return self._note(f"published release: none for {self.platform}")
        url = self.release_url.format(version=pins.ENVTEST_VERSION, os=system, arch=arch, name=NAME)
        self.say(f"fetching {NAME}: {url}")
        with self._attempt("published release"), self._workbench() as bench:
            fetch(url, bench / NAME, sha256=published_sha256(url), say=self.say)
            self._install(NAME, bench / NAME)
        return None


def ensure() -> Path:
    """Returns kube-scheduler, and reports slow steps on stderr. Raises AssetsMissing."""
    return SchedulerFinder().ensure()
