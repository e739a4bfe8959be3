"""A registered secret is cut out of any text, whatever it is wrapped in."""

from __future__ import annotations

import base64
import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.tencent.provider import TencentProviders
from spotcompute.settings import Settings
from spotcompute.telemetry import redaction
from spotcompute.telemetry.redaction import PLACEHOLDER, redact, register

SECRET = 'cAnaRy/+"key"=4711 é'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        urllib.parse.quote(SECRET),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.urlencode({"key": SECRET}),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        json.dumps({"deep": [SECRET]}),
    ],
)
def test_every_form_of_a_secret_is_cut_out(form: str) -> None:
    register(SECRET)
    clean = redact(f"before {form} after")
    assert PLACEHOLDER in clean
    assert "4711" not in clean
    assert form not in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


@pytest.mark.parametrize("offset", range(6))
def test_a_secret_inside_a_longer_base64_text_is_cut_out_at_any_offset(offset: int) -> None:
    register(SECRET)
    encoded = base64.b64encode(b"x" * offset + SECRET.encode() + b"tail").decode()
    left = redact(encoded).replace(PLACEHOLDER, "|")
    assert "|" in left
    assert len(left) <= len(encoded) - len(SECRET), "only the neighbours' characters are left"


def test_other_text_is_left_alone() -> None:
    register(SECRET)
    assert redact("nothing to see") == "nothing to see"


def test_what_is_too_short_to_be_a_secret_is_not_cut_out() -> None:
    register("abc", "", None)
    assert redact("abc") == "abc"


def test_the_longer_of_two_secrets_goes_whole() -> None:
    register("canary-one", "canary-one-and-more")
    assert redact("canary-one-and-more") == PLACEHOLDER


def test_the_registry_is_bounded_and_forgets_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms_by_value", {})
    monkeypatch.setattr(redaction, "MAX_VALUES", 2)
    register("canary-a", "canary-b")
    register("canary-a")
    register("canary-c")
    assert [redact(text) for text in ("canary-a", "canary-b", "canary-c")] == [PLACEHOLDER, "canary-b", PLACEHOLDER]


def test_the_key_of_every_provider_is_cut_out_of_logs() -> None:
    key = Credentials("AKIDwrittenNowhere4711", "secretWrittenNowhere4711", "tokenWrittenNowhere4711")
    with ThreadPoolExecutor(1) as executor:
        TencentProviders(Settings(), executor)(key, "ap-guangzhou")
    assert "WrittenNowhere" not in redact(f"{key.secret_id} {key.secret_key} {key.token}")
    assert "writtenNowhere" not in redact(key.secret_id)
