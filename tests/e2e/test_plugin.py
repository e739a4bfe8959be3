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
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]


class Terminal:
    """A shell in which kubectl and the plugin are on the PATH."""

    def __init__(self, stage: Stage, directory: Path) -> None:
        (directory / "kubectl").symlink_to(stage.kubectl.binary)
        plugin = directory / "kubectl-spot"
        plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -m kubectl_spot "$@"\n')
        plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
        path = os.pathsep.join([str(directory), os.environ["PATH"]])
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "operator")}
        self._scope = (f"--kubeconfig={stage.kubectl.kubeconfig}", f"--namespace={stage.namespace}")

    def command(self, name: str, *arguments: str) -> list[str]:
        return ["kubectl", "spot", name, *arguments, *self._scope]

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, *arguments),
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
