"""Rates hold, environments are served in turn, and a cancelled wait costs nobody anything: in virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from clock import now
from spotcompute.cloud.pacer import FLOOR, RECOVERY_SECONDS, Pacer, Rate
from spotcompute.cloud.tencent.provider import RATES

pytestmark = pytest.mark.looptime

ACTION = "RunInstances"


class Log:
    """Calls let through: who and when."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.turns: list[tuple[str, float]] = []

    async def call(self, environment: str) -> None:
        await self.pacer.turn(ACTION, environment)
        self.turns.append((environment, now()))

    def storm(self, environment: str, calls: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.call(environment)) for _ in range(calls)]

    @property
    def order(self) -> list[str]:
        return [environment for environment, _ in self.turns]


async def test_no_second_of_a_storm_sees_more_than_rate_and_burst() -> None:
    log = Log(Pacer({ACTION: Rate.even(9.0)}))
    await asyncio.gather(*log.storm("a", 100))
    times = [at for _, at in log.turns]
    for start in times:
        assert sum(start <= at < start + 1 for at in times) <= 10
    assert times[-1] == pytest.approx(99 / 9, rel=0.01)


async def test_a_quiet_hour_saves_up_no_salvo() -> None:
    log = Log(Pacer({ACTION: Rate.even(40.0)}))
    await log.call("a")
    await asyncio.sleep(3600)
    at = now()
    await asyncio.gather(*log.storm("a", 20))
    assert sum(when == at for _, when in log.turns) <= 4


async def test_all_calls_of_a_window_come_at_once_and_none_within_the_rest_of_it() -> None:
    log = Log(Pacer({ACTION: Rate(10, 1.05)}))
    await asyncio.gather(*log.storm("a", 25))
    times = [at for _, at in log.turns]
    assert [round(at, 3) for at in times] == [0.0] * 10 + [1.05] * 10 + [2.1] * 5


@pytest.mark.parametrize("seed", range(5))
async def test_no_window_ever_holds_more_calls_whenever_they_are_asked_for(seed: int) -> None:
    dice, log = random.Random(seed), Log(Pacer({ACTION: Rate(10, 1.05)}))
    calls = []
    for _ in range(200):
        calls += log.storm(dice.choice("abc"), 1)
        await asyncio.sleep(dice.choice([0.0, 0.0, 0.01, 0.05, 0.3]))
        if dice.random() < 0.1:
            calls.pop(dice.randrange(len(calls))).cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    times = [at for _, at in log.turns]
    assert all(sum(start <= at < start + 1.05 for at in times) <= 10 for start in times)


async def test_after_a_throttle_fewer_come_at_once_and_first_none_for_a_window() -> None:
    log = Log(Pacer({ACTION: Rate(10, 1.0)}))
    log.pacer.slow_down(ACTION)
    await asyncio.gather(*log.storm("a", 5))
    assert {round(at, 3) for _, at in log.turns} == {1.0}
    await log.call("a")
    assert now() == pytest.approx(1.9, abs=0.1)


async def test_the_first_call_does_not_wait() -> None:
    log = Log(Pacer({ACTION: Rate.even(0.5)}))
    await log.call("a")
    assert log.turns == [("a", now())]


async def test_a_storm_of_one_environment_does_not_starve_another() -> None:
    log = Log(Pacer({ACTION: Rate.even(10.0)}))
    storm = log.storm("storm", 500)
    await asyncio.sleep(1.05)
    await log.call("quiet")
    assert now() < 1.5, "one more turn of the storm at most goes before the newcomer"
    for task in storm:
        task.cancel()


async def test_waiting_environments_are_served_round_robin() -> None:
    log = Log(Pacer({ACTION: Rate.even(10.0)}))
    await asyncio.gather(*log.storm("a", 6), *log.storm("b", 6), *log.storm("c", 3))
    assert log.order[0] == "a", "nobody else was waiting yet"
    assert log.order[1:] == ["a", "b", "c"] * 3 + ["a", "b"] * 2 + ["b"]


