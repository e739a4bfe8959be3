"""A Lease, real and in memory: what the election relies on holds of both."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kube.leases import OneLease
from localcluster.controlplane import ControlPlane
from spotcompute.kube.connection import Connection
from spotcompute.kube.lease import LeaseClient, LeasePort
from spotcompute.kube.port import Conflict

NOW = datetime(2026, 11, 24, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture(params=["in memory", pytest.param("real", marks=pytest.mark.e2e)])
def lease(request: pytest.FixtureRequest) -> LeasePort:
    if request.param == "in memory":
        return OneLease()
    connection: Connection = request.getfixturevalue("connection")
    namespace: str = request.getfixturevalue("namespace")
    return LeaseClient(connection, namespace, "operator")


async def test_there_is_none_until_it_is_written(lease: LeasePort) -> None:
    assert await lease.read() is None
    written = await lease.write(None, "a", 12, NOW)
    assert (written.holder, written.duration_seconds, written.transitions) == ("a", 12, 0)
    assert await lease.read() == written


async def test_every_renewal_can_be_seen(lease: LeasePort) -> None:
    first = await lease.write(None, "a", 12, NOW)
    second = await lease.write(first, "a", 12, NOW.replace(second=2))
    assert second != first
    assert second.transitions == 0
    assert await lease.read() == second


async def test_of_two_that_saw_the_same_only_one_may_write(lease: LeasePort) -> None:
    first = await lease.write(None, "a", 12, NOW)
    with pytest.raises(Conflict):
        await lease.write(None, "b", 12, NOW)
    second = await lease.write(first, "b", 12, NOW.replace(second=2))
    with pytest.raises(Conflict):
        await lease.write(first, "c", 12, NOW.replace(second=2))
    assert await lease.read() == second


async def test_it_counts_how_often_it_has_changed_hands(lease: LeasePort) -> None:
    first = await lease.write(None, "a", 12, NOW)
    given_back = await lease.write(first, "", 1, NOW.replace(second=2))
    assert (given_back.holder, given_back.transitions) == ("", 0)
    taken = await lease.write(given_back, "b", 12, NOW.replace(second=3))
    assert (taken.holder, taken.transitions) == ("b", 1)


@pytest.mark.e2e
async def test_people_see_who_leads_since_when_and_keep_their_labels(
    connection: Connection, control_plane: ControlPlane, namespace: str
) -> None:
    lease = LeaseClient(connection, namespace, "operator")
    first = await lease.write(None, "pod-1", 12, NOW)
    control_plane.kubectl.run("-n", namespace, "label", "lease", "operator", "team=blue")
    with pytest.raises(Conflict):
        await lease.write(first, "pod-1", 12, NOW)
    before = await lease.read()
    await lease.write(before, "pod-1", 12, NOW.replace(second=5))
    shown = control_plane.kubectl.json("-n", namespace, "get", "lease", "operator")
    assert shown["metadata"]["labels"] == {"team": "blue"}
    assert shown["spec"] == {
        "holderIdentity": "pod-1",
        "leaseDurationSeconds": 12,
        "leaseTransitions": 0,
        "acquireTime": "2026-11-24T12:00:00.250000Z",
        "renewTime": "2026-11-24T12:00:05.250000Z",
    }
