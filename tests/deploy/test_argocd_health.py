"""The health script in a Lua 5.1 interpreter, as Argo CD runs it, over its own fixtures."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime, lua_type

from deploy.manifests import ROOT

DIRECTORY = ROOT / "deploy" / "gitops" / "argocd"
SCRIPT = (DIRECTORY / "health.lua").read_text()
CASES = yaml.safe_load((DIRECTORY / "health_test.yaml").read_text())["tests"]


def health(resource: dict[str, Any]) -> dict[str, Any]:
    """What the script says of `resource`. It may use nothing but the language and its basic functions."""
    lua = LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute("os, io, debug, package, require, dofile, loadfile = nil")
    lua.globals().obj = table(lua, resource)
    answer = lua.execute(SCRIPT)
    assert lua_type(answer) == "table"
    return dict(answer)


def table(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: table(lua, item) for key, item in value.items()})
    if isinstance(value, list):
        return lua.table_from([table(lua, item) for item in value])
    return value


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
