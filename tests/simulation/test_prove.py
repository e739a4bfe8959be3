"""A proof keeps its time, plays every kind, and ends with 1 and the way to repeat it when it found a violation."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e.kills import TimeBox
from simulation import killing, prove, tally
from simulation.killing import Kills, RareTests
from simulation.plays import play_named

SHORT = ["--minutes", "0.01", "--seed", "5", "--processes", "1", "--no-kills"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plays go to a thread of this process, few at once."""
    monkeypatch.setattr(prove, "ProcessPoolExecutor", lambda processes, **_: ThreadPoolExecutor(processes))
    kinds = {kind: (draw, part, 2) for kind, (draw, part, _) in prove.KINDS.items()}
    monkeypatch.setattr(prove, "KINDS", kinds)


def rows(table: str) -> dict[str, str]:
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in cells}


@pytest.mark.usefixtures("small")
def test_every_kind_is_played_in_a_short_time_too() -> None:
    found = rows(CliRunner().invoke(prove.main, SHORT).output)
    assert int(found["single fault points"]) >= 2
    assert found["pairs of fault points · of which both struck"] >= "2"
    assert found["histories · with 2 or 3 replicas"] >= "2"
    assert int(found["histories with nodes, notices and pods"]) >= 2
    assert found["attacks by forgery · two clusters in one account"] >= "2 · 2"
    assert found["violations"] == "0"


@pytest.mark.rare
def test_a_proof_is_played_by_processes_of_its_own() -> None:
    command = [sys.executable, "tests/simulation/prove.py", *SHORT]
    done = subprocess.run(command, cwd=killing.ROOT, capture_output=True, text=True, check=True)
    found = rows(done.stdout)
    assert "MINUTES=0.01 SEED=5" in done.stdout
    assert int(found["single fault points"]) >= 30
    assert found["pairs of fault points · of which both struck"] > "3"
    assert found["histories · with 2 or 3 replicas"] >= "5"
    assert found["attacks by forgery · two clusters in one account"] >= "5 · 5"
    assert found["violations"] == "0"


@pytest.mark.usefixtures("small")
def test_a_violation_is_told_with_what_plays_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    good = play_named("points create-1 0:BEFORE_SEND:TIMEOUT")
    bad = {"history 6": replace(good, violations=("O2 over: 3 live, 2 wanted",))}

    def played(name: str) -> object:
        if name == "attack 5":
            raise AssertionError("it never came so far")
        return bad.get(name, good)

    monkeypatch.setattr(tally, "play_named", played)
    result = CliRunner().invoke(prove.main, SHORT)
    assert result.exit_code == 1
    assert "make prove PLAY='history 6'" in result.output
    assert '{"play": "history 6", "why": "…"}' in result.output
    assert "make prove PLAY='attack 5'" in result.output
    assert rows(result.output)["violations"].startswith("O2 1, raised ")


def test_time_is_shared_by_what_is_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    box = TimeBox(60.0, 3)
    assert [box.open_next() for _ in range(3)] == [1020.0, 1030.0, 1060.0]
    assert TimeBox(float("inf"), 2).open_next() == float("inf")


ROW = """
import json, os, time
def test_kill():
    row = {"kill": "kill create: kube PATCH status #1, before it is sent", "struck": True, "violation": %r}
    with open(os.environ["KILLS_LOG"], "a") as file:
        file.write(json.dumps(row) + "\\n")
    %s
"""


@pytest.mark.parametrize(
    ("test", "violations"),
    [
        pytest.param(ROW % ("", "pass"), [], id="all-is-well"),
        pytest.param(ROW % ("", "time.sleep(100)"), [], id="broken-off-while-a-round-waits"),
        pytest.param(ROW % ("a leak", "assert False"), ["a leak"], id="a-violation"),
        pytest.param(ROW % ("", "assert False"), ["the test run failed"], id="failed-beside-the-kills"),
        pytest.param("import nothing_of_that_name", ["the test run failed"], id="did-not-begin"),
    ],
)
def test_kills_are_read_from_their_test_run(
    test: str, violations: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_kill.py").write_text(test)
    monkeypatch.setattr(killing, "CACHE", tmp_path)
    monkeypatch.setattr(killing, "TESTS", str(tmp_path / "test_kill.py"))
    kills = Kills(1, time.monotonic() + 1000.0)
    while not kills.is_over():
        if "sleep" in test and (tmp_path / "kills-1.jsonl").exists():
            kills.until = -1000.0  # its time has long been over
        time.sleep(0.05)
    counts, found = kills.result()
    assert [text.partition(",")[0] for _, text in found] == violations
    assert counts["struck"] == ("json" in test)


PASSES, FAILS = "def test_one(): pass", "def test_one(): assert False"


@pytest.mark.parametrize(
    ("test", "passed", "violations"),
    [
        pytest.param(PASSES, 1, 0, id="all-is-well"),
        pytest.param(FAILS, 0, 1, id="one-fails"),
        pytest.param("import nothing_of_that_name", 0, 1, id="did-not-begin"),
    ],
)
def test_rare_tests_are_counted_and_told(
    test: str, passed: int, violations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_seldom.py").write_text(f"import pytest\npytestmark = pytest.mark.rare\n{test}\n")
    monkeypatch.setattr(killing, "CACHE", tmp_path)
    monkeypatch.setattr(killing, "RARE", str(tmp_path / "test_seldom.py"))
    run = RareTests(time.monotonic() + 1000.0)
    while not run.is_over():
        time.sleep(0.05)
    counts, found = run.result()
    assert counts["rare"] == passed
    assert len(found) == violations
    assert all("test_seldom.py" in text or "rare.log" in text for _, text in found)
