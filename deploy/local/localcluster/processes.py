"""Starts child processes that write to a log, can be waited for, and die with the process that started them.

Apart from the control plane because tests and the demo start the operator and the simulator in the same way.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

GUARD = Path(__file__).with_name("guard.py")
LOG_TAIL_BYTES = 4000
STOP_SECONDS = 10.0
# Below the range from which Linux (32768) and macOS (49152) take ports for outgoing connections: a listener that is
# stopped and started again on its port does not lose it to a client in between.
PORTS = range(20000, 32000)


class ProcessError(RuntimeError):
    """`ProcessError` means that a child ended, or was not ready in time. Its message has the end of the log."""


class Child:
    """`Child` is one running command, with its output in `log`. It ends with its owner, even when that is killed with
    -9.

    `pid` is the command's own. The command leads its own process group and session: Ctrl-C at the terminal reaches only
    the owner, and everything the command starts ends with it. An owner that forks without exec (multiprocessing's
    "fork") shares the lifeline with its copies. The child then lives until the last of them ends.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], lifeline: int, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._lifeline: int | None = lifeline

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Self:
        """Starts `command` and appends stdout and stderr to `log`. `env` replaces the environment; None inherits it.

        Raises ProcessError when the command does not exist or cannot be executed.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process, lifeline = _spawn(name, command, output, env, cwd)
        return cls(name, process, lifeline, log)

    @property
    def pid(self) -> int:
        """Returns the command's pid."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Returns the exit code. None while it runs. A negative code is the number of the signal that ended it."""
        return self._process.poll()

    def log_text(self) -> str:
        """Returns the whole log."""
        return self.log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], bool], *, timeout: float, what: str | None = None) -> None:
        """Returns once `ready()` is true. Raises ProcessError when the child ends first or `timeout` seconds pass.

        An OSError from `ready` (refused, reset, timed out) means "not yet".
        """
        deadline = time.monotonic() + timeout
        while not _holds(ready):
            if self.returncode is not None:
                raise ProcessError(
                    f"{self.name} ended with {self.returncode} before {what or 'it was ready'}\n{self._tail()}"
                )
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name}: waited {timeout:g} s in vain for {what or 'it to be ready'}\n{self._tail()}"
                )
            time.sleep(0.05)

    def wait(self, timeout: float) -> int:
        """Returns the exit code. Raises ProcessError after `timeout` seconds, while the child runs on."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} still runs after {timeout:g} s\n{self._tail()}") from None
        self._release()
        return code

    def terminate(self) -> None:
        """Asks it to end (SIGTERM) and returns at once. Does nothing when it has ended."""
        self._process.terminate()

    def stop(self, grace: float = STOP_SECONDS) -> int:
        """Sends SIGTERM, then SIGKILL after `grace` seconds, also to its group. Returns the exit code."""
        self.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            return self.kill9()
        return self.kill9()

    def kill9(self) -> int:
        """Ends it and its group at once, as a crash of the machine would. Returns the exit code."""
        if self._lifeline is not None:  # once: later the number may be another group's
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
                os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self._release()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _release(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _tail(self) -> str:
        return f"--- end of {self.log}\n{self.log_text()[-LOG_TAIL_BYTES:]}"


def _spawn(
    name: str,
    command: Sequence[str | Path],
    output: IO[bytes],
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> tuple[subprocess.Popen[bytes], int]:
    """Starts `command` under the guard. Returns it with the owner's end of its lifeline."""
    if shutil.which(command[0]) is None:  # the guard itself always starts, so ask before
        raise ProcessError(f"{name} cannot be started: no executable {command[0]}")
    reader, lifeline = os.pipe()
    try:
        process = subprocess.Popen(
            [*guarded(reader), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            pass_fds=(reader,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(lifeline)
        raise ProcessError(f"{name} cannot be started: {error}") from error
    finally:
        os.close(reader)
    return process, lifeline


def guarded(lifeline: int) -> list[str]:
    """Returns the words in front of a command that make it die when the other end of `lifeline` closes."""
    return [sys.executable, "-I", "-S", str(GUARD), str(lifeline)]


@contextlib.contextmanager
def piped(
    name: str, command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a guarded command whose output the caller reads from `.stdout`. It is killed with its group at the end."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as output:
        process, lifeline = _spawn(name, command, output, env, cwd)
    process.stdout = os.fdopen(reader, "rb")
    try:
        yield process
    finally:
        Child(name, process, lifeline, Path(os.devnull)).kill9()
        process.stdout.close()


def _holds(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:
        return False


def answers(url: str, *, timeout: float = 2.0) -> bool:
    """True when GET `url` answers 200. Raises OSError (URLError) when nothing listens. For `Child.wait_until`."""
    try:
        with direct_opener().open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


def direct_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Returns an opener for URLs of this machine that ignores the proxies in the environment."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 on which nothing listens now.

    Another process may take it first. Raises ProcessError.
    """
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ProcessError(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1")
