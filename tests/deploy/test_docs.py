"""The documentation says what the code does: generated pages, reasons, metrics, permissions, links."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest

from cvmsim.cli import cli as cvmsim
from deploy.manifests import ROOT, in_file
from kubectl_spot.__main__ import main as kubectl_spot
from localcluster import prometheus
from plan.given import NOW, POLICY, desired_of, ledger_of
from spotcompute.__main__ import main as spotcompute
from spotcompute.api.conditions import Reason
from spotcompute.api.instance_object import MARKS
from spotcompute.cloud.tencent.client import OTHER_PRODUCTS
from spotcompute.cloud.tencent.provider import RATES
from spotcompute.model.desired import AllocationStrategy
from spotcompute.model.ledger import Cause, StateRefusalKind, Trouble
from spotcompute.model.offering import Market, Offering, Pool, Stock
from spotcompute.plan.allocation import Obstacle, scores

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
COMMANDS: dict[str, click.Command] = {"spotcompute": spotcompute, "cvmsim": cvmsim, "kubectl-spot": kubectl_spot}
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """Each generated page, in a process of its own: this one has other metrics registered."""
    program = "import json, generate; print(json.dumps(generate.pages()))"
    environment = {"PYTHONPATH": f"{ROOT / 'operator'}:{DOCS}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    pages: dict[str, str] = json.loads(done.stdout)
    return pages


@pytest.mark.parametrize("page", ["settings.md", "spec.md", "instance.md", "metrics.md"])
def test_a_generated_page_is_up_to_date(generated: dict[str, str], page: str) -> None:
    stale = "run: PYTHONPATH=operator python docs/generate.py"
    assert (REFERENCE / page).read_text() == generated[page], stale


def test_every_reason_is_explained_and_no_other() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", (REFERENCE / "conditions.md").read_text(), re.MULTILINE)
    assert len(explained) == len(set(explained))
    # A pool that backs off is shown with the trouble it backs off for.
    of_pools = set(Obstacle) - {Obstacle.BACKING_OFF, Obstacle.ZONE_BACKING_OFF}
    assert set(explained) == {*map(str, Reason), *map(str, Trouble), *map(str, StateRefusalKind), *map(str, of_pools)}


def test_every_cause_is_explained() -> None:
    text = (REFERENCE / "activities.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) >= {*map(str, Cause)}


def test_alerts_use_only_metrics_that_exist(generated: dict[str, str]) -> None:
    exist = set(re.findall(r"^\| `(spotenv_\w+)` \|", generated["metrics.md"], re.MULTILINE))
    (rule,) = in_file(ROOT / "deploy/monitoring/prometheus-rule.yaml")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"]]
    assert len(alerts) >= 4
    for alert in alerts:
        used = set(re.findall(r"spotenv_\w+", alert["expr"]))
        assert used
        assert used <= exist, alert["alert"]
        assert f"`{alert['alert']}`" in (DOCS / "operate.md").read_text()


def test_the_dashboard_asks_for_metrics_that_exist_and_shows_nearly_all_of_them(generated: dict[str, str]) -> None:
    exist = set(re.findall(r"^\| `(spotenv_\w+)` \|", generated["metrics.md"], re.MULTILINE))
    dashboard = json.loads((ROOT / "deploy/monitoring/dashboards/spotcompute.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {re.sub("_bucket$", "", name) for expression in asked for name in re.findall(r"spotenv_\w+", expression)}
    assert used <= exist
    in_alerts = set(re.findall(r"spotenv_\w+", (ROOT / "deploy/monitoring/prometheus-rule.yaml").read_text()))
    assert exist - used - in_alerts <= {"spotenv_replicas_updated", "spotenv_sweep_duration_seconds"}


def test_every_expression_of_alerts_and_dashboard_is_understood_by_promtool(tmp_path: Path) -> None:
    """As recording rules, with the dashboard's variables filled in: promtool has no other way to read them."""
    dashboard = json.loads((ROOT / "deploy/monitoring/dashboards/spotcompute.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    (rule,) = in_file(ROOT / "deploy/monitoring/prometheus-rule.yaml")
    filled = [expression.replace("$namespace", ".*").replace("$environment", ".*") for expression in asked]
    recording = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(filled)]
    groups = [*rule["spec"]["groups"], {"name": "dashboard", "rules": recording}]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": groups}))
    promtool = prometheus.ensure()[1]
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_cam_policy_allows_the_actions_the_operator_calls_and_no_other() -> None:
    block, of_taking_a_role = re.findall(r"```json\n(.*?)```", (REFERENCE / "cam-policy.md").read_text(), re.DOTALL)
    assert json.loads(of_taking_a_role)["statement"][0]["action"] == ["name/sts:AssumeRole"]
    allowed = [action for statement in json.loads(block)["statement"] for action in statement["action"]]
    products = {action: product for action, (product, _) in OTHER_PRODUCTS.items()}
    assert sorted(allowed) == sorted(f"name/{products.get(action, 'cvm')}:{action}" for action in RATES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_people_write_has_2500_words_at_most(page: Path) -> None:
    """Without tables that the code writes, which are for looking things up, and without examples."""
    if page.name in ("settings.md", "spec.md", "instance.md", "metrics.md", "mutants.md"):
        return
    written_by_hand = re.sub("```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).split("## Switches")[0]
    assert len(written_by_hand.split()) <= 2500


def shown_commands() -> list[Any]:
    """Every call of a command line of ours that a page shows."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        found |= set(re.findall(r"^\$ (?:kubectl spot|spotcompute|cvmsim) .*$", text, re.MULTILINE))
        found |= {f"$ {words}" for words in re.findall(r"`((?:kubectl spot|spotcompute|cvmsim) [a-z][^`]*)`", text)}
    return sorted(found)


@pytest.mark.parametrize("line", shown_commands())
def test_every_command_that_is_documented_exists(line: str) -> None:
    words = line.removeprefix("$ ").replace("kubectl spot", "kubectl-spot").split()
    command: click.Command = COMMANDS[words[0]]
    rest = words[1:]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    assert not isinstance(command, click.Group) or not rest or rest[0].startswith("-"), f"{line}: no {rest[0]}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    for word in rest:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in known, f"{line}: {word} is no option"


def test_the_readme_and_the_demo_page_show_lines_of_the_demo_in_their_order() -> None:
    """The README leaves lines out; the page shows whole chapters."""
    transcript = (DOCS / "demo.txt").read_text(encoding="utf-8")
    for page in ("README.md", "README.zh-CN.md"):
        (shown,) = re.findall(r"```text\n(\$ cvmsim interrupt.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        lines = iter(transcript.splitlines())
        assert all(line in lines for line in shown.splitlines())
    (chapters,) = re.findall(r"```console\n(.*?)```", (DOCS / "demo.md").read_text(encoding="utf-8"), re.DOTALL)
    assert all(chapter in transcript for chapter in re.split(r"^(?=== )", chapters, flags=re.MULTILINE))


def test_concepts_and_pools_quote_two_stories_of_the_planner_as_they_stand() -> None:
    pages = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("concepts.md", "pools.md"))
    quoted = re.findall(r"<!-- ([\w-]+) -->\n```\n(.*?)```", pages, re.DOTALL)
    assert len(quoted) == 2
    for name, story in quoted:
        assert story == (ROOT / f"tests/plan/stories/{name}.txt").read_text(encoding="utf-8"), name


def test_the_scores_of_the_example_are_those_of_the_planner() -> None:
    row = r"^\| (\S+)@(\S+) \| ([\d.]+) \| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$"
    rows = re.findall(row, (DOCS / "pools.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 2
    offerings = [
        Offering(Pool(zone, kind), Decimal(price), Decimal(1), 2, 4, sold_out=False, stock=Stock(stock))
        for kind, zone, price, stock, *_ in rows
    ]
    market, pools = Market({one.pool: one for one in offerings}, NOW), [one.pool for one in offerings]
    for column, name in enumerate(("LowestPrice", "CapacityOptimized", "PriceCapacityOptimized"), start=4):
        desired = desired_of(2, pools, strategy=AllocationStrategy(name))
        found = scores(desired, ledger_of(), market, NOW, POLICY)
        assert [f"{found[pool]:.2f}" for pool in pools] == [row[column] for row in rows], name


def texts_of_the_operator() -> str:
    """Every text in the operator's code, with … for each value that is filled in."""
    texts = []
    for path in (ROOT / "operator/spotcompute").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_every_message_that_troubleshooting_quotes_is_one_of_the_operator() -> None:
    quoted = [
        text for text in re.findall(r"`([^`\n]+)`", (DOCS / "troubleshooting.md").read_text()) if text.count(" ") > 3
    ]
    texts = texts_of_the_operator().replace("`", "")
    ours = [text for text in quoted if not text.startswith(("kubectl", "cannot list", "… is forbidden"))]
    assert len(ours) > 8
    for message in ours:
        assert all(part.strip() in texts for part in re.split("…|secretId|Secret", message)), message


def test_each_mark_of_an_instance_is_explained_and_no_other() -> None:
    page = (REFERENCE / "instance.md").read_text()
    assert set(re.findall(r"^\| `(spotcompute\.dev/[\w-]+)` \|", page, re.MULTILINE)) == set(MARKS)


def test_each_field_has_a_section_with_an_anchor_of_its_own() -> None:
    headings = re.findall(r"^#{3,4} ((?:spec|status)\..*)$", (REFERENCE / "spec.md").read_text(), re.MULTILINE)
    anchors = [re.sub(r"[^\w-]", "", heading.lower()) for heading in headings]
    assert len(headings) > 150
    assert {"spec.placements[].subnetId", "status.ledger", "spec.template.userDataFrom"} <= set(headings)
    twice = {anchor for anchor in anchors if anchors.count(anchor) > 1}
    assert not twice
