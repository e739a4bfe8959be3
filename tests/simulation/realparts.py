"""The parts of a proof that need real processes: kill -9 at every request, the drills, and the planted mutants.

Apart from `proof` because they are whole test runs and not plays: each writes a file of its own, a row a line. It
counts for the code that it was made with, stays in `.cache/prove` until its run has ended well, and can then be
committed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutation.catalogue import mutants
from simulation.proof import CACHE, PROOFS, ROOT, loaded_by, version_of

#: A line of the table: what, and how many.
Row = tuple[str, str]

#: What the file of a part holds.
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """One run of minutes or an hour.

    `{state}` in `command` and `variables` stands for the file it writes, `{processes}` for how many it may use. A run
    that was broken off goes on with what it finds there if it `resumes`, and starts over if not. It depends on all of
    the operator, and on the files of tests that `modules` load.
    """

    name: str
    command: Sequence[str]
    variables: Mapping[str, str]
    modules: Sequence[str]
    tell: Callable[[Rows], Row]
    resumes: bool = False

    def version(self) -> str:
        """Twelve hex digits that differ whenever the operator or the tests of this part do."""
        operator = [path for kind in ("*.py", "*.yaml") for path in (ROOT / "operator").rglob(kind)]
        tests = [path for path in loaded_by(self.modules) if path.is_relative_to(ROOT / "tests")]
        return version_of(sorted({*operator, *tests}))


def _of_kills(points: Rows) -> Row:
    struck = sum(point["struck"] for point in points)
    return "kill -9 points on real parts · of which struck", f"{len(points):,} · {struck:,}"


def _of_drills(notes: Rows) -> Row:
    races = sum(note["count"] for note in notes if note["drill"] == "races")
    return "drills on real parts · deletions that raced the finalizer", f"{len(notes)} · {races:,}"


def _of_mutants(verdicts: Rows) -> Row:
    killed = sum(verdict["killed_by"] is not None for verdict in verdicts)
    return "mutants killed, all by tests of `make test`", f"{killed} of {len(verdicts)}"


def _modules_that_kill() -> list[str]:
    """Of the tests that are to notice the mutants, as they are imported."""
    files = {test.partition("::")[0] for mutant in mutants() for test in mutant.tests}
    return sorted(file.removeprefix("tests/").removesuffix(".py").replace("/", ".") for file in files)


PYTEST = (sys.executable, "-m", "pytest", "-v")
PARTS = {
    part.name: part
    for part in (
        Part(
            "mutants",
            (sys.executable, "tests/mutation/gate.py", "--processes", "{processes}", "--state", "{state}"),
            {},
            ("mutation.gate", *_modules_that_kill()),
            _of_mutants,
        ),
        Part(
            "kills",
            (*PYTEST, "tests/e2e/test_kills.py"),
            {"KILLS": "all", "KILLS_STATE": "{state}"},
            ("e2e.conftest", "e2e.test_kills"),
            _of_kills,
            resumes=True,
        ),
        Part(
            "drills",
            (*PYTEST, "tests/e2e/test_drills.py"),
            {"DRILLS": "all", "DRILLS_STATE": "{state}"},
            ("e2e.conftest", "e2e.test_drills"),
            _of_drills,
        ),
    )
}


class RealPart:
    """One part and the file of it: `cache` has it as it grows, and `proofs` when it is committed."""

    def __init__(self, part: Part, cache: Path = CACHE, proofs: Path = PROOFS) -> None:
        """Look up the version; nothing is run."""
        self.part = part
        stem = f"{part.name}-{part.version()}.jsonl"
        self._growing, self._whole, self._recorded = cache / f"{stem}.part", cache / stem, proofs / stem

    def is_done(self) -> bool:
        """True when a run of this code has ended well, here or where it was recorded."""
        return self._whole.exists() or self._recorded.exists()

    def run(self, processes: int) -> bool:
        """Run it, or what is left of it, in so many processes where it can; True when all went well."""
        self._growing.parent.mkdir(parents=True, exist_ok=True)
        if not self.part.resumes:
            self._growing.unlink(missing_ok=True)
        stands_for = {"state": self._growing, "processes": processes}
        variables = {name: value.format(**stands_for) for name, value in self.part.variables.items()}
        command = [word.format(**stands_for) for word in self.part.command]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False).returncode != 0:
            return False
        self._growing.rename(self._whole)
        return True

    def row(self) -> Row | None:
        """Its line of the table; None while it is not done."""
        found = next((path for path in (self._whole, self._recorded) if path.exists()), None)
        return None if found is None else self.part.tell([json.loads(line) for line in found.read_text().splitlines()])

    def record(self) -> bool:
        """Put what is done where it can be committed; True when that was new."""
        if not self._whole.exists() or self._recorded.exists():
            return False
        self._recorded.parent.mkdir(parents=True, exist_ok=True)
        self._recorded.write_bytes(self._whole.read_bytes())
        return True
