"""Converts times as Kubernetes writes them: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(8192)  # every status repeats the same launch times
def to_text(moment: datetime) -> str:
    """Returns the moment as `2026-11-23T04:05:06Z`. Fractions of a second are cut off."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """Returns the aware UTC moment of a Kubernetes timestamp. Raises ValueError when it is none."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
