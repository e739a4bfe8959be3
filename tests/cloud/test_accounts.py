"""One inventory per account and region, in use or at rest, whatever the cloud answers. In virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clock import clock
from cloud.scripted import ENV, MINE, OTHER, PACE, News, ScriptedCloud
from plan.given import instance, seconds
from spotcompute.cloud.accounts import PATIENCE, Accounts
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import CloudError, InvalidCredentials, NotSent, OutcomeUnknown
from spotcompute.cloud.pace import IDLE
from spotcompute.model.moments import age

pytestmark = pytest.mark.looptime


KEY, OTHER_KEY = Credentials("id-1", "key-1"), Credentials("id-2", "key-2")


def accounts_of(clouds: dict[tuple[str, str], ScriptedCloud], news: News | None = None) -> Accounts:
    """A cloud for each key and region; the number of its account is that of the secret id, but for those given."""

    def provider(credentials: Credentials, region: str) -> ScriptedCloud:
        name = credentials.secret_id
        return clouds.setdefault((name, region), ScriptedCloud(f"{name}/{region}", name.removeprefix("id-")))

    return Accounts(provider, "cluster-a", clock, PACE, news if news is not None else News())


@asynccontextmanager
async def kept(accounts: Accounts) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(accounts.run())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_one_inventory_per_account_and_region() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        first, again = await accounts.open(KEY, "r-1"), await accounts.open(KEY, "r-1")
        assert (first.inventory, first.provider) == (again.inventory, again.provider)
        different = [await accounts.open(key, region) for key, region in ((KEY, "r-2"), (OTHER_KEY, "r-1"))]
        assert len({id(one.inventory) for one in (first, *different)}) == 3
    assert set(clouds) == {("id-1", "r-1"), ("id-1", "r-2"), ("id-2", "r-1")}


async def test_calls_depend_on_accounts_and_not_on_environments() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        for _ in range(20):
            access = await accounts.open(KEY, "r-1")
            await asyncio.gather(*(access.observe(f"env-{n}", [], []) for n in range(100)))
            await asyncio.sleep(15)
    (cloud,) = clouds.values()
    assert len(cloud.times("list")) <= 21
    assert len(cloud.times("market")) <= 6


async def test_an_idle_account_stops_and_begins_again_when_asked() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        first = (await accounts.open(KEY, "r-1")).inventory
        await asyncio.sleep(IDLE.total_seconds() + 31)
        count = len(clouds["id-1", "r-1"].calls)
        await asyncio.sleep(600)
        assert len(clouds["id-1", "r-1"].calls) == count
        again = (await accounts.open(KEY, "r-1")).inventory
        assert again is not first
        await asyncio.sleep(16)
        assert len(clouds["id-1", "r-1"].calls) == count + 1


async def test_trouble_of_the_cloud_does_not_end_the_sweeps_of_an_account() -> None:
    clouds = {("id-1", "r-1"): ScriptedCloud(trouble={"list": InvalidCredentials("AuthFailure", "no such key")})}
    accounts = accounts_of(clouds)
    async with kept(accounts) as task:
        await accounts.open(KEY, "r-1")
        await asyncio.sleep(600)
        assert not task.done()
    assert len(clouds["id-1", "r-1"].times("list")) > 5


async def test_a_sweep_that_dies_of_anything_else_ends_the_process() -> None:
    clouds = {("id-1", "r-1"): ScriptedCloud(trouble={"list": ZeroDivisionError("a mistake of ours")})}
    accounts = accounts_of(clouds)
    task = asyncio.create_task(accounts.run())
    await asyncio.sleep(0)
    await accounts.open(KEY, "r-1")
    with pytest.raises(ZeroDivisionError):
        await task


async def test_a_sweep_that_died_before_anything_waited_for_it_ends_the_process_too() -> None:
    clouds = {
        ("id-1", "r-1"): ScriptedCloud(trouble={"list": ZeroDivisionError("the first mistake")}),
        ("id-1", "r-2"): ScriptedCloud(trouble={"list": KeyError("the second")}),
    }
    accounts = accounts_of(clouds)
    await accounts.open(KEY, "r-1")
    await asyncio.sleep(60)
    await accounts.open(KEY, "r-2")
    await asyncio.sleep(60)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(accounts.run(), 1)


async def test_the_end_of_the_process_ends_all_sweeps() -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    accounts = accounts_of(clouds)
    async with kept(accounts):
        await accounts.open(KEY, "r-1")
        await asyncio.sleep(20)
    count = len(clouds["id-1", "r-1"].calls)
    await asyncio.sleep(600)
    assert len(clouds["id-1", "r-1"].calls) == count


# --- keys of one account ---------------------------------------------------------------------------------------------

ROTATED = Credentials("id-rotated", "key-3")
NOT_ALLOWED = InvalidCredentials("UnauthorizedOperation", "not with this key")
REVOKED = InvalidCredentials("AuthFailure.SecretIdNotFound", "no such key")


def two_keys(**trouble: CloudError | Exception) -> dict[tuple[str, str], ScriptedCloud]:
    """Two keys of one account; `trouble` is the second one's, by method."""
    return {
        ("id-1", "r-1"): ScriptedCloud("id-1/r-1", "1"),
        ("id-rotated", "r-1"): ScriptedCloud("id-rotated/r-1", "1", trouble=dict(trouble)),
    }


