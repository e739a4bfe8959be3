"""One sentence says what is the case, and another what helps, whatever kubectl's words are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kubectl_spot.problems import Problem, problem_of
from kubectl_spot.ui.problems import FIELDS, old_definition, silent_operator
from kubectl_spot.ui.reading import summary_of
from plugin.ui_objects import NOW, environment


@pytest.mark.parametrize(
    ("words", "said", "remedy"),
    [
        (
            "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?",
            "No cluster answers: The connection to the server",
            "kubectl cluster-info",
        ),
        (
            "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
            "There is no kubeconfig, or it names no cluster: ",
            "KUBECONFIG",
        ),
        (
            "Unable to connect to the server: dial tcp: lookup k8s: no such host",
            "No cluster answers: dial",
            "--context",
        ),
        (
            "E0101 00:00:00.0 1 memcache.go:265] noise\nUnable to connect to the server: getting credentials: exec:"
            " executable aws failed with exit code 1",
            "The program that the kubeconfig names for credentials failed: getting credentials: exec: executable aws",
            "log in as it asks",
        ),
        ("error: You must be logged in to the server (Unauthorized)", "does not accept", "Log in again"),
        (
            'Error from server (Forbidden): sce is forbidden: User "eve" cannot list resource',
            'You lack the right to do this: sce is forbidden: User "eve" cannot list resource.',
            "spotcompute-view",
        ),
        ("Unable to connect to the server: x509: certificate signed by unknown authority", "certificate", "authority"),
        (
            "Error from server (NotFound): the server could not find the requested resource",
            "CRD is not",
            "kubectl apply",
        ),
        (
            'The SpotComputeEnvironment "web" is invalid: spec.template.imageId: Invalid value: must be the id',
            "The API server refuses it: The SpotComputeEnvironment",
            "Correct what it names.",
        ),
        ('error: context "nope" does not exist', "The kubeconfig cannot be used: context", "--kubeconfig"),
        (
            "the moon is in the wrong house",
            "kubectl could not do this: the moon is in the wrong house.",
            "in a terminal",
        ),
        ("", "it said nothing", "in a terminal"),
    ],
)
def test_words_of_kubectl_become_a_sentence_and_a_remedy(words: str, said: str, remedy: str) -> None:
    found = problem_of(words)
    assert said in found.said
    assert remedy in found.remedy


def test_every_field_that_is_wrong_is_named() -> None:
    words = 'The SpotComputeEnvironment "web" is invalid: \n* spec.region: Required value\n* spec.template: no\n'
    said = 'web" is invalid: spec.region: Required value spec.template: no.'
    assert said in problem_of(words).said


def test_endless_words_are_cut() -> None:
    assert len(str(problem_of("x" * 10_000))) < 600


def schema_with(paths: list[str]) -> dict[str, object]:
    root: dict[str, object] = {}
    for path in paths:
        at = root
        for name in path.split("."):
            at = at.setdefault("properties", {}).setdefault(name, {})  # type: ignore[attr-defined]  # objects all the way
    return {"dev.spotcompute.v1alpha1.SpotComputeEnvironment": root}


def test_an_older_definition_is_named_with_what_it_lacks() -> None:
    assert old_definition(schema_with(list(FIELDS))) is None
    found = old_definition(schema_with([path for path in FIELDS if path != "status.quote"]))
    assert found is not None
    assert "it lacks status.quote, so" in found.said
    assert "kubectl apply --server-side -f crds/" in found.remedy
    assert old_definition({"another.Kind": {}}) is None


def test_the_definition_of_this_release_lacks_nothing() -> None:
    from spotcompute.api.crd import custom_resource_definition

    (version,) = custom_resource_definition()["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert old_definition({"dev.spotcompute.v1alpha1.SpotComputeEnvironment": schema}) is None


def silent(*, behind_for: float = 0.0, **status: object) -> Problem | None:
    now = datetime.fromtimestamp(NOW, UTC)
    behind = {"jobs/web": NOW - behind_for} if behind_for else {}
    return silent_operator([summary_of(environment(status=status))], behind, now)


def test_an_operator_that_does_not_look_is_missed_after_a_minute() -> None:
    assert silent() is None
    assert silent(behind_for=59) is None
    found = silent(behind_for=61)
    assert found is not None
    assert "seems to be down: it has not seen a change of jobs/web for more than 60 seconds" in found.said
    assert "kubectl get pods" in found.remedy


def test_so_is_one_that_does_not_try_when_it_said_it_would() -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    assert silent(nextAttemptTime=(at - timedelta(seconds=50)).isoformat()) is None
    found = silent(nextAttemptTime=(at - timedelta(seconds=70)).isoformat())
    assert found is not None
    assert "has not tried again, as it had said, for jobs/web" in found.said
