"""Knows the Debian packages of the image: their lock, where their files come from, and how one is unpacked.

Apart from `build`, which lays them and everything else into an image. Nothing here needs Debian's own tools, except the
quick way to a file on a machine that is Debian itself.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT / "deploy" / "local"),) if path not in sys.path]

from localcluster.download import DownloadError, fetch  # noqa: E402 - found by the line above

LOCK = Path(__file__).with_name("debian.lock")
RELEASE, CODENAME = "12", "bookworm"

#: What the image holds of Debian, by the name of each package, and why.
PACKAGES = {
    "base-files": "the directories of a system, and what names its release",
    "ca-certificates": "the public certificates, for TLS to the cloud",
    "gcc-12-base": "the licence of libgcc-s1",
    "libbz2-1.0": "bz2 of the standard library",
    "libc6": "everything",
    "libcrypt1": "crypt of the standard library",
    "libexpat1": "XML of the standard library",
    "libffi8": "ctypes, and the cryptography package",
    "libgcc-s1": "compiled parts of our dependencies",
    "liblzma5": "lzma of the standard library",
    "libpython3.11-minimal": "the standard library",
    "libpython3.11-stdlib": "the standard library",
    "libssl3": "TLS",
    "libuuid1": "uuid of the standard library",
    "python3.11-minimal": "the interpreter",
    "zlib1g": "compression",
}

#: What those depend on and the image does without, and why.
LEFT_OUT = {
    "awk": "for the scripts of base-files, which nobody runs",
    "debconf": "for the scripts of ca-certificates, which nobody runs",
    "openssl": "the same",
    "media-types": "for mimetypes, which has a table of its own",
    "libdb5.3": "for the module _dbm, which is left out",
    "libncursesw6": "for the modules _curses and _curses_panel, which are left out",
    "libtinfo6": "the same",
    "libreadline8": "for the module readline, which is left out",
    "libsqlite3-0": "for the module _sqlite3, which is left out",
    "libnsl2": "for the module nis, which is left out",
    "libtirpc3": "the same",
}
MODULES_LEFT_OUT = ("_curses", "_curses_panel", "_dbm", "_sqlite3", "nis", "readline")

#: Files that nobody reads in an image. Licences stay, and so does everything that a scanner looks at.
_UNREAD = re.compile(
    r"usr/share/(man|locale|lintian|info|bug)/"
    r"|usr/share/doc/[^/]+/(?!copyright$).+"
    r"|usr/lib/[^/]+/(gconv|audit)/"
    r"|usr/sbin/update-ca-certificates$"  # a script for a shell
    rf"|usr/lib/python3\.11/lib-dynload/({'|'.join(MODULES_LEFT_OUT)})\.cpython"
)


@dataclass(frozen=True)
class Package:
    """`Package` is one file of Debian's archive, for one architecture."""

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    sha256: str

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Lock:
    """`Lock` lists every file, and a moment at which Debian's archive had all of them."""

    moment: str
    packages: tuple[Package, ...]

    @classmethod
    def read(cls, path: Path = LOCK) -> Lock:
        """Reads the lock file."""
        moment, packages = "", []
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["snapshot"]:
                moment = words[1]
            elif words and not line.startswith("#"):
                packages.append(Package(*words))
        return cls(moment, tuple(packages))

    def of(self, architecture: str) -> list[Package]:
        """Returns the packages for one architecture, `amd64` or `arm64`."""
        return [one for one in self.packages if one.architecture in (architecture, "all")]

    def url(self, package: Package) -> str:
        """Returns where Debian keeps the file for good: mirrors have the newest version only."""
        path = urllib.parse.quote(package.path)
        return f"https://snapshot.debian.org/archive/{package.archive}/{self.moment}/{path}"


class Apt:
    """`Apt` is apt for one architecture, with lists of its own. It changes nothing here, and needs no root."""

    def __init__(self, architecture: str, directory: Path) -> None:
        self.architecture, self._directory = architecture, directory / architecture
        for part in ("lists/partial", "archives/partial"):
            (self._directory / part).mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        """Runs apt-get or apt-cache. Raises DownloadError."""
        options = {
            "Dir::State::Lists": self._directory / "lists",
            "Dir::State::status": self._directory / "status",
            "Dir::Cache": self._directory,
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
        }
        command = [program, "-q", *(f"-o{key}={value}" for key, value in options.items()), *arguments]
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise DownloadError(f"{program} {arguments[0]}: {said}")
        return done.stdout


def is_this_debian() -> bool:
    """True on a machine of the release that the image is made of: its apt finds the files."""
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        return False
    return told.get("VERSION_CODENAME") == CODENAME and shutil.which("apt-get") is not None


def bring(lock: Lock, architecture: str, cache: Path) -> list[Path]:
    """Returns the files of all packages, after fetching what the cache lacks. Raises DownloadError."""
    cache.mkdir(parents=True, exist_ok=True)
    wanted = {cache / one.sha256: one for one in lock.of(architecture)}
    missing = {path: one for path, one in wanted.items() if not path.exists()}
    if missing and is_this_debian():
        _by_apt(missing, architecture, cache)
    for path, one in missing.items():
        if not path.exists():
            partial = path.with_suffix(f".{os.getpid()}")
            fetch(lock.url(one), partial, sha256=one.sha256, say=lambda line: print(line, file=sys.stderr))
            partial.replace(path)
    return list(wanted)


def _by_apt(missing: dict[Path, Package], architecture: str, cache: Path) -> None:
    """Fetches what this machine's mirror still has. What it has no more is fetched elsewhere."""
    apt, bench = Apt(architecture, cache / "apt"), cache / f"bench-{os.getpid()}"
    bench.mkdir()
    try:
        apt.run("apt-get", "update")
        for path, one in missing.items():
            try:
                apt.run("apt-get", "download", f"{one.name}={one.version}", cwd=bench)
            except DownloadError:
                continue
            for file in bench.glob("*.deb"):
                if hashlib.sha256(file.read_bytes()).hexdigest() == one.sha256:
                    file.replace(path)
    except DownloadError as error:
        print(f"apt: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(bench)


def unpack(deb: Path, target: Path) -> str:
    """Unpacks a package below `target`, without running any of its scripts. Returns its description (control file)."""
    control = ""
    for name, content in _members(deb.read_bytes()):
        if name.startswith("control.tar"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                found = archive.extractfile("./control")
                control = found.read().decode() if found else ""
        elif name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extraction_filter = lambda member, path: member
                kept = [one for one in archive if not _UNREAD.match(one.name.removeprefix("./"))]
                archive.extractall(target, kept)  # noqa: S202 - the lock names its hash
    return control


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Returns the members of an `ar` archive, which a package is: https://manpages.debian.org/deb.5."""
    if not content.startswith(b"!<arch>\n"):
        raise DownloadError("this is no Debian package")
    at = 8
    while at < len(content):
        head = content[at : at + 60]
        size = int(head[48:58])
        yield head[:16].decode().strip().rstrip("/"), content[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
