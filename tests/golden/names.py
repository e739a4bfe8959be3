"""Names that users see, read from the code: one line per name, as the files beside this module hold them.

`make golden` writes the files anew after a wanted change. Apart from the test, because both need it.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml
from prometheus_client import Counter, Gauge, Histogram, Info

import cvmsim.cli
import kubectl_spot.__main__
import spotcompute.__main__
from spotcompute.api import conditions, cordon, crd, instance_object, status
from spotcompute.cloud.tencent import translate
from spotcompute.kube import events, names
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.ledger import Cause, StateRefusalKind, Trouble
from spotcompute.plan.allocation import Obstacle
from spotcompute.report.history import events_of
from spotcompute.settings import Settings
from spotcompute.telemetry import metrics, pools

Node = TypeVar("Node", bound=ast.AST)

GOLDEN = Path(__file__).parent
ROOT = GOLDEN.parents[1]
OPERATOR = Path(spotcompute.__main__.__file__).parent
CHART = ROOT / "deploy/charts/spotcompute-operator"

#: How loggers and their methods are called. The first argument is the name of the log event.
_LOGGERS, _LEVELS = {"log", "_log"}, {"debug", "info", "warning", "error", "exception", "critical"}


def custom_resource() -> Iterator[str]:
    """Names of the kind, columns, and each field with its type, what the API server checks, and its rules."""
    yield from _resource(crd.custom_resource_definition()["spec"])


def instance_resource() -> Iterator[str]:
    """The same of the kind that shows single instances."""
    yield from _resource(instance_object.instance_resource_definition()["spec"])


def _resource(spec: dict[str, Any]) -> Iterator[str]:
    (version,) = spec["versions"]
    yield f"group {spec['group']} version {version['name']} scope {spec['scope']}"
    yield f"names {_json(spec['names'])}"
    yield f"subresources {_json(version.get('subresources', {}))}"
    yield from (f"selectable {field['jsonPath']}" for field in version["selectableFields"])
    yield from (f"column {_json(column)}" for column in version["additionalPrinterColumns"])
    yield from _fields("", version["schema"]["openAPIV3Schema"])


def _fields(path: str, schema: dict[str, Any]) -> Iterator[str]:
    inner = {"properties", "items", "additionalProperties", "description", "x-kubernetes-validations"}
    yield f"{path or '.'} {_json({key: value for key, value in schema.items() if key not in inner})}"
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"{path or '.'} rule {rule['rule']}"
    for name, field in schema.get("properties", {}).items():
        yield from _fields(f"{path}.{name}", field)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from _fields(path + mark, schema[key])


def settings() -> Iterator[str]:
    """Environment variables of the operator with type and default, and those that its code reads by name."""
    prefix = Settings.model_config["env_prefix"]
    for name, field in Settings.model_fields.items():
        type_ = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        yield f"{prefix}{name.upper()} {type_.replace('typing.', '')} = {field.default!r}"
    for node in _nodes(ast.Constant):
        if re.fullmatch(r"TENCENTCLOUD_\w+|KUBECONFIG", str(node.value)):
            yield str(node.value)


def command_lines() -> Iterator[str]:
    """Commands, arguments and options of the three programs, with their defaults."""
    programs = {
        "spotcompute": spotcompute.__main__.main,
        "cvmsim": cvmsim.cli.cli,
        "kubectl-spot": kubectl_spot.__main__.main,
    }
    for name, command in programs.items():
        yield from _commands(name, command)


def _commands(path: str, command: click.Command) -> Iterator[str]:
    yield path
    for parameter in command.params:
        default = parameter.default if isinstance(parameter.default, str | int | float | bool) else None
        shown = {
            "type": getattr(parameter.type, "choices", None) or parameter.type.name,
            "default": default,
            "required": parameter.required,
            "repeats": parameter.nargs == -1 or parameter.multiple,
            "variable": parameter.envvar,
        }
        words = " ".join((*parameter.opts, *parameter.secondary_opts))
        yield f"{path} {words} {_json({key: value for key, value in shown.items() if value not in (None, False)})}"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(f"{path} {name}", inner)


def metric_names() -> Iterator[str]:
    """Metrics with their kind and labels, histograms with their buckets, wherever in the operator they are made."""
    for found in pkgutil.walk_packages([str(OPERATOR)], "spotcompute."):
        for one in vars(importlib.import_module(found.name)).values():
            if isinstance(one, Counter | Gauge | Histogram | Info):
                yield _metric(one)
    for name, _, labels in metrics.OF_AN_ENVIRONMENT:
        yield f"{name} gauge {' '.join(('namespace', 'name', *labels))}".rstrip()
    for name, _, labels in pools.OF_A_POOL:
        yield f"{name} gauge {' '.join(('zone', 'instance_type', *labels))}"


def _metric(collector: Counter | Gauge | Histogram | Info) -> str:
    family = next(iter(collector.describe()))
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    buckets = f" buckets {_json(list(collector._kwargs['buckets']))}" if isinstance(collector, Histogram) else ""
    return f"{family.name}{suffix} {family.type} {' '.join(collector._labelnames)}".rstrip() + buckets


def reasons() -> Iterator[str]:
    """Conditions, reasons, phases, pool states, and the words of the history."""
    enums: dict[str, type[StrEnum]] = {
        "condition": conditions.ConditionType,
        "reason": conditions.Reason,
        "reason of an attempt": Trouble,
        "reason of a pool": Obstacle,
        "reason of a refused state": StateRefusalKind,
        "cause": Cause,
        "activity": ActivityType,
        "activity state": ActivityState,
    }
    for what, enum in enums.items():
        yield from (f"{what} {member.value}" for member in enum)
    yield from (f"phase {value}" for value in typing.get_args(status.Phase))
    yield from (f"pool state {value}" for value in typing.get_args(status.PoolState))
    for keyword in _nodes(ast.keyword):
        if keyword.arg == "reason":
            yield from (f"reason written in the code {word}" for word in _texts(keyword.value) if _is_reason(word))


def _is_reason(text: str) -> bool:
    """True for the form of a reason, in PascalCase. Sentences in an argument of that name are no reasons."""
    return re.fullmatch(r"([A-Z][a-z]+)+", text) is not None


def kubernetes_events() -> Iterator[str]:
    """Type and reason of every Event; failed launches have the reasons of an attempt besides."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    yield f"reporting controller {events.REPORTING_CONTROLLER}"
    activities = [
        Activity(type_, state, cause, moment)
        for type_, state, cause in product(ActivityType, ActivityState, (*Cause, *StateRefusalKind))
        if (cause in tuple(StateRefusalKind)) == (type_ is ActivityType.REFUSE)
    ]
    yield from (f"{event.type} {event.reason}" for activity in activities for event in events_of([activity]))


