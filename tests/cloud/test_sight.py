"""Who is told, and when, that the cloud of an account is out of sight. In virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from clock import clock, now
from cloud.scripted import ENV, HIS, MINE, OTHER, PACE, ScriptedCloud
from spotcompute.cloud.errors import CloudError, InvalidCredentials, OutcomeUnknown
from spotcompute.cloud.inventory import Inventory

pytestmark = pytest.mark.looptime

#: Seconds for which a view counts as live: two sweeps, and nine seconds.
LIMIT = 2 * PACE.sweep.total_seconds() + 9

DOWN = OutcomeUnknown("ServerNetworkError", "no HTTP status 200")
REFUSED = InvalidCredentials("AuthFailure.SecretIdNotFound", "no such key")


class Told(list[tuple[float, frozenset[str]]]):
    """Who was woken, and when."""

    def __call__(self, environments: Collection[str]) -> None:
        self.append((now(), frozenset(environments)))

    def who(self, since: float) -> set[str]:
        return {one for at, ids in self if at >= since for one in ids}


@asynccontextmanager
async def watched(cloud: ScriptedCloud, told: Told, *environments: str) -> AsyncIterator[Inventory]:
    """An inventory that sweeps by itself, and that each of these has asked once."""
    inventory = Inventory(cloud, "cluster-a", clock, PACE, told)
    for one in environments:
        await inventory.observe(one, [], [])
    task = asyncio.create_task(inventory.run())
    try:
        yield inventory
    finally:
        task.cancel()
        await asyncio.wait([task])


async def looks_of(inventory: Inventory, environment: str) -> CloudError | None:
    with contextlib.suppress(CloudError):
        await inventory.observe(environment, [], [])
        return None
    return DOWN


async def test_all_who_look_are_told_when_the_view_is_too_old_and_not_before() -> None:
    told, cloud = Told(), ScriptedCloud(listed=[MINE, HIS])
    async with watched(cloud, told, ENV, OTHER):
        await asyncio.sleep(1)
        cloud.trouble["list"] = DOWN
        await asyncio.sleep(LIMIT - 2)
        assert told == []
        await asyncio.sleep(2)
        assert told == [(LIMIT, {ENV, OTHER})]


async def test_all_are_told_within_a_moment_of_the_first_sweep_that_shows_the_cloud_again() -> None:
    told, cloud = Told(), ScriptedCloud(listed=[MINE])
    async with watched(cloud, told, ENV, OTHER):
        cloud.trouble["list"] = DOWN
        await asyncio.sleep(200)
        del cloud.trouble["list"]
        back = now()
        await asyncio.sleep(61)
        assert told.who(back) == {ENV, OTHER}
        assert [at for at, _ in told if at >= back] == [min(at for at in cloud.times("list") if at >= back)]


async def test_a_blip_tells_nobody() -> None:
    told, cloud = Told(), ScriptedCloud(listed=[MINE])
    async with watched(cloud, told, ENV):
        cloud.trouble["list"] = DOWN
        await asyncio.sleep(21)
        del cloud.trouble["list"]
        await asyncio.sleep(300)
    assert told == []


async def test_a_cloud_that_hangs_is_told_like_one_that_fails_and_nobody_waits_for_it() -> None:
    told, cloud = Told(), ScriptedCloud(listed=[MINE])
    async with watched(cloud, told, ENV) as inventory:
        cloud.latency = 3600.0
        await asyncio.sleep(LIMIT + 0.5)
        assert told.who(0) == {ENV}
        before = now()
        with pytest.raises(OutcomeUnknown, match="does not answer"):
            await inventory.observe(ENV, [], [])
        assert now() - before <= 1.0


async def test_a_refused_key_is_told_within_a_sweep_and_two_seconds() -> None:
    told, cloud = Told(), ScriptedCloud(listed=[MINE])
    async with watched(cloud, told, ENV, OTHER) as inventory:
        cloud.trouble["list"] = REFUSED
        await asyncio.sleep(PACE.sweep.total_seconds() + 2)
        assert told.who(0) == {ENV, OTHER}
        with pytest.raises(InvalidCredentials):
            await inventory.observe(ENV, [], [])
        del cloud.trouble["list"]
        back = now()
        await asyncio.sleep(61)
        assert told.who(back) == {ENV, OTHER}


async def test_only_those_who_look_with_the_refused_key_are_told() -> None:
    told, mine, his = Told(), ScriptedCloud(key="mine/r", listed=[MINE, HIS]), ScriptedCloud(key="his/r")
    his.listed = mine.listed
    inventory = Inventory(mine, "cluster-a", clock, PACE, told)
    inventory.admit(his)
    await inventory.observe(ENV, [], [], asking=mine)
    await inventory.observe(OTHER, [], [], asking=his)
    task = asyncio.create_task(inventory.run())
    his.trouble["list"] = REFUSED
    await asyncio.sleep(3 * PACE.sweep.total_seconds() + 2)
    assert told.who(0) == {OTHER}
    task.cancel()


async def test_two_accounts_tell_only_their_own() -> None:
    told_a, told_b = Told(), Told()
    down, up = ScriptedCloud(listed=[MINE]), ScriptedCloud(listed=[HIS])
    async with watched(down, told_a, ENV), watched(up, told_b, OTHER):
        down.trouble["list"] = DOWN
        await asyncio.sleep(LIMIT + 1)
    assert told_a.who(0) == {ENV}
    assert told_b == []


async def test_one_outage_is_one_line_in_the_log_whoever_saw_it() -> None:
    cloud = ScriptedCloud(listed=[MINE])
    with capture_logs() as lines:
        async with watched(cloud, Told(), ENV) as inventory:
            cloud.trouble["list"] = DOWN
            for _ in range(100):
                await looks_of(inventory, ENV)
                await asyncio.sleep(2)
            del cloud.trouble["list"]
            await asyncio.sleep(100)
    of_sweeps = [line for line in lines if line["event"].startswith("sweep")]
    assert [line["event"] for line in of_sweeps] == ["sweep_failed", "sweep_recovered"]
    assert of_sweeps[1]["last_seen"].endswith("+00:00")


@pytest.mark.parametrize("trouble", [DOWN, REFUSED])
async def test_a_first_look_that_fails_knows_no_view(trouble: CloudError) -> None:
    cloud = ScriptedCloud(trouble={"list": trouble})
    inventory = Inventory(cloud, "cluster-a", clock, PACE, Told())
    with pytest.raises(CloudError):
        await inventory.observe(ENV, [], [])
    found = inventory.sight.blindness_of(ENV, is_refused=trouble is REFUSED)
    assert (found.last_seen, found.is_passing, found.is_lasting) == (None, False, trouble is REFUSED)


async def test_look_ups_that_fail_pass_for_as_long_as_the_last_whole_view_is_live() -> None:
    cloud = ScriptedCloud(listed=[MINE])
    async with watched(cloud, Told(), ENV) as inventory:
        whole = clock()
        cloud.trouble["get"] = DOWN
        seen = []
        for _ in range(int(LIMIT) + 2):
            with pytest.raises(OutcomeUnknown):
                await inventory.observe(ENV, ["ins-9"], [])
            seen.append(inventory.sight.blindness_of(ENV, is_refused=False))
            await asyncio.sleep(1)
        assert {one.last_seen for one in seen} == {whole}
        assert [one.is_passing for one in seen] == [True] * int(LIMIT) + [False] * 2
        del cloud.trouble["get"]
        await inventory.observe(ENV, ["ins-9"], [])
        assert inventory.sight.blindness_of(ENV, is_refused=False).last_seen != whole


async def test_an_outage_lasts_when_the_view_is_three_times_too_old_and_that_is_told_once_more() -> None:
    told, cloud = Told(), ScriptedCloud(listed=[MINE])
    async with watched(cloud, told, ENV) as inventory:
        cloud.trouble["list"] = DOWN
        lasting = []
        for _ in range(int(4 * LIMIT)):
            await asyncio.sleep(1)
            lasting.append(inventory.sight.blindness_of(ENV, is_refused=False).is_lasting)
    assert lasting.index(True) == 3 * LIMIT - 1
    assert [at for at, _ in told] == [LIMIT, 3 * LIMIT]
