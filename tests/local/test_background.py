"""What `up --detach` leaves behind is found, told apart from the dead, and ended."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.background import Background
from localcluster.processes import ProcessError
from waiting import eventually

PROGRAM = """
    import sys
    from pathlib import Path
    from localcluster.background import Background, end_politely, wait_for_end

    end_politely()
    background = Background(Path(sys.argv[1]))
    with background.hold():
        {before}
        background.announce({{"kubeconfig": "here"}})
        wait_for_end()
"""


@pytest.fixture
def background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Background]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    background = Background(tmp_path / "state")
    yield background
    background.end()


def program(background: Background, before: str = "pass") -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(PROGRAM).format(before=before), str(background.directory)]


def test_nothing_runs_at_first(background: Background) -> None:
    assert background.state() is None
    assert not background.alive()
    assert background.end() is False


def test_what_was_announced_is_known_until_the_end(background: Background) -> None:
    state = background.launch(program(background), timeout=120)
    assert state["kubeconfig"] == "here"
    assert background.state() == state
    assert background.end() is True
    assert background.state() is None


def test_only_one_at_a_time(background: Background) -> None:
    with background.hold(), pytest.raises(ProcessError, match="already running"):
        background.launch(program(background), timeout=120)


def test_one_that_fails_to_start_tells_why(background: Background) -> None:
    with pytest.raises(ProcessError, match=r"it ended with 1:(?s:.*)no memory"):
        background.launch(program(background, before="raise MemoryError('no memory')"), timeout=120)


def test_a_killed_one_counts_as_gone(background: Background) -> None:
    pid = background.launch(program(background), timeout=120)["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not background.alive(), seconds=10)
    assert background.state() is None
    assert background.launch(program(background), timeout=120)["pid"] != pid


def test_one_that_is_still_starting_is_ended_too(background: Background) -> None:
    with pytest.raises(ProcessError, match="not ready after 0 s"):
        background.launch(program(background, before="wait_for_end()"), timeout=0)
    eventually(lambda: not background.alive(), seconds=10)


def test_what_it_logs_while_it_starts_is_passed_on(background: Background) -> None:
    said: list[str] = []
    before = 'print("[1/2] first", flush=True); print("[2/2] second", flush=True)'
    background.launch(program(background, before), timeout=120, say=said.append)
    assert said == ["[1/2] first", "[2/2] second"]
