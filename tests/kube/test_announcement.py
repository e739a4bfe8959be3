"""The announcement of what is watched: written once at the start, made when missing, and never a reason to stop."""

from __future__ import annotations

import json

from kube.stub import Stub
from spotcompute.kube.announcement import announce
from spotcompute.kube.connection import Connection

ANNOTATIONS = {"spotcompute.dev/watches": "a,b", "spotcompute.dev/version": "1.2"}
GONE = {"kind": "Status", "message": "not found", "details": {"name": "spotcompute-accounts"}}


async def test_it_is_merged_into_what_is_there(stub: Stub, stub_connection: Connection) -> None:
    stub.answer(200, {})
    await announce(stub_connection, "home", ("a", "b"), "1.2")
    ((method, path, _, body),) = stub.requests
    assert (method, path.partition("?")[0]) == ("PATCH", "/api/v1/namespaces/home/configmaps/spotcompute-accounts")
    assert json.loads(body) == {"metadata": {"annotations": ANNOTATIONS}}


async def test_it_is_made_when_it_is_not_there(stub: Stub, stub_connection: Connection) -> None:
    stub.answer(404, GONE, (201, {}))
    await announce(stub_connection, "home", (), "1.2")
    assert [request[0] for request in stub.requests] == ["PATCH", "POST"]
    assert json.loads(stub.requests[1][3])["metadata"]["annotations"]["spotcompute.dev/watches"] == "*"


async def test_without_the_right_nothing_happens(stub: Stub, stub_connection: Connection) -> None:
    stub.answer(403, {"kind": "Status", "message": "forbidden"})
    await announce(stub_connection, "home", ("a",), "1.2")
    assert len(stub.requests) == 1
