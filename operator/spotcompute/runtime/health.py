"""Answers /healthz and /readyz from the first moment of the process, also while it stands by.

Apart from the shell because kopf does not run while a replica stands by. The loop that does the work answers both
probes, so a blocked loop answers neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from spotcompute.runtime.listening import listen

#: Returns what it has checked. Raises RuntimeError when only a restart can help.
Check = Callable[[], Mapping[str, float]]


class Health:
    """`Health` holds the checks behind the probes. The part that is at work puts its own checks in place."""

    def __init__(self) -> None:
        self.check: Check = dict
        self.is_ready: Callable[[], bool] = lambda: False

    async def healthz(self, request: web.Request) -> web.Response:
        """Answers 200 with what was checked, or 500 with what is wrong.

        After 500 the kubelet restarts the container.
        """
        try:
            return _answer({"operator": dict(self.check())}, 200)
        except RuntimeError as error:
            return _answer({"error": str(error)}, 500)

    async def readyz(self, request: web.Request) -> web.Response:
        """Answers 200 when this replica acts or could take over at once, otherwise 503."""
        is_ready = self.is_ready()
        return _answer({"ready": is_ready}, 200 if is_ready else 503)


def _answer(content: Mapping[str, object], status: int) -> web.Response:
    """Returns a response that closes its connection. At the end kopf would wait five seconds for each open one."""
    response = web.json_response(content, status=status)
    response.force_close()
    return response


@asynccontextmanager
async def serve_probes(health: Health, host: str, port: int) -> AsyncIterator[None]:
    """Answers on `host:port` while the block runs.

    Does nothing when `port` is 0. Raises OSError when the port is taken.
    """
    if not port:
        yield
        return
    app = web.Application()
    app.router.add_get("/healthz", health.healthz)
    app.router.add_get("/readyz", health.readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(host, port)).start()
        yield
    finally:
        await runner.cleanup()
