"""What the image is made of is known, and the threat model names tests that exist."""

from __future__ import annotations

import ast
import importlib.util
import os
import py_compile
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy.manifests import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
THREATS = (ROOT / "docs" / "threat-model.md").read_text()
LOCK = "a==1.0 \\\n    --hash=sha256:" + "1" * 64 + "\nb==2.0 \\\n    --hash=sha256:" + "2" * 64 + "\n"


@pytest.fixture(scope="module")
def check_sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_sbom", ROOT / "deploy" / "supply-chain" / "check_sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bill(**hashes: str) -> dict[str, Any]:
    """A bill of packages a and b with these hashes."""
    versions = {"a": "1.0", "b": "2.0"}
    parts = [
        {"name": name, "version": versions[name], "externalReferences": [{"hashes": [{"content": digest * 64}]}]}
        for name, digest in hashes.items()
    ]
    return {"components": parts}


def test_a_package_that_is_missing_in_the_bill_is_named(check_sbom: ModuleType) -> None:
    assert check_sbom.missing(bill(a="1", b="2"), LOCK) == []
    assert check_sbom.missing(bill(a="1"), LOCK) == ["b 2.0"]
    assert check_sbom.missing(bill(a="1", b="3"), LOCK) == ["b 2.0"]


def test_the_lock_of_the_image_has_a_hash_for_every_package(check_sbom: ModuleType) -> None:
    locked = check_sbom.locked((ROOT / "requirements.run.lock").read_text())
    assert len(locked) > 20
    assert all(locked.values())


def base() -> re.Match[str]:
    """What the image is built on by default: its tag, of one patch release of Python, and its digest."""
    found = re.search(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+\.\d+-\S+)@(sha256:[0-9a-f]{64})$", DOCKERFILE, re.MULTILINE)
    assert found is not None, "the base is not named by tag and digest"
    return found


def test_every_stage_of_the_image_starts_from_the_one_base() -> None:
    assert base()
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON_IMAGE}"}


def test_whoever_looks_the_base_up_as_the_pages_say_finds_that_one() -> None:
    tag, digest = base().groups()
    for text in (DOCKERFILE, (ROOT / "docs" / "install.md").read_text()):
        assert set(re.findall(r"python:(\d[\w.-]*)", text)) == {tag}
        assert set(re.findall(r"sha256:[0-9a-f]{64}", text)) == {digest}


def test_the_same_sources_become_the_same_bytecode_whenever_they_were_checked_out_and_whatever_has_run(
    tmp_path: Path,
) -> None:
    found = re.search(
        r"^ && /venv/bin/python (-m compileall .+) /app /venv/lib \"\$stdlib\"$", DOCKERFILE, re.MULTILINE
    )
    assert found is not None
    source, made = tmp_path / "app" / "module.py", []
    source.parent.mkdir()
    for checked_out_at in (1_000_000_000, 1_700_000_000):
        source.write_text("ANSWER = 42\n")
        os.utime(source, (checked_out_at, checked_out_at))
        py_compile.compile(str(source), doraise=True)  # as an import leaves it
        subprocess.run([sys.executable, *found[1].split(), str(source.parent)], check=True)
        (compiled,) = source.parent.rglob("*.pyc")
        made.append(compiled.read_bytes())
        compiled.unlink()
    assert made[0] == made[1]


def test_the_threat_model_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", THREATS)
    assert len(named) > 30
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text())
        defined = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert name in defined, f"{file}::{name}"


def test_every_threat_has_something_against_it_or_is_open() -> None:
    rows = [line for line in THREATS.splitlines() if line.startswith("| ") and not line.startswith("| Threat")]
    assert len(rows) > 30
    for row in rows:
        _, threat, against, shown, _ = (cell.strip() for cell in row.split("|"))
        assert threat
        assert against
        assert shown == "*open*" or shown.startswith("`tests/"), row
