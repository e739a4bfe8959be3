"""Serves the simulator: one port for the API and the metadata path, one control port, both on loopback.

Apart from everything else because only this module waits: sockets, faults that take time, the clock.
"""

import asyncio
import hmac
import json
import os
import secrets
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from cvmsim import metadata, wire
from cvmsim.control import OPERATIONS, Body, Row, Simulation
from cvmsim.errors import ApiError, WorldFileError
from cvmsim.signatures import Message
from cvmsim.simulator import Delivery, envelope

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
SHUTDOWN_SECONDS = 0.5
METADATA = "/latest/"
LINE_MAX = 16 * 1024 * 1024  # so that a URL that is too long gets the vendor's code, not aiohttp's status 400


@dataclass(frozen=True, slots=True)
class Address:
    """`Address` says where a served simulator is. `api` is host:port as the SDK needs it, `control` is a URL."""

    api: str
    control: str
    token: str
    seed: int

    def as_json(self) -> str:
        """Returns the content of the ready file."""
        return json.dumps({"api": self.api, "control": self.control, "token": self.token, "seed": self.seed})

    def write(self, path: Path) -> None:
        """Writes the ready file in one step, so that a reader sees all of it or none."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(self.as_json() + "\n", encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)


class Server:
    """`Server` serves a simulator on two loopback ports, from `start` to `stop`."""

    def __init__(self, sim: Simulation, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._sim, self._tls = sim, tls
        self._token = token or secrets.token_urlsafe(24)
        self._runners: list[web.ServerRunner] = []

    async def start(self, port: int = 0, control_port: int = 0) -> Address:
        """Binds both ports (0 picks free ones) and serves."""
        api, control = _runner(self._answer_api), _runner(self._answer_control)
        api_port, control_port = await self._serve(api, port, self._tls), await self._serve(control, control_port)
        return Address(
            api=f"{LOOPBACK}:{api_port}",
            control=f"http://{LOOPBACK}:{control_port}",
            token=self._token,
            seed=self._sim.simulator.seed,
        )

    async def _serve(self, runner: web.ServerRunner, port: int, tls: ssl.SSLContext | None = None) -> int:
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, LOOPBACK, port, backlog=BACKLOG, ssl_context=tls).start()
        bound: int = runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Closes both ports."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    # --- the API port -----------------------------------------------------------------------------

    async def _answer_api(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(METADATA):
            return self._metadata(request)
        return await self._hand_over(request, self._deliver(await _message(request)))

    def _deliver(self, message: Message) -> Delivery:
        simulator, now = self._sim.simulator, self._sim.clock.now()
        wall = now if simulator.switches["skew-clock"] == "world" else time.time()
        try:
            arrival = wire.read(message, simulator.world.credentials, wall, now)
        except ApiError as refusal:
            says = wire.told(message)
            return Delivery(envelope(simulator.reject(refusal, now, says.action, says.service, says.region)))
        return simulator.deliver(arrival, now)

    async def _hand_over(self, request: web.BaseRequest, delivery: Delivery) -> web.StreamResponse:
        if delivery.delay:
            await asyncio.sleep(delivery.delay)
        if delivery.body is None:
            _cut(request, delivery.is_reset)
        # The header is set by hand, because aiohttp would add a charset, and the official SDK would see empty answers.
        headers = {"Content-Type": delivery.content_type}
        return web.Response(status=delivery.status, body=delivery.body, headers=headers)

    def _metadata(self, request: web.BaseRequest) -> web.Response:
        """Answers a machine about itself: what it asked for, or 404.

        The machine is named by a header, in the query, or by its address. Who has none of these asks for the machine on
        which this host's clients run, which has a role and no more.
        """
        sim = self._sim
        sim.world.advance(sim.clock.now())
        named = request.headers.get("X-Sim-Instance") or request.query.get("instance")
        one = sim.world.instances.get(named) if named else sim.world.living_at(request.remote or "")
        path, machine = request.path.removeprefix(METADATA), sim.world.catalog.machine
        found = None
        if one is not None and one.is_live:
            found = metadata.answer(sim.world, one, path)
        elif not named and machine is not None:
            found = metadata.key_of_role(sim.world, machine, path)
        if found is None:
            return web.Response(status=404, text="404 page not found")
        return web.Response(text=found)

    # --- the control port -------------------------------------------------------------------------

    async def _answer_control(self, request: web.BaseRequest) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get("X-Sim-Token", "").encode(), self._token.encode()):
            return _json({"error": "the header X-Sim-Token is absent or wrong"}, 403)
        perform = ROUTES.get((request.method, request.path))
        if perform is None:
            return _json({"error": f"no {request.method} {request.path}", "known": sorted(map(" ".join, ROUTES))}, 404)
        try:
            body = await _body(request)
            self._sim.world.advance(self._sim.clock.now())
            return _json(perform(self._sim, body))
        except (WorldFileError, ApiError) as problem:
            return _json({"error": str(problem)}, 400)


ROUTES: dict[tuple[str, str], Callable[[Simulation, Body], Row]] = {
    (route.method, f"/_sim/{route.path}"): route.perform for route in OPERATIONS
}


def _runner(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.ServerRunner:
    """Returns a server without access log. When a customer closes the connection, a fault that still waits ends too."""
    server = web.Server(answer, handler_cancellation=True, access_log=None, max_line_size=LINE_MAX)
    return web.ServerRunner(server, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)


async def _message(request: web.BaseRequest) -> Message:
    path, _, query = request.raw_path.partition("?")
    body = await request.content.read() if request.can_read_body else b""
    return Message(request.method, path, query, request.headers, body)


async def _body(request: web.BaseRequest) -> dict[str, Any]:
    """Returns a JSON object from the body, or from the query for GET and DELETE. Raises WorldFileError."""
    text = await request.content.read()
    if not text:
        return {name: int(value) if value.isdigit() and name in ("id", "count") else value
                for name, value in request.query.items()}  # fmt: skip
    try:
        body = json.loads(text)
    except ValueError as problem:
        raise WorldFileError(f"the body is not JSON: {problem}") from problem
    if not isinstance(body, dict):
        raise WorldFileError("the body is not a JSON object")
    return body


def _json(row: Row, status: int = 200) -> web.Response:
    return web.json_response(row, status=status)


def _cut(request: web.BaseRequest, is_reset: bool) -> None:
    """Ends the connection without an answer: closed, or reset so that the other side gets ECONNRESET."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if is_reset and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def serve_until(stop: Awaitable[object], server: Server, port: int, control_port: int,
                      announce: Callable[[Address], None]) -> None:  # fmt: skip
    """Serves, announces where, and ends when `stop` does."""
    announce(await server.start(port, control_port))
    try:
        await stop
    finally:
        await server.stop()
