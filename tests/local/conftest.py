"""Stand-ins for what costs minutes or needs the internet: fake binaries, a web server, waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.website import Website
from localcluster import pins


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
def site() -> Iterator[Website]:
    site = Website()
    yield site
    site.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait for another process to get there; fails after ten seconds."""

    def wait(claim: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not claim():
            assert time.monotonic() < deadline, "it never became true"
            time.sleep(0.02)

    return wait
