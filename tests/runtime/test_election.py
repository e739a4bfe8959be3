"""Which replica acts, in virtual time: when another one takes over, and when the one that leads gives up by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from clock import clock, now
from kube.leases import OneLease
from spotcompute.kube.lease import Lease
from spotcompute.kube.port import ApiUnavailable, Forbidden, KubeError
from spotcompute.runtime.election import Elector, Timing, wait_seconds

pytestmark = pytest.mark.looptime

TIMING = Timing()
MOST = TIMING.lease_seconds + 2 * TIMING.retry_seconds


def elector(lease: OneLease, identity: str, skew: float = 0.0) -> Elector:
    return Elector(lease, identity, lambda: clock() + timedelta(seconds=skew))


def holder(lease: OneLease) -> str:
    return lease.lease.holder if lease.lease else ""


@pytest.mark.parametrize(
    ("lease", "unchanged", "wait"),
    [
        pytest.param(None, 0, 0, id="there-is-none"),
        pytest.param(Lease("", 1, 3, "7"), 0, 0, id="given-back"),
        pytest.param(Lease("me", 12, 3, "7"), 0, 0, id="of-our-own-last-process"),
        pytest.param(Lease("other", 12, 3, "7"), 0, 12, id="just-renewed"),
        pytest.param(Lease("other", 12, 3, "7"), 11, 1, id="nearly-run-out"),
        pytest.param(Lease("other", 12, 3, "7"), 12, 0, id="run-out"),
        pytest.param(Lease("other", 60, 3, "7"), 12, 48, id="its-holder-promised-longer"),
        pytest.param(Lease("other", 0, 3, "7"), 11, 1, id="its-holder-promised-nothing"),
    ],
)
def test_how_long_to_wait_for_a_lease(lease: Lease | None, unchanged: float, wait: float) -> None:
    assert wait_seconds(lease, "me", unchanged, TIMING) == wait


async def test_the_first_replica_leads_at_once() -> None:
    lease = OneLease()
    await elector(lease, "a").acquire()
    assert holder(lease) == "a"
    assert now() < 1


async def test_of_many_at_once_exactly_one_leads() -> None:
    lease = OneLease()
    tasks = [asyncio.create_task(elector(lease, f"r{number}").acquire()) for number in range(5)]
    await asyncio.sleep(1)
    assert sum(task.done() for task in tasks) == 1
    for task in tasks:
        task.cancel()


async def test_while_it_is_renewed_nobody_else_leads_whatever_their_clocks_say() -> None:
    lease = OneLease()
    leader = elector(lease, "a", skew=-3600)
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    late = asyncio.create_task(elector(lease, "b", skew=+86_400).acquire())
    early = asyncio.create_task(elector(lease, "c", skew=-86_400).acquire())
    await asyncio.sleep(3600)
    tasks = [holding, late, early]
    assert not [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()


async def test_after_a_crash_another_leads_in_time_and_not_before_the_lease_has_run_out() -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    standing_by = asyncio.create_task(elector(lease, "b").acquire())
    await asyncio.sleep(30.7)
    holding.cancel()
    last_renewal, _ = lease.writes[-1]
    crashed_at = now()
    await standing_by
    assert now() - last_renewal >= TIMING.lease_seconds
    assert now() - crashed_at <= MOST


async def test_given_back_it_is_taken_at_the_next_look() -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    standing_by = asyncio.create_task(elector(lease, "b").acquire())
    await asyncio.sleep(5)
    await leader.release()
    began = now()
    await standing_by
    assert now() - began <= TIMING.retry_seconds + 0.1
    assert lease.lease is not None
    assert lease.lease.transitions == 1


@pytest.mark.parametrize(("leader", "other"), [("a", "b"), ("b", "a")])
async def test_whoever_does_not_hold_it_gives_nothing_back(leader: str, other: str) -> None:
    lease = OneLease()
    await elector(lease, leader).acquire()
    await elector(lease, other).release()
    assert holder(lease) == leader


async def test_a_new_process_of_the_same_pod_need_not_wait() -> None:
    lease = OneLease()
    await elector(lease, "a").acquire()
    began = now()
    await elector(lease, "a").acquire()
    assert now() - began < 1


@pytest.mark.parametrize("kind", ["refused", "hangs"])
async def test_who_cannot_renew_gives_up_before_anybody_else_may_lead(kind: str) -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    await asyncio.sleep(20)
    last_renewal, _ = lease.writes[-1]
    if kind == "hangs":
        lease.hangs = True
    else:
        lease.away = ApiUnavailable("connection refused")
    assert "has not been renewed" in await holding
    assert now() - last_renewal < TIMING.lease_seconds - 3


async def test_a_short_outage_is_survived() -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    for _ in range(20):
        await asyncio.sleep(20)
        lease.away = ApiUnavailable("HTTP 503")
        await asyncio.sleep(TIMING.deadline_seconds - 2 * TIMING.retry_seconds)
        lease.away = None
    assert not holding.done()
    holding.cancel()


async def test_who_has_lost_it_notices_at_the_next_renewal() -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    await asyncio.sleep(5)
    assert lease.lease is not None
    await lease.write(lease.lease, "b", 12, clock())
    began = now()
    assert await holding == "b holds the Lease"
    assert now() - began <= TIMING.retry_seconds + 0.1


@pytest.mark.parametrize("edit", ["deleted", "emptied", "touched"])
async def test_what_a_person_does_to_the_lease_does_not_end_its_holder(edit: str) -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    for _ in range(10):
        await asyncio.sleep(7.3)
        assert lease.lease is not None
        if edit == "deleted":
            lease.lease = None
        else:
            await lease.write(lease.lease, "" if edit == "emptied" else "a", 12, clock())
    await asyncio.sleep(5)
    assert not holding.done()
    assert holder(lease) == "a"
    holding.cancel()


@pytest.mark.parametrize("error", [ApiUnavailable("connection refused"), Forbidden("HTTP 403 leases is forbidden")])
async def test_who_stands_by_asks_for_ever_and_is_alive_but_not_ready(error: Exception) -> None:
    lease = OneLease()
    lease.away = error
    one = elector(lease, "a")
    acquiring = asyncio.create_task(one.acquire())
    await asyncio.sleep(3_600)
    assert not acquiring.done()
    assert one.check()["lease_look_age_seconds"] <= TIMING.retry_seconds + 0.1
    assert not one.is_in_touch()
    lease.away = None
    await acquiring
    assert one.is_in_touch()


async def test_a_replica_whose_look_never_ends_is_stuck() -> None:
    lease = OneLease()
    lease.hangs = True
    one = elector(lease, "a")
    acquiring = asyncio.create_task(one.acquire())
    await asyncio.sleep(60)
    one.check()
    await asyncio.sleep(120)
    with pytest.raises(RuntimeError, match="has not been looked at for 180 s"):
        one.check()
    acquiring.cancel()


@pytest.mark.parametrize("error", [ApiUnavailable("away"), Forbidden("no right")])
async def test_a_lease_that_cannot_be_given_back_runs_out_by_itself(error: KubeError) -> None:
    lease = OneLease()
    leader = elector(lease, "a")
    await leader.acquire()
    lease.away = error
    with capture_logs() as logs:
        await leader.release()
    assert [(row["event"], row["error"]) for row in logs] == [("lease_not_given_back", str(error))]
    lease.away = None
    await elector(lease, "b").acquire()
    assert TIMING.lease_seconds <= now() <= MOST
