"""Asks Prometheus for longer histories than the page has seen, where the user gives its address.

Apart from `history`, which always works. An answer is kept for a few seconds, because every open page asks for it.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubectl_spot.problems import Problem

Point = tuple[float, float]

#: How far back the charts reach, the distance of points, how long an answer is kept, and how long one may take.
SPAN_SECONDS, STEP_SECONDS, KEPT_SECONDS, ANSWER_SECONDS = 6 * 3600, 60, 15.0, 1.5

#: Answers kept at a time, and the largest one that is read.
ANSWERS_MAX, ANSWER_BYTES = 256, 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Series:
    """`Series` is one line of an answer: its labels and its points."""

    labels: Mapping[str, str]
    points: Sequence[Point]


class Prometheus:
    """`Prometheus` asks one server. `problem` says why the last question had no answer."""

    def __init__(self, address: str, clock: Callable[[], float]) -> None:
        self._address, self._clock = address.rstrip("/"), clock
        self._kept: dict[str, tuple[float, list[Series]]] = {}
        self.problem: Problem | None = None

    async def counts(self, namespace: str = "", name: str = "") -> dict[str, Sequence[Point]]:
        """Returns the points of `ready` and `desired` of one environment, or of all together; empty without answer."""
        chosen = f"{{namespace={json.dumps(namespace)},name={json.dumps(name)}}}" if name else ""
        ready = await self._ask(f"sum(spotenv_replicas_ready{chosen})")
        desired = await self._ask(f"sum(spotenv_replicas_desired{chosen})")
        if not ready or not desired:
            return {}
        return {"ready": changes(ready[0].points), "desired": changes(desired[0].points)}

    async def reclaims(self) -> list[tuple[float, int]]:
        """Returns when instances of all environments were taken back, and how many; empty without answer."""
        found = await self._ask(f'sum(increase(spotenv_instances_lost_total{{cause="Reclaimed"}}[{STEP_SECONDS}s]))')
        return [(at, round(value)) for at, value in (found[0].points if found else ()) if round(value) > 0]

    async def _ask(self, expression: str) -> list[Series]:
        now = self._clock()
        at, kept = self._kept.get(expression, (0.0, []))
        if now - at < KEPT_SECONDS:
            return kept
        span = {"start": f"{now - SPAN_SECONDS:.0f}", "end": f"{now:.0f}", "step": str(STEP_SECONDS)}
        address = f"{self._address}/api/v1/query_range?{urllib.parse.urlencode({'query': expression, **span})}"
        try:
            found = series_in(await asyncio.to_thread(_read, address))
            self.problem = None
        except (OSError, ValueError, KeyError, TypeError) as failure:
            found = []
            self.problem = Problem(
                f"Prometheus at {self._address} gives no answer ({failure}): charts show what this page has seen.",
                "Check the address given with --prometheus.",
            )
        if len(self._kept) >= ANSWERS_MAX:
            self._kept.clear()
        self._kept[expression] = (now, found)
        return found


def series_in(answer: Any) -> list[Series]:
    """Returns the series of an answer of Prometheus. Raises ValueError, KeyError or TypeError when it is none."""
    if answer["status"] != "success":
        raise ValueError(str(answer.get("error", answer["status"])))
    return [
        Series(dict(one["metric"]), [(float(at), float(value)) for at, value in one["values"] if value != "NaN"])
        for one in answer["data"]["result"]
    ]


def changes(points: Sequence[Point]) -> list[Point]:
    """Returns the points at which the value is another than before."""
    return [point for index, point in enumerate(points) if index == 0 or points[index - 1][1] != point[1]]


def _read(address: str) -> Any:
    if not address.startswith(("http://", "https://")):
        raise ValueError("the address must begin with http:// or https://")
    with urllib.request.urlopen(address, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - checked above
        return json.loads(answer.read(ANSWER_BYTES))
