"""Alerts, judged by promtool on what a real operator showed: scrapes in, names of the alerts that fire out.

A scrape a second becomes a scrape a minute, and what was seen last goes on: so half an hour of waiting is tested in
seconds, and the samples are still those that a fault really makes.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import yaml

from e2e.simulator import ROOT
from localcluster import prometheus
from localcluster.processes import direct_opener

RULES = ROOT / "deploy" / "monitoring" / "prometheus-rule.yaml"
HOUR = 60

Scrape = dict[str, float]


def rules() -> list[dict[str, str]]:
    """Every alert of the shipped rules."""
    (group,) = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    found: list[dict[str, str]] = group["rules"]
    return found


def scrape(*ports: str) -> Scrape:
    """What all replicas show now: each series, with the labels that a PodMonitor adds, and its value."""
    found = {}
    for number, port in enumerate(ports):
        with direct_opener().open(urllib.request.Request(f"http://127.0.0.1:{port}/metrics"), timeout=60) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("spotenv_"):
                    series, _, value = line.rpartition(" ")
                    found[_with_target(series, number)] = float(value)
    return found


def _with_target(series: str, number: int) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    added = [label for label in labels.split('",') if label]
    if "namespace=" not in labels:  # honorLabels: an environment's own namespace stays
        added.append('namespace="spotcompute-system')
    added.append(f'pod="operator-{number}')
    return f"{name}{{{','.join(label.rstrip(chr(34)) + chr(34) for label in added)}}}"


def recorded(*ports: str, count: int = 12, seconds: float = 0.6) -> list[Scrape]:
    """So many scrapes."""
    scrapes = []
    for _ in range(count):
        scrapes.append(scrape(*ports))
        time.sleep(seconds)
    return scrapes


def firing(scrapes: list[Scrape], directory: Path, *, is_lasting: bool, minutes: int = HOUR) -> set[str]:
    """Names of the alerts that fire at any time within `minutes`.

    `is_lasting`: counters go on rising as they did, since the fault lasts; else they stay.
    """
    began = time.time() - len(scrapes)
    names = {name for one in scrapes for name in one if "_bucket{" not in name and "_created" not in name}
    series = [
        {"series": name, "values": _values([one.get(name) for one in scrapes], name, began, minutes, is_lasting)}
        for name in sorted(names)
    ]
    return _judged(series, directory, minutes)


def _values(values: list[float | None], name: str, began: float, minutes: int, is_lasting: bool) -> str:
    if name.startswith("spotenv_deletion_timestamp"):  # promtool's clock begins at zero
        values = [value - began if value is not None else None for value in values]
    shown = ["_" if value is None else repr(value) for value in values]
    last, first = values[-1], next((value for value in values if value is not None), None)
    if last is not None and first is not None:
        is_counter = re.match(r"\w+_(total|count|sum)\{", name)
        step = (last - first) / (len(values) - 1) if is_lasting and is_counter else 0.0
        shown.append(f"{last!r}+{step!r}x{minutes}")
    return " ".join(shown)


def _judged(series: list[dict[str, str]], directory: Path, minutes: int) -> set[str]:
    """promtool is asked of each alert whether it fires, and complains of those that do not."""
    questions = [
        {
            "expr": f'group(max_over_time(ALERTS{{alertname="{alert["alert"]}",alertstate="firing"}}[{minutes}m]))',
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for alert in rules()
    ]
    (directory / "rules.json").write_text(json.dumps({"groups": yaml.safe_load(RULES.read_text())["spec"]["groups"]}))
    test = {"interval": "1m", "input_series": series, "promql_expr_test": questions}
    content = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test]}
    (directory / "test.json").write_text(json.dumps(content))
    command = [prometheus.ensure()[1], "test", "rules", directory / "test.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    silent = set(re.findall(r'alertname=\\*"(\w+)\\*"[^\n]*\n\s*exp:[^\n]*\n\s*got:\s*nil', said))
    names = {alert["alert"] for alert in rules()}
    assert (done.returncode == 0) == (not silent), said
    assert silent <= names, said
    return names - silent
