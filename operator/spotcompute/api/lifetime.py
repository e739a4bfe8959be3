"""Defines the part of the spec that says how long an environment and its instances live.

Apart from `api.spec` because it is about time alone, and other parts have moments too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from spotcompute.api.schema import SpecPart
from spotcompute.api.times import from_text


def _moment(text: str) -> str:
    """Checks a time again, because a stored object may be older than the rule."""
    try:
        from_text(text)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-12-24T18:00:00Z") from None
    return text


#: A time as Kubernetes writes it.
Moment = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_moment)]


class Lifetime(SpecPart):
    """`Lifetime` says when an environment expires, by one of two fields at most, and how old its instances become."""

    expires_at: Moment | None = Field(
        default=None,
        description="From this moment on, such as 2026-12-24T18:00:00Z, all instances are released and none is"
        " launched; the object stays, with phase Expired. A later time brings them back. While paused nothing is"
        " released. Left out: never.",
    )
    ttl_seconds: int | None = Field(
        default=None,
        ge=60,
        le=315_360_000,
        description="How long the environment has instances, in seconds since its object was created; then it expires"
        " as with expiresAt. Give either of the two. Left out: for ever.",
    )

    max_age_seconds: int | None = Field(
        default=None,
        ge=600,
        le=315_360_000,
        description="How old an instance may become, in seconds. Before that it is replaced as strategy says of a"
        " roll-out: launch first, within maxSurge and maxUnavailable, whatever the type of strategy. Each instance is"
        " due up to a tenth of the time sooner, so that not all of one launch go together. Left out: instances become"
        " as old as they will.",
    )

    @property
    def max_age(self) -> timedelta | None:
        """Returns how old an instance may become. None when it may become of any age."""
        return None if self.max_age_seconds is None else timedelta(seconds=self.max_age_seconds)

    def expires(self, created_at: datetime) -> datetime | None:
        """Returns when an environment expires whose object was created at that time. None when it never does."""
        if self.expires_at is not None:
            return from_text(self.expires_at)
        return None if self.ttl_seconds is None else created_at + timedelta(seconds=self.ttl_seconds)
