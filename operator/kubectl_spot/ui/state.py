"""Holds what the page saw last of every environment, and wakes those who wait for a change.

Apart from `cluster`, which sees it, and from `pages`, which show it: all views read this one copy, so that a cluster of
thousands of environments is listed and watched once. Whole objects are kept compressed, because only one of them is
shown at a time.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

from kubectl_spot.problems import Problem
from kubectl_spot.ui.history import History
from kubectl_spot.ui.problems import silent_operator
from kubectl_spot.ui.reading import Machine, Object, Summary, slim, summary_of


class State:
    """`State` is everything that the pages show. `clock` tells the time in seconds since 1970."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.history = History()
        self.summaries: dict[str, Summary] = {}
        self.is_listed = False
        self.scope = ""
        self.problem: Problem | None = None
        self.hints: dict[str, Problem] = {}
        self.seen_at: float | None = None
        self.version = 0
        self._clock = clock
        self._bodies: dict[str, bytes] = {}
        self._behind: dict[str, float] = {}
        self._changed = asyncio.Event()

    def now(self) -> datetime:
        """Returns the time."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def put(self, obj: Object) -> None:
        """Takes in an environment as it is now."""
        found = summary_of(obj)
        before, at = self.summaries.get(found.key), self._clock()
        if before is not None and before.uid != found.uid:
            self._forget(found.key)
            before = None
        self.history.saw(before, found, obj, at)
        self.summaries[found.key] = found
        body = json.dumps(slim(obj), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        self._bodies[found.key] = zlib.compress(body, 1)
        if found.is_behind:
            self._behind.setdefault(found.key, at)
        else:
            self._behind.pop(found.key, None)
        self._seen(at)

    def drop(self, key: str) -> None:
        """Takes out an environment that is gone."""
        self._forget(key)
        self._seen(self._clock())

    def keep_only(self, keys: Collection[str]) -> None:
        """Takes out every environment that a complete list did not have."""
        for key in [key for key in self.summaries if key not in keys]:
            self._forget(key)
        self.is_listed = True
        self._seen(self._clock())

    def well(self) -> None:
        """Notes that the cluster answers."""
        self.seen_at = self._clock()
        if self.problem is not None:
            self.problem = None
            self.tell()

    def troubled(self, problem: Problem) -> None:
        """Notes that the cluster does not answer, and why. What was seen last stays."""
        if problem != self.problem:
            self.problem = problem
            self.tell()

    def hint(self, kind: str, problem: Problem | None) -> None:
        """Notes something that a person should know, or that it is over."""
        if self.hints.get(kind) != problem:
            self.hints.pop(kind, None)
            if problem is not None:
                self.hints[kind] = problem
            self.tell()

    def problems(self) -> list[Problem]:
        """Returns everything that a person should know, the worst first."""
        silent = None if self.problem else silent_operator(list(self.summaries.values()), self._behind, self.now())
        return [one for one in (self.problem, silent, *self.hints.values()) if one is not None]

    def whole(self, key: str) -> dict[str, Any] | None:
        """Returns an environment as the API server returned it. None when there is none."""
        body = self._bodies.get(key)
        if body is None:
            return None
        found: dict[str, Any] = json.loads(zlib.decompress(body).decode("utf-8", "surrogatepass"))
        return found

    def machines(self) -> list[Machine]:
        """Returns the machines of all environments."""
        return [machine for one in self.summaries.values() for machine in one.machines]

    def tell(self) -> None:
        """Wakes those who wait for a change."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, version: int) -> None:
        """Returns once something has changed since `version`."""
        while self.version == version:
            await self._changed.wait()

    def _forget(self, key: str) -> None:
        before = self.summaries.pop(key, None)
        self._bodies.pop(key, None)
        self._behind.pop(key, None)
        if before is not None:
            self.history.lost(before, self._clock())

    def _seen(self, at: float) -> None:
        self.seen_at = at
        self.tell()
