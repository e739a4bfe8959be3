"""docs/architecture.md shows the packages, the layers and the names that the code has."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy.manifests import ROOT

PACKAGE = ROOT / "operator/spotcompute"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")


def section(title: str) -> str:
    """The text under a heading of the page, up to the next one."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_page_lists_every_room_and_no_other() -> None:
    listed = re.findall(r"^\| `([\w/.]+)` \|", section("The packages"), re.MULTILINE)
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert sorted(listed) == sorted([*(f"{room}/" for room in ROOMS), *modules])


def test_the_page_stacks_the_layers_as_the_import_contract_does() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (one["layers"] for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    (stack,) = re.findall(r"```\n(__main__.*?)\n```", PAGE, re.DOTALL)
    assert stack.splitlines() == [layer.replace("spotcompute.", "") for layer in layers]


def test_every_room_below_the_command_line_answers_the_five_questions() -> None:
    rows = re.findall(r"^\| (`.*?) \|", section("Five questions tell a line its room"), re.MULTILINE)
    answered = {name.split("/")[0] for row in rows for name in re.findall(r"`([\w/]+)`", row)}
    assert answered == set(ROOMS) - {"commands"}


def named() -> list[str]:
    """Dotted names that the page speaks of, such as `plan.planner.make_plan`."""
    return sorted(set(re.findall(rf"\b(?:{'|'.join(ROOMS)}|settings|cvmsim)(?:\.\w+)+\b(?!/|\.\w)", PAGE)) - FILES)


#: Files that are spoken of by their names.
FILES = {"settings.py", "cvmsim.md"}


@pytest.mark.parametrize("name", named())
def test_every_name_on_the_page_exists(name: str) -> None:
    resolve(name)


def test_the_page_names_the_path_of_a_run() -> None:
    assert {"reconcile.reconciler.Reconciler.reconcile", "plan.planner.make_plan"} <= set(named())
    assert len(named()) > 25


@pytest.mark.parametrize("link", re.findall(r"\[`([\w.]+)`\]\((\.\./operator/[^)]+)\)", PAGE), ids=lambda link: link[0])
def test_a_link_leads_to_the_module_that_defines_the_name(link: tuple[str, str]) -> None:
    name, path = link
    assert Path(inspect.getfile(inspect.unwrap(resolve(name)))) == (ROOT / "docs" / path).resolve()


def resolve(name: str) -> Any:
    """The module, class, function or table of that name; fails when there is none."""
    parts = name.split(".")
    dotted = [*([] if parts[0] == "cvmsim" else ["spotcompute"]), *parts]
    found: Any = importlib.import_module(dotted[0])
    for number, part in enumerate(dotted[1:], start=2):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            importlib.import_module(".".join(dotted[:number]))
        found = getattr(found, part)
    return found
