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
                "self.type == 'RollingUpdate' || (self.maxSurge == 1 && self.maxUnavailable == 0"
                " && self.pauseSeconds == 0)",
                "maxSurge, maxUnavailable and pauseSeconds belong to type RollingUpdate: set it, or remove them",
            ),
            rule(
                "self.maxSurge + self.maxUnavailable > 0",
                "with maxSurge 0 and maxUnavailable 0 nothing could ever be replaced: raise one of the two",
            ),
        )
    )

    type: Literal["OnDelete", "RollingUpdate"] = Field(
        default="OnDelete",
        description="OnDelete, the default: running instances stay as they are until they are lost or released."
        " RollingUpdate: instances that differ from the spec in template, user data, type, zone, subnet or charge type"
        " are replaced, launch first.",
    )
    max_surge: int = Field(
        default=1,
        ge=0,
        le=100,
        description="How many instances may live beyond replicas during a roll-out. Default 1.",
    )
    max_unavailable: int = Field(
        default=0,
        ge=0,
        le=100,
        description="How many of replicas need not run during a roll-out. With 0 an instance goes only when its"
        " replacement runs. Default 0.",
    )
    pause_seconds: int = Field(
        default=0,
        ge=0,
        le=86_400,
        description="Pause after each replaced instance, in seconds, to see whether the new ones do their work. Default"
        " 0.",
    )

    def resolved(self) -> Rollout | None:
        """Returns it as the operator's `Rollout`. None when nothing is replaced."""
        if self.type == "OnDelete":
            return None
        return Rollout(self.max_surge, self.max_unavailable, timedelta(seconds=self.pause_seconds))
