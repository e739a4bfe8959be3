"""`make setup` says what it does, takes uv where it is there, and falls back to pip where uv cannot."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

import localsetup
from localdemo.surroundings import REPOSITORY

LOCK = "a==1 \\\n    --hash=sha256:00\n    # via x\nB.c-d==2 ; python_version > '3' \\\n    --hash=sha256:11\n"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have run. A program whose name ends with `broken` fails."""
    commands: list[list[str]] = []

    def run(command: list[str | Path], heard: object) -> None:
        commands.append(list(map(str, command)))
        if commands[-1][0].endswith("broken"):
            raise localsetup.SetupFailed("no such index")

    monkeypatch.setattr(localsetup, "_run", run)
    return commands


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uv: str | None) -> list[str]:
    said: list[str] = []
    (tmp_path / "x.lock").write_text(LOCK)
    monkeypatch.setattr(localsetup.shutil, "which", lambda name: uv)
    localsetup.install(tmp_path / "env", tmp_path / "x.lock", tmp_path, said.append)
    return said


def test_the_lock_of_this_project_has_many_packages() -> None:
    assert localsetup.packages_in(REPOSITORY / "requirements.lock") > 50


@pytest.mark.parametrize(("uv", "word"), [("/bin/uv", "uv"), (None, "pip")])
def test_it_says_each_step_and_takes_uv_where_it_is_there(
    uv: str | None, word: str, ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = installed(tmp_path, monkeypatch, uv)
    assert [line[:5] for line in said] == ["[1/3]", "[2/3]", "[3/3]", "ready"]
    assert f"2 packages of x.lock, by {word}" in said[1]
    assert "--require-hashes" in ran[1]
    assert (ran[1][0] == "/bin/uv") is (uv is not None)
    assert "--no-deps" in ran[2]


def test_where_uv_cannot_pip_installs_the_same_with_hashes(
    ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = installed(tmp_path, monkeypatch, "/bin/broken")
    assert "no such index\n[2/3] the same once more by pip" in said
    assert ran[1][0] == "/bin/broken"
    assert "pip" in ran[2]
    assert "--require-hashes" in ran[2]


def test_pips_many_lines_become_one_every_few_seconds() -> None:
    said: list[str] = []
    now = [0.0]
    progress = localsetup.Progress(3, said.append, lambda: now[0])
    for line in ("Collecting a==1 (from -r lock)", "  Downloading a.whl", "Collecting b>=2", "Collecting a==1"):
        now[0] += 2
        progress.heard(line)
    progress.heard("Installing collected packages: a, b, c")
    assert [line.strip() for line in said] == ["2 of 3 fetched", "all 3 fetched; now they are unpacked"]


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nprint('first'); print('THESE PACKAGES DO NOT MATCH THE HASHES'); exit(3)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(localsetup.SetupFailed, match=r"ended with 3:\nfirst\nTHESE PACKAGES"):
        localsetup._run([program], lambda line: None)
