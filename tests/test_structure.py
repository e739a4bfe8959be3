"""The size and the shape of `operator/spotcompute`: rooms, arrows between them, and how long things may be.

Bounds for what no other tool measures: the contracts in pyproject.toml say who may import whom, and ruff counts
parameters and statements. A failing bound names all that is over it. Lower a bound where the code allows it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "operator/spotcompute"
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}

#: Folders and modules at the root of the package, and pairs of them of which one imports the other.
ROOMS_MAX, ARROWS_MAX = 13, 45

MODULE_LINES_MAX, FUNCTION_LINES_MAX = 480, 50

#: Ways through a function: one, and one more for each `if`, loop, handler, `and` and `or`. ruff ignores the last two.
WAYS_MAX = 12

#: Modules that are one long table of the vendor's codes, and may be longer.
TABLES = {"cloud/tencent/codes.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef

DECISIONS = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    """The folder or module at the root in which a module stands."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


ROOMS = {room_of(path) for path in MODULES} - {"__init__"}


def imported(tree: ast.Module) -> Iterator[str]:
    """Dotted names below the package that a module imports, wherever in it."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.removeprefix("spotcompute.") for name in names if name.startswith("spotcompute."))


def arrows() -> dict[tuple[str, str], list[str]]:
    """Every pair of rooms of which the first imports the second, and the modules that do it."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, tree in MODULES.items():
        for name in imported(tree):
            target = name.split(".")[0]
            if target in ROOMS - {room_of(path)}:
                found[room_of(path), target].add(name_of(path))
    return {pair: sorted(modules) for pair, modules in sorted(found.items())}


def functions() -> Iterator[tuple[str, Function]]:
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name_of(path)}:{node.name}", node


def ways(function: Function) -> int:
    nodes = list(chain.from_iterable(map(ast.walk, function.body)))
    operators = sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))
    return 1 + operators + sum(isinstance(node, DECISIONS) for node in nodes)


def over(bound: int, figures: Mapping[str, int]) -> str:
    """A line for each figure above the bound, the largest first; nothing when there is none."""
    above = sorted(((count, name) for name, count in figures.items() if count > bound), reverse=True)
    return "\n".join(f"{name}: {count}, and {bound} is the most" for count, name in above)


def test_the_package_has_few_rooms() -> None:
    assert len(ROOMS) <= ROOMS_MAX, sorted(ROOMS)


def test_few_arrows_run_between_the_rooms() -> None:
    found = arrows()
    listed = [f"{upper} -> {lower}: {', '.join(modules)}" for (upper, lower), modules in found.items()]
    assert len(found) <= ARROWS_MAX, "\n".join([f"{len(found)} arrows", *listed])


def test_no_arrows_run_in_a_circle() -> None:
    below = {room: {lower for upper, lower in arrows() if upper == room} for room in ROOMS}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of rooms: {' -> '.join(error.args[1])}")


def test_no_module_is_long() -> None:
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not over(MODULE_LINES_MAX, {name: count for name, count in lines.items() if name not in TABLES})


def test_no_function_is_long() -> None:
    lines = {name: (node.end_lineno or node.lineno) - node.lineno + 1 for name, node in functions()}
    assert not over(FUNCTION_LINES_MAX, lines)


def test_no_function_has_many_ways_through_it() -> None:
    assert not over(WAYS_MAX, {name: ways(node) for name, node in functions()})


def test_no_public_name_is_defined_twice() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
                homes[node.name].append(name_of(path))
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("return 1", 1, id="straight"),
        pytest.param("if a and b or c:\n  pass", 4, id="a-condition-of-three-terms"),
        pytest.param("return [x for x in y if x]", 2, id="a-comprehension"),
        pytest.param("try:\n  pass\nexcept A:\n  pass\nexcept B:\n  pass", 3, id="two-handlers"),
        pytest.param("for x in y:\n  while x:\n    pass", 3, id="two-loops"),
        pytest.param("return a if b else c", 2, id="an-expression"),
        pytest.param("match a:\n  case 1:\n    pass\n  case _:\n    pass", 3, id="a-match"),
    ],
)
def test_ways_are_counted(source: str, expected: int) -> None:
    (function,) = ast.parse("def f():\n" + "".join(f"  {line}\n" for line in source.splitlines())).body
    assert isinstance(function, Function)
    assert ways(function) == expected
