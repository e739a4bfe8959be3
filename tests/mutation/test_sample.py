"""A sample of mutants counts as killed only what a test has noticed, and tells of every other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutation.sample import PACKAGE, ROOT, SEEN_BY, Mutant, groups_for, report, run_tests

MODULES = sorted(
    str(path.relative_to(ROOT))
    for package in SEEN_BY
    for path in (ROOT / PACKAGE / package).rglob("*.py")
    if path.name != "__init__.py"
)
FILE = f"{PACKAGE}/plan/capacity.py"


def mutant(line: str = "\nHARMLESS = 1\n", file: str = FILE) -> Mutant:
    before = (ROOT / file).read_text()
    return Mutant(file, 1, "NumberReplacer", before + line, before)


@pytest.mark.parametrize("file", MODULES)
def test_the_tests_that_see_a_module_are_there_and_the_narrow_ones_come_first(file: str) -> None:
    groups = groups_for(file)
    assert all((ROOT / test.partition("::")[0]).exists() for tests in groups for test in tests)
    assert groups[0][0].startswith(f"tests/{file.split('/')[2]}")
    assert any("test_histories" in test for test in groups[-1])


@pytest.mark.parametrize(
    ("test", "says"),
    [
        pytest.param("def test_it(): pass", None, id="all-pass"),
        pytest.param("def test_it(): assert False", "test_one.py::test_it", id="one-fails"),
        pytest.param("import nothing_of_that_name", "test_one.py", id="an-import-fails"),
        pytest.param("import time\ndef test_it(): time.sleep(60)", "time", id="it-goes-round-for-ever"),
        pytest.param("def test_it(): bytearray(8 << 30)", "test_one.py::test_it", id="it-eats-all-memory"),
    ],
)
def test_what_tests_say_of_a_mutant(test: str, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(test)
    assert run_tests(("test_one.py",), tmp_path, 5.0 if says == "time" else 60.0) == says


@pytest.mark.parametrize(("survived", "code"), [(0, 0), (1, 0), (2, 1)])
def test_nine_in_ten_must_be_killed(survived: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    tested = [mutant() for _ in range(10)]
    assert report(tested, tested[:survived]) == code
    shown = capsys.readouterr().out
    assert f"| all | 10 | {10 - survived}, {100 - 10 * survived} % |" in shown
    assert shown.count("+HARMLESS = 1") == survived


def test_a_mutant_shows_the_lines_that_differ() -> None:
    assert mutant().changed() == ["+", "+HARMLESS = 1"]
