"""What the image is built from: the lock of Debian's packages, how one is fetched and unpacked, how layers are written.

Apart from `e2e/test_image.py`, which builds a real one and runs the operator in it.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy.manifests import ROOT
from local.website import Website

IMAGE = ROOT / "deploy" / "image"
ARCHITECTURES = {"amd64", "arm64"}


@pytest.fixture(scope="module", autouse=True)
def image_on_path() -> Iterator[None]:
    sys.path.insert(0, str(IMAGE))
    yield
    sys.path.remove(str(IMAGE))


@pytest.fixture
def debian() -> ModuleType:
    return importlib.import_module("debian")


@pytest.fixture
def assemble() -> ModuleType:
    return importlib.import_module("assemble")


def test_the_lock_has_every_package_for_each_architecture_and_no_other(debian: ModuleType) -> None:
    lock = debian.Lock.read()
    for architecture in ARCHITECTURES:
        assert sorted(one.name for one in lock.of(architecture)) == sorted(debian.PACKAGES)
    assert {one.architecture for one in lock.packages} == {*ARCHITECTURES, "all"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", one.sha256) for one in lock.packages)


def test_both_architectures_have_the_same_version_of_each_package(debian: ModuleType) -> None:
    lock = debian.Lock.read()
    versions = [{one.name: one.version for one in lock.of(architecture)} for architecture in sorted(ARCHITECTURES)]
    assert versions[0] == versions[1]


def test_a_line_of_the_lock_is_what_apt_says(debian: ModuleType) -> None:
    lines_of = importlib.import_module("lock").lines_of
    shown = (
        "Package: libssl3\nArchitecture: amd64\nVersion: 3.0.22-1~deb12u2\nDescription: TLS\n of OpenSSL\n"
        f"Filename: pool/updates/main/o/libssl3.deb\nSHA256: {'0' * 64}\n\n"
        f"Package: zlib1g\nVersion: 1:1.2\nArchitecture: amd64\nFilename: pool/main/z.deb\nSHA256: {'1' * 64}\n"
    )
    first, second = (debian.Package(*line.split()) for line in lines_of(shown))
    assert (first.name, first.archive, first.file) == ("libssl3", "debian-security", "libssl3.deb")
    assert (second.version, second.archive, second.sha256) == ("1:1.2", "debian", "1" * 64)


def package(files: dict[str, bytes], control: str = "Package: it\nVersion: 1\n") -> bytes:
    """A Debian package with these files."""

    def packed(content: dict[str, bytes]) -> bytes:
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w:xz") as archive:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o755 if "/bin/" in name else 0o644
                archive.addfile(member, io.BytesIO(data))
        return plain.getvalue()

    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": packed({"./control": control.encode(), "./postinst": b"exit 1"}),
        "data.tar.xz": packed(files),
    }
    made = b"!<arch>\n"
    for name, data in parts.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return made


def test_a_package_is_unpacked_without_what_nobody_reads(debian: ModuleType, tmp_path: Path) -> None:
    files = {
        "./usr/bin/it": b"#!",
        "./usr/share/doc/it/copyright": b"free",
        "./usr/share/doc/it/changelog.gz": b"long",
        "./usr/share/man/man1/it.1.gz": b"page",
        "./usr/lib/python3.11/lib-dynload/readline.cpython-311-x86_64-linux-gnu.so": b"ELF",
        "./usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so": b"ELF",
    }
    (tmp_path / "it.deb").write_bytes(package(files))
    assert debian.unpack(tmp_path / "it.deb", tmp_path / "tree") == "Package: it\nVersion: 1\n"
    laid = sorted(str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*") if path.is_file())
    assert laid == [
        "usr/bin/it",
        "usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so",
        "usr/share/doc/it/copyright",
    ]
    assert (tmp_path / "tree/usr/bin/it").stat().st_mode & 0o777 == 0o755


def test_what_is_no_package_is_refused(debian: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "it.deb").write_bytes(b"<html>not found</html>")
    with pytest.raises(debian.DownloadError, match="no Debian package"):
        debian.unpack(tmp_path / "it.deb", tmp_path)


def test_a_file_comes_from_the_archive_that_keeps_all_versions_and_is_checked_by_its_hash(
    debian: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = package({"./usr/bin/it": b"#!"})
    path = "pool/main/i/it_1+2_amd64.deb"
    right, wrong = hashlib.sha256(content).hexdigest(), "0" * 64
    lock = debian.Lock("20260101T000000Z", (debian.Package("it", "1+2", "amd64", "debian", path, right),))
    url = lock.url(lock.packages[0])
    assert url == "https://snapshot.debian.org/archive/debian/20260101T000000Z/pool/main/i/it_1%2B2_amd64.deb"
    monkeypatch.setattr(debian, "is_this_debian", lambda: False)
    website = Website()
    website.pages["/it.deb"] = content
    monkeypatch.setattr(debian.Lock, "url", lambda self, one: f"{website.url}/it.deb")
    try:
        (fetched,) = debian.bring(lock, "amd64", tmp_path / "cache")
        assert fetched.read_bytes() == content
        assert debian.bring(lock, "amd64", tmp_path / "cache") == [fetched]
        assert website.asked == ["/it.deb"], "the second time the cache has it"
        forged = debian.Lock("", (debian.Package("it", "1", "amd64", "debian", path, wrong),))
        with pytest.raises(debian.DownloadError, match="checksum"):
            debian.bring(forged, "amd64", tmp_path / "cache")
    finally:
        website.close()
    assert [one.name for one in (tmp_path / "cache").iterdir()] == [right]


def tree(directory: Path, names: list[str], moment: int) -> Path:
    """The same files, made in this order and at this time."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ANSWER = {'a', 'b', 'c'}\n" if name.endswith(".py") else name)
        os.utime(path, (moment, moment))
    (directory / "link").symlink_to("/app/one.py")
    return directory


