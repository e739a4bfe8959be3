"""What the schema accepts and what it refuses, with which words: every row of `manifests` on the real API server.

Dry runs with strict field validation, each created and applied server-side. No operator is asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest

from e2e.manifests import ACCEPTED, AT_THE_BOUNDS, REFUSED, ZONE, Row
from e2e.simulator import REGION
from e2e.stage import manifest
from hostile.judge import ApiServer, Tally, api_server, fault_of
from localcluster.cluster import Cluster
from localcluster.kubectl import Kubectl, KubectlError
from spotcompute.api.crd import custom_resource_definition

pytestmark = pytest.mark.e2e

ROOT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
ROWS = [*REFUSED, *ACCEPTED]
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


@dataclass(frozen=True)
class Answer:
    """What became of a row: HTTP status, the whole body, and what the API server found, as (field, sentence)."""

    status: int
    body: bytes

    @cached_property
    def found(self) -> list[tuple[str, str]]:
        told = json.loads(self.body)
        causes = [(one.get("field", ""), one.get("message", "")) for one in told.get("details", {}).get("causes", ())]
        return causes or [("", told.get("message", ""))]

    def says(self, row: Row) -> bool:
        """True when it names the field of the row, and says what the row expects."""
        return any(row.where in f"{where} {sentence}" and row.says in sentence for where, sentence in self.found)


Answers = dict[Row, Answer]


@pytest.fixture(scope="module")
def created(cluster: Cluster) -> Answers:
    """The answer to the creation of each row."""

    async def one(server: ApiServer, row: Row) -> Answer:
        return Answer(*await server.create(json.dumps(row.manifest).encode(), **STRICT))

    return asyncio.run(all_of(cluster, one))


@pytest.fixture(scope="module")
def applied(cluster: Cluster) -> Answers:
    """The answer to the server-side apply of each row."""

    async def one(server: ApiServer, row: Row) -> Answer:
        whole = row.manifest
        body = json.dumps(whole).encode()
        return Answer(*await server.apply(whole["metadata"]["name"], body, fieldManager="git", **STRICT))

    return asyncio.run(all_of(cluster, one))


async def all_of(cluster: Cluster, one: Callable[[ApiServer, Row], Awaitable[Answer]]) -> Answers:
    async with api_server(cluster.kubeconfig, "default") as server:
        answers = await asyncio.gather(*(one(server, row) for row in ROWS))
    return dict(zip(ROWS, answers, strict=True))


def test_every_row_is_another_one_and_they_are_many() -> None:
    assert len({json.dumps(row.manifest, sort_keys=True) for row in ROWS}) == len(ROWS)
    assert len(ROWS) >= 120


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: str(row.id))
def test_what_makes_sense_is_accepted_and_understood(row: Row, created: Answers, applied: Answers) -> None:
    for answer in (created[row], applied[row]):
        assert answer.status == 201, answer.found
        assert json.loads(answer.body)["status"]["observedGeneration"] == -1, "somebody else's status was believed"
    tally = Tally()
    assert fault_of(201, created[row].body, tally) is None
    assert tally.invalid == 0, "the operator's own reading refuses it"


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: str(row.id))
def test_what_makes_no_sense_is_refused_with_field_and_remedy(row: Row, created: Answers, applied: Answers) -> None:
    assert created[row].says(row), created[row].found
    assert applied[row].status >= 400, "server-side apply took it"  # 500 where it cannot read it at all


@pytest.fixture
def kubectl(cluster: Cluster) -> Iterator[Kubectl]:
    """kubectl in a namespace that has the environment `web`."""
    namespace = f"manifests-{secrets.token_hex(4)}"
    cluster.kubectl.run("create", "namespace", namespace)
    ours = replace(cluster.kubectl, namespace=namespace)
    ours.apply(json.dumps(manifest("web", ZONE)))
    yield ours
    cluster.kubectl.run("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("way", ["--server-side", "--server-side=false"])
def test_the_region_of_an_environment_cannot_change(kubectl: Kubectl, way: str) -> None:
    elsewhere = manifest("web", "ap-singapore-1", region="ap-singapore")
    with pytest.raises(KubectlError, match="region cannot change: create a new environment"):
        kubectl.apply(json.dumps(elsewhere), "--force-conflicts" if way == "--server-side" else way, way)


def test_everything_else_can_change(kubectl: Kubectl) -> None:
    for row in AT_THE_BOUNDS:
        whole = row.manifest | {"metadata": {"name": "web"}}
        if whole["spec"]["region"] == REGION:
            kubectl.apply(json.dumps(whole), "--dry-run=server")


def test_status_is_not_written_beside_the_spec(kubectl: Kubectl) -> None:
    before = kubectl.json("get", "sce", "web")
    kubectl.run("patch", "sce", "web", "--type=merge", "-p", '{"status": {"phase": "Ready"}}')
    after = kubectl.json("get", "sce", "web")
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])


def test_kubectl_says_all_that_is_wrong_at_once(kubectl: Kubectl) -> None:
    wrong = manifest("web", ZONE, market={"maxPrice": "cheap"}, template={"imageId": "ubuntu"})
    with pytest.raises(KubectlError) as refusal:
        kubectl.apply(json.dumps(wrong))
    assert "spec.market.maxPrice: Invalid value" in refusal.value.stderr
    assert 'such as "0.0923"' in refusal.value.stderr
    assert "spec.template.imageId: Invalid value" in refusal.value.stderr


# --- that nothing is left out ----------------------------------------------------------------------------------------

Node = tuple[str, dict[str, Any]]

#: How the API server refuses what lies outside each kind of bound.
REFUSALS = {
    "minimum": "should be greater than or equal to {}",
    "maximum": "should be less than or equal to {}",
    "multipleOf": "should be a multiple of {}",
    "minLength": "should be at least {} chars long",
    "maxLength": "may not be more than {} bytes",
    "minItems": "should have at least {} item",
    "maxItems": "must have at most {} item",
    "maxProperties": "must have at most {} item",
    "enum": "supported values: ",
    "format": "must be of type {}",
    "x-kubernetes-list-map-keys": "Duplicate value",
}

#: A key that repeats is told of the item, not of the list.
KEYS = {"x-kubernetes-list-map-keys": "[]"}


def nodes(schema: dict[str, Any], path: str) -> Iterator[Node]:
    """Every schema below this one; `[]` stands for each of a list, `.*` for each of a map."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from nodes(schema["additionalProperties"], f"{path}.*")


