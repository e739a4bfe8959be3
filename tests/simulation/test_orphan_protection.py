"""Instances end by themselves when nobody looks after them any more, and never while somebody does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import pytest

from simulation.faultpoint import Cell, Kind, Phase
from simulation.scenarios import NAME, Stage
from simulation.virtual import run_virtual
from simulation.world import IMAGES

AFTER = 3600
WEEK = 7 * 86_400
LATE: Cell = (Phase.NOT_COMMITTED, Kind.LATE)
TIMER_ACTIONS = ("DescribeInstancesActionTimer", "DeleteInstancesActionTimer", "ImportInstancesActionTimer")


def protected(name: str, replicas: int, after: int = AFTER, calm: int = 1, **spec: Any) -> Stage:
    """An environment whose instances end that long after the operator; everything periodic is `calm` times rarer."""
    stage = Stage(name, {}, [NAME], {})
    stage.world.calm = calm
    stage.create(replicas, **{"orphanProtection": {"afterSeconds": after}, **spec})
    stage.start()
    return stage


def counted(stage: Stage) -> Counter[str]:
    """Counts the calls from now on, by action."""
    calls, on_request = Counter[str](), stage.world.cloud.on_request

    def count(action: str, caller: str) -> None:
        calls[action] += 1
        on_request(action, caller)

    stage.world.cloud.on_request = count
    return calls


def ends(stage: Stage) -> list[float]:
    """In how many seconds each timer that is set ends its instance, in any order."""
    world = stage.world.cloud.simulator.world
    return [timer.at - world.now for timer in world.timers.all() if timer.status == "UNDO"]


def condition(stage: Stage) -> tuple[str, str, str] | None:
    found = stage.world.api.objects["default", NAME]["status"]["conditions"]
    mine = [one for one in found if one["type"] == "OrphanProtected"]
    return (mine[0]["status"], mine[0]["reason"], mine[0]["message"]) if mine else None


@pytest.mark.parametrize(("after", "calm"), [(21_600, 50), pytest.param(900, 1, marks=pytest.mark.rare)])
def test_in_a_week_no_timer_ends_anything_and_each_renewal_takes_one_call_per_hundred(after: int, calm: int) -> None:
    async def play() -> None:
        stage = protected(f"protected-week-{after}", 120, after, calm)
        calls = counted(stage)
        await stage.ready()
        born = {one.id for one in stage.living()}
        await asyncio.sleep(WEEK)
        stage.world.cloud.advance()
        assert {one.id for one in stage.living()} == born
        assert len(stage.world.cloud.simulator.world.instances) == 120
        assert min(ends(stage)) > after / 2
        assert len(ends(stage)) == 120
        periods = WEEK / (after / 3)
        for action in TIMER_ACTIONS:
            assert periods * 2 * 0.9 < calls[action] <= 2 * periods, action
        assert condition(stage) == (
            "True",
            "TimersSet",
            f"instances end by themselves, {after} s after the operator at the latest",
        )
        assert stage.world.cloud.violations == []

    run_virtual(play())


@pytest.mark.parametrize("stopped_after", [20, 1190, 1215, 5000])
def test_without_an_operator_nothing_lives_five_minutes_after_the_time(stopped_after: int) -> None:
    async def play() -> None:
        stage = protected(f"protected-stopped-{stopped_after}", 3)
        await stage.ready()
        await asyncio.sleep(stopped_after)
        stage.world.replicas[0].crash()
        await asyncio.sleep(AFTER * 2 / 3 - 10)
        stage.world.cloud.advance()
        assert len(stage.living()) == 3, "a break of two thirds of the time ends nothing"
        await asyncio.sleep(AFTER / 3 + 10 + 300)
        stage.world.cloud.advance()
        assert stage.living() == []

    run_virtual(play())


def refuse(stage: Stage, actions: Collection[str], code: str, message: str = "not with this key") -> Callable[[], None]:
    """From now on the cloud answers so to these actions. Returns what ends that."""
    simulator = stage.world.cloud.simulator
    handle = simulator.handle

    def refusing(account: str, action: str, *rest: Any, **named: Any) -> dict[str, Any]:
        if action in actions:
            return {"Error": {"Code": code, "Message": message}, "RequestId": "r"}
        return dict(handle(account, action, *rest, **named))

    def heal() -> None:
        simulator.handle = handle  # type: ignore[method-assign]  # put in its place for a test

    simulator.handle = refusing  # type: ignore[method-assign]  # put in its place for a test
    return heal


def test_a_key_that_may_not_set_timers_is_told_and_nothing_waits_for_it() -> None:
    async def play() -> None:
        stage = Stage("protected-refused", {}, [NAME], {})
        heal = refuse(stage, TIMER_ACTIONS, "UnauthorizedOperation")
        calls = counted(stage)
        stage.create(2)
        stage.start()
        await stage.ready()
        stage.change("orphanProtection", {"afterSeconds": AFTER})
        await asyncio.sleep(120)
        status, reason, message = condition(stage) or ("", "", "")
        assert (status, reason) == ("False", "TimersRefused")
        assert "UnauthorizedOperation: not with this key" in message
        assert "Allow cvm:ImportInstancesActionTimer" in message
        stage.scale(3)
        await stage.ready()
        await asyncio.sleep(1800)
        assert sum(calls[action] for action in TIMER_ACTIONS) < 12, "it is asked about every five minutes"
        heal()
        await asyncio.sleep(400)
        assert (condition(stage) or ("",))[0] == "True"
        assert len(ends(stage)) == 3
        assert len(stage.world.cloud.simulator.world.instances) == 3

    run_virtual(play())


def test_a_launch_that_is_refused_for_its_timer_is_made_without_and_gets_it_later() -> None:
    async def play() -> None:
        stage = Stage("protected-at-launch", {}, [NAME], {})
        simulator = stage.world.cloud.simulator
        handle = simulator.handle

        def refusing(account: str, action: str, parameters: Any, *rest: Any, **named: Any) -> dict[str, Any]:
            if action == "RunInstances" and "ActionTimer" in parameters:
                error = {"Code": "InvalidParameterValue", "Message": "the parameter `ActionTimer` is not for spot"}
                return {"Error": error, "RequestId": "r"}
            return dict(handle(account, action, parameters, *rest, **named))

        simulator.handle = refusing  # type: ignore[method-assign]  # put in its place for this test
        stage.create(2, orphanProtection={"afterSeconds": AFTER})
        stage.start()
        await stage.ready()
        await asyncio.sleep(400)
        assert len(ends(stage)) == 2
        assert (condition(stage) or ("",))[0] == "True"

    run_virtual(play())


@pytest.mark.parametrize("paused", [False, True])
def test_without_the_field_the_timers_go(paused: bool) -> None:
    async def play() -> None:
        stage = protected(f"protected-no-more-{paused}", 2)
        await stage.ready()
        await asyncio.sleep(60)
        assert len(ends(stage)) == 2
        if paused:
            stage.change("paused", True)
        stage.change("orphanProtection", None)
        await asyncio.sleep(60)
        assert ends(stage) == []
        assert condition(stage) is None
        await asyncio.sleep(2 * AFTER)
        stage.world.cloud.advance()
        assert len(stage.living()) == 2 == len(stage.world.cloud.simulator.world.instances)

    run_virtual(play())


def test_what_a_request_sets_that_comes_late_is_taken_off_too() -> None:
    async def play() -> None:
        stage = Stage("protected-late", {}, [NAME], {})
        stage.world.fault.loops, stage.world.fault.loops_left = {"cloud ImportInstancesActionTimer": LATE}, 1
        stage.create(2)
        stage.start()
        await stage.ready()
        await asyncio.sleep(60)
        stage.change("orphanProtection", {"afterSeconds": AFTER})
        await asyncio.sleep(15)
        assert stage.world.fault.loops_left == 0
        stage.change("orphanProtection", None)
        await asyncio.sleep(900)
        assert ends(stage) == []
        assert condition(stage) is None
        await asyncio.sleep(AFTER)
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 2

    run_virtual(play())


def test_what_is_retained_bears_no_timer() -> None:
    async def play() -> None:
        stage = protected("protected-retained", 2)
        await stage.ready()
        await asyncio.sleep(60)
        heal = refuse(stage, ["DeleteInstancesActionTimer"], "UnauthorizedOperation")
        stage.change("orphanProtection", None)
        stage.change("deletionPolicy", "Retain")
        stage.delete()
        await asyncio.sleep(120)
        assert stage.world.cloud.left == [], "it is not left before its timer has gone"
        (stalled,) = (
            one for one in stage.world.api.objects["default", NAME]["status"]["conditions"] if one["type"] == "Ready"
        )
        assert "the timers of orphanProtection" in stalled["message"]
        assert (condition(stage) or ("", ""))[1] == "TimersRefused"
        heal()
        await asyncio.sleep(400)
        assert ("default", NAME) not in stage.world.api.objects
        assert ends(stage) == []
        await asyncio.sleep(2 * AFTER)
        stage.world.cloud.advance()
        assert [one.state for one in stage.world.cloud.left] == ["RUNNING"] * 2

    run_virtual(play())


def test_what_is_taken_over_gets_a_timer_at_once() -> None:
    async def play() -> None:
        stage = Stage("protected-adopted", {}, [NAME], {})
        ids = stage.strangers(2)
        stage.create(3, orphanProtection={"afterSeconds": AFTER}, adopt={"instanceIds": ids})
        stage.start()
        await stage.until(lambda: len(ends(stage)) == 3)
        await asyncio.sleep(3 * AFTER)
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 3

    run_virtual(play())


def test_with_a_lost_status_the_timers_are_read_and_renewed() -> None:
    async def play() -> None:
        stage = protected("protected-lost", 2)
        await stage.ready()
        for _ in range(6):
            await asyncio.sleep(900)
            stage.restore(keep_annotations=True)
        await asyncio.sleep(2 * AFTER)
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 2
        assert min(ends(stage)) > AFTER / 2

    run_virtual(play())


def test_without_its_user_data_an_environment_still_renews() -> None:
    async def play() -> None:
        stage = Stage("protected-user-data", {}, [NAME], {})
        stage.world.api.config_maps["default", "boot"] = {"script": "#!/bin/sh"}
        source = {"configMapKeyRef": {"name": "boot", "key": "script"}}
        template = {"imageId": IMAGES[0], "userDataFrom": source}
        stage.create(2, template=template, orphanProtection={"afterSeconds": AFTER})
        stage.start()
        await stage.ready()
        del stage.world.api.config_maps["default", "boot"]
        await asyncio.sleep(3 * AFTER)
        assert stage.world.api.objects["default", NAME]["status"]["reason"] == "UserDataUnavailable"
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 2
        assert min(ends(stage)) > AFTER / 2

    run_virtual(play())


@pytest.mark.parametrize("seconds", [-280.0, 280.0])
def test_a_wrong_clock_ends_nothing(seconds: float) -> None:
    async def play() -> None:
        stage = Stage(f"protected-skewed-{seconds}", {}, [NAME], {})
        stage.world.skews[0] = seconds
        stage.create(2, orphanProtection={"afterSeconds": 900})
        stage.start()
        await stage.ready()
        await asyncio.sleep(7200)
        stage.world.skews[0] = -seconds  # it is set right, and too far
        await asyncio.sleep(7200)
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 2
        stage.world.replicas[0].crash()
        await asyncio.sleep(900 + 300)
        stage.world.cloud.advance()
        assert stage.living() == []

    run_virtual(play())


def test_a_forged_status_neither_stops_the_renewal_nor_sets_a_timer_on_a_strangers_machine() -> None:
    async def play() -> None:
        stage = protected("protected-forged", 2)
        await stage.ready()
        (stranger,) = stage.strangers(1)
        for minute in range(120):
            await asyncio.sleep(60)
            if minute % 10 == 0:
                stage.world.api.edit("default", NAME, forge(stranger))
        stage.world.cloud.advance()
        assert len(stage.world.cloud.simulator.world.instances) == 3
        assert len(ends(stage)) == 2

    run_virtual(play())


def forge(stranger: str) -> Callable[[Any], None]:
    """Status says that all timers run for a century, and that another machine is ours."""

    def edit(obj: Any) -> None:
        ledger = obj["status"]["ledger"]
        ledger["ends"] = ["2127-01-01T00:00:00Z"] * len(ledger.get("ends", ()))
        ledger["timers"] = {"sentAt": "2126-01-01T00:00:00Z", "obstacle": "x", "attempts": 10**6}
        ledger["timers"]["trouble"] = "InvalidCredentials"
        ledger["lots"][0][-1] = [*ledger["lots"][0][-1], stranger]

    return edit
