"""An account is listed with the key whose turn it is, or with the first that works. In virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from clock import now
from cloud.scripted import HIS, MINE, ScriptedCloud
from spotcompute.cloud.errors import CloudError, InvalidCredentials, NotSent, OutcomeUnknown, Throttled, Unavailable
from spotcompute.cloud.keyring import Keyring
from spotcompute.cloud.listing import AT_ONCE, OTHER_KEY_SECONDS, OTHER_KEY_TIMES, AccountListing

pytestmark = pytest.mark.looptime

REVOKED = InvalidCredentials("AuthFailure.SecretIdNotFound", "no such key")
SILENT = OutcomeUnknown("NoAnswer", "no answer")


class Account:
    """An account with several keys; each shows one instance, so that the answer tells which was used."""

    def __init__(self, count: int = 2) -> None:
        self.keys = [ScriptedCloud(f"key-{number}", "1", listed=[MINE]) for number in range(count)]
        self.ring = Keyring(
            self.keys[0],
            lambda times: timedelta(seconds=60 * times),
            timedelta(hours=1),
            asyncio.get_running_loop().time,
        )
        for one in self.keys[1:]:
            self.ring.add(one)
        self.listing = AccountListing(self.ring, "cluster-a")

    def asked(self) -> list[int]:
        """How often each key was used."""
        return [len(one.times("list")) for one in self.keys]


async def test_keys_take_turns() -> None:
    account = Account()
    account.keys[1].listed = [HIS]
    assert [await account.listing.instances() for _ in range(3)] == [(MINE,), (HIS,), (MINE,)]
    assert account.asked() == [2, 1]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(REVOKED, id="refused"),
        pytest.param(SILENT, id="not-answered"),
        pytest.param(NotSent("ClientNetworkError", "no route"), id="not-sent"),
        pytest.param(Unavailable("InternalError", "later"), id="out-of-order"),
    ],
)
async def test_when_a_key_is_in_trouble_the_other_is_used_and_the_first_rests(error: CloudError) -> None:
    account = Account()
    account.keys[0].trouble = {"list": error}
    for _ in range(4):
        assert await account.listing.instances() == (MINE,)
    assert account.asked() == [1, 4]
    await asyncio.sleep(61)
    assert await account.listing.instances() == (MINE,)
    assert account.asked() == [2, 5]


async def test_any_other_error_is_the_account_and_no_matter_of_keys() -> None:
    account = Account()
    account.keys[0].trouble = {"list": Throttled("RequestLimitExceeded", "slower")}
    with pytest.raises(Throttled):
        await account.listing.instances()
    assert account.asked() == [1, 0]
    assert not account.ring.rests(account.keys[0])


async def test_a_key_that_hangs_gives_way_and_the_last_that_worked_may_take_its_time() -> None:
    account = Account()
    account.keys[1].latency = 3600.0
    assert await account.listing.instances() == (MINE,)
    began = now()
    assert await account.listing.instances() == (MINE,)
    assert now() - began == pytest.approx(OTHER_KEY_SECONDS)
    assert account.ring.rests(account.keys[1])
    account.keys[0].latency = 20.0
    assert await account.listing.instances() == (MINE,), "nobody else is there to ask"


async def test_another_key_has_three_times_what_the_last_list_took() -> None:
    account = Account()
    account.keys[0].latency = 5.0
    await account.listing.instances()
    account.keys[1].latency = OTHER_KEY_TIMES * 5.0 - 1
    assert await account.listing.instances() == (MINE,)
    assert account.asked() == [1, 1]
    account.keys[0].latency = OTHER_KEY_TIMES * account.keys[1].latency + 1
    began = now()
    await account.listing.instances()
    assert account.asked() == [2, 2]
    assert now() - began == pytest.approx(OTHER_KEY_TIMES * account.keys[1].latency + account.keys[1].latency)


@pytest.mark.parametrize("works", [2, AT_ONCE + 1, AT_ONCE + 4])
async def test_of_many_keys_without_an_answer_the_others_are_tried_side_by_side(works: int) -> None:
    account = Account(AT_ONCE + 5)
    for number, key in enumerate(account.keys):
        key.trouble = {} if number == works else {"list": SILENT}
        key.latency = 1.0
    began = now()
    assert await account.listing.instances() == (MINE,)
    assert now() - began <= 4.0
    assert account.ring.current.key == account.keys[works].key


@pytest.mark.parametrize("error", [REVOKED, SILENT])
async def test_when_no_key_works_the_last_reason_is_told(error: CloudError) -> None:
    account = Account(3)
    for key in account.keys:
        key.trouble = {"list": error}
    with pytest.raises(type(error)):
        await account.listing.instances()
    assert account.asked() == [1, 1, 1]
