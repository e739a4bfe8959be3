"""One format for our lines and those of libraries; nothing that misleads a reader or leaks."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from spotcompute.telemetry import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global: put back what was there."""
    root, ours = logging.getLogger(), logging.getLogger(logs.OURS)
    handlers, levels = root.handlers[:], (root.level, ours.level)
    named = {name: logging.getLogger(name).level for name in logs.QUIET}
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    for name, level in named.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_a_librarys_look_alike() -> None:
    stream = io.StringIO()
    logs.set_up("INFO", "json", stream=stream)
    structlog.get_logger("spotcompute.reconcile.reconciler").info("launched", environment="ns/web", count=2)
    logging.getLogger("kopf.reactor").warning("watch of %s failed", "environments")
    ours, library = lines(stream)
    assert ours.items() >= {"event": "launched", "level": "info", "environment": "ns/web", "count": 2}.items()
    assert library.items() >= {"event": "watch of environments failed", "level": "warning"}.items()
    assert ours.keys() - {"environment", "count"} == library.keys() == {"event", "level", "logger", "timestamp"}


@pytest.mark.parametrize("style", ["json", "console"])
def test_debug_is_ours_alone(style: str) -> None:
    """Other libraries print bodies of requests and answers at DEBUG."""
    stream = io.StringIO()
    logs.set_up("DEBUG", style, stream=stream)
    logging.getLogger("spotcompute.plan").debug("ours")
    for name in ("kopf._cogs.clients.patching", "kubernetes.client.rest", "client", "urllib3", "aiohttp", "asyncio"):
        logger = logging.getLogger(name)
        logger.debug("canary")
        logger.setLevel(logging.DEBUG)  # a library, or a person, that insists
        try:
            logger.debug("canary")
        finally:
            logger.setLevel(logging.NOTSET)
    assert "ours" in stream.getvalue()
    assert "canary" not in stream.getvalue()


def test_libraries_that_chatter_are_heard_from_warning_on() -> None:
    stream = io.StringIO()
    logs.set_up("DEBUG", "json", stream=stream)
    # The cloud's SDK is closed altogether once a provider has been made, here or in another test.
    audible = [name for name in logs.QUIET if name != "tencentcloud_sdk_common"]
    for name in audible:
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble")
    assert [line["event"] for line in lines(stream)] == ["trouble"] * len(audible)


EVIL = 'x\n{"level": "error", "event": "forged"}\r\x1b[2J\x1b[31mred\x9b0m\u2028y'


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("way", ["event", "field", "nested", "library", "argument"])
def test_what_comes_from_outside_can_forge_no_line_and_move_no_cursor(style: str, way: str) -> None:
    stream = io.StringIO()
    logs.set_up("INFO", style, stream=stream)
    log = structlog.get_logger("spotcompute.kube")
    {
        "event": lambda: log.info(EVIL),
        "field": lambda: log.info("said", message=EVIL),
        "nested": lambda: log.info("said", message={"deep": [EVIL]}),
        "library": lambda: logging.getLogger("kopf").error(EVIL),
        "argument": lambda: logging.getLogger("kopf").error("said %s", EVIL),
    }[way]()
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert not any(character in written for character in "\r\x1b\x9b\u2028")
    assert "forged" in written, "shown, as what it is"


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_is_kept_without_the_values_of_variables(style: str) -> None:
    stream = io.StringIO()
    logs.set_up("INFO", style, stream=stream)
    local_canary = "".join(["can", "ary"])
    try:
        raise RuntimeError("boom \x1b[2J")
    except RuntimeError as error:
        structlog.get_logger("spotcompute.x").error("failed", exc_info=error)
        logging.getLogger("kopf").exception("failed too")
    written = stream.getvalue()
    assert written.count("Traceback") == 2
    assert written.count("RuntimeError: boom") == 2
    assert local_canary not in written
    assert "\x1b" not in written


@pytest.mark.parametrize("style", ["json", "console"])
def test_redaction_sees_the_finished_line_tracebacks_included(style: str) -> None:
    stream = io.StringIO()
    logs.set_up("INFO", style, stream=stream, redact=lambda text: text.replace("s3cret", "[redacted]"))
    try:
        raise RuntimeError("s3cret")
    except RuntimeError as error:
        structlog.get_logger("spotcompute.x").error("s3cret", field="s3cret", deep={"a": "s3cret"}, exc_info=error)
        logging.getLogger("kopf").exception("with %s", "s3cret")
    assert "s3cret" not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") >= 5


def test_setting_up_twice_writes_each_line_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.set_up("INFO", "json", stream=first)
    logs.set_up("INFO", "json", stream=second)
    structlog.get_logger("spotcompute.x").info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1
