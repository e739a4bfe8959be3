"""What the image is made of is known, and the threat model names tests that exist."""

from __future__ import annotations

import ast
import importlib.util
import re
from types import ModuleType
from typing import Any

import pytest

from deploy.manifests import ROOT

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


def test_the_bill_gets_the_debian_packages_of_both_architectures(check_sbom: ModuleType) -> None:
    spec = importlib.util.spec_from_file_location("add_debian", ROOT / "deploy" / "supply-chain" / "add_debian.py")
    assert spec is not None
    assert spec.loader is not None
    add_debian = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(add_debian)
    lock = (ROOT / "deploy" / "image" / "debian.lock").read_text()
    added = add_debian.components(lock)
    assert check_sbom.missing({"components": added}, lock) == []
    assert check_sbom.missing({"components": added[1:]}, lock) == [f"{added[0]['name']} {added[0]['version']}"]
    purls = [one["purl"] for one in added]
    assert not [purl for purl in purls if "+" in purl], "a plus sign in a purl would be a space"
    assert {purl.partition("?")[2] for purl in purls} == {
        f"arch={architecture}&distro=debian-12" for architecture in ("amd64", "arm64", "all")
    }
    assert len(set(purls)) == len(purls)


def test_the_lock_of_the_image_has_a_hash_for_every_package(check_sbom: ModuleType) -> None:
    locked = check_sbom.locked((ROOT / "requirements.run.lock").read_text())
    assert len(locked) > 20
    assert all(locked.values())


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
