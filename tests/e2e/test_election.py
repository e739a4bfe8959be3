"""Two replicas and a Lease: one acts, and the other goes on where it stopped; judged by the ledger as ever."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from e2e.running import Operator, answer
from e2e.stage import Stage
from localcluster.cluster import Cluster
from localcluster.processes import free_port
from spotcompute.runtime.election import Timing
from waiting import allowed, eventually, throughout

pytestmark = pytest.mark.e2e

HOME = "spotcompute-system"
LEASE = "spotcompute-operator"
TAKE_OVER_SECONDS = 20.0
Start = Callable[..., Operator]


@pytest.fixture
def lease(cluster: Cluster, operator_kubeconfig: object) -> Iterator[Callable[[], dict[str, Any]]]:
    """What stands in the Lease; there is none when a test begins."""

    def forget() -> None:
        cluster.kubectl.run("-n", HOME, "delete", "lease", LEASE, "--ignore-not-found")

    forget()
    yield lambda: cluster.kubectl.json("-n", HOME, "get", "lease", LEASE)["spec"]
    forget()


@pytest.fixture
def replica(own_operator: Start) -> Callable[..., Operator]:
    """Start one of several replicas of one installation, under a name of its own."""

    def start(name: str, **settings: str) -> Operator:
        return own_operator(LEASE=LEASE, IDENTITY=name, **settings)

    return start


def leads(operator: Operator) -> bool:
    return '"leading"' in operator.log_text()


def acts(operator: Operator) -> bool:
    return '"starting"' in operator.log_text()


def unique(name: str) -> str:
    return f"{name}-{secrets.token_hex(3)}"


def test_one_acts_and_after_kill_9_the_other_does_within_twenty_seconds(
    stage: Stage, lease: Callable[[], dict[str, Any]], replica: Callable[..., Operator]
) -> None:
    first = replica(a := unique("a"))
    eventually(lambda: acts(first), "the first replica acts")
    second = replica(b := unique("b"))
    stage.apply(replicas=2)
    stage.until_ready(2)
    eventually(lambda: "standing_by" in second.log_text(), "the second stands by")
    assert not leads(second)
    assert lease()["holderIdentity"] == a

    first.kill9()
    killed_at = time.monotonic()
    stage.scale(4)
    eventually(lambda: acts(second), "the second replica acts")
    assert time.monotonic() - killed_at <= allowed(TAKE_OVER_SECONDS)
    stage.until_ready(4)
    assert (lease()["holderIdentity"], lease()["leaseTransitions"]) == (b, 1)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 4


def test_a_replica_that_ends_hands_over_at_once(
    stage: Stage, lease: Callable[[], dict[str, Any]], replica: Callable[..., Operator]
) -> None:
    first = replica(unique("a"))
    eventually(lambda: acts(first), "the first replica acts")
    stage.apply(replicas=1)
    stage.until_ready(1)
    second = replica(b := unique("b"))
    eventually(lambda: "standing_by" in second.log_text(), "the second stands by")

    first.end()
    eventually(lambda: "lease_given_back" in first.log_text(), "the first has given the Lease back")
    given_back_at = time.monotonic()
    eventually(lambda: acts(second), "the second acts")
    assert time.monotonic() - given_back_at <= allowed(Timing().lease_seconds / 2)
    assert eventually(lambda: first.returncode is not None, "the first has ended")
    assert first.returncode == 0
    stage.scale(2)
    stage.until_ready(2)
    assert lease()["holderIdentity"] == b


@pytest.mark.rare  # tests/runtime/test_election.py says it in virtual time
def test_a_replica_that_stands_by_ends_quickly_and_takes_nothing(
    lease: Callable[[], dict[str, Any]], replica: Callable[..., Operator], stage: Stage
) -> None:
    first = replica(a := unique("a"))
    eventually(lambda: acts(first), "the first replica acts")
    second = replica(unique("b"))
    eventually(lambda: "standing_by" in second.log_text(), "the second stands by")
    second.end()
    assert eventually(lambda: second.returncode is not None, "it has ended")
    assert second.returncode == 0
    assert lease()["holderIdentity"] == a
    assert first.is_running


def test_a_leader_that_was_frozen_stops_when_it_wakes_and_nothing_is_bought_twice(
    stage: Stage, lease: Callable[[], dict[str, Any]], replica: Callable[..., Operator]
) -> None:
    first = replica(unique("a"))
    eventually(lambda: acts(first), "the first replica acts")
    stage.apply(replicas=2)
    stage.until_ready(2)
    second = replica(unique("b"))
    eventually(lambda: "standing_by" in second.log_text(), "the second stands by")

    first.freeze()
    stage.scale(4)
    eventually(lambda: acts(second), "the second acts")
    first.thaw()
    eventually(lambda: not first.is_running, "the first has ended by itself")
    assert first.returncode == 1
    assert "leadership_lost" in first.log_text()
    stage.until_ready(4)
    throughout(lambda: len(stage.cloud.instances(stage.account, gone=True)) == 4, "nothing is bought twice", 3)


@pytest.mark.rare  # tests/runtime/test_election.py says it in virtual time
def test_whoever_finds_another_name_in_the_lease_stops(
    stage: Stage, cluster: Cluster, lease: Callable[[], dict[str, Any]], replica: Callable[..., Operator]
) -> None:
    first = replica(unique("a"))
    eventually(lambda: acts(first), "the first replica acts")
    theft = json.dumps({"spec": {"holderIdentity": "somebody"}})
    cluster.kubectl.run("-n", HOME, "patch", "lease", LEASE, "--type=merge", "-p", theft)
    eventually(lambda: not first.is_running, "it has ended by itself")
    assert "somebody holds the Lease" in first.log_text()


async def test_probes_and_metrics_tell_who_acts_and_who_stands_by(
    stage: Stage, lease: Callable[[], dict[str, Any]], replica: Callable[..., Operator]
) -> None:
    ports = [{"HEALTH_PORT": str(free_port()), "METRICS_PORT": str(free_port())} for _ in range(2)]
    first = replica(unique("a"), LISTEN_HOST="127.0.0.1", **ports[0])
    eventually(lambda: acts(first), "the first replica acts")
    second = replica(unique("b"), LISTEN_HOST="127.0.0.1", **ports[1])
    eventually(lambda: "standing_by" in second.log_text(), "the second stands by")
    stage.apply(replicas=1)
    stage.until_ready(1)
    for port, is_leader in zip(ports, (1, 0), strict=True):
        assert await answer(port["HEALTH_PORT"], "/healthz") == 200
        assert await answer(port["HEALTH_PORT"], "/readyz") == 200
        assert f"spotenv_leader {is_leader}.0" in await text(port["METRICS_PORT"], "/metrics")


async def text(port: str, path: str) -> str:
    async with aiohttp.request("GET", f"http://127.0.0.1:{port}{path}") as response:
        return await response.text()