def plan(trees: list[Path], out: Path) -> dict[str, Any]:
    return {
        "out": str(out),
        "epoch": 1_700_000_000,
        "name": "it:1",
        "tag": "1",
        "config": {"User": "65532:65532", "Labels": {"org.opencontainers.image.version": "1"}},
        "images": [
            {"architecture": architecture, "layers": [{"tree": str(one), "holds": "it"} for one in trees]}
            for architecture in sorted(ARCHITECTURES)
        ],
    }


NAMES = ["app/one.py", "app/two.py", "app/tests/test.py", "etc/passwd", "bin/it"]


def test_the_same_files_become_the_same_archive_wherever_whenever_and_in_whatever_order_they_were_made(
    assemble: ModuleType, tmp_path: Path
) -> None:
    first = assemble.assemble(plan([tree(tmp_path / "a", NAMES, 1_000_000_000)], tmp_path / "a.tar"))
    second = assemble.assemble(plan([tree(tmp_path / "tests" / "b", NAMES[::-1], 1_600_000_000)], tmp_path / "b.tar"))
    assert first == second
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    changed = tree(tmp_path / "c", NAMES, 1_000_000_000)
    (changed / "etc/passwd").write_text("other")
    assert assemble.assemble(plan([changed], tmp_path / "c.tar")) != first


def test_the_archive_is_an_oci_layout_and_what_docker_loads(assemble: ModuleType, tmp_path: Path) -> None:
    digest = assemble.assemble(plan([tree(tmp_path / "a", NAMES, 1)], tmp_path / "a.tar"))
    with tarfile.open(tmp_path / "a.tar") as archive:
        found = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]  # each is a file
    blobs = {name: content for name, content in found.items() if name.startswith("blobs/")}
    assert all(hashlib.sha256(content).hexdigest() == name.rpartition("/")[2] for name, content in blobs.items())
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads(found["index.json"])["manifests"]
    assert top["digest"] == digest
    index = json.loads(blobs[f"blobs/{digest.replace(':', '/')}"])
    assert {one["platform"]["architecture"] for one in index["manifests"]} == ARCHITECTURES
    loaded = json.loads(found["manifest.json"])
    assert [one["RepoTags"] for one in loaded] == [["it:1"], ["it:1-arm64"]]
    for one in loaded:
        config = json.loads(blobs[one["Config"]])
        assert config["config"]["User"] == "65532:65532"
        diffs = [f"sha256:{hashlib.sha256(gzip.decompress(blobs[layer])).hexdigest()}" for layer in one["Layers"]]
        assert config["rootfs"]["diff_ids"] == diffs


def test_a_layer_holds_bytecode_that_nobody_checks_and_everything_belongs_to_root(
    assemble: ModuleType, tmp_path: Path
) -> None:
    root = tree(tmp_path / "a", NAMES, 1)
    (root / "bin/it").chmod(0o6755)
    assemble.compile_all(root, {})
    content, _ = assemble.layer(root, 5)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as archive:
        members = {one.name: one for one in archive}
        compiled = archive.extractfile("app/__pycache__/one.cpython-311.pyc")
        assert compiled is not None
        assert compiled.read(8)[4:] == b"\x01\x00\x00\x00"  # by hash, unchecked: PEP 552
    assert "app/tests/__pycache__" not in members
    assert {(one.uid, one.gid, one.mtime, one.uname) for one in members.values()} == {(0, 0, 5, "")}
    assert members["bin/it"].mode == 0o755, "no program runs as its owner"
    assert members["link"].linkname == "/app/one.py"
