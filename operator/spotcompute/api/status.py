"""The status as users read it: pydantic models from which the CRD's schema and the written JSON are made.

Every field that is written is in the schema: the API server silently drops what it does not know.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


class StatusPart(BaseModel):
    """Base of all parts: camelCase outside, empty fields left out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """The JSON-able form that is written."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


Time = str
TIME: dict[str, JsonValue] = {"format": "date-time"}


class InstanceStatus(StatusPart):
    """One instance."""

    id: str
    zone: str
    instance_type: str
    state: str = Field(description="As the cloud spells it; LAUNCHED while it is not in the cloud's lists yet.")
    ready: bool
    price_per_hour: str | None = Field(default=None, description="Spot price per hour now, in the account's currency.")
    launched_at: Time | None = Field(default=None, json_schema_extra=TIME)
    private_ip: str | None = Field(default=None, alias="privateIP")
    public_ip: str | None = Field(default=None, alias="publicIP")
    updated: bool = Field(default=True, description="False when it was launched from an older template.")
    note: str | None = Field(default=None, description="Why it is leaving, or what stands in the way.")


PoolState = Literal["Available", "Resting", "Invalid"]


class PoolStatus(StatusPart):
    """One pool: an instance type in a zone."""

    zone: str
    instance_type: str
    state: PoolState
    instances: int = Field(description="Instances of this environment in the pool.")
    price_per_hour: str | None = None
    on_demand_price_per_hour: str | None = None
    last_error: str | None = Field(default=None, description="The cloud's code and message of the last refusal.")
    reason: str | None = None
    failures: int | None = Field(default=None, description="Refusals in a row.")
    next_attempt_time: Time | None = Field(default=None, json_schema_extra=TIME)


class ActivityStatus(StatusPart):
    """One line of the history, newest first; repeats are merged."""

    id: str
    type: str
    state: Literal["InProgress", "Succeeded", "Failed"]
    cause: str
    zone: str | None = None
    instance_type: str | None = None
    instance_ids: list[str] | None = None
    reason: str | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    count: int = 1
    start_time: Time = Field(json_schema_extra=TIME)
    end_time: Time | None = Field(default=None, json_schema_extra=TIME)


class CostStatus(StatusPart):
    """Cost per hour now, as the market quotes CPU and memory; disks and traffic are not in it."""

    per_hour: str
    on_demand_per_hour: str | None = None
    saved_percent: int | None = None


class ConditionStatus(StatusPart):
    """A standard Kubernetes condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    observed_generation: int
    last_transition_time: Time = Field(json_schema_extra=TIME)


Phase = Literal["Pending", "Filling", "Waiting", "Ready", "Releasing", "Paused", "Failed", "Stalled", "Deleting"]


class Status(StatusPart):
    """What the operator found and did."""

    observed_generation: int = Field(default=-1, description="-1 until the operator has seen the object.")
    phase: Phase | None = Field(default=None, description="One word for people; programs read the conditions.")
    reason: str | None = Field(default=None, description="Reason of the Ready condition, for the printed columns.")
    replicas: int = Field(default=0, description="Instances that exist or are on their way.")
    ready_replicas: int = Field(default=0, description="Instances that run.")
    updated_replicas: int = Field(default=0, description="Instances launched from the present template.")
    selector: str | None = Field(default=None, description="Label selector, as autoscalers expect it.")
    environment_id: str | None = Field(default=None, alias="environmentID", description="Identity in the cloud's tags.")
    instances: list[InstanceStatus] | None = None
    pools: list[PoolStatus] | None = None
    cost: CostStatus | None = None
    next_attempt_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud is asked next; absent when nothing is missing.",
    )
    activities: list[ActivityStatus] | None = None
    conditions: list[ConditionStatus] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    ledger: dict[str, Any] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="What the operator must remember: open launches, instances, rests. Not an interface.",
    )
