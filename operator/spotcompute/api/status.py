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

    id: str = Field(
        description="Id of the instance in the cloud. BatchCompute: ComputeNode.ComputeNodeInstanceId; CVM: InstanceId."
    )
    zone: str = Field(description="Zone it runs in. CVM: Placement.Zone.")
    instance_type: str = Field(description="Its type. CVM: InstanceType.")
    state: str = Field(
        description="Its state as CVM spells it; LAUNCHED while it is not in the cloud's lists yet, UNSEEN while it is"
        " no longer in them and its end is not proven. BatchCompute: ComputeNode.ComputeNodeState; CVM: InstanceState.",
    )
    ready: bool = Field(description="True when it runs, and is meant to stay.")
    price_per_hour: str | None = Field(
        default=None,
        description="What it costs per hour now without disks and traffic, in the account's currency; absent while"
        " that is not quoted, and once it has ended.",
    )
    on_demand: bool | None = Field(
        default=None, description="True when it was bought at the list price; absent for spot. CVM: InstanceChargeType."
    )
    launched_at: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud says that it was created; before that, when it was asked for. CVM: CreatedTime.",
    )
    private_ip: str | None = Field(
        default=None,
        alias="privateIP",
        description="Its first private address. BatchCompute: ComputeNode.PrivateIpAddresses; CVM: PrivateIpAddresses.",
    )
    public_ip: str | None = Field(
        default=None,
        alias="publicIP",
        description="Its first public address; absent when it has none. BatchCompute: ComputeNode.PublicIpAddresses;"
        " CVM: PublicIpAddresses.",
    )
    updated: bool = Field(
        default=True, description="False when it was launched from an older template or older user data."
    )
    note: str | None = Field(
        default=None, description="Why it is leaving, or what stands in the way; absent when it stays."
    )


PoolState = Literal["Available", "Resting", "Invalid", "Avoided", "Unpriced", "OverBudget", "Full", "TooFew"]


class PoolStatus(StatusPart):
    """One pool: an instance type in a zone."""

    zone: str = Field(description="Zone of the pool.")
    instance_type: str = Field(description="Instance type of the pool.")
    state: PoolState = Field(
        description="Whether it is asked. Available: it is, when something is missing. Resting: it has refused, and is"
        " asked again at nextAttemptTime. Invalid: a person must correct the spec first. Avoided: it takes instances"
        " back early. Unpriced: a limit needs its price, which is not quoted. OverBudget: one more would break a"
        " limit. Full: it has its maxSharePerPool. TooFew: too small for what the gang lacks."
    )
    instances: int = Field(description="Instances of this environment in the pool.")
    price_per_hour: str | None = Field(
        default=None,
        description="Spot price of one instance and hour that the market quotes, in the account's currency. CVM:"
        " ItemPrice.UnitPriceDiscount.",
    )
    on_demand_price_per_hour: str | None = Field(
        default=None,
        description="List price of one instance and hour that the market quotes. CVM: ItemPrice.UnitPrice.",
    )
    last_error: str | None = Field(default=None, description="The cloud's code and message of the last refusal.")
    reason: str | None = Field(
        default=None, description="Kind of the last refusal; the reasons are those of the conditions."
    )
    failures: int | None = Field(default=None, description="Refusals in a row.")
    reclaims: int | None = Field(
        default=None,
        description="Spot instances of this environment that it has taken back, or accepted and never started.",
    )
    score: str | None = Field(
        default=None, description="From 0 to 1, the best is asked first; only while something is missing."
    )
    stock: str | None = Field(
        default=None,
        description="How much the market says there is; only while something is missing. CVM:"
        " InstanceTypeQuotaItem.StatusCategory.",
    )
    note: str | None = Field(default=None, description="Why it is not asked now, when no refusal is the reason.")
    next_attempt_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When it is asked again; absent when nothing stands in the way.",
    )


