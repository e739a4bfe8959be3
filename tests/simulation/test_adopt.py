"""Instances that exist already are taken over: never another's, nothing is bought for their places, and none twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation.cloudworld import CLUSTER_TAG, ENVIRONMENT_TAG
from simulation.scenarios import NAME, OTHER, Stage
from simulation.virtual import run_virtual


def bought(stage: Stage) -> int:
    """How many were launched by an environment."""
    return sum(ENVIRONMENT_TAG in one.order.tags for one in stage.world.cloud.simulator.world.instances.values())


def status_of(stage: Stage, name: str = NAME) -> dict[str, Any]:
    found: dict[str, Any] = stage.world.api.objects["default", name]["status"]
    return found


def adopted(stage: Stage, name: str = NAME) -> tuple[str, str, str]:
    """The condition about what is taken over."""
    (found,) = (one for one in status_of(stage, name)["conditions"] if one["type"] == "InstancesAdopted")
    return found["status"], found["reason"], found["message"]


def members(stage: Stage, name: str = NAME) -> set[str]:
    return {one["id"] for one in status_of(stage, name)["instances"]}


def test_what_the_spec_names_becomes_a_member_and_only_the_rest_is_bought() -> None:
    async def play() -> None:
        stage = Stage("adopt-ids", {}, [NAME], {})
        ids = stage.strangers(2)
        await asyncio.sleep(30)
        stage.create(3, adopt={"instanceIds": ids})
        stage.start()
        await stage.ready()
        assert (len(stage.living()), bought(stage)) == (3, 1)
        assert set(ids) < members(stage)
        assert adopted(stage) == ("True", "AllAdopted", "2 of 2 taken over")
        # Its life goes on as that of any other: it is replaced when it is lost, and not taken over a second time.
        stage.world.cloud.simulator.world.reclaim([one for one in stage.living() if one.id in ids], 0.0)
        await asyncio.sleep(30)
        await stage.ready()
        assert (len(stage.living()), bought(stage)) == (3, 3)
        assert stage.world.cloud.violations == []

    run_virtual(play())


@pytest.mark.parametrize("lag", ["0", "150"])
def test_nothing_is_bought_before_lists_show_all_that_bears_the_tag(lag: str) -> None:
    async def play() -> None:
        stage = Stage(f"adopt-tag-{lag}", {}, [NAME], {"list-lag": lag, "tag-lag": lag})
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "blue"}]}]
        stage.strangers(3, TagSpecification=tags)
        stage.create(3, adopt={"tag": {"key": "team", "value": "blue"}})
        stage.start()
        await stage.ready()
        await asyncio.sleep(600)
        stage.world.cloud.advance()
        assert (len(stage.living()), bought(stage)) == (3, 0)
        assert adopted(stage) == ("True", "AllAdopted", "3 of 3 taken over")
        assert stage.world.cloud.violations == []

    run_virtual(play())


def test_each_that_does_not_fit_is_named_with_the_reason() -> None:
    async def play() -> None:
        stage = Stage("adopt-refused", {}, [NAME, OTHER], {})
        stage.create(1, name=OTHER)
        stage.start()
        await stage.until(lambda: len(stage.living()) == 1)
        anothers = stage.living()[0].id
        stopped, extra = stage.strangers(2)
        reasons = {
            anothers: f"it belongs to environment default@{OTHER}: delete that one with deletionPolicy Retain first",
            stopped: "it is STOPPED: start it first",
            stage.strangers(1, Placement={"Zone": "ap-guangzhou-4"})[
                0
            ]: "it is in ap-guangzhou-4: add a placement there",
            stage.strangers(1, InstanceType="S5.MEDIUM4")[0]: (
                "it is of type S5.MEDIUM4, which the spec does not ask for: add the type"
            ),
            stage.strangers(1, InstanceChargeType="POSTPAID_BY_HOUR")[0]: (
                "it is on demand, and the spec asks for spot alone: set onDemand or onDemandFallback"
            ),
            stage.strangers(1, ImageId="img-487zeit5")[0]: (
                "it was made from img-487zeit5, and template.imageId is another image"
            ),
            "ins-nowhere0": "it is not found in this account and region",
            extra: "there is no place for it: raise replicas, or release another one",
        }
        await asyncio.sleep(60)
        world = stage.world.cloud.simulator.world
        world.stop(world.instances[stopped], "console", None)
        await asyncio.sleep(30)
        first = stage.strangers(1)[0]
        await asyncio.sleep(30)
        stage.create(1, adopt={"instanceIds": [first, *reasons]})
        await asyncio.sleep(900)
        await stage.ready()
        rows = {one["id"]: one for one in status_of(stage)["adoptions"]}
        assert {key: one.get("message") for key, one in rows.items()} == reasons
        assert {one["state"] for one in rows.values()} == {"Refused"}
        status, reason, message = adopted(stage)
        assert (status, reason) == ("False", "AdoptionRefused")
        assert message.startswith("8 of 9 cannot be taken over. ")
        assert members(stage) == {first}
        assert bought(stage) == 1  # that of the other environment
        for key in reasons.keys() - {"ins-nowhere0", anothers}:
            assert ENVIRONMENT_TAG not in world.instances[key].tags
        assert stage.world.cloud.violations == []

    run_virtual(play())


def test_of_two_environments_that_name_one_instance_one_gets_it() -> None:
    async def play() -> None:
        stage = Stage("adopt-both", {}, [NAME, OTHER], {"id-lag": "30"})
        (only,) = stage.strangers(1)
        await asyncio.sleep(60)
        for name in (NAME, OTHER):
            stage.create(1, name=name, adopt={"instanceIds": [only]})
        stage.start()
        await asyncio.sleep(400)
        await stage.ready()
        assert sorted(adopted(stage, name)[1] for name in (NAME, OTHER)) == ["AdoptionRefused", "AllAdopted"]
        assert (len(stage.living()), bought(stage)) == (2, 1)
        assert stage.world.cloud.violations == []

    run_virtual(play())


def test_a_lost_ledger_finds_what_was_taken_over_and_an_orphan_of_it_is_ended() -> None:
    async def play() -> None:
        stage = Stage("adopt-forgotten", {}, [NAME], {})
        ids = stage.strangers(2)
        await asyncio.sleep(30)
        stage.create(2, adopt={"instanceIds": ids})
        stage.start()
        await stage.ready()
        stage.world.crash(0, 1.0)
        stage.world.api.edit("default", NAME, lambda obj: obj.update(status={"observedGeneration": -1, "replicas": 0}))
        await asyncio.sleep(900)
        await stage.ready()
        assert members(stage) == set(ids)
        assert bought(stage) == 0
        stage.world.want(NAME, 0)
        stage.world.api.remove_by_force("default", NAME)
        await asyncio.sleep(600)
        stage.world.cloud.advance()
        assert stage.living() == []
        assert stage.world.cloud.violations == []

    run_virtual(play())


def test_what_the_spec_names_no_more_is_a_member_all_the_same() -> None:
    async def play() -> None:
        stage = Stage("adopt-settled", {}, [NAME], {})
        ids = stage.strangers(2)
        await asyncio.sleep(30)
        stage.create(2, adopt={"instanceIds": ids})
        stage.start()
        await stage.ready()
        stage.change("adopt", {})
        await asyncio.sleep(400)
        await stage.ready()
        assert members(stage) == set(ids)
        assert "adoptions" not in status_of(stage)["ledger"]
        assert all(one["type"] != "InstancesAdopted" for one in status_of(stage)["conditions"])
        assert {CLUSTER_TAG, ENVIRONMENT_TAG} <= stage.living()[0].tags.keys()

    run_virtual(play())
