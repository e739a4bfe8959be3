"""A stub of an API server: for answers that a real one gives too rarely to wait for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import Connection, connect

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Stub:
    """Answers each request with the next of `answers` (the last one again and again), and keeps what was asked."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path, dict(request.headers), await request.text()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    def answer(self, status: int, body: object, *more: tuple[int, object]) -> None:
        """Answer with these, in turn. A str is sent as it is, anything else as JSON."""
        self.answers = [_answer(*each) for each in [(status, body), *more]]


def _answer(status: int, body: object) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")

    return answer


@pytest.fixture
async def stub() -> Stub:
    return Stub()


@pytest.fixture
async def server(stub: Stub) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(app) as server:
        yield server


def write_kubeconfig(path: Path, url: str, bearer: str = "t0ken") -> Path:
    """A kubeconfig for `url` with a bearer token."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "stub",
        "clusters": [{"name": "stub", "cluster": {"server": url}}],
        "users": [{"name": "stub", "user": {"token": bearer}}],
        "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
async def stub_connection(server: TestServer, tmp_path: Path) -> AsyncIterator[Connection]:
    path = write_kubeconfig(tmp_path / "config", str(server.make_url("")).rstrip("/"))
    connection = await connect({"KUBECONFIG": str(path)})
    yield connection
    await connection.close()


@pytest.fixture
async def stub_kube(stub_connection: Connection) -> KubeClient:
    return KubeClient(stub_connection)
