"""Makes the CustomResourceDefinition from `spec` and `status`: pydantic's JSON Schema becomes a structural schema.

`python -m spotcompute crd` prints it. `make crds` writes it to `crds/`, and `make check` compares the two.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from spotcompute.api.schema import column
from spotcompute.api.spec import Spec
from spotcompute.api.status import Status

GROUP, VERSION, KIND = "spotcompute.dev", "v1alpha1", "SpotComputeEnvironment"
PLURAL, SINGULAR = "spotcomputeenvironments", "spotcomputeenvironment"

#: Fields that `kubectl get --field-selector` accepts, from Kubernetes 1.31 on. The API server allows eight.
SELECTABLE = (".spec.region", ".spec.credentialsSecretRef.name", ".status.phase", ".status.reason")


def custom_resource_definition() -> dict[str, Any]:
    """Returns the whole manifest as JSON values, with keys in the order in which people read them."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": SINGULAR,
                "shortNames": ["sce"],
                "categories": ["spot"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": _columns(),
                    "selectableFields": [{"jsonPath": path} for path in SELECTABLE],
                    "schema": {"openAPIV3Schema": _root_schema()},
                }
            ],
        },
    }


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema of a manifest, for editors and `kubeconform`: the spec as the CRD has it, and the status.

    It refuses unknown fields. The rules that compare fields are the API server's alone, because JSON schema has no CEL.
    """
    root = _root_schema()
    head = {"apiVersion": {"const": f"{GROUP}/{VERSION}"}, "kind": {"const": KIND}, "metadata": {"type": "object"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": KIND,
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": head | {part: _for_editors(root["properties"][part]) for part in ("spec", "status")},
    }


def _for_editors(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_for_editors(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _for_editors(value) for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    is_closed = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    return kept | ({"additionalProperties": False} if is_closed and "additionalProperties" not in kept else {})


def unknown_fields(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the fields below spec that the schema does not have, each with a likely correction. kubectl refuses them
    too.
    """
    yield from _unknown(manifest.get("spec"), structural(Spec), "spec")


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, dict) or "properties" not in schema:
        return
    known = schema["properties"]
    for name, inner in value.items():
        if name in known:
            yield from _unknown(inner, known[name], f"{path}.{name}")
        else:
            close = difflib.get_close_matches(str(name), known, 1)
            yield (
                f"{path}.{name}",
                f"there is no such field; is {close[0]} meant?" if close else "there is no such field",
            )


def _columns() -> list[dict[str, Any]]:
    return [
        column("Desired", "integer", ".spec.replicas"),
        column("Ready", "integer", ".status.readyReplicas"),
        column("Up-To-Date", "integer", ".status.updatedReplicas"),
        column("Cost/H", "string", ".status.cost.perHour"),
        column("Status", "string", ".status.phase"),
        column("Reason", "string", ".status.reason"),
        column("Age", "date", ".metadata.creationTimestamp"),
        column("Reclaimed", "integer", ".status.reclaimed", 1),
        column("Next-Try", "string", ".status.nextAttemptTime", 1),
        # Not .spec.placements[*].zone: the API server would show the first and no other.
        column("Zones", "string", ".status.zones", 1),
        column("MaxPrice", "string", ".spec.market.maxPrice", 1),
        column("Region", "string", ".spec.region", 1),
        column("Types", "string", ".spec.instanceTypes", 1),
        column("Unit", "string", ".spec.capacityUnit", 1),
    ]


_SPEC_DESCRIPTION = (
    "The wanted state: how many instances, in which zones, of which types, at what price, and what each one looks like."
)
_STATUS_DESCRIPTION = "The state that the operator has found and what it has done. Only the operator writes it."


def _root_schema() -> dict[str, Any]:
    spec, status = structural(Spec), structural(Status)
    return {
        "type": "object",
        "description": "Keeps the desired number of Tencent Cloud CVM spot instances alive. It does what a compute"
        " environment of BatchCompute does, as a Kubernetes object.",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": "size(self.metadata.name) <= 63",
                "message": "metadata.name must be at most 63 characters: it becomes part of the instances' names",
            }
        ],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {**spec, "description": _SPEC_DESCRIPTION},
            # kstatus takes an object without status for finished. This default says "not seen yet" from the start.
            "status": {
                **status,
                "description": _STATUS_DESCRIPTION,
                "default": {"observedGeneration": -1, "replicas": 0},
            },
        },
    }


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the structural schema of a model: what the API server takes of JSON Schema."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}))


#: JSON Schema keywords that a structural schema may hold, in the order in which they are written.
_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "default",
    "minimum",
    "multipleOf",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)


def _convert(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, definitions)
    result: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        result["enum"] = [node["const"]]
    _tidy_default(result)
    if "properties" in node:
        result["properties"] = {name: _convert(item, definitions) for name, item in node["properties"].items()}
    if "items" in node:
        result["items"] = _convert(node["items"], definitions)
        result["items"].pop("description", None)  # `kubectl explain` would append it to the list's description
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        result["additionalProperties"] = _convert(extra, definitions)
    result |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if "x-kubernetes-preserve-unknown-fields" in result:
        result.pop("additionalProperties", None)
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    return result


def _tidy_default(schema: dict[str, Any]) -> None:
    """Leaves out what a default says of fields that have none, and a default that says nothing at all."""
    if isinstance(schema.get("default"), dict):
        schema["default"] = {key: value for key, value in schema["default"].items() if value is not None}
    if schema.get("default") in (None, [], {}):
        schema.pop("default", None)


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follows `$ref` and unwraps optional types. Keywords next to a `$ref` win over those of its target."""
    merged = dict(node)
    while True:
        if "$ref" in merged:
            target = definitions[merged.pop("$ref").rsplit("/", 1)[-1]]
            merged = {**target, **merged}
        elif "anyOf" in merged:
            (target,) = (item for item in merged.pop("anyOf") if item.get("type") != "null")
            merged = {**target, **merged}
        else:
            return merged
