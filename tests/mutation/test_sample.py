"""A sample of mutants counts as killed only what a test has noticed, and tells of every other."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from mutation.sample import (
    FOLDERS,
    MUTATED,
    OF_PROCESSES,
    PACKAGE,
    ROOT,
    Mutant,
    Trees,
    long_tests,
    portions,
    report,
    run_tests,
)
from mutation.witnesses import Recording, lines_of, read, record

FILE = f"{PACKAGE}/plan/capacity.py"

MODULE = '''LIMIT = 1


def limited(count: int = 0, *,
            scale=2):
    """Not more than the limit."""
    if count > LIMIT:
        return LIMIT
    try:
        return max(
            count,
            0,
        )
    except ValueError:
        return 0


class Pool:
    size = 3
'''


def mutant(line: str = "\nHARMLESS = 1\n", file: str = FILE) -> Mutant:
    before = (ROOT / file).read_text()
    return Mutant(file, 1, "NumberReplacer", before + line, before)


def test_the_tests_that_are_asked_are_there() -> None:
    assert set(MUTATED) <= set(FOLDERS), "the tests of a package are asked about it"
    for test in (*(f"tests/{name}" for name in FOLDERS), *long_tests(), *chain.from_iterable(OF_PROCESSES.values())):
        assert (ROOT / test.partition("::")[0]).exists(), test
    assert any("test_histories" in test for test in long_tests())


# --- which tests are asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "first", "last"),
    [
        pytest.param(1, 1, 19, id="a-constant-concerns-the-module"),
        pytest.param(4, 6, 15, id="a-signature-its-body"),
        pytest.param(5, 6, 15, id="a-default-on-the-next-line-too"),
        pytest.param(7, 7, 7, id="a-condition-is-one-line"),
        pytest.param(8, 8, 8, id="what-a-branch-does"),
        pytest.param(11, 10, 13, id="a-statement-of-several-lines-is-one"),
        pytest.param(14, 14, 14, id="a-caught-exception"),
        pytest.param(19, 1, 19, id="a-field-of-a-class-concerns-the-module"),
    ],
)
def test_what_a_test_executes_that_can_notice_a_mistake(line: int, first: int, last: int) -> None:
    assert lines_of(MODULE, line) == range(first, last + 1)


NEAR, SLOW, BESIDE, FAR = (
    "tests/plan/test_capacity.py::test_near",
    "tests/plan/test_capacity.py::test_slow",
    "tests/plan/test_other.py::test_beside",
    "tests/report/test_far.py::test_far",
)
REAL, BROKEN = "tests/plan/test_capacity.py::test_real", "tests/plan/test_capacity.py::test_broken"
RECORDED = Recording(
    lines={
        FILE: {
            1: frozenset({""}),
            7: frozenset({FAR, NEAR, SLOW, BROKEN}),
            8: frozenset({BESIDE, FAR, REAL, NEAR}),
            15: frozenset({""}),
        }
    },
    seconds={FAR: 0.1, BESIDE: 0.2, NEAR: 1.0, SLOW: 9.0, REAL: 0.1},
    real=frozenset({REAL}),
    failed=frozenset({BROKEN}),
)


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        pytest.param(7, [NEAR, SLOW, FAR], id="all-that-execute-it-the-nearest-and-cheapest-first"),
        pytest.param(8, [NEAR, BESIDE, FAR, REAL], id="those-on-a-real-control-plane-last"),
        pytest.param(1, [NEAR, SLOW, BESIDE, FAR, REAL], id="of-a-constant-all-that-execute-the-module"),
        pytest.param(15, [NEAR, SLOW, BESIDE, FAR, REAL], id="of-what-an-import-calls-too"),
        pytest.param(14, [], id="nobody-executes-it"),
    ],
)
def test_who_is_asked_about_a_mistake(line: int, asked: list[str]) -> None:
    assert RECORDED.witnesses(FILE, line, MODULE) == asked


def test_cheap_tests_are_asked_in_one_process_and_the_rest_in_others() -> None:
    parts = [*portions([FAR, BESIDE, NEAR, SLOW, REAL], RECORDED)]
    assert [(tests, round(seconds, 1)) for tests, seconds in parts] == [
        ([FAR, BESIDE, NEAR, SLOW], 10.3),
        ([REAL], 0.1),
    ]
    assert [*portions([], RECORDED)] == []


TESTED = """
import pytest
from spotcompute.toy import limited, unused
def test_small(): assert limited(1) == 1
@pytest.mark.parametrize("count", [5, 6])
def test_large(count): assert limited(count) == 3
def test_broken(): assert limited(9) == 4
"""


def test_lines_are_recorded_with_the_tests_that_execute_them(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("operator/spotcompute", "tests/mutation"):
        (tree / name).mkdir(parents=True)
    for name in ("recording.py", "chosen.py"):
        (tree / "tests/mutation" / name).symlink_to(ROOT / "tests/mutation" / name)
    code = "def limited(count):\n    if count > 3:\n        return 3\n    return count\n\ndef unused():\n    return 0\n"
    (tree / "operator/spotcompute/__init__.py").touch()
    (tree / "operator/spotcompute/toy.py").write_text(code)
    (tree / "tests/test_toy.py").write_text(TESTED)
    record(["tests/test_toy.py"], tree, tmp_path / "out")
    recording = read([tmp_path / "out"])
    small, large = "tests/test_toy.py::test_small", {f"tests/test_toy.py::test_large[{count}]" for count in (5, 6)}
    file = "operator/spotcompute/toy.py"
    assert recording.seconds.keys() == {small, *large}
    assert recording.failed == {"tests/test_toy.py::test_broken"}
    assert set(recording.witnesses(file, 3, code)) == large
    assert recording.witnesses(file, 4, code) == [small]
    assert set(recording.witnesses(file, 1, code)) == {small, *large}
    assert recording.witnesses(file, 7, code) == []
    assert run_tests(sorted(large), tree, 60.0) is None
    (tree / file).write_text(code.replace("return 3", "return 4"))
    assert run_tests([small], tree, 60.0) is None
    assert run_tests([small, *sorted(large)], tree, 60.0) == "tests/test_toy.py::test_large[5]"


# --- what they say ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "says"),
    [
        pytest.param("def test_it(): assert False", "test_one.py::test_it", id="one-fails"),
        pytest.param("import nothing_of_that_name", "test_one.py", id="an-import-fails"),
        pytest.param("def test_it():\n    while True: pass", "time", id="it-goes-round-for-ever"),
        pytest.param("def test_it(): bytearray(8 << 30)", "test_one.py::test_it", id="it-eats-all-memory"),
        pytest.param("VALUE = 1", None, id="none-is-there"),
    ],
)
def test_what_tests_say_of_a_mutant(test: str, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(test)
    assert run_tests(("test_one.py",), tmp_path, 2.0 if says == "time" else 60.0) == says


def test_a_planted_mistake_is_compiled_although_size_and_second_are_the_same(tmp_path: Path) -> None:
    trees = Trees(tmp_path, 1)
    before = (ROOT / FILE).read_text()
    with trees.one() as tree:
        untouched = (tree / FILE).stat().st_mtime_ns
    stamps = set()
    for _ in range(2):
        with trees.with_mutant(Mutant(FILE, 1, "AddNot", before.swapcase(), before)) as tree:
            assert (tree / FILE).read_text() == before.swapcase()
            stamps.add(int((tree / FILE).stat().st_mtime))
    assert len(stamps) == 2
    assert (tree / FILE).read_text() == before
    assert (tree / FILE).stat().st_mtime_ns == untouched


@pytest.mark.parametrize(("survived", "code"), [(0, 0), (1, 0), (2, 1)])
def test_nine_in_ten_must_be_killed(survived: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    tested = [mutant() for _ in range(10)]
    assert report(tested, tested[:survived]) == code
    shown = capsys.readouterr().out
    assert f"| all | 10 | {10 - survived}, {100 - 10 * survived} % |" in shown
    assert shown.count("+HARMLESS = 1") == survived


def test_a_mutant_shows_the_lines_that_differ() -> None:
    assert mutant().changed() == ["+", "+HARMLESS = 1"]