async def test_a_rotated_key_goes_on_with_the_inventory_of_its_account() -> None:
    clouds = two_keys()
    accounts = accounts_of(clouds)
    async with kept(accounts):
        old = await accounts.open(KEY, "r-1")
        await old.observe(ENV, [], [])
        new = await accounts.open(ROTATED, "r-1")
        assert new.inventory is old.inventory
        seen = await new.observe(ENV, ["ins-9"], ["web-1"])
        assert (seen.account, seen.key) == ("1", "id-rotated/r-1")
    assert clouds["id-rotated", "r-1"].asked == [("ins-9",)]
    assert not clouds["id-1", "r-1"].asked, "what one environment asks is asked with its own key"


async def test_two_secrets_of_one_account_share_its_sweeps() -> None:
    clouds = two_keys()
    accounts = accounts_of(clouds)
    async with kept(accounts):
        for _ in range(20):
            for key in (KEY, ROTATED):
                await (await accounts.open(key, "r-1")).observe(ENV, [], [])
            await asyncio.sleep(15)
    counts = [len(cloud.times("list")) for cloud in clouds.values()]
    assert sum(counts) <= 21
    assert min(counts) >= 9, "the keys take turns"
    assert sum(len(cloud.times("market")) for cloud in clouds.values()) <= 6


async def test_a_key_that_was_rotated_away_is_dropped() -> None:
    clouds = two_keys()
    accounts = accounts_of(clouds)
    async with kept(accounts):
        await accounts.open(KEY, "r-1")
        for _ in range(8):
            await (await accounts.open(ROTATED, "r-1")).observe(ENV, [], [])
            await asyncio.sleep(300)
        count = len(clouds["id-1", "r-1"].times("list"))
        await asyncio.sleep(600)
        assert len(clouds["id-1", "r-1"].times("list")) == count


async def test_a_revoked_key_blinds_nobody_but_its_own_environments() -> None:
    clouds = two_keys()
    accounts = accounts_of(clouds)
    async with kept(accounts):
        good, revoked = await accounts.open(KEY, "r-1"), await accounts.open(ROTATED, "r-1")
        await revoked.observe(ENV, [], [])
        clouds["id-rotated", "r-1"].trouble["list"] = REVOKED
        for _ in range(20):
            await asyncio.sleep(15)
            assert (await good.observe(ENV, [], [])).observed_at >= clock() - 2 * PACE.sweep
        with pytest.raises(InvalidCredentials):
            await revoked.observe(ENV, [], [])
        refused = clouds["id-rotated", "r-1"].times("list")
        assert len(refused) <= 10, "a refused key rests longer and longer"
        clouds["id-rotated", "r-1"].trouble.clear()
        await asyncio.sleep(90)
        await revoked.observe(ENV, [], [])


async def test_one_refusal_is_not_told_while_the_last_view_is_fresh() -> None:
    clouds = two_keys()
    accounts = accounts_of(clouds)
    async with kept(accounts):
        access = await accounts.open(KEY, "r-1")
        await access.observe(ENV, [], [])
        clouds["id-1", "r-1"].trouble["list"] = REVOKED
        await asyncio.sleep(16)
        await access.observe(ENV, [], [])
        await asyncio.sleep(16)
        with pytest.raises(InvalidCredentials):
            await access.observe(ENV, [], [])


# --- keys of nobody knows whom ---------------------------------------------------------------------------------------


async def test_where_the_cloud_does_not_tell_each_key_stands_alone() -> None:
    clouds = two_keys(identify=NOT_ALLOWED)
    accounts = accounts_of(clouds)
    async with kept(accounts):
        known, unknown = await accounts.open(KEY, "r-1"), await accounts.open(ROTATED, "r-1")
        assert known.inventory is not unknown.inventory
        assert (known.unknown_because, unknown.unknown_because) == (None, NOT_ALLOWED)
        seen = await unknown.observe(ENV, [], [])
        assert (seen.account, seen.key) == ("", "id-rotated/r-1")


