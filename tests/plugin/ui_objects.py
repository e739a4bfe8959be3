"""Environments as the API server returns them, for the tests of the page; and a request without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.types import ASGIApp, Message

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def pool(
    zone: str = "ap-guangzhou-3", kind: str = "S5.MEDIUM4", state: str = "Available", **more: Any
) -> dict[str, Any]:
    prices = {"pricePerHour": "0.02", "onDemandPricePerHour": "0.1"}
    return {"zone": zone, "instanceType": kind, "state": state, "instances": 1} | prices | more


def instance(name: str = "ins-1", **more: Any) -> dict[str, Any]:
    where = {"zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "privateIP": "10.0.0.7"}
    return {"id": name, "state": "RUNNING", "ready": True, "launchedAt": "2027-01-15T07:00:00Z"} | where | more


def environment(name: str = "web", namespace: str = "jobs", **more: Any) -> dict[str, Any]:
    """One with two of two instances; `spec` and `status` are put over what it has."""
    spec = {"region": "ap-guangzhou", "replicas": 2, "placements": [{"zone": "ap-guangzhou-3"}]}
    status = {
        "observedGeneration": 1,
        "phase": "Ready",
        "reason": "AllReplicasReady",
        "replicas": 2,
        "readyReplicas": 2,
        "cost": {"perHour": "0.04", "onDemandPerHour": "0.2", "currency": "USD"},
        "pools": [pool()],
        "instances": [instance("ins-1"), instance("ins-2", privateIP="10.0.0.8")],
        "conditions": [condition("Ready", "True", "2 of 2 instances run")],
    }
    return {
        "apiVersion": "spotcompute.dev/v1alpha1",
        "kind": "SpotComputeEnvironment",
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}", "generation": 1},
        "spec": spec | more.get("spec", {}),
        "status": status | more.get("status", {}),
    }


def condition(kind: str, status: str, message: str = "", reason: str = "Because") -> dict[str, Any]:
    since = "2027-01-15T07:59:00Z"
    return {"type": kind, "status": status, "message": message, "reason": reason, "lastTransitionTime": since}


def large(number: int) -> dict[str, Any]:
    """One of a thousand, with everything that a busy one has: about 20 kB."""
    line = {
        "type": "Launch",
        "state": "Failed",
        "cause": "2 of 2 missing",
        "message": "sold out " * 20,
        "count": number,
    }
    return environment(
        f"env-{number:04d}",
        namespace=f"team-{number % 20}",
        status={
            "activities": [line | {"startTime": "2027-01-15T07:00:00Z"}] * 40,
            "instances": [
                instance(f"ins-{number}-{index}", privateIP=f"10.0.{number % 250}.{index}") for index in (1, 2)
            ],
            "pools": [pool(zone=f"ap-guangzhou-{index}") for index in range(10)],
            "ledger": {"members": ["x" * 4000]},
        },
    )


class Answer:
    """What the application answered."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status, self.headers, self.text = status, headers, text


async def ask(
    app: ASGIApp, path: str, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
) -> Answer:
    """Send one request to the application as its server would, a POST when there is a form."""
    url = urlsplit(path)
    body = urlencode(form or {}).encode()
    given = {"host": "127.0.0.1:9000"} | dict(headers or {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET" if form is None else "POST",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.path.encode(),
        "root_path": "",
        "query_string": url.query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 9000),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(part.get("body", b"") for part in sent[1:]).decode())
