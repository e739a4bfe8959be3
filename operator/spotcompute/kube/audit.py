"""Compares the store with the API server to find what the watch has missed, and corrects the store.

Apart from `store` because it waits and asks the API server, while the store only keeps objects.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from spotcompute.kube.port import KubeError, KubeObject, KubePort
from spotcompute.kube.store import Store, uid_of

log = structlog.get_logger(__name__)

#: Time between two audits while the watch is stale. Each one costs a list, so it is not a second.
STALE_WATCH_SECONDS = 10.0


class Audit:
    """`Audit` compares the store with the API server now and then, and often while the watch is stale.

    It is needed because a watch that misses an event cannot know. One audit is one metadata-only LIST. A difference is
    read live before it is believed, and only if the store has not learned of it since the LIST began. The watch that
    missed it is stale until it shows an event again. When the API server cannot answer, nothing changes.
    """

    def __init__(self, store: Store, kube: KubePort, seconds: float) -> None:
        self._store = store
        self._kube = kube
        self._seconds = seconds
        self._attempted_at: float | None = None

    def age_seconds(self) -> float:
        """Returns the seconds since the last audit ended, with or without success. 0.0 before the first.

        It grows without bound when audits hang.
        """
        now = asyncio.get_running_loop().time()
        return 0.0 if self._attempted_at is None else now - self._attempted_at

    async def run(self) -> None:
        """Audits for ever: at every interval, and sooner while the watch is stale.

        Failures are logged, and the next audit follows.
        """
        loop = asyncio.get_running_loop()
        self._attempted_at = loop.time()
        while True:
            await self._due()
            try:
                await self.once()
            except KubeError as error:
                log.warning("audit_failed", error=f"{type(error).__name__}: {error}")
            self._attempted_at = loop.time()

    async def _due(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._store.watch_is_stale.wait()
                await asyncio.sleep(STALE_WATCH_SECONDS)

    async def once(self) -> None:
        """Corrects every difference between the store and a complete, consistent list. Raises KubeError."""
        before = {uid_of(obj): obj for obj in self._store.all()}
        listed = {uid_of(obj): obj for obj in await self._kube.list_environments()}
        for uid, obj in listed.items():
            known = before.get(uid)
            version = None if known is None else str(known["metadata"]["resourceVersion"])
            if version != obj["metadata"]["resourceVersion"] and version == self._store.version(uid):
                await self._check(obj, version)
        for uid, obj in before.items():
            if uid not in listed and self._store.get(uid) is not None:
                await self._check(obj, str(obj["metadata"]["resourceVersion"]))

    async def _check(self, obj: KubeObject, version: str | None) -> None:
        """Compares `version` of `obj` in the store with a live read under its name. Only that read is believed."""
        uid = uid_of(obj)
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        live = await self._kube.get(namespace, name)
        if live is not None and uid_of(live) == uid:
            if live["metadata"]["resourceVersion"] != version:
                log.info("audit_corrected", namespace=namespace, name=name, uid=uid)
                self._store.replace(live, instead_of=version)
                self._store.watch_is_stale.set()
        elif version is not None:
            log.warning("audit_found_gone", namespace=namespace, name=name, uid=uid)
            self._store.watch_is_stale.set()
            self._store.on_deleted(uid)
