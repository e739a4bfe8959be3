"""`make mutants-sample`: makes small random mistakes in the operator, and sees how many of them the tests notice.

    python tests/mutation/sample.py --python .cache/mutants/bin/python --mutants 300 --seed 1

Which test executes which line is recorded first. Each mutant is put into a copy of the tree, and meets all tests that
execute its line, the nearest and cheapest first, until one fails; what all of them pass has survived. Survivors are
listed with their diff. Fewer than nine in ten killed make the exit code 1. Apart from `gate`, whose mistakes are chosen
by hand and must all be noticed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path
from queue import Queue

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from mutation.catalogue import mutants as catalogue  # noqa: E402 - after the path is set
from mutation.witnesses import PATHS, Recording, read, record  # noqa: E402 - after the path is set

PACKAGE = "operator/spotcompute"

#: The packages in which mistakes are made.
MUTATED = ("plan", "reconcile", "kube", "runtime", "cloud")

#: Folders whose tests are asked, those that take long apart: of each a recording is made.
FOLDERS = ("plan", "report", "commands", "reconcile", "kube", "cloud", "runtime")

#: Packages whose code runs in real processes too, where nothing is recorded: these tests are asked last.
OF_PROCESSES = dict.fromkeys(("kube", "runtime"), ("tests/e2e/test_rights.py", "tests/e2e/test_story.py"))

#: Mutants that no test can notice, and why: known by their file and the changed line.
EQUIVALENT = {
    (row["file"], row["after"]): row["why"]
    for row in json.loads((Path(__file__).parent / "equivalent.json").read_text())
}

#: Killed mutants of a hundred that are asked for.
WANTED = 90

#: A mutant is killed too when its tests use so many times the CPU time that they use without it, and ten seconds: it
#: goes round for ever. The time on the wall may be three times as long, and a minute more.
PATIENCE = 5

#: How much CPU time, in seconds, the tests of a process take together: most mutants meet the first process only.
PORTIONS = (3.0, 30.0)

#: Made by pytest when none of the chosen tests is there any more.
NO_TESTS = 5

#: KiB of memory for one test process: a mutant that goes round may also eat.
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


def long_tests() -> tuple[str, ...]:
    """The tests of the simulation and of forgeries that are asked.

    Of fault points and histories, which take minutes, these are the few that notice the mutants of the catalogue.
    """
    few = {test for mutant in catalogue() for test in mutant.tests if test.startswith("tests/simulation/")}
    apart = {test.partition("::")[0] for test in few} | {"tests/simulation/test_prove.py"}
    files = (path for name in ("simulation", "forgery") for path in (ROOT / "tests" / name).glob("test_*.py"))
    whole = {str(path.relative_to(ROOT)) for path in files} - apart
    return (*sorted(few), *sorted(whole))


def portions(tests: Sequence[str], recording: Recording) -> Iterator[tuple[list[str], float]]:
    """Portions of the tests, each for a process, and the CPU seconds each takes without a mutant."""
    left = [*tests]
    for limit in (*PORTIONS, float("inf")):
        portion, seconds = [], 0.0
        while left and seconds < limit:
            seconds += recording.seconds[left[0]]
            portion.append(left.pop(0))
        if portion:
            yield portion, seconds


def run_tests(tests: Sequence[str], tree: Path, seconds: float) -> str | None:
    """Run tests in `tree` up to the first failure: which failed, "time" if it took too long, None if all passed.

    `seconds` is the CPU time that they may use.
    """
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    chosen = tree / "chosen-tests.json"
    chosen.write_text(json.dumps([*tests]))
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    if any("::" in test for test in tests):
        plugins += ["-p", "mutation.chosen"]
    pytest = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", *plugins, *files]
    limits = f'ulimit -d {MEMORY_KIB} -t {int(seconds) + 1}; exec "$@"'
    environment = {**os.environ, **PATHS, "CHOSEN_TESTS": str(chosen)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        ["bash", "-c", limits, "-", *pytest],
        cwd=tree,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = process.communicate(timeout=3 * seconds + 60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "time"
    if process.returncode < 0:
        return "time"
    if process.returncode in (0, NO_TESTS):
        return None
    failed = [line.split(" ")[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else f"exit code {process.returncode}: {output.strip().splitlines()[-1:]}"


class Trees:
    """Copies of the checkout, one for each test process."""

    def __init__(self, directory: Path, count: int) -> None:
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        files = {name: ROOT / name for name in names if name and (ROOT / name).is_file()}
        digest = hashlib.sha256()
        for name in sorted(files):
            if name.startswith(("operator/", "tests/")):
                digest.update(f"{name} {hashlib.sha256(files[name].read_bytes()).hexdigest()}\n".encode())
        #: A name of all code and tests: while it is the same, tests execute the same lines.
        self.digest = digest.hexdigest()[:16]
        self._free: Queue[Path] = Queue()
        self._stamps = numbers(1_000_000_000)
        for number in range(count):
            for name, path in files.items():
                target = directory / str(number) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
            self._free.put(directory / str(number))

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A copy that nobody else uses meanwhile."""
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)

    @contextmanager
    def with_mutant(self, mutant: Mutant) -> Iterator[Path]:
        """A copy in which the mutant is planted.

        Its file bears a time of its own: Python takes what it has compiled for the same when size and second are.
        """
        with self.one() as tree:
            target, stamp = tree / mutant.file, next(self._stamps)
            times = target.stat()
            target.write_text(mutant.code)
            os.utime(target, (stamp, stamp))
            try:
                yield tree
            finally:
                target.write_text(mutant.before)
                os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def recorded(trees: Trees, pool: ThreadPoolExecutor) -> Recording:
    """Which tests execute which line: kept since the code and the tests are the same, else recorded now."""
    kept = ROOT / ".cache" / "mutants" / f"recording-{trees.digest}"
    groups = {name: (f"tests/{name}",) for name in FOLDERS} | {"long": long_tests()}

    def one(name: str) -> None:
        with trees.one() as tree:
            record(groups[name], tree, kept.with_suffix(".new") / name)

    if not kept.exists():
        click.echo("recording which tests execute which lines …")
        shutil.rmtree(kept.with_suffix(".new"), ignore_errors=True)
        list(pool.map(one, reversed(groups)))
        kept.with_suffix(".new").rename(kept)
    return read(kept / name for name in groups)


