"""Sends one request to the API server and returns one answer. Every failure becomes an error of `port`.

Apart from `client`, which knows environments, because the Lease is asked for in the same way. Requests go through the
official client's transport (pool, TLS, credentials) as plain JSON, because its typed models do not know our resource.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp

from spotcompute.kube.connection import Connection
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, Invalid, KubeError, NotFound, NotServed

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"

#: Time for one call, from connecting to the last byte. A healthy API server answers in milliseconds.
TIMEOUT_SECONDS = 10.0

MESSAGE_CHARACTERS = 500

#: How long one watch lasts. A line that is silently dead is noticed soon after.
WATCH_SECONDS = 60
SILENCE_SECONDS = WATCH_SECONDS + 15.0


class Expired(KubeError):
    """`Expired` means that the pages of a list are no longer available (HTTP 410): begin the list again."""


class _Answer(NamedTuple):
    """`_Answer` holds what came back. `date` is the server's time, as HTTP writes it."""

    status: int
    body: bytes
    date: str | None


class Transport:
    """`Transport` sends requests over one connection. Callers that need another timeout make one of their own."""

    def __init__(self, connection: Connection, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._connection = connection
        self._timeout_seconds = timeout_seconds

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Any:
        """Sends one request and returns its answer as JSON.

        It does not retry, because its callers do. Raises only KubeError.
        """
        asked = f"{path}?{urlencode(query)}" if query else path
        return await self._understood(f"{method} {path}", await self._send(method, asked, body, content_type, accept))

    async def call_dated(self, method: str, path: str) -> tuple[Any, str | None]:
        """Does the same without a body, and returns the API server's time besides, as it writes it."""
        answer = await self._send(method, path, None, JSON, JSON)
        return await self._understood(f"{method} {path}", answer), answer.date

    async def _understood(self, what: str, answer: _Answer) -> Any:
        if answer.status == 401:
            await self._connection.refused()
        if not 200 <= answer.status <= 299:
            raise _error(what, answer.status, answer.body)
        try:
            return json.loads(answer.body)
        except ValueError:
            # `from None`, here and below: an answer that could not be parsed may be half a Secret.
            raise ApiUnavailable(f"{what}: an answer that is no JSON") from None

    async def lines(self, path: str, query: Mapping[str, str], silence_seconds: float) -> AsyncGenerator[bytes]:
        """Sends one GET, and yields each line of its answer as it comes, until the API server ends it.

        A line may be of any length. Raises ApiUnavailable when nothing has come for `silence_seconds`.
        """
        what = f"GET {path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_seconds, sock_read=silence_seconds)
        try:
            response = await self._open("GET", f"{path}?{urlencode(query)}", None, JSON, JSON, timeout)
            try:
                if response.status == 401:
                    await self._connection.refused()
                if not 200 <= response.status <= 299:
                    raise _error(what, response.status, await response.read())
                rest = b""
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
            finally:
                response.close()
        except TimeoutError:
            raise ApiUnavailable(f"{what}: silent for {silence_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnavailable(f"{what}: {type(error).__name__}: {error}") from None

    async def watch(
        self, path: str, version: str, selection: Mapping[str, str] | None = None
    ) -> AsyncGenerator[tuple[str, Mapping[str, Any]]]:
        """Yields each change in a collection since `version`, as its type and the object, for about a minute.

        `selection` names a part of the collection, as a list does. A BOOKMARK only tells a newer version. Raises
        Expired when the changes since then are no longer known.
        """
        query = {
            **(selection or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with contextlib.aclosing(self.lines(path, query, SILENCE_SECONDS)) as lines:
            async for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    raise ApiUnavailable(f"watch {path}: a line that is no JSON") from None
                if event["type"] != "ERROR":
                    yield event["type"], event["object"]
                elif event["object"].get("code") == 410:
                    raise Expired(str(event["object"].get("message", "")))
                else:
                    words = event["object"].get("message", "an error without a message")
                    raise ApiUnavailable(f"watch {path}: {words}")

    async def _open(
        self, method: str, path: str, body: Any, content_type: str, accept: str, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        api = self._connection.api
        prepared = await api.param_serialize(
            method,
            path,
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        opened: aiohttp.ClientResponse = (await api.call_api(*prepared, _request_timeout=timeout)).response
        return opened

    async def _send(self, method: str, path: str, body: Any, content_type: str, accept: str) -> _Answer:
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        try:
            response = await self._open(method, path, body, content_type, accept, timeout)
            return _Answer(response.status, await response.read(), response.headers.get("Date"))
        except TimeoutError:
            raise ApiUnavailable(f"{method} {path}: no answer within {self._timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnavailable(f"{method} {path}: {type(error).__name__}: {error}") from None


def segment(name: str) -> str:
    """Returns `name` as one segment of a path. Raises Invalid when it is not a name.

    Names come from specs, and none may lead into another namespace.
    """
    if name in ("", ".", ".."):
        raise Invalid(f"not a name: {name!r}")
    return quote(name, safe="")


def _error(what: str, status: int, answer: bytes) -> KubeError:
    """Returns the error for an answer, by what the caller can do about it. The API server's own sentence is kept."""
    explained = _status_object(answer)
    text = f"{what}: HTTP {status} {str(explained.get('message', ''))[:MESSAGE_CHARACTERS]}".rstrip()
    if status == 404:
        # An answer "no such object" names the object. Any other 404 means "no such resource": the CRD is missing or
        # not yet served. If we took that for a deleted environment, we would give up its instances.
        return NotFound(text) if (explained.get("details") or {}).get("name") else NotServed(text)
    if status == 410:
        return Expired(text)
    if status == 409:
        return Conflict(text)
    if status in (401, 403):
        return Forbidden(text)
    if status in (408, 429) or not 400 <= status <= 499:
        return ApiUnavailable(text)
    return Invalid(text)


def _status_object(answer: bytes) -> Mapping[str, Any]:
    """Returns the `Status` object of a refusal.

    Empty when the answer is something different, such as a proxy's page.
    """
    try:
        explained = json.loads(answer)
    except ValueError:
        return {}
    return explained if isinstance(explained, dict) and explained.get("kind") == "Status" else {}