SPEC = list(nodes(ROOT["properties"]["spec"], "spec"))
RULES = [
    pytest.param(path, rule, id=f"{path}: {rule['message'][:50]}")
    for path, schema in [("<nil>", ROOT), *SPEC]
    for rule in schema.get("x-kubernetes-validations", ())
]
BOUNDS = [
    pytest.param(path + KEYS.get(kind, ""), kind, REFUSALS[kind].format(schema[kind]), id=f"{path} {kind}")
    for path, schema in SPEC
    for kind in REFUSALS
    if kind in schema
]
REQUIRED = [
    pytest.param(f"{path}.{name}", "required", "Required value", id=f"{path}.{name} required")
    for path, schema in SPEC
    for name in schema.get("required", ())
]


def is_at(path: str, where: str) -> bool:
    """True when a field as the API server names it is one that `path` stands for."""
    pattern = re.escape(path).replace(r"\[\]", r"\[\d+\]").replace(r"\.\*", r"(\..+|\[.+\])")
    return re.fullmatch(pattern, where) is not None


def refusals_at(path: str, answers: Answers) -> list[str]:
    """What the API server has said of a field, in answers to rows that are about it."""
    rows = [row for row in REFUSED if answers[row].says(row)]
    return [
        sentence
        for row in rows
        for where, sentence in answers[row].found
        if is_at(path, where) and row.says in sentence
    ]


@pytest.mark.parametrize(("path", "rule"), RULES)
def test_every_rule_has_a_row_that_it_refuses(path: str, rule: dict[str, str], created: Answers) -> None:
    if "oldSelf" in rule["rule"]:
        return  # test_the_region_of_an_environment_cannot_change
    assert any(rule["message"] in sentence for sentence in refusals_at(path, created))


def values(whole: Any, path: str) -> list[Any]:
    """Every value that a manifest has at a path."""
    found = [whole]
    for step in re.findall(r"[\w-]+|\[\]|\*", path):
        if step == "[]":
            found = [item for one in found for item in one]
        elif step == "*":
            found = [item for one in found for item in one.values()]
        else:
            found = [one[step] for one in found if step in one]
    return found


@pytest.mark.parametrize(("path", "rule"), RULES)
def test_every_rule_has_a_row_that_it_lets_pass(path: str, rule: dict[str, str]) -> None:
    assert path == "<nil>" or any(values(row.manifest, path) for row in ACCEPTED)


@pytest.mark.parametrize(("path", "kind", "sentence"), [*BOUNDS, *REQUIRED])
def test_every_bound_has_a_row_outside_of_it(path: str, kind: str, sentence: str, created: Answers) -> None:
    assert any(sentence in told for told in refusals_at(path, created)), kind


#: Bounds that nothing can lie on, and why.
UNREACHABLE = {
    ("spec.region", "maxLength"): "a zone is longer than its region, and has the same bound",
    ("spec.template.userData", "maxLength"): "a rule allows 16 KiB; without this bound it could cost too much",
    ("spec.market.maxPrice", "maxLength"): "a price of six digits and eight decimals is shorter",
    ("spec.market.overrides[].maxPrice", "maxLength"): "a price of six digits and eight decimals is shorter",
    ("spec.limits.maxHourlyCost", "maxLength"): "a price of six digits and eight decimals is shorter",
    ("spec.onDemandFallback.maxHourlyCost", "maxLength"): "a price of six digits and eight decimals is shorter",
}


@pytest.mark.parametrize(("path", "schema"), [pytest.param(*node, id=node[0]) for node in SPEC])
def test_every_bound_has_a_row_on_it(path: str, schema: dict[str, Any]) -> None:
    found = [value for row in ACCEPTED for value in values(row.manifest, path)]
    sizes = [len(value) for value in found if isinstance(value, str | list | dict)]
    for kind in ("minimum", "maximum"):
        assert kind not in schema or schema[kind] in found, kind
    for kind in ("minLength", "maxLength", "minItems", "maxItems", "maxProperties"):
        is_free = (path, kind) in UNREACHABLE or kind not in schema
        assert is_free or schema[kind] in sizes, kind
    assert set(schema.get("enum", ())) <= set(map(str, found)), "a value that is never tried"
    assert "multipleOf" not in schema or any(value % schema["multipleOf"] == 0 for value in found)
