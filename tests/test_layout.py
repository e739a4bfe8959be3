"""Promises about the repository itself that no other tool keeps."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYTHON = sorted(path for part in ("operator", "deploy", "tests") for path in (ROOT / part).rglob("*.py"))
OURS = [path for path in PYTHON if path.is_relative_to(ROOT / "operator")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tracked() -> list[Path]:
    """Every text file that a clone would have; the working tree when this is no clone."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    paths = [ROOT / item for item in listing.stdout.split("\0") if item] or PYTHON
    return [path for path in paths if path.is_file() and path.suffix not in {".png", ".gif", ".cast"}]


def test_the_source_root_is_no_package() -> None:
    """`operator/__init__.py` would shadow the standard library's `operator` for whoever runs from the root."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert operator.add(1, 2) == 3


def test_no_test_directory_is_a_package() -> None:
    """Two test files of one name in two rooms must not collide, nor hide the rooms they test."""
    assert [name(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "no module docstring"
    assert len(docstring.splitlines()[0]) > 15


@pytest.mark.parametrize("path", OURS, ids=name)
def test_nothing_is_left_to_do(path: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"(?<![\w.$}-])/(work|home/\w+|Users/\w+)/", id="a-path-of-somebodys-machine"),
        pytest.param(r"AKID(?![A-Za-z]*0{8})[A-Za-z0-9]{32}", id="a-secret-id"),
        pytest.param(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{40}", id="a-private-key"),
    ],
)
def test_nothing_of_anybodys_machine_is_in_the_repository(pattern: str) -> None:
    found = [
        f"{name(path)}: {match.group()}"
        for path in tracked()
        if path != Path(__file__) and (match := re.search(pattern, path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert found == []


def test_editors_and_hooks_follow_what_make_check_follows() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert f"max_line_length = {settings['line-length']}\n" in (ROOT / ".editorconfig").read_text()
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck: ")[2].partition("\n\n")[0]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = [re.search(r"\.venv/bin/([a-z-]+( format| check)?)", hook["entry"])[1] for hook in hooks]
    assert len(tools) == 4
    assert [tool for tool in tools if f"$(BIN)/{tool}" not in recipe] == []


def test_every_command_that_a_page_names_is_one_command_of_make() -> None:
    """A name in .PHONY without a rule of its own does nothing, and make reports no error."""
    makefiles = [ROOT / "Makefile", *sorted((ROOT / "deploy").rglob("targets.mk"))]
    rules = [
        rule for path in makefiles for rule in re.findall(r"^([a-z][a-z-]*):(?!=)", path.read_text(), re.MULTILINE)
    ]
    assert sorted(rules) == sorted(set(rules)), "two rules of one name"
    phony = {
        name
        for path in makefiles
        for names in re.findall(r"^\.PHONY: (.+)$", path.read_text(), re.M)
        for name in names.split()
    }
    pages = [path for path in tracked() if path.suffix in {".md", ".yaml", ".yml", ".txt"} or path.parent.name == ".ci"]
    command = re.compile(r"(?:`|\$ |^ *(?:- run: )?)make ([a-z][a-z-]+)(?= [A-Z]+=|`|$| \|\|)", re.MULTILINE)
    named = {target for path in pages for target in command.findall(path.read_text(encoding="utf-8"))}
    assert {"setup", "demo", "test", "mutants-sample"} <= named
    assert (named | phony) - {*rules} == set()