class ActivityStatus(StatusPart):
    """One line of the history, newest first; repeats are merged."""

    id: str = Field(description="act- and a number, without gaps. BatchCompute: Activity.ActivityId.")
    type: str = Field(
        description="Launch, Terminate, Loss, Adopt, Disown or Refuse. BatchCompute: Activity.ComputeNodeActivityType."
    )
    state: Literal["Submitted", "Processing", "Succeeded", "Failed"] = Field(
        description="Asked for and not answered yet, accepted and under way, done, or in vain. BatchCompute:"
        " Activity.ActivityState."
    )
    cause: str = Field(description="Why it was done, or why it happened. BatchCompute: Activity.Cause.")
    zone: str | None = Field(default=None, description="Zone of the pool it is about.")
    instance_type: str | None = Field(default=None, description="Instance type of the pool it is about.")
    instance_ids: list[str] | None = Field(
        default=None, description="The instances it is about, at most 100. BatchCompute: Activity.InstanceId."
    )
    price_per_hour: str | None = Field(
        default=None,
        description="What the market asked for one instance and hour when it was launched, in the account's currency.",
    )
    reason: str | None = Field(
        default=None, description="Kind of failure; the reasons are those of the conditions. Absent when it went well."
    )
    code: str | None = Field(default=None, description="The cloud's error code.")
    message: str | None = Field(
        default=None, description="The cloud's words, at most 512 characters. BatchCompute: Activity.StateReason."
    )
    request_id: str | None = Field(
        default=None, description="The call's number, to give to the cloud's support. CVM: RequestId."
    )
    sequence: int | None = Field(
        default=None, description="Number of the launch, which also stands in the names of its instances."
    )
    count: int = Field(default=1, description="How often the same has happened, merged into this line.")
    start_time: Time = Field(
        json_schema_extra=TIME, description="When it began, the first time. BatchCompute: Activity.StartTime."
    )
    end_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When it was seen to have ended, the last time; absent while it goes on. BatchCompute:"
        " Activity.EndTime.",
    )


class CostStatus(StatusPart):
    """What the instances cost with their disks, which are never discounted. Traffic by the gigabyte is not in it."""

    per_hour: str = Field(
        description="What the instances cost per hour now, extrasPerHour included, in the account's currency."
    )
    extras_per_hour: str | None = Field(
        default=None, description="Of that, disks and bandwidth; absent while they are not told, and not in perHour."
    )
    on_demand_per_hour: str | None = Field(default=None, description="The same at list prices.")
    saved_percent: int | None = Field(
        default=None, description="By how many percent perHour is below onDemandPerHour, rounded down."
    )
    accrued: str | None = Field(
        default=None, description="Spent since creation until accruedAt; since then perHour goes on."
    )
    accrued_at: Time | None = Field(default=None, json_schema_extra=TIME, description="Until when accrued counts.")
    currency: str | None = Field(default=None, description="CNY on the mainland site, USD on the international one.")


class LotStatus(StatusPart):
    """So many instances of one pool."""

    zone: str = Field(description="Zone of the pool.")
    instance_type: str = Field(description="Instance type of the pool.")
    count: int = Field(description="Instances that would be asked for there.")
    price_per_hour: str | None = Field(default=None, description="Spot price of one, as the market quotes it.")
    bid: str | None = Field(
        default=None,
        description="Highest price that would be bid for one; absent: the market's price. CVM:"
        " InstanceMarketOptions.SpotOptions.MaxPrice.",
    )


class FaultStatus(StatusPart):
    """Something a person must correct before it can be launched."""

    field: str | None = Field(default=None, description="Where it stands in the object; absent when that is not known.")
    code: str = Field(description="The cloud's error code, or a reason of ours.")
    message: str = Field(description="The cloud's words, or ours.")


class RefusalStatus(StatusPart):
    """A pool that would refuse now, and may not later."""

    zone: str = Field(description="Zone of the pool.")
    instance_type: str = Field(description="Instance type of the pool.")
    count: int = Field(description="Instances it was asked about.")
    reason: str = Field(description="Kind of refusal; the reasons are those of the conditions.")
    code: str = Field(description="The cloud's error code.")
    message: str = Field(description="The cloud's words.")


class QuoteStatus(StatusPart):
    """What would be bought if the pause ended now. Output only: nothing is decided by it."""

    checked_generation: int | None = Field(
        default=None,
        description="Generation of the spec that the cloud was asked about in dry runs; absent when it did not answer.",
    )
    missing: int = Field(description="Instances that are missing.")
    chosen: int = Field(description="How many of them the market seems to have, within all limits.")
    per_hour: str | None = Field(
        default=None,
        description="What those would cost per hour, extrasPerHour included; traffic is not in it. Absent while a"
        " price is not quoted.",
    )
    extras_per_hour: str | None = Field(
        default=None, description="Of that, disks and bandwidth; absent while they are not told, and not in perHour."
    )
    on_demand_per_hour: str | None = Field(default=None, description="The same at list prices.")
    saved_percent: int | None = Field(
        default=None, description="By how many percent perHour is below onDemandPerHour, rounded down."
    )
    currency: str | None = Field(default=None, description="CNY on the mainland site, USD on the international one.")
    pools: list[LotStatus] | None = Field(default=None, description="Where they would be asked for, in this order.")
    errors: list[FaultStatus] | None = Field(default=None, description="What has to be corrected first.")
    more_errors: bool | None = Field(default=None, description="True when these may hide others: correct them first.")
    refusals: list[RefusalStatus] | None = Field(
        default=None, description="What the pools chosen answered to a dry run, where it was not yes. CVM: DryRun."
    )
    unchecked: str | None = Field(default=None, description="Why the cloud could not be asked; it is asked again.")


