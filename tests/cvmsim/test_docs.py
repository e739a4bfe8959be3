"""docs/cvmsim.md says what the code says: its tables are compared row by row."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from conformance.samples import ACTIONS as SAMPLED
from cvmsim.actions import ACTIONS
from cvmsim.cli import cli
from cvmsim.control import OPERATIONS, Route
from cvmsim.faults import KINDS
from cvmsim.switches import TABLE, Switches

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cvmsim.md").read_text(encoding="utf-8")


def test_the_page_shows_the_switches_of_the_code() -> None:
    printed = CliRunner().invoke(cli, ["switches", "--markdown"])
    assert printed.exit_code == 0
    assert printed.output.strip() in PAGE


def test_the_page_lists_the_actions_of_the_code() -> None:
    printed = CliRunner().invoke(cli, ["actions"])
    assert printed.exit_code == 0
    assert printed.output.strip() in PAGE


def test_the_published_samples_of_every_action_are_played() -> None:
    """`make conformance` plays them."""
    assert {(product, action) for (product, _), actions in SAMPLED.items() for action in actions} == set(ACTIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_explains_every_fault(kind: str) -> None:
    assert f"| `{kind}` | {'yes' if KINDS[kind].commits else 'no'} | {KINDS[kind].meaning} |" in PAGE


@pytest.mark.parametrize("route", OPERATIONS, ids=lambda route: f"{route.method} {route.path}")
def test_the_page_explains_every_operation_in_the_words_of_the_code(route: Route) -> None:
    text = " ".join((route.perform.__doc__ or "").split()).replace("|", "\\|")
    assert f"| `{route.method} /_sim/{route.path}` | {text} |" in PAGE


@pytest.mark.parametrize("switch", TABLE, ids=lambda switch: switch.name)
def test_every_switch_has_several_settings_and_takes_each_of_them(switch: object) -> None:
    name, settings = switch.name, switch.settings  # type: ignore[attr-defined]  # a row of a table
    assert len(settings) >= 2
    for setting in settings:
        assert Switches({name: setting})[name] == setting
