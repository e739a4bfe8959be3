"""What must be remembered because nothing shows it: launches in flight, what they brought, terminations, rests.

The ledger is the only thing of ours that is read back (from `status.ledger`). Others can edit it, so every
entry is a claim: `plan.bookkeeping` holds it against what the cloud's own tags say before anything is acted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from spotcompute.model.offering import Pool


class Cause(StrEnum):
    """Why an instance came, went, or has to go."""

    SHORTFALL = "Shortfall"
    SCALED_DOWN = "ScaledDown"
    ENVIRONMENT_DELETED = "EnvironmentDeleted"
    RECLAIMED = "Reclaimed"
    DISAPPEARED = "Disappeared"
    RELEASED_OUTSIDE = "ReleasedOutside"
    STOPPED_OUTSIDE = "StoppedOutside"
    LAUNCH_FAILED = "LaunchFailed"
    STUCK_PENDING = "StuckPending"
    RECYCLE_BIN = "InRecycleBin"
    BACK_TO_SPOT = "BackToSpot"
    GANG_INCOMPLETE = "GangIncomplete"
    ADOPTED = "Adopted"
    NOT_OURS = "NotOurs"


class Trouble(StrEnum):
    """Why an attempt brought nothing; also the reason a person reads in conditions and pools."""

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
    """What kind of word in status or in an annotation was not believed; also the reason a person reads."""

    LEDGER = "LedgerRefused"
    IDENTITY = "IdentityRefused"
    NOT_OURS = "NotOurs"
    END = "EndNotConfirmed"


@dataclass(frozen=True, slots=True)
class StateRefusal:
    """What was not believed, and since when it has not been: told for a while, so that somebody sees it."""

    kind: StateRefusalKind
    message: str
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class Intent:
    """One launch, committed to status before it is sent, open until its outcome is known.

    `digest` is that of the request; the token is derived from it, so that a token never serves other parameters.
    `sent_at` is when this or an earlier process last sent it, as far as known; None means not known.
    `doubtful` is True once an attempt had no usable answer: then a refusal settles nothing any more.
    `found` are the ids of its instances seen so far by name. `bid` is the highest price of its request, None for the
    market's; with `on_demand` there is none.
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

    @property
    def missing(self) -> int:
        """How many of its instances may exist without having been seen."""
        return max(0, self.count - len(self.found))


@dataclass(frozen=True, slots=True)
class Termination:
    """A release, recorded before it is sent; `accepted_at` once the cloud has taken the request."""

    cause: Cause
    recorded_at: datetime
    accepted_at: datetime | None = None
    sent_at: datetime | None = None
    attempts: int = 0
    obstacle: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """An instance we answer for, from the answer of its launch (or its adoption) until it is proven gone.

    `lost` is set once it is known to have ended without us; it stays a member until its absence is proven.
    `verified` is set once its tags have said that it is ours: from then on a person who takes the tags away makes
    it untouchable, but not somebody else's. `doubted` is True while the cloud does not confirm the end that the
    entry claims; it is found out anew at each look and never written down, for others can write there. `on_demand`
    is what the cloud charges it as, from the moment it is seen.
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

    @property
    def claims_end(self) -> bool:
        """True when the entry says that the instance has ended, or that the cloud has accepted to end it."""
        return self.lost is not None or (self.termination is not None and self.termination.accepted_at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A pool, or with `pool` None the whole environment, is not asked again before `until`.

    A pool of `whole_zone` stands for all types of at least `vcpu` (None: all) in its zone; such a rest is over at once
    when the environment holds less than `in_use` instances there.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTrust:
    """What a pool has done to us: `reclaims` in all, and `early` ones, weighed down by half each half-life, at `as_of`.

    Early means: so soon after the launch that the instance was hardly worth its start.
    """

    pool: Pool
    reclaims: int
    early: float
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Spending:
    """What has been spent until `until`, and what an hour has cost since then, in the account's currency."""

    total: Decimal
    per_hour: Decimal
    until: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything remembered about one environment.

    `sequence` is that of the last intent; `quarantine_until` forbids launches while instances of a lost
    ledger may still be on their way into the lists; `attempted_generation` is the generation whose one
    attempt a OneTime environment has had. `quarantine_looks` are the sweeps made since its end, one of which
    alone may be falsely empty. `account` names the key under which the members were last seen. `refused` is what
    was not believed lately. `short_since` is since when spot has left something missing, `spot_since` since when
    spot looks as if it could replace what runs on demand, `switched_at` when it last went back to
    spot; they are kept for environments with a fallback only. `incomplete_since` is since when a gang has been
    paid for in part, `broken_up_at` when it last was given up. `reclaimed` counts the spot instances that have ended
    or vanished although nobody is known to have asked for it.
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
    state_refused: StateRefusal | None = None
    pool_trust: Mapping[Pool, PoolTrust] = field(default_factory=dict)
    spending: Spending | None = None
    short_since: datetime | None = None
    spot_since: datetime | None = None
    switched_at: datetime | None = None
    incomplete_since: datetime | None = None
    broken_up_at: datetime | None = None
    reclaimed: int = 0

    @property
    def is_blank(self) -> bool:
        """True when nothing has ever been bought and nothing is owned: it can be let go without asking the cloud."""
        return self.sequence == 0 and self.is_empty

    @property
    def is_empty(self) -> bool:
        """True when nothing is owned, nothing is on its way, and nothing can still turn up."""
        return not self.intents and not self.members and self.quarantine_until is None

    def with_member(self, member: Member) -> Ledger:
        """The same ledger with `member` added or replaced."""
        return replace(self, members={**self.members, member.id: member})

    def without_member(self, instance_id: str) -> Ledger:
        """The same ledger without that member."""
        return replace(self, members={key: value for key, value in self.members.items() if key != instance_id})

    def with_intent(self, intent: Intent) -> Ledger:
        """The same ledger with `intent` added, or replaced by sequence."""
        others = tuple(other for other in self.intents if other.sequence != intent.sequence)
        return replace(self, intents=tuple(sorted((*others, intent), key=lambda item: item.sequence)))

    def without_intent(self, sequence: int) -> Ledger:
        """The same ledger without that intent."""
        return replace(self, intents=tuple(item for item in self.intents if item.sequence != sequence))

    def with_backoff(self, backoff: Backoff) -> Ledger:
        """The same ledger with that rest added or replaced."""
        return replace(self, backoffs={**self.backoffs, backoff.pool: backoff})

    def without_backoff(self, pool: Pool | None) -> Ledger:
        """The same ledger without that rest."""
        return replace(self, backoffs={key: value for key, value in self.backoffs.items() if key != pool})
