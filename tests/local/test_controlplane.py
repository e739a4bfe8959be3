"""The real thing: ready in time, access by role, faults that heal, and nothing left behind."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.background import Background
from localcluster.controlplane import ControlPlane, open_cluster, private_key_pem
from localcluster.kubectl import KubectlError
from waiting import allowed, eventually

AUDIT_POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""
WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if os.environ.get("SKIP_E2E") == "1":
        pytest.skip("SKIP_E2E=1: no real control plane is wanted")
    crds = tmp_path_factory.mktemp("crds")
    (crds / "widgets.yaml").write_text(WIDGETS)
    with ControlPlane(crds=crds, audit_policy=AUDIT_POLICY) as plane:
        yield plane


def test_every_cluster_has_a_key_of_its_own() -> None:
    first, second = private_key_pem(), private_key_pem()
    assert first != second
    assert first.splitlines()[0] == "-----BEGIN EC PRIVATE KEY-----"


@pytest.mark.e2e
def test_a_control_plane_is_ready_within_fifteen_seconds(plane: ControlPlane) -> None:
    started = time.monotonic()
    with ControlPlane() as another:
        took = time.monotonic() - started
        assert set(another.pids) == {"etcd", "kube-apiserver", "kube-controller-manager"}
        directory = another.directory
    assert took <= allowed(15)
    assert not directory.exists()


@pytest.mark.e2e
def test_kubectl_and_server_are_of_one_version(plane: ControlPlane) -> None:
    version = plane.kubectl.json("version")
    assert version["clientVersion"]["minor"] == version["serverVersion"]["minor"] == "36"


@pytest.mark.e2e
def test_the_certificate_passes_the_strict_checks_of_newer_pythons(plane: ControlPlane) -> None:
    context = ssl.create_default_context(cafile=str(plane.directory / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    host, port = plane.server.removeprefix("https://").split(":")
    with context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host) as tls:
        assert tls.version() == "TLSv1.3"


@pytest.mark.e2e
def test_a_service_account_may_do_what_its_role_says_and_no_more(plane: ControlPlane) -> None:
    plane.kubectl.run("create", "namespace", "roles")
    plane.kubectl.run("-n", "roles", "create", "serviceaccount", "reader")
    reader = plane.kubectl_as("roles", "reader")
    assert not reader.can("list", "secrets", "-n", "roles")
    plane.kubectl.run("-n", "roles", "create", "role", "reader", "--verb=list", "--resource=secrets")
    plane.kubectl.run(
        "-n", "roles", "create", "rolebinding", "reader", "--role=reader", "--serviceaccount=roles:reader"
    )
    assert reader.can("list", "secrets", "-n", "roles")
    with pytest.raises(KubectlError, match="is forbidden"):
        reader.run("-n", "roles", "create", "secret", "generic", "x")


@pytest.mark.e2e
def test_kubeconfigs_are_readable_by_their_owner_alone(plane: ControlPlane) -> None:
    path = plane.service_account_kubeconfig("default", "default")
    assert path.stat().st_mode & 0o077 == 0
    assert plane.directory.stat().st_mode & 0o077 == 0


@pytest.mark.e2e
def test_what_has_lost_its_owner_is_collected(plane: ControlPlane) -> None:
    """The kind was there before kube-controller-manager started: else its collector needs up to 30 s to notice it."""
    kubectl = plane.kubectl
    kubectl.apply("{apiVersion: example.com/v1, kind: Widget, metadata: {name: owner, namespace: default}}")
    uid = kubectl.json("get", "widget", "owner")["metadata"]["uid"]
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "owner", "uid": uid}
    metadata = {"name": "owned", "namespace": "default", "ownerReferences": [owner]}
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    kubectl.run("delete", "widget", "owner")
    eventually(lambda: "owned" not in kubectl.run("get", "configmaps"), seconds=10)


@pytest.mark.e2e
def test_the_api_server_goes_away_and_comes_back_with_its_data(plane: ControlPlane) -> None:
    plane.kubectl.run("create", "namespace", "before-restart")
    server = plane.server
    plane.kill_apiserver()
    with pytest.raises(KubectlError, match="refused"):
        plane.kubectl.run("get", "namespaces")
    plane.start_apiserver()
    assert plane.server == server
    assert "before-restart" in plane.kubectl.run("get", "namespaces")


@pytest.mark.e2e
def test_a_token_survives_a_restart(plane: ControlPlane) -> None:
    kubectl = plane.kubectl_as("default", "default")
    plane.restart_apiserver()
    assert "system:serviceaccount:default:default" in kubectl.run("auth", "whoami")


@pytest.mark.e2e
def test_restoring_a_snapshot_undoes_what_came_after(plane: ControlPlane) -> None:
    plane.kubectl.run("create", "namespace", "saved")
    uid = plane.kubectl.json("get", "namespace", "saved")["metadata"]["uid"]
    snapshot = plane.snapshot()
    plane.kubectl.run("create", "namespace", "unsaved")
    plane.restore(snapshot)
    assert plane.kubectl.json("get", "namespace", "saved")["metadata"]["uid"] == uid
    assert "unsaved" not in plane.kubectl.run("get", "namespaces", "-o", "name")


@pytest.mark.e2e
def test_the_audit_log_names_who_asked_for_what(plane: ControlPlane) -> None:
    plane.kubectl_as("default", "default").can("list", "pods")
    asked = {"verb": "create", "user": "system:serviceaccount:default:default"}

    def seen() -> bool:
        return any(
            event["verb"] == asked["verb"] and event["user"]["username"] == asked["user"]
            for event in plane.audit_events()
        )

    eventually(seen, seconds=10)


OWNER = """
    import sys
    from localcluster.controlplane import ControlPlane

    with ControlPlane() as plane:
        print(plane.directory, *plane.pids.values(), flush=True)
        sys.stdin.read()
