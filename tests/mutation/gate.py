"""`make mutants`: plants each mistake of the catalogue in a copy of the operator, and sees whether the tests notice.

    python tests/mutation/gate.py [NAME …]

Prints a table and exits with 1 if a mutant survives. Errors of the catalogue are named as such: a test that is no
longer there, a text that no longer matches, or tests that fail without any mutant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from mutation.catalogue import ROWS, Mutant, mutants  # noqa: E402 - after the path is set

#: Made by pytest when tests ran and some failed; every other code means that they did not run.
TESTS_FAILED = 1

#: Refuses to test any other operator than the copy.
GUARD = """
import pathlib, spotcompute
assert pathlib.Path(spotcompute.__file__).is_relative_to({copy!r}), spotcompute.__file__
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant; `error` is about the catalogue and not about the tests."""

    name: str
    killed_by: str | None
    seconds: float
    error: str | None = None


class CatalogueError(Exception):
    """The catalogue and the code do not fit together; the message says where."""


def mutated(mutant: Mutant, copy: Path) -> None:
    """Plant `mutant` in the copy of operator/ at `copy`. Raises `CatalogueError` unless its text is there once."""
    path = copy / "spotcompute" / mutant.file
    text = path.read_text()
    if text.count(mutant.before) != 1:
        raise CatalogueError(f"{mutant.name}: its text stands {text.count(mutant.before)} times in {mutant.file}")
    path.write_text(text.replace(mutant.before, mutant.after))


def run_tests(tests: Sequence[str], copy: Path) -> tuple[int, str]:
    """Run tests of this checkout against the operator in `copy`, up to the first failure; exit code and output."""
    (copy / "guard_of_mutants.py").write_text(GUARD.format(copy=str(copy)))
    paths = f"{copy} {ROOT / 'deploy/local'} {ROOT / 'tests'}"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "guard_of_mutants", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", "--tb=line", "-o", f"pythonpath={paths}", *tests]
    environment = {**os.environ, "PYTHONPATH": paths.replace(" ", ":"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def judge(mutant: Mutant) -> Verdict:
    """Plant one mutant, and run its tests one after the other until one notices."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "operator"
        shutil.copytree(ROOT / "operator", copy, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            mutated(mutant, copy)
        except CatalogueError as error:
            return Verdict(mutant.name, None, 0.0, str(error))
        for test in mutant.tests:
            code, output = run_tests([test], copy)
            if code == TESTS_FAILED and " failed" in output.rsplit("\n", 2)[-2]:
                failed = [line for line in output.splitlines() if line.startswith("FAILED ")]
                name = failed[0].split(" ")[1] if failed else test
                return Verdict(mutant.name, name, time.monotonic() - started)
            if code != 0:
                return Verdict(mutant.name, None, time.monotonic() - started, f"{test} did not run: {output[-400:]}")
    return Verdict(mutant.name, None, time.monotonic() - started)


def healthy(tests: Sequence[str]) -> str | None:
    """None when the tests pass without any mutant, else what they said."""
    code, output = run_tests(tests, ROOT / "operator")
    (ROOT / "operator" / "guard_of_mutants.py").unlink()
    return None if code == 0 else output[-2000:]


#: The page that shows the catalogue, and the marks between which it stands.
PAGE = ROOT / "docs" / "reference" / "mutants.md"
START, END = "<!-- the bug catalogue begins: made by `make crds` -->", "<!-- the bug catalogue ends -->"


def table() -> str:
    """The catalogue as the docs show it."""
    lines = ["| | What happened elsewhere | It cost | Planted here as | Noticed by |", "|---|---|---|---|---|"]
    for row in ROWS:
        names = "<br>".join(f"`{mutant.name}`" for mutant in row.mutants)
        tests = "<br>".join(dict.fromkeys(f"`{test}`" for mutant in row.mutants for test in mutant.tests[-1:]))
        lines.append(f"| {row.number} | {row.bug} ({row.source}) | {row.cost} | {names} | {tests} |")
    return "\n".join(lines) + "\n"


def write_table(page: Path) -> None:
    """Put the table between its marks in `page`."""
    before, _, rest = page.read_text().partition(START)
    page.write_text(f"{before}{START}\n\n{table()}\n{END}{rest.partition(END)[2]}")


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--processes", default=2, show_default=True)
@click.option("--skip-healthy", is_flag=True, help="Do not run the tests without a mutant first.")
@click.option("--table", "is_table", is_flag=True, help="Only write the table into docs/reference/mutants.md.")
def main(names: tuple[str, ...], processes: int, skip_healthy: bool, is_table: bool) -> None:
    """Judge all mutants, or those named."""
    if is_table:
        write_table(PAGE)
        return
    chosen = [mutant for mutant in mutants() if not names or mutant.name in names]
    if not skip_healthy:
        complaint = healthy(sorted({test for mutant in chosen for test in mutant.tests}))
        if complaint:
            raise click.ClickException(f"the tests fail without any mutant:\n{complaint}")
    with ThreadPoolExecutor(processes) as pool:
        verdicts = []
        for count, verdict in enumerate(pool.map(judge, chosen), 1):
            verdicts.append(verdict)
            word = "ERROR" if verdict.error else "killed" if verdict.killed_by else "SURVIVED"
            note = verdict.error or verdict.killed_by or ""
            click.echo(f"{count:2}/{len(chosen)} {word:8} {verdict.name:45} {verdict.seconds:5.1f} s  {note}")
    killed = sum(verdict.killed_by is not None for verdict in verdicts)
    click.echo(f"\n{killed} of {len(verdicts)} mutants killed, {len(ROWS)} rows, all of them by tests of `make test`")
    sys.exit(0 if killed == len(verdicts) else 1)


if __name__ == "__main__":
    main()
