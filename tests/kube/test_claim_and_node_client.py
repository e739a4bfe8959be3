"""What is asked of an API server about nodes and claims: each method's requests, word for word, on a stub."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kube.stub import Stub
from spotcompute.kube.claim_client import ClaimClient
from spotcompute.kube.claim_port import Kind
from spotcompute.kube.connection import Connection
from spotcompute.kube.node_client import NodeClient
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden
from spotcompute.kube.transport import SILENCE_SECONDS, WATCH_SECONDS, Expired
from spotcompute.model.node import Pod

POD = Pod("jobs", "task", "uid-task", "ins-1")
NEWER = {"metadata": {"name": "ins-1", "resourceVersion": "8"}}


@pytest.fixture
def nodes(stub_connection: Connection) -> NodeClient:
    return NodeClient(stub_connection, page=2)


@pytest.fixture
def claims(stub_connection: Connection) -> ClaimClient:
    return ClaimClient(stub_connection, page=2)


def asked(stub: Stub) -> list[tuple[str, str, dict[str, str]]]:
    """Method, path and query of each request."""
    parts = [(method, urlsplit(path)) for method, path, _, _ in stub.requests]
    return [(method, one.path, {key: words[0] for key, words in parse_qs(one.query).items()}) for method, one in parts]


def sent(stub: Stub, number: int = 0) -> Any:
    return json.loads(stub.requests[number][3])


def refusal(code: int, name: str = "x") -> tuple[int, object]:
    return code, {"kind": "Status", "message": "no", "details": {"name": name}}


def page(*names: str, more: str | None = None) -> tuple[int, object]:
    """A page of a list; the API server leaves `items` null when there are none."""
    items = [{"metadata": {"name": name}} for name in names] or None
    return 200, {"items": items, "metadata": {"resourceVersion": "77"} | ({"continue": more} if more else {})}


AT_WORK = {"fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"}


@pytest.mark.parametrize(
    ("ask", "path", "selection"),
    [
        pytest.param(lambda nodes: nodes.nodes(), "/api/v1/nodes", {}, id="nodes"),
        pytest.param(lambda nodes: nodes.pods(), "/api/v1/pods", AT_WORK, id="pods-at-work"),
    ],
)
async def test_a_list_has_all_pages_and_a_version(
    nodes: NodeClient, stub: Stub, ask: Any, path: str, selection: dict[str, str]
) -> None:
    stub.answer(*page("a", "b", more="next"), page("c"))
    items, version = await ask(nodes)
    assert [item["metadata"]["name"] for item in items] == ["a", "b", "c"]
    assert version == "77"
    assert asked(stub) == [
        ("GET", path, {**selection, "limit": "2"}),
        ("GET", path, {**selection, "limit": "2", "continue": "next"}),
    ]


async def test_an_empty_list_is_a_list(nodes: NodeClient, claims: ClaimClient, stub: Stub) -> None:
    stub.answer(*page())
    assert await nodes.nodes() == ([], "77")
    assert await nodes.pods_on("ins-1") == []
    assert await nodes.certificate_requests() == []
    assert await claims.objects(Kind.WORKLOADS) == ([], "77")
    assert asked(stub)[1:] == [
        ("GET", "/api/v1/pods", {"fieldSelector": "spec.nodeName=ins-1", "limit": "2"}),
        ("GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests", {"limit": "2"}),
        ("GET", "/apis/kueue.x-k8s.io/v1beta2/workloads", {"limit": "2"}),
    ]


@pytest.mark.parametrize(
    ("kind", "path", "selection"),
    [
        (Kind.CHECKS, "/apis/kueue.x-k8s.io/v1beta2/admissionchecks", {}),
        (Kind.FLAVORS, "/apis/kueue.x-k8s.io/v1beta2/resourceflavors", {}),
        (Kind.MARKED_JOBS, "/apis/batch/v1/jobs", {"labelSelector": "spotcompute.dev/environment"}),
        (Kind.QUEUED_JOBS, "/apis/batch/v1/jobs", {"labelSelector": "kueue.x-k8s.io/queue-name"}),
    ],
)
async def test_claims_are_listed_and_watched_by_their_kind(
    claims: ClaimClient, stub: Stub, kind: Kind, path: str, selection: dict[str, str]
) -> None:
    stub.answer(*page("a", "b", more="next"), page("c"))
    assert len((await claims.objects(kind))[0]) == 3
    assert asked(stub)[1] == ("GET", path, {"limit": "2", "continue": "next", **selection})
    stub.answer(200, json.dumps({"type": "ADDED", "object": NEWER}) + "\n")
    assert [event async for event in claims.watch(kind, "77")] == [("ADDED", NEWER)]
    method, watched, query = asked(stub)[2]
    assert (method, watched) == ("GET", path)
    assert query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "77",
        "timeoutSeconds": "60",
        **selection,
    }


async def test_nodes_and_pods_are_watched_line_by_line(nodes: NodeClient, stub: Stub) -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    lines = [{"type": "MODIFIED", "object": NEWER}, {"type": "BOOKMARK", "object": NEWER}, gone]
    stub.answer(200, "".join(json.dumps(line) + "\n" for line in lines))
    events = nodes.watch_nodes("7")
    assert [await anext(events), await anext(events)] == [("MODIFIED", NEWER), ("BOOKMARK", NEWER)]
    with pytest.raises(Expired, match="too old"):
        await anext(events)
    stub.answer(200, json.dumps({"type": "ERROR", "object": {"code": 500}}) + "\n")
    with pytest.raises(ApiUnavailable, match="watch /api/v1/pods: an error without a message"):
        _ = [event async for event in nodes.watch_pods("7")]
    assert [(path, query["resourceVersion"]) for _, path, query in asked(stub)] == [
        ("/api/v1/nodes", "7"),
        ("/api/v1/pods", "7"),
    ]
    assert asked(stub)[1][2].items() >= AT_WORK.items()


async def test_a_node_is_changed_and_ended_by_its_uid(nodes: NodeClient, stub: Stub) -> None:
    stub.answer(200, NEWER)
    assert await nodes.patch_node("ins-1", {"spec": {"unschedulable": True}}) == NEWER
    await nodes.delete_node("ins-1", "uid-1")
    assert asked(stub) == [
        ("PATCH", "/api/v1/nodes/ins-1", {"fieldManager": "spotcompute-operator"}),
        ("DELETE", "/api/v1/nodes/ins-1", {}),
    ]
    assert stub.requests[0][2]["Content-Type"] == "application/merge-patch+json"
    assert sent(stub) == {"spec": {"unschedulable": True}}
    assert sent(stub, 1)["preconditions"] == {"uid": "uid-1"}


async def test_a_node_that_is_gone_already_is_ended(nodes: NodeClient, stub: Stub) -> None:
    stub.answer(*refusal(404))
    await nodes.delete_node("ins-1", "uid-1")
    stub.answer(*refusal(409))
    with pytest.raises(Conflict):
        await nodes.patch_node("ins-1", {})


async def test_a_lost_pod_fails_first_and_goes_then(nodes: NodeClient, stub: Stub) -> None:
    stub.answer(200, {})
    await nodes.fail_pod(POD, {"status": {"phase": "Failed"}})
    assert asked(stub) == [
        ("PATCH", "/api/v1/namespaces/jobs/pods/task/status", {"fieldManager": "spotcompute-operator"}),
        ("DELETE", "/api/v1/namespaces/jobs/pods/task", {}),
    ]
    assert sent(stub) == {"metadata": {"uid": "uid-task"}, "status": {"phase": "Failed"}}
    assert stub.requests[0][2]["Content-Type"] == "application/strategic-merge-patch+json"
    assert sent(stub, 1).items() >= {"gracePeriodSeconds": 0, "preconditions": {"uid": "uid-task"}}.items()


@pytest.mark.parametrize("code", [404, 409])
async def test_a_pod_that_is_gone_or_another_one_is_let_be(nodes: NodeClient, stub: Stub, code: int) -> None:
    stub.answer(*refusal(code))
    await nodes.fail_pod(POD, {"status": {}})
    await nodes.evict_pod(POD)
    assert [path for _, path, _ in asked(stub)] == [
        "/api/v1/namespaces/jobs/pods/task/status",
        "/api/v1/namespaces/jobs/pods/task/eviction",
    ]
    body = sent(stub, 1)
    assert (body["kind"], body["metadata"]) == ("Eviction", {"name": "task", "namespace": "jobs"})
    assert body["deleteOptions"] == {"preconditions": {"uid": "uid-task"}}


async def test_a_budget_that_forbids_an_eviction_is_an_outage(nodes: NodeClient, stub: Stub) -> None:
    stub.answer(*refusal(429))
    with pytest.raises(ApiUnavailable):
        await nodes.evict_pod(POD)


async def test_an_approval_is_written_to_its_own_subresource(nodes: NodeClient, stub: Stub) -> None:
    stub.answer(200, {})
    request = {"metadata": {"name": "csr-1"}, "status": {"conditions": [{"type": "Approved"}]}}
    await nodes.approve(request)
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests/csr-1/approval"
    assert asked(stub) == [("PUT", path, {"fieldManager": "spotcompute-operator"})]
    assert sent(stub) == request


@pytest.mark.parametrize(
    ("kind", "metadata", "path"),
    [
        (Kind.WORKLOADS, {"name": "render", "namespace": "jobs"}, "namespaces/jobs/workloads/render/status"),
        (Kind.CHECKS, {"name": "farm"}, "admissionchecks/farm/status"),
    ],
)
async def test_a_verdict_is_applied_under_a_name_of_its_own(
    claims: ClaimClient, stub: Stub, kind: Kind, metadata: dict[str, str], path: str
) -> None:
    stub.answer(200, NEWER)
    assert await claims.apply_status(kind, {"metadata": metadata, "status": {}}, "farm") == NEWER
    query = {"fieldManager": "spotcompute-operator-farm", "force": "true"}
    assert asked(stub) == [("PATCH", f"/apis/kueue.x-k8s.io/v1beta2/{path}", query)]
    assert sent(stub) == {"apiVersion": "kueue.x-k8s.io/v1beta2", "metadata": metadata, "status": {}}
    assert stub.requests[0][2]["Content-Type"] == "application/apply-patch+yaml"


async def test_a_writer_has_no_longer_name_than_kubernetes_takes(claims: ClaimClient, stub: Stub) -> None:
    stub.answer(200, NEWER)
    await claims.apply_status(Kind.CHECKS, {"metadata": {"name": "farm"}, "status": {}}, "x" * 253)
    assert len(asked(stub)[0][2]["fieldManager"]) == 128


async def test_replicas_are_set_on_the_version_that_was_read(claims: ClaimClient, stub: Stub) -> None:
    stub.answer(200, {})
    environment = {"metadata": {"namespace": "jobs", "name": "farm", "uid": "u1", "resourceVersion": "5"}}
    await claims.set_replicas(environment, 3)
    path = "/apis/spotcompute.dev/v1alpha1/namespaces/jobs/spotcomputeenvironments/farm/scale"
    assert asked(stub) == [("PATCH", path, {"fieldManager": "spotcompute-operator-claims"})]
    assert sent(stub) == {"metadata": {"uid": "u1", "resourceVersion": "5"}, "spec": {"replicas": 3}}
    stub.answer(*refusal(403))
    with pytest.raises(Forbidden):
        await claims.set_replicas(environment, 3)


def pod_item(name: str, phase: str, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "jobs", "uid": name, **metadata}, "spec": {"nodeName": "ins-1"},
            "status": {"phase": phase}}  # fmt: skip


@pytest.mark.parametrize(
    ("pages", "has_work"),
    [
        pytest.param([[("a", "Succeeded")], [("b", "Running")]], True, id="on-the-second-page"),
        pytest.param([[("a", "Running")], [("b", "Running")]], True, id="and-no-further"),
        pytest.param([[("a", "Succeeded")], [("b", "Failed")]], False, id="all-have-ended"),
        pytest.param([[]], False, id="none"),
    ],
)
async def test_whether_a_node_works(
    claims: ClaimClient, stub: Stub, pages: list[list[tuple[str, str]]], has_work: bool
) -> None:
    bodies = [
        (200, {
            "items": [pod_item(*one) for one in rows] or None,
            "metadata": {"continue": "next"} if number + 1 < len(pages) else {},
        })
        for number, rows in enumerate(pages)
    ]  # fmt: skip
    stub.answer(*bodies[0], *bodies[1:])
    assert await claims.has_work("ins-1") is has_work
    assert len(stub.requests) == (1 if pages[0] == [("a", "Running")] else len(pages))
    assert asked(stub)[0] == ("GET", "/api/v1/pods", {"fieldSelector": "spec.nodeName=ins-1", "limit": "2"})


def test_a_watch_without_news_is_not_taken_for_dead_before_it_ends_by_itself() -> None:
    assert WATCH_SECONDS + 10 <= SILENCE_SECONDS <= 2 * WATCH_SECONDS
