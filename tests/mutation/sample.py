"""`make mutants-sample`: makes small random mistakes in the operator, and sees how many of them the tests notice.

    python tests/mutation/sample.py --python .cache/mutants/bin/python --mutants 300 --seed 1

Each mutant is put into a copy of the tree, and meets the tests of its own module, then those of its package, of the
packages that use it, and at last the simulation; the first failure ends it. Survivors are listed with their diff. Fewer
than nine in ten killed make the exit code 1. Apart from `gate`, whose mistakes are chosen by hand and must all be
noticed.
"""

from __future__ import annotations

import difflib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Lock

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from mutation.catalogue import mutants as catalogue  # noqa: E402 - after the path is set

PACKAGE = "operator/spotcompute"

#: Tests that see a mutant of a package, after those of its module: a group a line, the narrow ones first.
SEEN_BY = {
    "plan": (("plan",), ("report", "commands", "reconcile")),
    "reconcile": (("reconcile",), ("kube", "cloud"), ("runtime",)),
    "kube": (("kube",), ("reconcile", "runtime"), ("e2e/test_rights.py", "e2e/test_story.py")),
    "runtime": (("runtime",), ("kube", "reconcile"), ("e2e/test_rights.py", "e2e/test_story.py")),
    "cloud": (("cloud",), ("reconcile", "commands")),
}

#: Mutants that no test can notice, and why: known by their file and the changed line.
EQUIVALENT = {
    (row["file"], row["after"]): row["why"]
    for row in json.loads((Path(__file__).parent / "equivalent.json").read_text())
}

#: Killed mutants of a hundred that are asked for.
WANTED = 90

#: A mutant is killed too when its tests take so many times as long as without it, and a minute: it goes round for ever.
PATIENCE = 10

#: Bytes of memory for one test process: a mutant that goes round may also eat.
MEMORY_KIB = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: `code` is the whole file with it, `before` the file without it."""

    file: str
    line: int
    kind: str
    code: str
    before: str

    def changed(self) -> list[str]:
        """The lines that differ, with - and + before them."""
        diff = [*difflib.unified_diff(self.before.splitlines(), self.code.splitlines(), n=0, lineterm="")][2:]
        return [line for line in diff if line.startswith(("-", "+"))]

    def why_equivalent(self) -> str | None:
        """Why no test can notice it; None when one should."""
        return EQUIVALENT.get((self.file, self.changed()[-1][1:].strip()))


def groups_for(file: str) -> list[tuple[str, ...]]:
    """Which tests see a mutant of `file`, in the order in which they are run."""
    package, stem = file.removeprefix(f"{PACKAGE}/").split("/")[0], Path(file).stem
    own = tuple(sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(f"tests/{package}/test_{stem}*.py")))
    folders = [tuple(f"tests/{name}" for name in names) for names in SEEN_BY[package]]
    in_simulation = {test for mutant in catalogue() for test in mutant.tests if test.startswith("tests/simulation/")}
    wide = (*sorted(in_simulation), "tests/simulation/test_regressions.py", "tests/forgery/test_forgeries.py")
    return [*([own] if own else []), *folders, wide]


def run_tests(tests: tuple[str, ...], tree: Path, seconds: float) -> str | None:
    """Run tests in `tree` up to the first failure: which failed, "time" if it took too long, None if all passed."""
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *tests]
    limited = ["bash", "-c", f'ulimit -d {MEMORY_KIB}; exec "$@"', "-", *pytest]
    environment = {**os.environ, "PYTHONPATH": "operator:deploy/local", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        limited,
        cwd=tree,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "time"
    if process.returncode == 0:
        return None
    failed = [line.split(" ")[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if not failed and process.returncode > 1:
        return f"exit code {process.returncode}: {output.strip().splitlines()[-1:]}"
    return failed[0] if failed else output[-300:]


class Trees:
    """Copies of the checkout, one for each test process, and how long their tests take without a mutant."""

    def __init__(self, directory: Path, count: int) -> None:
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        self._free: Queue[Path] = Queue()
        self._usual: dict[tuple[str, ...], float] = {}
        self._locks: defaultdict[tuple[str, ...], Lock] = defaultdict(Lock)
        for number in range(count):
            for name in names:
                if name and (ROOT / name).is_file():
                    target = directory / str(number) / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, target)
            self._free.put(directory / str(number))

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A copy that nobody else uses meanwhile."""
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)

    def killed_by(self, mutant: Mutant) -> str | None:
        """The test that noticed `mutant`; None when it survived."""
        with self.one() as tree:
            target = tree / mutant.file
            for tests in groups_for(mutant.file):
                seconds = 60.0 + PATIENCE * self._usual_seconds(tests, tree)
                target.write_text(mutant.code)
                try:
                    failed = run_tests(tests, tree, seconds)
                finally:
                    target.write_text(mutant.before)
                if failed:
                    return failed
        return None

    def _usual_seconds(self, tests: tuple[str, ...], tree: Path) -> float:
        """How long these tests take without a mutant. Raises `RuntimeError` when they fail."""
        with self._locks[tests]:
            if tests not in self._usual:
                started = time.monotonic()
                failed = run_tests(tests, tree, 3600.0)
                if failed:
                    raise RuntimeError(f"without any mutant {failed} fails, of {tests}")
                self._usual[tests] = time.monotonic() - started
            return self._usual[tests]


