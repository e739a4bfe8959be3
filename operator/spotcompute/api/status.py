"""Defines the status as users read it: pydantic models from which the CRD's schema and the written JSON are made.

Every field that is written must be in the schema, because the API server silently drops fields it does not know.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel


class StatusPart(BaseModel):
    """`StatusPart` is the base of all parts: camelCase outside, empty fields left out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON values that are written."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


Time = str
TIME: dict[str, JsonValue] = {"format": "date-time"}


class InstanceStatus(StatusPart):
    """`InstanceStatus` shows one instance."""

    id: str = Field(
        description="Id of the instance in the cloud. BatchCompute: ComputeNode.ComputeNodeInstanceId; CVM: InstanceId."
    )
    zone: str = Field(description="Zone it runs in. CVM: Placement.Zone.")
    instance_type: str = Field(description="Its type. CVM: InstanceType.")
    state: str = Field(
        description="Its state as CVM spells it. LAUNCHED while it is not in the cloud's lists yet; UNSEEN while it is"
        " missing from them and its end is not proven, and while the cloud cannot be seen. BatchCompute:"
        " ComputeNode.ComputeNodeState; CVM: InstanceState.",
    )
    ready: bool = Field(description="True when it is seen to run and is meant to stay.")
    price_per_hour: str | None = Field(
        default=None,
        description="Its price per hour now, without disks and traffic, in the account's currency; absent while the"
        " market does not quote it, and once the instance has ended.",
    )
    on_demand: bool | None = Field(
        default=None, description="True when it was bought at the list price; absent for spot. CVM: InstanceChargeType."
    )
    launched_at: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud says that it was created; until the cloud says so, when it was asked for. CVM:"
        " CreatedTime.",
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
        default=True,
        description="False when its template, user data, type, zone, subnet or charge type is not what the spec asks"
        " for now.",
    )
    note: str | None = Field(
        default=None, description="Why it is leaving, or what prevents its release; absent when it stays."
    )


PoolState = Literal[
    "Available", "Resting", "Invalid", "Avoided", "Unpriced", "OverBudget", "Full", "TooFew", "Cordoned", "OverLimit"
]


class AdoptionStatus(StatusPart):
    """`AdoptionStatus` shows one instance that is to be taken over."""

    id: str = Field(description="Id of the instance, as spec.adopt names it.")
    state: Literal["Waiting", "Refused"] = Field(
        description="Waiting: a place is kept for it. Refused: it cannot be taken over as it is. It is looked at again"
        " every few minutes."
    )
    message: str | None = Field(
        default=None, description="Why it cannot be taken over, or why its tags were not changed."
    )


class PoolStatus(StatusPart):
    """`PoolStatus` shows one pool: an instance type in a zone."""

    zone: str = Field(description="Zone of the pool.")
    instance_type: str = Field(description="Instance type of the pool.")
    state: PoolState = Field(
        description="Whether the pool is asked. Available: yes, when instances are missing. Resting: it has refused,"
        " and is asked again at nextAttemptTime. Invalid: a person must correct the spec first. Avoided: it"
        " takes instances back early. Unpriced: a limit needs its price, and the market does not quote it."
        " OverBudget: one more instance would exceed a limit. Full: it has reached its maxSharePerPool."
        " TooFew: it cannot give as many instances as the gang needs. Cordoned: its zone is closed for launches."
        " OverLimit: one more instance would exceed limits.maxVcpu."
    )
    instances: int = Field(description="Instances of this environment in the pool.")
    price_per_hour: str | None = Field(
        default=None,
        description="Spot price of one instance and hour as the market quotes it, in the account's currency. CVM:"
        " ItemPrice.UnitPriceDiscount.",
    )
    on_demand_price_per_hour: str | None = Field(
        default=None,
        description="List price of one instance and hour as the market quotes it. CVM: ItemPrice.UnitPrice.",
    )
    last_error: str | None = Field(default=None, description="The cloud's code and message of the last refusal.")
    reason: str | None = Field(default=None, description="Kind of the last refusal: one of the conditions' reasons.")
    failures: int | None = Field(default=None, description="Refusals in a row.")
    reclaims: int | None = Field(
        default=None,
        description="Spot instances of this environment that the pool has taken back, or has accepted and never"
        " started.",
    )
    score: str | None = Field(
        default=None,
        description="From 0 to 1; the pool with the highest score is asked first. While nothing is missing, it is that"
        " of the last change of the status.",
    )
    stock: str | None = Field(
        default=None,
        description="How much stock the market says there is. CVM: InstanceTypeQuotaItem.StatusCategory.",
    )
    note: str | None = Field(
        default=None, description="Why the pool is not asked now, when the reason is not a refusal."
    )
    next_attempt_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the pool is asked again; absent when it can be asked now.",
    )


