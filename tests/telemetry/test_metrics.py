"""Names are a promise; an environment that is gone leaves no series behind."""

from __future__ import annotations

from typing import Any, get_args

import aiohttp
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

import objects
from localcluster.processes import free_port
from spotcompute.api.status import PoolState
from spotcompute.telemetry import metrics


def shown(registry: CollectorRegistry = REGISTRY) -> str:
    return generate_latest(registry).decode()


def environment(name: str = "web", **status: Any) -> dict[str, Any]:
    return {
        **objects.environment(name=name),
        "spec": {"replicas": 3, "limits": {"maxHourlyCost": "0.5"}},
        "status": {
            "readyReplicas": 2,
            "updatedReplicas": 1,
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "InsufficientCapacity"},
                {"type": "Stalled", "status": "False", "reason": "NothingForAPersonToDo"},
            ],
            "pools": [{"state": "Available"}, {"state": "Resting"}, {"state": "Resting"}],
            "cost": {"perHour": "0.0452", "accrued": "1.5", "currency": "CNY"},
            **status,
        },
    }


def series(*objects: dict[str, Any]) -> dict[str, float]:
    """What a scrape shows of these objects: each series without the namespace, with its value."""
    registry = CollectorRegistry()
    registry.register(metrics.Environments(lambda: objects))
    lines = [line for line in shown(registry).splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0].replace(',namespace="ns"', ""): float(line.rpartition(" ")[2]) for line in lines}


def test_an_environment_is_shown_as_its_object_says() -> None:
    assert series(environment()) == {
        'spotenv_replicas_desired{name="web"}': 3,
        'spotenv_replicas_ready{name="web"}': 2,
        'spotenv_replicas_updated{name="web"}': 1,
        'spotenv_stalled{name="web"}': 0,
        'spotenv_reason{name="web",reason="InsufficientCapacity"}': 1,
        'spotenv_pools{name="web",state="Available"}': 1,
        'spotenv_pools{name="web",state="Resting"}': 2,
        'spotenv_hourly_cost{currency="CNY",name="web"}': 0.0452,
        'spotenv_hourly_cost_limit{currency="CNY",name="web"}': 0.5,
        'spotenv_accrued_cost{currency="CNY",name="web"}': 1.5,
    }


def test_a_deleted_environment_desires_nothing_and_says_since_when() -> None:
    obj = environment()
    obj["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    found = series(obj)
    assert found['spotenv_replicas_desired{name="web"}'] == 0
    assert found['spotenv_deletion_timestamp_seconds{name="web"}'] == 1795521600


def test_a_number_that_nobody_knows_has_no_sample() -> None:
    blind = environment(phase="Waiting")
    del blind["status"]["readyReplicas"], blind["status"]["updatedReplicas"], blind["status"]["cost"]["perHour"]
    gone = {name.partition("{")[0] for name in series(environment()).keys() - series(blind).keys()}
    assert gone == {"spotenv_replicas_ready", "spotenv_replicas_updated", "spotenv_hourly_cost"}


def test_a_new_environment_without_status_is_shown() -> None:
    assert (
        series({"metadata": {"namespace": "ns", "name": "web"}, "spec": {}})['spotenv_replicas_ready{name="web"}'] == 0
    )


@pytest.mark.parametrize(
    "forged",
    [{"cost": {"perHour": "much"}}, {"conditions": ["x"]}, {"pools": [{}]}, {"readyReplicas": [1]}, {"cost": "x"}],
)
def test_a_forged_status_hides_itself_and_nobody_else(forged: dict[str, Any]) -> None:
    assert 'spotenv_replicas_ready{name="web"}' in series(environment("forged", **forged), environment())


def test_an_environment_has_at_most_twenty_series_whatever_its_size_and_state() -> None:
    """Sixty were promised. Pools come in as many states as the schema lets through."""
    large = environment(pools=[{"state": state} for state in get_args(PoolState) for _ in range(40)])
    large["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    found = series(large)
    assert {name.partition("{")[0] for name in found} == {name for name, _, _ in metrics.OF_AN_ENVIRONMENT}
    assert len(found) == len(metrics.OF_AN_ENVIRONMENT) - 1 + len(get_args(PoolState)) <= 20


@pytest.mark.parametrize("family", metrics.OF_AN_ENVIRONMENT, ids=lambda family: family[0])
def test_no_label_of_an_environment_grows_with_it(family: tuple[str, str, tuple[str, ...]]) -> None:
    assert set(family[2]) <= {"reason", "state", "currency"}


def test_the_names_are_those_promised() -> None:
    metrics.instances_lost.labels("reclaimed")
    metrics.launch_attempts.labels("accepted")
    metrics.reconcile_errors.labels("Conflict")
    names = {line.split()[2] for line in shown().splitlines() if line.startswith("# TYPE spotenv_")}
    assert names >= {
        "spotenv_instances_launched_total",
        "spotenv_instances_released_total",
        "spotenv_fill_duration_seconds",
        "spotenv_leader",
        "spotenv_build_info",
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
    with metrics.serve_metrics("127.0.0.1", port):
        async with aiohttp.request("GET", url) as response:
            assert response.status == 200
            assert "spotenv_workqueue_depth" in await response.text()
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.request("GET", url):
            pass
