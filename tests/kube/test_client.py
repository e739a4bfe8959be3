"""What the client makes of answers: the error says what to do next, and no body of a Secret is ever in it."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kube.stub import Stub, write_kubeconfig
from spotcompute.kube.client import ATTEMPTS, KubeClient, merge_patch
from spotcompute.kube.connection import Connection, connect
from spotcompute.kube.names import FINALIZER
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, Invalid, KubeError, NotFound, NotServed

ENVIRONMENT = {
    "metadata": {
        "namespace": "ns",
        "name": "web",
        "uid": "u1",
        "resourceVersion": "5",
        "finalizers": ["a/b", FINALIZER],
    },
    "status": {"replicas": 1},
}


def status(code: int, message: str = "", **details: object) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "details": details}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (405, Invalid),
        (409, Conflict),
        (413, Invalid),
        (422, Invalid),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
        (504, ApiUnavailable),
    ],
)
async def test_an_answer_becomes_the_error_that_says_what_to_do(
    stub_kube: KubeClient, stub: Stub, code: int, expected: type[KubeError]
) -> None:
    stub.answer(code, status(code, "the reason"))
    with pytest.raises(expected, match=f"HTTP {code} the reason"):
        await stub_kube.add_identity(ENVIRONMENT | {"metadata": {**ENVIRONMENT["metadata"], "finalizers": []}}, "e-1")
    assert len(stub.requests) == 1, "the client itself repeats nothing"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("404 page not found\n", id="of a server that does not know the path"),
        pytest.param(status(404, "the server could not find the requested resource"), id="of a CRD not served yet"),
        pytest.param("<html>not here</html>", id="of a proxy"),
    ],
)
async def test_a_404_that_names_no_object_is_an_outage(stub_kube: KubeClient, stub: Stub, answer: object) -> None:
    stub.answer(404, answer)
    with pytest.raises(ApiUnavailable):
        await stub_kube.get("ns", "web")


async def test_a_404_that_names_the_object_is_its_absence(stub_kube: KubeClient, stub: Stub) -> None:
    stub.answer(404, status(404, 'environments "web" not found', name="web"))
    assert await stub_kube.get("ns", "web") is None


GONE = status(404, "it is not found", name="it")


@pytest.mark.parametrize(
    ("call", "result"),
    [
        pytest.param(lambda kube: kube.remove_finalizer(ENVIRONMENT), None, id="a-release-of-what-is-gone"),
        pytest.param(lambda kube: kube.protect_secret("ns", "key"), None, id="a-guard-for-a-secret-that-is-gone"),
        pytest.param(lambda kube: kube.unprotect_secret("ns", "key"), None, id="a-guard-taken-from-one-that-is-gone"),
        pytest.param(lambda kube: kube.remembered_accounts(), {}, id="notes-that-nobody-wrote"),
        pytest.param(lambda kube: kube.forget_account("a"), None, id="a-note-that-nobody-wrote"),
    ],
)
async def test_what_is_gone_needs_nothing_more(
    stub_kube: KubeClient, stub: Stub, call: Callable[[KubeClient], Awaitable[object]], result: object
) -> None:
    stub.answer(404, GONE)
    assert await call(stub_kube) == result
    assert len(stub.requests) == 1


async def test_the_first_note_makes_the_config_map_and_is_repeated_when_another_was_first(
    stub_kube: KubeClient, stub: Stub
) -> None:
    stub.answer(404, GONE, (409, status(409, "it exists already")), (200, {}))
    await stub_kube.remember_account("a", "text")
    sent = [(method, path.partition("?")[0].rpartition("/")[2], body) for method, path, _, body in stub.requests]
    assert [method for method, _, _ in sent] == ["PATCH", "POST", "PATCH"]
    assert sent[1][1] == "configmaps"
    assert {json.loads(body)["data"]["a"] for _, _, body in sent} == {"text"}


async def test_a_secret_that_changes_meanwhile_is_guarded_at_the_next_try_and_the_last_refusal_is_told(
    stub_kube: KubeClient, stub: Stub
) -> None:
    secret, conflict = {"metadata": {"resourceVersion": "5"}}, status(409, "the object has been modified")
    stub.answer(200, secret, (409, conflict), (200, secret), (200, {}))
    await stub_kube.protect_secret("ns", "key")
    assert [method for method, *_ in stub.requests] == ["GET", "PATCH"] * 2
    stub.answer(200, secret, *[(409, conflict), (200, secret)] * ATTEMPTS)
    with pytest.raises(Conflict):
        await stub_kube.protect_secret("ns", "key")
    assert len(stub.requests) == 4 + 2 * ATTEMPTS


@pytest.mark.parametrize("body", ["", "<html>", '{"metadata": {'])
async def test_an_answer_that_is_no_json_is_an_outage(stub_kube: KubeClient, stub: Stub, body: str) -> None:
    stub.answer(200, body)
    with pytest.raises(ApiUnavailable, match="no JSON"):
        await stub_kube.get("ns", "web")


async def test_a_connection_cut_in_the_answer_is_an_outage(stub_kube: KubeClient, stub: Stub) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"metadata"')
        assert request.transport is not None
        request.transport.close()
        return response

    stub.answers = [cut]
    with pytest.raises(ApiUnavailable):
        await stub_kube.get("ns", "web")


async def test_a_refused_connection_is_an_outage(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses, and nobody else can get the port
        path = write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{taken.getsockname()[1]}")
        connection = await connect({"KUBECONFIG": str(path)})
        with pytest.raises(ApiUnavailable):
            await KubeClient(connection).get("ns", "web")
        await connection.close()


async def test_a_server_that_never_answers_is_given_up(stub_connection: Connection, stub: Stub) -> None:
    kube = KubeClient(stub_connection, timeout_seconds=0.1)
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    stub.answers = [hang]
    with pytest.raises(ApiUnavailable, match=r"no answer within 0\.1 s"):
        await kube.get("ns", "web")
    released.set()


async def test_writes_name_their_kind_of_patch_and_their_writer(stub_kube: KubeClient, stub: Stub) -> None:
    stub.answer(200, {"metadata": {}})
    await stub_kube.write_status(ENVIRONMENT, {"replicas": 2})
    await stub_kube.remove_finalizer(ENVIRONMENT)
    (_, status_path, status_headers, status_body), (_, release_path, release_headers, release_body) = stub.requests
    base = "/apis/spotcompute.dev/v1alpha1/namespaces/ns/spotcomputeenvironments/web"
    assert status_path == f"{base}/status?fieldManager=spotcompute-operator"
    assert status_headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(status_body) == {"metadata": {"resourceVersion": "5"}, "status": {"replicas": 2}}
    assert release_path == f"{base}?fieldManager=spotcompute-operator"
    assert release_headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(release_body) == {"metadata": {"uid": "u1", "resourceVersion": "5", "finalizers": ["a/b"]}}
    for headers in (status_headers, release_headers):
        assert headers["User-Agent"] == "spotcompute-operator"
        assert headers["Authorization"] == "Bearer t0ken"


async def test_status_that_is_so_already_sends_nothing(stub_kube: KubeClient, stub: Stub) -> None:
    assert await stub_kube.write_status(ENVIRONMENT, {"replicas": 1, "absent": None}) is ENVIRONMENT
    assert stub.requests == []


async def test_a_release_that_is_refused_says_why(stub_kube: KubeClient, stub: Stub) -> None:
    stub.answer(422, status(422, "spec.replicas: Invalid value"))
    with pytest.raises(Invalid, match=r"spec\.replicas"):
        await stub_kube.remove_finalizer(ENVIRONMENT)
    assert [method for method, *_ in stub.requests] == ["PATCH"]


def page(*names: str, token: str = "", kind: str = "PartialObjectMetadataList") -> dict[str, object]:
    items = [{"metadata": {"name": name}} for name in names]
    return {"kind": kind, "metadata": {"continue": token}, "items": items or None}


async def test_a_list_that_expires_between_its_pages_is_begun_again(stub_kube: KubeClient, stub: Stub) -> None:
    stub.answer(200, page("a", token="p2"), (410, status(410)), (200, page("a", token="p2")), (200, page("b")))
    listed = await stub_kube.list_environments()
    assert [obj["metadata"]["name"] for obj in listed] == ["a", "b"]
    assert ["continue=p2" in path for _, path, *_ in stub.requests] == [False, True, False, True]
    assert all("resourceVersion" not in path for _, path, *_ in stub.requests), "a consistent read"
    assert all("PartialObjectMetadataList" in headers["Accept"] for _, _, headers, _ in stub.requests)


async def test_a_list_that_keeps_expiring_or_breaks_off_is_an_outage_never_half_a_list(
    stub_kube: KubeClient, stub: Stub
) -> None:
    stub.answer(410, status(410))
    with pytest.raises(ApiUnavailable):
        await stub_kube.list_environments()
    stub.answer(200, page("a", token="p2"), (500, status(500)))
    with pytest.raises(ApiUnavailable):
        await stub_kube.list_environments()


@pytest.mark.parametrize("answer", [{}, status(200), page(kind="Table")], ids=["empty", "a Status", "a Table"])
async def test_an_answer_that_is_no_list_is_an_outage_never_an_empty_list(
    stub_kube: KubeClient, stub: Stub, answer: object
) -> None:
    stub.answer(200, answer)
    with pytest.raises(ApiUnavailable, match="kind"):
        await stub_kube.list_environments()


@pytest.mark.parametrize("name", ["../../victim/secrets/key", "..", "a/b", "key?x=y", "key#x"])
async def test_a_name_from_a_spec_cannot_leave_its_namespace(stub_kube: KubeClient, stub: Stub, name: str) -> None:
    stub.answer(404, status(404, "not found", name="any"))
    with pytest.raises((NotFound, Invalid)):
        await stub_kube.read_secret("mine", name)
    prefix = "/api/v1/namespaces/mine/secrets/"
    assert all(path.startswith(prefix) and "/" not in path[len(prefix) :] for _, path, *_ in stub.requests)
    assert all("?" not in path and path[len(prefix) :] != ".." for _, path, *_ in stub.requests)


CANARY = "AKIDcanary0123456789"


async def test_nothing_of_a_secret_reaches_a_log_or_an_error_at_any_level(
    stub_kube: KubeClient, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = base64.b64encode(CANARY.encode()).decode()
    body = {"kind": "Secret", "data": {"secretId": encoded}}
    stub.answer(200, body)
    assert await stub_kube.read_secret("ns", "key") == {"secretId": CANARY.encode()}
    for code, answer in [(200, json.dumps(body)[:-3]), (500, json.dumps(body)), (403, json.dumps(body))]:
        stub.answer(code, answer)
        with pytest.raises(KubeError) as raised:
            await stub_kube.read_secret("ns", "key")
        assert encoded not in repr(raised.value)
        assert raised.value.__cause__ is None
    assert CANARY not in caplog.text
    assert encoded not in caplog.text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON_VALUES, max_size=4)


def apply(patch: Any, target: Any) -> Any:
    """RFC 7386, section 2, as it stands there."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(value, result.get(key))
    return result


