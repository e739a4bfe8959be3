"""A proxy between the operator and both of its APIs that knows requests by name, and can strike at a chosen one.

Apart from the simulator's faults, which know only the cloud: here a process is killed at any request to either side,
before it is forwarded, after it was carried out, or right after its answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

#: Between two neighbours only; the proxy's own connections have their own.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "te", "trailer"}

SPOTCOMPUTE = re.compile(r"/apis/spotcompute\.dev/v1alpha1/namespaces/[^/]+/spotcomputeenvironments(/[^/]+)?(/status)?")
CORE = re.compile(r"/api/v1/namespaces/[^/]+/(secrets|configmaps)/[^/]+")


class Phase(StrEnum):
    """How far the request has come when the process is killed."""

    BEFORE = "before it is sent"
    COMMITTED = "carried out, no reply"
    REPLIED = "reply received, then"


@dataclass(frozen=True, slots=True)
class Point:
    """The `occurrence`-th request called `name` since arming, counted from 1, and how far it comes."""

    name: str
    occurrence: int
    phase: Phase

    def __str__(self) -> str:
        return f"{self.name} #{self.occurrence}, {self.phase}"


class Proxy:
    """Two doors on loopback: `kube` and `cloud` are their ports. Runs in a thread of its own; `close` ends it."""

    def __init__(self, kubeconfig: Path, cloud_endpoint: str) -> None:
        """`kubeconfig` names API server and CA (written by localcluster); `cloud_endpoint` is host:port, plain HTTP."""
        config = json.loads(kubeconfig.read_text())
        (cluster,) = (item["cluster"] for item in config["clusters"])
        self._config, self._server = config, cluster["server"]
        self._cadata = cluster["certificate-authority-data"]
        self._cloud_endpoint = cloud_endpoint
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._point: Point | None = None
        self._kill: Callable[[], None] = lambda: None
        self.names: list[str] = []
        self.struck = threading.Event()

    def start(self) -> Self:
        """Open both doors."""
        self._thread.start()
        self._run(self._open())
        return self

    def close(self) -> None:
        """Close both doors, and every connection."""
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    def kubeconfig(self, path: Path) -> Path:
        """Write the kubeconfig that leads through the proxy."""
        config = {
            **self._config,
            "clusters": [{"name": "local", "cluster": {"server": f"http://127.0.0.1:{self.kube}"}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        return path

    def arm(self, point: Point | None, kill: Callable[[], None] = lambda: None) -> None:
        """Count requests from now on, and at `point` call `kill` once. With None only count."""
        with self._lock:
            self._seen, self.names = Counter(), []
            self._point, self._kill = point, kill
            self.struck.clear()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _run(self, coroutine: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return done.result(30)

    async def _open(self) -> None:
        tls = ssl.create_default_context(cadata=base64.b64decode(self._cadata).decode())
        self._sessions = [
            ClientSession(connector=TCPConnector(ssl=tls, limit=0), timeout=ClientTimeout(), auto_decompress=False),
            ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(), auto_decompress=False),
        ]
        self._runners = []
        ports = []
        for session, target in zip(self._sessions, (self._server, f"http://{self._cloud_endpoint}"), strict=True):
            runner = web.ServerRunner(web.Server(self._handler(session, target)), shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._runners.append(runner)
            ports.append(int(runner.addresses[0][1]))
        self.kube, self.cloud = ports

    async def _shut(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        for session in self._sessions:
            await session.close()

    def _handler(self, session: ClientSession, target: str) -> Any:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            name = name_of(request)
            phase = self._next(name) if name else None
            if phase is Phase.BEFORE:
                return await self._strike(request)
            headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
            body = await request.read()
            url = URL(f"{target}{request.raw_path}", encoded=True)
            try:
                answer = await session.request(
                    request.method, url, headers=headers, data=body or None, allow_redirects=False
                )
            except ClientError:
                return web.Response(status=502)  # the API server is away
            async with answer:
                kept = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
                if name is None:
                    return await _stream(request, answer, kept)
                content = await answer.read()
                if phase is Phase.COMMITTED:
                    return await self._strike(request)
                response = web.Response(status=answer.status, body=content)
                response.headers.clear()
                response.headers.update({key: value for key, value in kept.items() if key.lower() != "content-length"})
                if phase is Phase.REPLIED:
                    await response.prepare(request)
                    await response.write_eof()
                    return await self._strike(request, response)
                return response

        return handle

    def _next(self, name: str) -> Phase | None:
        with self._lock:
            self.names.append(name)
            self._seen[name] += 1
            point = self._point
            if point is None or (point.name, point.occurrence) != (name, self._seen[name]):
                return None
            self._point = None
            return point.phase

    async def _strike(self, request: web.BaseRequest, response: web.Response | None = None) -> web.Response:
        await asyncio.get_running_loop().run_in_executor(None, self._kill)
        self.struck.set()
        if request.transport is not None:
            request.transport.abort()
        return response or web.Response(status=502)


async def _stream(request: web.BaseRequest, answer: Any, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    response.headers.update(headers)
    await response.prepare(request)
    with contextlib.suppress(ClientError, ConnectionError):  # one side has gone; the other will notice
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    return response


def name_of(request: web.BaseRequest) -> str | None:
    """What the request is called; None for watches, and for what the operator's decisions do not hang on."""
    action = request.headers.get("X-TC-Action")
    if action:
        return f"cloud {action}"
    if "watch" in request.query:
        return None
    if match := SPOTCOMPUTE.fullmatch(request.path):
        what = "status" if match[2] else "environment" if match[1] else "environments"
        return f"kube {request.method} {what}"
    if match := CORE.fullmatch(request.path):
        return f"kube {request.method} {match[1]}"
    return None
