"""No secret leaves through a log or a message of the cloud: a registry of secret values, and what cuts them out.

Separate from `logs`, which has every finished line go through it (ours, the SDK's, kopf's), because whoever takes up a
key registers it, and knows nothing of logging. It is the second wall: nothing here logs secrets on purpose, this is for
the day somebody does.
"""

from __future__ import annotations

import base64
import json
import threading
import urllib.parse
from collections.abc import Iterator

PLACEHOLDER = "[redacted]"

#: Shorter values are not registered: cutting every "abc" out of a log destroys the log, and guards nothing.
MIN_LENGTH = 6

#: Values kept; the one registered longest ago goes first. Temporary keys rotate for as long as the process lives.
MAX_VALUES = 20_000

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
