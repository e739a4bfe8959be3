"""The kills of a proof: a test run of its own, since they need a real control plane and mostly wait.

Apart from `prove`, which plays in virtual time and only reads what this run has written.
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
TESTS = "tests/e2e/test_kills.py"

#: Seconds before the end after which no round begins, so that those under way come to theirs: most take five.
RESERVE_SECONDS = 8.0

#: Seconds after the end at which a round that still waits is broken off, and then until its processes are gone.
GRACE_SECONDS, CLEANUP_SECONDS = 5.0, 15.0

#: Exit codes of a run whose rows say all: passed, failed, broken off, and broken off by force.
ENDS = (0, 1, 2, -signal.SIGKILL)


class Kills:
    """Kills that go on until `until`, on `time.monotonic()`'s clock, at requests drawn by `seed`."""

    def __init__(self, seed: int, until: float) -> None:
        """Begin at once, in a process of its own."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self.log, self._rows, self.until = CACHE / f"kills-{seed}.log", CACHE / f"kills-{seed}.jsonl", until
        self._rows.unlink(missing_ok=True)
        box = {"KILLS_SECONDS": str(until - time.monotonic() - RESERVE_SECONDS), "KILLS_SEED": str(seed)}
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", TESTS],
                cwd=ROOT,
                env={**os.environ, **box, "KILLS_LOG": str(self._rows)},
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

    def result(self) -> tuple[Counter[str], list[tuple[str, str]]]:
        """What was counted, and every violation with the name of its kill; complete when the run is over."""
        rows = [json.loads(line) for line in self._rows.read_text().splitlines()] if self._rows.exists() else []
        violations = [(row["kill"], row["violation"]) for row in rows if row["violation"]]
        failed = [line for line in self.log.read_text().splitlines() if line.startswith(("FAILED ", "ERROR "))]
        if not rows or len(failed) > len(violations) or self._process.returncode not in ENDS:
            violations.append(("kills", f"the test run failed, see {self.log}"))
        counts = Counter(kills=len(rows), struck=sum(row["struck"] for row in rows))
        counts["scenarios killed"] = len({row["kill"].partition(":")[0] for row in rows})
        return counts, violations


def play_kill(name: str) -> int:
    """Play one kill again, by its name `kill SCENARIO: POINT`; pytest's exit code."""
    point = name.removeprefix("kill ")
    test = f"{TESTS}::test_killed_at_requests_of[{point.partition(':')[0]}]"
    environment = {**os.environ, "KILLS_ONLY": point}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test], cwd=ROOT, env=environment, check=False
    ).returncode
