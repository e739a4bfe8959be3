"""A key is changed, and the machines go at the same time: the account's number tells whether that is a loss.

Hours of virtual time. What is played: a key of the same account and of another, with the operator up or down, keys that
last an hour, a cloud that does not tell whose a key is, and two Secrets of one account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from often import first
from simulation.scenarios import NAME, OTHER, Stage
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT, NAMES_OF_ENVIRONMENTS

ANOTHER = "100000000002"
HOUR = 3600.0
REFUSED = "AuthFailure.UnauthorizedOperation"


def played(script: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(script())


def living(stage: Stage) -> int:
    stage.world.cloud.advance()
    return len(stage.living())


def told(stage: Stage) -> tuple[str, str]:
    """Reason and sentence of condition Ready."""
    status = stage.world.api.objects["default", NAME]["status"]
    (ready,) = [one for one in status["conditions"] if one["type"] == "Ready"]
    return ready["reason"], ready["message"]


def noted(stage: Stage) -> str:
    account: str = stage.world.api.objects["default", NAME]["status"]["ledger"]["account"]
    return account


def is_gone(stage: Stage) -> bool:
    return ("default", NAME) not in stage.world.api.objects


def events(stage: Stage, reason: str) -> list[str]:
    return [event.note for event in stage.world.api.events if event.reason == reason]


def tell_accounts(stage: Stage, is_told: bool) -> None:
    stage.world.cloud.simulator.switches.set("caller-identity", "answered" if is_told else REFUSED)


def reclaim_all(stage: Stage) -> None:
    stage.world.cloud.simulator.world.reclaim(stage.living(), 0.0)


async def filled(title: str, replicas: int = 2, tells: bool = True, waits: float = 24 * HOUR) -> Stage:
    """An environment that is Ready. It `waits` so many seconds for a key that shows its instances."""
    stage = Stage(title, {}, (NAME, OTHER), {})
    tell_accounts(stage, tells)
    stage.world.policy = replace(stage.world.policy, other_account_wait_max=timedelta(seconds=waits))
    stage.create(replicas)
    stage.start()
    await stage.until(lambda: living(stage) == replicas)
    await asyncio.sleep(60)
    return stage


async def end(stage: Stage) -> None:
    """A delete ends within an hour, and nothing was ever too much."""
    stage.delete()
    await asyncio.sleep(HOUR)
    assert is_gone(stage)
    assert living(stage) == 0
    assert stage.world.cloud.violations == []


# --- the same account ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "token-of-an-hour"], ids=["key", "temporary"])
@pytest.mark.parametrize("down_seconds", [0.0, 120.0], ids=["operator-up", "operator-down"])
def test_machines_lost_while_the_key_was_changed_are_replaced(token: str, down_seconds: float) -> None:
    async def play() -> None:
        stage = await filled(f"rotated-{token}-{down_seconds}")
        assert noted(stage) == ACCOUNT
        if down_seconds:
            stage.world.crash(0, down_seconds)
        stage.world.use_key("AKIDy", token)
        stage.world.revoked.add("AKIDx")
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        assert living(stage) == 2
        assert told(stage)[0] == "AllReplicasReady"
        await end(stage)

    played(play)


def test_an_account_that_is_told_later_is_noted_at_once() -> None:
    """Otherwise a restart and another key would leave nobody who knows it, up to the next regular look."""

    async def play() -> None:
        stage = await filled("told-later", tells=False)
        assert noted(stage) != ACCOUNT
        tell_accounts(stage, True)
        await asyncio.sleep(100)  # the next question is due, and no run
        assert noted(stage) == ACCOUNT
        stage.world.crash(0, 120.0)
        stage.world.use_key("AKIDy")
        stage.world.revoked.add("AKIDx")
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        assert living(stage) == 2
        await end(stage)

    played(play)


def test_a_key_for_each_hour_changes_nothing() -> None:
    async def play() -> None:
        stage = await filled("a-key-for-each-hour")
        for hour in range(6):
            stage.world.rotate_key(is_temporary=True, revokes=True)
            if hour in (2, 5):
                reclaim_all(stage)
            await asyncio.sleep(HOUR)
            assert (living(stage), told(stage)[0], noted(stage)) == (2, "AllReplicasReady", ACCOUNT)
        (accounts,) = [replica.accounts for replica in stage.world.replicas]
        assert len(accounts.in_use) == 1
        await end(stage)

    played(play)


def test_a_delete_ends_that_began_before_the_key_was_changed() -> None:
    async def play() -> None:
        stage = await filled("deleted-then-rotated")
        for instance in stage.living():
            instance.is_protected = True
        stage.delete()
        await asyncio.sleep(60)
        stage.world.use_key("AKIDy")
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        assert is_gone(stage)
        assert stage.world.cloud.violations == []

    played(play)


def test_two_secrets_of_one_account_share_its_sweeps() -> None:
    def asked(stage: Stage) -> int:
        return sum(row.action == "DescribeInstances" for row in stage.world.cloud.simulator.ledger.requests())

    async def sweeps(title: str, second_key: str) -> int:
        stage = await filled(title)
        stage.world.use_key(second_key, secret="other")
        stage.create(1, name=OTHER, credentialsSecretRef={"name": "other"})
        await stage.ready()
        await asyncio.sleep(120)
        before = asked(stage)
        await asyncio.sleep(HOUR)
        (replica,) = stage.world.replicas
        assert len(replica.accounts.in_use) == 1
        assert stage.world.cloud.violations == []
        return asked(stage) - before

    shared, alone = run_virtual(sweeps("two-secrets", "AKIDsecond")), run_virtual(sweeps("one-key", "AKIDx"))
    assert shared <= 1.05 * alone


def test_a_revoked_key_does_not_disturb_the_environments_of_another_secret() -> None:
    async def play() -> None:
        stage = await filled("one-of-two-revoked")
        stage.world.use_key("AKIDsecond", secret="other")
        stage.create(1, name=OTHER, credentialsSecretRef={"name": "other"})
        await stage.ready()
        stage.world.revoked.add("AKIDsecond")
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        assert told(stage)[0] == "AllReplicasReady"
        conditions = stage.world.api.objects["default", OTHER]["status"]["conditions"]
        assert {one["reason"] for one in conditions if one["type"] == "Ready"} == {"InvalidCredentials"}
        stage.world.revoked.clear()
        await asyncio.sleep(600)
        assert living(stage) == 3
        assert stage.world.cloud.violations == []

    played(play)


# --- another account -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loses", [False, True], ids=["they-live", "they-are-gone-too"])
def test_a_key_of_another_account_buys_nothing(loses: bool) -> None:
    async def play() -> None:
        stage = await filled(f"another-account-{loses}")
        stage.world.accounts["AKIDother"] = ANOTHER
        stage.world.use_key("AKIDother")
        if loses:
            reclaim_all(stage)
        await asyncio.sleep(2 * HOUR)
        reason, message = told(stage)
        assert reason == "AnotherAccount"
        assert ACCOUNT in message
        assert ANOTHER in message
        assert living(stage) == (0 if loses else 2)
        assert stage.world.cloud.simulator.world.live[ANOTHER] == 0
        stage.world.use_key("AKIDx")
        await asyncio.sleep(HOUR)
        assert (living(stage), told(stage)[0]) == (2, "AllReplicasReady")
        await end(stage)

    played(play)


def test_a_delete_under_another_account_waits_for_a_key_and_names_what_it_leaves() -> None:
    async def play() -> None:
        stage = await filled("deleted-under-another-account", waits=HOUR)
        ids = [instance.id for instance in stage.living()]
        stage.world.accounts["AKIDother"] = ANOTHER
        stage.world.use_key("AKIDother")
        await asyncio.sleep(2 * HOUR)
        stage.delete()
        await asyncio.sleep(0.9 * HOUR)
        reason, message = told(stage)
        assert reason == "AnotherAccount"
        assert all(instance_id in message for instance_id in ids)
        await asyncio.sleep(0.2 * HOUR)
        assert is_gone(stage)
        (event,) = events(stage, "InstancesLeftBehind")
        assert all(instance_id in event for instance_id in ids)
        assert ACCOUNT in event
        assert living(stage) == 2
        # A key of that account, wherever it is used again, is enough for the orphan sweep.
        stage.world.use_key("AKIDx")
        stage.create(1, name=OTHER)
        await asyncio.sleep(HOUR)
        assert living(stage) == 1

    played(play)


def test_a_delete_under_another_account_ends_when_the_former_key_is_put_back() -> None:
    async def play() -> None:
        stage = await filled("deleted-under-another-account-and-back")
        stage.world.accounts["AKIDother"] = ANOTHER
        stage.world.use_key("AKIDother")
        stage.delete()
        await asyncio.sleep(0.5 * HOUR)
        assert living(stage) == 2
        stage.world.use_key("AKIDx")
        await asyncio.sleep(HOUR)
        assert is_gone(stage)
        assert living(stage) == 0
        assert stage.world.cloud.violations == []

    played(play)


# --- nobody tells whose the key is -----------------------------------------------------------------------------------


def test_without_a_number_the_instances_that_a_new_key_shows_are_evidence() -> None:
    async def play() -> None:
        stage = await filled("never-told", tells=False)
        assert noted(stage) != ACCOUNT
        stage.world.use_key("AKIDy")
        await asyncio.sleep(600)
        assert told(stage)[0] == "AllReplicasReady"
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        assert (living(stage), told(stage)[0]) == (2, "AllReplicasReady")
        await end(stage)

    played(play)


def test_without_a_number_a_loss_of_everything_under_one_key_is_a_loss() -> None:
    async def play() -> None:
        stage = await filled("never-told-one-key", tells=False)
        stage.world.crash(0, 120.0)
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        assert living(stage) == 2
        tell_accounts(stage, True)
        await asyncio.sleep(HOUR)
        assert noted(stage) == ACCOUNT
        await end(stage)

    played(play)


@pytest.mark.parametrize("down_seconds", [0.0, 120.0], ids=["operator-up", "operator-down"])
def test_who_can_not_tell_waits_says_so_and_goes_on_when_told(down_seconds: float) -> None:
    async def play() -> None:
        stage = await filled(f"told-no-more-{down_seconds}")
        tell_accounts(stage, False)
        if down_seconds:
            stage.world.crash(0, down_seconds)
        stage.world.use_key("AKIDy")
        reclaim_all(stage)
        await asyncio.sleep(2 * HOUR)
        reason, message = told(stage)
        assert reason == "AccountUnknown"
        assert REFUSED in message
        assert "sts:GetCallerIdentity" in message
        assert living(stage) == 0
        tell_accounts(stage, True)
        await asyncio.sleep(HOUR)
        assert (living(stage), told(stage)[0]) == (2, "AllReplicasReady")
        await end(stage)

    played(play)


def test_a_key_of_another_account_buys_nothing_although_nobody_tells_whose_it_is() -> None:
    async def play() -> None:
        stage = await filled("another-account-untold", tells=False)
        stage.world.accounts["AKIDother"] = ANOTHER
        stage.world.use_key("AKIDother")
        await asyncio.sleep(2 * HOUR)
        assert told(stage)[0] == "AccountUnknown"
        assert stage.world.cloud.simulator.world.live[ANOTHER] == 0
        assert living(stage) == 2

    played(play)


@pytest.mark.parametrize("tells", [False, True], ids=["never-told", "told-too-late"])
def test_an_environment_whose_account_nobody_can_tell_begins_anew_after_a_day_and_says_so(tells: bool) -> None:
    """The number was not told while its key was in use, and everything is gone."""

    async def play() -> None:
        stage = await filled(f"nobody-can-tell-{tells}", tells=False)
        ids = [instance.id for instance in stage.living()]
        stage.world.crash(0, 60.0)
        tell_accounts(stage, tells)
        stage.world.use_key("AKIDy")
        stage.world.revoked.add("AKIDx")
        reclaim_all(stage)
        await asyncio.sleep(23 * HOUR)
        reason, message = told(stage)
        assert reason == "AccountUnknown"
        assert "begins anew in the account of this key at 20" in message
        assert living(stage) == 0
        await asyncio.sleep(1.1 * HOUR)
        assert (living(stage), told(stage)[0], noted(stage) == ACCOUNT) == (2, "AllReplicasReady", tells)
        (event,) = events(stage, "InstancesLeftBehind")
        assert all(instance_id in event for instance_id in ids)
        await end(stage)

    played(play)


def test_nothing_is_bought_before_the_account_is_told_unless_that_takes_more_than_a_minute() -> None:
    async def filled_after(is_told: bool, away: float) -> tuple[float, bool]:
        stage = Stage(f"awaited-{is_told}-{away}", {}, (NAME,), {})
        tell_accounts(stage, is_told)
        stage.world.cloud.accounts_away_until = away
        stage.create(1)
        stage.start()
        await asyncio.sleep(9)
        if away:
            assert told(stage)[0] == "AccountUnknown"
            assert "asked again" in told(stage)[1]
        await stage.until(lambda: living(stage) == 1)
        return asyncio.get_running_loop().time(), noted(stage) == ACCOUNT

    assert run_virtual(filled_after(True, 0.0)) == (10, True)
    assert run_virtual(filled_after(False, 0.0)) == (10, False), "who may not ask has nothing to wait for"
    after, is_noted = run_virtual(filled_after(True, 30.0))
    assert (30 < after < 55, is_noted) == (True, True)
    after, is_noted = run_virtual(filled_after(True, 3600.0))
    assert (60 < after < 75, is_noted) == (True, False), "never gives up"


def test_a_delete_ends_within_the_hour_when_nobody_tells_whose_the_key_is() -> None:
    async def play() -> None:
        stage = await filled("deleted-untold")
        tell_accounts(stage, False)
        stage.world.use_key("AKIDy")
        reclaim_all(stage)
        await asyncio.sleep(HOUR)
        stage.delete()
        await asyncio.sleep(0.4 * HOUR)
        assert not is_gone(stage)
        assert told(stage)[0] == "AccountUnknown"
        await asyncio.sleep(0.6 * HOUR)
        assert is_gone(stage)
        assert events(stage, "InstancesLeftBehind")
        assert stage.world.cloud.violations == []

    played(play)


# --- ledgers of an earlier version -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loses", [False, True], ids=["they-live", "they-are-gone-too"])
def test_a_ledger_that_names_a_key_is_not_of_another_account(loses: bool) -> None:
    async def play() -> None:
        stage = await filled(f"upgraded-{loses}")
        stage.world.crash(0, 60.0)
        stage.world.api.edit(
            "default", NAME, lambda obj: obj["status"]["ledger"].update(account="4d4fa27c0e/ap-guangzhou")
        )
        if loses:
            reclaim_all(stage)
        await asyncio.sleep(HOUR)
        if not loses:
            assert (told(stage)[0], noted(stage)) == ("AllReplicasReady", ACCOUNT)
        else:
            reason, message = told(stage)
            assert reason == "AccountUnknown"
            assert "former key" in message
            assert living(stage) == 0
        await end(stage)

    played(play)


def test_a_secret_that_is_deleted_and_kept_is_told_and_can_be_made_anew() -> None:
    """The delete waits for the environment, which says so; the new Secret is guarded as the former one was."""

    async def play() -> None:
        stage = Stage("kept-secret", {}, (NAME,), {})
        stage.create(2)
        stage.start()
        await stage.ready()
        (key,) = stage.world.api.secrets
        stage.world.api.delete_secret(*key)
        await asyncio.sleep(360)  # the longest time between two runs, and one more minute
        (said,) = events(stage, "SecretKept")
        assert f"Secret {key[1]} has been deleted, and is kept while instances need its key" in said
        assert "change it in place" in said
        assert living(stage) == 2
        data = stage.world.api.secrets[key]["data"]
        stage.world.api.mark_secret(*key, is_protected=False)  # a person takes the finalizer off
        stage.world.api.secrets[key] = {"data": data}
        await asyncio.sleep(360)  # the longest time between two runs, and one more minute
        assert stage.world.api.secrets[key]["protected"]
        assert len(events(stage, "SecretKept")) == 1
        await end(stage)

    played(play)


@pytest.mark.parametrize("count", first(1, [1, 20]))
def test_a_revoked_key_reads_its_secret_rarely_and_a_corrected_one_works_within_a_minute(count: int) -> None:
    """The Secret is only compared, unless it has changed; each of the moments of a minute may be that of the change."""

    async def play() -> None:
        names = NAMES_OF_ENVIRONMENTS[:count]
        stage = Stage(f"revoked-{count}", {}, names, {})
        world = stage.world
        for name in names:
            stage.create(1, name=name)
        stage.start()
        await stage.ready()
        key = "AKIDx"
        for second in range(0, 60, 15):
            world.revoked.add(key)
            await asyncio.sleep(600 + second)
            begun = len(world.log)
            await asyncio.sleep(HOUR)
            lines = world.log[begun:]
            assert sum("secret before" in line for line in lines) == 0
            assert sum("version before" in line for line in lines) <= 120
            assert sum("status before" in line for line in lines) == 0
            key = f"AKIDnew{second}"
            world.use_key(key)
            await asyncio.sleep(60)
            ready = [world.api.objects["default", name]["status"]["phase"] for name in names]
            assert ready == ["Ready"] * count

    played(play)


def test_a_key_that_is_allowed_again_works_within_a_minute() -> None:
    async def play() -> None:
        stage = await filled("allowed-again")
        for second in range(0, 60, 10):
            stage.world.revoked.add("AKIDx")
            await asyncio.sleep(600 + second)
            assert told(stage)[0] == "InvalidCredentials"
            stage.world.revoked.clear()
            await asyncio.sleep(60)
            assert told(stage)[0] == "AllReplicasReady"

    played(play)
