"""Where helm comes from: this machine, our cache, the published archive, or a build. In that order.

Apart from `assets`: only the chart's tests need it, so that nobody waits for it who wants a control plane.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from localcluster import pins
from localcluster.download import fetch, unpack
from localcluster.search import Search, cache_root, go_remedy


@dataclass
class HelmFinder(Search):
    """One search. Every argument has its real default; tests put their own in place."""

    cache: Path = field(default_factory=lambda: cache_root() / pins.helm_cache_key())
    url: str = pins.HELM_URL
    sha256: dict[str, str] = field(default_factory=lambda: dict(pins.HELM_SHA256))
    names = ("helm",)

    def ensure(self) -> Path:
        """Return the binary, downloading or building it when it is missing. Raises AssetsMissing.

        Safe to call from several processes: one works, the others wait for it.
        """
        return self.bring(self._download, self._build)["helm"]

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        return version[0] in pins.HELM_MAJORS

    def wanted(self, name: str) -> str:
        return " or ".join(f"{major}.x" for major in pins.HELM_MAJORS)

    def explanation(self, missing: list[str]) -> str:
        return self.told("helm", "helm 3 or 4 on PATH", "internet access to get.helm.sh", go_remedy())

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
    """helm, brought here if need be; says on stderr what takes long. Raises AssetsMissing."""
    return HelmFinder().ensure()
