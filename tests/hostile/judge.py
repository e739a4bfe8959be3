"""What must hold of every hostile manifest: it is refused with a sentence, or understood.

Apart from `manifests`, which knows nothing of answers. Nothing is created here: these are dry runs.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from hostile.manifests import Manifest
from spotcompute.api.environment import Environment, InvalidSpec
from spotcompute.kube.connection import connect
from spotcompute.model.instance import Ownership

AT_ONCE = 16
COLLECTION = "/apis/spotcompute.dev/v1alpha1/namespaces/{}/spotcomputeenvironments"

#: Every answer that says "no" in the API server's own words. 409: a name or version that cannot be.
REFUSALS = frozenset({400, 409, 413, 415, 422})


@dataclass(slots=True)
class Tally:
    """What a number of manifests came to."""

    answers: Counter[int] = field(default_factory=Counter)
    invalid: int = 0  # accepted by the API server, refused by our own reading
    failures: list[str] = field(default_factory=list)


class ApiServer:
    """Plain requests, many at once: kubectl would correct, or refuse by itself, half of what is sent here."""

    def __init__(self, session: aiohttp.ClientSession, server: str, namespace: str) -> None:
        self._session = session
        self._url = server + COLLECTION.format(namespace)

    async def items(self) -> list[dict[str, Any]]:
        """Every environment of the namespace."""
        async with self._session.get(self._url) as response:
            found: list[dict[str, Any]] = (await response.json())["items"]
            return found

    async def patch(self, name: str, change: dict[str, Any]) -> None:
        """One merge patch; fine when the object is gone."""
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(f"{self._url}/{name}", data=json.dumps(change), headers=headers) as response:
            assert response.status in (200, 404), await response.text()

    async def delete_all(self) -> None:
        """Ask for every environment of the namespace to be deleted, without waiting."""
        async with self._session.delete(self._url) as response:
            assert response.status == 200, await response.text()

    async def create(self, body: bytes, **query: str) -> tuple[int, bytes]:
        """Status and body of one POST."""
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, params=query, headers=headers) as response:
            return response.status, await response.read()

    async def apply(self, name: str, body: bytes, **query: str) -> tuple[int, bytes]:
        """Status and body of one server-side apply."""
        headers = {"Content-Type": "application/apply-patch+yaml"}
        async with self._session.patch(f"{self._url}/{name}", data=body, params=query, headers=headers) as response:
            return response.status, await response.read()


@asynccontextmanager
async def api_server(kubeconfig: Path, namespace: str) -> AsyncIterator[ApiServer]:
    """The API server of `kubeconfig`, as its user."""
    connection = await connect({"KUBECONFIG": str(kubeconfig)})
    access = await connection.access()
    await connection.close()
    context = ssl.create_default_context(cafile=access.ca_path)
    if access.certificate_path:
        context.load_cert_chain(access.certificate_path, access.key_path)
    headers = {"Authorization": access.authorization} if access.authorization else {}
    connector = aiohttp.TCPConnector(ssl=context, limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield ApiServer(session, access.server, namespace)


async def dry_run(server: ApiServer, manifests: Iterable[Manifest]) -> Tally:
    """Ask for each, as a dry run, and judge the answer."""
    tally = Tally()
    waiting = iter(manifests)

    async def ask() -> None:
        for manifest in waiting:
            # Strict is what kubectl asks for; without it unknown fields are dropped, and the rest is taken.
            validation = "Strict" if manifest.number % 3 == 0 else "Ignore"
            status, answer = await server.create(manifest.body, dryRun="All", fieldValidation=validation)
            tally.answers[status] += 1
            if (failure := fault_of(status, answer, tally)) is not None:
                tally.failures.append(f"{manifest.number} ({manifest.label}): {failure}")

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    return tally


def fault_of(status: int, answer: bytes, tally: Tally) -> str | None:
    """What is wrong with this answer, or with how the operator would read what was accepted; None: nothing."""
    if status in REFUSALS:
        message = str(_parsed(answer).get("message", ""))
        return None if message else f"refused with {status} and no sentence: {answer[:200]!r}"
    if status != 201:
        return f"answered {status}: {answer[:300]!r}"
    obj = _parsed(answer)
    try:
        environment = Environment.of(obj)
        spec = environment.spec()
        environment.desired(spec, Ownership("cluster", "default.web-000000"), None)
    except InvalidSpec as error:
        tally.invalid += 1
        return None if str(error).startswith("spec") else f"an InvalidSpec without a place: {error}"
    except Exception as error:  # whatever it is: the operator would have ended its run with it
        return f"accepted, and then {type(error).__name__}: {error}"
    return None


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
