"""Records what runs have changed: Events and counters as soon as status promises it, and a log line at the end.

Apart from `reconciler`, because the log has a promise of its own: one line for each run that changed something, and
none for a run that did not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from spotcompute.api.events import Event
from spotcompute.kube.port import KubeObject, KubePort
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.report.history import events_of
from spotcompute.telemetry import metrics

_log = structlog.get_logger(__name__)

#: Number of warnings that are remembered. Beyond that all are forgotten, and posted once more.
WARNED_MAX = 10_000


@dataclass(slots=True)
class RunRecord:
    """`RunRecord` holds what one run has promised in status so far, whatever conflicts made it start over."""

    conclusion: tuple[Any, Any]
    activities: list[Activity] = field(default_factory=list)
    is_released: bool = False


class Recorder:
    """`Recorder` numbers the runs of this process, and records what each of them changed."""

    def __init__(self, kube: KubePort) -> None:
        """`kube` posts the Events."""
        self._kube, self._numbers = kube, itertools.count(1)
        self._warned: dict[tuple[str, str], int] = {}

    @contextmanager
    def run(self, raw: KubeObject) -> Iterator[RunRecord]:
        """Opens a run: every line logged within names it, and the last one says what came of it, however it ended."""
        metadata = raw["metadata"]
        run_record = RunRecord(_conclusion(raw.get("status") or {}))
        before = run_record.conclusion
        with structlog.contextvars.bound_contextvars(
            environment=f"{metadata['namespace']}/{metadata['name']}",
            generation=_generation(raw),
            reconcile_id=next(self._numbers),
        ):
            try:
                yield run_record
            finally:
                if run_record.activities or run_record.is_released or run_record.conclusion != before:
                    _log_run(run_record)

    def start_over(self, raw: KubeObject) -> None:
        """Lets the run go on with a newer version of its object."""
        structlog.contextvars.bind_contextvars(generation=_generation(raw))

    async def record(self, raw: KubeObject, activities: Sequence[Activity], run_record: RunRecord) -> None:
        """Counts `activities`, which status holds now, and posts their Events. Each is recorded once."""
        run_record.conclusion = _conclusion(raw.get("status") or {})
        run_record.activities += activities
        for activity in activities:
            _count(activity)
        for event in events_of(activities):
            await self._kube.record(raw, event)

    async def warn(self, raw: KubeObject, event: Event) -> None:
        """Posts an Event about the spec itself: once for each generation that deserves it, as long as we run."""
        about, generation = (str(raw["metadata"]["uid"]), event.reason), _generation(raw)
        if self._warned.get(about) == generation:
            return
        if len(self._warned) >= WARNED_MAX:
            self._warned.clear()
        self._warned[about] = generation
        await self._kube.record(raw, event)


def _generation(raw: KubeObject) -> int:
    return int(raw["metadata"].get("generation", 1))


def _conclusion(status: Mapping[str, Any]) -> tuple[Any, Any]:
    return status.get("phase"), status.get("reason")


def _log_run(run_record: RunRecord) -> None:
    phase, reason = run_record.conclusion
    requests = dict.fromkeys(activity.request_id for activity in run_record.activities if activity.request_id)
    _log.info(
        "released" if run_record.is_released else "reconciled",
        phase=phase,
        reason=reason,
        activities=[_summary(activity) for activity in run_record.activities],
        request_ids=list(requests),
    )


def _summary(activity: Activity) -> dict[str, Any]:
    facts = {
        "type": str(activity.type),
        "state": str(activity.state),
        "cause": activity.cause,
        "pool": str(activity.pool) if activity.pool else None,
        "instances": list(activity.instance_ids),
        "code": activity.code,
    }
    return {name: fact for name, fact in facts.items() if fact}


def _count(activity: Activity) -> None:
    """Counts an activity for Prometheus."""
    if activity.type is ActivityType.LAUNCH:
        metrics.launch_attempts.labels(activity.reason or "Accepted").inc()
        metrics.instances_launched.inc(len(activity.instance_ids))
    elif activity.type is ActivityType.LOSS:
        metrics.instances_lost.labels(activity.cause).inc(len(activity.instance_ids))
    elif activity.type is ActivityType.TERMINATE and activity.state is ActivityState.PROCESSING:
        metrics.instances_released.labels(activity.cause).inc(len(activity.instance_ids))