async def test_it_is_asked_again_with_patience_and_what_was_seen_is_kept() -> None:
    clouds = two_keys(identify=NOT_ALLOWED)
    accounts = accounts_of(clouds)
    cloud = clouds["id-rotated", "r-1"]
    async with kept(accounts):
        alone = await accounts.open(ROTATED, "r-1")
        for _ in range(720):
            await (await accounts.open(ROTATED, "r-1")).observe(ENV, [], [])
            await asyncio.sleep(5)
        assert 12 <= len(cloud.times("identify")) <= 20
        cloud.trouble.clear()
        await asyncio.sleep(300)
        told = await accounts.open(ROTATED, "r-1")
        assert told.unknown_because is None
        assert told.inventory is alone.inventory
        assert (await accounts.open(KEY, "r-1")).inventory is told.inventory
        assert accounts.in_use == [told.inventory]


async def test_whose_a_key_is_gets_asked_in_the_background_and_told_to_all_who_use_it() -> None:
    clouds, news = two_keys(identify=NOT_ALLOWED), News()
    accounts = accounts_of(clouds, news)
    async with kept(accounts):
        access = await accounts.open(ROTATED, "r-1")
        await asyncio.gather(access.observe(ENV, [], []), access.observe(OTHER, [], []))
        clouds["id-rotated", "r-1"].trouble.clear()
        await asyncio.sleep(6)
        assert news == [{ENV, OTHER}]
        assert access.provider.account == "1"
        await asyncio.sleep(600)
        assert len(clouds["id-rotated", "r-1"].times("identify")) == 2


@pytest.mark.parametrize(
    ("error", "awaited"),
    [
        pytest.param(OutcomeUnknown("NoAnswer", "-"), 60, id="no-answer"),
        pytest.param(NotSent("ClientNetworkError", "-"), 60, id="not-sent"),
        pytest.param(NOT_ALLOWED, 0, id="refused"),
    ],
)
async def test_the_number_is_awaited_for_a_minute_after_the_key_has_shown_something(
    error: CloudError, awaited: int
) -> None:
    clouds = two_keys(identify=error)
    accounts = accounts_of(clouds)
    async with kept(accounts):
        access = await accounts.open(ROTATED, "r-1")
        await asyncio.sleep(600)  # what shows nothing is not counted
        assert access.awaits_number is (awaited > 0)
        asked = len(clouds["id-rotated", "r-1"].times("identify"))
        for _ in range(12):
            await (await accounts.open(ROTATED, "r-1")).observe(ENV, [], [])
            assert access.awaits_number is (awaited > 0)
            await asyncio.sleep(4.9)
        assert not awaited or len(clouds["id-rotated", "r-1"].times("identify")) >= asked + 2
        await asyncio.sleep(5)
        assert not access.awaits_number
        if awaited:
            clouds["id-rotated", "r-1"].trouble.clear()
            await asyncio.sleep(21)
            assert access.provider.account == "1"


async def test_a_key_that_nobody_uses_any_more_is_not_asked_about() -> None:
    clouds = two_keys(identify=NOT_ALLOWED)
    accounts = accounts_of(clouds)
    async with kept(accounts):
        await accounts.open(ROTATED, "r-1")
        await asyncio.sleep(IDLE.total_seconds() + 301)
        count = len(clouds["id-rotated", "r-1"].calls)
        await asyncio.sleep(3600)
        assert len(clouds["id-rotated", "r-1"].calls) == count


async def test_a_key_that_is_no_longer_in_the_secret_still_tells_its_account() -> None:
    clouds = two_keys(identify=NOT_ALLOWED)
    accounts = accounts_of(clouds)
    async with kept(accounts):
        former = await accounts.open(ROTATED, "r-1")
        assert await accounts.number_behind(former.provider.key) is None
        await accounts.open(KEY, "r-1")
        clouds["id-rotated", "r-1"].trouble.clear()
        await asyncio.sleep(60)
        assert await accounts.number_behind(former.provider.key) == "1"
        assert await accounts.number_behind("a-key-nobody-had/r-1") is None
        assert await accounts.number_behind(None) is None


