"""What `kubectl spot` asks kubectl: its flags in every place, and its errors in one sentence.

A kubectl that only says what it was asked stands for the real one; tests/e2e has that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kubectl_spot.__main__ import main
from kubectl_spot.completion import candidates
from kubectl_spot.flags import FLAGS

WEB = {"metadata": {"namespace": "jobs", "name": "web", "uid": "u"}, "spec": {"replicas": 1}}


class Kubectl:
    """Writes what it was asked, one JSON list a line, and answers by the kind that is asked for."""

    def __init__(self, directory: Path) -> None:
        self._asked, self._answers = directory / "asked", directory / "answers"
        program = directory / "kubectl"
        program.write_text(
            f"#!{sys.executable}\nimport json, sys\n"
            f"print(json.dumps(sys.argv[1:]), file=open({str(self._asked)!r}, 'a'))\n"
            f"code, out, error = json.load(open({str(self._answers)!r})).get(sys.argv[2], [0, '', ''])\n"
            "print(out, end='')\nprint(error, end='', file=sys.stderr)\nsys.exit(code)\n"
        )
        program.chmod(0o755)
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.shows([WEB])
        self.answer("configmaps", json.dumps({"items": []}))

    def shows(self, environments: list[Any]) -> None:
        self.answer("spotcomputeenvironments.spotcompute.dev", json.dumps({"kind": "List", "items": environments}))

    def answer(self, kind: str, out: str = "", error: str = "", code: int = 0) -> None:
        self.answers[kind] = (code, out, error)
        self._answers.write_text(json.dumps(self.answers))

    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self._asked.read_text().splitlines()]


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return Kubectl(tmp_path)


@pytest.fixture
def run(kubectl: Kubectl) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(main, arguments, prog_name="kubectl spot")


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        pytest.param(["-n", "a", "why"], ["--namespace=a"], id="before"),
        pytest.param(["why", "-n", "a"], ["--namespace=a"], id="after"),
        pytest.param(["why", "web", "-n=a"], ["--namespace=a", "web"], id="after-the-name"),
        pytest.param(["-n", "a", "tree", "--namespace=b"], ["--namespace=b"], id="the-later-wins"),
        pytest.param(["-A", "pools"], ["--all-namespaces"], id="all"),
        pytest.param(["--as", "eve", "why", "-l", "x=y"], ["--selector=x=y", "--as=eve"], id="both-places"),
        pytest.param(
            ["--as-group", "a", "why", "--as-group", "b"], ["--as-group=a", "--as-group=b"], id="several-groups"
        ),
        pytest.param(["why", "--context", "c", "--kubeconfig", "k"], ["--context=c", "--kubeconfig=k"], id="cluster"),
        pytest.param(["--insecure-skip-tls-verify", "why"], ["--insecure-skip-tls-verify"], id="a-switch"),
    ],
)
def test_kubectls_flags_are_passed_on_from_every_place(
    run: Callable[..., Result], kubectl: Kubectl, arguments: list[str], passed: list[str]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert kubectl.asked()[0] == ["get", "spotcomputeenvironments.spotcompute.dev", *passed, "--output=json"]


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_works_before_and_after(run: Callable[..., Result], kubectl: Kubectl, flag: Any) -> None:
    given = [f"--{flag.name}"] if flag.is_switch else [f"--{flag.name}", "x"]
    assert run(*given, "cost").exit_code == run("cost", *given).exit_code == 0
    first, second = (one for one in kubectl.asked() if one[1].startswith("spotcompute"))
    assert first == second
    assert (given[0] if flag.is_switch else f"--{flag.name}=x") in first


def test_flags_that_contradict_each_other_are_refused(run: Callable[..., Result]) -> None:
    result = run("-n", "a", "why", "-A")
    assert (result.exit_code, "either --namespace or --all-namespaces" in result.output) == (2, True)
    result = run("-l", "a=b", "ui")
    assert (result.exit_code, "ui takes no --selector" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Unable to connect to the server: getting credentials: exec: executable aws not found", "log in as it asks"),
        ('Error from server (Forbidden): sce is forbidden: User "eve" cannot list', "ClusterRole spotcompute-view"),
        ('error: the server doesn\'t have a resource type "sce"', "CRD is not installed"),
        ("The connection to the server 127.0.0.1:1 was refused", "No cluster answers"),
        (
            'Error from server (NotFound): spotcomputeenvironments.spotcompute.dev "x" not found',
            "There is no such environment",
        ),
    ],
)
def test_what_kubectl_cannot_do_is_one_sentence_with_a_remedy(
    run: Callable[..., Result], kubectl: Kubectl, words: str, said: str
) -> None:
    kubectl.answer("spotcomputeenvironments.spotcompute.dev", error=words, code=1)
    result = run("why")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_namespace_that_is_not_watched_is_named(run: Callable[..., Result], kubectl: Kubectl) -> None:
    home = {"namespace": "spotcompute-system", "annotations": {"spotcompute.dev/watches": "demo"}}
    kubectl.answer("configmaps", json.dumps({"items": [{"metadata": home}]}))
    result = run("--context", "c", "why")
    assert "Namespace jobs is not watched: the operator in spotcompute-system watches demo." in result.output
    assert "--context=c" in kubectl.asked()[1]
    kubectl.answer("configmaps", error="forbidden", code=1)
    assert "none runs, or none watches namespace jobs" in run("why").output


def test_what_is_seen_costs_no_second_question(run: Callable[..., Result], kubectl: Kubectl) -> None:
    kubectl.shows([{**WEB, "status": {"phase": "Ready", "observedGeneration": 1}}])
    run("why")
    assert len(kubectl.asked()) == 1


def test_words_are_completed_as_kubectl_reads_it(kubectl: Kubectl) -> None:
    kubectl.answer("namespaces", "namespace/jobs\nnamespace/kube-system\n")
    assert list(candidates(main, ["wh"])) == [
        *(one for one in candidates(main, ["wh"]) if one.startswith("why\t")),
        ":4",
    ]
    assert list(candidates(main, ["why", "-n", "jo"])) == ["jobs", ":4"]
    assert list(candidates(main, ["why", "-o", ""])) == ["table", "json", ":4"]
    assert list(candidates(main, ["--kubeconfig", "/tm"])) == [":0"], "the shell knows files"
    assert list(candidates(main, []))[-1] == ":4"


def test_names_are_completed_in_the_namespace_that_is_given(kubectl: Kubectl) -> None:
    ready = {**WEB, "status": {"phase": "Ready"}}
    kubectl.shows([ready, {"metadata": {"name": "big"}}])
    assert list(candidates(main, ["-n", "jobs", "why", "w"])) == ["web\tReady", ":4"]
    assert kubectl.asked()[-1][-1] == "--namespace=jobs"
    assert list(candidates(main, ["why", ""])) == ["web\tReady", "big", ":4"]


def test_a_cluster_that_is_away_completes_nothing(kubectl: Kubectl) -> None:
    kubectl.answer("spotcomputeenvironments.spotcompute.dev", error="refused", code=1)
    assert list(candidates(main, ["why", ""])) == [":4"]


def test_the_script_calls_the_hidden_command(run: Callable[..., Result]) -> None:
    assert run("completion").output.splitlines()[-1] == 'exec kubectl-spot __complete "$@"'
    assert run("__complete", "tre").output.splitlines()[-1] == ":4"
    assert "__complete" not in run("--help").output
