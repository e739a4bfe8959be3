"""The log as a person reads it after a day: a line for each reconcile that changed something, and no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

import objects
from plan.given import NOW
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from spotcompute.api.events import Event
from spotcompute.kube.port import KubeObject, KubePort
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.reconcile.recorder import Recorder
from spotcompute.telemetry import metrics

Lines = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    """As the operator logs at INFO, whatever other tests have set."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.configure(**before)


@cache
def play() -> tuple[Stage, Lines, Lines]:
    """A life: two machines, one reclaimed, scaled to one, a quiet day (the second list), deleted."""

    async def live(lines: Lines) -> tuple[Stage, int, int]:
        stage = Stage("log", {}, (NAME,), {})
        stage.create(2)
        stage.start()
        await stage.ready()
        stage.world.cloud.simulator.world.reclaim(stage.living()[:1], notice=0.0)
        await asyncio.sleep(1800)
        stage.scale(1)
        await asyncio.sleep(1800)
        begin = len(lines)
        await asyncio.sleep(24 * 3600)
        end = len(lines)
        stage.delete()
        await asyncio.sleep(600)
        return stage, begin, end

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        stage, begin, end = run_virtual(live(lines))
    return stage, lines, lines[begin:end]


def test_each_reconcile_that_changed_something_is_one_line_that_says_which_and_what() -> None:
    _, lines, quiet = play()
    assert quiet == []
    changed = [line for line in lines if line["event"] in ("reconciled", "released")]
    assert {line["environment"] for line in changed} == {f"default/{NAME}"}
    numbers = [line["reconcile_id"] for line in changed]
    assert len(set(numbers)) == len(numbers), "one line each"
    assert {line["generation"] for line in changed} == {1, 2, 3}, "created, scaled, deleted"
    assert [line["event"] for line in changed].index("released") == len(changed) - 1
    told = [activity for line in changed for activity in line["activities"]]
    assert {activity["type"] for activity in told} == {"Launch", "Loss", "Terminate"}
    assert {("Ready", "AllReplicasReady")} <= {(line["phase"], line["reason"]) for line in changed}


def test_the_requests_in_it_are_those_the_cloud_has_counted() -> None:
    stage, lines, _ = play()
    logged = {request for line in lines for request in line.get("request_ids", ())}
    requests = stage.world.cloud.simulator.ledger.requests()
    counted = {one.request_id for one in requests if one.action in ("RunInstances", "TerminateInstances")}
    assert logged == counted


def test_what_is_told_beside_names_the_same_reconcile() -> None:
    async def live() -> None:
        stage = Stage("log", {}, (NAME,), {})
        stage.create(1)
        stage.start()
        await stage.ready()
        stage.world.api.edit("default", NAME, lambda obj: obj["status"].update(ledger={"environmentID": "forged"}))
        await asyncio.sleep(1800)

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        run_virtual(live())
    (refused, *_) = [line for line in lines if line["event"] == "state_refused"]
    (line,) = [one for one in lines if one["event"] == "reconciled" and one["reconcile_id"] == refused["reconcile_id"]]
    assert [activity["type"] for activity in line["activities"]] == ["Refuse"]
    assert refused["environment"] == line["environment"] == f"default/{NAME}"


def test_a_reconcile_that_starts_over_names_the_generation_it_ends_with() -> None:
    async def live() -> None:
        stage = Stage("log", {}, (NAME,), {})
        stage.create(1)

        def scale_under_the_first_launch(_kind: str, obj: dict[str, Any]) -> None:
            if obj["metadata"]["generation"] == 1 and obj["status"].get("ledger", {}).get("intents"):
                stage.scale(2)

        stage.world.api.watchers.append(scale_under_the_first_launch)
        stage.start()
        await stage.ready()

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        run_virtual(live())
    (first, *_) = [line for line in lines if line["event"] == "reconciled"]
    assert "Launch" in {activity["type"] for activity in first["activities"]}
    assert first["generation"] == 2


class Posted:
    """An API server that takes Events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    async def record(self, obj: KubeObject, event: Event) -> None:
        self.events.append((str(obj["metadata"]["uid"]), event.reason))


def counted() -> dict[str, float]:
    """What Prometheus sees of instances and launches, without zeros."""
    samples = (sample for metric in metrics.REGISTRY.collect() for sample in metric.samples)
    kept = {
        f"{one.name} {'/'.join(one.labels.values())}".strip(): one.value
        for one in samples
        if one.name.endswith("_total") and one.name.startswith(("spotenv_instances_", "spotenv_launch_attempts"))
    }
    return {name: value for name, value in kept.items() if value}


@pytest.mark.parametrize(
    ("activity", "adds"),
    [
        pytest.param(
            Activity(ActivityType.LAUNCH, ActivityState.PROCESSING, "Missing", NOW, instance_ids=("ins-1", "ins-2")),
            {"spotenv_instances_launched_total": 2, "spotenv_launch_attempts_total Accepted": 1},
            id="a-launch-that-was-accepted",
        ),
        pytest.param(
            Activity(ActivityType.LAUNCH, ActivityState.FAILED, "Missing", NOW, reason="QuotaExceeded"),
            {"spotenv_launch_attempts_total QuotaExceeded": 1},
            id="a-launch-that-was-refused",
        ),
        pytest.param(
            Activity(ActivityType.LOSS, ActivityState.SUCCEEDED, "Reclaimed", NOW, instance_ids=("ins-1",)),
            {"spotenv_instances_lost_total Reclaimed": 1},
            id="a-loss",
        ),
        pytest.param(
            Activity(ActivityType.TERMINATE, ActivityState.PROCESSING, "ScaledDown", NOW, instance_ids=("ins-1",)),
            {"spotenv_instances_released_total ScaledDown": 1},
            id="a-release-that-was-accepted",
        ),
        pytest.param(
            Activity(ActivityType.TERMINATE, ActivityState.SUCCEEDED, "ScaledDown", NOW, instance_ids=("ins-1",)),
            {},
            id="its-end-is-not-counted-again",
        ),
        pytest.param(
            Activity(ActivityType.TERMINATE, ActivityState.SUBMITTED, "ScaledDown", NOW, instance_ids=("ins-1",)),
            {},
            id="one-without-an-answer-is-not-counted-yet",
        ),
    ],
)
async def test_each_activity_is_counted_once(activity: Activity, adds: dict[str, float]) -> None:
    recorder, before = Recorder(cast(KubePort, Posted())), counted()
    raw = objects.environment()
    with recorder.run(raw) as record:
        await recorder.record(raw, [activity], record)
    assert {
        name: value - before.get(name, 0) for name, value in counted().items() if value != before.get(name, 0)
    } == adds
    assert record.activities == [activity]


async def test_a_warning_about_the_spec_is_posted_once_for_each_generation() -> None:
    posted = Posted()
    recorder, event = Recorder(cast(KubePort, posted)), Event("Warning", "LooksEncoded", "look at it")
    for generation in (1, 1, 2, 2):
        raw = objects.environment()
        raw["metadata"]["generation"] = generation
        await recorder.warn(raw, event)
    await recorder.warn(objects.environment(uid="u2"), event)
    assert posted.events == [("u1", "LooksEncoded"), ("u1", "LooksEncoded"), ("u2", "LooksEncoded")]
