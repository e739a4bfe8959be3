"""Writes what the chart must not keep by hand: its CRD, the schema of its settings, the table of its values.

    PYTHONPATH=operator python deploy/charts/generate.py

Apart from the code it describes, because it is a tool for authors; a test compares its output with the files. The CRD
is a copy and no symbolic link: Flux leaves links out of what it fetches, and would find a chart without its CRD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from spotcompute import __main__
from spotcompute.settings import Settings

CHART = Path(__file__).resolve().parent / "spotcompute-operator"
CRD = Path("files/spotcompute.dev_spotcomputeenvironments.yaml")
INSTANCES = Path("files/spotcompute.dev_spotinstances.yaml")
SCHEMA, README = Path("values.schema.json"), Path("README.md")
MONITORING = CHART.parents[1] / "monitoring"
COPIES = (MONITORING / "prometheus-rule.yaml", MONITORING / "dashboards" / "spotcompute.json")
TABLE = re.compile(r"(?<=<!-- values -->\n).*?(?=<!-- end of values -->)", re.DOTALL)

#: Told by the pod itself, or by values of their own.
NOT_IN_SETTINGS = {"home_namespace", "identity", "log_level", "health_port", "metrics_port"}

#: Of what pydantic says of a field, what a schema checks and a reader needs.
CHECKED = ("type", "enum", "minimum", "exclusiveMinimum", "items", "description")


def files() -> dict[Path, str]:
    """Path in the chart to content."""
    crds = {CRD: _printed("crd"), INSTANCES: _printed("crd", "--instances")}
    schema = json.loads((CHART / SCHEMA).read_text())
    schema["properties"]["settings"]["properties"] = dict(_settings())
    table = "| Value | Default | What for |\n|---|---|---|\n" + "".join(f"{row}\n" for row in _rows())
    readme = TABLE.sub(lambda _: table, (CHART / README).read_text())
    copies = {Path("files") / path.name: path.read_text() for path in COPIES}
    return {**crds, SCHEMA: json.dumps(schema, indent=2, ensure_ascii=False) + "\n", README: readme, **copies}


def _printed(*command: str) -> str:
    """What the operator's command line prints."""
    return CliRunner().invoke(__main__.main, command, catch_exceptions=False).output


def camel(name: str) -> str:
    """The value of a setting: `sweep_seconds` is `sweepSeconds`."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _settings() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in Settings.model_json_schema(by_alias=False)["properties"].items():
        if name not in NOT_IN_SETTINGS:
            (kind,) = [one for one in field.get("anyOf", [field]) if one["type"] != "null"]
            whole = {**field, **kind}
            yield camel(name), {key: whole[key] for key in CHECKED if key in whole}


def _rows() -> Iterator[str]:
    """One row for each key of values.yaml that has a comment `# -- …`, which may go on in the lines below."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    values = yaml.safe_load("\n".join(lines))
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in lines:
        if found := re.match(r"( *)# (-- )?(.*)", line):
            comment = [found[3]] if found[2] else [*comment, found[3]] if comment else []
        elif found := re.match(r"( *)(\w+):", line):
            path = [part for part in path if part[0] < len(found[1])] + [(len(found[1]), found[2])]
            if comment:
                names = [name for _, name in path]
                yield f"| `{'.'.join(names)}` | `{json.dumps(_at(values, names))}` | {' '.join(comment)} |"
            comment = []
        else:
            comment = []


def _at(values: Any, names: list[str]) -> Any:
    for name in names:
        values = values[name]
    return values


def stale() -> list[str]:
    """The files that are not what the code makes."""
    made = files()
    return [str(path) for path in made if not (CHART / path).exists() or (CHART / path).read_text() != made[path]]


if __name__ == "__main__":
    for path, content in files().items():
        (CHART / path).write_text(content)
