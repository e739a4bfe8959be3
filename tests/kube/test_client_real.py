"""Our client against a real API server: versions, finalizers, the status subresource, and what a 404 means there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from localcluster.controlplane import ControlPlane
from spotcompute.api.events import Event
from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import Connection, connect
from spotcompute.kube.events import EventRecorder
from spotcompute.kube.names import ENVIRONMENT_ID, FIELD_MANAGER, FINALIZER, PLURAL
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, Invalid, KubeObject, NotFound
from waiting import eventually_async

pytestmark = pytest.mark.e2e

Create = Callable[..., dict[str, Any]]


async def test_the_cluster_is_known_by_the_uid_of_its_system_namespace(
    kube: KubeClient, control_plane: ControlPlane
) -> None:
    assert await kube.cluster_id() == control_plane.kubectl.json("get", "ns", "kube-system")["metadata"]["uid"]


async def test_an_environment_is_read_live_and_none_when_it_does_not_exist(
    kube: KubeClient, create: Create, namespace: str
) -> None:
    obj = create("web")
    assert await kube.get(namespace, "web") == obj
    assert await kube.get(namespace, "other") is None
    assert await kube.get("no-such-namespace", "web") is None


async def test_a_claim_is_one_write_under_our_name_and_is_not_repeated(kube: KubeClient, create: Create) -> None:
    obj = create("web", finalizers=["other.example/x"])
    claimed = await kube.add_identity(obj, "e-1")
    assert claimed["metadata"]["finalizers"] == ["other.example/x", FINALIZER]
    assert claimed["metadata"]["annotations"][ENVIRONMENT_ID] == "e-1"
    assert claimed["metadata"]["generation"] == obj["metadata"]["generation"]
    assert FIELD_MANAGER in [entry["manager"] for entry in claimed["metadata"]["managedFields"]]
    assert await kube.add_identity(claimed, "e-1") is claimed


async def test_a_claim_on_an_old_version_conflicts(
    kube: KubeClient, create: Create, control_plane: ControlPlane
) -> None:
    obj = create("web")
    annotate(control_plane, obj)
    with pytest.raises(Conflict):
        await kube.add_identity(obj, "e-1")


async def test_a_claim_of_what_is_gone_says_so(kube: KubeClient, create: Create, control_plane: ControlPlane) -> None:
    obj = create("web")
    delete(control_plane, obj)
    with pytest.raises(NotFound):
        await kube.add_identity(obj, "e-1")


async def test_status_becomes_what_is_given_and_is_not_written_when_it_is_so_already(
    kube: KubeClient, create: Create
) -> None:
    counts = {"observedGeneration": 1, "replicas": 2, "readyReplicas": 1, "updatedReplicas": 1, "reclaimed": 0}
    machine = {"zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "state": "RUNNING", "ready": True}
    one, two = ({"id": key, "updated": True, **machine} for key in ("i-1", "i-2"))
    first = {**counts, "cost": {"perHour": "1.0", "savedPercent": 60}, "instances": [one, two]}
    second = {**counts, "cost": {"perHour": "2.0", "savedPercent": None}, "instances": [two], "ledger": {}}
    obj = await kube.write_status(create("web"), first)
    assert obj["status"] == first
    changed = await kube.write_status(obj, second)
    assert changed["status"] == {**second, "cost": {"perHour": "2.0"}}
    assert changed["metadata"]["generation"] == obj["metadata"]["generation"]
    assert await kube.write_status(changed, second) is changed


async def test_status_decided_on_an_old_version_conflicts_and_changes_nothing(
    kube: KubeClient, create: Create, control_plane: ControlPlane, namespace: str
) -> None:
    obj = create("web")
    annotate(control_plane, obj)
    with pytest.raises(Conflict):
        await kube.write_status(obj, {"replicas": 1})
    live = await kube.get(namespace, "web")
    assert live is not None
    assert live["status"] == obj["status"]


async def test_release_takes_our_finalizer_only(kube: KubeClient, create: Create, namespace: str) -> None:
    obj = create("web", finalizers=["a.example/x", FINALIZER, "b.example/y"])
    await kube.remove_finalizer(obj)
    live = await kube.get(namespace, "web")
    assert live is not None
    assert live["metadata"]["finalizers"] == ["a.example/x", "b.example/y"]
    await kube.remove_finalizer(live)  # again: fine


async def test_release_decided_on_an_old_version_conflicts_and_changes_nothing(
    kube: KubeClient, create: Create, control_plane: ControlPlane, namespace: str
) -> None:
    obj = create("web", finalizers=["a.example/x", FINALIZER])
    patch(control_plane, obj, {"metadata": {"finalizers": [FINALIZER, "a.example/x", "c.example/z"]}})
    with pytest.raises(Conflict):
        await kube.remove_finalizer(obj)
    live = await kube.get(namespace, "web")
    assert live is not None
    assert live["metadata"]["finalizers"] == [FINALIZER, "a.example/x", "c.example/z"]
    await kube.remove_finalizer(live)
    live = await kube.get(namespace, "web")
    assert live is not None
    assert live["metadata"]["finalizers"] == ["a.example/x", "c.example/z"]


async def test_release_ends_a_deletion_and_is_fine_when_the_object_is_gone(
    kube: KubeClient, create: Create, control_plane: ControlPlane, namespace: str
) -> None:
    obj = create("web", finalizers=[FINALIZER])
    delete(control_plane, obj, "--wait=false")
    deleted = await kube.get(namespace, "web")
    assert deleted is not None
    await kube.remove_finalizer(deleted)
    assert await kube.get(namespace, "web") is None
    await kube.remove_finalizer(deleted)


async def test_release_leaves_a_namesake_alone(
    kube: KubeClient, create: Create, control_plane: ControlPlane, namespace: str
) -> None:
    old = create("web", finalizers=[FINALIZER])
    patch(control_plane, old, {"metadata": {"finalizers": []}})
    delete(control_plane, old)
    new = create("web", finalizers=[FINALIZER])
    with pytest.raises(Conflict):
        await kube.remove_finalizer(old)
    # Should numbers meet after etcd has gone back, the uid differs.
    version = new["metadata"]["resourceVersion"]
    with pytest.raises(Invalid, match="uid"):
        await kube.remove_finalizer({**old, "metadata": {**old["metadata"], "resourceVersion": version}})
    live = await kube.get(namespace, "web")
    assert live is not None
    assert live["metadata"]["finalizers"] == [FINALIZER]


async def test_the_list_is_metadata_of_all_pages(
    kube: KubeClient, create: Create, connection: Connection, namespace: str
) -> None:
    created = [create(f"web-{number}", finalizers=[FINALIZER] if number == 3 else []) for number in range(5)]
    try:
        listed = await KubeClient(connection, [namespace], page=2).list_environments()
        assert [set(obj) for obj in listed] == [{"metadata"}] * 5
        assert [obj["metadata"]["uid"] for obj in listed] == [obj["metadata"]["uid"] for obj in created]
        assert [obj["metadata"]["resourceVersion"] for obj in listed] == [
            obj["metadata"]["resourceVersion"] for obj in created
        ]
        assert listed[3]["metadata"]["finalizers"] == [FINALIZER]
        everywhere = await kube.list_environments()
        assert {obj["metadata"]["uid"] for obj in created} <= {obj["metadata"]["uid"] for obj in everywhere}
    finally:
        await kube.remove_finalizer(created[3])


async def test_a_list_without_environments_is_empty(connection: Connection, namespace: str) -> None:
    assert await KubeClient(connection, [namespace]).list_environments() == []


async def test_secrets_and_config_maps_are_decoded(
    kube: KubeClient, control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    in_namespace, packed = ("--namespace", namespace), tmp_path / "packed.gz"
    packed.write_bytes(b"\x1f\x8b\x00\xff")
    control_plane.kubectl.run(*in_namespace, "create", "secret", "generic", "key", "--from-literal=secretId=AKID")
    given = ("--from-literal=user-data=#!/bin/sh", f"--from-file=packed={packed}")
    control_plane.kubectl.run(*in_namespace, "create", "configmap", "script", *given)
    assert await kube.read_secret(namespace, "key") == {"secretId": b"AKID"}
    assert await kube.read_config_map(namespace, "script") == {"user-data": b"#!/bin/sh", "packed": packed.read_bytes()}
    version = await kube.secret_version(namespace, "key")
    assert await kube.secret_version(namespace, "key") == version
    control_plane.kubectl.run(*in_namespace, "label", "secret", "key", "changed=yes")
    assert await kube.secret_version(namespace, "key") != version
    assert not (await kube.read_secret(namespace, "key")).is_going
    await kube.protect_secret(namespace, "key")
    control_plane.kubectl.run(*in_namespace, "delete", "secret", "key", "--wait=false")
    assert (await kube.read_secret(namespace, "key")).is_going
    await kube.unprotect_secret(namespace, "key")
    with pytest.raises(NotFound):
        await kube.read_secret(namespace, "nothing")
    with pytest.raises(NotFound):
        await kube.secret_version(namespace, "nothing")
    with pytest.raises(NotFound):
        await kube.read_config_map(namespace, "nothing")


async def test_without_rights_every_call_is_forbidden_and_says_what_is_missing(
    control_plane: ControlPlane, create: Create, namespace: str
) -> None:
    obj = create("web")
    control_plane.kubectl.run("--namespace", namespace, "create", "serviceaccount", "nobody")
    nobody = await connect({"KUBECONFIG": str(control_plane.service_account_kubeconfig(namespace, "nobody"))})
    kube = KubeClient(nobody)
    with pytest.raises(Forbidden, match=f'cannot list resource "{PLURAL}"'):
        await kube.list_environments()
    with pytest.raises(Forbidden, match="cannot patch"):
        await kube.write_status(obj, {"replicas": 1})
    await nobody.close()


async def test_a_token_the_server_does_not_know_is_forbidden(control_plane: ControlPlane, namespace: str) -> None:
    content = json.loads(control_plane.kubeconfig.read_text())
    content["users"][0]["user"]["token"] = "unknown"
    path = control_plane.directory / "stranger.kubeconfig"
    path.write_text(json.dumps(content))
    stranger = await connect({"KUBECONFIG": str(path)})
    with pytest.raises(Forbidden):
        await KubeClient(stranger).get(namespace, "web")
    await stranger.close()


async def test_in_a_pod_a_rotated_token_is_taken_up(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    server = urlsplit(control_plane.server)
    (tmp_path / "ca.crt").write_text((control_plane.directory / "ca.crt").read_text())
    (tmp_path / "token").write_text(control_plane.service_account_token("default", "default") + "\n")
    environ = {"KUBERNETES_SERVICE_HOST": str(server.hostname), "KUBERNETES_SERVICE_PORT": str(server.port)}
    pod = await connect(environ, tmp_path)
    kube = KubeClient(pod)
    with pytest.raises(Forbidden, match="system:serviceaccount:default:default"):
        await kube.get(namespace, "web")
    (tmp_path / "token").write_text("expired")
    with pytest.raises(Forbidden, match="HTTP 401"):
        await kube.get(namespace, "web")
    admin = json.loads(control_plane.kubeconfig.read_text())["users"][0]["user"]["token"]
    (tmp_path / "token").write_text(admin)
    assert await kube.get(namespace, "web") is None
    await pod.close()


async def test_an_event_appears_and_its_repeat_becomes_a_series(
    kube: KubeClient, create: Create, control_plane: ControlPlane, namespace: str
) -> None:
    obj = create("web")
    event = Event("Warning", "InsufficientCapacity", "No stock of S5.MEDIUM4 in ap-guangzhou-3.")
    recorder = EventRecorder(kube.post_event, kube.patch_event, now=lambda: datetime.now(UTC), series_seconds=0.0)
    writing = asyncio.create_task(recorder.run())

    def shown() -> list[dict[str, Any]]:
        listed = control_plane.kubectl.json("--namespace", namespace, "get", "events.events.k8s.io")
        events: list[dict[str, Any]] = listed["items"]
        return events

    recorder.record(obj, event)
    await eventually_async(shown)
    recorder.record(obj, event)
    await eventually_async(lambda: "series" in shown()[0])
    writing.cancel()
    assert recorder.dropped == 0
    (only,) = shown()
    assert (only["reason"], only["note"], only["series"]["count"]) == (event.reason, event.note, 2)
    assert only["reportingController"] == "spotcompute.dev/operator"
    assert only["regarding"]["uid"] == obj["metadata"]["uid"]
    described = control_plane.kubectl.run("--namespace", namespace, "describe", PLURAL, "web")
    assert "InsufficientCapacity" in described


async def test_a_missing_definition_is_no_missing_environment() -> None:
    """Were it one, deleting the CRD by mistake, or a starting API server, would give every instance up."""
    with ControlPlane() as bare:
        connection = await connect({"KUBECONFIG": str(bare.kubeconfig)})
        kube = KubeClient(connection)
        with pytest.raises(ApiUnavailable):
            await kube.get("default", "web")
        with pytest.raises(ApiUnavailable):
            await kube.list_environments()
        await connection.close()


def annotate(control_plane: ControlPlane, obj: KubeObject) -> None:
    patch(control_plane, obj, {"metadata": {"annotations": {"somebody": "else"}}})


def patch(control_plane: ControlPlane, obj: KubeObject, change: dict[str, Any]) -> None:
    metadata = obj["metadata"]
    names = ("--namespace", metadata["namespace"], "patch", PLURAL, metadata["name"])
    control_plane.kubectl.run(*names, "--type=merge", "--patch", json.dumps(change))


def delete(control_plane: ControlPlane, obj: KubeObject, *options: str) -> None:
    metadata = obj["metadata"]
    control_plane.kubectl.run("--namespace", metadata["namespace"], "delete", PLURAL, metadata["name"], *options)
