"""A Secret in use is protected once, and tried again only when nobody has said no."""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import pytest

from plan.given import NOW
from spotcompute.api.template import TemplateSpec
from spotcompute.cloud.credentials import Credentials
from spotcompute.kube.client import files_of
from spotcompute.kube.port import ApiUnavailable, Forbidden, Invalid, KubeError, KubePort, NotFound, SecretData
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


@dataclass
class Vault:
    """One Secret that people change, delete and lock; `reads` counts how often its data was asked for."""

    data: dict[str, bytes] = field(default_factory=lambda: {"secretId": b"AKIDone", "secretKey": b"k"})
    trouble: KubeError | None = None
    is_going: bool = False
    reads: int = 0
    protected: list[str] = field(default_factory=list)
    now: datetime = NOW

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        self.reads += 1
        if self.trouble is not None:
            raise self.trouble
        found = SecretData(self.data)
        found.is_going = self.is_going
        return found

    async def secret_version(self, namespace: str, name: str) -> str:
        if self.trouble is not None:
            raise self.trouble
        return str(self.data)

    async def protect_secret(self, namespace: str, name: str) -> None:
        self.protected.append(name)

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        if self.trouble is not None:
            raise self.trouble

    def sources(self, default: Credentials | None = None) -> Sources:
        return Sources(cast(KubePort, self), default, lambda: self.now)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


async def test_a_key_is_kept_for_half_a_minute_and_a_new_one_is_used_then() -> None:
    vault = Vault()
    sources = vault.sources()
    assert await sources.credentials("ns", "key") == Credentials("AKIDone", "k")
    vault.data = {"secretId": b"AKIDtwo", "secretKey": b"k", "token": b"t"}
    vault.later(29)
    assert (await sources.credentials("ns", "key")).secret_id == "AKIDone"
    vault.later(1)
    assert await sources.credentials("ns", "key") == Credentials("AKIDtwo", "k", "t")
    assert vault.reads == 2


async def test_a_role_goes_with_the_key_of_its_own_environment_alone() -> None:
    sources = Vault().sources()
    assert await sources.credentials("ns", "key", "qcs::cam::uin/1:roleName/a") == Credentials(
        "AKIDone", "k", role_arn="qcs::cam::uin/1:roleName/a"
    )
    assert await sources.credentials("ns", "key") == Credentials("AKIDone", "k")


async def test_without_a_secret_the_key_of_the_installation_is_used_or_missed() -> None:
    default = Credentials("AKIDinstall", "k")
    assert await Vault().sources(default).credentials("ns", None) is default
    with pytest.raises(SourceUnavailable, match=r"spec\.credentialsSecretRef is not set"):
        await Vault().sources().credentials("ns", None)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        pytest.param(NotFound("no"), "Secret key does not exist in this namespace: create it", id="missing"),
        pytest.param(Forbidden("no"), "Secret key", id="forbidden"),
    ],
)
async def test_a_secret_that_cannot_be_read_is_told_unless_its_environment_is_being_deleted(
    trouble: KubeError, says: str
) -> None:
    vault = Vault()
    sources = vault.sources()
    known = await sources.credentials("ns", "key")
    vault.trouble = trouble
    vault.later(60)
    with pytest.raises(SourceUnavailable, match=says):
        await sources.credentials("ns", "key")
    assert await sources.credentials("ns", "key", is_deleting=True) == known
    with pytest.raises(SourceUnavailable, match=says):
        await vault.sources().credentials("ns", "key", is_deleting=True)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        pytest.param({"secretKey": b"k"}, "secretId", id="no-id"),
        pytest.param({"secretId": b"AKIDone"}, "secretKey", id="no-key"),
        pytest.param({"secretId": b"AKIDone", "secretKey": b""}, "secretKey", id="an-empty-key"),
        pytest.param({"secretId": b"AKID one", "secretKey": b"k"}, "secretId", id="a-space-in-it"),
        pytest.param(
            {"secretId": b"AKIDone", "secretKey": b"k", "token": b"\xff"}, "token", id="a-token-that-is-no-text"
        ),
        pytest.param({"secretId": b"AKIDone", "secretKey": b"\xff"}, "secretKey", id="no-text"),
    ],
)
async def test_a_broken_secret_is_told_by_the_entry_and_never_by_its_value(data: dict[str, bytes], names: str) -> None:
    with pytest.raises(SourceUnavailable, match=names) as told:
        await Vault(data).sources().credentials("ns", "key")
    assert "AKID" not in str(told.value)


