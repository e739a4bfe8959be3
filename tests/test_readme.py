"""tests/README.md has a row for each folder of tests, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE / "README.md").read_text(encoding="utf-8")


def test_every_folder_of_tests_has_a_row() -> None:
    folders = {path.name for path in HERE.iterdir() if any(path.glob("test_*.py"))}
    assert folders == set(re.findall(r"^\|[^|]+\| `tests/(\w+)` \|", PAGE, re.MULTILINE))


def test_every_file_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert [link for link in links if not (HERE / link).exists()] == []


def test_its_example_comes_true() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(f"from plan.given import *\n{example}", {})  # noqa: S102 - the example of our own page
