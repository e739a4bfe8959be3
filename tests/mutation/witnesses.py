"""Finds the tests that execute a line of the operator, the cheap ones first.

They are recorded once by `coverage`, and again when a file of the operator or of the tests has changed. Apart from
`sample`, which asks these tests alone about a mutant: no other executes it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from coverage import CoverageData

#: What every test process gets: the imports of the tests, and of the plugins beside this file.
PATHS = {"PYTHONPATH": "operator:deploy/local:tests"}


@dataclass(frozen=True, slots=True)
class Recording:
    """`Recording` says which tests execute which line, and what each test costs.

    `lines` has for each file and line its tests; the test "" stands for an import. `seconds` is CPU time without a
    mutant. `real` has the tests that need a real control plane. Tests that failed without a mutant can notice none, and
    are only in `failed`.
    """

    lines: Mapping[str, Mapping[int, frozenset[str]]]
    seconds: Mapping[str, float]
    real: frozenset[str]
    failed: frozenset[str]

    def witnesses(self, file: str, line: int, code: str) -> list[str]:
        """Returns the tests that can notice a mistake in that line of `file`, whose text is `code`.

        First come the tests of its module, then those of its package, then others; of each the cheap ones first. Those
        that need a real control plane come last.
        """
        found = self._tests(file, lines_of(code, line))
        if found == {""}:
            # A function that only an import calls: what comes of it is used by the whole module.
            found = self._tests(file, self.lines[file])
        return sorted(found & self.seconds.keys(), key=partial(self._rank, file))

    def _tests(self, file: str, lines: Iterable[int]) -> frozenset[str]:
        known = self.lines.get(file, {})
        return frozenset().union(*(known.get(line, frozenset()) for line in lines))

    def _rank(self, file: str, test: str) -> tuple[bool, int, float, str]:
        package = f"tests/{file.split('/')[2]}/"
        distance = 0 if test.startswith(f"{package}test_{Path(file).stem}") else 1 if test.startswith(package) else 2
        return test in self.real, distance, self.seconds[test], test


def lines_of(code: str, line: int) -> range:
    """Returns the lines that a test executes if it can notice a mistake in `line`.

    In a function they are the statement; for a signature the body, and outside of functions the whole module, because
    what an import makes is used elsewhere.
    """
    nodes = [node for node in ast.walk(ast.parse(code)) if line in _span(node)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not functions:
        return range(1, len(code.splitlines()) + 1)
    function = max(functions, key=lambda node: node.lineno)
    if line in _head(function):
        return range(function.body[0].lineno, _span(function).stop)
    heads = [head for node in nodes if line in (head := _head(node))]
    return min(heads, key=len, default=range(line, line + 1))


def _span(node: Any) -> range:
    """All lines of a statement, of an `except` or of a `case`. Nothing for a part of one."""
    if isinstance(node, ast.match_case):
        return range(node.pattern.lineno, node.body[-1].end_lineno + 1)
    if not isinstance(node, ast.stmt | ast.ExceptHandler):
        return range(0)
    return range(min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))]), node.end_lineno + 1)


def _head(node: Any) -> range:
    """The lines of a statement before those of its body."""
    span, body = _span(node), getattr(node, "body", None) or getattr(node, "cases", None)
    if not body:
        return span
    return range(span.start, max(span.start + 1, _span(body[0]).start))


def record(tests: Iterable[str], tree: Path, output: Path) -> None:
    """Run tests in `tree`, and write into the folder `output` what each executes and costs."""
    output.mkdir(parents=True)
    settings = output / "coveragerc"
    settings.write_text(f"[run]\nsource = operator/spotcompute\nrelative_files = true\ndata_file = {output}/coverage\n")
    command = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}", "-m", "pytest", "-q", "--tb=no"]
    command += ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "mutation.recording", *tests]
    environment = {**os.environ, **PATHS, "RECORDED_TESTS": str(output / "tests.json")}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if not (output / "tests.json").exists():
        raise RuntimeError(f"{[*tests]} could not be recorded: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def read(outputs: Iterable[Path]) -> Recording:
    """Put the recordings of several test runs together."""
    lines: dict[str, dict[int, frozenset[str]]] = {}
    seconds: dict[str, float] = {}
    real, failed = set[str](), set[str]()
    for output in outputs:
        rows = json.loads((output / "tests.json").read_text())
        seconds |= {name: row["seconds"] for name, row in rows.items() if row["passed"]}
        real |= {name for name, row in rows.items() if row["real"]}
        failed |= {name for name, row in rows.items() if not row["passed"]}
        data = CoverageData(str(output / "coverage"))
        data.read()
        for file in data.measured_files():
            known = lines.setdefault(file, {})
            for line, tests in data.contexts_by_lineno(file).items():
                known[line] = known.get(line, frozenset()) | frozenset(tests)
    return Recording(lines, seconds, frozenset(real), frozenset(failed))