def killed_by(mutant: Mutant, trees: Trees, recording: Recording) -> str | None:
    """The test that noticed `mutant`; None when it survived."""
    tests = recording.witnesses(mutant.file, mutant.line, mutant.before)
    last = OF_PROCESSES.get(mutant.file.split("/")[2], ())
    with trees.with_mutant(mutant) as tree:
        for portion, seconds in portions(tests, recording):
            if failed := run_tests(portion, tree, 10.0 + PATIENCE * seconds):
                return failed
        return run_tests(last, tree, 600.0) if last else None


@click.command(help=__doc__)
@click.option("--python", required=True, help="An interpreter that has cosmic-ray.")
@click.option("--mutants", "count", default=300, show_default=True)
@click.option("--seed", default=lambda: random.randrange(10**6), help="Which mutants; another each time if not given.")
@click.option("--only", default="", help="Of those drawn only mutants in files whose path has this in it.")
@click.option("--processes", default=os.cpu_count() or 2, show_default=True)
def main(python: str, count: int, seed: int, only: str, processes: int) -> None:
    """Draw, test, and print the table."""
    files = [str(path.relative_to(ROOT)) for name in MUTATED for path in (ROOT / PACKAGE / name).rglob("*.py")]
    command = [python, str(Path(__file__).with_name("draw.py")), str(seed), str(count), *files]
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rows = [row for row in map(json.loads, drawn.splitlines()) if only in row["file"]]
    chosen = [Mutant(**row, before=(ROOT / row["file"]).read_text()) for row in rows]
    tested = [mutant for mutant in chosen if mutant.why_equivalent() is None]
    click.echo(f"seed {seed}: {len(tested)} mutants, and {len(chosen) - len(tested)} known to change nothing")
    survivors = []
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(processes) as pool:
        trees = Trees(Path(directory), processes)
        recording = recorded(trees, pool)
        click.echo(
            "".join(f"fails without any mutant, so is not asked: {test}\n" for test in recording.failed), nl=False
        )
        judged = {pool.submit(killed_by, mutant, trees, recording): mutant for mutant in tested}
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