async def test_calls_of_one_environment_keep_their_order() -> None:
    pacer, order = Pacer({ACTION: Rate.even(10.0)}), []

    async def call(number: int) -> None:
        await pacer.turn(ACTION, "a")
        order.append(number)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert order == list(range(20))


async def test_actions_do_not_wait_for_each_other() -> None:
    pacer = Pacer({ACTION: Rate.even(1.0), "DescribeInstances": Rate.even(1.0)})
    await pacer.turn(ACTION, "a")
    await pacer.turn("DescribeInstances", "a")
    assert now() == 0


async def test_an_action_without_a_rate_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        await Pacer({ACTION: Rate.even(1.0)}).turn("DescribeEverything", "a")


async def test_a_cancelled_wait_takes_no_turn_from_the_others() -> None:
    log = Log(Pacer({ACTION: Rate.even(1.0)}))
    await log.call("a")
    cancelled, patient = log.storm("b", 5), log.storm("c", 1)
    await asyncio.sleep(0.5)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, *patient, return_exceptions=True)
    assert log.order == ["a", "c"]
    assert now() == pytest.approx(1.0, abs=0.01)


async def test_a_turn_given_to_a_wait_that_is_cancelled_at_that_moment_is_handed_on() -> None:
    log = Log(Pacer({ACTION: Rate.even(1.0)}))
    await log.call("first")
    doomed, patient = log.storm("a", 1)[0], log.storm("b", 1)[0]
    await asyncio.sleep(0)
    # The same instant as the pacer's own timer and right behind it: "a" has been given the turn and has not run since.
    asyncio.get_running_loop().call_later(1.0 + 1e-6, doomed.cancel)
    await asyncio.gather(doomed, patient, return_exceptions=True)
    assert doomed.cancelled()
    assert log.order == ["first", "b"]
    assert log.turns[1][1] == pytest.approx(1.0, abs=0.01)


async def test_a_throttle_halves_the_rate_and_time_brings_it_back() -> None:
    pacer = Pacer({ACTION: Rate.even(10.0)})
    await pacer.turn(ACTION, "a")
    pacer.slow_down(ACTION)
    assert pacer.rate(ACTION) == 5.0
    await asyncio.sleep(RECOVERY_SECONDS / 4)
    assert pacer.rate(ACTION) == pytest.approx(7.5)
    await asyncio.sleep(RECOVERY_SECONDS)
    assert pacer.rate(ACTION) == 10.0


async def test_throttles_of_one_moment_slow_down_once() -> None:
    pacer = Pacer({ACTION: Rate.even(10.0)})
    for _ in range(8):
        pacer.slow_down(ACTION)
    assert pacer.rate(ACTION) == 5.0


async def test_however_often_it_is_throttled_it_goes_on() -> None:
    log = Log(Pacer({ACTION: Rate.even(16.0)}))
    for _ in range(50):
        log.pacer.slow_down(ACTION)
        await asyncio.sleep(1)
    assert log.pacer.rate(ACTION) >= 16.0 * FLOOR
    await log.call("a")
    assert len(log.turns) == 1


async def test_those_who_wait_while_it_slows_down_are_served_at_the_slower_rate() -> None:
    log = Log(Pacer({ACTION: Rate.even(1.0)}))
    await log.call("a")
    waiting = asyncio.create_task(log.call("b"))
    await asyncio.sleep(0.5)
    log.pacer.slow_down(ACTION)
    await waiting
    assert 2.0 < now() <= 2.6, "an empty bucket at half the rate"


@pytest.mark.parametrize("action", sorted(set(RATES) - {"RunInstances"}))
def test_a_tenth_of_what_the_cloud_allows_is_left_to_others(action: str) -> None:
    allowed = {
        "DescribeInstances": 40,
        "DescribeZoneInstanceConfigInfos": 40,
        "GetCallerIdentity": 20,
        "ModifyResourceTags": 20,
    }
    assert RATES[action].per_second == pytest.approx(0.9 * allowed.get(action, 10))


def test_launches_use_nearly_all_that_the_cloud_allows() -> None:
    assert RATES["RunInstances"].calls == 10
    assert 9.0 <= RATES["RunInstances"].per_second < 10.0
