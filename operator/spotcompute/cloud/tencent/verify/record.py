"""Defines the record of a verification: every answer that a finding needs, and the life of every instance as it looked.

Apart from `findings`, which judges, and from `course`, which asks: a record is a value, and can be made by a test.
Times are seconds on the clock of the event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

Json = dict[str, Any]

PENDING, RUNNING, LAUNCH_FAILED = "PENDING", "RUNNING", "LAUNCH_FAILED"
STOPPING, STOPPED, STARTING = "STOPPING", "STOPPED", "STARTING"
TERMINATING, SHUTDOWN = "TERMINATING", "SHUTDOWN"
#: Ours: it was seen before, and is not in the answer any more.
ABSENT = "ABSENT"

#: The code that some answer to a dry run that passes. Others answer an empty success.
DRY_RUN_PASSED = "DryRunOperation"


@dataclass(frozen=True, slots=True)
class Answer:
    """`Answer` is what came back for one request. `code` is empty after success. `tries` counts identical requests."""

    at: float
    code: str = ""
    body: Json = field(default_factory=dict)
    tries: int = 1

    @property
    def is_granted(self) -> bool:
        """True when the request was carried out, or when a dry run says that it would be."""
        return self.code in ("", DRY_RUN_PASSED)

    @property
    def ids(self) -> tuple[str, ...]:
        """Returns the ids of a launch."""
        return tuple(self.body.get("InstanceIdSet") or ())

    @property
    def shown(self) -> str:
        """Returns the answer in one word for the report: the code, or that it succeeded."""
        return self.code or "success"


class Bounds(NamedTuple):
    """`Bounds` is a duration that is known to lie between two numbers of seconds."""

    lower: float
    upper: float

    def __str__(self) -> str:
        """Returns both bounds for the report."""
        if self.upper == float("inf"):
            return f"more than {self.lower:.0f} s"
        return f"{self.lower:.1f} to {self.upper:.1f} s"


@dataclass(frozen=True, slots=True)
class StateSeen:
    """`StateSeen` is a state as it was first seen. `before` is the last look that did not show it yet.

    `operation` is what the cloud then called the latest operation on the instance.
    """

    state: str
    first: float
    before: float
    operation: str = ""


@dataclass(slots=True)
class Appearance:
    """`Appearance` says when something was first visible. `unseen_at` is the last look without it."""

    born_at: float
    unseen_at: float
    seen_at: float | None = None

    def look(self, at: float, is_there: bool) -> None:
        """Takes one look. Only the first that shows it counts."""
        if self.seen_at is None:
            if is_there:
                self.seen_at = at
            else:
                self.unseen_at = at

    @property
    def lag(self) -> Bounds | None:
        """Returns how long it took. None while it has not been seen."""
        if self.seen_at is None:
            return None
        return Bounds(max(0.0, self.unseen_at - self.born_at), self.seen_at - self.born_at)


@dataclass(slots=True)
class Life:
    """`Life` is one instance that we have bought, as our looks have shown it."""

    id: str
    name: str
    purpose: str
    token: str
    born_at: float
    number: int
    by_id: Appearance = field(default_factory=lambda: Appearance(0.0, 0.0))
    in_list: Appearance = field(default_factory=lambda: Appearance(0.0, 0.0))
    tags: Appearance = field(default_factory=lambda: Appearance(0.0, 0.0))
    sightings: list[StateSeen] = field(default_factory=list)
    looked_at: float = 0.0
    #: When requests to end it were accepted.
    ended_at: list[float] = field(default_factory=list)
    #: When it was asked to stop or to start.
    asked_at: list[float] = field(default_factory=list)
    network: Json = field(default_factory=dict)
    bid: float = 0.0
    has_host_name: bool | None = None

    @property
    def state(self) -> str:
        """Returns the state seen last. Empty before the first look that showed it."""
        return self.sightings[-1].state if self.sightings else ""

    @property
    def is_gone(self) -> bool:
        """True when it was there, and is not any more."""
        return self.state == ABSENT

    def look(self, at: float, item: Json | None) -> None:
        """Takes one look by id. `item` is None when the answer does not hold it."""
        before = self.looked_at or self.born_at
        self.by_id.look(at, item is not None)
        self.looked_at = at
        state = ABSENT if item is None else str(item.get("InstanceState"))
        if (state == ABSENT and not self.sightings) or state == self.state:
            before = at
        else:
            self.sightings.append(StateSeen(state, at, before, str((item or {}).get("LatestOperation") or "")))
        if item is None:
            return
        self.tags.look(at, bool(item.get("Tags")))
        self.has_host_name = "HostName" in item
        addresses = item.get("PrivateIpAddresses")
        if state == RUNNING and addresses:
            self.network = {**(item.get("VirtualPrivateCloud") or {}), "PrivateIpAddresses": addresses[:1]}

    def state_at(self, at: float) -> str:
        """Returns the state that was known at a moment. Empty before the first look that showed it."""
        return next((one.state for one in reversed(self.sightings) if one.first <= at), "")

    @property
    def taken_back(self) -> StateSeen | None:
        """Returns how its end was first seen, when we had not asked for it: the cloud has taken it back."""
        was_running = False
        for one in self.sightings:
            if was_running and one.state in (TERMINATING, SHUTDOWN, ABSENT):
                is_ours = any(at <= one.first for at in self.ended_at)
                return None if is_ours or one.operation == "TerminateInstances" else one
            was_running = was_running or one.state == RUNNING
        return None

    @property
    def stopped_by_others(self) -> StateSeen | None:
        """Returns how it was first seen stopping without a request of ours: a person has stopped it."""
        for this, after in pairwise(self.sightings):
            is_ours = any(this.first <= at <= after.first for at in self.asked_at)
            if this.state == RUNNING and after.state in (STOPPING, STOPPED) and not is_ours:
                return after
        return None

    def spans(self, state: str) -> Iterator[Bounds]:
        """Yields how long it was in `state`, each time that it was and no longer is."""
        for this, after in pairwise(self.sightings):
            if this.state == state:
                yield Bounds(max(0.0, after.before - this.first), after.first - this.before)

    def since(self, state: str, now: float) -> float | None:
        """Returns for how long it has been seen in `state` without a break. None when it is in another state."""
        return now - self.sightings[-1].first if self.state == state else None


class TokenAsk(NamedTuple):
    """`TokenAsk` is one repetition of a launch: the age of its token, and whether it still named the same instance."""

    age: float
    is_remembered: bool


class Burst(NamedTuple):
    """`Burst` is the number of calls that passed and were refused for the rate, in two regions one after the other."""

    passed_here: int
    refused_here: int
    passed_there: int
    refused_there: int


class PriceLook(NamedTuple):
    """`PriceLook` is a spot price as the market quotes it, and as an inquiry at the same moment answers it."""

    at: float
    quoted: float
    inquired: float


@dataclass(slots=True)
class Record:
    """`Record` is everything that a verification has seen."""

    started_at: float = 0.0
    ended_at: float = 0.0
    site: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    lists: list[tuple[str, ...]] = field(default_factory=list)
    token_asks: list[TokenAsk] = field(default_factory=list)
    prices: list[PriceLook] = field(default_factory=list)
    market: list[Json] = field(default_factory=list)
    burst: Burst | None = None
    #: The state of an instance some time after a batch that held its id and an unknown one was refused.
    state_after_batch: str | None = None
    #: True when some instance of another charge type was in a list that asked for SPOTPAID, False when it was not, and
    #: None when the account has no such instance.
    shows_others_as_spot: bool | None = None
    #: Why a question was not asked, by its key.
    skipped: dict[str, str] = field(default_factory=dict)

    def life(self, purpose: str) -> Life | None:
        """Returns the last instance that was bought for `purpose`. None when there is none."""
        return next((one for one in reversed(self.lives) if one.purpose == purpose), None)

    def known(self, instance_id: str) -> Life | None:
        """Returns the life of an instance that we have bought. None for any other."""
        return next((one for one in self.lives if one.id == instance_id), None)
