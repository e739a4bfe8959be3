"""An HTTP server that counts what arrives and misbehaves on purpose: for everything below the API's own words."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came over the wire. Header names are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def action(self) -> str:
        return self.headers.get("x-tc-action", "")

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Stub:
    """Answers every request with `answer`; `requests` and `connections` are what it has seen."""

    answer: Answer
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                await self.answer(request, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stub]:
    """A stub on a free port of loopback."""
    stub = Stub(answer)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, ssl=tls)
    stub.port = server.sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    line, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)


def http(
    body: bytes | str, status: str = "200 OK", content_type: str | None = "application/json", extra: str = ""
) -> Answer:
    """One whole HTTP answer."""
    content = body.encode() if isinstance(body, str) else body
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = f"HTTP/1.1 {status}\r\n{kind}{extra}Content-Length: {len(content)}\r\n\r\n".encode()

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head + content)
        await writer.drain()

    return answer


def says(content_type: str = "application/json", **response: Any) -> Answer:
    """A well-formed answer of the API."""
    return http(json.dumps({"Response": {"RequestId": "request-1", **response}}), content_type=content_type)


def refuses(code: str, message: str = "no", content_type: str = "application/json") -> Answer:
    """An error of the API."""
    return says(content_type, Error={"Code": code, "Message": message})


async def resets(_request: Request, writer: asyncio.StreamWriter) -> None:
    """The request is read whole, and the connection ends without a word."""
    writer.transport.abort()


async def breaks_off(_request: Request, writer: asyncio.StreamWriter) -> None:
    """The answer ends in the middle."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"Response": {')
    await writer.drain()
    writer.transport.abort()


async def hangs(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """No answer for as long as the other side waits."""
    await asyncio.Event().wait()


async def drips(_request: Request, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single read ever times out."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)
