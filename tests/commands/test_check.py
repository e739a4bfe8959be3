"""`spotcompute check`: its table of rights, its sentences, and clusters that cannot be asked. tests/e2e asks one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cloud.grounds import SimulatedGround
from spotcompute.__main__ import main
from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import NotSent
from spotcompute.commands.check import Check, Install, State, check_cluster, check_endpoint, clock, report
from spotcompute.commands.rights import Where, rights_needed
from spotcompute.kube.inspection import AccessQuestion, Inspection
from spotcompute.kube.port import KubeObject

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RIGHTS = rights_needed("spotcompute-operator", keeps_nodes=True, follows_claims=True)
NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
ENDPOINT = Endpoint("cvm.tencentcloudapi.com", "https", is_default=True)


def granted(manifest: str) -> set[tuple[str, str, str, str]]:
    """Every right that a manifest grants: verb, group, resource with its subresource, name."""
    return {
        (verb, group, resource, name)
        for document in yaml.safe_load_all((DEPLOY / manifest).read_text())
        for rule in document.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("manifest", sorted({right.manifest for right in RIGHTS}))
def test_the_rights_asked_for_are_those_of_the_manifest(manifest: str) -> None:
    asked = {
        (one.verb, one.group, f"{one.resource}/{one.subresource}".rstrip("/"), one.name)
        for one in RIGHTS
        if one.manifest == manifest
    }
    assert asked == granted(manifest)


def test_every_manifest_of_rights_that_the_operator_needs_is_asked_about() -> None:
    """Those for people, for Secrets of one namespace and for guarding them are no need of every install."""
    others = {"cluster-roles-users.yaml", "cluster-role-read-sources.yaml", "cluster-role-guard-credentials.yaml"}
    shipped = {f"base/{path.name}" for path in (DEPLOY / "base").glob("*role*.yaml") if path.name not in others}
    assert shipped == {right.manifest for right in rights_needed("x", keeps_nodes=False)}
    overlays = [
        *(DEPLOY / "overlays" / "nodes").glob("*role*.yaml"),
        *(DEPLOY / "overlays" / "jobs").glob("*role*.yaml"),
    ]
    for_nodes = {f"overlays/{path.parent.name}/{path.name}" for path in overlays}
    assert shipped | for_nodes == {right.manifest for right in RIGHTS}
    assert {right.where for right in RIGHTS} == set(Where)


class Canned(Inspection):
    """A cluster with these schemas and settings, whose operator has every right that names none of `denied`."""

    def __init__(
        self, schemas: dict[str, Any] | None = None, settings: dict[str, str] | None = None, denied: str = "nothing"
    ) -> None:
        self._schemas = schemas or {}
        self._settings, self._denied = settings or {}, denied

    async def version(self) -> tuple[str, datetime | None]:
        return "v1.36.0", None

    async def schema(self, kind: str) -> dict[str, Any] | None:
        return self._schemas.get(kind)

    async def deployments(self, home: str) -> list[KubeObject]:
        container = {"env": [{"name": name, "value": value} for name, value in self._settings.items()]}
        spec = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
        return [{"metadata": {"name": "operator"}, "spec": spec, "status": {"availableReplicas": 1}}]

    async def config_map(self, namespace: str, name: str = "") -> None:
        return None

    async def lease(self, home: str, name: str) -> None:
        return None

    async def environments(self, namespace: str | None = None) -> list[KubeObject]:
        return []

    async def may(self, question: AccessQuestion) -> bool:
        return question.resource != self._denied


async def checked(cluster: Canned, name: str) -> list[Check]:
    found = await check_cluster(cluster, Install("spotcompute-system", "0"), lambda: NOW)
    return [one for one in found if one.name == name]


def published(plural: str) -> Any:
    """What the API server publishes of our definition."""
    definition = yaml.safe_load((ROOT / "crds" / f"spotcompute.dev_{plural}.yaml").read_text())
    return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


async def test_each_of_both_definitions_is_missing_older_newer_or_right() -> None:
    environments, instances = published("spotcomputeenvironments"), published("spotinstances")
    ours = {"SpotComputeEnvironment": environments, "SpotInstance": instances}
    assert [one.state for one in await checked(Canned(ours), "crd")] == [State.OK, State.OK]
    first, second = await checked(Canned({"SpotComputeEnvironment": environments}), "crd")
    assert (first.state, second.state) == (State.OK, State.FAILED)
    assert second.said.startswith("The CRD spotinstances.spotcompute.dev is not installed, so instances are shown")
    assert second.remedy == "kubectl apply --server-side -f crds/spotcompute.dev_spotinstances.yaml"
    del instances["properties"]["status"]["properties"]["privateIP"]
    environments["properties"]["spec"]["properties"]["later"] = {"type": "string"}
    first, second = await checked(Canned(ours), "crd")
    assert (first.state, "it has spec.later besides" in first.said) == (State.SKIPPED, True)
    assert (second.state, "it lacks status.privateIP" in second.said) == (State.FAILED, True)
    assert "spotcompute.dev_spotinstances.yaml, then update the operator" in second.remedy


@pytest.mark.parametrize(
    ("settings", "are_asked"),
    [
        ({}, False),
        ({"SPOTCOMPUTE_NODES": "false"}, False),
        ({"SPOTCOMPUTE_NODES": "perhaps"}, False),
        ({"SPOTCOMPUTE_NODES": "true"}, True),
        ({"SPOTCOMPUTE_NODES": "1", "SPOTCOMPUTE_NAMESPACES": "jobs"}, True),
    ],
)
async def test_the_rights_for_nodes_are_asked_for_where_the_deployment_turns_them_on(
    settings: dict[str, str], are_asked: bool
) -> None:
    found = await checked(Canned(settings=settings, denied="nodes"), "rights")
    wrong = [one for one in found if one.state is State.FAILED]
    assert bool(wrong) is are_asked
    if are_asked:
        words = "lacks rights of cluster-role-nodes.yaml: list nodes, watch nodes, patch nodes, delete nodes"
        assert wrong[0].said == f"The operator {words}"
        assert "kubectl apply -f deploy/overlays/nodes/cluster-role-nodes.yaml" in wrong[0].remedy


async def test_the_rights_to_show_instances_are_asked_for_in_every_watched_namespace() -> None:
    (wrong,) = (
        one
        for one in await checked(Canned(settings={"SPOTCOMPUTE_NAMESPACES": "jobs"}, denied="spotinstances"), "rights")
        if one.state is State.FAILED
    )
    assert "create spotinstances in jobs" in wrong.said


@pytest.mark.parametrize(
    ("seconds", "state", "words"),
    [
        (0, State.OK, "agree within 1 s"),
        (59, State.OK, "agree within 59 s"),
        (-59, State.OK, "agree within 59 s"),
        (61, State.FAILED, "is 61 s behind that of the cloud"),
        (-400, State.FAILED, "is 400 s ahead of that of the cloud"),
    ],
)
def test_clocks_that_differ_are_told_with_their_direction(seconds: int, state: State, words: str) -> None:
    found = clock("the cloud", NOW + timedelta(seconds=seconds), NOW)
    assert (found.state, words in found.said) == (state, True)
    assert bool(found.remedy) is (state is State.FAILED)


def test_an_endpoint_that_does_not_answer_names_the_variable() -> None:
    (found,) = check_endpoint(NotSent("ClientNetworkError", "Cannot connect to host x"), ENDPOINT, NOW)
    assert (found.state, found.said) == (State.FAILED, "Nothing answers at https://cvm.tencentcloudapi.com")
    assert "HTTPS_PROXY" in found.remedy
    assert [one.state for one in check_endpoint(None, ENDPOINT, NOW)] == [State.OK]


@pytest.mark.parametrize(
    ("states", "end"),
    [
        ([State.OK], "1 check passed.\n"),
        ([State.OK, State.OK, State.SKIPPED], "2 checks passed. 1 could not be made, or had nothing to check.\n"),
        ([State.OK, State.FAILED], "1 check failed.\n"),
    ],
)
def test_the_last_line_counts(states: list[State], end: str) -> None:
    shown = report([Check("x", state, "said", "do this" if state is State.FAILED else "") for state in states])
    assert shown.endswith(end)
    assert ("✗ said\n    do this\n" in shown) is (State.FAILED in states)


def kubeconfig(path: Path, user: dict[str, Any]) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path.write_text(json.dumps(content))
    return path


def plugin(command: str, *arguments: str) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    run = {"apiVersion": version, "command": command, "args": list(arguments), "interactiveMode": "Never"}
    return {"exec": run}


@pytest.fixture
def check(simulated: SimulatedGround, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", simulated.sim.api)
    monkeypatch.setenv("SPOTCOMPUTE_PROTOCOL", "http")
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["check", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.mark.parametrize(
    ("user", "said", "remedy"),
    [
        pytest.param({"token": "x"}, "No cluster answers", "--context", id="no-cluster"),
        pytest.param(
            plugin("sh", "-c", "echo please log in >&2; exit 3"),
            "the program that the kubeconfig names for credentials failed: exec: process returned 3",
            "log in as it asks",
            id="exec-fails",
        ),
        pytest.param(plugin("no-such-program"), "No such file or directory", "log in as it asks", id="exec-missing"),
    ],
)
def test_a_cluster_that_cannot_be_asked_is_one_sentence_with_a_remedy(
    check: Any, tmp_path: Path, user: dict[str, Any], said: str, remedy: str
) -> None:
    result = check("--kubeconfig", str(kubeconfig(tmp_path / "config", user)))
    first, second, *others = result.output.splitlines()
    assert result.exit_code == 1
    assert first.startswith("✗ ")
    assert said in first
    assert remedy in second
    assert any("answers, asked from here" in line for line in others), "the cloud is checked all the same"


def test_a_kubeconfig_or_context_that_is_not_there_is_named(check: Any, tmp_path: Path) -> None:
    assert "there is no file /nowhere/config" in check("--kubeconfig", "/nowhere/config").output
    path = kubeconfig(tmp_path / "config", {"token": "x"})
    assert "nope" in check("--kubeconfig", str(path), "--context", "nope").output


def test_programs_get_every_check(check: Any) -> None:
    found = json.loads(check("--kubeconfig", "/nowhere/config", "-o", "json").stdout)["checks"]
    assert [(one["name"], one["state"]) for one in found] == [
        ("kubernetes", "failed"),
        ("endpoint", "ok"),
        ("clock", "ok"),
    ]


def test_an_unsafe_endpoint_is_a_wrong_setting(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", "cvm.example.com")
    result = check("--kubeconfig", "/nowhere/config")
    assert (result.exit_code, "Unset SPOTCOMPUTE_PROTOCOL" in result.output) == (2, True)
