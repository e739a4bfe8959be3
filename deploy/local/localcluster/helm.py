"""Finds helm: on this machine, in our cache, in the published archive, or by a build, in this order.

Apart from `assets` because only the tests of the chart need it. A control plane need not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from localcluster import pins
from localcluster.download import fetch, unpack
from localcluster.search import Search, cache_root, go_remedy


@dataclass
class HelmFinder(Search):
    """`HelmFinder` is one search for it. Every argument has its real default; tests use their own."""

    cache: Path = field(default_factory=lambda: cache_root() / pins.helm_cache_key())
    url: str = pins.HELM_URL
    sha256: dict[str, str] = field(default_factory=lambda: dict(pins.HELM_SHA256))
    names = ("helm",)

    def ensure(self) -> Path:
        """Returns the binary, after downloading or building it when it is missing. Raises AssetsMissing.

        Several processes may call it: one works, the others wait for it.
        """
        return self.bring(self._download, self._build)["helm"]

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """True when `version` of helm may be used."""
        return version[0] in pins.HELM_MAJORS

    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""
        return " or ".join(f"{major}.x" for major in pins.HELM_MAJORS)

    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""
        return self.report("helm", "helm 3 or 4 on PATH", "internet access to get.helm.sh", go_remedy())

    def _download(self, missing: list[str]) -> None:
        sha256 = self.sha256.get(self.platform)
        if sha256 is None:
            self._note(f"published archives: none is pinned for {self.platform}")
            return
        url = self.url.format(version=pins.HELM_VERSION, platform=self.platform)
        self.say(f"fetching helm: {url}")
        with self._attempt("published archive"), self._workbench() as bench:
            fetch(url, bench / "archive.tar.gz", sha256=sha256, say=self.say)
            unpack(bench / "archive.tar.gz", self.platform, missing, bench)
            self._install("helm", bench / "helm")


def ensure() -> Path:
    """Returns helm, and reports slow steps on stderr. Raises AssetsMissing."""
    return HelmFinder().ensure()