"""


@pytest.mark.e2e
def test_a_killed_owner_leaves_no_process_and_the_next_start_removes_its_files(plane: ControlPlane) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(OWNER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        directory, *pids = owner.stdout.readline().split()
        assert len(pids) == 3
        owner.kill()
    eventually(lambda: not alive(pids), seconds=10)
    with ControlPlane():
        assert not Path(directory).exists()
    assert plane.directory.exists(), "one that lives is left alone"


def alive(pids: list[str]) -> list[str]:
    done = subprocess.run(["ps", "-o", "pid=,stat=", "-p", ",".join(pids)], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if not line.split()[1].startswith("Z")]


@pytest.mark.e2e
def test_up_survives_its_command_and_down_ends_it(plane: ControlPlane, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "localcluster", words[0], f"--directory={tmp_path}", *words[1:]]
        return subprocess.run(line, capture_output=True, text=True, timeout=300, env=environment, check=False)

    kubeconfig = Path(command("up", "--detach").stdout.strip())
    assert kubeconfig.is_file()
    assert str(kubeconfig) in command("status").stdout
    state = Background(tmp_path).state()
    assert state is not None
    pids = [str(pid) for pid in state["pids"].values()]
    assert len(alive(pids)) == 3
    assert command("down").stdout == "ended\n"
    eventually(lambda: not alive(pids), seconds=10)
    assert not kubeconfig.exists()
    assert command("status").returncode == 1


@pytest.mark.e2e
def test_an_existing_cluster_serves_in_place_of_ours(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("USE_CLUSTER", "1")
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    with open_cluster(crds=tmp_path) as cluster:
        assert "serviceaccount:default:default" in cluster.kubectl_as("default", "default").run("auth", "whoami")
        assert "default" in cluster.kubectl.run("get", "namespaces")
    assert plane.kubectl.run("get", "--raw", "/readyz") == "ok"
