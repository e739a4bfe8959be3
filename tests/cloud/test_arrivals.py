"""Young instances are looked at until they run, for all environments together, and never more often than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clock import now
from cloud.scripted import ENV, OTHER, News, ScriptedCloud, inventory_of
from plan.given import OURS, instance
from spotcompute.cloud.arrivals import FIRST_LOOK, LEFT_AFTER, LOOKS_APART
from spotcompute.cloud.errors import Throttled
from spotcompute.cloud.inventory import Inventory
from spotcompute.model.instance import InstanceState

pytestmark = pytest.mark.looptime

PENDING, RUNNING = InstanceState.PENDING, InstanceState.RUNNING


class Stage:
    """An inventory that is swept every fifteen seconds, with young instances that only look-ups show."""

    def __init__(self) -> None:
        self.cloud, self.news = ScriptedCloud(), News()
        self.inventory: Inventory = inventory_of(self.cloud, self.news)

    def launch(self, *ids: str, environment: str = ENV) -> None:
        self.show(PENDING, *ids)
        self.inventory.arrivals.expect(environment, ids)

    def show(self, state: InstanceState, *ids: str) -> None:
        others = [one for one in self.cloud.hidden if one.id not in ids]
        self.cloud.hidden = [*others, *(instance(key, state, ownership=OURS) for key in ids)]


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.inventory.observe(ENV, [], [])
    task = asyncio.create_task(stage.inventory.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_an_environment_is_woken_when_the_last_of_its_instances_runs() -> None:
    async with staged() as stage:
        stage.launch("ins-1", "ins-2")
        stage.launch("ins-3", environment=OTHER)
        await asyncio.sleep(FIRST_LOOK)
        assert stage.news == []
        stage.show(RUNNING, "ins-1")
        await asyncio.sleep(2)
        assert stage.news == []
        stage.show(RUNNING, "ins-2")
        await asyncio.sleep(2 * LOOKS_APART)
        assert stage.news == [{ENV}]


async def test_what_a_look_has_shown_is_believed_until_the_next_list_and_not_asked_for_again() -> None:
    async with staged() as stage:
        stage.launch("ins-1")
        stage.show(RUNNING, "ins-1")
        await asyncio.sleep(FIRST_LOOK + LOOKS_APART)
        asked = len(stage.cloud.asked)
        observed = await stage.inventory.observe(ENV, ["ins-1"], [])
        assert observed.instances["ins-1"].state is RUNNING
        assert len(stage.cloud.asked) == asked
        stage.cloud.lost = {"ins-1"}  # it ends before the next list
        await asyncio.sleep(20)
        assert (await stage.inventory.observe(ENV, ["ins-1"], [])).instances == {}


async def test_an_instance_that_look_ups_lack_is_no_evidence_of_anything() -> None:
    async with staged() as stage:
        stage.inventory.arrivals.expect(ENV, ["ins-1"])
        await asyncio.sleep(3)
        assert stage.news == []
        observed = await stage.inventory.observe(ENV, ["ins-1"], [])
        assert observed.absent["ins-1"].looks == 0


async def test_what_a_list_shows_to_run_is_looked_at_no_more() -> None:
    async with staged() as stage:
        stage.launch("ins-1")
        await asyncio.sleep(10)
        stage.cloud.listed = [instance("ins-1")]
        await asyncio.sleep(20 - now())
        asked = len(stage.cloud.asked)
        await asyncio.sleep(60)
        assert len(stage.cloud.asked) == asked


async def test_while_others_of_a_launch_are_awaited_lists_do_not_wake_its_environment() -> None:
    async with staged() as stage:
        await asyncio.sleep(14 - now())
        stage.launch("ins-1", "ins-2")
        stage.cloud.listed = [instance("ins-1", PENDING)]
        await asyncio.sleep(2)
        assert stage.news == [], "the list of a moment ago has shown one of two"


@pytest.mark.parametrize("reason", ["another changes, too", "all have come", "the launch was long ago"])
async def test_everything_else_in_a_list_wakes_its_environment(reason: str) -> None:
    async with staged() as stage:
        stage.cloud.listed = [instance("ins-9")]
        await asyncio.sleep(20)
        assert stage.news.pop() == {ENV}
        await asyncio.sleep((29 if reason != "the launch was long ago" else 20) - now())
        stage.launch("ins-1", "ins-2")
        await asyncio.sleep(29 - now())
        stage.cloud.listed += [instance("ins-1", PENDING)]
        if reason == "another changes, too":
            stage.cloud.listed[0] = instance("ins-9", InstanceState.TERMINATING)
        elif reason == "all have come":
            stage.cloud.listed[1:] = [instance("ins-1"), instance("ins-2")]
        await asyncio.sleep(32 - now())
        assert {ENV} in stage.news


async def test_two_thousand_are_looked_at_with_eight_calls_a_second_at_most() -> None:
    async with staged() as stage:
        stage.launch(*(f"ins-{number:04}" for number in range(2000)))
        await asyncio.sleep(10)
        assert 60 <= len(stage.cloud.asked) <= 80
        assert max(len(batch) for batch in stage.cloud.asked) == 100
        assert {key for batch in stage.cloud.asked for key in batch} == {f"ins-{number:04}" for number in range(2000)}


async def test_what_takes_long_is_looked_at_more_rarely_and_then_left_to_the_lists() -> None:
    async with staged() as stage:
        stage.launch("ins-1")
        await asyncio.sleep(FIRST_LOOK - LOOKS_APART)
        assert stage.cloud.asked == []
        await asyncio.sleep(30)
        early = len(stage.cloud.asked)
        await asyncio.sleep(30)
        late = len(stage.cloud.asked) - early
        assert early > 40
        assert late < 20
        await asyncio.sleep(LEFT_AFTER)
        asked = len(stage.cloud.asked)
        await asyncio.sleep(LEFT_AFTER)
        assert len(stage.cloud.asked) == asked


async def test_a_refused_look_is_followed_by_another() -> None:
    async with staged() as stage:
        stage.cloud.trouble["get"] = Throttled("RequestLimitExceeded", "slow down")
        stage.launch("ins-1")
        stage.show(RUNNING, "ins-1")
        await asyncio.sleep(2 * FIRST_LOOK)
        assert stage.news == []
        del stage.cloud.trouble["get"]
        await asyncio.sleep(1)
        assert stage.news == [{ENV}]


async def test_a_look_that_fails_in_another_way_ends_the_sweeps_and_so_the_process() -> None:
    async with staged() as stage:
        task = asyncio.create_task(stage.inventory.run())
        stage.cloud.trouble["get"] = ValueError("a mistake")
        stage.launch("ins-1")
        with pytest.raises(ValueError, match="a mistake"):
            await task
