"""In each of 64 random worlds a verification names the settings in force, keeps time and budget, and leaves nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from cloud.verify.grounds import (
    LEFT_OPEN,
    WATCH_SECONDS,
    WATCHED,
    SimulatedLine,
    foreign,
    happenings,
    living,
    random_settings,
    spent,
    verify,
    world,
)
from cvmsim.catalog import parse
from cvmsim.switches import BY_NAME, TABLE, Switches
from often import first
from spotcompute.cloud.tencent.verify.finding import Finding
from spotcompute.cloud.tencent.verify.findings import QUESTIONS, findings
from spotcompute.cloud.tencent.verify.record import Record

#: Settings that are told only once an instance is gone, which may take longer than a run.
AT_THE_END = {"token-of-terminated", "token-after-failure", "terminate-gone"}


def may_stay_open(name: str, settings: dict[str, str], found: Finding, record: Record) -> bool:
    """True when nothing that a customer can do in half an hour shows the setting."""
    number = settings[name]
    if name == "launch-failure-rate":
        return not any(one.state == "LAUNCH_FAILED" for life in record.lives for one in life.sightings)
    if name in WATCHED:
        lasting = record.life("lasting")
        is_unseen = name == "reclaim-visible" and settings["terminating-seconds"] == "0"
        return lasting is None or not lasting.network or is_unseen
    if name == "token-lifetime":
        return number != "600" and found.bound is not None and found.bound.lower > 1000
    if name == "launch-failed-lifetime":
        failed = [one for life in record.lives for one in life.sightings if one.state == "LAUNCH_FAILED"]
        return not failed or number == "3600"
    if name == "tag-lag":
        return found.bound is not None and float(number) <= float(settings["id-lag"])
    if name == "terminate-pending":
        return settings["pending-seconds"] == "0"
    if name == "recycle-bin-seconds":
        return settings["recycle-bin"] == "no" or number == "7200" or settings["terminating-seconds"] == "1200"
    is_slow = settings["terminating-seconds"] == "1200"
    needs_more = settings["recycle-bin"] == "yes" or settings["token-lifetime"] == "600"
    is_late = float(settings["list-lag"]) >= 60 or settings["launch-failure-rate"] != "0"
    return name in AT_THE_END and is_slow and (needs_more or is_late)


@pytest.mark.parametrize("seed", first(20, range(1, 65)))
def test_the_settings_of_a_random_world_are_named(seed: int, tmp_path: Path) -> None:
    settings = random_settings(seed)
    simulator = world(settings, seed)
    happenings(simulator)
    line = SimulatedLine(simulator, site=settings["site"])
    done = verify(line, tmp_path, watch_seconds=WATCH_SECONDS)
    found = findings(done.record)
    wrong = {
        name: (value, found[name])
        for name, value in settings.items()
        if name not in LEFT_OPEN
        and found[name].setting != value
        and not (found[name].setting is None and may_stay_open(name, settings, found[name], done.record))
    }
    assert wrong == {}
    assert done.record.ended_at <= 1800
    assert simulator.world.now - 1_800_000_000 <= 1800 + WATCH_SECONDS
    assert living(simulator) == []
    assert spent(simulator) <= done.facts.spent <= Decimal("0.50")
    assert all(one.is_live for one in foreign(simulator))
    assert not set(line.terminated) & {one.id for one in foreign(simulator)}


def test_the_report_is_a_world_that_the_simulator_starts_with(tmp_path: Path) -> None:
    settings = random_settings(1)
    verify(SimulatedLine(world(settings), site=settings["site"]), tmp_path)
    catalog = parse(yaml.safe_load((tmp_path / "world.yaml").read_text()))
    held = dict(Switches(catalog.switches).items())
    assert {name: held[name] for name in catalog.switches} == {name: settings[name] for name in catalog.switches}
    text = (tmp_path / "report.md").read_text()
    assert "What our assumptions had wrong" in text
    assert all(f"`{switch.name}`" in text for switch in TABLE)


def test_every_switch_is_a_question_with_its_default() -> None:
    assert {one.name: one.assumed for one in QUESTIONS} == {name: switch.default for name, switch in BY_NAME.items()}
