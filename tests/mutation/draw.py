"""Draws small random mistakes in the operator with cosmic-ray, and prints each as a line of JSON.

    python tests/mutation/draw.py SEED COUNT FILE…

Apart from `sample`, which tests them: this runs in an environment that has cosmic-ray and nothing of ours.
"""

from __future__ import annotations

import ast
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

#: A place is a position in a file and a kind of mistake. A comparison can be replaced by seven others: one place.
Place = tuple[str, tuple[int, int], str]


def operators() -> Iterator[tuple[str, type]]:
    """The kinds of mistakes that need no arguments, by name.

    None replaces equality by identity, or identity by equality: Python shares small numbers, short texts and members of
    enums, so most of these change nothing.
    """
    for name in operator_names():
        kind = get_operator(name)
        if not kind.arguments() and not name.endswith(("/NoOp", "Eq_Is", "Eq_IsNot", "Is_Eq", "IsNot_NotEq")):
            yield name, kind


def places(file: str, code: str) -> dict[Place, list[tuple[str, int]]]:
    """Every place of a file, with the mistakes that can be made there: operator and occurrence."""
    found = defaultdict(list)
    nodes = list(ast_nodes(get_ast(code)))
    for name, kind in operators():
        starts = (start for node in nodes for start, _ in kind().mutation_positions(node))
        for occurrence, start in enumerate(starts):
            found[file, start, name.partition("_")[0]].append((name, occurrence))
    return found


def meaning(code: str) -> str:
    """The code without what changes nothing when it runs: annotations, docstrings, `slots` and `frozen`.

    Raises SyntaxError when it is no Python.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.Call):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in ("slots", "frozen")]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def draw(seed: str, files: list[str]) -> Iterator[dict[str, object]]:
    """Mutants at places drawn at random, each place once; only those that change what the code does."""
    codes = {file: Path(file).read_text(encoding="utf-8") for file in sorted(files)}
    everywhere = {place: kinds for file, code in codes.items() for place, kinds in places(file, code).items()}
    rng = random.Random(seed)
    for place in rng.sample(sorted(everywhere), len(everywhere)):
        file, (line, _), _ = place
        name, occurrence = rng.choice(everywhere[place])
        mutated = mutate_code(codes[file], get_operator(name)(), occurrence)
        try:
            is_another = mutated is not None and meaning(mutated) != meaning(codes[file])
        except SyntaxError:
            continue
        if is_another:
            yield {"file": file, "line": line, "kind": name.removeprefix("core/"), "code": mutated}


if __name__ == "__main__":
    seed, count, *files = sys.argv[1:]
    for _, mutant in zip(range(int(count)), draw(seed, files), strict=False):
        sys.stdout.write(json.dumps(mutant) + "\n")
