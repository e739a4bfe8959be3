"""Each alert is fired by the fault it is for, made for real, and by nothing else; a calm day fires none."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.alerts import HOUR, RULES, firing, recorded, rules, scrape
from e2e.running import Operator
from e2e.stage import Stage, manifest
from e2e.test_crashes import add_fault
from localcluster import prometheus
from localcluster.cluster import Cluster
from localcluster.processes import Child, direct_opener, free_port
from waiting import eventually

pytestmark = pytest.mark.e2e

HOME, LEASE = "spotcompute-system", "spotcompute-operator"
Start = Callable[..., Operator]
Fault = Callable[[Stage, Operator, Cluster], None]


def watched(own_operator: Start, **settings: str) -> tuple[Operator, str]:
    """An operator that serves metrics, and where."""
    port = str(free_port())
    operator = own_operator(METRICS_PORT=port, LISTEN_HOST="127.0.0.1", RESYNC_SECONDS="2", **settings)
    eventually(lambda: _answers(port), "metrics are served")
    return operator, port


def _answers(port: str) -> bool:
    try:
        return bool(scrape(port))
    except OSError:
        return False


def sold_out(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    stage.cloud.post("stock", zone=stage.account.zones[0], type="S5.MEDIUM4", stock=0)
    stage.scale(9)
    stage.until_reason("InsufficientCapacity")


def unknown_image(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    stage.apply(replicas=7, template={"imageId": "img-00000000"})
    stage.until_reason("InvalidConfiguration")


def key_revoked(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    rotate(stage, "another" * 6)
    stage.scale(7)
    stage.until_reason("InvalidCredentials")


def rotate(stage: Stage, key: str) -> None:
    stage.cloud.post("credentials", op="rotate", secretId=stage.account.secret_id, secretKey=key)


def cloud_away(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    for action in ("DescribeInstances", "DescribeZoneInstanceConfigInfos"):
        add_fault(stage, "reset", action, times=0)


def rights_gone(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    """The operator may no longer write any status, of its own namespace or others; it is given back afterwards."""
    operator.may_be_refused = True
    rule = [{"op": "replace", "path": "/rules/1/verbs", "value": ["get"]}]
    cluster.kubectl.run("patch", "clusterrole", "spotcompute-operator", "--type=json", "-p", json.dumps(rule))
    stage.scale(7)
    eventually(lambda: "run_failed" in operator.log_text(), "a run fails")


def many_taken_back(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    names = [row["id"] for row in stage.cloud.running(stage.account)]
    stage.cloud.post("interrupt", instances=names, notice_seconds=0)


def price_above_limit(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    stage.cloud.post("price", zone=stage.account.zones[0], type="S5.MEDIUM4", price="0.0500")
    eventually(lambda: "0.3" in (stage.get() or {})["status"]["cost"]["perHour"], "the new cost is shown")


def quota_used_up(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    stage.cloud.post("quota", account=stage.account.uin, vcpu=0)
    stage.scale(9)
    stage.until_reason("QuotaExceeded")


def deletion_that_hangs(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    add_fault(stage, "error", "TerminateInstances", times=0, code="OperationDenied.InstanceOperationInProgress")
    stage.delete()


def nothing(stage: Stage, operator: Operator, cluster: Cluster) -> None:
    pass


LASTS, ENDS = True, False


@pytest.mark.parametrize(
    ("fault", "is_lasting", "fires"),
    [
        pytest.param(nothing, LASTS, set(), id="calm"),
        pytest.param(sold_out, LASTS, {"SpotComputeNotFilled"}, id="sold-out"),
        pytest.param(
            unknown_image,
            LASTS,
            {"SpotComputeStalled", "SpotComputeNotFilled", "SpotComputeLaunchesFail"},
            marks=pytest.mark.rare,
            id="image",
        ),
        # Not SpotComputeNotFilled: with a refused key it is not known how many run.
        pytest.param(key_revoked, LASTS, {"SpotComputeKeyRefused", "SpotComputeStalled"}, id="key"),
        pytest.param(cloud_away, LASTS, {"SpotComputeCloudUnreachable"}, marks=pytest.mark.rare, id="cloud-away"),
        pytest.param(rights_gone, LASTS, {"SpotComputeReconcileErrors", "SpotComputeNotFilled"}, id="rights-gone"),
        pytest.param(many_taken_back, ENDS, {"SpotComputeReclaimStorm"}, marks=pytest.mark.rare, id="many-taken-back"),
        pytest.param(
            price_above_limit, LASTS, {"SpotComputeOverHourlyLimit"}, marks=pytest.mark.rare, id="above-the-limit"
        ),
        pytest.param(
            quota_used_up,
            LASTS,
            {"SpotComputeLaunchesFail", "SpotComputeNotFilled"},
            marks=pytest.mark.rare,
            id="quota",
        ),
        pytest.param(
            deletion_that_hangs, LASTS, {"SpotComputeDeletionStuck"}, marks=pytest.mark.rare, id="deletion-hangs"
        ),
    ],
)
def test_a_fault_fires_its_alerts_and_no_other(
    stage: Stage, own_operator: Start, cluster: Cluster, tmp_path: Path, fault: Fault, is_lasting: bool, fires: set[str]
) -> None:
    operator, port = watched(own_operator)
    stage.apply(replicas=6, limits={"maxHourlyCost": "0.2"})
    stage.until_ready(6)
    eventually(lambda: 'spotenv_reason{name="web"' in str(scrape(port)), "the environment is shown")
    before = recorded(port, count=2)
    try:
        fault(stage, operator, cluster)
        # Runs that fail wait for each other, two seconds at most: it takes some of them to tell a rate.
        scrapes = [*before, *recorded(port, seconds=2.0 if fault is rights_gone else 0.6)]
    finally:
        if fault is rights_gone:
            cluster.kubectl.run("apply", "-k", "deploy/base", "--server-side", "--force-conflicts")
        stage.cloud.clear_faults()
        stage.cloud.post(
            "credentials", op="rotate", secretId=stage.account.secret_id, secretKey=stage.account.secret_key
        )
    minutes = HOUR if fires else 24 * HOUR
    assert firing(scrapes, tmp_path, is_lasting=is_lasting, minutes=minutes) == fires


def test_nobody_answering_is_an_alert_of_its_own(tmp_path: Path) -> None:
    assert firing([{'up{job="other"}': 1.0}], tmp_path, is_lasting=True) == {"SpotComputeOperatorAbsent"}


def test_replicas_that_all_act_and_replicas_of_which_none_does(
    stage: Stage, own_operator: Start, cluster: Cluster, tmp_path: Path
) -> None:
    ports = [watched(own_operator)[1] for _ in range(2)]
    assert firing(recorded(*ports, count=3), tmp_path, is_lasting=True) == {"SpotComputeSeveralAct"}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": HOME},
        "spec": {"holderIdentity": "a-ghost", "leaseDurationSeconds": 3600},
    }
    cluster.kubectl.apply(json.dumps(lease))
    _, port = watched(own_operator, LEASE=LEASE)
    fires = firing(recorded(port, count=3), tmp_path, is_lasting=True)
    cluster.kubectl.run("-n", HOME, "delete", "lease", LEASE)
    assert fires == {"SpotComputeNobodyActs"}


def test_instances_of_a_vanished_environment_are_told(stage: Stage, own_operator: Start, tmp_path: Path) -> None:
    operator, port = watched(own_operator, everywhere=True)
    stage.apply(replicas=1)
    stage.until_ready(1)
    before = recorded(port, count=2)
    stage.vanish()
    eventually(lambda: "orphans_released" in operator.log_text(), "orphans are released")
    fires = firing([*before, *recorded(port, count=3)], tmp_path, is_lasting=False)
    assert fires == {"SpotComputeOrphansReleased"}


def test_more_work_than_workers_is_told(stage: Stage, own_operator: Start, tmp_path: Path) -> None:
    add_fault(stage, "hang", "DescribeInstances", times=0)
    _, port = watched(own_operator, WORKERS="1", REQUEST_TIMEOUT_SECONDS="60")
    items = [manifest(f"web-{number}", stage.account.zones[0], replicas=0) for number in range(60)]
    stage.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    eventually(lambda: scrape(port)[_depth(port)] > 50, "work piles up")
    fires = firing(recorded(port, count=3), tmp_path, is_lasting=True)
    stage.cloud.clear_faults()
    assert fires == {"SpotComputeQueueBacklog"}


def _depth(port: str) -> str:
    return next(name for name in scrape(port) if name.startswith("spotenv_workqueue_depth"))


def test_every_alert_is_fired_by_some_fault_here() -> None:
    source = Path(__file__).read_text()
    assert [alert["alert"] for alert in rules() if f'"{alert["alert"]}"' not in source] == []


def test_a_real_prometheus_scrapes_the_operator_and_loads_the_rules(
    stage: Stage, own_operator: Start, tmp_path: Path
) -> None:
    _, port = watched(own_operator)
    stage.apply(replicas=3)
    stage.until_ready(3)
    with served_by_prometheus(tmp_path, port) as ask:
        eventually(lambda: ask("query", query="up") == [1], "the operator is scraped")
        eventually(
            lambda: ask("query", query=f'spotenv_replicas_ready{{namespace="{stage.namespace}"}}') == [3], "it is"
        )
        launched = len(stage.cloud.instances(stage.account, gone=True))
        assert ask("query", query="sum(spotenv_instances_launched_total)") == [launched]
        asked = len(stage.cloud.launches(stage.account))
        assert ask("query", query='sum(spotenv_cloud_api_requests_total{action="RunInstances"})') == [asked]
        loaded = {rule["name"]: rule["health"] for group in ask("rules")["groups"] for rule in group["rules"]}
        assert loaded.keys() == {alert["alert"] for alert in rules()}
        assert "err" not in loaded.values()


def test_counters_are_what_the_ledger_says(stage: Stage, own_operator: Start) -> None:
    _, port = watched(own_operator)
    stage.apply(replicas=5)
    stage.until_ready(5)
    taken = [row["id"] for row in stage.cloud.running(stage.account)][:2]
    stage.cloud.post("interrupt", instances=taken, notice_seconds=0)
    eventually(lambda: len(stage.cloud.instances(stage.account, gone=True)) == 7, "two are launched anew")
    stage.until_ready(5)
    stage.scale(1)
    stage.until_ready(1)
    shown = scrape(port)

    def total(name: str) -> float:
        return sum(value for series, value in shown.items() if series.startswith(f"{name}{{"))

    ever = stage.cloud.instances(stage.account, gone=True)
    ended = stage.cloud.requests(stage.account, "TerminateInstances")
    assert total("spotenv_instances_launched_total") == len(ever) == 7
    assert total("spotenv_instances_lost_total") == len(taken)
    assert total("spotenv_instances_released_total") == sum(len(row["params"]["InstanceIds"]) for row in ended) == 4
    for action in ("RunInstances", "TerminateInstances"):
        counted = sum(value for series, value in shown.items() if f'_requests_total{{action="{action}"' in series)
        assert counted == len(stage.cloud.requests(stage.account, action))


class served_by_prometheus:
    """A real Prometheus that scrapes one port; asks its HTTP API."""

    def __init__(self, directory: Path, port: str) -> None:
        self._directory, self._port, self._own = directory, port, free_port()

    def __enter__(self) -> Callable[..., Any]:
        (self._directory / "rules.json").write_text(
            json.dumps({"groups": yaml.safe_load(RULES.read_text())["spec"]["groups"]})
        )
        target = {"targets": [f"127.0.0.1:{self._port}"]}
        job = {"job_name": "operator", "scrape_interval": "1s", "honor_labels": True, "static_configs": [target]}
        config = {"rule_files": ["rules.json"], "global": {"evaluation_interval": "1s"}, "scrape_configs": [job]}
        (self._directory / "prometheus.yml").write_text(json.dumps(config))
        subprocess.run([prometheus.ensure()[1], "check", "config", self._directory / "prometheus.yml"], check=True)
        options = [
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'db'}",
        ]
        command = [prometheus.ensure()[0], *options, f"--web.listen-address=127.0.0.1:{self._own}"]
        self._child = Child.start("prometheus", command, log=self._directory / "prometheus.log")
        self._child.wait_until(lambda: self._get("-/ready") is not None, timeout=120)
        return self._ask

    def __exit__(self, *_: object) -> None:
        self._child.kill9()

    def _ask(self, what: str, **query: str) -> Any:
        data = json.loads(self._get(f"api/v1/{what}?{urllib.parse.urlencode(query)}"))["data"]
        return data if what == "rules" else [float(row["value"][1]) for row in data["result"]]

    def _get(self, path: str) -> bytes:
        with direct_opener().open(f"http://127.0.0.1:{self._own}/{path}", timeout=60) as answer:
            return bytes(answer.read())
