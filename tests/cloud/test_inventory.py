"""One sweep for all: shared, fresh or refused, with evidence counted id by id. In virtual time."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from clock import clock, now
from cloud.scripted import ENV, HIS, MINE, OTHER, PACE, News, ScriptedCloud, inventory_of
from plan.given import instance, seconds
from spotcompute.cloud.errors import InvalidCredentials, OutcomeUnknown, Throttled
from spotcompute.cloud.for_all import begun_for_all
from spotcompute.cloud.inventory import Inventory
from spotcompute.cloud.pace import IDLE
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.observation import Absence

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def running(inventory: Inventory) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(inventory.run())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


# --- one sweep for all -----------------------------------------------------------------------------------------------


async def test_each_environment_gets_its_own_slice_of_one_sweep() -> None:
    cloud = ScriptedCloud(listed=[MINE, HIS, instance("ins-3", ownership=None)])
    inventory = inventory_of(cloud)
    mine, his = await inventory.observe(ENV, [], []), await inventory.observe(OTHER, [], [])
    assert dict(mine.instances) == {"ins-1": MINE}
    assert dict(his.instances) == {"ins-2": HIS}
    assert cloud.times("list") == [0]


async def test_a_hundred_who_ask_at_once_share_one_sweep() -> None:
    cloud = ScriptedCloud(listed=[MINE], latency=2)
    inventory = inventory_of(cloud)
    observed = await asyncio.gather(*(inventory.observe(ENV, [], []) for _ in range(100)))
    assert cloud.times("list") == [0]
    assert all(item.instances == {"ins-1": MINE} for item in observed)


async def test_who_gives_up_waiting_does_not_take_the_sweep_from_the_others() -> None:
    cloud = ScriptedCloud(listed=[MINE], latency=2)
    inventory = inventory_of(cloud)
    patient, impatient = (asyncio.create_task(inventory.observe(ENV, [], [])) for _ in range(2))
    await asyncio.sleep(1)
    impatient.cancel()
    assert set((await patient).instances) == {"ins-1"}
    assert cloud.times("list") == [0]


@pytest.mark.parametrize("call", ["list", "get"])
async def test_a_refused_key_leaves_no_error_that_nobody_hears_of(call: str) -> None:
    """All who wait give up before the answer comes. Python tells of such an error when its task is thrown away."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    cloud = ScriptedCloud(listed=[MINE], latency=2, trouble={call: InvalidCredentials("AuthFailure", "no such key")})
    inventory = inventory_of(cloud)
    waiting = [asyncio.create_task(inventory.observe(ENV, ["ins-9"], [])) for _ in range(3)]
    await asyncio.sleep(3 if call == "get" else 1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(10)
    assert cloud.times(call)
    del waiting, task
    cloud.trouble.clear()
    cloud.latency = 0
    await asyncio.sleep(300)
    await inventory.observe(ENV, ["ins-9"], [])  # the next question takes the place of the one that failed
    gc.collect()
    assert told == []


async def test_an_error_of_ours_is_told_when_nobody_waits_for_it() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    async def fail() -> None:
        raise ZeroDivisionError

    begun_for_all(fail())
    await asyncio.sleep(1)
    assert [type(one["exception"]) for one in told] == [ZeroDivisionError]


async def test_a_sweep_is_believed_for_two_rounds_and_not_longer() -> None:
    cloud = ScriptedCloud(listed=[MINE])
    inventory = inventory_of(cloud)
    for wait in (0, 30, 1):
        await asyncio.sleep(wait)
        await inventory.observe(ENV, [], [])
    assert cloud.times("list") == [0, 31]


async def test_an_observation_is_as_old_as_the_start_of_its_sweep() -> None:
    inventory = inventory_of(ScriptedCloud(listed=[MINE], latency=3))
    before = clock()
    observed = await inventory.observe(ENV, ["ins-9"], [])
    assert observed.observed_at == before
    assert clock() > before


# --- complete, or it raises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["list", "get", "find"])
async def test_an_observation_is_complete_or_there_is_none(call: str) -> None:
    cloud = ScriptedCloud(listed=[MINE], trouble={call: OutcomeUnknown("Timeout", "no answer")})
    with pytest.raises(OutcomeUnknown):
        await inventory_of(cloud).observe(ENV, ["ins-9"], ["web-web001-7"])


async def test_ids_that_the_sweep_lacks_are_looked_up_a_hundred_at_a_time_with_a_witness() -> None:
    cloud = ScriptedCloud(listed=[MINE])
    wanted = [f"ins-{n:04}" for n in range(250)]
    observed = await inventory_of(cloud).observe(ENV, ["ins-1", *wanted], [])
    assert [len(batch) for batch in cloud.asked] == [100, 100, 53]
    assert all("ins-1" in batch for batch in cloud.asked)
    assert set(observed.absent) == set(wanted)


async def test_environments_that_ask_at_once_with_one_key_share_a_look_up() -> None:
    cloud = ScriptedCloud(listed=[MINE, HIS], hidden=[instance("ins-7")])
    inventory = inventory_of(cloud)
    await inventory.observe(ENV, [], [])
    mine, his = await asyncio.gather(inventory.observe(ENV, ["ins-7"], []), inventory.observe(OTHER, ["ins-8"], []))
    assert len(cloud.asked) == 1
    assert (set(mine.instances), set(mine.absent)) == ({"ins-1", "ins-7"}, set())
    assert (set(his.instances), set(his.absent)) == ({"ins-2"}, {"ins-8"})


async def test_an_instance_not_listed_yet_is_found_by_id_and_by_name() -> None:
    by_id, by_name = instance("ins-7", ownership=None), instance("ins-8", name="web-web001-700", ownership=None)
    cloud = ScriptedCloud(listed=[MINE], hidden=[by_id, by_name])
    observed = await inventory_of(cloud).observe(ENV, ["ins-1", "ins-7"], ["web-web001-700"])
    assert set(observed.instances) == {"ins-1", "ins-7", "ins-8"}
    assert observed.searched == {"web-web001-700"}
    assert observed.absent == {}


async def test_what_an_old_sweep_showed_in_pending_is_looked_up() -> None:
    """In a large account sweeps are so rare that a fill would be known to be complete long after it is."""
    pending = replace(MINE, state=InstanceState.PENDING)
    cloud = ScriptedCloud(listed=[pending])
    inventory = inventory_of(cloud)
    first = await inventory.observe(ENV, ["ins-1"], [])
    assert cloud.asked == []
    cloud.listed = [MINE]
    await asyncio.sleep(PACE.sweep.total_seconds() + 1)
    second = await inventory.observe(ENV, ["ins-1"], [])
    assert cloud.times("list") == [0]
    assert (first.instances, second.instances) == ({"ins-1": pending}, {"ins-1": MINE})
    assert second.absent == {}


# --- failures --------------------------------------------------------------------------------------------------------


async def test_after_a_failure_nobody_calls_before_the_wait_is_over_and_all_hear_the_same() -> None:
    cloud = ScriptedCloud(trouble={"list": Throttled("RequestLimitExceeded", "slow down")})
    inventory = inventory_of(cloud)
    for _ in range(50):
        with pytest.raises(Throttled):
            await inventory.observe(ENV, [], [])
    assert cloud.times("list") == [0]


async def test_waits_after_failures_double_up_to_the_limit() -> None:
    cloud = ScriptedCloud(trouble={"list": Throttled("RequestLimitExceeded", "slow down")})
    inventory = inventory_of(cloud)
    for _ in range(250):
        with pytest.raises(Throttled):
            await inventory.observe(ENV, [], [])
        await asyncio.sleep(1)
    assert cloud.times("list") == [0, 5, 15, 35, 75, 135, 195]


async def test_while_nothing_can_be_seen_it_tells_when_it_looks_again() -> None:
    cloud = ScriptedCloud(trouble={"list": Throttled("RequestLimitExceeded", "slow down")})
    inventory = inventory_of(cloud)
    assert inventory.next_view_in == seconds(0)
    told = []
    for _ in range(4):
        with pytest.raises(Throttled):
            await inventory.observe(ENV, [], [])
        told.append(inventory.next_view_in)
        await asyncio.sleep(inventory.next_view_in.total_seconds())
    assert told == [seconds(5), seconds(10), seconds(20), seconds(40)]
    cloud.trouble.clear()
    await inventory.observe(ENV, [], [])
    assert inventory.next_view_in == seconds(0)


async def test_a_clock_that_was_set_back_makes_nobody_wait_and_nothing_fresh() -> None:
    ahead = seconds(3600)
    cloud = ScriptedCloud(listed=[MINE])
    inventory = Inventory(cloud, "cluster-a", lambda: clock() + ahead, PACE, News())
    await inventory.observe(ENV, [], [])
    ahead = seconds(0)
    await inventory.observe(ENV, [], [])
    assert cloud.times("list") == [0, 0]
    assert cloud.times("market") == [0, 0]
    ahead = seconds(3600)
    cloud.trouble["list"] = Throttled("RequestLimitExceeded", "slow down")
    with pytest.raises(Throttled):
        await inventory.observe(ENV, [], [])
    ahead = seconds(0)
    assert inventory.next_view_in == seconds(0)


async def test_a_sweep_that_is_still_fresh_serves_through_an_outage_and_then_no_longer() -> None:
    cloud = ScriptedCloud(listed=[MINE])
    inventory = inventory_of(cloud)
    await inventory.observe(ENV, [], [])
    cloud.trouble["list"] = OutcomeUnknown("Timeout", "no answer")
    await asyncio.sleep(30)
    assert set((await inventory.observe(ENV, [], [])).instances) == {"ins-1"}
    await asyncio.sleep(1)
    with pytest.raises(OutcomeUnknown):
        await inventory.observe(ENV, [], [])


async def test_after_the_outage_everything_is_as_before() -> None:
    cloud = ScriptedCloud(listed=[MINE], trouble={"list": Throttled("RequestLimitExceeded", "slow down")})
    inventory = inventory_of(cloud)
    with pytest.raises(Throttled):
        await inventory.observe(ENV, [], [])
    cloud.trouble.clear()
    await asyncio.sleep(5)
    assert set((await inventory.observe(ENV, [], [])).instances) == {"ins-1"}


async def test_a_failed_look_up_is_not_taken_for_a_failed_sweep() -> None:
    cloud = ScriptedCloud(listed=[MINE], trouble={"get": Throttled("RequestLimitExceeded", "slow down")})
    inventory = inventory_of(cloud)
    with pytest.raises(Throttled):
        await inventory.observe(ENV, ["ins-9"], [])
    assert set((await inventory.observe(ENV, [], [])).instances) == {"ins-1"}


# --- absence ---------------------------------------------------------------------------------------------------------


async def absences(inventory: Inventory, rounds: int, pause: float = 31) -> list[Absence | None]:
    """What is known of ins-9 at each of several sweeps."""
    known = []
    for _ in range(rounds):
        known.append((await inventory.observe(ENV, ["ins-9"], [])).absent.get("ins-9"))
        await asyncio.sleep(pause)
    return known


def missed(sweeps: int) -> Absence:
    """What is known of an id that lists have shown before."""
    return Absence(sweeps, looked_up=True, was_listed=True)


async def once_listed(cloud: ScriptedCloud) -> Inventory:
    """An inventory that has seen ins-9 in its latest sweep, and never will again."""
    others, cloud.listed = cloud.listed, [*cloud.listed, instance("ins-9")]
    inventory = inventory_of(cloud)
    await inventory.observe(ENV, [], [])
    cloud.listed = others
    await asyncio.sleep(31)
    return inventory


async def test_absence_is_counted_sweep_by_sweep() -> None:
    assert await absences(await once_listed(ScriptedCloud()), 3) == [missed(number) for number in (1, 2, 3)]


async def test_what_lists_never_showed_is_counted_and_said_to_be_so() -> None:
    known = await absences(inventory_of(ScriptedCloud()), 3)
    assert known == [Absence(number, True, was_listed=False) for number in (1, 2, 3)]


async def test_asking_often_is_no_evidence() -> None:
    assert await absences(await once_listed(ScriptedCloud()), 20, pause=0.1) == [missed(1)] * 20


async def test_what_vanishes_is_looked_up_at_once_with_witnesses_and_its_environment_is_told() -> None:
    others = [instance(f"ins-{number}") for number in range(5)]
    cloud, news = ScriptedCloud(listed=[*others, instance("ins-9")]), News()
    async with running(inventory := inventory_of(cloud, news)):
        await asyncio.sleep(16)
        cloud.listed = others
        await asyncio.sleep(15)
        assert [set(batch) - {"ins-9"} for batch in cloud.asked] == [{f"ins-{number}" for number in range(4)}] * 3
        assert cloud.times("get") == pytest.approx([30, 30.35, 30.7], abs=0.02)
        assert news == [{ENV}, {ENV}]
        known = (await inventory.observe(ENV, ["ins-9"], [])).absent["ins-9"]
        assert (known.looks, known.sweeps, known.was_listed) == (4, 1, True)


@pytest.mark.parametrize(("witnesses", "looks"), [(2, 3), (1, 1), (0, 0)])
async def test_a_look_up_is_worth_what_its_witnesses_are(witnesses: int, looks: int) -> None:
    others = [instance(f"ins-{number}") for number in range(witnesses)]
    cloud = ScriptedCloud(listed=[*others, instance("ins-9")])
    async with running(inventory := inventory_of(cloud)):
        await asyncio.sleep(16)
        cloud.listed = others
        await asyncio.sleep(14.8)
        assert (await inventory.observe(ENV, ["ins-9"], [])).absent["ins-9"].looks == looks


async def test_a_look_up_without_its_witnesses_proves_nothing_and_its_sweep_counts_half() -> None:
    others = [instance(f"ins-{number}") for number in range(5)]
    cloud = ScriptedCloud(listed=[*others, instance("ins-9")], lost={"ins-3", "ins-9"})
    inventory = inventory_of(cloud)
    async with running(inventory):
        await asyncio.sleep(16)
        cloud.listed = others
        await asyncio.sleep(15)
        known = await absences(inventory, 4, pause=5)
    assert [(one.looks, one.sweeps) for one in known if one] == [(0, 0), (0, 1), (0, 1), (0, 2)]


async def test_what_was_shown_to_end_is_not_looked_up_when_it_vanishes() -> None:
    ending = instance("ins-9", InstanceState.TERMINATING)
    cloud = ScriptedCloud(listed=[MINE, ending])
    async with running(inventory_of(cloud)):
        await asyncio.sleep(16)
        cloud.listed = [MINE]
        await asyncio.sleep(15)
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("shown", "until"),
    [
        pytest.param(InstanceState.TERMINATING, 180, id="ended"),
        pytest.param(InstanceState.LAUNCH_FAILED, 180, id="never-began"),
        pytest.param(InstanceState.SHUTDOWN, 0, id="in-the-recycle-bin-from-which-it-may-come-back"),
        pytest.param(InstanceState.STOPPED, 0, id="stopped"),
    ],
)
async def test_an_end_that_was_shown_is_believed_while_lists_may_be_older(shown: InstanceState, until: int) -> None:
    """A list lacks the instance for a moment, a look-up shows its end, and then the list shows it as it was before."""
    before = instance("ins-9")
    cloud = ScriptedCloud(listed=[MINE, before])
    inventory = inventory_of(cloud)
    async with running(inventory):
        await asyncio.sleep(16)
        cloud.listed, cloud.hidden = [MINE], [instance("ins-9", shown)]
        await asyncio.sleep(15)
        assert (await inventory.observe(ENV, ["ins-9"], [])).instances["ins-9"].state is shown
        cloud.listed, cloud.hidden, since = [MINE, before], [], now()
        await asyncio.sleep(31)  # its news has been listed by now
        seen = []
        for _ in range(40):
            state = (await inventory.observe(ENV, ["ins-9"], [])).instances["ins-9"].state
            seen.append((now() - since, state))
            await asyncio.sleep(5)
    assert all((state is shown) == (after <= until) for after, state in seen), seen


