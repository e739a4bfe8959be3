"""Writes Kubernetes Events at best effort: repeats become a series, and a flood becomes one log line with a number.

Apart from `client` because it may fail, wait and drop, which no other module of this package may. kopf's helpers for
events are not used: they send one request per call, merge nothing, and queue without bound.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from spotcompute.api.events import Event
from spotcompute.kube.names import GROUP, KIND, VERSION
from spotcompute.kube.port import KubeError, KubeObject, NotFound
from spotcompute.telemetry import metrics

log = structlog.get_logger(__name__)

REPORTING_CONTROLLER = f"{GROUP}/operator"

#: Shortest time between two writes of the same event. `count` in the series says how many there were.
SERIES_SECONDS = 60.0

#: Writes of all events together: below the rate at which the API server's own limit (EventRateLimit) refuses.
WRITES_PER_SECOND = 5.0

#: Different events that may wait to be written. More at once mean an outage, and one log line reports that better.
WAITING = 500

#: Different events that are remembered, so that a repeat is recognised.
REMEMBERED = 5_000

NOTE_CHARACTERS = 1024  # the API server refuses more; events.k8s.io/v1 Event.note


@dataclass(slots=True)
class _Series:
    """`_Series` is one (object, type, reason, note): what has been written of it, and what has not."""

    namespace: str
    body: dict[str, Any]
    count: int = 1
    last_seen: str = ""
    name: str | None = None  # of the Event object, once it exists
    written_at: float | None = None
    is_waiting: bool = False


class EventRecorder:
    """`EventRecorder` takes in events at once and writes them one by one in `run`, a background part of the process.

    `post(namespace, event)` creates an Event, and `patch(namespace, name, change)` changes one. Both raise KubeError.
    `now` gives aware UTC times for the events. The pace follows the running loop's clock.
    """

    def __init__(
        self,
        post: Callable[[str, Mapping[str, Any]], Awaitable[None]],
        patch: Callable[[str, str, Mapping[str, Any]], Awaitable[None]],
        *,
        now: Callable[[], datetime],
        series_seconds: float = SERIES_SECONDS,
        writes_per_second: float = WRITES_PER_SECOND,
    ) -> None:
        self._post = post
        self._patch = patch
        self._now = now
        self._series_seconds = series_seconds
        self._pause_seconds = 1 / writes_per_second
        self._instance = socket.gethostname()[:128]
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._waiting: asyncio.Queue[_Series] = asyncio.Queue(maxsize=WAITING)
        #: Number of events that were never written: too many waited, or the API server refused.
        self.dropped = 0

    def record(self, obj: KubeObject, event: Event) -> None:
        """Takes an event in. It never waits and never raises KubeError."""
        key = (str(obj["metadata"]["uid"]), event.type, event.reason, event.note)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(obj["metadata"]["namespace"], self._body(obj, event))
            while len(self._series) > REMEMBERED:
                self._series.popitem(last=False)
        else:
            series.count += 1
            self._series.move_to_end(key)
        series.last_seen = _micro_time(self._now())
        self._schedule(series)

    async def run(self) -> None:
        """Writes waiting events for ever, at the allowed pace."""
        while True:
            series = await self._waiting.get()
            series.is_waiting = False
            try:
                await self._write(series)
            except KubeError as error:
                self._drop(f"{type(error).__name__}: {error}")
            await asyncio.sleep(self._pause_seconds)

    def _schedule(self, series: _Series) -> None:
        if series.is_waiting:
            return
        series.is_waiting = True
        loop = asyncio.get_running_loop()
        due = loop.time() if series.written_at is None else series.written_at + self._series_seconds
        if due <= loop.time():
            self._enqueue(series)
        else:
            loop.call_at(due, self._enqueue, series)

    def _enqueue(self, series: _Series) -> None:
        try:
            self._waiting.put_nowait(series)
        except asyncio.QueueFull:
            series.is_waiting = False
            self._drop(f"{WAITING} others wait already")

    def _drop(self, why: str) -> None:
        self.dropped += 1
        metrics.events_dropped.inc()
        # A warning for the first, second, fourth, eighth …: a missing right is reported, and a flood is not.
        write = log.debug if self.dropped & (self.dropped - 1) else log.warning
        write("event_dropped", error=why, dropped=self.dropped)

    async def _write(self, series: _Series) -> None:
        series.written_at = asyncio.get_running_loop().time()
        if series.name is not None:
            try:
                await self._patch(series.namespace, series.name, {"series": _series_of(series)})
            except NotFound:  # the API server removes events after an hour: begin a new one
                series.count, series.name = 1, None
            else:
                return
        await self._create(series)

    async def _create(self, series: _Series) -> None:
        name = f"{series.body['regarding']['name'][:200]}.{uuid.uuid4().hex[:16]}"
        body = {**series.body, "metadata": {"name": name, "namespace": series.namespace}, "eventTime": series.last_seen}
        if series.count > 1:
            body["series"] = _series_of(series)
        await self._post(series.namespace, body)
        series.name = name

    def _body(self, obj: KubeObject, event: Event) -> dict[str, Any]:
        metadata = obj["metadata"]
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "type": event.type,
            "reason": event.reason,
            "note": _note(event),
            "action": "Reconcile",
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._instance,
        }


def _note(event: Event) -> str:
    """Returns the note with the request id. Repeats have other ids, so that of the first stands for the series."""
    request = f" (request {event.request_id})" if event.request_id else ""
    return event.note[: NOTE_CHARACTERS - len(request)] + request


def _series_of(series: _Series) -> dict[str, Any]:
    return {"count": series.count, "lastObservedTime": series.last_seen}


def _micro_time(moment: datetime) -> str:
    """Returns Kubernetes' MicroTime: RFC 3339 with exactly six digits of a second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
