"""One inventory per key and region, in use or at rest, whatever the cloud answers. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clock import clock
from cloud.scripted import PACE, News, ScriptedCloud
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import InvalidCredentials
from spotcompute.cloud.inventory import IDLE

pytestmark = pytest.mark.looptime


KEY, OTHER_KEY = Credentials("id-1", "key-1"), Credentials("id-2", "key-2")


def accounts_of(clouds: dict[tuple[str, str], ScriptedCloud]) -> Accounts:
    def provider(credentials: Credentials, region: str) -> ScriptedCloud:
        return clouds.setdefault((credentials.secret_id, region), ScriptedCloud(f"{credentials.secret_id}@{region}"))

    return Accounts(provider, "cluster-a", clock, PACE, News())


@asynccontextmanager
async def kept(accounts: Accounts) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(accounts.run())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_one_inventory_per_key_and_region() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        assert accounts.inventory(KEY, "r-1") is accounts.inventory(KEY, "r-1")
        different = [
            accounts.inventory(KEY, "r-1"),
            accounts.inventory(KEY, "r-2"),
            accounts.inventory(OTHER_KEY, "r-1"),
        ]
        assert len({id(item) for item in different}) == 3
    assert set(clouds) == {("id-1", "r-1"), ("id-1", "r-2"), ("id-2", "r-1")}


async def test_calls_depend_on_accounts_and_not_on_environments() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        for _ in range(20):
            await asyncio.gather(*(accounts.inventory(KEY, "r-1").observe(f"env-{n}", [], []) for n in range(100)))
            await asyncio.sleep(15)
    (cloud,) = clouds.values()
    assert len(cloud.times("list")) <= 21
    assert len(cloud.times("market")) <= 6


async def test_an_idle_account_stops_and_begins_again_when_asked() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        first = accounts.inventory(KEY, "r-1")
        await asyncio.sleep(IDLE.total_seconds() + 31)
        count = len(clouds["id-1", "r-1"].calls)
        await asyncio.sleep(600)
        assert len(clouds["id-1", "r-1"].calls) == count
        again = accounts.inventory(KEY, "r-1")
        assert again is not first
        await asyncio.sleep(16)
        assert len(clouds["id-1", "r-1"].calls) == count + 1


async def test_trouble_of_the_cloud_does_not_end_the_sweeps_of_an_account() -> None:
    clouds = {("id-1", "r-1"): ScriptedCloud(trouble={"list": InvalidCredentials("AuthFailure", "no such key")})}
    accounts = accounts_of(clouds)
    async with kept(accounts) as task:
        accounts.inventory(KEY, "r-1")
        await asyncio.sleep(600)
        assert not task.done()
    assert len(clouds["id-1", "r-1"].times("list")) > 5


async def test_a_sweep_that_dies_of_anything_else_ends_the_process() -> None:
    clouds = {("id-1", "r-1"): ScriptedCloud(trouble={"list": ZeroDivisionError("a mistake of ours")})}
    accounts = accounts_of(clouds)
    task = asyncio.create_task(accounts.run())
    await asyncio.sleep(0)
    accounts.inventory(KEY, "r-1")
    with pytest.raises(ZeroDivisionError):
        await task


async def test_a_sweep_that_died_before_anything_waited_for_it_ends_the_process_too() -> None:
    clouds = {
        ("id-1", "r-1"): ScriptedCloud(trouble={"list": ZeroDivisionError("the first mistake")}),
        ("id-1", "r-2"): ScriptedCloud(trouble={"list": KeyError("the second")}),
    }
    accounts = accounts_of(clouds)
    accounts.inventory(KEY, "r-1")
    await asyncio.sleep(60)
    accounts.inventory(KEY, "r-2")
    await asyncio.sleep(60)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(accounts.run(), 1)


async def test_the_end_of_the_process_ends_all_sweeps() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        accounts.inventory(KEY, "r-1")
        await asyncio.sleep(20)
    count = len(clouds["id-1", "r-1"].calls)
    await asyncio.sleep(600)
    assert len(clouds["id-1", "r-1"].calls) == count
