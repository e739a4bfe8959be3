"""Nodes and requests for certificates are read as they are, and nothing that cannot be read is believed."""

from __future__ import annotations

import base64
from ipaddress import ip_address
from typing import Any

import pytest

from localcluster.certificates import new_request
from spotcompute.api.node_object import (
    approval_of,
    binding_of_node,
    certificate_request_of,
    cordon_of_node,
    node_of,
)
from spotcompute.model.node import CertificateUse, Node, Taint

METADATA = {"name": "ins-1", "uid": "u-1", "resourceVersion": "7", "labels": {"a": "b"}}


def node(**more: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": {}, "status": {}} | more


def requested(pem: bytes, signer: str = CertificateUse.CLIENT, **more: Any) -> dict[str, Any]:
    spec = {"signerName": signer, "request": base64.b64encode(pem).decode(), "username": "system:bootstrap:abc"}
    return {"metadata": {"name": "csr-1"}, "spec": spec | {"usages": ["client auth"]}} | more


def test_a_bare_node_is_not_ready_and_has_no_notice() -> None:
    assert node_of({"metadata": METADATA}) == Node("ins-1", "u-1", "7", labels={"a": "b"})


def test_a_node_shows_its_readiness_its_taints_and_its_notice() -> None:
    conditions = [
        {"type": "Ready", "status": "True"},
        {"type": "SpotInterruption", "status": "True", "message": "2026-11-30 20:00:00"},
    ]
    spec = {"providerID": "qcloud:///1/ins-1", "unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}]}
    seen = node_of(node(spec=spec, status={"conditions": conditions}))
    assert (seen.is_ready, seen.is_unschedulable, seen.notice) == (True, True, "2026-11-30 20:00:00")
    assert seen.instance_id == "ins-1"
    assert seen.taints == (Taint("k", "NoSchedule"),)


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_notice_that_was_taken_back_is_none(status: str) -> None:
    conditions = [{"type": "SpotInterruption", "status": status, "message": "x"}]
    assert node_of(node(status={"conditions": conditions})).notice is None


def test_a_change_of_a_node_holds_for_one_version_and_one_uid() -> None:
    seen = node_of(node())
    for change in (binding_of_node(seen, {"x": "y"}, ()), cordon_of_node(seen, (Taint("k", "NoSchedule", "v"),))):
        assert change["metadata"]["resourceVersion"] == "7"
        assert change["metadata"]["uid"] == "u-1"
    assert cordon_of_node(seen, (Taint("k", "NoExecute", "v"),))["spec"] == {
        "unschedulable": True,
        "taints": [{"key": "k", "effect": "NoExecute", "value": "v"}],
    }


def test_a_request_for_a_certificate_says_what_is_in_it() -> None:
    _, pem = new_request("system:node:ins-1", "system:nodes", ["ins-1"], [ip_address("10.0.0.1")])
    seen = certificate_request_of(requested(pem))
    assert seen is not None
    assert (seen.common_name, seen.organizations) == ("system:node:ins-1", ("system:nodes",))
    assert (seen.dns_names, seen.addresses) == ({"ins-1"}, {"10.0.0.1"})
    assert not seen.is_approved


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(requested(b"no request"), id="no PEM"),
        pytest.param(requested(b""), id="nothing"),
        pytest.param(requested(new_request("a", "b")[1], "example.org/signer"), id="another signer"),
        pytest.param(
            {"metadata": {"name": "x"}, "spec": {"signerName": CertificateUse.CLIENT, "request": "!"}}, id="!"
        ),
        pytest.param({"metadata": {"name": "x"}}, id="no spec"),
    ],
)
def test_what_cannot_be_read_is_no_request(broken: dict[str, Any]) -> None:
    assert certificate_request_of(broken) is None


def test_a_request_that_was_changed_after_it_was_signed_is_none() -> None:
    _, pem = new_request("system:node:ins-1", "system:nodes")
    body = bytearray(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
    body[body.index(b"ins-1")] = ord("j")
    forged = (
        b"-----BEGIN CERTIFICATE REQUEST-----\n"
        + base64.encodebytes(bytes(body))
        + b"-----END CERTIFICATE REQUEST-----\n"
    )
    assert certificate_request_of(requested(forged)) is None


def test_an_approval_keeps_what_others_have_written() -> None:
    obj = requested(new_request("a", "b")[1], status={"conditions": [{"type": "Other", "status": "True"}]})
    conditions = approval_of(obj, "because", "2026-11-30T12:00:00Z")["status"]["conditions"]
    assert [one["type"] for one in conditions] == ["Other", "Approved"]
    seen = certificate_request_of(approval_of(obj, "because", "2026-11-30T12:00:00Z"))
    assert seen is not None
    assert seen.is_approved
