"""Two ways to install, one truth: the chart makes what the kustomizations make, and refuses what cannot work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import chart
from deploy.chart import CHART, Helm, HelmError
from deploy.manifests import ALL_SECRETS, BASE, EXAMPLE, JOBS, NODES, ROOT, SEVERAL, SINGLE, Manifest, in_file, rendered
from localcluster.cluster import Cluster
from spotcompute import __version__
from spotcompute.settings import Settings

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
ALONE = ("rbac.scope=SingleNamespace", "settings.namespace=spot-jobs", "settings.clusterId=mine")
TWO = ("rbac.scope=Namespaces", "settings.namespaces={spot-jobs,render}", "settings.clusterId=mine")
IMAGE = "controller.image.repository=registry.example.com/your-team/spotcompute-operator"

#: Helm's own: which release made an object, and with which chart. They are also in the chart's selectors.
OF_HELM = {"app.kubernetes.io/managed-by", "helm.sh/chart", "app.kubernetes.io/instance"}
DIGEST = re.compile(r"(?<=^spotcompute-settings)-[a-z0-9]{10}$")

#: What lets work decide how many instances there are.
QUEUED = ("settings.nodes=true", "settings.claims=true")

#: Every value at once, as somebody with all of Karpenter's habits would set them.
EVERYTHING = (
    "additionalLabels.team=render",
    "serviceAccount.annotations.example\\.com/role=operator",
    "controller.image.digest=sha256:" + "0" * 64,
    "controller.image.pullPolicy=Always",
    "controller.env[0].name=HTTPS_PROXY",
    "controller.env[0].value=http://proxy.example.com:3128",
    "controller.envFrom[0].secretRef.name=own-key",
    "controller.resources.limits.memory=1Gi",
    "controller.metrics.port=9191",
    "controller.healthProbe.port=8181",
    "imagePullSecrets[0].name=registry",
    "podAnnotations.example\\.com/note=here",
    "podSecurityContext.runAsUser=null",
    "priorityClassName=system-cluster-critical",
    "nodeSelector.kubernetes\\.io/arch=amd64",
    "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=kubernetes.io/hostname",
    "tolerations[0].operator=Exists",
    "networkPolicy.additionalEgress[0].ports[0].port=3128",
    "extraVolumes[0].name=notes",
    "extraVolumes[0].emptyDir.medium=Memory",
    "controller.extraVolumeMounts[0].name=notes",
    "controller.extraVolumeMounts[0].mountPath=/notes",
    "controller.caBundle.configMap=company-ca",
    "logLevel=DEBUG",
    "settings.sweepSeconds=7",
    "settings.resyncSeconds=1000000",
    "settings.site=international",
    "replicas=3",
)


@pytest.fixture(params=[pytest.param(SINGLE, id="one"), pytest.param(SEVERAL, id="several")])
def overlay(request: pytest.FixtureRequest) -> Path:
    return request.param  # type: ignore[no-any-return]  # pytest types no parameter


@pytest.fixture
def named(overlay: Path, tmp_path: Path) -> Path:
    """The overlay for one namespace, or for several, with the name of the cluster that it asks for."""
    literals = [f"SPOTCOMPUTE_CLUSTER_ID={ALONE[-1].partition('=')[2]}"]
    settings = {"name": "spotcompute-settings", "namespace": "spotcompute-system", "behavior": "merge"}
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(overlay, tmp_path)],
        "configMapGenerator": [{**settings, "literals": literals}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(content))
    return tmp_path


def compared(manifests: Iterator[Manifest] | list[Manifest] | tuple[Manifest, ...]) -> dict[str, Manifest]:
    """By kind, namespace and name, without what is allowed to differ."""
    plain = [_without_helm(manifest) for manifest in manifests]
    keys = [f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}" for item in plain]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, plain, strict=True))


def _without_helm(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_helm(item) for key, item in value.items() if key not in OF_HELM}
    if isinstance(value, list):
        return [_without_helm(item) for item in value]
    return DIGEST.sub("", value) if isinstance(value, str) else value


def assert_same(kustomization: Path, *sets: str) -> None:
    """The chart makes every object of a kustomization, field by field, but the namespace it is installed in."""
    wanted = compared(rendered(kustomization))
    del wanted["Namespace /spotcompute-system"]
    made = compared(chart.objects("crds.keep=false", *sets))
    assert made.keys() == wanted.keys()
    for key, manifest in wanted.items():
        assert made[key] == manifest, key


def test_the_default_is_the_base() -> None:
    assert_same(BASE)


def test_one_value_grants_all_secrets_as_its_overlay_does() -> None:
    assert_same(ALL_SECRETS, "rbac.scope=AllNamespacesSecrets")


def test_one_setting_lets_instances_join_as_nodes_as_its_overlay_does() -> None:
    assert_same(NODES, "settings.nodes=true")


def test_one_setting_more_lets_work_decide_as_its_overlay_does() -> None:
    assert_same(JOBS, *QUEUED)


def test_three_values_hold_it_in_namespaces_as_their_overlay_does(overlay: Path, named: Path) -> None:
    assert_same(named, *(ALONE if overlay == SINGLE else TWO))


def test_the_example_overlay_is_two_values() -> None:
    assert_same(EXAMPLE, IMAGE, "settings.site=international")


def test_the_pod_monitor_is_that_of_the_other_way() -> None:
    (wanted,) = in_file(ROOT / "deploy/monitoring/pod-monitor.yaml")
    made = chart.only(chart.objects("podMonitor.enabled=true"), "PodMonitor")
    assert _without_helm(made["spec"]) == wanted["spec"]


def test_a_service_monitor_scrapes_every_replica() -> None:
    made = chart.objects("serviceMonitor.enabled=true", "serviceMonitor.additionalLabels.release=prometheus")
    service, monitor = chart.only(made, "Service"), chart.only(made, "ServiceMonitor")
    pods = chart.only(made, "Deployment")["spec"]["template"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_a_kept_crd_differs_by_the_word_that_keeps_it() -> None:
    kept, others = crds(), crds("crds.keep=false")
    assert len(kept) == 2
    for one in kept:
        assert one["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert kept == others


def crds(*sets: str) -> list[Manifest]:
    return [item for item in chart.objects(*sets) if item["kind"] == "CustomResourceDefinition"]


def test_a_crd_that_somebody_else_brings_is_left_out() -> None:
    assert not [item for item in chart.objects("crds.enabled=false") if item["kind"] == "CustomResourceDefinition"]


def test_an_install_for_one_namespace_has_nothing_outside_its_two() -> None:
    namespaces = {item["metadata"].get("namespace") for item in chart.objects("crds.enabled=false", *ALONE)}
    assert namespaces == {"spotcompute-system", "spot-jobs"}
    namespaces = {item["metadata"].get("namespace") for item in chart.objects("crds.enabled=false", *TWO)}
    assert namespaces == {"spotcompute-system", "spot-jobs", "render"}


def test_a_changed_setting_is_another_config_map_so_that_the_operator_restarts() -> None:
    before, after = (chart.only(chart.objects(*sets), "ConfigMap") for sets in ((), ("settings.sweepSeconds=7",)))
    assert before["metadata"]["name"] != after["metadata"]["name"]


def test_releases_of_two_names_share_nothing_but_the_crds() -> None:
    blue, green = (compared(chart.objects(release=name, namespace=name)) for name in ("blue", "green"))
    assert blue.keys() & green.keys() == {
        "CustomResourceDefinition /spotcomputeenvironments.spotcompute.dev",
        "CustomResourceDefinition /spotinstances.spotcompute.dev",
    }


def test_every_value_reaches_its_object() -> None:
    made = chart.objects("fullnameOverride=spot", "nameOverride=spot", *EVERYTHING)
    deployment, settings = chart.only(made, "Deployment"), chart.only(made, "ConfigMap")["data"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert settings == {
        "SPOTCOMPUTE_ALLOW_DEFAULT_CREDENTIALS": "false",
        "SPOTCOMPUTE_HEALTH_PORT": "8181",
        "SPOTCOMPUTE_LEASE": "spotcompute-operator",
        "SPOTCOMPUTE_LOG_LEVEL": "DEBUG",
        "SPOTCOMPUTE_METRICS_PORT": "9191",
        "SPOTCOMPUTE_RESYNC_SECONDS": "1000000",
        "SPOTCOMPUTE_SITE": "international",
        "SPOTCOMPUTE_SWEEP_SECONDS": "7",
    }
    assert deployment["metadata"]["name"] == "spot"
    assert deployment["spec"]["replicas"] == 3
    assert all(item["metadata"]["labels"]["team"] == "render" for item in made)
    assert container["image"] == f"spotcompute-operator:{__version__}@sha256:{'0' * 64}"
    assert container["imagePullPolicy"] == "Always"
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"} in container["env"]
    assert {"secretRef": {"name": "own-key"}} in container["envFrom"]
    assert container["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    assert [port["containerPort"] for port in container["ports"]] == [8181, 9191]
    assert "runAsUser" not in pod["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["affinity"]["podAntiAffinity"]
    assert pod["volumes"][-1] == {"name": "notes", "emptyDir": {"medium": "Memory"}}
    assert container["volumeMounts"][-1] == {"name": "notes", "mountPath": "/notes"}
    assert deployment["spec"]["template"]["metadata"]["annotations"] == {"example.com/note": "here"}
    assert chart.only(made, "ServiceAccount")["metadata"]["annotations"] == {"example.com/role": "operator"}
    assert chart.only(made, "NetworkPolicy")["spec"]["egress"][-1] == {"ports": [{"port": 3128}]}


@pytest.mark.parametrize(
    ("source", "volume"),
    [("configMap", {"configMap": {"name": "company"}}), ("secret", {"secret": {"secretName": "company"}})],
)
def test_a_companys_certificates_are_mounted_where_the_operator_looks_for_them(
    source: str, volume: dict[str, Any]
) -> None:
    sets = (f"controller.caBundle.{source}=company", "controller.caBundle.key=bundle.pem")
    pod = chart.only(chart.objects(*sets), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "ca-bundle"]
    assert {"name": "ca-bundle", **volume} in pod["volumes"]
    assert {"name": "SPOTCOMPUTE_CA_BUNDLE", "value": f"{mount['mountPath']}/bundle.pem"} in container["env"]
    assert "CA_BUNDLE" in " ".join(f"SPOTCOMPUTE_{name.upper()}" for name in Settings.model_fields)


def test_the_settings_that_are_rendered_are_read_by_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in chart.only(chart.objects(*EVERYTHING), "ConfigMap")["data"].items():
        monkeypatch.setenv(name, value)
    read = Settings()
    assert (read.sweep_seconds, read.resync_seconds, read.site) == (7, 1_000_000, "international")
    assert (read.metrics_port, read.health_port, read.log_level) == (9191, 8181, "DEBUG")


def test_an_account_of_somebody_elses_is_bound_and_not_made() -> None:
    made = chart.objects("serviceAccount.create=false", "serviceAccount.name=theirs")
    assert not [item for item in made if item["kind"] == "ServiceAccount"]
    assert {subject["name"] for item in made for subject in item.get("subjects", ())} == {"theirs"}
    assert chart.only(made, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "theirs"


def test_parts_can_be_left_out() -> None:
    made = chart.objects("podDisruptionBudget=null", "networkPolicy.enabled=false", "controller.metrics.port=0")
    assert {"PodDisruptionBudget", "NetworkPolicy"}.isdisjoint(item["kind"] for item in made)
    (container,) = chart.only(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["health"]


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (("replicaz=2",), "replicaz"),
        (("crds.kept=true",), "kept"),
        (("controller.image.tagg=1",), "tagg"),
        (("podDisruptionBudget.maxUnavailble=1",), "maxUnavailble"),
        (("settings.sweepSecond=1",), "sweepSecond"),
        (("settings.SPOTCOMPUTE_SITE=mainland",), "SPOTCOMPUTE_SITE"),
        (("settings.sweepSeconds=0",), "sweepSeconds"),
        (("settings.workers=many",), "workers"),
        (("settings.site=moon",), "site"),
        (("logLevel=LOUD",), "logLevel"),
        (("rbac.scope=Everything",), "scope"),
        (("controller.image.digest=latest",), "digest"),
        (("controller.metrics.port=70000",), "port"),
        ((ALONE[0], ALONE[1]), "set settings.clusterId to a name that never changes"),
        ((ALONE[0], ALONE[2]), "name the namespace to watch in settings.namespace"),
        ((ALONE[1],), "set rbac.scope to SingleNamespace"),
        ((TWO[1],), "set rbac.scope to Namespaces"),
        ((TWO[0], TWO[2]), "in the list settings.namespaces"),
        ((TWO[0], TWO[1]), "set settings.clusterId to a name that never changes"),
        ((*TWO, ALONE[1]), "none in settings.namespace"),
        ((*ALONE, TWO[1]), "set rbac.scope to Namespaces"),
        (("settings.lease=",), "set settings.lease to the Lease by which they agree"),
        (("controller.caBundle.configMap=a", "controller.caBundle.secret=b"), "give one of the two"),
        (("controller.image.repository=",), "set controller.image.repository to it, such as --set"),
        (("serviceAccount.create=false",), "name the one to use in serviceAccount.name"),
    ],
)
def test_what_cannot_work_is_refused_by_name(sets: tuple[str, ...], named: str) -> None:
    with pytest.raises(HelmError, match=named):
        chart.templated(*sets)


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in Helm().run("lint", "--strict", str(CHART))


def test_the_packaged_chart_makes_the_same(tmp_path: Path) -> None:
    Helm().run("package", str(CHART), "--destination", str(tmp_path))
    assert chart.objects(chart=tmp_path / f"spotcompute-operator-{__version__}.tgz") == chart.objects()


def test_the_chart_is_of_this_version() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert described["version"] == described["appVersion"] == __version__


def test_nothing_of_the_chart_is_kept_by_hand_that_the_code_makes() -> None:
    """In a process of its own: this one has other metrics registered."""
    program = "import generate; print(generate.stale())"
    environment = {"PYTHONPATH": f"{ROOT / 'operator'}:{CHART.parent}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "run: PYTHONPATH=operator python deploy/charts/generate.py"


def test_alerts_and_dashboard_are_those_of_the_other_way() -> None:
    sets = ("prometheusRule.enabled=true", "prometheusRule.additionalLabels.release=prometheus")
    made = chart.objects(*sets, "dashboard.enabled=true")
    (rule,) = in_file(ROOT / "deploy/monitoring/prometheus-rule.yaml")
    assert chart.only(made, "PrometheusRule")["spec"] == rule["spec"]
    assert chart.only(made, "PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"
    (dashboard,) = [item for item in made if item["metadata"]["name"] == "spotcompute-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    file = ROOT / "deploy/monitoring/dashboards/spotcompute.json"
    assert dashboard["data"] == {"spotcompute.json": file.read_text()}


def test_the_crds_are_those_of_the_other_way() -> None:
    copies = list((CHART / "files").glob("*.dev_*.yaml"))
    assert {copy.name for copy in copies} == {path.name for path in (ROOT / "crds").glob("*.yaml")}
    for copy in copies:
        assert copy.read_text() == (ROOT / "crds" / copy.name).read_text()


def test_every_setting_can_be_a_value_or_is_one_already() -> None:
    elsewhere = {"home_namespace", "identity", "log_level", "health_port", "metrics_port"}
    words = {name: name.replace("_", "") for name in Settings.model_fields.keys() - elsewhere}
    assert {name.lower() for name in SCHEMA["properties"]["settings"]["properties"]} == set(words.values())


def test_every_name_of_the_schema_is_shown_with_its_default() -> None:
    optional = {("global",), ("podDisruptionBudget", "minAvailable")}
    shown = {path for path in names_of(SCHEMA) if path[0] != "settings"} - optional
    assert shown <= set(paths(VALUES))


def test_every_value_is_told_in_the_readme() -> None:
    told = re.findall(r"^\| `([\w.]+)` \| `.*` \| \S", (CHART / "README.md").read_text(), re.MULTILINE)
    for path in paths(VALUES):
        above = {".".join(path[:length]) for length in range(1, len(path) + 1)}
        below = [name for name in told if name.startswith(f"{'.'.join(path)}.")]
        assert below or above & set(told), path


def names_of(schema: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    """Every path that the schema names."""
    for name, inner in schema.get("properties", {}).items():
        yield (*above, name)
        yield from names_of(inner, *above, name)


def paths(values: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    for name, inner in values.items():
        yield (*above, name)
        if isinstance(inner, dict):
            yield from paths(inner, *above, name)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "sets",
    [(), ("rbac.scope=AllNamespacesSecrets",), ALONE, TWO, ("settings.nodes=true",), QUEUED, EVERYTHING],
    ids=["default", "all-secrets", "one-namespace", "two-namespaces", "nodes", "jobs", "everything"],
)
def test_the_api_server_takes_every_field_of_the_chart(installed: Cluster, sets: tuple[str, ...]) -> None:
    text = chart.templated(*sets, release="beside")  # what is installed has other selectors, and those never change
    options = ("--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-o", "name")
    answer = installed.kubectl.run("apply", *options, "-f", "-", stdin=text)
    assert len(answer.split()) == len(chart.objects(*sets))


@pytest.mark.e2e
@pytest.mark.parametrize(
    "kustomization", [BASE, ALL_SECRETS, SINGLE, SEVERAL, NODES, EXAMPLE], ids=lambda path: path.name
)
def test_the_api_server_takes_every_field_of_the_kustomizations(installed: Cluster, kustomization: Path) -> None:
    options = ("--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-o", "name")
    answer = installed.kubectl.run("apply", *options, "-k", str(kustomization))
    assert len(answer.split()) == len(rendered(kustomization))
