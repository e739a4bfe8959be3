"""`kubectl spot ui` on a real API server with 1,000 environments and 2,000 instances: the promised figures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane import CRDS
from e2e.page import Plugin
from localcluster.controlplane import ControlPlane
from localcluster.kubectl import Kubectl
from plugin.ui_objects import large
from waiting import allowed, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.rare]

COUNT, TEAMS = 1000, 20

#: Seconds, and MiB.
LIST_SECONDS, CHANGE_SECONDS, MEMORY = 2.0, 2.0, 200


def stored(number: int) -> dict[str, Any]:
    """One of the thousand as the definition wants it."""
    obj = large(number)
    obj["metadata"] = {key: obj["metadata"][key] for key in ("name", "namespace")}
    obj["spec"] |= {"instanceTypes": ["S5.MEDIUM4"], "template": {"imageId": "img-1"}}
    status = obj["status"]
    status["activities"] = [line | {"id": f"act-{at}"} for at, line in enumerate(status["activities"])]
    status["conditions"] = [one | {"observedGeneration": 1} for one in status["conditions"]]
    return obj


def send(kubectl: Kubectl, objects: list[dict[str, Any]], *command: str) -> None:
    kubectl.run(*command, "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


@pytest.fixture(scope="module")
def full() -> Iterator[ControlPlane]:
    """A cluster of our own: nobody else's lists should have these in them."""
    with ControlPlane(crds=CRDS) as plane:
        for team in range(TEAMS):
            plane.kubectl.run("create", "namespace", f"team-{team}")
        objects = [stored(number) for number in range(COUNT)]
        for first in range(0, COUNT, 250):
            part = objects[first : first + 250]
            send(plane.kubectl, part, "create")
            send(plane.kubectl, part, "replace", "--subresource=status")
        yield plane


def test_a_thousand_environments_are_listed_and_followed_in_time_with_little_memory(
    full: ControlPlane, tmp_path: Path
) -> None:
    plugin = Plugin.start(full.kubectl.binary, full.kubeconfig, tmp_path)
    try:
        eventually(lambda: f"1–50 of {COUNT} environments" in plugin.text("/"), "all are listed")
        for path in ("/", "/?page=20", "/?q=env-0777", "/instances", "/market", "/environments/team-1/env-0001"):
            begun = time.monotonic()
            status, text, _ = plugin.ask(path)
            assert time.monotonic() - begun < allowed(LIST_SECONDS), path
            assert status == 200
            assert len(text) < 200_000, path
        assert f"of {2 * COUNT} instances" in plugin.text("/instances")
        full.kubectl.run("scale", "sce", "env-0001", "--namespace=team-1", "--replicas=7")
        page = "/environments/team-1/env-0001"
        eventually(lambda: "2 of 7" in plugin.text(page), "the change is shown", allowed(CHANGE_SECONDS))
        assert plugin.memory_mib() < MEMORY
    finally:
        plugin.stop()
