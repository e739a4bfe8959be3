"""`spotcompute leftovers`: what has outlived instances, against a simulated cloud."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from cloud.buying import ONE, launch
from cloud.grounds import IMAGE, KEY, SETTLED, SimulatedGround
from spotcompute.__main__ import main
from spotcompute.commands.leftovers import chosen
from spotcompute.model.launch import Disk, Template
from spotcompute.model.leftover import Leftover, LeftoverKind

Run = Callable[..., Result]
KEPT = Template(IMAGE, data_disks=(Disk("CLOUD_PREMIUM", 50, delete_with_instance=False), Disk("CLOUD_PREMIUM", 60)))


@pytest.fixture
def run(simulated: SimulatedGround, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEY.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEY.secret_key)
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", simulated.sim.api)
    monkeypatch.setenv("SPOTCOMPUTE_PROTOCOL", "http")

    def leftovers(*options: str, region: str = "ap-guangzhou") -> Result:
        result = CliRunner().invoke(main, ["leftovers", "--region", region, *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert KEY.secret_key not in result.output
        return result

    return leftovers


def launched(ground: SimulatedGround, template: Template) -> str:
    """One instance that runs."""
    (instance_id,) = asyncio.run(launch(ground, replace(ONE, template=template)))
    ground.wait(SETTLED)
    return instance_id


def gone(ground: SimulatedGround, instance_id: str) -> None:
    """The cloud takes it back."""
    ground.reclaim(instance_id)
    ground.wait(SETTLED)


def test_a_disk_that_was_kept_on_purpose_is_shown_once_its_instance_is_gone(
    run: Run, simulated: SimulatedGround
) -> None:
    instance_id = launched(simulated, KEPT)
    assert "Nothing of that is left in ap-guangzhou" in run().output
    gone(simulated, instance_id)
    shown = json.loads(run("-o", "json").stdout)["leftovers"]
    assert [(one["kind"], one["what"], one["environment"]) for one in shown] == [
        ("disk", "CLOUD_PREMIUM 50GiB", ONE.owner)
    ]
    text = run("--cluster", ONE.ownership.cluster_id, "--environment", ONE.owner.replace("@", "/")).output
    assert "CLOUD_PREMIUM 50GiB" in text
    assert "cost money until you end them" in text
    assert "CLOUD_PREMIUM" not in run("--cluster", "another").output
    assert "CLOUD_PREMIUM" not in run("--environment", "default/another").output


def test_an_elastic_address_that_is_not_bound_is_shown_without_an_owner(run: Run, simulated: SimulatedGround) -> None:
    instance_id = launched(simulated, Template(IMAGE))
    simulated.sim("address", instances=[instance_id])
    assert "elastic address" not in run().output
    gone(simulated, instance_id)
    (line,) = (line for line in run().output.splitlines() if line.startswith("elastic address"))
    assert line.split()[-2:] == ["-", "-"]
    assert "elastic address" not in run("--environment", "default/web").output


@pytest.mark.parametrize(
    ("options", "region", "words"),
    [
        ((), "../secrets", "must be a region name"),
        (("--environment", "web"), "ap-guangzhou", "is not NAMESPACE/NAME"),
    ],
)
def test_what_is_wrong_is_named(run: Run, options: tuple[str, ...], region: str, words: str) -> None:
    result = run(*options, region=region)
    assert (result.exit_code, words in result.output) == (2, True)


def test_a_key_that_may_not_look_is_told(run: Run, simulated: SimulatedGround) -> None:
    simulated.sim("faults", action="DescribeDisks", kind="error", code="UnauthorizedOperation", times=0)
    result = run()
    assert result.exit_code == 2
    assert "UnauthorizedOperation" in result.output


def test_those_of_an_environment_come_before_those_of_nobody() -> None:
    ours = Leftover(LeftoverKind.DISK, "disk-2", "x", "", cluster_id="c", owner="default@web")
    other = Leftover(LeftoverKind.DISK, "disk-1", "x", "")
    assert chosen([other, ours], None, None) == [ours, other]
    assert chosen([other, ours], "c", "default/web") == [ours]