def log_events() -> Iterator[str]:
    """First argument of every call that writes a line to the log."""
    for call in _nodes(ast.Call):
        receiver, _, method = ast.unparse(call.func).rpartition(".")
        if receiver in _LOGGERS and method in _LEVELS:
            yield from _texts(call.args[0])


def marks() -> Iterator[str]:
    """What stands on objects and on instances: annotations, finalizers, tags, and names of objects of our own."""
    yield f"annotation {names.ENVIRONMENT_ID}"
    yield f"annotation {names.DELETION_PROTECTION}"
    yield f"annotation {cordon.CORDON_ZONE}"
    yield from (f"annotation of the ConfigMap {name}" for name in (names.WATCHES, names.RUNS))
    yield f"finalizer {names.FINALIZER}"
    yield f"finalizer never used {names.KOPF_FINALIZER}"
    yield f"finalizer of a Secret {names.SECRET_FINALIZER}"
    yield f"finalizer of a SpotInstance {instance_object.INSTANCE_FINALIZER}"
    yield from (f"label of a SpotInstance {label}" for label in instance_object.LABELS)
    yield from (f"mark on a SpotInstance {mark}" for mark in instance_object.MARKS)
    yield f"ConfigMap {names.ACCOUNTS}"
    yield f"field manager {names.FIELD_MANAGER}"
    ours = (
        translate.CLUSTER_TAG,
        translate.ENVIRONMENT_TAG,
        translate.OWNER_TAG,
        translate.RETAINED_TAG,
        translate.ADOPTED_TAG,
    )
    yield from (f"tag {tag}" for tag in ours)
    yield f"manager {translate.MANAGER}"


def chart_values() -> Iterator[str]:
    """Every key of the chart's values, with its default."""
    yield from _values("", yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    yield from _keys("", schema)


def _values(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _values(f"{path}.{name}", inner)
    else:
        yield f"default {path} {_json(value)}"


def _keys(path: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield f"key {path}.{name}"
        yield from _keys(f"{path}.{name}", inner)


#: File name to what stands in it. The sentence of each function says what that is.
KINDS: dict[str, Callable[[], Iterable[str]]] = {
    "custom-resource.txt": custom_resource,
    "custom-resource-instances.txt": instance_resource,
    "settings.txt": settings,
    "command-lines.txt": command_lines,
    "metrics.txt": metric_names,
    "reasons.txt": reasons,
    "events.txt": kubernetes_events,
    "log-events.txt": log_events,
    "marks.txt": marks,
    "chart-values.txt": chart_values,
}


def lines_of(kind: str) -> list[str]:
    """The lines of one file: sorted and each once, so that neither a move nor another order changes it."""
    return sorted(set(KINDS[kind]()))


def _nodes(type_: type[Node]) -> Iterator[Node]:
    """Every node of that type in the operator's source."""
    for path in sorted(OPERATOR.rglob("*.py")):
        yield from (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, type_))


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    for kind in KINDS:
        (GOLDEN / kind).write_text("".join(f"{line}\n" for line in lines_of(kind)), encoding="utf-8")
        sys.stdout.write(f"{GOLDEN.name}/{kind}\n")