@given(old=OBJECTS, new=OBJECTS)
def test_a_merge_patch_makes_the_old_the_new_and_is_empty_when_they_are_one(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    old, wanted = apply(old, {}), apply(new, {})  # what an API server would have stored: no nulls in objects
    patch = merge_patch(old, new)
    assert apply(patch, old) == wanted
    assert (patch == {}) == (old == wanted)


NAMED = {"groups": [{"name": "apps"}, {"name": "spotcompute.dev"}]}


@pytest.mark.parametrize(
    "answers",
    [
        [(200, {"groups": []})],
        [(200, {"groups": [{"name": "apps"}]})],
        [(200, NAMED), (404, status(404))],
        [(200, NAMED), (200, {"resources": [{"name": "spotinstances"}]})],
        [(200, {})],
    ],
    ids=["no group", "other groups", "no version", "another kind", "an answer without groups"],
)
async def test_a_kind_that_discovery_does_not_name_is_not_served(
    stub_kube: KubeClient, stub: Stub, answers: list[tuple[int, object]]
) -> None:
    (code, body), *others = answers
    stub.answer(code, body, *others)
    with pytest.raises(NotServed):
        await stub_kube.check_served()


async def test_a_kind_that_discovery_names_is_served(stub_kube: KubeClient, stub: Stub) -> None:
    stub.answer(200, NAMED, (200, {"resources": [{"name": "spotcomputeenvironments"}]}))
    await stub_kube.check_served()
    assert [path for _, path, *_ in stub.requests] == ["/apis", "/apis/spotcompute.dev/v1alpha1"]
