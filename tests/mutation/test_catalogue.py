"""The catalogue fits the code, the gate can tell a killed mutant from a survivor, and the docs show all of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mutation.catalogue import ROWS, Mutant, mutants
from mutation.gate import END, PAGE, ROOT, START, judge, mutated, table

QUICK = ("not-found-ends-a-member", "the-newborn-can-be-orphans", "a-history-without-end")


def test_every_row_has_a_mutant() -> None:
    assert [row.number for row in ROWS] == list(range(1, 41))
    assert all(row.mutants for row in ROWS)
    names = [mutant.name for mutant in mutants()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_the_text_of_a_mutant_stands_in_the_code_once(mutant: Mutant, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "operator" / "spotcompute", tmp_path / "spotcompute")
    mutated(mutant, tmp_path)
    compile((tmp_path / "spotcompute" / mutant.file).read_text(), mutant.file, "exec")


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_the_tests_of_a_mutant_are_among_ours(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text()
        assert not name or f"def {name.partition('[')[0]}(" in text


@pytest.mark.parametrize("name", QUICK)
def test_the_gate_kills(name: str) -> None:
    (mutant,) = [mutant for mutant in mutants() if mutant.name == name]
    verdict = judge(mutant)
    assert verdict.error is None
    assert verdict.killed_by


def test_the_gate_sees_a_survivor_and_a_text_that_is_gone() -> None:
    (mutant,) = [mutant for mutant in mutants() if mutant.name == QUICK[0]]
    harmless = replace(mutant, after=mutant.before)
    assert judge(harmless).killed_by is None
    assert "0 times" in str(judge(replace(mutant, before="no such text")).error)


def test_the_docs_show_the_catalogue() -> None:
    assert PAGE.read_text().partition(START)[2].partition(END)[0].strip() == table().strip(), (
        "run `make crds` and commit"
    )
