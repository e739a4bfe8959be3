"""Fetches published binaries over HTTPS. Their checksum is verified before they are used.

Apart from `assets` because only this module uses the network, and so that tests can serve it their own files.
"""

from __future__ import annotations

import hashlib
import http.client
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

TIMEOUT_SECONDS = 5.0  # per connect and per read: without internet, the error should come within seconds
CHUNK_BYTES = 1 << 20
REPORT_SECONDS = 5.0

Say = Callable[[str], None]


class DownloadError(RuntimeError):
    """`DownloadError` means that nothing usable came. Its message names the address and the reason."""


def fetch(url: str, target: Path, *, sha512: str | None = None, sha256: str | None = None, say: Say) -> None:
    """Writes the body of `url` to `target`. Raises DownloadError and leaves no `target` otherwise.

    One of the checksums (hex) must be given. A body with another checksum is refused.
    """
    digest = hashlib.sha512() if sha512 else hashlib.sha256()
    wanted = (sha512 or sha256 or "").lower()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, target.open("wb") as out:
            for chunk in _chunks(response, _Progress(url, response.headers.get("Content-Length"), say)):
                digest.update(chunk)
                out.write(chunk)
        if digest.hexdigest() != wanted:
            raise DownloadError(f"{url}: checksum {digest.hexdigest()[:16]}… instead of {wanted[:16]}…")
    except (OSError, http.client.HTTPException) as error:
        target.unlink(missing_ok=True)
        raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    except DownloadError:
        target.unlink(missing_ok=True)
        raise


def published_sha256(url: str) -> str:
    """Returns the checksum that Kubernetes publishes next to its release binaries, at `<url>.sha256`: 64 hex digits.

    Raises DownloadError.
    """
    try:
        with urllib.request.urlopen(f"{url}.sha256", timeout=TIMEOUT_SECONDS) as response:
            text = bytes(response.read(200)).decode("ascii", "replace").split()
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url}.sha256: {getattr(error, 'reason', None) or error}") from error
    if not text or len(text[0]) != 64 or not set(text[0]) <= set("0123456789abcdef"):
        raise DownloadError(f"{url}.sha256: not a checksum")
    return text[0]


def listed_sha256(url: str, name: str) -> str:
    """Returns the checksum of the file `name` in a published list, as `sha256sum` writes it: 64 hex digits.

    Raises DownloadError.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            lines = bytes(response.read(CHUNK_BYTES)).decode("ascii", "replace").splitlines()
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    for line in lines:
        digest, _, listed = line.partition(" ")
        if listed.strip(" *") == name and len(digest) == 64 and set(digest) <= set("0123456789abcdef"):
            return digest
    raise DownloadError(f"{url}: no checksum of {name}")


def unpack(archive: Path, inside: str, names: Iterable[str], directory: Path) -> None:
    """Writes the regular files `<inside>/<name>` of an archive to `directory`, executable.

    Files are looked up by their exact name and written under our name, so that no path in the archive can lead
    elsewhere. Raises DownloadError when one is missing, is not a file, or the archive is not readable.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name in names:
                _unpack_one(tar, f"{inside}/{name}", directory / name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadError(f"{archive.name} is not a readable archive: {error}") from error


def _unpack_one(tar: tarfile.TarFile, path: str, target: Path) -> None:
    try:
        member = tar.getmember(path)
    except KeyError:
        raise DownloadError(f"the archive has no {path}") from None
    content = tar.extractfile(member) if member.isfile() else None
    if content is None:
        raise DownloadError(f"{path} is not a regular file")
    with content, target.open("wb") as out:
        while chunk := content.read(CHUNK_BYTES):
            out.write(chunk)
    target.chmod(0o755)


class _Progress:
    """`_Progress` reports every few seconds how much has come."""

    def __init__(self, url: str, total: str | None, say: Say) -> None:
        self._name = url.rsplit("/", 1)[-1]
        self._total = f" of {int(total) >> 20}" if total and total.isdigit() else ""
        self._say = say
        self._bytes = 0
        self._said_at = time.monotonic()

    def add(self, count: int) -> None:
        self._bytes += count
        if time.monotonic() - self._said_at >= REPORT_SECONDS:
            self._said_at = time.monotonic()
            self._say(f"{self._name}: {self._bytes >> 20}{self._total} MiB")


def _chunks(response: http.client.HTTPResponse, progress: _Progress) -> Iterable[bytes]:
    while chunk := response.read(CHUNK_BYTES):
        progress.add(len(chunk))
        yield chunk