class ConditionStatus(StatusPart):
    """A standard Kubernetes condition."""

    type: str = Field(
        description="Ready, Reconciling or Stalled; GangReady for gangs, StateRefused while there is something to say."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether that is so.")
    reason: str = Field(description="One word for programs; docs/reference/conditions.md explains each.")
    message: str = Field(description="A sentence for people: what is missing, why, and when the cloud is asked next.")
    observed_generation: int = Field(description="Generation of the spec it was concluded from.")
    last_transition_time: Time = Field(json_schema_extra=TIME, description="Since when it has had this status.")


Phase = Literal["Filling", "Waiting", "Ready", "Releasing", "Paused", "Failed", "Stalled", "Deleting"]


class Status(StatusPart):
    """What the operator found and did. It alone writes here."""

    observed_generation: int = Field(
        default=-1, description="Generation of the spec that all of this was concluded from; -1 until it has been seen."
    )
    phase: Phase | None = Field(
        default=None,
        description="One word for people; programs read the conditions. Failed and Stalled wait for a person, Waiting"
        " for stock, price or the cloud. Absent until the object has been seen.",
    )
    reason: str | None = Field(default=None, description="Reason of the Ready condition, for the printed columns.")
    replicas: int = Field(
        default=0, description="Instances that exist or are on their way; also what an autoscaler is told."
    )
    ready_replicas: int = Field(
        default=0,
        description="Instances that run and are meant to stay. BatchCompute: ComputeNodeMetrics.RunningCount.",
    )
    updated_replicas: int = Field(default=0, description="Instances launched from the present template and user data.")
    reclaimed: int = Field(
        default=0,
        description="Spot instances that the cloud has taken back so far: they ended or vanished, and nobody is known"
        " to have released them. Counted anew if the ledger is lost.",
    )
    zones: list[str] | None = Field(
        default=None, description="Zones the instances are in, at most 20; absent while there are none."
    )
    selector: str | None = Field(
        default=None, description="Label selector that autoscalers ask for; no Pod or Node bears this label."
    )
    environment_id: str | None = Field(
        default=None,
        alias="environmentID",
        description="Identity of the environment in the tags of its instances (spotcompute-environment). BatchCompute:"
        " EnvId.",
    )
    instances: list[InstanceStatus] | None = Field(
        default=None,
        description="The instances the environment answers for; of more than 100 the 35 that deserve a look first."
        " BatchCompute: ComputeNodeSet.",
    )
    instance_ids: list[str] | None = Field(
        default=None,
        alias="instanceIDs",
        description="Ids of all instances the environment answers for, when they are more than 100.",
    )
    pools: list[PoolStatus] | None = Field(default=None, description="Every placement with every instance type.")
    cost: CostStatus | None = Field(
        default=None,
        description="What the instances cost with their disks, which are never discounted; traffic by the gigabyte is"
        " not in it.",
    )
    quote: QuoteStatus | None = Field(
        default=None,
        description="While paused and something is missing: what would be bought if the pause ended now, and at what"
        " cost. Nothing is decided by it.",
    )
    next_attempt_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud is asked next; absent when nothing is missing.",
    )
    activities: list[ActivityStatus] | None = Field(
        default=None,
        description="What was done and what happened, newest first; at most 50 lines and 30 kB. The same failure again"
        " only raises its count. BatchCompute: DescribeComputeEnvActivities.",
    )
    conditions: list[ConditionStatus] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="Standard conditions. Ready: as many instances run as are wanted. Reconciling: something is on its"
        " way or waited for. Stalled: a person must act.",
    )
    ledger: dict[str, Any] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="What the operator must remember: open launches, instances, rests. Not an interface: do not read"
        " or edit it.",
    )
