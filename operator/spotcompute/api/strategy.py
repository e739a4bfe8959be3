"""Defines what the spec says of change: what becomes of instances that are not as it asks for now.

Apart from `spec`, which says what is wanted, because a change of this replaces nothing by itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import ConfigDict, Field

from spotcompute.api.schema import SpecPart, checked, rule
from spotcompute.model.desired import Rollout


class StrategySpec(SpecPart):
    """`StrategySpec` says how instances are replaced that differ from the spec."""

    model_config = ConfigDict(
        json_schema_extra=checked(
            rule(
                "self.maxSurge + self.maxUnavailable > 0",
                "with maxSurge 0 and maxUnavailable 0 nothing could ever be replaced: raise one of the two",
            ),
        )
    )

    type: Literal["OnDelete", "RollingUpdate"] = Field(
        default="OnDelete",
        description="OnDelete, the default: running instances stay as they are until they are lost, released, or too"
        " old by maxAgeSeconds. RollingUpdate: instances that differ from the spec in template, user data, type, zone,"
        " subnet or charge type are replaced, launch first.",
    )
    max_surge: int = Field(
        default=1,
        ge=0,
        le=100,
        description="How many instances may live beyond replicas while others are replaced. Default 1.",
    )
    max_unavailable: int = Field(
        default=0,
        ge=0,
        le=100,
        description="How many of replicas need not run while others are replaced. With 0 an instance goes only when its"
        " replacement runs. Default 0.",
    )
    pause_seconds: int = Field(
        default=0,
        ge=0,
        le=86_400,
        description="Pause after each replaced instance, in seconds, to see whether the new ones do their work. Default"
        " 0.",
    )

    def resolved(self, has_max_age: bool) -> Rollout | None:
        """Returns it as the operator's `Rollout`. None when nothing is replaced, not even what is too old."""
        only_aged = self.type == "OnDelete"
        if only_aged and not has_max_age:
            return None
        return Rollout(self.max_surge, self.max_unavailable, timedelta(seconds=self.pause_seconds), only_aged)


#: Rules of the whole spec about what is replaced, and what cannot be.
REPLACEMENT_RULES = (
    rule(
        "!has(self.gang) || ((!has(self.strategy) || self.strategy.type == 'OnDelete') && !has(self.maxAgeSeconds))",
        "a gang is of use only together, so its instances are not replaced one after the other: remove gang, or"
        " set strategy.type to OnDelete and remove maxAgeSeconds",
    ),
    rule(
        "!has(self.requestPolicy) || self.requestPolicy != 'OneTime' || ((!has(self.strategy)"
        " || self.strategy.type == 'OnDelete') && !has(self.maxAgeSeconds))",
        "requestPolicy OneTime replaces nothing: set strategy.type to OnDelete and remove maxAgeSeconds, or use"
        " Persistent",
    ),
    rule(
        "!has(self.strategy) || self.strategy.type == 'RollingUpdate' || has(self.maxAgeSeconds)"
        " || (self.strategy.maxSurge == 1 && self.strategy.maxUnavailable == 0"
        " && self.strategy.pauseSeconds == 0)",
        "strategy.maxSurge, maxUnavailable and pauseSeconds belong to type RollingUpdate and to maxAgeSeconds:"
        " set one of these, or remove them",
    ),
    rule(
        "!has(self.template.privateIpAddresses) || size(self.template.privateIpAddresses) == 0"
        " || !has(self.strategy) || (self.strategy.type == 'OnDelete' && !has(self.maxAgeSeconds))"
        " || self.strategy.maxSurge == 0",
        "template.privateIpAddresses names the address of one instance, so no second one can be launched before"
        " the first goes: set strategy.maxSurge to 0 and maxUnavailable to 1",
    ),
)
