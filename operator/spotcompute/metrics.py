"""What Prometheus may ask of this operator; names and labels are a promise to dashboards and alerts.

Apart from the parts that count, so that every name stands in one place. No instance id is a label: each would stay in
memory for ever. The cloud's calls are counted in `cloud.tencent`, under the same prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server

#: From a no-op (a millisecond) to a launch of hundreds of instances.
_RUN_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

replicas_desired = Gauge(
    "spotenv_replicas_desired", "Instances the spec asks for.", ["namespace", "name"], registry=REGISTRY
)
replicas_ready = Gauge(
    "spotenv_replicas_ready", "Instances that run and match the spec.", ["namespace", "name"], registry=REGISTRY
)
instances_launched = Counter(
    "spotenv_instances_launched_total", "Instances the cloud has accepted to start.", registry=REGISTRY
)
instances_lost = Counter(
    "spotenv_instances_lost_total", "Instances that went without our asking, by cause.", ["cause"], registry=REGISTRY
)
launch_attempts = Counter(
    "spotenv_launch_attempts_total", "Requests for instances, by what became of them.", ["result"], registry=REGISTRY
)
reconcile_seconds = Histogram(
    "spotenv_reconcile_duration_seconds", "One look at one environment.", buckets=_RUN_SECONDS, registry=REGISTRY
)
reconcile_errors = Counter(
    "spotenv_reconcile_errors_total", "Looks that ended in an error and are repeated.", ["error"], registry=REGISTRY
)
sweep_seconds = Histogram(
    "spotenv_sweep_duration_seconds",
    "One listing of all instances of an account and region.",
    buckets=_RUN_SECONDS,
    registry=REGISTRY,
)
orphans_released = Counter(
    "spotenv_orphans_released_total", "Instances ended because their environment no longer exists.", registry=REGISTRY
)
leader = Gauge("spotenv_leader", "1 when this replica acts, 0 when it stands by.", registry=REGISTRY)
workqueue_depth = Gauge("spotenv_workqueue_depth", "Environments waiting for a worker.", registry=REGISTRY)
events_dropped = Counter(
    "spotenv_events_dropped_total", "Kubernetes Events never written: refused, or too many at once.", registry=REGISTRY
)


def show_replicas(namespace: str, name: str, *, desired: int, ready: int) -> None:
    """Set both gauges of an environment."""
    replicas_desired.labels(namespace, name).set(desired)
    replicas_ready.labels(namespace, name).set(ready)


def forget(namespace: str, name: str) -> None:
    """Remove an environment that is gone; fine when it was never shown."""
    for gauge in (replicas_desired, replicas_ready):
        gauge.remove_by_labels({"namespace": namespace, "name": name})


@contextmanager
def served(host: str, port: int, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """Answer GET /metrics while the block runs, from a thread of its own; not at all when `port` is 0.

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
