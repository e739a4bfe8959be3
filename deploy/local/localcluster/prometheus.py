"""Finds Prometheus and promtool: on this machine, in our cache, in Debian's package, or in the published release.

Apart from `assets` because only the tests of the alerts need them. A control plane need not wait for them. The package
is only unpacked, not installed, and needs no root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.download import DownloadError, fetch, listed_sha256, unpack
from localcluster.search import Search, cache_root

OLDEST = (2, 40)
VERSION = "3.5.0"
URL = "https://github.com/prometheus/prometheus/releases/download/v{version}/{file}"


@dataclass
class PrometheusFinder(Search):
    """`PrometheusFinder` is one search for them. Every argument has its real default; tests use their own."""

    cache: Path = field(default_factory=lambda: cache_root() / "prometheus")
    url: str = URL
    names = ("prometheus", "promtool")

    def ensure(self) -> tuple[Path, Path]:
        """Returns prometheus and promtool, after fetching them when they are missing. Raises AssetsMissing."""
        found = self.bring(self._unpack_package, self._download)
        return found["prometheus"], found["promtool"]

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """True when `version` may be used."""
        return version >= OLDEST

    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""
        return "at least " + ".".join(map(str, OLDEST))

    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""
        package = "apt-get with the package `prometheus` of Debian or Ubuntu (`apt-get update` first)"
        internet = "internet access to github.com"
        return self.report(" and ".join(missing), "prometheus and promtool on PATH", package, internet)

    def _download(self, missing: list[str]) -> None:
        """Downloads the project's own release, checked by the checksum that is published with it."""
        directory = f"prometheus-{VERSION}.{self.platform}"
        archive = self.url.format(version=VERSION, file=f"{directory}.tar.gz")
        self.say(f"fetching {', '.join(missing)}: {archive}")
        with self._attempt("published release"), self._workbench() as bench:
            sums = self.url.format(version=VERSION, file="sha256sums.txt")
            fetch(archive, bench / "archive.tar.gz", sha256=listed_sha256(sums, f"{directory}.tar.gz"), say=self.say)
            unpack(bench / "archive.tar.gz", directory, missing, bench)
            for name in missing:
                self._install(name, bench / name)

    def _unpack_package(self, missing: list[str]) -> None:
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            self._note("Debian's package: there is no apt-get here")
            return
        self.say("fetching Debian's package prometheus")
        with self._attempt("Debian's package"), self._workbench() as bench:
            if not _succeeds("apt-get", "download", "prometheus", cwd=bench):
                _succeeds(
                    "apt-get", "update", cwd=bench
                )  # an image without lists; without root it fails, and we say so
                _run("apt-get", "download", "prometheus", cwd=bench)
            for package in bench.glob("prometheus_*.deb"):
                _run("dpkg-deb", "--extract", str(package), str(bench / "root"), cwd=bench)
            for name in missing:
                self._install(name, bench / "root" / "usr" / "bin" / name)


def _succeeds(*command: str, cwd: Path) -> bool:
    try:
        _run(*command, cwd=cwd)
    except DownloadError:
        return False
    return True


def _run(*command: str, cwd: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DownloadError(f"{' '.join(command[:2])}: {said}")


def ensure() -> tuple[Path, Path]:
    """Returns prometheus and promtool, and reports slow steps on stderr. Raises AssetsMissing."""
    return PrometheusFinder().ensure()
