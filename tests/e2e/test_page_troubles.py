"""`kubectl spot ui` where something is wrong: a sentence and a remedy each, and what was seen stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from controlplane import CRDS
from e2e.page import Plugin
from e2e.simulator import ROOT
from e2e.stage import Stage, manifest
from localcluster.cluster import Cluster
from localcluster.controlplane import ControlPlane
from waiting import allowed, eventually

pytestmark = pytest.mark.e2e

Start = Callable[..., Plugin]


@pytest.fixture
def start(cluster: Cluster, tmp_path: Path) -> Iterator[Start]:
    """Start the page with a kubeconfig, the admin's by default."""
    running: list[Plugin] = []

    def start(*options: str, kubeconfig: Path | None = None) -> Plugin:
        plugin = Plugin.start(cluster.kubectl.binary, kubeconfig or cluster.kubeconfig, tmp_path, *options)
        running.append(plugin)
        return plugin

    yield start
    for plugin in running:
        plugin.stop()


def says(plugin: Plugin, *words: str, path: str = "/") -> None:
    eventually(lambda: all(word in plugin.text(path) for word in words), f"the page says {words}")


def changed(kubeconfig: Path, path: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> Path:
    """A copy of a kubeconfig in which something is different."""
    config = yaml.safe_load(kubeconfig.read_text())
    change(config)
    path.write_text(json.dumps(config))
    return path


def test_no_cluster(start: Start, cluster: Cluster, tmp_path: Path) -> None:
    def away(config: dict[str, dict[str, object]]) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"

    plugin = start(kubeconfig=changed(cluster.kubeconfig, tmp_path / "away", away))
    says(plugin, "No cluster answers", "kubectl cluster-info")


def test_no_kubeconfig(start: Start, tmp_path: Path) -> None:
    says(start(kubeconfig=tmp_path / "missing"), "The kubeconfig cannot be used", "--kubeconfig")


def test_an_exec_plugin_that_fails(start: Start, cluster: Cluster, tmp_path: Path) -> None:
    def broken(config: dict[str, dict[str, object]]) -> None:
        told = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false", "interactiveMode": "Never"}
        config["users"][0]["user"] = {"exec": told}

    plugin = start(kubeconfig=changed(cluster.kubeconfig, tmp_path / "exec", broken))
    says(plugin, "The program that the kubeconfig names for credentials failed", "log in as it asks")


def test_no_rights_and_then_those_of_one_namespace(start: Start, cluster: Cluster, stage: Stage) -> None:
    stage.kubectl.run("create", "serviceaccount", "eve")
    kubeconfig = cluster.service_account_kubeconfig(stage.namespace, "eve")
    plugin = start(kubeconfig=kubeconfig)
    says(plugin, "You lack the right to do this", "spotcompute-view")
    role = ("create", "role", "look", "--verb=get,list,watch", "--resource=spotcomputeenvironments.spotcompute.dev")
    stage.kubectl.run(*role)
    stage.kubectl.run("create", "rolebinding", "look", "--role=look", f"--serviceaccount={stage.namespace}:eve")
    stage.apply(paused=True)
    says(plugin, f"Environments of namespace {stage.namespace}.", f"/environments/{stage.namespace}/web")
    status, _, headers = plugin.ask(f"/environments/{stage.namespace}/web/pause", {})
    assert status == 303
    refused = plugin.text(headers["Location"])
    assert "Not done. You lack the right to do this" in refused
    assert "cannot patch resource" in refused


def test_a_change_that_no_operator_has_seen_is_told(start: Start, stage: Stage) -> None:
    """That it seems to be down is said after a minute, which the tests of `kubectl_spot.ui.problems` see pass."""
    stage.apply()
    plugin = start(f"--namespace={stage.namespace}")
    says(plugin, "Not seen yet", "The operator has not seen the latest change of the spec yet")


def test_a_namesake_is_not_deleted_by_a_page_that_shows_the_one_before(start: Start, stage: Stage) -> None:
    stage.apply(paused=True)
    plugin = start(f"--namespace={stage.namespace}")
    says(plugin, f"/environments/{stage.namespace}/web")
    status, _, headers = plugin.ask(f"/environments/{stage.namespace}/web/delete", {"name": "web", "uid": "another"})
    assert status == 303
    assert "Not done." in plugin.text(headers["Location"])
    assert stage.get() is not None


@pytest.fixture
def own_plane(cluster: Cluster, tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane that may be stopped, with a definition from before status.quote and spec.paused."""
    old = tmp_path / "old"
    shutil.copytree(CRDS, old)
    (file,) = [path for path in old.glob("*.yaml") if "spotcomputeenvironments" in path.name]
    crd = yaml.safe_load(file.read_text())
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del properties["status"]["properties"]["quote"]
    file.write_text(json.dumps(crd))
    with ControlPlane(crds=old) as plane:
        yield plane


def test_an_old_definition_is_named_and_when_the_api_server_goes_what_was_seen_stays(
    own_plane: ControlPlane, tmp_path: Path
) -> None:
    obj = manifest("web", "ap-guangzhou-3", paused=True)
    own_plane.kubectl.apply(json.dumps(obj | {"metadata": {"name": "web", "namespace": "default"}}))
    plugin = Plugin.start(own_plane.kubectl.binary, own_plane.kubeconfig, tmp_path)
    try:
        says(plugin, "/environments/default/web", "older than this program: it lacks status.quote", "Update it")
        own_plane.stop_apiserver()
        says(plugin, "No cluster answers", "Shown is what was seen at", "/environments/default/web")
    finally:
        plugin.stop()


@pytest.mark.rare  # needs a control plane of its own; tests/plugin has the sentence
def test_a_cluster_without_the_definition_says_how_to_install_it(tmp_path: Path) -> None:
    with ControlPlane() as plane:
        plugin = Plugin.start(plane.kubectl.binary, plane.kubeconfig, tmp_path)
        says(plugin, "CRD is not installed", "kubectl apply --server-side -f crds/")
        plugin.stop()


def test_a_wrong_port_is_said_and_nothing_is_started(cluster: Cluster, start: Start) -> None:
    port = start().port
    command = [sys.executable, "-m", "kubectl_spot", "ui", "--no-browser", f"--port={port}"]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr


def test_a_change_reaches_the_page_within_two_seconds(start: Start, stage: Stage) -> None:
    stage.apply(replicas=1, paused=True)
    plugin = start(f"--namespace={stage.namespace}")
    says(plugin, "0 of 1")
    stage.scale(2)
    eventually(lambda: "0 of 2" in plugin.text("/"), "the page shows it", allowed(2.0))
    assert plugin.memory_mib() < 200
