"""Argo CD's view of an object: the shipped health script in a Lua 5.1 interpreter, as Argo CD runs it.

Apart from its tests, because the end-to-end story asks it too.
"""

from __future__ import annotations

from typing import Any

from lupa.lua51 import LuaRuntime, lua_type

from deploy.manifests import ROOT

DIRECTORY = ROOT / "deploy" / "gitops" / "argocd"
SCRIPT = (DIRECTORY / "health.lua").read_text()


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
