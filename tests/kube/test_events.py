"""Events never cost a reconcile anything: repeats become a series, a flood is paced, what fails is counted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from clock import now
from spotcompute.api.events import Event
from spotcompute.kube.events import WAITING, EventRecorder
from spotcompute.kube.port import ApiUnavailable, Forbidden, KubeError, NotFound

pytestmark = pytest.mark.looptime

START = datetime(2026, 11, 23, tzinfo=UTC)
OBJECT = {"metadata": {"uid": "u1", "namespace": "ns", "name": "web"}}
SOLD_OUT = Event("Warning", "InsufficientCapacity", "No stock.")


class Api:
    """Takes what is written, with the time; `errors` are raised first."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, Mapping[str, Any]]] = []
        self.patches: list[tuple[float, Mapping[str, Any]]] = []
        self.errors: list[KubeError] = []

    async def post(self, namespace: str, event: Mapping[str, Any]) -> None:
        self._fail()
        self.posts.append((now(), event))

    async def patch(self, namespace: str, name: str, change: Mapping[str, Any]) -> None:
        self._fail()
        assert name in [event["metadata"]["name"] for _, event in self.posts]
        self.patches.append((now(), change))

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@asynccontextmanager
async def recording(api: Api) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(api.post, api.patch, now=lambda: START + timedelta(seconds=now()))
    task = asyncio.create_task(recorder.run())
    yield recorder
    assert not task.done()
    task.cancel()


async def test_an_event_is_complete_as_the_api_wants_it() -> None:
    api = Api()
    async with recording(api) as recorder:
        recorder.record(OBJECT, Event("Normal", "InstanceLaunched", "x" * 2000))
        await asyncio.sleep(1)
    ((_, event),) = api.posts
    assert event["eventTime"] == "2026-11-23T00:00:00.000000Z"
    assert event["metadata"]["name"].startswith("web.")
    assert event["regarding"]["uid"] == "u1"
    assert event["reportingController"] == "spotcompute.dev/operator"
    assert len(event["note"]) == 1024
    assert "series" not in event


async def test_repeats_are_one_object_written_at_most_once_a_minute_with_their_count() -> None:
    api = Api()
    async with recording(api) as recorder:
        for _ in range(300):
            recorder.record(OBJECT, SOLD_OUT)
            await asyncio.sleep(1)
        await asyncio.sleep(120)
    assert len(api.posts) == 1
    times = [at for at, _ in api.patches]
    assert 4 <= len(times) <= 6
    assert all(after - before >= 60 for before, after in itertools.pairwise(times))
    assert api.patches[-1][1] == {"series": {"count": 300, "lastObservedTime": "2026-11-23T00:04:59.000000Z"}}


async def test_repeats_with_other_request_ids_are_one_series_that_names_the_first() -> None:
    api = Api()
    async with recording(api) as recorder:
        for number in range(3):
            recorder.record(OBJECT, replace(SOLD_OUT, request_id=f"req-{number}"))
            await asyncio.sleep(1)
    assert [event["note"] for _, event in api.posts] == ["No stock. (request req-0)"]


async def test_other_notes_reasons_and_objects_are_other_events() -> None:
    api = Api()
    other = {"metadata": {**OBJECT["metadata"], "uid": "u2"}}
    async with recording(api) as recorder:
        recorder.record(OBJECT, SOLD_OUT)
        recorder.record(OBJECT, Event("Warning", "InsufficientCapacity", "Another zone."))
        recorder.record(OBJECT, Event("Warning", "PriceTooLow", "No stock."))
        recorder.record(other, SOLD_OUT)
        await asyncio.sleep(10)
    assert len(api.posts) == 4


async def test_a_flood_is_paced_bounded_and_counted() -> None:
    api = Api()
    async with recording(api) as recorder:
        for number in range(WAITING + 100):
            recorder.record(OBJECT, Event("Normal", "InstanceLaunched", f"i-{number}"))
        assert recorder.dropped == 100
        await asyncio.sleep(10)
        assert 40 <= len(api.posts) <= 60
        await asyncio.sleep(600)
    assert len(api.posts) == WAITING


async def test_a_refused_event_is_counted_and_the_next_one_written() -> None:
    api = Api()
    api.errors = [ApiUnavailable("no")]
    async with recording(api) as recorder:
        recorder.record(OBJECT, SOLD_OUT)
        recorder.record(OBJECT, Event("Normal", "InstanceReady", "i-1"))
        await asyncio.sleep(5)
        assert recorder.dropped == 1
        assert [event["reason"] for _, event in api.posts] == ["InstanceReady"]
        await asyncio.sleep(60)
        recorder.record(OBJECT, SOLD_OUT)
        await asyncio.sleep(5)
    assert api.posts[-1][1]["series"]["count"] == 2, "what was refused is not forgotten"


async def test_events_that_may_not_be_written_are_told_at_ever_greater_distances() -> None:
    api = Api()
    api.errors = [Forbidden("no right")] * 100
    async with recording(api) as recorder:
        with capture_logs() as lines:
            for number in range(100):
                recorder.record(OBJECT, Event("Normal", "InstanceLaunched", f"i-{number}"))
            await asyncio.sleep(60)
    told = [line["dropped"] for line in lines if line["log_level"] == "warning"]
    assert told == [1, 2, 4, 8, 16, 32, 64]


async def test_a_series_the_api_server_has_forgotten_begins_anew() -> None:
    api = Api()
    async with recording(api) as recorder:
        recorder.record(OBJECT, SOLD_OUT)
        await asyncio.sleep(4000)
        api.errors = [NotFound("expired")]
        recorder.record(OBJECT, SOLD_OUT)
        await asyncio.sleep(5)
    first, second = (event for _, event in api.posts)
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert "series" not in second