class ActivityStatus(StatusPart):
    """`ActivityStatus` shows one line of the history. The newest comes first, and repeats are merged."""

    id: str = Field(description="act- and a number, without gaps. BatchCompute: Activity.ActivityId.")
    type: str = Field(
        description="Launch, Terminate, Loss, Adopt, Retain, Disown, Refuse or Hold. BatchCompute:"
        " Activity.ComputeNodeActivityType."
    )
    state: Literal["Submitted", "Processing", "Succeeded", "Failed"] = Field(
        description="Submitted: asked for, no answer yet. Processing: accepted and under way. Succeeded: done. Failed:"
        " in vain. BatchCompute: Activity.ActivityState."
    )
    cause: str = Field(description="Why it was done or why it happened. BatchCompute: Activity.Cause.")
    zone: str | None = Field(default=None, description="Zone of the pool concerned.")
    instance_type: str | None = Field(default=None, description="Instance type of the pool concerned.")
    instance_ids: list[str] | None = Field(
        default=None, description="Ids of the instances concerned, at most 100. BatchCompute: Activity.InstanceId."
    )
    price_per_hour: str | None = Field(
        default=None,
        description="Market price of one instance and hour at the launch, in the account's currency.",
    )
    reason: str | None = Field(
        default=None, description="Kind of failure: one of the conditions' reasons. Absent after a success."
    )
    code: str | None = Field(default=None, description="The cloud's error code.")
    message: str | None = Field(
        default=None, description="The cloud's message, at most 512 characters. BatchCompute: Activity.StateReason."
    )
    request_id: str | None = Field(
        default=None, description="Id of the API call, for a question to the cloud's support. CVM: RequestId."
    )
    sequence: int | None = Field(
        default=None, description="Number of the launch. It is also part of its instances' names."
    )
    count: int = Field(default=1, description="How often this has happened; repeats are merged into this line.")
    start_time: Time = Field(
        json_schema_extra=TIME, description="When it first began. BatchCompute: Activity.StartTime."
    )
    end_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When it was last seen to have ended; absent while it goes on. BatchCompute: Activity.EndTime.",
    )


class CostStatus(StatusPart):
    """`CostStatus` shows what the instances and their disks cost.

    Disks are never discounted; traffic is not included.
    """

    per_hour: str | None = Field(
        default=None,
        description="What the instances cost per hour now, extrasPerHour included, in the account's currency. Absent"
        " while the cloud cannot be seen.",
    )
    extras_per_hour: str | None = Field(
        default=None,
        description="The part of perHour for disks and bandwidth, per hour; absent while their prices are not known,"
        " and then not in perHour.",
    )
    on_demand_per_hour: str | None = Field(
        default=None, description="What the same instances would cost per hour at list prices."
    )
    saved_percent: int | None = Field(
        default=None, description="By how many percent perHour is below onDemandPerHour, rounded down."
    )
    accrued: str | None = Field(
        default=None, description="Spent since creation until accruedAt. Since then perHour applies."
    )
    saved: str | None = Field(
        default=None, description="By how much accrued is less than at list prices, until accruedAt."
    )
    incomplete_since: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When status was lost. accrued and saved began anew then: they count the instances that still"
        " existed, from their launch and at the prices of that time, and nothing that had ended before.",
    )
    accrued_at: Time | None = Field(
        default=None, json_schema_extra=TIME, description="The time up to which accrued counts."
    )
    currency: str | None = Field(default=None, description="CNY on the mainland site, USD on the international one.")


class NodesStatus(StatusPart):
    """`NodesStatus` counts the nodes that instances have become."""

    joined: int = Field(description="Instances whose node has joined the cluster and is bound to them.")
    ready: int = Field(description="Those of them whose node is Ready.")
    under_notice: int = Field(default=0, description="Those of them that have reported the notice of their end.")


class LotStatus(StatusPart):
    """`LotStatus` shows a number of instances of one pool that would be bought."""

    zone: str = Field(description="Zone of the pool.")
    instance_type: str = Field(description="Instance type of the pool.")
    count: int = Field(description="Instances that would be asked for in this pool.")
    price_per_hour: str | None = Field(
        default=None, description="Spot price of one instance per hour, as the market quotes it."
    )
    bid: str | None = Field(
        default=None,
        description="Highest price that would be bid for one instance per hour; absent when the bid is the market"
        " price. CVM: InstanceMarketOptions.SpotOptions.MaxPrice.",
    )