async def test_what_lists_lack_and_look_ups_show_is_told_with_its_tags_and_not_without() -> None:
    cloud = ScriptedCloud(listed=[MINE, instance("ins-9")])
    inventory = inventory_of(cloud)
    async with running(inventory):
        await asyncio.sleep(16)
        cloud.listed, cloud.hidden = [MINE], [instance("ins-9")]
        await asyncio.sleep(15)
        assert set((await inventory.observe(ENV, ["ins-9"], [])).unlisted) == {"ins-9"}
        cloud.hidden = [instance("ins-9", ownership=None)]
        assert (await inventory.observe(ENV, ["ins-9"], [])).unlisted == {}


async def test_a_sighting_in_a_sweep_starts_the_count_again() -> None:
    cloud = ScriptedCloud()
    inventory = await once_listed(cloud)
    await absences(inventory, 2)
    cloud.listed = [instance("ins-9")]
    assert await absences(inventory, 1) == [None]
    cloud.listed = []
    assert await absences(inventory, 2) == [missed(1), missed(2)]


async def test_a_sighting_by_look_up_starts_the_count_again() -> None:
    cloud = ScriptedCloud()
    inventory = await once_listed(cloud)
    await absences(inventory, 2)
    cloud.hidden = [instance("ins-9", ownership=None)]
    assert await absences(inventory, 1) == [None]
    cloud.hidden = []
    assert await absences(inventory, 2) == [Absence(1, True), Absence(2, True)]


