"""Writes the pages of docs/reference that must not drift from the code: settings, spec and metrics.

    PYTHONPATH=operator python docs/generate.py

Apart from the code it describes, because it is a tool for authors; a test compares its output with the pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from prometheus_client import Counter, Gauge, Histogram, Info

from spotcompute import __main__
from spotcompute.api import instance_object
from spotcompute.api.crd import custom_resource_definition
from spotcompute.cloud.tencent import client
from spotcompute.telemetry import metrics, pools

REFERENCE = Path(__file__).resolve().parent / "reference"

Schema = dict[str, Any]
Metric = Counter | Gauge | Histogram | Info

SETTINGS = """# Settings

Every setting is an environment variable of the operator.

| Install | Where you write it |
|---|---|
| kustomize | a literal of the ConfigMap `spotcompute-settings`, as in `deploy/base/kustomization.yaml` |
| Helm | a value under `settings`: `SPOTCOMPUTE_SWEEP_SECONDS` is `settings.sweepSeconds` |

A change restarts the operator. If it cannot read a variable, it does not start, and its message names the variable.

Three variables have no prefix: `TENCENTCLOUD_SECRET_ID`, `TENCENTCLOUD_SECRET_KEY` and `TENCENTCLOUD_TOKEN`. They are
the operator's own key, for environments without `credentialsSecretRef`. `deploy/base` does not allow its use.
[Keys](../keys.md) tells of the other ways.

"""

SPEC = """# SpotComputeEnvironment

Group `spotcompute.dev`, version `v1alpha1`, namespaced, short name `sce`, category `spot`.

