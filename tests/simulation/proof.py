"""What a proof has come to so far: sums of plays, kept so that another process, or another machine, goes on with it.

Two places. `.cache/prove` has every job as it ends. `tests/simulation/proofs` is committed, and has whole blocks of
them: a proof takes hours of both cores, and may be played in parts. Both are keyed by a digest of what is played, so
that nothing counts that another code has done; each job's plays have a digest too, so that anybody can play it again
and compare.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from simulation.world import Outcome

ROOT = Path(__file__).resolve().parents[2]
PROOFS = Path(__file__).parent / "proofs"
CACHE = ROOT / ".cache" / "prove"

#: Jobs recorded together.
BLOCK = 50

#: What a history must have had for its orphan sweep to be tempted: no API server, or one that lies about what exists.
TEMPTING = frozenset({"kube-outage", "lying-list", "rewind"})

#: Where a play, or a test, finds what it imports of this project.
SOURCES = [ROOT / "operator", ROOT / "tests", ROOT / "deploy" / "local"]

#: Prints what the modules that are named load, one path a line.
LIST_WHAT_IS_LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""


def loaded_by(modules: Sequence[str]) -> list[Path]:
    """The files of this project that these modules load, themselves among them."""
    environment = {**os.environ, "PYTHONPATH": ":".join(map(str, SOURCES))}
    listing = [sys.executable, "-c", LIST_WHAT_IS_LOADED, *modules]
    told = subprocess.run(listing, env=environment, capture_output=True, text=True, check=True).stdout
    files = {Path(line) for line in told.splitlines()}
    return sorted(path for path in files if any(path.is_relative_to(source) for source in SOURCES))


def what_is_played() -> list[Path]:
    """The files a play runs through: of the operator, of the cloud, and of the worlds they meet in. No others."""
    loaded = loaded_by(["simulation.history", "simulation.scenarios"])
    return sorted({*loaded, *(ROOT / "operator" / "cvmsim").rglob("*.yaml")})


@cache
def version_of_what_is_played() -> str:
    """Twelve hex digits that differ whenever a file of what is played does."""
    return version_of(what_is_played())


def version_of(paths: Iterable[Path]) -> str:
    """The same of given files below `ROOT`."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@dataclass(slots=True)
class Tally:
    """What a number of plays came to. Sums, and maxima where the name says longest."""

    kind: str
    plays: int = 0
    launched: int = 0
    calls: int = 0
    several_replicas: int = 0
    many_environments: int = 0
    tempted: int = 0
    records: int = 0
    struck: int = 0
    longest_orphan: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """Add one play."""
        self.plays += 1
        self.launched += outcome.launched
        self.calls += outcome.calls
        self.several_replicas += outcome.replicas > 1
        self.many_environments += outcome.environments > 3
        self.tempted += bool(outcome.features & TEMPTING)
        self.records += outcome.records
        self.struck += outcome.faults_struck > 1
        self.longest_orphan = max(self.longest_orphan, outcome.longest_orphan)
        self.failures += [f"{self.kind} {outcome.name}: {violation}" for violation in outcome.violations[:2]]

    def add(self, other: Tally) -> None:
        """Add the plays of another tally."""
        longest = max(self.longest_orphan, other.longest_orphan)
        for one in fields(self):
            if one.name != "kind":
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        self.longest_orphan = longest


class Record:
    """The jobs of one proof that are done, and the blocks of them that are to be committed.

    `jobs` are the names of all, in order; the first word is their kind.
    """

    def __init__(self, jobs: Sequence[str], first_seed: int, cache: Path, proofs: Path = PROOFS) -> None:
        """Read what there is already. `cache` and `proofs` are directories."""
        stem = f"{version_of_what_is_played()}-{first_seed}"
        self.path, self._recorded_at = cache / f"{stem}.jsonl", proofs / f"{stem}.jsonl"
        by_kind = (list(names) for _, names in groupby(jobs, key=lambda name: name.split()[0]))
        self._blocks = [names[at : at + BLOCK] for names in by_kind for at in range(0, len(names), BLOCK)]
        self._done = {row["job"]: row["tally"] for row in _rows(self.path)}
        self._recorded = {row["block"]: row for row in _rows(self._recorded_at)}

    def _is_recorded(self, block: Sequence[str]) -> bool:
        row = self._recorded.get(block[0])
        return row is not None and row["jobs"] == len(block)

    def missing(self) -> Iterator[str]:
        """Jobs nobody has done yet."""
        for block in self._blocks:
            if not self._is_recorded(block):
                yield from (job for job in block if job not in self._done)

    def enter(self, job: str, tally: Tally) -> None:
        """One job is done."""
        self._done[job] = asdict(tally)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as log:
            log.write(json.dumps({"job": job, "tally": self._done[job]}) + "\n")

    def tallies(self) -> Iterator[Tally]:
        """Everything done, recorded or not."""
        for block in self._blocks:
            if self._is_recorded(block):
                yield Tally(**self._recorded[block[0]]["tally"])
            else:
                yield from (Tally(**self._done[job]) for job in block if job in self._done)

    def write_blocks(self, commit: str) -> int:
        """Add each whole block that is not recorded yet to the file that is committed; return how many."""
        fresh = [
            block for block in self._blocks if not self._is_recorded(block) and all(job in self._done for job in block)
        ]
        self._recorded_at.parent.mkdir(parents=True, exist_ok=True)
        with self._recorded_at.open("a") as log:
            for block in fresh:
                whole = Tally(block[0].split()[0])
                for job in block:
                    whole.add(Tally(**self._done[job]))
                row = {"block": block[0], "jobs": len(block), "commit": commit, "tally": asdict(whole)}
                self._recorded[block[0]] = row
                log.write(json.dumps(row) + "\n")
        return len(fresh)

    def digests(self) -> Mapping[str, str]:
        """The digest of every job in the committed file."""
        return {
            job: digest
            for block in self._blocks
            if self._is_recorded(block)
            for job, digest in zip(block, self._recorded[block[0]]["tally"]["digests"], strict=True)
        }


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    return map(json.loads, path.read_text().splitlines()) if path.exists() else ()