class FieldErrorStatus(StatusPart):
    """`FieldErrorStatus` shows a mistake in the spec that a person must correct before anything can be launched."""

    field: str | None = Field(
        default=None, description="Field of the object that is wrong; absent when that is not known."
    )
    code: str = Field(description="The cloud's error code, or one of our reasons.")
    message: str = Field(description="The cloud's message, or ours.")


class RefusalStatus(StatusPart):
    """`RefusalStatus` shows a pool that refuses now but may accept later."""

    zone: str = Field(description="Zone of the pool.")
    instance_type: str = Field(description="Instance type of the pool.")
    count: int = Field(description="Number of instances in the dry run.")
    reason: str = Field(description="Kind of refusal: one of the conditions' reasons.")
    code: str = Field(description="The cloud's error code.")
    message: str = Field(description="The cloud's message.")


class QuoteStatus(StatusPart):
    """`QuoteStatus` shows what would be bought if the pause ended now. No decision reads it."""

    checked_generation: int | None = Field(
        default=None,
        description="Generation of the spec that the cloud checked in dry runs; absent when the cloud did not answer.",
    )
    missing: int = Field(description="Instances that are missing.")
    chosen: int = Field(
        description="How many of the missing instances would be had: the market seems to have them, within all limits,"
        " and the dry runs were not refused."
    )
    per_hour: str | None = Field(
        default=None,
        description="What those instances would cost per hour, extrasPerHour included, traffic not included. Absent"
        " while a price is not quoted.",
    )
    extras_per_hour: str | None = Field(
        default=None,
        description="The part of perHour for disks and bandwidth, per hour; absent while their prices are not known,"
        " and then not in perHour.",
    )
    on_demand_per_hour: str | None = Field(
        default=None, description="What the same instances would cost per hour at list prices."
    )
    saved_percent: int | None = Field(
        default=None, description="By how many percent perHour is below onDemandPerHour, rounded down."
    )
    currency: str | None = Field(default=None, description="CNY on the mainland site, USD on the international one.")
    pools: list[LotStatus] | None = Field(default=None, description="Pools that would be asked, in this order.")
    errors: list[FieldErrorStatus] | None = Field(
        default=None, description="Mistakes that a person must correct first."
    )
    more_errors: bool | None = Field(
        default=None, description="True when the errors may hide others: correct them first."
    )
    refusals: list[RefusalStatus] | None = Field(
        default=None, description="Chosen pools that refused a dry run. CVM: DryRun."
    )
    unchecked: str | None = Field(
        default=None, description="Why the cloud could not be asked for a dry run. The operator asks it again."
    )


class ClaimStatus(StatusPart):
    """`ClaimStatus` shows one piece of work that wants instances of this environment, or has them."""

    kind: str = Field(description="Workload, of Kueue, or Job.")
    namespace: str = Field(description="Namespace of that object.")
    name: str = Field(description="Name of that object.")
    pods: int = Field(description="Pods that it has still to run.")
    state: Literal["Ready", "Coming", "Behind", "TooMuch", "FitsNowhere", "Unknown"] = Field(
        description="Ready: it may run. Coming: its nodes are on their way. Behind: older claims use all that there may"
        " be. TooMuch: it needs more than capacity.maxReplicas. FitsNowhere: a type is too small for its pods. Unknown:"
        " the sizes of types are not known yet."
    )
    nodes: int = Field(description="Nodes that it needs.")
    ready_nodes: int = Field(description="How many of them are ready.")


