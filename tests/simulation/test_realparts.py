"""A real part of a proof counts when its run has ended well, for the code it was made with, and once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from simulation.proof import ROOT
from simulation.realparts import PARTS, Part, RealPart, Row, Rows

#: Adds a line to its file, and ends as well as it is told to.
WRITE_A_LINE = "import os, sys; open(sys.argv[1], 'a').write('1\\n'); sys.exit(int(os.environ['CODE']))"


def lines(rows: Rows) -> Row:
    return "lines", str(len(rows))


PART = Part("lines", (sys.executable, "-c", WRITE_A_LINE, "{state}"), {"CODE": "0"}, (), lines)


def test_a_run_that_ended_well_is_not_repeated(tmp_path: Path) -> None:
    part = RealPart(PART, tmp_path / "cache", tmp_path / "proofs")
    assert (part.is_done(), part.row()) == (False, None)
    assert part.run(2)
    again = RealPart(PART, tmp_path / "cache", tmp_path / "proofs")
    assert (again.is_done(), again.row()) == (True, ("lines", "1"))


def test_it_is_told_how_many_processes_it_may_use(tmp_path: Path) -> None:
    tell = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    part = replace(
        PART, command=(sys.executable, "-c", tell, "{state}", "{processes}"), tell=lambda rows: ("told", str(rows[0]))
    )
    told = RealPart(part, tmp_path / "cache", tmp_path / "proofs")
    assert told.run(3)
    assert told.row() == ("told", "3")


@pytest.mark.parametrize(("resumes", "count"), [(False, "1"), (True, "2")])
def test_a_run_that_failed_does_not_count_and_goes_on_only_if_it_can(tmp_path: Path, resumes: bool, count: str) -> None:
    failing = replace(PART, variables={"CODE": "1"}, resumes=resumes)
    broken = RealPart(failing, tmp_path / "cache", tmp_path / "proofs")
    assert not broken.run(2)
    assert (broken.is_done(), broken.row(), broken.record()) == (False, None, False)
    mended = RealPart(replace(PART, resumes=resumes), tmp_path / "cache", tmp_path / "proofs")
    assert mended.run(2)
    assert mended.row() == ("lines", count)


def test_another_machine_finds_what_was_recorded(tmp_path: Path) -> None:
    part = RealPart(PART, tmp_path / "cache", tmp_path / "proofs")
    part.run(2)
    assert [part.record(), part.record()] == [True, False]
    elsewhere = RealPart(PART, tmp_path / "elsewhere", tmp_path / "proofs")
    assert (elsewhere.is_done(), elsewhere.row()) == (True, ("lines", "1"))


def test_nothing_counts_that_was_made_with_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RealPart(PART, tmp_path / "cache", tmp_path / "proofs").run(2)
    monkeypatch.setattr(Part, "version", lambda part: "another")
    assert not RealPart(PART, tmp_path / "cache", tmp_path / "proofs").is_done()


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_another_when_its_tests_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    depends = []
    monkeypatch.setattr("simulation.realparts.version_of", lambda paths: depends.extend(paths) or "v")
    assert PARTS[name].version() == "v"
    files = {str(path.relative_to(ROOT)) for path in depends}
    own = {
        "mutants": {"tests/mutation/catalogue.py", "tests/simulation/test_fault_points.py"},
        "kills": {"tests/e2e/kills.py"},
        "drills": {"tests/e2e/test_drills.py"},
    }
    assert files >= {*own[name], "operator/spotcompute/__main__.py", "operator/cvmsim/worlds/default.yaml"}
    assert "tests/e2e/test_story.py" not in files