Each field has a section of its own, so that you can link to it. Below its name stand its type and what the API server
allows. `[]` stands for each item of a list. When one of the [rules](#rules) is broken, the API server refuses the
manifest with the sentence given there.
"""

INSTANCE = """# SpotInstance

Group `spotcompute.dev`, version `v1alpha1`, namespaced, short name `si`, category `spot`.

There is one object for each instance, with the instance's id as its name. The operator makes, updates and removes it:
it is a view, and a place for wishes. An object that somebody else makes is refused or removed. It belongs to its
SpotComputeEnvironment, and has labels for environment, zone and type. With `spec.instanceObjects: false` there is none.

## Wishes

An annotation, or a label, asks for something. It is off when it says `false`, `no` or `0`. `kubectl delete si ID` ends
the instance, which is replaced while `replicas` asks for it. [How to …](../tasks.md) tells when each is of use.

| Mark | Asks for |
|---|---|
"""

#: What each mark asks for, in the order in which a person would look for it.
WISHES = {
    instance_object.DO_NOT_TERMINATE: "the instance is not ended while its environment exists",
    instance_object.DELETE_FIRST: "it goes first when some have to go",
    instance_object.DELETION_COST: "a whole number: of equals, the lowest goes first; 0 without the mark",
    instance_object.UNHEALTHY: "it is replaced",
    instance_object.KEEP: "a failed one is kept to be looked at: for a time such as `1h30m`, at most a day",
    instance_object.INTERRUPTION_NOTICE: "says that the cloud will take it back, in a few words",
}

METRICS = """# Metrics

Prometheus reads the metrics at `/metrics` on port 9090.

- An environment has at most 20 series. No instance id is ever a label.
- At most 200 pools are shown, those with the most instances, with at most four series each.
- At most 100 codes of the cloud get a series of their own; all others are `Other`.
- As usual, counters also have a series `…_created`, and histograms have `…_bucket`, `…_sum`, `…_count` and `…_created`.

| Metric | Kind | Labels | What it says |
|---|---|---|---|
"""


def settings_page() -> str:
    """The table that `python -m spotcompute settings` prints."""
    return SETTINGS + CliRunner().invoke(__main__.main, ["settings"], catch_exceptions=False).output


def spec_page() -> str:
    """Every field of spec and status, from the CRD."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    root = version["schema"]["openAPIV3Schema"]
    properties = root["properties"]
    parts = [SPEC.rstrip()]
    for part in ("spec", "status"):
        parts += [f"\n## {part}", *_sections(properties[part], part)]
    parts += ["\n## Rules\n", *_own_rules("metadata", root), *_rules("spec", properties["spec"])]
    return "\n".join(parts) + "\n"


def instance_page() -> str:
    """The second kind: its marks, its columns, and every field of its status."""
    (version,) = instance_object.instance_resource_definition()["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    columns = [
        f"| {column['name'].upper()} | `{column['jsonPath']}` | {'`-o wide`' if column.get('priority') else ''} |"
        for column in version["additionalPrinterColumns"]
    ]
    parts = [
        INSTANCE + "".join(f"| `{mark}` | {text} |\n" for mark, text in WISHES.items()),
        "## Columns\n\n| Column | Shows | |\n|---|---|---|\n" + "\n".join(columns),
        "\n## status\n\nWhat the operator has found. Only the operator writes it.",
        *_sections(status, "status"),
    ]
    return "\n".join(parts) + "\n"


def metrics_page() -> str:
    """Every metric that the operator registers, in alphabetical order."""
    return METRICS + "".join(f"| `{name}` | {row} |\n" for name, row in sorted(_metric_rows()))


def pages() -> dict[str, str]:
    """File name in docs/reference to content."""
    return {
        "settings.md": settings_page(),
        "spec.md": spec_page(),
        "instance.md": instance_page(),
        "metrics.md": metrics_page(),
    }


def _sections(schema: Schema, above: str) -> Iterator[str]:
    """A section for each field: fields of the spec itself are one level above those that they hold."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        path = f"{above}.{name}"
        facts = [_type(field), *(["**required**"] if name in required else []), *filter(None, [_allowed(field)])]
        mark = "###" if "." not in above else "####"
        yield f"\n{mark} {path}\n\n{' · '.join(facts)}\n\n{field.get('description', '')}"
        yield from _sections(field.get("items", field), f"{path}{'[]' if 'items' in field else ''}")


def _type(field: Schema) -> str:
    if field["type"] == "array":
        return f"list of {field['items']['type']}"
    if "additionalProperties" in field:
        return f"map to {field['additionalProperties']['type']}"
    return str(field.get("format", field["type"]))


def _allowed(field: Schema) -> str:
    words = [f"`{value}`" for value in field.get("enum", ())]
    words += [f"default `{_plain(field['default'])}`"] if _has_plain_default(field) else []
    words += [f"{text} {field[key]}" for key, text in _BOUNDS.items() if key in field]
    return ", ".join(words)


_BOUNDS = {
    "minimum": "≥",
    "maximum": "≤",
    "minLength": "characters ≥",
    "maxLength": "characters ≤",
    "minItems": "items ≥",
    "maxItems": "items ≤",
    "minProperties": "entries ≥",
    "maxProperties": "entries ≤",
}


def _has_plain_default(field: Schema) -> bool:
    """The default of an object is that of its fields, which have lines of their own."""
    return "default" in field and not isinstance(field["default"], dict)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _own_rules(where: str, schema: Schema) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"- `{where}`: {rule['message']}"


def _rules(where: str, schema: Schema) -> Iterator[str]:
    yield from _own_rules(where, schema)
    for name, field in schema.get("properties", {}).items():
        yield from _rules(f"{where}.{name}", field)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _rules(f"{where}[]", schema[key])


def _metric_rows() -> Iterator[tuple[str, str]]:
    for module in (metrics, client):
        for collector in vars(module).values():
            if isinstance(collector, Metric):
                yield _metric_row(collector)
    gauges = [(name, text, ("namespace", "name", *labels)) for name, text, labels in metrics.OF_AN_ENVIRONMENT]
    gauges += [(name, text, ("zone", "instance_type", *labels)) for name, text, labels in pools.OF_A_POOL]
    for name, text, labels in gauges:
        yield name, f"gauge | {', '.join(f'`{label}`' for label in labels)} | {text}"


def _metric_row(collector: Metric) -> tuple[str, str]:
    (family,) = collector.describe()
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    name = f"{family.name}{suffix}"
    labels = ", ".join(f"`{label}`" for label in collector._labelnames)
    return name, f"{family.type} | {labels} | {family.documentation}"


if __name__ == "__main__":
    for page, content in pages().items():
        (REFERENCE / page).write_text(content)
