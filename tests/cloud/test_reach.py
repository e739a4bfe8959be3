"""Whether an endpoint answers, and what time it is there: any answer tells, and silence is told from refusal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from localcluster.processes import free_port
from spotcompute.cloud.errors import CloudError, NotSent, OutcomeUnknown
from spotcompute.cloud.tencent.client import UnsafeEndpoint
from spotcompute.cloud.tencent.reach import read_clock
from spotcompute.settings import Settings

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[Settings]:
    """Settings for an endpoint that gives this answer to everything, or none."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await asyncio.sleep(30)
            writer.write(answer or b"")
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Settings(endpoint=f"127.0.0.1:{port}", protocol="http", request_timeout_seconds=0.5)
    finally:
        server.close()


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "302 Found"])
async def test_any_answer_tells_the_time(status: str) -> None:
    text = f"HTTP/1.1 {status}\r\nDate: Mon, 23 Nov 2026 04:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    async with answering(text.encode()) as settings:
        assert await read_clock(settings) == datetime(2026, 11, 23, 4, tzinfo=UTC)


async def test_an_answer_without_a_date_tells_no_time() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as settings:
        assert await read_clock(settings) is None


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        pytest.param(None, NotSent, "ConnectTimeout", id="silence"),
        pytest.param(b"", OutcomeUnknown, "ClientNetworkError", id="the-connection-ends"),
        pytest.param(b"nonsense\r\n\r\n", OutcomeUnknown, "BadStatusLine", id="no-HTTP"),
    ],
)
async def test_what_is_no_answer_is_told(answer: bytes | None, error: type[CloudError], code: str) -> None:
    async with answering(answer) as settings:
        with pytest.raises(error) as told:
            await read_clock(settings)
    assert (type(told.value), told.value.code) == (error, code)


async def test_nobody_there_was_sent_nothing() -> None:
    with pytest.raises(NotSent, match="ClientNetworkError"):
        await read_clock(Settings(endpoint=f"127.0.0.1:{free_port()}", protocol="http"))


async def test_an_endpoint_elsewhere_is_not_asked_without_encryption() -> None:
    with pytest.raises(UnsafeEndpoint):
        await read_clock(Settings(endpoint="cvm.example.com", protocol="http"))
