"""The health script in a Lua 5.1 interpreter, as Argo CD runs it, over its own fixtures."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from deploy.argocd import DIRECTORY, SCRIPT, health

CASES = yaml.safe_load((DIRECTORY / "health_test.yaml").read_text())["tests"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["inputPath"])
def test_health(case: dict[str, Any]) -> None:
    resource = yaml.safe_load((DIRECTORY / case["inputPath"]).read_text())
    assert health(resource) == case["healthStatus"]


def test_an_object_without_status_is_not_healthy() -> None:
    assert health({"metadata": {"generation": 1}})["status"] == "Progressing"


def test_every_fixture_is_used() -> None:
    assert {f"testdata/{path.name}" for path in (DIRECTORY / "testdata").iterdir()} == {
        case["inputPath"] for case in CASES
    }


def test_the_config_map_carries_the_same_script() -> None:
    data = yaml.safe_load((DIRECTORY / "argocd-cm.yaml").read_text())["data"]
    assert data["resource.customizations.health.spotcompute.dev_SpotComputeEnvironment"] == SCRIPT
