"""Where Prometheus and its promtool come from: this machine, our cache, or Debian's package. In that order.

Apart from `assets`: only the tests of alerts need them, so that nobody waits for them who wants a control plane. The
package is only unpacked, not installed, and needs no root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from localcluster.download import DownloadError
from localcluster.search import Search, cache_root

OLDEST = (2, 40)


@dataclass
class PrometheusFinder(Search):
    """One search. Every argument has its real default; tests put their own in place."""

    cache: Path = field(default_factory=lambda: cache_root() / "prometheus")
    names = ("prometheus", "promtool")

    def ensure(self) -> tuple[Path, Path]:
        """Return prometheus and promtool, fetched when they are missing. Raises AssetsMissing."""
        found = self.bring(self._unpack_package)
        return found["prometheus"], found["promtool"]

    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        return version >= OLDEST

    def wanted(self, name: str) -> str:
        return "at least " + ".".join(map(str, OLDEST))

    def explanation(self, missing: list[str]) -> str:
        package = "apt-get with the package `prometheus` of Debian or Ubuntu (`apt-get update` first)"
        return self.told(" and ".join(missing), "prometheus and promtool on PATH", package)

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
    """prometheus and promtool, brought here if need be; says on stderr what takes long. Raises AssetsMissing."""
    return PrometheusFinder().ensure()
