"""What a proof does on real parts beside its plays: test runs of their own, since they need a control plane and wait.

Apart from `prove`, which plays in virtual time and only reads what these runs have written.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "prove"
TESTS, RARE = "tests/e2e/test_kills.py", "tests"

#: Seconds before the end after which no round begins, so that those under way come to theirs: most take five.
RESERVE_SECONDS = 8.0

#: Seconds after the end at which a test that still waits is broken off, and then until its processes are gone.
GRACE_SECONDS, CLEANUP_SECONDS = 5.0, 15.0

#: Exit codes of a run whose log says all: passed, failed, broken off, and broken off by force.
ENDS = (0, 1, 2, -signal.SIGKILL)


class RunBeside:
    """`RunBeside` is one test run that goes on until `until`, on `time.monotonic()`'s clock."""

    def __init__(self, name: str, until: float, words: tuple[str, ...], environment: dict[str, str]) -> None:
        """Begin at once, in a process of its own; `name` is that of its log."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self.log, self.until = CACHE / f"{name}.log", until
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *words],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def is_over(self) -> bool:
        """True when the run has ended, or has been broken off because it took too long."""
        if self._process.poll() is None and time.monotonic() > self.until + GRACE_SECONDS:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(CLEANUP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.poll() is not None

    def failed(self) -> list[str]:
        """Returns the lines in which pytest names what has failed."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(("FAILED ", "ERROR "))]

    def has_told_all(self) -> bool:
        """True when the run ended in a way in which its log says what has failed."""
        return self._process.returncode in ENDS


class Kills(RunBeside):
    """`Kills` kills the real operator at requests drawn by `seed`, as often as the time allows."""

    def __init__(self, seed: int, until: float) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self._rows = CACHE / f"kills-{seed}.jsonl"
        self._rows.unlink(missing_ok=True)
        box = {"KILLS_SECONDS": str(until - time.monotonic() - RESERVE_SECONDS), "KILLS_SEED": str(seed)}
        super().__init__(f"kills-{seed}", until, ("-q", TESTS), box | {"KILLS_LOG": str(self._rows)})

    def result(self) -> tuple[Counter[str], list[tuple[str, str]]]:
        """What was counted, and every violation with the name of its kill; complete when the run is over."""
        rows = [json.loads(line) for line in self._rows.read_text().splitlines()] if self._rows.exists() else []
        violations = [(row["kill"], row["violation"]) for row in rows if row["violation"]]
        if not rows or len(self.failed()) > len(violations) or not self.has_told_all():
            violations.append(("kills", f"the test run failed, see {self.log}"))
        counts = Counter(kills=len(rows), struck=sum(row["struck"] for row in rows))
        counts["scenarios killed"] = len({row["kill"].partition(":")[0] for row in rows})
        return counts, violations


class RareTests(RunBeside):
    """`RareTests` runs the tests that are marked `rare`, which `make test` leaves out, as many as the time allows.

    They need no seed. Kills are not among them, because `Kills` plays these.
    """

    def __init__(self, until: float) -> None:
        words = ("-v", "-m", "rare", "-p", "no:xdist", "-p", "no:cacheprovider", f"--deselect={TESTS}", RARE)
        super().__init__("rare", until, words, {})

    def result(self) -> tuple[Counter[str], list[tuple[str, str]]]:
        """How many passed, and every one that failed; complete when the run is over."""
        passed = sum(" PASSED" in line for line in self.log.read_text().splitlines())
        violations = [("rare", line.split(" - ")[0].partition(" ")[2]) for line in self.failed()]
        if not violations and (not self.has_told_all() or self._process.returncode == 1):
            violations = [("rare", f"the test run failed, see {self.log}")]
        return Counter(rare=passed), violations


def play_kill(name: str) -> int:
    """Play one kill again, by its name `kill SCENARIO: POINT`; pytest's exit code."""
    point = name.removeprefix("kill ")
    test = f"{TESTS}::test_killed_at_requests_of[{point.partition(':')[0]}]"
    environment = {**os.environ, "KILLS_ONLY": point}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test], cwd=ROOT, env=environment, check=False
    ).returncode