class ConditionStatus(StatusPart):
    """`ConditionStatus` shows one standard Kubernetes condition."""

    type: str = Field(
        description="Ready, Reconciling or Stalled; also GangReady for gangs, Complete with onStop Release,"
        " ZonesCordoned while a zone is closed, NodesKept while nodes cannot be looked after, and"
        " StateRefused while part of the stored state is refused."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(description="One word for programs; docs/reference/conditions.md explains each.")
    message: str = Field(description="A sentence for people: what is missing, why, and when the cloud is asked next.")
    observed_generation: int = Field(description="Generation of the spec from which the condition was concluded.")
    last_transition_time: Time = Field(
        json_schema_extra=TIME, description="Since when the condition has had this status."
    )


Phase = Literal[
    "Filling", "Waiting", "Ready", "Releasing", "Paused", "Expired", "Succeeded", "Failed", "Stalled", "Deleting"
]


class Status(StatusPart):
    """`Status` shows the state that the operator has found and what it has done. Only the operator writes it."""

    observed_generation: int = Field(
        default=-1,
        description="Generation of the spec from which this status was concluded; -1 until the object has been seen.",
    )
    phase: Phase | None = Field(
        default=None,
        description="One word for people; programs read the conditions. Failed and Stalled: a person must act. Waiting:"
        " for stock, for a lower price or for the cloud. Succeeded: all work is done."
        " Absent until the object has been seen.",
    )
    reason: str | None = Field(
        default=None, description="Reason of the Ready condition, for the columns of kubectl get."
    )
    observed_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud was last seen. It is written with other news and never for its own sake, so it may"
        " be older while nothing changes; an outage is told by the conditions.",
    )
    replicas: int = Field(
        default=0,
        description="Instances that the environment answers for: they exist as far as is known, or are on their way."
        " Autoscalers read this number.",
    )
    ready_replicas: int | None = Field(
        default=None,
        description="Instances that run and are meant to stay. Absent while that is not known. BatchCompute:"
        " ComputeNodeMetrics.RunningCount.",
    )
    updated_replicas: int | None = Field(
        default=None,
        description="Instances whose template, user data, type, zone, subnet and charge type are what the spec asks for"
        " now. Absent while that is not known.",
    )
    reclaimed: int = Field(
        default=0,
        description="Spot instances that the cloud has taken back so far: they ended or vanished without a known"
        " release. Counted anew when the ledger is lost.",
    )
    finished: int | None = Field(
        default=None,
        description="Instances that have powered themselves off because their work is done, so far. Absent without"
        " onStop Release. Counted anew when the ledger is lost.",
    )
    zones: list[str] | None = Field(
        default=None,
        description="Zones of the instances, at most 20; absent while there are none, or none can be seen.",
    )
    selector: str | None = Field(
        default=None, description="Label selector for autoscalers, which require one; no Pod or Node has this label."
    )
    environment_id: str | None = Field(
        default=None,
        alias="environmentID",
        description="Identity of the environment in the tags of its instances (spotcompute-environment). BatchCompute:"
        " EnvId.",
    )
    instances: list[InstanceStatus] | None = Field(
        default=None,
        description="The instances that the environment answers for. Of more than 100, only the 35 that need attention"
        " most. BatchCompute: ComputeNodeSet.",
    )
    instance_ids: list[str] | None = Field(
        default=None,
        alias="instanceIDs",
        description="Ids of all instances that the environment answers for; present when there are more than 100.",
    )
    adoptions: list[AdoptionStatus] | None = Field(
        default=None,
        description="Instances that spec.adopt names and that are not taken over yet, at most 100.",
    )
    pools: list[PoolStatus] | None = Field(
        default=None,
        description="Every placement with every instance type; absent while the cloud cannot be seen.",
    )
    cost: CostStatus | None = Field(
        default=None,
        description="What the instances and their disks cost. Disks are never discounted; traffic is not included.",
    )
    nodes: NodesStatus | None = Field(
        default=None,
        description="The nodes of the instances, with spec.nodes; absent while they are not known.",
    )
    quote: QuoteStatus | None = Field(
        default=None,
        description="While the environment is paused and instances are missing: what would be bought if the pause ended"
        " now, and at what cost. No decision reads it.",
    )
    claims: list[ClaimStatus] | None = Field(
        default=None,
        description="Work that wants instances, in its turn; at most 30 lines. Absent without capacity, and while there"
        " is none.",
    )
    next_attempt_time: Time | None = Field(
        default=None,
        json_schema_extra=TIME,
        description="When the cloud is asked next; absent when nothing is missing.",
    )
    activities: list[ActivityStatus] | None = Field(
        default=None,
        description="What was done and what happened, newest first; at most 50 lines and 30 kB. When the same failure"
        " comes again, only its count rises. BatchCompute: DescribeComputeEnvActivities.",
    )
    conditions: list[ConditionStatus] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="Standard conditions. Ready: as many instances run as are wanted. Reconciling: the operator is"
        " working or waiting. Stalled: a person must act.",
    )
    ledger: dict[str, Any] | None = Field(
        default=None,
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
        description="What the operator must remember: open launches, instances, backoffs. This is not an interface: do"
        " not read or edit it.",
    )
