"""A registered secret never reaches a handler's output, whatever it is wrapped in."""

from __future__ import annotations

import base64
import io
import json
import logging
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from spotcompute import redaction
from spotcompute.redaction import PLACEHOLDER, RedactingFilter, redact, redact_processor, register

SECRET = 'cAnaRy/+"key"=4711 é'


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    register(SECRET)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s", defaults={"extra": ""}))
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("test.redaction")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)


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


def test_message_and_arguments(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.warning("with %s and %r and %(%s", SECRET, {"key": SECRET}, "x")
    logger.warning("plain " + SECRET)
    logger.warning("%s", SECRET)
    assert "4711" not in stream.getvalue()
    assert stream.getvalue().count(PLACEHOLDER) >= 3


def test_a_traceback_with_its_causes(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise RuntimeError(f"again {SECRET}") from error
    except RuntimeError:
        logger.exception("failed")
    assert "RuntimeError: again [redacted]" in stream.getvalue()
    assert "ValueError: [redacted]" in stream.getvalue()
    assert "4711" not in stream.getvalue()


def test_extra_fields(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.warning("x", extra={"extra": {"headers": [("Authorization", SECRET)]}})
    assert "Authorization" in stream.getvalue()
    assert "4711" not in stream.getvalue()


def test_the_record_keeps_its_level_and_place(log: tuple[logging.Logger, io.StringIO]) -> None:
    record = logging.LogRecord("n", logging.ERROR, "file.py", 7, "%d items", (3,), None)
    assert RedactingFilter().filter(record)
    assert (record.getMessage(), record.levelno, record.lineno, record.filename) == (
        "3 items",
        logging.ERROR,
        7,
        "file.py",
    )


def test_a_structlog_event_at_any_depth() -> None:
    register(SECRET)

    class Holder:
        def __repr__(self) -> str:
            return f"<Holder {SECRET}>"

    event = redact_processor(
        None, "info", {"event": SECRET, "n": 3, "deep": {"list": [SECRET, (SECRET, None)]}, "object": Holder()}
    )
    assert "4711" not in repr(event)
    assert (event["event"], event["n"]) == (PLACEHOLDER, 3)


def test_structlog_renders_no_secret_through_the_processor(capsys: pytest.CaptureFixture[str]) -> None:
    register(SECRET)
    processors: list[Any] = [
        structlog.processors.format_exc_info,
        redact_processor,
        structlog.processors.JSONRenderer(),
    ]
    logger = structlog.wrap_logger(structlog.PrintLogger(), processors=processors)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("failed", key=SECRET)
    out = capsys.readouterr().out
    assert json.loads(out)["key"] == PLACEHOLDER
    assert "4711" not in out


def test_the_registry_is_bounded_and_forgets_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_forms_by_value", {})
    monkeypatch.setattr(redaction, "MAX_VALUES", 2)
    register("canary-a", "canary-b")
    register("canary-a")
    register("canary-c")
    assert [redact(text) for text in ("canary-a", "canary-b", "canary-c")] == [PLACEHOLDER, "canary-b", PLACEHOLDER]
