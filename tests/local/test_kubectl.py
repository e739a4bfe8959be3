"""The wrapper says what kubectl says, and speaks to its own kubeconfig whatever the environment points to."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcluster.kubectl import Kubectl, KubectlError


def stub(directory: Path, script: str) -> Kubectl:
    binary = directory / "kubectl"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return Kubectl(binary, directory / "config", namespace="team-a", context="kind")


def test_kubeconfig_namespace_and_context_are_always_given(tmp_path: Path) -> None:
    said = stub(tmp_path, 'echo "$@"').run("get", "pods").split()
    assert said == [f"--kubeconfig={tmp_path / 'config'}", "--namespace=team-a", "--context=kind", "get", "pods"]


def test_the_kubeconfig_of_the_environment_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/of/production")
    assert stub(tmp_path, 'echo "<$KUBECONFIG>"').run().strip() == "<>"


def test_a_failure_carries_kubectls_words(tmp_path: Path) -> None:
    with pytest.raises(KubectlError, match="get pods ended with 3: no such thing") as caught:
        stub(tmp_path, "echo no such thing >&2; exit 3").run("get", "pods")
    assert caught.value.code == 3


def test_a_definition_that_has_no_conditions_yet_is_waited_for(tmp_path: Path) -> None:
    words = "error: .status.conditions accessor error: <nil> is of the type <nil>, expected []interface{}"
    once = f'[ -e {tmp_path}/asked ] && exit 0; : > {tmp_path}/asked; echo "{words}" >&2; exit 1'
    stub(tmp_path, once).wait_established("crd/x")


def test_a_definition_that_does_not_come_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(KubectlError, match="not found"):
        stub(tmp_path, "echo 'Error: crd x not found' >&2; exit 1").wait_established("crd/x")


def test_apply_passes_the_manifest_on_stdin(tmp_path: Path) -> None:
    assert stub(tmp_path, "cat").apply("kind: Namespace\n") == "kind: Namespace\n"


@pytest.mark.parametrize(("script", "allowed"), [("echo yes", True), ("echo no; exit 1", False)], ids=["yes", "no"])
def test_can_answers_yes_or_no(tmp_path: Path, script: str, allowed: bool) -> None:
    assert stub(tmp_path, script).can("get", "pods") is allowed


def test_an_api_server_that_does_not_answer_is_not_a_no(tmp_path: Path) -> None:
    with pytest.raises(KubectlError):
        stub(tmp_path, "echo 'Unable to connect to the server' >&2; exit 1").can("get", "pods")
