"""Sets up one log for our lines and for those of libraries: one format, one level each, no secrets.

Apart from `__main__` because every command needs it, and because it must be known in one place what libraries log at
DEBUG (requests with their bodies, Secrets included).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: The root of our own loggers. All others belong to libraries and never log below INFO: at DEBUG kopf logs patches, the
#: Kubernetes client logs response bodies, and the cloud SDK logs requests with their signatures.
OURS = "spotcompute"

#: Libraries that log one INFO line per event or per probe.
QUIET = (
    "kopf.objects",
    "kopf.activities",
    "aiohttp.access",
    "kubernetes",
    "client",
    "urllib3",
    "tencentcloud_sdk_common",
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_NEWLINE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(
    level: str,
    style: str,
    *,
    stream: TextIO = sys.stderr,
    redact: Callable[[str], str] = lambda text: text,
) -> None:
    """Sends all logs to `stream`. `level` is that of our own lines, `style` is json or console. It may be called again.

    `redact` gets each finished line, tracebacks included, and returns the text that may be written.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _printable,
                _renderer(style, stream),
                _redactor(redact),
            ],
        )
    )
    handler.addFilter(_may_be_written)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _may_be_written(record: logging.LogRecord) -> bool:
    """True when the line is ours or at least INFO. A library may have set its own logger to DEBUG."""
    return record.levelno >= logging.INFO or record.name.partition(".")[0] == OURS


def _printable(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    """Replaces control characters by escapes.

    Names and messages from outside then cannot fake a line or move a cursor.
    """
    for key, value in line.items():
        line[key] = _escaped(value, _CONTROL_BUT_NEWLINE if key in ("exception", "stack") else _CONTROL)
    return line


def _escaped(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    if isinstance(value, Mapping):
        return {_escaped(key, pattern): _escaped(each, pattern) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped(each, pattern) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _escaped(str(value), pattern)


def _renderer(style: str, stream: TextIO) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    # Plain tracebacks, because the pretty ones print the values of local variables.
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _redactor(redact: Callable[[str], str]) -> Processor:
    def processor(logger: WrappedLogger, method: str, line: EventDict) -> str:
        return redact(str(line))  # after the renderer the "event dict" is the finished text

    return processor
