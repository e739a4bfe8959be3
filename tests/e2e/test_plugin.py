"""`kubectl spot` as kubectl runs it: found on the PATH, on a real API server, about an environment that really runs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.stage import ROOT, Stage
from kubectl_spot.completion import SCRIPT
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


class Terminal:
    """A shell in which kubectl and the plugin are on the PATH."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        (directory / "kubectl").symlink_to(stage.kubectl.binary)
        plugin = directory / "kubectl-spot"
        plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -m kubectl_spot "$@"\n')
        plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
        completion = directory / "kubectl_complete-spot"
        completion.write_text(SCRIPT.replace("kubectl-spot", str(plugin)))
        completion.chmod(0o755)
        path = os.pathsep.join([str(directory), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "operator")}
        self.kubeconfig = f"--kubeconfig={stage.kubectl.kubeconfig}"
        self._scope = (f"--kubeconfig={stage.kubectl.kubeconfig}", f"--namespace={stage.namespace}")

    def command(self, name: str, *arguments: str) -> list[str]:
        return ["kubectl", "spot", name, *arguments, *self._scope]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.kubectl("spot", name, *arguments, *self._scope)

    def kubectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def terminal(stage: Stage, tmp_path: Path) -> Terminal:
    return Terminal(stage, tmp_path)


def test_it_shows_what_the_status_says(stage: Stage, terminal: Terminal) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    ids = {row["id"] for row in stage.cloud.instances(stage.account)}
    assert f"{stage.namespace}/web: 2 of 2 ready, Ready" in terminal.run("why").stdout
    listed = terminal.run("instances", "web").stdout
    assert all(one in listed for one in ids)
    told = terminal.run("activity", "web").stdout
    assert "Launch" in told
    assert "Succeeded" in told
    assert "S5.MEDIUM4@" in terminal.run("pools").stdout
    (cost,) = json.loads(terminal.run("cost", "-o", "json").stdout)
    assert cost["name"] == "web"
    assert float(cost["cost"]["perHour"]) > float(cost["cost"]["extrasPerHour"]) > 0
    assert "only while spec.paused is true" in terminal.run("quote", "web").stdout


def test_what_kubectl_cannot_read_is_told_in_its_words(terminal: Terminal) -> None:
    done = terminal.run("why", "nobody")
    assert done.returncode == 1
    assert 'spotcomputeenvironments.spotcompute.dev "nobody" not found' in done.stderr
    assert terminal.run("why").stdout.strip() == "No environments."
    assert "either --namespace or --all-namespaces" in terminal.run("why", "-A").stderr


def test_kubectls_flags_work_in_every_place(stage: Stage, terminal: Terminal) -> None:
    stage.apply(replicas=1)
    stage.until_ready(1)
    name, where = f"{stage.namespace}/web", f"--namespace={stage.namespace}"
    assert name in terminal.kubectl("spot", where, terminal.kubeconfig, "why").stdout
    assert name in terminal.kubectl("spot", terminal.kubeconfig, "why", "-A").stdout
    assert name in terminal.kubectl("spot", "-n", stage.namespace, "why", "web", terminal.kubeconfig).stdout
    assert "No environments." in terminal.kubectl("spot", where, "-l", "no=such", "why", terminal.kubeconfig).stdout
    refused = terminal.kubectl("spot", "--as", "eve", terminal.kubeconfig, "why", where)
    assert (refused.returncode, "ClusterRole spotcompute-view" in refused.stderr) == (1, True), refused.stderr


def test_a_tree_shows_what_runs(stage: Stage, terminal: Terminal) -> None:
    stage.apply(replicas=2)
    stage.until_ready(2)
    lines = terminal.run("tree").stdout.splitlines()
    assert lines[0] == stage.namespace
    assert lines[1].startswith("└─ web   2/2 ready   Ready")
    ids = {row["id"] for row in stage.cloud.instances(stage.account)}
    assert {line.split()[1] for line in lines[2:]} == ids


def test_kubectl_completes_it(stage: Stage, terminal: Terminal) -> None:
    stage.apply(replicas=0)
    stage.until(lambda obj: obj["status"].get("phase"), "it is seen")
    terminal.environment["KUBECONFIG"] = terminal.kubeconfig.partition("=")[2]
    assert "tree\t" in terminal.kubectl("__complete", "spot", "tr").stdout
    shown = terminal.kubectl("__complete", "spot", "-n", stage.namespace, "why", "").stdout
    assert shown.splitlines()[:2] == ["web\tReady", ":4"], shown


def test_it_watches(stage: Stage, terminal: Terminal, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with shown.open("w") as file:
        watch = subprocess.Popen(terminal.command("why", "--watch"), env=terminal.environment, stdout=file)
    try:
        # Paused first: the watch may begin late on a busy machine, and a quick environment is ready before that.
        stage.apply(replicas=1, paused=True)
        eventually(lambda: "0 of 1 ready, Paused" in shown.read_text(), "it shows what is there")
        stage.apply(replicas=1, paused=False)
        stage.until_ready(1)
        eventually(lambda: "1 of 1 ready, Ready" in shown.read_text(), "it shows that all is well")
    finally:
        watch.terminate()
        watch.wait(120)