async def test_an_inventory_that_turns_out_to_be_of_a_known_account_is_given_up_for_that_one() -> None:
    clouds = two_keys(identify=NOT_ALLOWED)
    accounts = accounts_of(clouds)
    async with kept(accounts):
        known, alone = await accounts.open(KEY, "r-1"), await accounts.open(ROTATED, "r-1")
        clouds["id-rotated", "r-1"].trouble.clear()
        await asyncio.sleep(60)
        told = await accounts.open(ROTATED, "r-1")
        assert told.inventory is known.inventory is not alone.inventory
        assert accounts.in_use == [known.inventory]
        before = sum(len(cloud.times("list")) for cloud in clouds.values())
        await asyncio.sleep(150)
        assert sum(len(cloud.times("list")) for cloud in clouds.values()) - before <= 11


async def test_no_view_goes_back_when_an_inventory_is_given_up_for_another() -> None:
    clouds = two_keys(identify=NOT_ALLOWED)
    accounts = accounts_of(clouds)
    async with kept(accounts):
        known = await accounts.open(KEY, "r-1")
        await known.observe(ENV, [], [])
        await asyncio.sleep(1)
        alone = await (await accounts.open(ROTATED, "r-1")).observe(ENV, [], [])
        clouds["id-rotated", "r-1"].trouble.clear()
        await asyncio.sleep(6)
        told = await accounts.open(ROTATED, "r-1")
        assert told.inventory is known.inventory
        assert (await told.observe(ENV, [], [])).observed_at >= alone.observed_at


async def test_nobody_waits_long_for_a_cloud_that_does_not_answer_whose_a_key_is() -> None:
    clouds = two_keys()
    clouds["id-1", "r-1"].latency = 3600.0
    accounts = accounts_of(clouds)
    async with kept(accounts):
        found = await asyncio.gather(*(accounts.open(KEY, "r-1") for _ in range(100)))
        assert asyncio.get_running_loop().time() == PATIENCE.total_seconds()
        assert len({id(access.inventory) for access in found}) == 1
        assert found[0].unknown_because is not None
        assert found[0].unknown_because.code == "NoAnswer"
        assert len(clouds["id-1", "r-1"].times("identify")) == 1


@pytest.mark.parametrize("silent", [1, 5, 40])
async def test_keys_without_an_answer_do_not_hide_the_account_from_another_key(silent: int) -> None:
    """The others hang for ten seconds, as a line that takes everything and says nothing."""
    lost = OutcomeUnknown("ClientNetworkError", "read timed out")
    clouds = {
        (f"id-{number}", "r-1"): ScriptedCloud(f"id-{number}/r-1", "1", latency=10.0, trouble={"list": lost})
        for number in range(2, 2 + silent)
    }
    clouds["id-1", "r-1"] = ScriptedCloud("id-1/r-1", "1", listed=[MINE])
    accounts = accounts_of(clouds)
    async with kept(accounts):
        for name, region in clouds:
            if name != "id-1":
                access = await accounts.open(Credentials(name, "key"), region)
                with contextlib.suppress(CloudError):
                    await access.observe(OTHER, [], [])
        mine = await accounts.open(KEY, "r-1")
        for _ in range(20):
            seen = await mine.observe(ENV, [], [])
            assert age(seen.observed_at, clock()) <= 2 * PACE.sweep + seconds(2)
            await asyncio.sleep(10)


async def test_a_cloud_that_answers_no_key_is_not_flooded_because_there_are_many() -> None:
    clouds = {
        (f"id-{number}", "r-1"): ScriptedCloud(f"id-{number}/r-1", "1", trouble={"list": NotSent("Refused", "no line")})
        for number in range(40)
    }
    accounts = accounts_of(clouds)
    async with kept(accounts):
        for name, region in clouds:
            await accounts.open(Credentials(name, "key"), region)
        await asyncio.sleep(600)
    calls = sum(len(cloud.times("list")) for cloud in clouds.values())
    assert calls <= 40 * (600 / PACE.failure_limit.total_seconds() + 5), "each key rests, up to the longest rest"


@pytest.mark.parametrize("count", [0, 1, 100, 101, 250])
async def test_candidates_are_looked_up_by_hundreds(count: int) -> None:
    clouds: dict[tuple[str, str], ScriptedCloud] = {}
    access = await accounts_of(clouds).open(KEY, "r-1")
    (cloud,) = clouds.values()
    cloud.hidden = [instance(f"ins-{number:03}") for number in range(count)]
    found = await access.candidates([one.id for one in cloud.hidden], None, ENV)
    assert list(found.values()) == cloud.hidden
    assert [len(ids) for ids in cloud.asked] == [min(100, count - start) for start in range(0, count, 100)]
