"""A proof that is played in parts counts each part once, and none that another code has played."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation import proof
from simulation.proof import BLOCK, ROOT, Record, Tally, version_of, what_is_played

JOBS = [*(f"singles {number}" for number in range(BLOCK + 3)), *(f"histories {number}" for number in range(2 * BLOCK))]


def tally(job: str, failures: tuple[str, ...] = ()) -> Tally:
    number = int(job.split()[1])
    return Tally(job.split()[0], 20, launched=number, longest_orphan=number, failures=[*failures], digests=[job])


def total(record: Record) -> Tally:
    everything = Tally("everything")
    for one in record.tallies():
        everything.add(one)
    return everything


def played(here: Path, count: int) -> Record:
    """The first `count` jobs done on a machine whose checkout is `here`."""
    record = Record(JOBS, 7, here / "cache", here / "proofs")
    for job in JOBS[:count]:
        record.enter(job, tally(job))
    return record


def test_another_process_goes_on_where_one_was_killed(tmp_path: Path) -> None:
    before = played(tmp_path, 10)
    again = Record(JOBS, 7, tmp_path / "cache", tmp_path / "proofs")
    assert list(again.missing()) == list(before.missing()) == JOBS[10:]
    assert total(again) == total(before)


def test_another_machine_goes_on_from_the_whole_blocks(tmp_path: Path) -> None:
    before = played(tmp_path, BLOCK + 3 + BLOCK + 1)
    assert before.write_blocks("abc") == 3, "two of singles, of which one is short, and one of histories"
    again = Record(JOBS, 7, tmp_path / "elsewhere", tmp_path / "proofs")
    assert list(again.missing()) == JOBS[BLOCK + 3 + BLOCK :]
    assert total(again).plays == 20 * (BLOCK + 3 + BLOCK)
    assert again.digests() == {job: job for job in JOBS[: BLOCK + 3 + BLOCK]}
    for job in list(again.missing()):
        again.enter(job, tally(job))
    assert again.write_blocks("def") == 1
    assert total(again).launched == sum(tally(job).launched for job in JOBS)
    assert total(again).longest_orphan == 2 * BLOCK - 1


def test_what_is_recorded_is_not_recorded_twice(tmp_path: Path) -> None:
    before = played(tmp_path, BLOCK)
    assert [before.write_blocks("abc"), before.write_blocks("abc")] == [1, 0]
    assert total(before).plays == 20 * BLOCK


def test_a_failure_stays_in_the_record(tmp_path: Path) -> None:
    before = played(tmp_path, BLOCK - 1)
    before.enter(JOBS[BLOCK - 1], tally(JOBS[BLOCK - 1], ("O1 leak",)))
    before.write_blocks("abc")
    assert total(Record(JOBS, 7, tmp_path / "elsewhere", tmp_path / "proofs")).failures == ["O1 leak"]


def test_nothing_counts_that_other_code_has_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played(tmp_path, BLOCK).write_blocks("abc")
    monkeypatch.setattr(proof, "version_of_what_is_played", lambda: "another")
    assert list(Record(JOBS, 7, tmp_path / "cache", tmp_path / "proofs").missing()) == JOBS


def test_what_is_played_is_the_operator_the_cloud_and_their_worlds_but_no_test_and_no_command() -> None:
    files = {str(path.relative_to(ROOT)) for path in what_is_played()}
    assert files >= {
        "operator/spotcompute/reconcile/reconciler.py",
        "operator/spotcompute/plan/planner.py",
        "operator/spotcompute/cloud/tencent/provider.py",
        "operator/cvmsim/world.py",
        "operator/cvmsim/worlds/default.yaml",
        "tests/simulation/history.py",
    }
    assert not any(name.startswith("tests/simulation/test_") for name in files)
    assert files.isdisjoint({"operator/spotcompute/__main__.py", "operator/cvmsim/cli.py", "tests/simulation/proof.py"})


def test_the_version_is_another_when_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "ROOT", tmp_path)
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("1")
    two.write_text("2")
    before = version_of([one, two])
    two.write_text("3")
    assert version_of([one, two]) != before != version_of([one])
