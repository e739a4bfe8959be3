"""The Deployment fits the operator it runs: ports, probes, time to stop, settings, and an image that can be built."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from deploy import chart
from deploy.manifests import BASE, EXAMPLE, INSTANCE_ROLE, ROOT, Manifest, in_file, of_kind, only, rendered
from spotcompute import __version__
from spotcompute.runtime.shell import DRAIN_SECONDS, kopf_settings
from spotcompute.settings import Settings


def deployment() -> Manifest:
    return only(BASE, "Deployment", "spotcompute-operator")


def pod() -> Any:
    return deployment()["spec"]["template"]["spec"]


def container() -> Any:
    (found,) = pod()["containers"]
    return found


def ports() -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container()["ports"]}


def test_every_selector_matches_the_pods_and_nothing_else_is_selected() -> None:
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    (policy,) = of_kind(BASE, "NetworkPolicy")
    (monitor,) = in_file(ROOT / "deploy/monitoring/pod-monitor.yaml")
    (budget,) = of_kind(BASE, "PodDisruptionBudget")
    selectors = [deployment()["spec"]["selector"], policy["spec"]["podSelector"], monitor["spec"]["selector"]]
    selectors += [
        budget["spec"]["selector"],
        *(spread["labelSelector"] for spread in pod()["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector["matchLabels"]
        assert selector["matchLabels"].items() <= labels.items()


def test_ports_are_those_the_operator_listens_on() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert ports() == {"health": defaults["health_port"], "metrics": defaults["metrics_port"]}


def test_probes_networks_and_monitors_name_ports_that_exist() -> None:
    (policy,) = of_kind(BASE, "NetworkPolicy")
    (monitor,) = in_file(ROOT / "deploy/monitoring/pod-monitor.yaml")
    probes = {kind: container()[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness", "startup")}
    paths = {kind: probe["path"] for kind, probe in probes.items()}
    assert paths == {"liveness": "/healthz", "readiness": "/readyz", "startup": "/healthz"}
    named = [probe["port"] for probe in probes.values()]
    named += [port["port"] for port in policy["spec"]["ingress"][0]["ports"]]
    named += [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    assert set(named) <= ports().keys()


def test_the_kubelet_waits_longer_than_the_operator_needs_to_stop() -> None:
    last_resort = kopf_settings(is_namespaced=False).process.ultimate_exiting_timeout
    assert last_resort is not None
    assert pod()["terminationGracePeriodSeconds"] > last_resort > DRAIN_SECONDS


def test_another_replica_stands_by_and_the_lease_says_which_one_acts() -> None:
    (settings,) = of_kind(BASE, "ConfigMap")
    lease = settings["data"]["SPOTCOMPUTE_LEASE"]
    rules = [
        rule for rule in only(BASE, "Role", "spotcompute-operator-home")["rules"] if rule["resources"] == ["leases"]
    ]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["get", "patch"], [lease]),
        (["create"], None),
    ]
    assert deployment()["spec"]["replicas"] == 2
    identity = {item["name"]: item for item in container()["env"]}["SPOTCOMPUTE_IDENTITY"]
    assert identity["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_a_drained_node_never_takes_both_replicas_and_never_waits_for_one_for_ever() -> None:
    (budget,) = of_kind(BASE, "PodDisruptionBudget")
    missing = budget["spec"]["maxUnavailable"]
    assert 0 < missing < deployment()["spec"]["replicas"]
    assert "minAvailable" not in budget["spec"]  # with one replica nothing could ever be drained


def test_replicas_would_rather_be_apart_but_start_on_one_node_too() -> None:
    spread = pod()["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {one["whenUnsatisfiable"] for one in spread} == {"ScheduleAnyway"}


METADATA = ("169.254.0.23", "169.254.169.254")  # of Tencent Cloud, and of most others


@pytest.mark.parametrize(
    ("address", "port", "protocol", "reached"),
    [
        ("8.8.8.8", 53, "UDP", True),
        ("169.254.20.10", 53, "UDP", True),  # the cache of names on a node
        ("169.254.20.10", 53, "TCP", True),
        ("10.0.0.1", 443, "TCP", True),
        ("2402:4e00::1", 443, "TCP", True),
        ("10.0.0.1", 6443, "TCP", True),
        ("169.254.128.9", 60002, "TCP", True),  # the API server of TKE
        ("10.0.0.1", 80, "TCP", False),
        ("10.0.0.1", 22, "TCP", False),
        ("10.0.0.1", 443, "UDP", False),
        *((address, port, "TCP", False) for address in METADATA for port in (80, 443, 8080)),
    ],
)
def test_the_operator_reaches(address: str, port: int, protocol: str, reached: bool) -> None:
    """The policy as Kubernetes documents it: rules add up, and within one both ports and peers must hold."""
    (policy,) = of_kind(BASE, "NetworkPolicy")
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert any(allows(rule, address, port, protocol) for rule in policy["spec"]["egress"]) is reached


@pytest.mark.parametrize("source", ["overlay", "chart"])
def test_an_install_that_takes_the_machines_role_reaches_the_metadata_service(source: str) -> None:
    made = rendered(INSTANCE_ROLE)
    if source == "chart":
        made = tuple(chart.objects("settings.keyFrom=instance-role", "settings.allowDefaultCredentials=true"))
    policy, settings = (next(one for one in made if one["kind"] == kind) for kind in ("NetworkPolicy", "ConfigMap"))
    assert settings["data"]["SPOTCOMPUTE_KEY_FROM"] == "instance-role"
    assert settings["data"]["SPOTCOMPUTE_ALLOW_DEFAULT_CREDENTIALS"] == "true"
    assert any(allows(rule, METADATA[0], 80, "TCP") for rule in policy["spec"]["egress"])
    assert not any(allows(rule, "10.0.0.1", 80, "TCP") for rule in policy["spec"]["egress"])


def allows(rule: Manifest, address: str, port: int, protocol: str) -> bool:
    has_port = any((one["port"], one["protocol"]) == (port, protocol) for one in rule["ports"])
    return has_port and ("to" not in rule or any(holds(peer["ipBlock"], address) for peer in rule["to"]))


def holds(block: Manifest, address: str) -> bool:
    """Whether an ipBlock has an address; one of the other IP version is never in it."""
    found = ip_address(address)
    return found in ip_network(block["cidr"]) and not any(found in ip_network(out) for out in block.get("except", ()))


def test_every_setting_of_the_install_is_one_the_operator_knows() -> None:
    (settings,) = of_kind(BASE, "ConfigMap")
    known = {f"SPOTCOMPUTE_{name.upper()}" for name in Settings.model_fields}
    assert settings["data"].keys() <= known
    assert container()["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]


def test_the_operators_own_key_is_for_nobody_unless_the_install_says_so() -> None:
    (settings,) = of_kind(BASE, "ConfigMap")
    assert settings["data"]["SPOTCOMPUTE_ALLOW_DEFAULT_CREDENTIALS"] == "false"


def test_a_service_cannot_overwrite_a_setting() -> None:
    assert pod()["enableServiceLinks"] is False


def test_the_token_is_short_lived_and_mounted_by_the_deployment_alone() -> None:
    account = only(BASE, "ServiceAccount", "spotcompute-operator")
    assert account["automountServiceAccountToken"] is pod()["automountServiceAccountToken"] is False
    (volume,) = [volume for volume in pod()["volumes"] if "projected" in volume]
    tokens = [
        source["serviceAccountToken"] for source in volume["projected"]["sources"] if "serviceAccountToken" in source
    ]
    assert [token["expirationSeconds"] for token in tokens] == [3600]


def test_nothing_can_be_written_but_the_small_tmp() -> None:
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    writable = [mount["mountPath"] for mount in container()["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]


def test_the_image_is_the_one_of_this_version() -> None:
    assert container()["image"] == f"spotcompute-operator:{__version__}"


def test_the_image_installs_the_versions_that_are_tested() -> None:
    assert pins("requirements.run.lock") <= pins("requirements.lock")


def pins(name: str) -> set[str]:
    found = set(re.findall(r"^([\w.-]+==[\w.]+)", (ROOT / name).read_text(), re.MULTILINE))
    assert len(found) > 20
    return found


def test_the_example_overlay_adds_to_the_settings_of_the_base() -> None:
    (base,), (example,) = of_kind(BASE, "ConfigMap"), of_kind(EXAMPLE, "ConfigMap")
    assert example["data"] == {**base["data"], "SPOTCOMPUTE_SITE": "international"}
