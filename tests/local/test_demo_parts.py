"""What the demo is made of: lines that fit, commands that can be pasted, figures that come from the ledger."""

from __future__ import annotations

import io
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from localdemo.simulator import Account, ended_by
from localdemo.story import Environment
from localdemo.surroundings import surroundings
from localdemo.terminal import WIDTH, Terminal, folded, pasteable
from localdemo.verdict import table

MINE = {"spotcompute-environment": "0123456789-abc123"}


def instance(*history: tuple[str, str], tags: dict[str, str] = MINE, cost: str = "0.00000500") -> dict[str, Any]:
    """An instance of the ledger with its (state, cause) history."""
    state = history[-1][0]
    return {
        "state": state,
        "live": state in ("PENDING", "RUNNING", "STOPPED"),
        "originalTags": tags,
        "billedSeconds": 10.0,
        "cost": cost,
        "changes": [{"state": state, "cause": cause} for state, cause in history],
    }


BOUGHT = (("PENDING", "RunInstances 1"), ("RUNNING", "launched"))


@pytest.mark.parametrize(
    ("last", "who"),
    [
        ([("TERMINATING", "TerminateInstances 2"), ("GONE", "TerminateInstances 2")], "operator"),
        ([("TERMINATING", "reclaim"), ("GONE", "reclaim")], "cloud"),
        ([("GONE", "reclaim")], "cloud"),
        ([("SHUTDOWN", "console"), ("TERMINATING", "recycle bin"), ("GONE", "recycle bin")], "console"),
        ([("TERMINATING", "ActionTimer")], "other"),
    ],
)
def test_an_end_is_put_down_to_who_began_it(last: list[tuple[str, str]], who: str) -> None:
    assert ended_by(instance(*BOUGHT, *last)) == who


def test_an_account_counts_what_was_born_with_the_environments_tag() -> None:
    ledger = {
        "instances": [
            instance(*BOUGHT),
            instance(BOUGHT[0]),
            instance(*BOUGHT, ("TERMINATING", "reclaim")),
            instance(*BOUGHT, ("TERMINATING", "console"), ("GONE", "console")),
            instance(*BOUGHT, tags={"spotcompute-environment": "another"}),
            instance(*BOUGHT, tags={}),
        ]
    }
    summary = {"tags": {"spotcompute-environment=0123456789-abc123": {"live": 2, "peak": 3}}}
    account = Account.of(ledger, summary, "0123456789-abc123")
    assert (account.launched, account.live, account.running, account.leaving, account.peak) == (4, 2, 1, 1, 3)
    assert account.ended == {"cloud": 1, "console": 1}
    assert (account.billed_seconds, account.cost) == (40.0, Decimal("0.00002"))


def test_the_table_is_aligned_and_fits() -> None:
    account = Account(8, 0, 0, 0, 4, {"operator": 5, "cloud": 2, "console": 1}, 98765.4, Decimal("12.3456789"))
    heading, line = table([("render-farm", 5, account)]).splitlines()
    assert len(heading) == len(line) <= WIDTH
    assert line.split() == ["render-farm", "8", "5", "4", "5", "2", "1", "98765", "$12.345679", "0"]


def test_a_long_command_is_broken_and_can_still_be_pasted() -> None:
    words = ["kubectl", "patch", "sce", "first", "-p", '{"spec":{}}', *(f"--option-{n}=it's {n}" for n in range(9))]
    lines = pasteable(words)
    assert len(lines) > 1
    assert max(map(len, lines)) <= WIDTH
    joined = " ".join(line.removesuffix("\\") for line in lines)
    assert shlex.split(joined.removeprefix("$ ")) == words


def test_long_lines_are_folded_between_words() -> None:
    lines = folded("word-with-hyphens " * 20, WIDTH)
    assert max(map(len, lines)) <= WIDTH
    assert {word for line in lines for word in line.split()} == {"word-with-hyphens"}


def test_a_long_verdict_is_folded_under_its_mark() -> None:
    Terminal(out := io.StringIO()).failed("seen " * 40)
    first, *others = out.getvalue().splitlines()
    assert first.startswith("✗ seen")
    assert others
    assert all(line.startswith("  seen") and len(line) <= WIDTH for line in others)


def test_a_pipe_and_the_transcript_get_the_same_plain_text() -> None:
    out, transcript = io.StringIO(), io.StringIO()
    terminal = Terminal(out, transcript)
    terminal.heading("A chapter")
    terminal.command("kubectl", "get", "sce")
    terminal.output("NAME\n\nfirst\n")
    terminal.proved("so it is")
    assert out.getvalue() == "\n== A chapter ==\n\n$ kubectl get sce\nNAME\n\nfirst\n✓ so it is\n"
    assert transcript.getvalue() == out.getvalue()


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    Terminal(coloured := Tty()).proved("so it is")
    monkeypatch.setenv("NO_COLOR", "1")
    Terminal(plain := Tty()).proved("so it is")
    assert "\033[" in coloured.getvalue()
    assert plain.getvalue() == "✓ so it is\n"


def test_nothing_of_the_persons_own_cloud_or_cluster_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TENCENTCLOUD_SECRET_KEY", "SPOTCOMPUTE_SITE", "KUBECONFIG", "CVMSIM_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("NO_PROXY", "corp.example")
    env = surroundings(Path("sources"), SPOTCOMPUTE_PROTOCOL="http")
    assert "mine" not in env.values()
    assert (env["PYTHONPATH"], env["SPOTCOMPUTE_PROTOCOL"]) == ("sources", "http")
    assert env["NO_PROXY"] == "corp.example,127.0.0.1,localhost"


def test_an_environment_remembers_the_most_it_was_asked_for() -> None:
    first = Environment.of_sample("first")
    for replicas in (5, 1):
        first.want(replicas)
    assert (first.wanted, first.most_wanted) == (1, 5)
    assert first.pools == [("ap-guangzhou-3", "S5.MEDIUM4")]