async def test_sweeps_in_which_nobody_asked_are_no_evidence() -> None:
    inventory = await once_listed(ScriptedCloud())
    async with running(inventory):
        await absences(inventory, 1, pause=100)
        assert await absences(inventory, 1) == [missed(2)]


async def test_a_sighting_between_two_questions_counts() -> None:
    cloud = ScriptedCloud()
    inventory = inventory_of(cloud)
    async with running(inventory):
        await absences(inventory, 1, pause=0)
        cloud.listed = [instance("ins-9")]
        await asyncio.sleep(20)
        cloud.listed = []
        await asyncio.sleep(16)
        (known,) = await absences(inventory, 1)
    assert known is not None
    assert known.sweeps < 3


async def test_a_restart_forgets_the_count_which_only_takes_longer() -> None:
    cloud = ScriptedCloud()
    await absences(await once_listed(cloud), 3)
    assert await absences(inventory_of(cloud), 1) == [Absence(1, True)]


async def test_the_count_of_one_environment_does_not_disturb_another() -> None:
    inventory = await once_listed(ScriptedCloud(listed=[HIS]))
    await absences(inventory, 2)
    assert (await inventory.observe(OTHER, ["ins-2"], [])).absent == {}
    assert await absences(inventory, 1) == [missed(3)]


