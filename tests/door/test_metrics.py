"""Names are a promise; an environment that is gone leaves no series behind."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client import REGISTRY, generate_latest

from localcluster.processes import free_port
from spotcompute import metrics


def shown() -> str:
    return generate_latest(REGISTRY).decode()


def test_an_environment_is_shown_and_forgotten() -> None:
    metrics.show_replicas("ns", "web", desired=3, ready=2)
    assert 'spotenv_replicas_desired{name="web",namespace="ns"} 3.0' in shown()
    assert 'spotenv_replicas_ready{name="web",namespace="ns"} 2.0' in shown()
    metrics.forget("ns", "web")
    assert 'name="web"' not in shown()
    metrics.forget("ns", "web")  # again: fine


def test_the_names_are_those_promised() -> None:
    metrics.instances_lost.labels("reclaimed")
    metrics.launch_attempts.labels("accepted")
    metrics.reconcile_errors.labels("Conflict")
    names = {line.split()[2] for line in shown().splitlines() if line.startswith("# TYPE spotenv_")}
    assert names >= {
        "spotenv_replicas_desired",
        "spotenv_replicas_ready",
        "spotenv_instances_launched_total",
        "spotenv_instances_lost_total",
        "spotenv_launch_attempts_total",
        "spotenv_reconcile_duration_seconds",
        "spotenv_reconcile_errors_total",
        "spotenv_sweep_duration_seconds",
        "spotenv_workqueue_depth",
        "spotenv_events_dropped_total",
    }


async def test_they_are_served_while_the_block_runs() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    with metrics.served("127.0.0.1", port):
        async with aiohttp.request("GET", url) as response:
            assert response.status == 200
            assert "spotenv_workqueue_depth" in await response.text()
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.request("GET", url):
            pass
