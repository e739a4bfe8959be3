"""Docstrings are plain English: each begins with its subject or with a verb, and its first sentence ends.

CONTRIBUTING says what the rules are for. A docstring that begins with a riddle ("The same …", "One that …") makes its
reader look for the subject.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The folders whose docstrings keep the rules.
KEPT = ("deploy/local", "operator")

#: Subjects that only a reader of the code can resolve.
RIDDLE = re.compile(r"(The same|One (that|who|of)|Who(ever|se)?|What|How it|Somebody|Nobody)\b")

#: A name in backticks, a verb in the third person, "True when …" or "True unless …".
OPENING = re.compile(r"(`|[A-Z]\w*s\b|True (when|unless)\b)")

UNNAMED = re.compile(r"\b(somebody|nobody|whoever)\b", re.IGNORECASE)
UNNAMED_MAX = 10

Node = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def modules_in(*places: str) -> list[Path]:
    return [path for place in places for path in sorted((ROOT / place).rglob("*.py"))]


def nodes(node: ast.AST, name: str) -> Iterator[tuple[str, Node]]:
    """Yields a module, its classes and its functions, but no functions inside functions."""
    if isinstance(node, Node):
        yield name, node
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from nodes(child, f"{name}.{child.name}".lstrip("."))


def is_command(node: Node) -> bool:
    """True for a command of a command line: its docstring is its help, which says what to do ("Show …")."""
    decorators = [] if isinstance(node, ast.Module) else node.decorator_list
    return any(re.search(r"\b(command|group)\(", ast.unparse(decorator)) for decorator in decorators)


def complaint(name: str, node: Node) -> str | None:
    docstring = ast.get_docstring(node)
    if docstring is None:
        is_private = any(part.startswith("_") for part in name.split("."))
        return None if is_private else "has no docstring"
    first = " ".join(docstring.split("\n\n")[0].split())
    if RIDDLE.match(docstring):
        return f"begins with a riddle: {first}"
    if not is_command(node) and not OPENING.match(docstring):
        return f"begins neither with a name in backticks nor with a verb such as Returns: {first}"
    if not first.endswith((".", ":")):
        return f"does not end its first sentence: {first}"
    return None


@pytest.mark.parametrize("path", modules_in(*KEPT), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_docstring_begins_with_its_subject_or_a_verb(path: Path) -> None:
    found = ((name, complaint(name, node)) for name, node in nodes(ast.parse(path.read_text()), ""))
    assert [f"{name or 'the module'} {text}" for name, text in found if text] == []


@pytest.mark.parametrize(
    ("docstring", "words"),
    [
        ("The same ledger without that member.", "riddle"),
        ("Ledger without that member.", "neither"),
        ("Returns the ledger without that member", "does not end"),
        ("Returns the ledger without that member.", None),
        ("`Ledger` is everything remembered.", None),
        ("True when nothing was bought.", None),
    ],
)
def test_what_a_docstring_is_refused_for(docstring: str, words: str | None) -> None:
    (found,) = ast.parse(f'def shown() -> None:\n    """{docstring}"""\n').body
    assert isinstance(found, ast.FunctionDef)
    text = complaint("shown", found)
    assert text is None if words is None else words in (text or "")


def test_the_code_hardly_ever_speaks_of_persons_that_it_does_not_name() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in modules_in("operator/spotcompute")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNNAMED.search(line)
    ]
    assert len(found) <= UNNAMED_MAX, "\n".join(found)