# --- news and pace ---------------------------------------------------------------------------------------------------


async def test_sweeps_go_on_by_themselves_at_their_pace() -> None:
    cloud = ScriptedCloud(listed=[MINE])
    async with running(inventory_of(cloud)):
        await asyncio.sleep(61)
    assert cloud.times("list") == [15, 30, 45, 60]


async def test_news_go_to_those_whose_slice_has_changed() -> None:
    cloud, news = ScriptedCloud(listed=[MINE, HIS]), News()
    async with running(inventory_of(cloud, news)):
        await asyncio.sleep(31)
        assert news == [], "the first sweep and an equal one are no news"
        cloud.listed = [replace(MINE, state=InstanceState.TERMINATING), HIS]
        await asyncio.sleep(15)
        cloud.listed = [HIS, cloud.listed[0]]
        await asyncio.sleep(15)
        assert news == [{ENV}], "another order is no news"
        cloud.listed = []
        await asyncio.sleep(15)
    assert news == [{ENV}, {ENV, OTHER}, {OTHER}], "whose instance has vanished is told again after the look-ups"


async def test_while_something_is_missing_sweeps_hurry_and_then_slow_down_again() -> None:
    cloud = ScriptedCloud()
    inventory = inventory_of(cloud)
    async with running(inventory):
        for _ in range(4):
            await inventory.observe(ENV, ["ins-9"], [])
            await asyncio.sleep(5)
        hurried = cloud.times("list")
        await asyncio.sleep(60)
    assert [late - early for early, late in itertools.pairwise(hurried)] == [5] * (len(hurried) - 1)
    assert len(hurried) >= 4
    slow = [at for at in cloud.times("list") if at > hurried[-1]]
    assert [late - early for early, late in itertools.pairwise(slow)] == [15] * (len(slow) - 1)


