"""docs/cvmsim.md says what the code says: its tables are compared row by row."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cvmsim.cli import cli
from cvmsim.control import OPERATIONS
from cvmsim.faults import KINDS
from cvmsim.switches import TABLE, Switches

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cvmsim.md").read_text(encoding="utf-8")


def test_the_page_shows_the_switches_of_the_code() -> None:
    printed = CliRunner().invoke(cli, ["switches", "--markdown"])
    assert printed.exit_code == 0
    assert printed.output.strip() in PAGE


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_explains_every_fault(kind: str) -> None:
    assert f"| `{kind}` | {'yes' if KINDS[kind].commits else 'no'} | {KINDS[kind].meaning} |" in PAGE


@pytest.mark.parametrize("door", OPERATIONS, ids=lambda door: f"{door.method} {door.path}")
def test_the_page_explains_every_operation(door: object) -> None:
    assert f"| `{door.method} /_sim/{door.path}` |" in PAGE  # type: ignore[attr-defined]  # a row of a table


@pytest.mark.parametrize("switch", TABLE, ids=lambda switch: switch.name)
def test_every_switch_has_several_settings_and_takes_each_of_them(switch: object) -> None:
    name, settings = switch.name, switch.settings  # type: ignore[attr-defined]  # a row of a table
    assert len(settings) >= 2
    for setting in settings:
        assert Switches({name: setting})[name] == setting
