"""The world in memory does what stories order from it, and its books know better than its answers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloud.buying import ENV, launch, listed, running, several
from cloud.grounds import SETTLED, MemoryGround
from cloud.world import InMemoryClouds
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import NotSent, OutcomeUnknown, Throttled, Unavailable
from spotcompute.model.instance import InstanceState


@pytest.fixture
def ground() -> MemoryGround:
    return MemoryGround()


async def test_ordered_failures_come_in_order_and_as_often_as_ordered(ground: MemoryGround) -> None:
    ground.cloud.fail_next("list_instances", Unavailable("A", "a"), times=2)
    ground.cloud.fail_next("list_instances", Throttled("B", "b"))
    for error in (Unavailable, Unavailable, Throttled):
        with pytest.raises(error):
            await listed(ground)
    assert await listed(ground) == {}


async def test_healing_forgets_what_was_ordered(ground: MemoryGround) -> None:
    ground.cloud.fail_next("list_instances", Unavailable("A", "a"), times=1000)
    ground.cloud.heal()
    assert await listed(ground) == {}


async def test_a_failure_before_the_commit_changes_nothing_and_after_it_everything(ground: MemoryGround) -> None:
    ground.cloud.fail_next("launch", NotSent("A", "a"))
    with pytest.raises(NotSent):
        await launch(ground)
    assert ground.peak(ENV) == 0
    ground.cloud.fail_next("launch", OutcomeUnknown("B", "b"), after_commit=True)
    with pytest.raises(OutcomeUnknown):
        await launch(ground)
    assert ground.peak(ENV) == 1


async def test_a_failed_termination_after_the_commit_has_terminated(ground: MemoryGround) -> None:
    ids = await running(ground, 2)
    ground.cloud.fail_next("terminate", OutcomeUnknown("B", "b"), after_commit=True)
    with pytest.raises(OutcomeUnknown):
        await ground.provider.terminate(ids, ENV)
    assert ground.live(ENV) == set()


async def test_lists_that_lag_show_old_states_and_the_dead(ground: MemoryGround) -> None:
    (instance_id,) = await running(ground)
    ground.wait(60)
    ground.set_lags(lists=30)
    ground.reclaim(instance_id)
    assert (await listed(ground))[instance_id].state is InstanceState.RUNNING
    assert await ground.provider.get_instances([instance_id], ENV) == ()
    ground.wait(31)
    assert await listed(ground) == {}


async def test_some_stay_pending_for_ever(ground: MemoryGround) -> None:
    ground.cloud.stall_next_launches(1)
    ids = await launch(ground, several(2))
    ground.wait(86400)
    instances = await listed(ground)
    assert sorted(instances[instance_id].state for instance_id in ids) == [InstanceState.PENDING, InstanceState.RUNNING]


async def test_the_peak_is_the_most_ever_alive_at_once(ground: MemoryGround) -> None:
    first = await running(ground, 3)
    await ground.provider.terminate(first, ENV)
    ground.wait(SETTLED)
    await launch(ground, several(2, 5), "token-5")
    assert (ground.peak(ENV), len(ground.live(ENV)), ground.cloud.books.launched(ENV)) == (3, 2, 5)


async def test_the_books_name_tokens_that_came_again_with_other_parameters(ground: MemoryGround) -> None:
    await launch(ground, several(2))
    assert ground.cloud.books.reused_tokens == []
    with pytest.raises(Exception, match="other parameters"):
        await launch(ground, several(3))
    assert ground.cloud.books.reused_tokens == ["token-1"]


async def test_a_token_that_has_expired_buys_again(ground: MemoryGround) -> None:
    ground.cloud.token_life = timedelta(minutes=10)
    first = await launch(ground)
    ground.wait(601)
    assert await launch(ground) != first
    assert ground.peak(ENV) == 2


async def test_every_call_is_in_the_books_with_its_code(ground: MemoryGround) -> None:
    ground.cloud.fail_next("launch", Throttled("RequestLimitExceeded", "x"))
    with pytest.raises(Throttled):
        await launch(ground)
    await launch(ground)
    await listed(ground)
    assert [(call.method, call.error) for call in ground.cloud.books.calls] == [
        ("launch", "RequestLimitExceeded"),
        ("launch", None),
        ("list_instances", None),
    ]
    assert [call.token for call in ground.cloud.books.mutations()] == ["token-1", "token-1"]


async def test_stock_returns_with_what_is_released_and_goes_with_what_is_reclaimed(ground: MemoryGround) -> None:
    pool = next(iter(ground.cloud.shelves))
    released, reclaimed = await running(ground, 2)
    left = ground.cloud.shelves[pool].stock
    assert left is not None
    ground.reclaim(reclaimed)
    await ground.provider.terminate([released], ENV)
    assert ground.cloud.shelves[pool].stock == left + 1


async def test_a_hook_sees_both_sides_of_every_call_and_may_lose_the_answer() -> None:
    seen: list[tuple[str, str]] = []

    async def hook(method: str, moment: str) -> None:
        seen.append((method, moment))
        if (method, moment) == ("launch", "after"):
            raise OutcomeUnknown("lost", "lost")

    ground = MemoryGround()
    clouds = InMemoryClouds(ground.now, hook)
    cloud = clouds(Credentials("id-1", "key-1"), "ap-guangzhou")
    cloud.sell("ap-guangzhou-3", "S2.MEDIUM4", "0.02")
    ground.provider = cloud
    with pytest.raises(OutcomeUnknown):
        await launch(ground)
    assert seen == [("launch", "before"), ("launch", "after")]
    assert cloud.books.peak[ENV] == 1


def test_accounts_and_regions_are_worlds_apart_and_a_rotated_key_finds_its_own() -> None:
    clouds = InMemoryClouds(MemoryGround().now)
    one = clouds(Credentials("id-1", "key-1"), "ap-guangzhou")
    assert clouds(Credentials("id-1", "another-key"), "ap-guangzhou") is one
    assert clouds(Credentials("id-1", "key-1"), "ap-singapore") is not one
    assert clouds(Credentials("id-2", "key-1"), "ap-guangzhou") is not one


async def test_the_same_story_twice_is_the_same_world() -> None:
    async def story() -> object:
        ground = MemoryGround()
        ids = await running(ground, 5)
        ground.reclaim(ids[0])
        await ground.provider.terminate(ids[1:3], ENV)
        ground.wait(SETTLED)
        return ground.cloud.books

    assert repr(await story()) == repr(await story())
