"""Docstrings are plain English: each begins with its subject or with a verb, and ends its first sentence.

What the rules are for stands in CONTRIBUTING. A docstring that begins with a riddle ("The same …", "One that …") makes
its reader look for the subject.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

OPERATOR = Path(__file__).parents[1] / "operator"

#: Packages and modules whose docstrings keep the rules.
DONE = (
    "cvmsim",
    "spotcompute/api",
    "spotcompute/cloud",
    "spotcompute/kube",
    "spotcompute/model",
    "spotcompute/runtime",
    "spotcompute/settings.py",
    "spotcompute/telemetry",
)

RIDDLE = re.compile(
    r"(The same|One (that|who|of)|Who(ever|se)?|What (comes|is|it|a|of|this)|How it|Somebody|Nobody|Of|For)\b"
)

#: A name in backticks, a verb in the third person, "True when …".
OPENING = re.compile(r"(`|[A-Z]\w*s\b|True when\b)")

#: A docstring may speak of persons that it does not name only where who they are does not matter.
UNNAMED = re.compile(r"\b(somebody|nobody|whoever)\b", re.IGNORECASE)
UNNAMED_MAX = 10

Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[Path]:
    for done in DONE:
        path = OPERATOR / done
        yield from [path] if path.suffix else sorted(path.rglob("*.py"))


def nodes(node: ast.AST, name: str) -> Iterator[tuple[str, Node]]:
    """Yields a module, and its classes and functions but not functions in functions, with their names."""
    if isinstance(node, Node):
        yield name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(node, (ast.Module, ast.ClassDef)) and isinstance(child, Node):
            yield from nodes(child, f"{name}.{child.name}" if isinstance(child, Node) else name)


def is_command(node: Node) -> bool:
    """True for a command of the command line. Its docstring is its help, which tells what to do: "Show …"."""
    decorators = [] if isinstance(node, ast.Module) else node.decorator_list
    return any(re.search(r"\b(command|group)\(", ast.unparse(decorator)) for decorator in decorators)


def first_sentence(docstring: str) -> str:
    return " ".join(docstring.split("\n\n")[0].split())


DOCSTRINGS = [
    pytest.param(name, ast.get_docstring(node), is_command(node), id=name)
    for path in modules()
    for name, node in nodes(ast.parse(path.read_text()), ".".join(path.relative_to(OPERATOR).with_suffix("").parts))
]


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


@pytest.mark.parametrize(("name", "docstring", "is_help"), DOCSTRINGS)
def test_a_docstring_begins_with_its_subject_or_a_verb(name: str, docstring: str | None, is_help: bool) -> None:
    if docstring is None:
        assert not is_public(name), "has no docstring"
        return
    assert not RIDDLE.match(docstring)
    assert is_help or OPENING.match(docstring)
    assert first_sentence(docstring).endswith((".", ":"))