async def test_a_storm_of_missing_instances_does_not_sweep_faster_than_the_hurried_pace() -> None:
    cloud = ScriptedCloud()
    inventory = inventory_of(cloud)
    async with running(inventory):
        for number in range(600):
            await inventory.observe(ENV, [f"ins-{number}"], [])
            await asyncio.sleep(0.1)
        assert len(cloud.times("list")) <= now() / 5 + 1


async def test_a_sweep_that_is_cancelled_ends_at_once_whatever_it_is_doing() -> None:
    """Otherwise the process would not end. A cancellation at the moment when a hurried pause ends was lost once."""
    inventory = inventory_of(ScriptedCloud())
    async with running(inventory):
        await inventory.observe(ENV, ["ins-9"], [])
        await asyncio.sleep(5)
        cancelled_at = clock()
    assert clock() == cancelled_at


async def test_a_failing_sweep_is_repeated_with_patience_until_it_works() -> None:
    cloud = ScriptedCloud(trouble={"list": Throttled("RequestLimitExceeded", "slow down")})
    async with running(inventory_of(cloud)):
        await asyncio.sleep(100)
        cloud.trouble.clear()
        await asyncio.sleep(100)
    gaps = [late - early for early, late in zip(cloud.times("list"), cloud.times("list")[1:], strict=False)]
    assert gaps == [5, 10, 20, 40, 60, 37.5], "after refusals for the rate sweeps are rarer for a while"


