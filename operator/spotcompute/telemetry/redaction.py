"""Removes secret values from logs and from messages of the cloud. It keeps a registry of these values.

Apart from `logs`, which passes every finished line through it (ours, the SDK's, kopf's), because code that reads a key
registers it and knows nothing of logging. It is the second wall: no code logs secrets on purpose.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from collections.abc import Iterator

PLACEHOLDER = "[redacted]"

#: Shortest value that is registered. Cutting every "abc" out of a log would destroy the log and protect nothing.
MIN_LENGTH = 6

#: Number of values kept. The oldest goes first, because temporary keys rotate for as long as the process lives.
MAX_VALUES = 20_000

_lock = threading.Lock()
_forms_by_value: dict[str, tuple[str, ...]] = {}


def register(*values: str | None) -> None:
    """Registers `values`, so that they are cut out of every log from now on, in every form.

    Empty values are ignored.
    """
    with _lock:
        for value in values:
            if value is None or len(value) < MIN_LENGTH:
                continue
            forms = _forms_by_value.pop(value, None) or tuple(sorted(set(_forms(value)), key=len, reverse=True))
            _forms_by_value[value] = forms
        while len(_forms_by_value) > MAX_VALUES:
            del _forms_by_value[next(iter(_forms_by_value))]


def redact(text: str) -> str:
    """Returns `text` with every form of every registered value replaced by ``[redacted]``."""
    with _lock:
        known = [form for forms in _forms_by_value.values() for form in forms if form in text]
    for form in sorted(known, key=len, reverse=True):
        text = text.replace(form, PLACEHOLDER)
    return text


def _forms(value: str) -> Iterator[str]:
    """Yields the forms of `value` in logs: as it is, in JSON, in a URL, in base64 at any offset of the encoded text."""
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
    """Returns the characters that do not depend on the bytes before and after the `length` bytes at `offset`."""
    first = -(-offset * 8 // 6)
    last = (offset + length) * 8 // 6
    return encoded[first:last]
