"""Nothing is believed before its checksum says so, and nothing lands outside its directory."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from local.website import Website
from localcluster.download import DownloadError, fetch, published_sha256, unpack
from localcluster.processes import free_port

BODY = b"a binary" * 1000


def silent(line: str) -> None:
    pass


def sha512(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest()


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for member, body in members:
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return out.getvalue()


def test_a_body_with_the_right_checksum_is_kept(site: Website, tmp_path: Path) -> None:
    site.pages["/etcd"] = BODY
    fetch(f"{site.url}/etcd", tmp_path / "etcd", sha512=sha512(BODY), say=silent)
    assert (tmp_path / "etcd").read_bytes() == BODY


def test_a_wrong_checksum_leaves_no_file(site: Website, tmp_path: Path) -> None:
    site.pages["/etcd"] = BODY
    with pytest.raises(DownloadError, match=r"/etcd: checksum [0-9a-f]{16}… instead of 00"):
        fetch(f"{site.url}/etcd", tmp_path / "etcd", sha512="0" * 128, say=silent)
    assert list(tmp_path.iterdir()) == []


def test_a_body_without_a_checksum_to_compare_is_refused(site: Website, tmp_path: Path) -> None:
    site.pages["/etcd"] = BODY
    with pytest.raises(DownloadError, match="checksum"):
        fetch(f"{site.url}/etcd", tmp_path / "etcd", say=silent)


def test_a_missing_page_is_named(site: Website, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="/gone: Not Found"):
        fetch(f"{site.url}/gone", tmp_path / "gone", sha512=sha512(BODY), say=silent)
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_stops_short_is_refused(site: Website, tmp_path: Path) -> None:
    site.pages["/etcd"] = BODY[:-1]
    site.promised = 1
    with pytest.raises(DownloadError, match="/etcd"):
        fetch(f"{site.url}/etcd", tmp_path / "etcd", sha512=sha512(BODY), say=silent)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_an_error_of_ours(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/etcd"
    with pytest.raises(DownloadError, match="refused"):
        fetch(url, tmp_path / "etcd", sha512=sha512(BODY), say=silent)


def test_a_published_checksum_is_read_beside_the_file(site: Website) -> None:
    site.pages["/kcm.sha256"] = b"ab" * 32 + b"\n"
    assert published_sha256(f"{site.url}/kcm") == "ab" * 32


@pytest.mark.parametrize("page", [b"", b"<html>hello</html>", b"ab" * 31], ids=["empty", "a web page", "too short"])
def test_what_is_no_checksum_is_refused(site: Website, page: bytes) -> None:
    site.pages["/kcm.sha256"] = page
    with pytest.raises(DownloadError, match="not a checksum"):
        published_sha256(f"{site.url}/kcm")


def test_an_archive_gives_executables(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(archive((tarfile.TarInfo("controller-tools/envtest/etcd"), BODY)))
    unpack(tmp_path / "a.tar.gz", "controller-tools/envtest", ["etcd"], tmp_path)
    assert (tmp_path / "etcd").read_bytes() == BODY
    assert (tmp_path / "etcd").stat().st_mode & 0o777 == 0o755


def test_an_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    climbing = [tarfile.TarInfo(name) for name in ("../etcd", "controller-tools/envtest/../../../etcd", "/tmp/etcd")]
    (inside / "a.tar.gz").write_bytes(archive(*((member, BODY) for member in climbing)))
    with pytest.raises(DownloadError, match="has no controller-tools/envtest/etcd"):
        unpack(inside / "a.tar.gz", "controller-tools/envtest", ["etcd"], inside)
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "a.tar.gz"]


def test_a_link_in_place_of_a_binary_is_refused(tmp_path: Path) -> None:
    link = tarfile.TarInfo("controller-tools/envtest/etcd")
    link.type, link.linkname = tarfile.SYMTYPE, "/bin/sh"
    (tmp_path / "a.tar.gz").write_bytes(archive((link, b"")))
    with pytest.raises(DownloadError, match="not a regular file"):
        unpack(tmp_path / "a.tar.gz", "controller-tools/envtest", ["etcd"], tmp_path)


@pytest.mark.parametrize("kept_percent", [0, 5, 80], ids=["empty", "torn early", "torn late"])
def test_a_torn_archive_is_refused(tmp_path: Path, kept_percent: int) -> None:
    whole = archive((tarfile.TarInfo("controller-tools/envtest/etcd"), bytes(range(256)) * 4000))
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) * kept_percent // 100])
    with pytest.raises(DownloadError):
        unpack(tmp_path / "a.tar.gz", "controller-tools/envtest", ["etcd"], tmp_path)
