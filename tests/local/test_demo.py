"""The demo as a person runs it: it comes true, says how long it took, and leaves no process behind."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localdemo.surroundings import REPOSITORY
from waiting import allowed, eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.environ.get("SKIP_E2E") == "1", reason="SKIP_E2E=1: no real control plane is wanted"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes by their environment: needs /proc"),
]
MARK = "LOCALDEMO_TEST_MARK"  # inherited by every process of a run
LONGEST_SECONDS = 90


class Run:
    """One command line of the demo, and every process that stems from it."""

    def __init__(self, directory: Path) -> None:
        self.mark = secrets.token_hex(8)
        self.output = directory / "output"
        path = os.pathsep.join(str(REPOSITORY / part) for part in ("operator", "deploy/local"))
        self._env = {**os.environ, MARK: self.mark, "PYTHONPATH": path}
        self._env.pop("USE_CLUSTER", None)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "localdemo", *words]
        with self.output.open("wb") as output:
            return subprocess.Popen(command, env=self._env, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)

    def run(self, *words: str) -> str:
        """Run it to its end; return what it printed. Fails when it does not exit with 0."""
        code = self.start(*words).wait(timeout=900)
        assert code == 0, self.text()
        return self.text()

    def text(self) -> str:
        return self.output.read_text()

    def processes(self) -> list[str]:
        """The command lines of all living processes with this run's mark."""
        wanted, found = f"{MARK}={self.mark}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # ended meanwhile, or another user's
                continue
        return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.rare  # a newcomer of test_newcomer.py sees it too
def test_the_story_comes_true(run: Run, tmp_path: Path) -> None:
    shown = run.run("demo", f"--transcript={tmp_path / 'transcript'}")
    assert (tmp_path / "transcript").read_text() == shown
    assert max(map(len, shown.splitlines())) <= 110
    took = re.search(r"Everything came true, in (\d+) s", shown)
    assert took, shown
    assert int(took[1]) <= allowed(LONGEST_SECONDS)
    assert re.search(r"^first +7 +5 +4 +4 +2 +1 .* 0$", shown, re.MULTILINE), shown
    eventually(lambda: not run.processes())


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.rare, id="Ctrl-C"),
        pytest.param(signal.SIGKILL, id="kill -9"),
    ],
)
def test_nothing_survives_a_demo_that_is_broken_off(run: Run, number: signal.Signals) -> None:
    demo = run.start("demo")
    try:
        eventually_the_story_begins(run, demo)
        names = " ".join(run.processes())
        assert all(name in names for name in ("etcd", "kube-apiserver", "cvmsim", "spotcompute"))
    finally:
        demo.send_signal(number)
    assert demo.wait(timeout=120) != 0
    eventually(lambda: not run.processes())


def eventually_the_story_begins(run: Run, demo: subprocess.Popen[bytes]) -> None:
    """Wait for the first watch; everything runs by then."""
    for _ in range(1800):
        if "--watch" in run.text():
            return
        try:
            demo.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"the story never began:\n{run.text()}")


def test_what_up_started_is_used_and_ended(run: Run, tmp_path: Path) -> None:
    directory = f"--directory={tmp_path / 'state'}"
    try:
        first = run.run("up", directory)
        steps = [line for line in first.splitlines() if re.match(r"\[\d/4\] ", line)]
        assert [line[:5] for line in steps] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
        assert run.run("up", directory) == first.removeprefix("".join(f"{line}\n" for line in steps))
        play = f". {tmp_path}/state/activate\nkubectl auth whoami && cvmsim market && kubectl apply -k deploy/samples"
        done = subprocess.run(["sh", "-ec", play], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "spotcomputeenvironment.spotcompute.dev/first created" in done.stdout
    finally:
        ended = run.run("down", directory)
    assert ended.strip() == "ended"
    assert run.run("down", directory).strip() == "nothing was running"
    eventually(lambda: not run.processes())
