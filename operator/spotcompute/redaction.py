"""No secret leaves through a log: a registry of secret values, and the filters that cut them out of every record.

Separate from logging's set-up because it must work for loggers we do not own (the SDK, urllib3, kopf), whatever
their level. It is the second wall: nothing here logs secrets on purpose, this is for the day somebody does.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import traceback
import urllib.parse
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

PLACEHOLDER = "[redacted]"

#: Shorter values are not registered: cutting every "abc" out of a log destroys the log, and guards nothing.
MIN_LENGTH = 6

#: Values kept; the one registered longest ago goes first. Temporary keys rotate for as long as the process lives.
MAX_VALUES = 20_000

#: Fields of a record that come from the program's text or the machine, never from what is logged.
_CODE_ONLY = frozenset(logging.makeLogRecord({}).__dict__) - {"msg", "args", "exc_text", "stack_info"}

_lock = threading.Lock()
_forms_by_value: dict[str, tuple[str, ...]] = {}


def register(*values: str | None) -> None:
    """Have `values` cut out of every log from now on, in each form they may appear in. Empty ones are ignored."""
    with _lock:
        for value in values:
            if value is None or len(value) < MIN_LENGTH:
                continue
            forms = _forms_by_value.pop(value, None) or tuple(sorted(set(_forms(value)), key=len, reverse=True))
            _forms_by_value[value] = forms
        while len(_forms_by_value) > MAX_VALUES:
            del _forms_by_value[next(iter(_forms_by_value))]


def redact(text: str) -> str:
    """`text` with every form of every registered value replaced by ``[redacted]``."""
    with _lock:
        known = [form for forms in _forms_by_value.values() for form in forms if form in text]
    for form in sorted(known, key=len, reverse=True):
        text = text.replace(form, PLACEHOLDER)
    return text


def redact_processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact a structlog event, keys and values at any depth; place it after the processor that formats exceptions."""
    return {redact(key): _redact_value(value) for key, value in event.items()}


class RedactingFilter(logging.Filter):
    """Redacts every record that passes a handler: message with its arguments, traceback, stack and extra fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without its secrets."""
        if not isinstance(record.msg, Mapping):
            record.msg, record.args = _rendered(record), None
        if record.exc_info and record.exc_info[0] is not None:
            # Rendered here, once: a formatter that finds `exc_text` prints it as it is.
            record.exc_text = record.exc_text or "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            record.exc_info = None
        for name in record.__dict__.keys() - _CODE_ONLY:
            record.__dict__[name] = _redact_value(record.__dict__[name])
        return True


def _rendered(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit their format would be printed raw by logging's own error report.
        return f"{record.msg} {record.args!r}"


def _redact_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {_redact_value(key): _redact_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_redact_value(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    # Any other object is printed by its repr, and left alone when that is clean.
    shown = repr(value)
    clean = redact(shown)
    return value if clean == shown else clean


def _forms(value: str) -> Iterator[str]:
    """How `value` may stand in a log: as it is, in JSON, in a URL, in base64 at any offset of the encoded text."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield urllib.parse.quote(value, safe="")
    yield urllib.parse.quote(value)
    yield urllib.parse.quote_plus(value)
    raw = value.encode()
    yield base64.b64encode(raw).decode()
    yield base64.urlsafe_b64encode(raw).decode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            yield _base64_core(encode(b"\0" * offset + raw).decode(), offset, len(raw))


def _base64_core(encoded: str, offset: int, length: int) -> str:
    """The characters that do not depend on what stands before or after the `length` bytes at `offset`."""
    first = -(-offset * 8 // 6)
    last = (offset + length) * 8 // 6
    return encoded[first:last]
