"""Runs a process that stays after the command that started it, and ends it with another command.

`up --detach` uses it, with one process per directory. Whether the process lives is decided by a lock that the kernel
releases when it dies. Its pid could belong to another process by then. It owns its children through their lifelines, so
they end with it in every case.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from localcluster.processes import ProcessError

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Background:
    """`Background` is the background process that belongs to `directory` (made on demand, mode 0700)."""

    directory: Path

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Makes this process the background process until the end of the block.

        Raises ProcessError when there is another one.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock_file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProcessError(f"already running: {self._lock_file} is held") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._state_file.unlink(missing_ok=True)  # left by a process that was killed
            try:
                yield
            finally:
                self._state_file.unlink(missing_ok=True)

    def announce(self, state: Mapping[str, Any]) -> None:
        """Announces that everything is ready, with `state` for other processes (JSON values). `pid` is added."""
        partial = self._state_file.with_suffix(".partial")
        partial.write_text(json.dumps({**state, "pid": os.getpid()}, indent=2))
        partial.replace(self._state_file)

    def state(self) -> dict[str, Any] | None:
        """Returns what the living process announced. None when none lives, or it is not ready yet."""
        if not self.alive():
            return None
        try:
            announced: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            return None
        return announced

    def alive(self) -> bool:
        """True when the background process lives."""
        if not self._lock_file.exists():
            return False
        with self._lock_file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def launch(
        self, command: Sequence[str], timeout: float, say: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Starts `command`, which must `hold` and `announce` here, and returns what it announced. `say` gets each line
        that it logs until then.

        It survives this process and its terminal. Raises ProcessError when it ends first or `timeout` seconds pass.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline, told = time.monotonic() + timeout, 0
        while (state := self.state()) is None or state["pid"] != process.pid:
            told = self._tell(told, say)
            if process.poll() is not None:
                raise ProcessError(f"it ended with {process.returncode}:\n{self.log.read_text()[-4000:]}")
            if time.monotonic() > deadline:
                process.terminate()
                raise ProcessError(f"not ready after {timeout:g} s, see {self.log}")
            time.sleep(POLL_SECONDS)
        self._tell(told, say)
        return state

    def _tell(self, told: int, say: Callable[[str], None] | None) -> int:
        """Passes on the lines of the log after the first `told`. Returns how many there are."""
        if say is None:
            return told
        lines = self.log.read_text(errors="replace").split("\n")[:-1]  # the last one may be half written
        for line in lines[told:]:
            say(line)
        return len(lines)

    def end(self, timeout: float = 30.0) -> bool:
        """Asks the process to end, also while it starts, and waits for that. False when none lived.

        Raises ProcessError when it still lives after `timeout` seconds.
        """
        if not self.alive():
            return False
        pid = int(self._lock_file.read_text() or 0)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                raise ProcessError(f"process {pid} still lives after {timeout:g} s, see {self.log}")
            time.sleep(POLL_SECONDS)
        return True

    @property
    def log(self) -> Path:
        """Returns the path of its log."""
        return self.directory / "background.log"

    @property
    def _lock_file(self) -> Path:
        return self.directory / "lock"

    @property
    def _state_file(self) -> Path:
        return self.directory / "state.json"


def end_politely() -> None:
    """Makes SIGTERM, SIGINT and SIGHUP raise SystemExit in the main thread from now on, so that `with` blocks clean up.

    Only the first signal counts. Further ones do not interrupt the clean-up.
    """
    asked = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def leave(number: int, frame: FrameType | None) -> None:
        for each in asked:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(0)

    for each in asked:
        signal.signal(each, leave)


def wait_for_end() -> None:
    """Sleeps until a signal ends this process. Call `end_politely` before."""
    while True:
        signal.pause()
