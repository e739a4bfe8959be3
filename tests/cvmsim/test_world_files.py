"""World files: a person edits them, so every mistake is named by file and field."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cvmsim.catalog import DEFAULT_WORLD, load, parse
from cvmsim.errors import WorldFileError
from cvmsim.simulator import Simulator


def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(DEFAULT_WORLD.read_text(encoding="utf-8"))
    return found


def changed(path: str, value: object) -> dict[str, Any]:
    """The shipped world with one field, given by its dotted path, set to `value`."""
    root = document()
    node: Any = root
    *way, last = path.split("/")
    for step in way:
        node = node[int(step)] if isinstance(node, list) else node[step]
    node[last] = value
    return root


def test_the_shipped_world_has_the_seed_case() -> None:
    world = load()
    opening = next(row for row in world.openings if (row.zone, row.type) == ("ap-guangzhou-3", "S2.MEDIUM4"))
    assert opening.stock > 0
    assert opening.spot <= opening.list
    assert str(opening.spot) == "0.0214"
    assert world.images["img-pmqg1cw7"].state == "NORMAL"
    assert len(world.accounts) == 2


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", "colour: unknown field"),
        ("offerings/ap-guangzhou-3/S2.MEDIUM4/spot", "cheap", "offerings.ap-guangzhou-3.S2.MEDIUM4.spot: an amount"),
        ("offerings/ap-guangzhou-3/S2.MEDIUM4/stock", -1, "offerings.ap-guangzhou-3.S2.MEDIUM4.stock: a whole number"),
        ("offerings/ap-nowhere-1", {}, "offerings.ap-nowhere-1: no zone 'ap-nowhere-1'"),
        ("offerings/ap-guangzhou-3/T1.TINY", {}, "offerings.ap-guangzhou-3.T1.TINY: no type 'T1.TINY'"),
        ("types/S2.MEDIUM4/cpu", "two", "types.S2.MEDIUM4.cpu: a whole number"),
        ("accounts/0/uin", 100000000001, "accounts[0].uin: text is needed (quote numbers)"),
        ("accounts/0/spotQuota", -5, "accounts[0].spotQuota.default: a whole number"),
        ("accounts/0/networks/vpc-gz000001/subnets/subnet-gz000003/cidr", "10/8/3", "accounts[0].networks"),
        ("images", "all", "images: a list is needed"),
        ("regions", ["ap-guangzhou"], "regions: a mapping is needed"),
    ],
)
def test_a_mistake_is_named_by_its_field(path: str, value: object, message: str) -> None:
    with pytest.raises(WorldFileError) as caught:
        parse(changed(path, value))
    assert str(caught.value).startswith(message)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "world.yaml"
    path.write_text("regions: [", encoding="utf-8")
    with pytest.raises(WorldFileError, match=r"world\.yaml"):
        load(path)


def test_switches_of_the_file_count_and_the_command_line_overrules_them() -> None:
    catalog = parse(changed("switches", {"recycle-bin": True, "list-lag": 5}))
    simulator = Simulator(catalog, seed=1, now=0, switches={"list-lag": "9"})
    assert (simulator.switches["recycle-bin"], simulator.switches.number("list-lag")) == ("yes", 9)


def test_the_quota_can_differ_by_zone() -> None:
    catalog = parse(changed("accounts/0/spotQuota", {"default": 8, "ap-guangzhou-3": 500}))
    world = Simulator(catalog, seed=1, now=0).world
    assert world.spot_quota("100000000001", "ap-guangzhou-3") == 500
    assert world.spot_quota("100000000001", "ap-guangzhou-4") == 8
