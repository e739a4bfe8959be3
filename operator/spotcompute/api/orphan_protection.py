"""Defines the part of the spec that ends instances whose operator is gone.

Apart from `lifetime`, because it is no time at which an environment ends, but how long it may be without an operator.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from spotcompute.api.schema import SpecPart, rule

#: The timers of retained instances would not be renewed.
ORPHAN_RULE = rule(
    "!has(self.orphanProtection) || !has(self.deletionPolicy) || self.deletionPolicy != 'Retain'",
    "orphanProtection ends instances that no operator looks after, and deletionPolicy Retain leaves such instances:"
    " remove one of the two",
)


class OrphanProtectionSpec(SpecPart):
    """`OrphanProtectionSpec` says how long instances outlive the operator."""

    after_seconds: int = Field(
        ge=900,
        le=2_592_000,
        description="How long instances outlive the operator at most, in seconds, 900 to 2592000: when it is gone, or"
        " cannot reach the cloud or the API server. Timers are renewed after each third of this time, so that a break"
        " of less than two thirds ends nothing.",
    )

    @property
    def after(self) -> timedelta:
        """Returns it as a duration."""
        return timedelta(seconds=self.after_seconds)
