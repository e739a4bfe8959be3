"""A Secret in use is protected once, and tried again only when nobody has said no."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest

from plan.given import NOW
from spotcompute.api.template import TemplateSpec
from spotcompute.kube.client import files_of
from spotcompute.kube.port import ApiUnavailable, Forbidden, Invalid, KubeError, KubePort
from spotcompute.kube.sources import Sources, SourceUnavailable, user_data_of
from spotcompute.telemetry.redaction import redact


@dataclass
class Secrets:
    """Which Secrets are protected; `trouble` is raised, in turn, before any of them is."""

    protected: list[str] = field(default_factory=list)
    trouble: list[KubeError] = field(default_factory=list)

    async def protect_secret(self, namespace: str, name: str) -> None:
        if self.trouble:
            raise self.trouble.pop(0)
        self.protected.append(name)

    async def read_secret(self, namespace: str, name: str) -> dict[str, bytes]:
        raise self.trouble.pop(0)

    read_config_map = unprotect_secret = read_secret


def sources_of(secrets: Secrets) -> Sources:
    return Sources(cast(KubePort, secrets), None, lambda: NOW)


async def test_a_secret_is_protected_once() -> None:
    secrets = Secrets()
    sources = sources_of(secrets)
    await sources.protect("ns", "key")
    await sources.protect("ns", "key")
    assert secrets.protected == ["key"]


async def test_an_api_server_that_was_away_is_asked_again() -> None:
    secrets = Secrets(trouble=[ApiUnavailable("away")])
    sources = sources_of(secrets)
    with pytest.raises(ApiUnavailable):
        await sources.protect("ns", "key")
    await sources.protect("ns", "key")
    assert secrets.protected == ["key"]


@pytest.mark.parametrize("refusal", [Forbidden("no right"), Invalid("no policy")])
async def test_where_it_is_refused_it_is_tried_once_and_nothing_fails(refusal: KubeError) -> None:
    secrets = Secrets(trouble=[refusal])
    sources = sources_of(secrets)
    await sources.protect("ns", "key")
    await sources.protect("ns", "key")
    assert secrets.protected == []


@dataclass
class Scripts:
    """One Secret that holds user data."""

    raw: bytes

    async def read_secret(self, namespace: str, name: str) -> dict[str, bytes]:
        return {"script": self.raw}


async def test_what_is_no_name_at_all_is_said_to_be_wrong_and_keeps_nobody() -> None:
    """The schema refuses it, and may not have always done so: then the API server answers 400."""
    sources = sources_of(Secrets(trouble=[Invalid('Name parameter invalid: "a%2fb"') for _ in range(4)]))
    with pytest.raises(SourceUnavailable, match=r"Secret a%2fb cannot be asked for: correct the name"):
        await sources.credentials("ns", "a%2fb")
    for kind in ("secretKeyRef", "configMapKeyRef"):
        template = TemplateSpec.model_validate(
            {"imageId": "img-1", "userDataFrom": {kind: {"name": "a%2fb", "key": "k"}}}
        )
        with pytest.raises(SourceUnavailable, match="correct the name"):
            await sources.user_data("ns", template)
    await sources.unprotect("ns", "a%2fb")


async def test_user_data_of_a_secret_is_cut_out_of_every_log() -> None:
    raw = b"#!/bin/sh\nexport TOKEN=canary-in-user-data\n"
    sources = Sources(cast(KubePort, Scripts(raw)), None, lambda: NOW)
    reference = {"secretKeyRef": {"name": "boot", "key": "script"}}
    template = TemplateSpec.model_validate({"imageId": "img-1", "userDataFrom": reference})
    data = await sources.user_data("ns", template)
    assert data is not None
    assert data.encoded == base64.b64encode(raw).decode()
    assert redact(f"sent {raw.decode()}, as {data.encoded}") == "sent [redacted], as [redacted]"
    assert data.encoded not in repr(data)


@dataclass
class Changing:
    """One Secret, whose key and version change together; `asked` counts what was asked for."""

    key: str = "AKIDfirst"
    asked: list[str] = field(default_factory=list)
    now: datetime = NOW

    async def read_secret(self, namespace: str, name: str) -> dict[str, bytes]:
        self.asked.append("data")
        return {"secretId": self.key.encode(), "secretKey": b"k"}

    async def secret_version(self, namespace: str, name: str) -> str:
        self.asked.append("version")
        return self.key

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        pass

    async def hour(self, sources: Sources, environments: int) -> None:
        for second in range(0, 3600, 20 // environments):
            self.now = NOW + timedelta(seconds=second)
            await sources.credentials("ns", "key")


@pytest.mark.parametrize("environments", [1, 20])
async def test_a_refused_key_is_read_again_once_and_then_only_compared(environments: int) -> None:
    secret = Changing()
    sources = Sources(cast(KubePort, secret), None, lambda: secret.now)
    await sources.credentials("ns", "key")
    assert sources.distrust("ns", "key"), "that is news"
    assert not sources.distrust("ns", "key")
    secret.asked.clear()
    await secret.hour(sources, environments)
    assert secret.asked.count("data") == 1
    assert secret.asked.count("version") <= 120
    secret.key = "AKIDsecond"
    secret.now += timedelta(seconds=40)
    assert (await sources.credentials("ns", "key")).secret_id == "AKIDsecond"


async def test_keys_that_nobody_asks_for_are_let_go() -> None:
    secret = Changing()
    sources = Sources(cast(KubePort, secret), None, lambda: secret.now)
    await sources.credentials("gone", "key")
    await sources.credentials("released", "key")
    await sources.unprotect("released", "key")
    secret.now += timedelta(hours=3)
    await sources.credentials("ns", "key")
    assert list(sources._cache) == [("ns", "key")]


@dataclass
class Packed:
    """One ConfigMap, as the client reads it."""

    found: dict[str, bytes]

    async def read_config_map(self, namespace: str, name: str) -> dict[str, bytes]:
        return self.found


async def test_compressed_user_data_of_a_config_map_is_sent_as_it_is() -> None:
    raw = gzip.compress(b"#cloud-config\n", mtime=0)
    config_map = {"data": {"note": "schön"}, "binaryData": {"ud": base64.b64encode(raw).decode()}}
    found = files_of(config_map)
    assert found == {"note": "schön".encode(), "ud": raw}
    sources = Sources(cast(KubePort, Packed(found)), None, lambda: NOW)
    reference = {"configMapKeyRef": {"name": "boot", "key": "ud"}}
    template = TemplateSpec.model_validate({"imageId": "img-1", "userDataFrom": reference})
    data = await sources.user_data("ns", template)
    assert data is not None
    assert base64.b64decode(data.encoded) == raw
    assert data.hint is None


ENCODED = base64.b64encode(b"#cloud-config\npackages:\n" + b"  - a-package\n" * 10).decode()


@pytest.mark.parametrize(
    ("text", "is_suspicious"),
    [
        pytest.param("I2Nsb3VkLWNvbmZpZwo=", True, id="base64-of-cloud-config"),
        pytest.param(base64.b64encode(b"#!/bin/sh\nreboot\n").decode() + "\n", True, id="base64-of-a-script"),
        pytest.param("\n".join(ENCODED[at : at + 76] for at in range(0, len(ENCODED), 76)), True, id="in-lines"),
        pytest.param(base64.b64encode(gzip.compress(b"#!/bin/sh\n")).decode(), True, id="base64-of-gzip"),
        pytest.param(base64.b64encode(b"<powershell>\n").decode(), True, id="base64-of-powershell"),
        pytest.param("#cloud-config\n", False, id="cloud-config"),
        pytest.param("#!/bin/sh\necho I2Nsb3VkLWNvbmZpZwo=\n", False, id="a-script-with-base64-in-it"),
        pytest.param("role", False, id="a-word"),
        pytest.param("", False, id="nothing"),
        pytest.param(base64.b64encode(b"token of a program").decode(), False, id="base64-of-something-else"),
    ],
)
async def test_what_is_base64_already_is_noticed(text: str, is_suspicious: bool) -> None:
    template = TemplateSpec.model_validate({"imageId": "img-1", "userData": text})
    data = await user_data_of(cast(KubePort, None), "ns", template)
    assert data is not None
    assert bool(data.hint) == is_suspicious
    assert base64.b64decode(data.encoded) == text.encode()  # whatever it looks like, it is sent as it is
