"""Starts the page: a server on 127.0.0.1, what follows the cluster, and the user's browser.

Apart from `pages`, because this has the socket, the clock and the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from kubectl_spot.ui.cluster import Cluster, Kubectl
from kubectl_spot.ui.guard import Guard, Keys
from kubectl_spot.ui.pages import Pages
from kubectl_spot.ui.prometheus import Prometheus
from kubectl_spot.ui.state import State

#: The page is for the user of this machine alone, so this is no option.
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Wishes:
    """`Wishes` is what the user asked for on the command line. Port 0: any that is free."""

    flags: Sequence[str]
    namespace: str | None
    port: int
    prometheus: str | None
    opens_browser: bool


def application(wishes: Wishes, keys: Keys, port: int, clock: Callable[[], float] = time.time) -> ASGIApp:
    """Returns the application. It follows the cluster as long as it runs."""
    state = State(clock)
    cluster = Cluster(Kubectl(tuple(wishes.flags)), state, wishes.namespace)
    prometheus = Prometheus(wishes.prometheus, clock) if wishes.prometheus else None

    @contextlib.asynccontextmanager
    async def following(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(cluster.follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    guard = Middleware(Guard, keys=keys, hosts=hosts)
    return Starlette(routes=Pages(state, cluster, prometheus).routes(), middleware=[guard], lifespan=following)


def serve(wishes: Wishes, say: Callable[[str], None]) -> None:
    """Serves the page until the user ends it. Raises OSError when the port is taken."""
    with socket.create_server((HOST, wishes.port)) as listening:
        port = listening.getsockname()[1]
        # Cookies do not know ports: two pages on one machine would overwrite each other's.
        keys = Keys(cookie_name=f"kubectl-spot-{port}")
        address = f"http://{HOST}:{port}/?token="
        say(f"Open {address}{keys.token}")
        say("Whoever has this address has your rights in the cluster. Ctrl-C ends it.")
        if wishes.opens_browser:
            webbrowser.open(f"{address}{keys.once()}")
        config = uvicorn.Config(
            application(wishes, keys, port),
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[listening])
