"""The CRD: structural, without nulls, affordable rules, and a place for everything that is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from spotcompute.api.crd import custom_resource_definition, json_schema
from spotcompute.api.spec import Spec
from spotcompute.api.status import Status

CRD = custom_resource_definition()
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
GENERATED = Path(__file__).parents[2] / "crds" / "spotcompute.dev_spotcomputeenvironments.yaml"

Node = tuple[str, dict[str, Any]]


def walk(node: dict[str, Any], path: str = "") -> Iterator[Node]:
    """Every schema below `node`, with its path."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}{{}}")


NODES = list(walk(ROOT))


def test_the_file_in_the_repository_is_the_generated_one() -> None:
    assert yaml.safe_load(GENERATED.read_text()) == CRD


@pytest.mark.parametrize(("path", "node"), [pytest.param(*node, id=node[0] or "root") for node in NODES])
def test_every_node_is_structural(path: str, node: dict[str, Any]) -> None:
    """Source: Kubernetes, Extend the API with CustomResourceDefinitions, "Specifying a structural schema"."""
    assert isinstance(node["type"], str), "no type"
    assert not {"$ref", "anyOf", "oneOf", "allOf", "title", "const", "definitions"} & node.keys()
    if node["type"] == "array":
        assert "items" in node
    if node["type"] == "object":
        is_described = {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"} & node.keys()
        assert is_described or path == ".metadata"
    assert set(node.get("required", [])) <= set(node.get("properties", {}))


def test_there_is_no_null_anywhere() -> None:
    assert "null" not in json.dumps(CRD)


def test_replicas_has_a_default_because_without_a_number_the_scale_subresource_fails() -> None:
    """Who may own it is tests/e2e/test_gitops.py."""
    assert ROOT["properties"]["spec"]["properties"]["replicas"]["default"] == 0


def test_a_newborn_object_is_not_taken_for_finished() -> None:
    assert ROOT["properties"]["status"]["default"]["observedGeneration"] == -1
    assert VERSION["subresources"]["scale"]["statusReplicasPath"] == ".status.replicas"
    assert ROOT["properties"]["status"]["default"]["replicas"] == 0


def has_path(path: str) -> bool:
    node: dict[str, Any] = ROOT
    for name in path.replace("[*]", "").strip(".").split("."):
        node = node.get("items", node)
        if name not in node.get("properties", {}):
            return False
        node = node["properties"][name]
    return True


@pytest.mark.parametrize(
    "path",
    [
        *(item["jsonPath"] for item in VERSION["additionalPrinterColumns"] if ".metadata." not in item["jsonPath"]),
        *VERSION["subresources"]["scale"].values(),
        *(item["jsonPath"] for item in VERSION["selectableFields"]),
    ],
)
def test_columns_scale_and_selections_point_at_fields_there_are(path: str) -> None:
    assert has_path(path)


#: What `kubectl get sce` shows, and `-o wide` after that.
COLUMNS = ["Desired", "Ready", "Up-To-Date", "Cost/H", "Status", "Reason", "Age"]
WIDE = ["Reclaimed", "Next-Try", "Zones", "MaxPrice", "Region", "Types", "Unit"]


def test_the_columns_are_those_people_know_from_other_kinds() -> None:
    columns = [(item["name"], item.get("priority", 0)) for item in VERSION["additionalPrinterColumns"]]
    assert columns == [*((name, 0) for name in COLUMNS), *((name, 1) for name in WIDE)]


@pytest.mark.parametrize("column", VERSION["additionalPrinterColumns"], ids=lambda column: str(column["name"]))
def test_no_column_stands_for_the_first_of_several(column: dict[str, Any]) -> None:
    """The API server prints the first match of a path and no other."""
    assert "[" not in column["jsonPath"]


def fields_of(model: type[BaseModel], path: str) -> Iterator[str]:
    """The JSON path of every field of a model and of the models inside it."""
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias or to_camel(name)}"
        yield here
        for inner, suffix in _models_in(field.annotation):
            yield from fields_of(inner, here + suffix)


def _models_in(annotation: Any, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
    for argument in getattr(annotation, "__args__", ()):
        is_list = getattr(annotation, "__origin__", None) is list
        yield from _models_in(argument, "[]" if is_list else suffix)


@pytest.mark.parametrize("path", [*fields_of(Spec, ".spec"), *fields_of(Status, ".status")])
def test_every_field_of_the_models_is_in_the_schema(path: str) -> None:
    assert path in dict(NODES), "the API server would drop it silently"


def test_the_schema_has_no_field_the_models_do_not_know() -> None:
    known = {*fields_of(Spec, ".spec"), *fields_of(Status, ".status")}
    ours = {path for path, _ in NODES if path.startswith((".spec.", ".status.")) and not path.endswith(("[]", "{}"))}
    assert ours == known


@pytest.mark.parametrize(
    ("path", "node"), [pytest.param(*node, id=node[0]) for node in NODES if node[0].startswith(".spec")]
)
def test_everything_a_user_may_write_is_bounded(path: str, node: dict[str, Any]) -> None:
    """The API server estimates the cost of CEL from these bounds, and refuses a CRD whose rules could cost too much."""
    is_free = "enum" in node or "x-kubernetes-preserve-unknown-fields" in node
    if node["type"] == "string" and not is_free:
        assert "maxLength" in node
    if node["type"] == "array":
        assert "maxItems" in node
    if isinstance(node.get("additionalProperties"), dict):
        assert "maxProperties" in node


RULES = [
    pytest.param(path, rule, id=f"{path}-{number}")
    for path, node in NODES
    for number, rule in enumerate(node.get("x-kubernetes-validations", []))
]


@pytest.mark.parametrize(("path", "rule"), RULES)
def test_every_rule_tells_the_user_what_to_do(path: str, rule: dict[str, str]) -> None:
    assert set(rule) == {"rule", "message"}
    assert 10 < len(rule["message"]) < 200
    assert "\n" not in rule["message"]
    assert rule["rule"].count("(") == rule["rule"].count(")")


@pytest.mark.parametrize(("path", "node"), [pytest.param(*node, id=node[0]) for node in NODES if "default" in node[1]])
def test_a_default_is_of_the_type_it_stands_for(path: str, node: dict[str, Any]) -> None:
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    assert isinstance(node["default"], types[node["type"]])
    if isinstance(node["default"], dict):
        assert set(node["default"]) <= set(node["properties"])
    if "enum" in node:
        assert node["default"] in node["enum"]


def test_the_schema_for_editors_is_what_the_code_makes() -> None:
    text = (GENERATED.parents[1] / "deploy/schema/spotcomputeenvironment_v1alpha1.json").read_text()
    assert json.loads(text) == json_schema(), "run 'make crds' and commit"


def test_the_schema_for_editors_knows_every_field_and_no_other() -> None:
    schema = json_schema()
    assert "x-kubernetes" not in json.dumps(schema)
    described = {path.removeprefix(".spec") for path, _ in walk(schema["properties"]["spec"], ".spec")}
    assert described == {path for path, _ in walk(ROOT["properties"]["spec"])}
    for path, node in walk(schema["properties"]["spec"]):
        if "properties" in node:
            assert node["additionalProperties"] is False, path
