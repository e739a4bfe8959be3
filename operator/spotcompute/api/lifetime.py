"""Defines the part of the spec that says how long an environment and its instances live.

Apart from `api.spec` because it is about time alone, and other parts have moments too.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from spotcompute.api.orphan_protection import OrphanProtectionSpec
from spotcompute.api.schema import SpecPart, rule
from spotcompute.api.times import from_text
from spotcompute.model.desired import Runs


def _moment(text: str) -> str:
    """Checks a time again, because a stored object may be older than the rule."""
    try:
        from_text(text)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-12-24T18:00:00Z") from None
    return text


#: A time as Kubernetes writes it.
Moment = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_moment)]


#: How often each piece of work is tried on average, where the spec does not say it.
ATTEMPTS = 5

#: What cannot be asked for of work that ends. They are checked on the whole spec.
STOP_RULES = (
    rule(
        "self.onStop != 'Release' || self.requestPolicy == 'OneTime'",
        "onStop Release is for work that is done once: set requestPolicy to OneTime, or onStop to Replace",
    ),
    rule(
        "!has(self.maxAttempts) || self.onStop == 'Release'",
        "maxAttempts bounds how often lost work is begun anew, which is done with onStop Release alone: set that, or"
        " remove maxAttempts",
    ),
)


class Lifetime(SpecPart):
    """`Lifetime` says when an environment expires, by one of two fields at most, how old its instances become, and what
    it means that one stops.
    """

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

    on_stop: Literal["Replace", "Release"] = Field(
        default="Replace",
        description="What it means that an instance stops. Replace, the default: it is of no use any more. It is ended,"
        " and another one takes its place unless requestPolicy is OneTime. Release, with requestPolicy OneTime: each of"
        " replicas works until it powers itself off, and is done then. It is ended, and counted in status.finished;"
        " what is missing or lost before is asked for again, with waits but without end, up to maxAttempts. When all"
        " are done, the phase is Succeeded. One that a person or another program stops counts as lost.",
    )
    max_attempts: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="With onStop Release: at most so many times replicas instances are launched in all; then the phase"
        " is Failed. A change of the spec begins to count anew. Left out: 5.",
    )

    @property
    def ends_once(self) -> bool:
        """True when each instance works until it powers itself off."""
        return self.on_stop == "Release"

    def runs(self, replicas: int) -> Runs | None:
        """Returns how many machines are to work to their end. None when none is."""
        return Runs(replicas, self.max_attempts or ATTEMPTS) if self.ends_once else None

    orphan_protection: OrphanProtectionSpec | None = Field(
        default=None,
        description="Instances end by themselves when no operator looks after them any more: the cloud keeps a timer"
        " for each, and the operator renews it. Left out: they run on, and cost money, until they are ended by hand.",
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
