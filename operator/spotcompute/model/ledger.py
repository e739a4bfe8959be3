"""Defines `Ledger`: what must be remembered because nothing shows it, such as launches in flight and backoffs.

The ledger is the only thing of ours that is read back (from `status.ledger`). Others can edit it, so every entry is
only a claim. `plan.ledger_sync` compares it with the cloud's own tags before anything acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from spotcompute.model.offering import Pool


class Cause(StrEnum):
    """`Cause` says why an instance came, went, or has to go."""

    SHORTFALL = "Shortfall"
    SCALED_DOWN = "ScaledDown"
    ENVIRONMENT_DELETED = "EnvironmentDeleted"
    EXPIRED = "Expired"
    RECLAIMED = "Reclaimed"
    DISAPPEARED = "Disappeared"
    RELEASED_OUTSIDE = "ReleasedOutside"
    STOPPED_OUTSIDE = "StoppedOutside"
    LAUNCH_FAILED = "LaunchFailed"
    STUCK_PENDING = "StuckPending"
    STUCK = "Stuck"
    RECYCLE_BIN = "InRecycleBin"
    BACK_TO_SPOT = "BackToSpot"
    ROLLED_OUT = "RolledOut"
    TOO_OLD = "TooOld"
    GANG_INCOMPLETE = "GangIncomplete"
    NOTICED = "InterruptionNotice"
    NOT_INTERRUPTED = "NotInterrupted"
    UNHEALTHY = "Unhealthy"
    DELETED_BY_HAND = "DeletedByHand"
    ADOPTED = "Adopted"
    TAKEN_OVER = "TakenOver"
    RETAINED = "Retained"
    NOT_OURS = "NotOurs"
    OUT_OF_REACH = "OutOfReach"
    WORK_ENDED = "WorkEnded"


class Trouble(StrEnum):
    """`Trouble` says why an attempt brought no instances. Users read it as a reason in conditions and pools."""

    INSUFFICIENT_CAPACITY = "InsufficientCapacity"
    NO_ROOM = "SubnetFull"
    PRICE_TOO_LOW = "PriceTooLow"
    QUOTA_EXCEEDED = "QuotaExceeded"
    INSUFFICIENT_BALANCE = "InsufficientBalance"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    INVALID_CREDENTIALS = "InvalidCredentials"
    RATE_LIMITED = "RateLimited"
    CLOUD_UNREACHABLE = "CloudUnreachable"
    LAUNCH_FAILED = "LaunchFailed"
    EARLY_LOSS = "EarlyLoss"
    UNCLASSIFIED = "UnclassifiedError"


class StateRefusalKind(StrEnum):
    """`StateRefusalKind` says which part of the stored state was not believed. Users read it as a reason."""

    LEDGER = "LedgerRefused"
    IDENTITY = "IdentityRefused"
    NOT_OURS = "NotOurs"
    END = "EndNotConfirmed"


@dataclass(frozen=True, slots=True)
class StateRefusal:
    """`StateRefusal` records which part of the stored state was not believed, and since when.

    It is shown for a while so that a person sees it.
    """

    kind: StateRefusalKind
    message: str
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class Intent:
    """`Intent` is one launch. It is written to status before it is sent, and stays open until its outcome is known.

    `digest` is that of the request. The token is derived from it, so one token never serves two requests. `sent_at` is
    when this or an earlier process last sent it, and None when that is not known. `answer_lost` is True once an attempt
    had no usable answer: after that a refusal proves nothing. `found` holds the ids of its instances that were found by
    name. `bid` is the highest price of its request, and None for the market price. With `on_demand` there is no bid.
    `subnet_id` is that of its request where the spec gives several subnets of the zone, otherwise None. `ends_at` is
    the moment of the timer that its instances get, and None without one.
    """

    sequence: int
    token: str
    name: str
    pool: Pool
    count: int
    digest: str
    template_digest: str
    created_at: datetime
    sent_at: datetime | None = None
    answer_lost: bool = False
    found: frozenset[str] = frozenset()
    bid: Decimal | None = None
    on_demand: bool = False
    subnet_id: str | None = None
    ends_at: datetime | None = None

    @property
    def missing(self) -> int:
        """Returns how many instances of the launch may exist without having been seen."""
        return max(0, self.count - len(self.found))


@dataclass(frozen=True, slots=True)
class Termination:
    """`Termination` is one release of an instance. It is recorded before it is sent.

    `accepted_at` is set once the cloud has accepted the request. `refused_in` is the condition of the instance, as the
    list showed it, in which the cloud has refused to release it. `together` is how many instances one call may release
    at most, after a call for more was refused. None means that no such refusal has been seen.
    """

    cause: Cause
    recorded_at: datetime
    accepted_at: datetime | None = None
    sent_at: datetime | None = None
    attempts: int = 0
    obstacle: str | None = None
    refused_in: str | None = None
    together: int | None = None


@dataclass(frozen=True, slots=True)
class Marking:
    """`Marking` is one change of the tags that say whose an instance is. It is recorded before it is sent.

    `sent_at` is None while it was not sent after all, and `answered` says that the cloud has carried it out, or never
    will. `doubtful_at` is when it was last sent before without such an answer. `obstacle` says in the cloud's words why
    the last attempt failed, and `trouble` of which kind that is.
    """

    sent_at: datetime | None = None
    answered: bool = False
    doubtful_at: datetime | None = None
    attempts: int = 0
    obstacle: str | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """`Member` is an instance we answer for, from its launch or adoption until its end is proven.

    `lost` is set once the instance is known to have ended without us. It stays a member until its absence is proven.
    `verified` is set once its tags have said that it is ours. If a person removes the tags later, we no longer touch
    the instance, but still count it as ours. `end_unconfirmed` is True while the cloud does not confirm the end that
    the entry claims. It is found out anew in each run and never stored, because others can edit status. `on_demand` is
    how the cloud charges the instance, once it has been seen. `transient` is a state that should not last, in which the
    instance has been seen since `transient_since`. PENDING is left out: it lasts since the launch.
    `kept_since` is when it failed, while a mark keeps it nevertheless. `notice_at` is when the notice of its
    interruption was first believed. `marking` is set while its tags are changed, so that it outlives a deleted
    environment. `ends_at` is the moment of the timer that ends it, as it was last set, and None when none is known.
    """

    id: str
    pool: Pool
    launched_at: datetime
    template_digest: str | None = None
    sequence: int | None = None
    seen: bool = False
    arrived: bool = False
    verified: bool = False
    lost: Cause | None = None
    termination: Termination | None = None
    on_demand: bool = False
    end_unconfirmed: bool = False
    transient: str | None = None
    transient_since: datetime | None = None
    kept_since: datetime | None = None
    notice_at: datetime | None = None
    marking: Marking | None = None
    ends_at: datetime | None = None

    @property
    def claims_end(self) -> bool:
        """True when the entry says that the instance has ended, or that the cloud has accepted its release."""
        return self.lost is not None or (self.termination is not None and self.termination.accepted_at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """`Backoff` says that a pool, or everything when `pool` is None, is not asked again before `until`.

    A pool of `whole_zone` stands for the types of its zone that have at least `vcpu` vCPU (None: all types). Such a
    backoff ends at once when the environment holds fewer than `in_use` instances in the zone. A pool of `whole_subnet`
    stands for all types in one of several subnets of a zone.
    """

    pool: Pool | None = None
    trouble: Trouble
    code: str
    message: str
    request_id: str | None = None
    failures: int
    since: datetime
    failed_at: datetime
    until: datetime
    generation: int
    vcpu: int | None = None
    in_use: int | None = None
    #: The part of the launch that the cloud calls wrong (`model.launch.Part`), as text: a later version may know more.
    about: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTrust:
    """`PoolTrust` counts what a pool has done to our instances, as of `as_of`.

    `reclaims` counts all of them. `early` counts those so soon after the launch that the instance was hardly worth its
    start. `early` halves with each half-life.
    """

    pool: Pool
    reclaims: int
    early: float
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPrice:
    """`LastPrice` is what an instance of a pool cost per hour, and its disks and bandwidth, when both were last known.

    A type may be sold on and be quoted no more. Its running instances are counted at this price.
    """

    pool: Pool
    on_demand: bool = False
    price: Decimal
    extra: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfEnds:
    """`SelfEnds` records that instances have ended by themselves soon after their launch, under spec `generation`.

    `last_at` is when that was last counted; what ends by one stroke counts once. With `is_braked`, the place of each
    further one stays empty for a while: `held` says since when, once for each of `replicas` that it counts.
    """

    last_at: datetime
    generation: int
    is_braked: bool = False
    held: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkCount:
    """`WorkCount` counts the machines that are members no more and were to work until they power themselves off.

    `ended` have done so, ever. `lost` went before, since the spec has `generation`.
    """

    generation: int
    ended: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class TypeSize:
    """`TypeSize` is the vCPU of an instance type, as the market last described it."""

    instance_type: str
    vcpu: int


@dataclass(frozen=True, slots=True)
class Spending:
    """`Spending` is the cost up to `until`, and the cost per hour since then, in the account's currency.

    `saved` and `saved_per_hour` are what it is less than at list prices. `lost_at` is when the sum began anew because
    the ledger was lost: then it counts only what still existed.
    """

    total: Decimal
    per_hour: Decimal
    until: datetime
    saved: Decimal = Decimal(0)
    saved_per_hour: Decimal = Decimal(0)
    lost_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """`Adoption` is an instance that the spec names to be taken over, since it was first looked at.

    `marking` is set once its tags are changed, and `refused` says why it cannot be taken over. Once it is `done` it
    was a member, and is not taken over a second time.
    """

    id: str
    since: datetime
    marking: Marking | None = None
    refused: str | None = None
    done: bool = False

    @property
    def is_open(self) -> bool:
        """True when a place is kept for it."""
        return not self.done and self.refused is None


@dataclass(frozen=True, slots=True)
class Timers:
    """`Timers` says that instances bear timers, or may, and what became of the last change of these.

    `sent_at` is when one was last sent, `answered` whether the cloud has answered it, and `doubtful_at` when one was
    last sent without a usable answer. `obstacle` says in the cloud's words why the last one failed, `lasting` that this
    will not pass by itself soon, and `forbidden` that the key lacks a right. `not_at_launch_since` is since when
    launches do without, because the cloud has refused one for its timer. With `removing` the timers are being taken
    off.
    """

    sent_at: datetime | None = None
    answered: bool = False
    doubtful_at: datetime | None = None
    attempts: int = 0
    obstacle: str | None = None
    lasting: bool = False
    forbidden: bool = False
    not_at_launch_since: datetime | None = None
    removing: bool = False


@dataclass(frozen=True, slots=True)
class TagSearch:
    """`TagSearch` says since when instances with a tag are searched for. `tag` is its key and value, with = between."""

    tag: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """`Ledger` is everything remembered about one environment.

    `sequence` is that of the last intent. `quarantine_until` forbids launches while instances of a lost ledger may
    still appear in the lists. `quarantine_looks` are the sweeps since its end; a single one may be falsely empty.
    `attempted_generation` is the generation for which a OneTime environment has made its one attempt. `account` is the
    number of the account in which everything was launched, or names the key while that is not known.
    `out_of_reach_since` is since when the key in use has not shown that account. `state_refused` is the part of the
    stored state that was last refused. `last_prices` are kept while the spec limits costs, for what exists or is on its
    way, and `type_sizes` while it limits or counts vCPU; `counts_vcpu` says that `replicas` counts these.

    Four clocks are kept for environments with a fallback. `short_since`: since when spot instances have been missing.
    `spot_since`: since when spot could probably replace the on-demand instances. `switched_at`: when the environment
    last went back to spot. `trial_since`: since when on-demand instances have been going for spot that has not come
    yet. `failed_trials` counts how often in a row on-demand instances had to be bought again instead.
    `returning_since`: since when one spot instance more is wanted, which takes the place of one on demand.
    `interruptions` are the last times at which spot was taken back, if the fallback counts them. Two are kept for
    gangs. `incomplete_since`: since when part of a gang has been paid for. `broken_up_at`: when a gang was last
    released. `reclaimed` counts the spot instances that ended or vanished without a known request.
    `self_ends` is set while instances have ended by themselves lately. `adoptions` holds what the spec names to be
    taken over, `tag_search` since when it is searched for by a tag. `work` is set once a machine is gone that was to
    work to its end. `timers` is set while instances may bear timers.
    """

    environment_id: str
    sequence: int = 0
    intents: tuple[Intent, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)
    backoffs: Mapping[Pool | None, Backoff] = field(default_factory=dict)
    quarantine_until: datetime | None = None
    quarantine_looks: tuple[datetime, ...] = ()
    attempted_generation: int | None = None
    account: str | None = None
    out_of_reach_since: datetime | None = None
    state_refused: StateRefusal | None = None
    pool_trust: Mapping[Pool, PoolTrust] = field(default_factory=dict)
    spending: Spending | None = None
    last_prices: tuple[LastPrice, ...] = ()
    type_sizes: tuple[TypeSize, ...] = ()
    counts_vcpu: bool = False
    short_since: datetime | None = None
    spot_since: datetime | None = None
    switched_at: datetime | None = None
    trial_since: datetime | None = None
    failed_trials: int = 0
    returning_since: datetime | None = None
    interruptions: tuple[datetime, ...] = ()
    incomplete_since: datetime | None = None
    broken_up_at: datetime | None = None
    rolled_at: datetime | None = None
    reclaimed: int = 0
    self_ends: SelfEnds | None = None
    adoptions: Mapping[str, Adoption] = field(default_factory=dict)
    tag_search: TagSearch | None = None
    work: WorkCount | None = None
    timers: Timers | None = None

    @property
    def is_blank(self) -> bool:
        """True when nothing was ever bought and nothing is owned. Such an object may go without asking the cloud."""
        return self.sequence == 0 and self.is_empty

    @property
    def is_empty(self) -> bool:
        """True when nothing is owned, nothing is on its way, and nothing can still appear."""
        return not self.intents and not self.members and self.quarantine_until is None and not self.is_taking_over

    @property
    def is_taking_over(self) -> bool:
        """True when tags of an instance were changed that is no member yet."""
        return any(one.marking is not None and not one.done for one in self.adoptions.values())

    def with_adoption(self, adoption: Adoption) -> Ledger:
        """Returns the ledger with `adoption` added, or replaced by id."""
        return replace(self, adoptions={**self.adoptions, adoption.id: adoption})

    def without_adoption(self, instance_id: str) -> Ledger:
        """Returns the ledger without that adoption."""
        return replace(self, adoptions={key: one for key, one in self.adoptions.items() if key != instance_id})

    def with_member(self, member: Member) -> Ledger:
        """Returns the ledger with `member` added, or replaced by id."""
        return replace(self, members={**self.members, member.id: member})

    def without_member(self, instance_id: str) -> Ledger:
        """Returns the ledger without that member."""
        return replace(self, members={key: value for key, value in self.members.items() if key != instance_id})

    def with_intent(self, intent: Intent) -> Ledger:
        """Returns the ledger with `intent` added, or replaced by sequence."""
        others = tuple(other for other in self.intents if other.sequence != intent.sequence)
        return replace(self, intents=tuple(sorted((*others, intent), key=lambda item: item.sequence)))

    def without_intent(self, sequence: int) -> Ledger:
        """Returns the ledger without that intent."""
        return replace(self, intents=tuple(item for item in self.intents if item.sequence != sequence))

    def with_backoff(self, backoff: Backoff) -> Ledger:
        """Returns the ledger with `backoff` added, or replaced by pool."""
        return replace(self, backoffs={**self.backoffs, backoff.pool: backoff})

    def without_backoff(self, pool: Pool | None) -> Ledger:
        """Returns the ledger without the backoff of `pool`."""
        return replace(self, backoffs={key: value for key, value in self.backoffs.items() if key != pool})
