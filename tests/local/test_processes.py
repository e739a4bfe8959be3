"""Children are themselves (pid, exit code, signals), and none of them outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcluster.processes import PORTS, Child, ProcessError, free_port
from waiting import eventually


def running(pid: int) -> bool:
    """Zombies have ended too: whoever has to reap them may take its time."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


def children_of(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    return [int(line.split()[0]) for line in done.stdout.splitlines() if int(line.split()[1]) == pid]


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Callable[[str], Child]]:
    """Start a Python program as a Child; ended with the test."""
    started: list[Child] = []

    def start(program: str) -> Child:
        command = [sys.executable, "-c", textwrap.dedent(program)]
        started.append(Child.start("program", command, log=tmp_path / "program.log"))
        return started[-1]

    yield start
    for child in started:
        child.kill9()


def test_the_pid_is_the_commands_own(python: Callable[[str], Child]) -> None:
    child = python("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    eventually(child.log_text)
    assert int(child.log_text()) == child.pid


def test_the_exit_code_is_the_commands_own(python: Callable[[str], Child]) -> None:
    assert python("raise SystemExit(7)").wait(timeout=60) == 7


def test_stop_lets_a_program_say_goodbye(python: Callable[[str], Child]) -> None:
    child = python("""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("goodbye"))
        print("ready", flush=True)
        time.sleep(60)
    """)
    eventually(child.log_text)
    assert child.stop() == 1
    assert child.log_text() == "ready\ngoodbye\n"


def test_stop_kills_what_does_not_listen(python: Callable[[str], Child]) -> None:
    child = python("""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(60)
    """)
    eventually(child.log_text)
    assert child.stop(grace=0.1) == -signal.SIGKILL


def test_what_a_child_started_ends_with_it(python: Callable[[str], Child]) -> None:
    child = python("""
        import subprocess, time
        print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
        time.sleep(60)
    """)
    eventually(child.log_text)
    grandchild = int(child.log_text())
    child.kill9()
    eventually(lambda: not running(grandchild))


def test_waiting_for_a_child_that_ends_tells_its_last_words(python: Callable[[str], Child]) -> None:
    child = python("raise SystemExit('no such disk')")
    with pytest.raises(ProcessError, match=r"ended with 1 before it was ready(?s:.*)no such disk"):
        child.wait_until(lambda: False, timeout=60)


def test_waiting_ends_in_time(python: Callable[[str], Child]) -> None:
    child = python("import time; time.sleep(60)")
    with pytest.raises(ProcessError, match="waited 0 s in vain for the moon"):
        child.wait_until(lambda: False, timeout=0, what="the moon")


def test_a_connection_error_means_not_yet(python: Callable[[str], Child]) -> None:
    child = python("import time; time.sleep(60)")
    answers = iter([ConnectionRefusedError("not yet"), True])

    def ready() -> bool:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return bool(answer)

    child.wait_until(ready, timeout=60)
    assert next(answers, None) is None


def test_a_command_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="no executable /no/such/command"):
        Child.start("nothing", ["/no/such/command"], log=tmp_path / "log")


def test_the_watcher_goes_when_the_child_goes(python: Callable[[str], Child]) -> None:
    child = python("import time; time.sleep(60)")
    eventually(lambda: children_of(child.pid))
    [watcher] = children_of(child.pid)
    child.kill9()
    eventually(lambda: not running(watcher))


OWNER = """
    import sys, threading, time
    from pathlib import Path
    from localcluster.processes import Child

    def start():
        child = Child.start("sleeper", ["sh", "-c", "sleep 60 & echo $! && wait"], log=Path(sys.argv[1]))
        print(child.pid, flush=True)
        globals()["kept"] = child

    thread = threading.Thread(target=start)  # ends at once: a child must depend on the process, not on the thread
    thread.start()
    thread.join()
    sys.stdin.read()
"""


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "sleeper.log"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(OWNER), str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        eventually(lambda: log.exists() and log.read_text())
        grandchild = int(log.read_text())
        assert running(child)
        assert running(grandchild)
        owner.kill()
    eventually(lambda: not running(child) and not running(grandchild))


def test_ports_stay_out_of_the_range_of_outgoing_connections() -> None:
    assert free_port() in PORTS
    assert PORTS.stop < 32768