async def test_refusals_for_the_rate_slow_sweeps_down_and_they_recover() -> None:
    cloud = ScriptedCloud(trouble={"list": Throttled("RequestLimitExceeded", "slow down")})
    async with running(inventory_of(cloud)):
        await asyncio.sleep(29)
        cloud.trouble.clear()
        await asyncio.sleep(300)
    gaps = [late - early for early, late in itertools.pairwise(cloud.times("list"))]
    assert gaps[:2] == [5, 10]
    assert gaps[2] > 2 * PACE.sweep.total_seconds()
    assert sorted(gaps[2:], reverse=True) == gaps[2:]
    assert gaps[-1] == PACE.sweep.total_seconds()


@pytest.mark.parametrize(("instances", "gap"), [(10, 2), (1_500, 2), (10_000, 13), (100_000, 60)])
async def test_sweeps_are_as_fast_as_a_fifth_of_the_rate_allows(instances: int, gap: float) -> None:
    cloud = ScriptedCloud(listed=[instance(f"ins-{number}") for number in range(instances)])
    inventory = Inventory(cloud, "cluster-a", clock, replace(PACE, sweep=seconds(2)), News())
    await inventory.observe(ENV, [], [])
    async with running(inventory):
        await asyncio.sleep(130)
    gaps = [late - early for early, late in itertools.pairwise(cloud.times("list"))]
    assert gaps == pytest.approx([gap] * len(gaps), abs=0.2)
    assert len(gaps) >= 2


async def test_something_missing_does_not_make_a_big_account_be_swept_faster_than_its_share() -> None:
    cloud = ScriptedCloud(listed=[instance(f"ins-{number}") for number in range(10_000)])
    inventory = Inventory(cloud, "cluster-a", clock, replace(PACE, sweep=seconds(2)), News())
    await inventory.observe(ENV, [], [])
    async with running(inventory):
        for _ in range(60):
            await inventory.observe(ENV, ["ins-x"], [])
            await asyncio.sleep(1)
    assert min(late - early for early, late in itertools.pairwise(cloud.times("list"))) > 13


async def test_a_sweep_that_takes_long_is_followed_by_a_pause() -> None:
    cloud = ScriptedCloud(listed=[MINE], latency=20)
    async with running(inventory_of(cloud)):
        await asyncio.sleep(200)
    gaps = [late - early for early, late in itertools.pairwise(cloud.times("list"))]
    assert gaps == [23.75] * len(gaps)


async def test_an_account_nobody_asks_about_is_left_alone() -> None:
    cloud = ScriptedCloud()
    async with running(inventory_of(cloud)) as task:
        await asyncio.sleep(IDLE.total_seconds() + 16)
        assert task.done()
    assert len(cloud.times("list")) <= IDLE / PACE.sweep


async def test_an_account_whose_environments_run_rarely_is_swept_all_the_time() -> None:
    cloud = ScriptedCloud()
    inventory = Inventory(cloud, "cluster-1", clock, replace(PACE, idle=timedelta(hours=8)), lambda _: None)
    async with running(inventory) as task:
        await asyncio.sleep(timedelta(hours=4).total_seconds())
        assert not task.done()
    assert len(cloud.times("list")) >= timedelta(hours=4) / PACE.sweep - 1


@pytest.mark.parametrize(
    ("listed", "is_bound"),
    [
        pytest.param(MINE, True, id="one-of-ours-that-lives"),
        pytest.param(replace(MINE, state=InstanceState.SHUTDOWN), False, id="one-that-has-ended"),
        pytest.param(replace(MINE, name="somebody-elses"), False, id="our-tags-under-another-name"),
        pytest.param(replace(MINE, ownership=None), False, id="our-name-without-tags"),
    ],
)
async def test_an_environment_is_bound_by_live_instances_with_tags_and_name(listed: Instance, is_bound: bool) -> None:
    inventory = inventory_of(ScriptedCloud(listed=[listed]))
    prefix = ENV.rpartition("-")[0]
    assert await inventory.environments_bound_to(prefix) == ((ENV,) if is_bound else ())
