"""Speaks to the API server with the credentials of one machine, and to the simulator about that machine.

Apart from `guest`, which knows what a machine says, and not how it is carried.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

Object = Mapping[str, Any]

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
ANSWER_SECONDS = 15.0


class Refused(Exception):
    """`Refused` means that the API server answered with an error. `status` is its HTTP status, `str()` its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Server:
    """`Server` is the address of the API server and its CA (PEM). Both stand in the user data of a real machine."""

    url: str
    ca: str

    def client(self, *, token: str | None = None, certificate: tuple[Path, Path] | None = None) -> Client:
        """Returns a client with a bearer token, or with a certificate and its key."""
        trust = ssl.create_default_context(cadata=self.ca)
        if certificate:
            trust.load_cert_chain(*certificate)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        )
        return Client(self.url, session)


class Client:
    """`Client` has the rights of one set of credentials. Close it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """Reads an object, or a list. Raises Refused, and aiohttp.ClientError or TimeoutError without an answer."""
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: Object) -> dict[str, Any]:
        """Creates an object, and returns it. Raises as `get` does."""
        return await self._call("POST", path, json=body)

    async def patch(self, path: str, body: Object, kind: str = STRATEGIC) -> dict[str, Any]:
        """Changes an object, and returns it. Raises as `get` does."""
        return await self._call("PATCH", path, json=body, headers={"Content-Type": kind})

    async def delete(self, path: str, uid: str, grace_seconds: int = 0) -> None:
        """Deletes exactly the object with this uid. Raises as `get` does."""
        body = {"preconditions": {"uid": uid}, "gracePeriodSeconds": grace_seconds}
        await self._call("DELETE", path, json=body)

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        async with self._session.request(method, self._url + path, **more) as answer:
            body: dict[str, Any] = await answer.json(content_type=None)
        if answer.status >= 400:
            raise Refused(answer.status, str(body.get("message", answer.reason)))
        return body


class Simulator:
    """`Simulator` asks the simulated cloud which machines run, and for the metadata of each. Close it."""

    def __init__(self, ready: Mapping[str, str]) -> None:
        """`ready` is the content of the simulator's ready file."""
        self._control, self._metadata = ready["control"], f"http://{ready['api']}"
        self._session = aiohttp.ClientSession(
            headers={"X-Sim-Token": ready["token"]}, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        )

    async def running(self) -> dict[str, dict[str, Any]]:
        """Returns the machines that run, by id, as the simulator's ledger shows them."""
        async with self._session.get(f"{self._control}/_sim/instances", params={"state": "RUNNING"}) as answer:
            answer.raise_for_status()
            return {row["id"]: row for row in (await answer.json())["instances"]}

    async def metadata(self, instance_id: str, path: str) -> str | None:
        """Returns what the metadata service says to this machine under `path`. None when there is nothing (404)."""
        headers = {"X-Sim-Instance": instance_id}
        async with self._session.get(f"{self._metadata}/latest/{path}", headers=headers) as answer:
            return await answer.text() if answer.status == 200 else None

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()
