"""One request to the API server, one answer; every failure in the words of `port`.

Apart from `client`, which knows environments, because the Lease is asked for in the same way. Requests go through the
official client's transport (pool, TLS, credentials) as plain JSON: its typed models know no resource of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from spotcompute.kube.connection import Connection
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, Invalid, KubeError, NotFound

JSON = "application/json"

#: Of one call, from connecting to the last byte. An API server answers in milliseconds or is in trouble.
TIMEOUT_SECONDS = 10.0

MESSAGE_CHARACTERS = 500


class Expired(KubeError):
    """HTTP 410: the pages of this list are no longer to be had, begin again."""


class Transport:
    """Asks over one connection; whoever needs an answer sooner than others has one of its own."""

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
        """One request, one answer, no retry: the caller's caller knows when to come back. Raises KubeError only."""
        status, answer = await self._send(
            method, f"{path}?{urlencode(query)}" if query else path, body, content_type, accept
        )
        if status == 401:
            await self._connection.refused()
        what = f"{method} {path}"
        if not 200 <= status <= 299:
            raise _error(what, status, answer)
        try:
            return json.loads(answer)
        except ValueError:
            # `from None`, here and below: what could not be parsed may be half a Secret.
            raise ApiUnavailable(f"{what}: an answer that is no JSON") from None

    async def _send(self, method: str, path: str, body: Any, content_type: str, accept: str) -> tuple[int, bytes]:
        api = self._connection.api
        try:
            prepared = await api.param_serialize(
                method,
                path,
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
            response = await api.call_api(*prepared, _request_timeout=timeout)
            return response.status, await response.response.read()
        except TimeoutError:
            raise ApiUnavailable(f"{method} {path}: no answer within {self._timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnavailable(f"{method} {path}: {type(error).__name__}: {error}") from None


def segment(name: str) -> str:
    """`name` as one step of a path. Names come from specs: none may climb into another namespace."""
    if name in ("", ".", ".."):
        raise Invalid(f"not a name: {name!r}")
    return quote(name, safe="")


def _error(what: str, status: int, answer: bytes) -> KubeError:
    """The error for an answer, by what the caller can do about it; the API server's own sentence is kept."""
    said = _status_object(answer)
    text = f"{what}: HTTP {status} {str(said.get('message', ''))[:MESSAGE_CHARACTERS]}".rstrip()
    if status == 404:
        # "No such object" names it. Anything else is "no such resource": the CRD is missing or not yet served, and to
        # take that for a deleted environment would give its instances up.
        return NotFound(text) if (said.get("details") or {}).get("name") else ApiUnavailable(text)
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
    """The `Status` the API server explains itself with; empty when the answer is something else (a proxy's page)."""
    try:
        said = json.loads(answer)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and said.get("kind") == "Status" else {}
