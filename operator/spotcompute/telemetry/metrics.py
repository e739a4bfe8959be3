"""Defines the metrics of this operator. Their names and labels are a promise to dashboards and alerts.

Apart from the parts that count, so that every name stands in one place. No instance id is a label, because each would
stay in memory for ever. Calls of the cloud are counted in `cloud.tencent`, under the same prefix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import prometheus_client as prometheus
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spotcompute import __version__
from spotcompute.model.ledger import Cause, Trouble

#: Buckets from a run without work (a millisecond) to a launch of hundreds of instances.
_RUN_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

#: Buckets from a pool in stock to a day of waiting for stock.
_FILL_SECONDS = (5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 86_400)

instances_launched = prometheus.Counter(
    "spotenv_instances_launched_total", "Instances the cloud has accepted to start.", registry=REGISTRY
)
instances_lost = prometheus.Counter(
    "spotenv_instances_lost_total",
    "Instances that ended without a release by us, by cause.",
    ["cause"],
    registry=REGISTRY,
)
instances_released = prometheus.Counter(
    "spotenv_instances_released_total",
    "Instances that we have asked the cloud to release, by cause.",
    ["cause"],
    registry=REGISTRY,
)
launch_attempts = prometheus.Counter(
    "spotenv_launch_attempts_total", "Requests for instances, by result.", ["result"], registry=REGISTRY
)
fill_seconds = Histogram(
    "spotenv_fill_duration_seconds",
    "Time from when an environment begins to lack instances until it lacks none.",
    buckets=_FILL_SECONDS,
    registry=REGISTRY,
)
reconcile_seconds = Histogram(
    "spotenv_reconcile_duration_seconds", "One run for one environment.", buckets=_RUN_SECONDS, registry=REGISTRY
)
reconcile_errors = prometheus.Counter(
    "spotenv_reconcile_errors_total", "Runs that ended in an error and are repeated.", ["error"], registry=REGISTRY
)
sweep_seconds = Histogram(
    "spotenv_sweep_duration_seconds",
    "One listing of all instances of an account and region.",
    buckets=_RUN_SECONDS,
    registry=REGISTRY,
)
orphans_released = prometheus.Counter(
    "spotenv_orphans_released_total",
    "Instances released because their environment no longer exists.",
    registry=REGISTRY,
)
build = prometheus.Info("spotenv_build", "The operator's version.", registry=REGISTRY)
build.info({"version": __version__})
leader = Gauge("spotenv_leader", "1 when this replica acts, 0 when it stands by.", registry=REGISTRY)
workqueue_depth = Gauge("spotenv_workqueue_depth", "Environments waiting for a worker.", registry=REGISTRY)
events_dropped = prometheus.Counter(
    "spotenv_events_dropped_total",
    "Kubernetes Events that were not written: refused, or too many at once.",
    registry=REGISTRY,
)


# Every series is created at 0: a counter that first appears at six has not risen, as Prometheus' `increase` sees it.
for _cause in Cause:
    instances_lost.labels(_cause)
    instances_released.labels(_cause)
for _result in ("Accepted", *Trouble):
    launch_attempts.labels(_result)

#: Gauges of one environment: name, description, labels in addition to namespace and name. At most 20 series each.
OF_AN_ENVIRONMENT: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("spotenv_replicas_desired", "Instances the spec asks for; 0 once it is deleted.", ()),
    ("spotenv_replicas_ready", "Instances that run and are meant to stay; no sample while that is not known.", ()),
    ("spotenv_replicas_updated", "Instances launched from the present template.", ()),
    ("spotenv_stalled", "1 when a person must act, otherwise 0.", ()),
    ("spotenv_reason", "1 for the current reason of its condition Ready.", ("reason",)),
    ("spotenv_pools", "Its pools, by state.", ("state",)),
    ("spotenv_hourly_cost", "What its instances cost per hour now.", ("currency",)),
    ("spotenv_hourly_cost_limit", "What they may cost, where the spec says so.", ("currency",)),
    ("spotenv_accrued_cost", "What it has cost since it was created.", ("currency",)),
    ("spotenv_deletion_timestamp_seconds", "When it was deleted, while it is not yet gone.", ()),
)


class Environments(Collector):
    """`Environments` exposes the gauges of every environment, read from its object at the moment of the scrape.

    Nothing has to be set or removed: an object that has left the store has no gauges.
    """

    def __init__(self, objects: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        """Takes `objects`, which may be called from another thread."""
        self._objects = objects

    def describe(self) -> list[Metric]:
        """Returns the families without samples, so that registering reads no object."""
        return list(self._families().values())

    def collect(self) -> Iterable[Metric]:
        """Returns the gauges of all objects."""
        families = self._families()
        for obj in self._objects():
            whose = [obj["metadata"]["namespace"], obj["metadata"]["name"]]
            try:
                samples = [(name, list(map(str, labels)), float(value)) for name, labels, value in _samples(obj)]
            except (LookupError, TypeError, ValueError, AttributeError):
                continue  # another writer broke its status; the operator will write it anew
            for name, labels, value in samples:
                families[name].add_metric([*whose, *labels], value)
        return families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            name: GaugeMetricFamily(name, text, labels=["namespace", "name", *labels])
            for name, text, labels in OF_AN_ENVIRONMENT
        }


#: A gauge of an environment: its name, the values of its labels after namespace and name, and its value.
_Sample = tuple[str, tuple[str, ...], float]


def _samples(obj: Mapping[str, Any]) -> Iterator[_Sample]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    deleted_at = obj["metadata"].get("deletionTimestamp")
    yield "spotenv_replicas_desired", (), _count(None if deleted_at else spec.get("replicas"))
    yield from _of_counts(status)
    yield from _of_conditions(status.get("conditions") or ())
    for state, count in Counter(pool["state"] for pool in status.get("pools") or ()).items():
        yield "spotenv_pools", (state,), count
    yield from _of_cost(status.get("cost") or {}, spec.get("limits") or {})
    if deleted_at:
        yield "spotenv_deletion_timestamp_seconds", (), datetime.fromisoformat(deleted_at).timestamp()


def _of_counts(status: Mapping[str, Any]) -> Iterator[_Sample]:
    """Yields no sample for a number that is not known. 0 would be a false one."""
    for name, field in (("spotenv_replicas_ready", "readyReplicas"), ("spotenv_replicas_updated", "updatedReplicas")):
        if field in status or not status.get("phase"):
            yield name, (), _count(status.get(field))


def _count(written: int | None) -> int:
    return written or 0


def _of_conditions(conditions: Iterable[Mapping[str, Any]]) -> Iterator[_Sample]:
    by_type = {item["type"]: item for item in conditions}
    yield "spotenv_stalled", (), float(by_type.get("Stalled", {}).get("status") == "True")
    if reason := by_type.get("Ready", {}).get("reason"):
        yield "spotenv_reason", (reason,), 1


def _of_cost(cost: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[_Sample]:
    currency = (cost.get("currency") or "",)
    amounts = {
        "spotenv_hourly_cost": cost.get("perHour"),
        "spotenv_hourly_cost_limit": limits.get("maxHourlyCost"),
        "spotenv_accrued_cost": cost.get("accrued"),
    }
    for name, amount in amounts.items():
        if amount is not None:
            yield name, currency, float(amount)


@contextmanager
def serve_metrics(host: str, port: int, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """Answers GET /metrics while the block runs, from a thread of its own. Does nothing when `port` is 0.

    Raises OSError when the port is taken.
    """
    if not port:
        yield
        return
    server, thread = start_http_server(port, host, registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