@click.command(help=__doc__)
@click.option("--python", required=True, help="An interpreter that has cosmic-ray.")
@click.option("--mutants", "count", default=300, show_default=True)
@click.option("--seed", default=lambda: random.randrange(10**6), help="Which mutants; another each time if not given.")
@click.option("--only", default="", help="Of those drawn only mutants in files whose path has this in it.")
@click.option("--processes", default=os.cpu_count() or 2, show_default=True)
def main(python: str, count: int, seed: int, only: str, processes: int) -> None:
    """Draw, test, and print the table."""
    files = [str(path.relative_to(ROOT)) for name in SEEN_BY for path in (ROOT / PACKAGE / name).rglob("*.py")]
    command = [python, str(Path(__file__).with_name("draw.py")), str(seed), str(count), *files]
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = [row for row in map(json.loads, drawn.splitlines()) if only in row["file"]]
    chosen = [Mutant(**row, before=(ROOT / row["file"]).read_text()) for row in rows]
    tested = [mutant for mutant in chosen if mutant.why_equivalent() is None]
    click.echo(f"seed {seed}: {len(tested)} mutants, and {len(chosen) - len(tested)} known to change nothing")
    survivors = []
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(processes) as pool:
        trees = Trees(Path(directory), processes)
        judged = {pool.submit(trees.killed_by, mutant): mutant for mutant in tested}
        for number, done in enumerate(as_completed(judged), 1):
            mutant, killer = judged[done], done.result()
            survivors += [mutant] if killer is None else []
            verdict = f"killed by {killer}" if killer else "SURVIVED"
            click.echo(f"{number}/{len(tested)} {mutant.file}:{mutant.line} {mutant.kind} {verdict}")
    sys.exit(report(tested, survivors))


def report(tested: list[Mutant], survivors: list[Mutant]) -> int:
    """Print a table by package, then the survivors; the exit code."""

    def by_package(some: list[Mutant]) -> Counter[str]:
        return Counter(mutant.file.removeprefix(f"{PACKAGE}/").split("/")[0] for mutant in some)

    total, left = by_package(tested), by_package(survivors)
    click.echo("\n| package | mutants | killed |\n|---|---|---|")
    for package, number in sorted(total.items()):
        click.echo(f"| {package} | {number} | {number - left[package]} |")
    percent = 100 * (len(tested) - len(survivors)) / max(1, len(tested))
    click.echo(f"| all | {len(tested)} | {len(tested) - len(survivors)}, {percent:.0f} % |")
    for mutant in survivors:
        click.echo("\n".join([f"\n{mutant.file}:{mutant.line} {mutant.kind}", *mutant.changed()]))
    return 0 if percent >= WANTED else 1


if __name__ == "__main__":
    main()
