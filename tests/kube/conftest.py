"""Two API servers, a real one and (`stub_…`) a stub for answers that a real one gives too rarely; and a store."""

from __future__ import annotations

import pytest

from controlplane import connection, create, kube, namespace
from kube.stub import server, stub, stub_connection, stub_kube
from spotcompute.kube.store import Store

__all__ = ["connection", "create", "kube", "namespace", "server", "stub", "stub_connection", "stub_kube"]


@pytest.fixture
def wakes() -> list[str]:
    return []


@pytest.fixture
def store(wakes: list[str]) -> Store:
    return Store(wakes.append)