async def test_a_line_end_after_a_key_does_no_harm() -> None:
    data = {"secretId": b"AKIDone\n", "secretKey": b" k\r\n", "token": b"\n"}
    assert await Vault(data).sources().credentials("ns", "key") == Credentials("AKIDone", "k")


async def test_who_has_deleted_a_secret_in_use_is_told_until_another_has_its_name() -> None:
    vault = Vault()
    sources = vault.sources()
    assert sources.kept_from_deletion("ns", "key") is None, "nobody has read it yet"
    await sources.credentials("ns", "key")
    await sources.protect("ns", "key")
    assert sources.kept_from_deletion("ns", "key") is None
    vault.is_going = True
    vault.later(60)
    await sources.credentials("ns", "key")
    assert "Secret key has been deleted, and is kept" in (sources.kept_from_deletion("ns", "key") or "")
    assert sources.kept_from_deletion("ns", "other") is None
    assert sources.kept_from_deletion("ns", None) is None
    await sources.protect("ns", "key")
    assert vault.protected == ["key"]
    vault.is_going = False
    vault.later(60)
    await sources.credentials("ns", "key")
    assert sources.kept_from_deletion("ns", "key") is None
    await sources.protect("ns", "key")
    assert vault.protected == ["key", "key"], "the new one is protected too"


async def test_a_refused_key_stays_refused_until_the_cloud_has_another_one() -> None:
    vault = Vault()
    sources = vault.sources()
    assert sources.distrust("ns", "key"), "nothing is known of it"
    await sources.credentials("ns", "key")
    assert sources.distrust("ns", "key")
    await sources.credentials("ns", "key")
    assert (vault.reads, sources.distrust("ns", "key")) == (2, False), "the same key again is no news"
    vault.data["secretId"] = b"AKIDtwo"
    vault.later(35)
    assert (await sources.credentials("ns", "key")).secret_id == "AKIDtwo"
    assert sources.distrust("ns", "key"), "of a new key it is news"


async def test_an_api_server_that_fails_while_a_refused_key_is_compared_is_asked_again_at_once() -> None:
    vault = Vault()
    sources = vault.sources()
    await sources.credentials("ns", "key")
    sources.distrust("ns", "key")
    await sources.credentials("ns", "key")
    vault.later(36)
    vault.trouble, vault.data["secretId"] = ApiUnavailable("away"), b"AKIDtwo"
    with pytest.raises(ApiUnavailable):
        await sources.credentials("ns", "key")
    vault.trouble = None
    assert (await sources.credentials("ns", "key")).secret_id == "AKIDtwo"


@pytest.mark.parametrize("refusal", [Forbidden("no right"), Invalid("no policy")])
async def test_a_protection_that_cannot_be_lifted_keeps_nobody(refusal: KubeError) -> None:
    vault = Vault()
    sources = vault.sources()
    await sources.unprotect("ns", None)
    vault.trouble = refusal
    await sources.unprotect("ns", "key")
    vault.trouble = ApiUnavailable("away")
    with pytest.raises(ApiUnavailable):
        await sources.unprotect("ns", "key")


@pytest.mark.parametrize(
    ("size", "fits"), [pytest.param(16 * 1024, True, id="16-KiB"), pytest.param(16 * 1024 + 1, False, id="one-more")]
)
async def test_user_data_may_have_16_kib(size: int, fits: bool) -> None:
    template = TemplateSpec.model_validate(
        {"imageId": "img-1", "userDataFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    )
    vault = Vault({"k": b"#" * size})
    if fits:
        data = await vault.sources().user_data("ns", template)
        assert data is not None
        assert data.digest == hashlib.sha256(b"#" * size).hexdigest()[:12]
        return
    with pytest.raises(SourceUnavailable, match="is 16385 bytes, more than 16 KiB"):
        await vault.sources().user_data("ns", template)


async def test_without_user_data_there_is_none_and_a_missing_entry_is_told() -> None:
    plain = TemplateSpec.model_validate({"imageId": "img-1"})
    assert await Vault().sources().user_data("ns", plain) is None
    reference = {"imageId": "img-1", "userDataFrom": {"secretKeyRef": {"name": "boot", "key": "ud"}}}
    with pytest.raises(SourceUnavailable, match="Secret boot has no key ud"):
        await Vault().sources().user_data("ns", TemplateSpec.model_validate(reference))
