"""A front before the API server that misbehaves on demand: refusals, cut watches, watches that answer nonsense."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from localcluster.controlplane import ControlPlane
from waiting import PATIENCE_SECONDS

SESSION = web.AppKey("session", aiohttp.ClientSession)
HOP_BY_HOP = {"host", "content-length", "transfer-encoding", "connection", "content-encoding"}


class Front:
    """Passes everything on, unless told otherwise. Its attributes may be set from the test's thread."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.url = ""
        #: An HTTP status for every request, instead of passing it on.
        self.refuse_with: int | None = None
        #: For watches of environments: an HTTP status (int), or the object of an ERROR event inside the stream.
        self.answer_watches_with: int | dict[str, Any] | None = None
        #: True while the list of all groups lacks ours, as just after a CRD was installed.
        self.hides_group = False
        self.refusals = 0
        self._watches: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def cut_watches(self) -> None:
        """Break every open watch off."""
        assert self._loop is not None
        for watch in list(self._watches):
            self._loop.call_soon_threadsafe(watch.cancel)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        is_watch = "watch" in request.query and "spotcompute" in request.path
        if self.refuse_with is not None:
            self.refusals += 1
            return web.json_response({"kind": "Status", "code": self.refuse_with}, status=self.refuse_with)
        if is_watch and isinstance(self.answer_watches_with, int):
            return web.json_response({"kind": "Status"}, status=self.answer_watches_with)
        if is_watch and self.answer_watches_with is not None:
            self.refusals += 1
            return web.Response(text=json.dumps({"type": "ERROR", "object": self.answer_watches_with}) + "\n")
        if self.hides_group and request.path == "/apis":
            self.refusals += 1
            return web.json_response({"kind": "APIGroupList", "groups": []})
        return await self._pass_on(request, is_watch)

    async def _pass_on(self, request: web.Request, is_watch: bool) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        session = request.app[SESSION]
        url = self.upstream + request.raw_path
        body = await request.read() or None
        async with session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            task = asyncio.current_task()
            if is_watch and task is not None:
                self._watches.add(task)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            finally:
                if task is not None:
                    self._watches.discard(task)
            return response

    async def serve(self, certificate: Path, started: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        trust = ssl.create_default_context(cafile=str(certificate))
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            app = web.Application()
            app[SESSION] = session
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            started.set()
            await stop.wait()
            self.cut_watches()
            await runner.cleanup()


@contextmanager
def fronted(plane: ControlPlane, name: str) -> Iterator[tuple[Front, Path]]:
    """A front in a thread of its own (kopf waits for every task of its own loop), and the admin's kubeconfig for it."""
    front = Front(plane.server)
    started, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    certificate = plane.directory / "ca.crt"

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(front.serve(certificate, started, stop))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(PATIENCE_SECONDS), "the front did not start"
    content = json.loads(plane.kubeconfig.read_text())
    content["clusters"][0]["cluster"] = {"server": front.url}
    path = plane.directory / f"{name}-front.kubeconfig"
    path.write_text(json.dumps(content))
    try:
        yield front, path
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)
        loop.close()
