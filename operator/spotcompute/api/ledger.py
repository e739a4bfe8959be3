"""Converts the ledger to and from `status.ledger`.

Apart from `model.ledger` because this is a stored format: it must be read even when others have edited it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from spotcompute.api.schema import MAX_REPLICAS
from spotcompute.model.ledger import (
    Adoption,
    Backoff,
    Intent,
    LastPrice,
    Ledger,
    Marking,
    Member,
    PoolTrust,
    SelfEnds,
    Spending,
    StateRefusal,
    TagSearch,
    Termination,
    Timers,
    TypeSize,
    WorkCount,
)
from spotcompute.model.offering import Pool

#: Every moment of ours lies between these two. Far outside, adding a duration would overflow.
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

#: Sequences begin with seconds since 1970. One with more digits could not be read back from an instance's name.
SEQUENCES = range(10**11)

#: Far more failures in a row than there is time for. More would not fit into `status.pools`.
_FAILURES = range(1, 10**6)

#: The form of instance ids, with any vendor.
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

#: More than any environment can have: two instances for each wanted one, and a backoff for each pool.
MEMBERS_MAX, BACKOFFS_MAX = 2 * MAX_REPLICAS + 1000, 1000

#: More reclaims than there is time for.
_VCPU = range(1, 10_000)
_RECLAIMED = range(10**9)


class UnreadableLedger(ValueError):
    """`UnreadableLedger` means that this program did not write `status.ledger` as it stands. `str()` says where."""


class _Lot(NamedTuple):
    """`_Lot` holds the members of one launch that are in the same state: 2,000 of them must fit into one object.

    `pool` and `template` are places in the ledger's lists of them, and -1 is none. `launched_at` is in seconds since
    1970. `flags` is the sum of `_SEEN` … `_ON_DEMAND`, and of `_ENDS` times the place in the list of ends, counted from
    1.
    """

    pool: int
    template: int
    sequence: int | None
    launched_at: float
    flags: int
    ids: tuple[str, ...]


#: The bits of `flags`, each true of every member of the lot.
_SEEN, _ARRIVED, _VERIFIED, _ON_DEMAND = 1, 2, 4, 8

#: What comes above these bits. A version that knows no timers reads the bits, and nothing else.
_ENDS = 16

#: Fields of the ledger's dataclasses that have another name in `status.ledger`: name in the code to name there. A
#: renamed field keeps its old name there. Otherwise an operator could not read what an earlier version has written.
WIRE: dict[str, str] = {"answer_lost": "doubtful", "end_unconfirmed": "doubted", "kind": "doubt"}


class _LedgerModel(BaseModel):
    """`_LedgerModel` is the flat form: lists instead of mappings, because JSON keys are strings only.

    Members that are ending or in a transient state stand alone, all others in lots.
    """

    # The generator also applies to the dataclasses inside.
    model_config = ConfigDict(
        extra="ignore", alias_generator=lambda name: to_camel(WIRE.get(name, name)), populate_by_name=True
    )

    environment_id: str
    sequence: int = 0
    intents: tuple[Intent, ...] = ()
    members: tuple[Member, ...] = ()
    pools: tuple[Pool, ...] = ()
    templates: tuple[str, ...] = ()
    ends: tuple[datetime, ...] = ()
    lots: tuple[_Lot, ...] = ()
    rests: tuple[Backoff, ...] = ()
    quarantine_until: datetime | None = None
    quarantine_looks: tuple[datetime, ...] = ()
    attempted_generation: int | None = None
    account: str | None = None
    out_of_reach_since: datetime | None = None
    refused: StateRefusal | None = None
    reputations: tuple[PoolTrust, ...] = ()
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
    adoptions: tuple[Adoption, ...] = ()
    tag_search: TagSearch | None = None
    work: WorkCount | None = None
    timers: Timers | None = None


def encode(ledger: Ledger) -> dict[str, Any]:
    """Returns the ledger as JSON values, in a stable order, without empty fields."""
    members = [_as_written(ledger.members[key]) for key in sorted(ledger.members)]
    alone = [member for member in members if _stands_alone(member)]
    alike = [member for member in members if not _stands_alone(member)]
    pools = sorted({member.pool for member in alike})
    templates = sorted({member.template_digest for member in alike if member.template_digest is not None})
    ends = sorted({member.ends_at for member in alike if member.ends_at is not None})
    flat = _LedgerModel.model_construct(
        environment_id=ledger.environment_id,
        sequence=ledger.sequence,
        intents=ledger.intents,
        members=tuple(alone),
        pools=tuple(pools),
        templates=tuple(templates),
        ends=tuple(ends),
        lots=_lots(alike, pools, templates, ends),
        rests=tuple(sorted(ledger.backoffs.values(), key=lambda backoff: backoff.pool or ("", ""))),
        quarantine_until=ledger.quarantine_until,
        quarantine_looks=ledger.quarantine_looks,
        attempted_generation=ledger.attempted_generation,
        account=ledger.account,
        out_of_reach_since=ledger.out_of_reach_since,
        refused=ledger.state_refused,
        reputations=tuple(ledger.pool_trust[pool] for pool in sorted(ledger.pool_trust)),
        spending=ledger.spending,
        last_prices=ledger.last_prices,
        type_sizes=ledger.type_sizes,
        counts_vcpu=ledger.counts_vcpu,
        short_since=ledger.short_since,
        spot_since=ledger.spot_since,
        switched_at=ledger.switched_at,
        trial_since=ledger.trial_since,
        failed_trials=ledger.failed_trials,
        returning_since=ledger.returning_since,
        interruptions=ledger.interruptions,
        incomplete_since=ledger.incomplete_since,
        broken_up_at=ledger.broken_up_at,
        rolled_at=ledger.rolled_at,
        reclaimed=ledger.reclaimed,
        self_ends=ledger.self_ends,
        tag_search=ledger.tag_search,
        work=ledger.work,
        timers=ledger.timers,
        adoptions=tuple(ledger.adoptions[key] for key in sorted(ledger.adoptions)),
    )
    return _in_order(flat.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True))


def _in_order(encoded: dict[str, Any]) -> dict[str, Any]:
    """Returns the same with its sets sorted, so that equal ledgers have equal texts."""
    for intent in encoded.get("intents", ()):
        if "found" in intent:
            intent["found"] = sorted(intent["found"])
    return encoded


def _stands_alone(member: Member) -> bool:
    """True when `member` is ending, has failed, is let go, or is in a state that should not last.

    Others are written in lots.
    """
    marks = (member.termination, member.lost, member.transient, member.kept_since, member.notice_at, member.marking)
    return any(mark is not None for mark in marks)


def _lots(
    members: Sequence[Member], pools: Sequence[Pool], templates: Sequence[str], ends: Sequence[datetime]
) -> tuple[_Lot, ...]:
    found: dict[tuple[int, int, int | None, float, int], list[str]] = {}
    place_of_pool = {pool: place for place, pool in enumerate(pools)}
    place_of_template = {template: place for place, template in enumerate(templates)}
    place_of_end = {end: place for place, end in enumerate(ends, 1)}
    for member in members:
        flags = _flags_of(member)
        flags += 0 if member.ends_at is None else _ENDS * place_of_end[member.ends_at]
        template = -1 if member.template_digest is None else place_of_template[member.template_digest]
        key = (place_of_pool[member.pool], template, member.sequence, member.launched_at.timestamp(), flags)
        found.setdefault(key, []).append(member.id)
    return tuple(_Lot(*key, tuple(ids)) for key, ids in found.items())


def _flags_of(member: Member) -> int:
    """Returns the sum of the bits that are true of `member`."""
    seen, arrived = _SEEN * member.seen, _ARRIVED * member.arrived
    return seen | arrived | _VERIFIED * member.verified | _ON_DEMAND * member.on_demand


def _members_of(flat: _LedgerModel) -> Iterator[Member]:
    """Yields every member, whether it stands alone or in a lot. Raises UnreadableLedger."""
    yield from map(_as_written, flat.members)
    try:
        for lot in flat.lots:
            yield from _members_in(lot, flat)
    except (IndexError, ValueError, OverflowError, OSError) as error:
        raise UnreadableLedger(f"lots: {error}") from None


def _members_in(lot: _Lot, flat: _LedgerModel) -> Iterator[Member]:
    pool = flat.pools[_place(lot.pool)]
    template = None if lot.template == -1 else flat.templates[_place(lot.template)]
    ends_at = flat.ends[_place(lot.flags // _ENDS - 1)] if lot.flags >= _ENDS else None
    launched_at = datetime.fromtimestamp(lot.launched_at, UTC)
    seen, arrived, verified, on_demand = (bool(lot.flags & bit) for bit in (_SEEN, _ARRIVED, _VERIFIED, _ON_DEMAND))
    for instance_id in lot.ids:
        yield Member(
            instance_id,
            pool,
            launched_at,
            template,
            lot.sequence,
            seen=seen,
            arrived=arrived,
            verified=verified,
            on_demand=on_demand,
            ends_at=ends_at,
        )


def _place(number: int) -> int:
    if number < 0:
        raise IndexError("a place before the first")
    return number


def decode(raw: Any) -> Ledger:
    """Returns the ledger that `encode` wrote. Raises UnreadableLedger."""
    try:
        flat = _LedgerModel.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise UnreadableLedger(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    except RecursionError:
        raise UnreadableLedger("nested too deeply") from None
    if sum(len(lot.ids) for lot in flat.lots) > MEMBERS_MAX:
        raise UnreadableLedger("more entries than any environment has")
    members = tuple(_members_of(flat))
    _refuse_nonsense(flat, members)
    return Ledger(
        environment_id=flat.environment_id,
        sequence=flat.sequence,
        intents=tuple(sorted(flat.intents, key=lambda intent: intent.sequence)),
        members={member.id: member for member in members},
        backoffs={backoff.pool: backoff for backoff in flat.rests},
        quarantine_until=flat.quarantine_until,
        quarantine_looks=flat.quarantine_looks,
        attempted_generation=flat.attempted_generation,
        account=flat.account,
        out_of_reach_since=flat.out_of_reach_since,
        state_refused=flat.refused,
        pool_trust={one.pool: one for one in flat.reputations},
        spending=flat.spending,
        last_prices=flat.last_prices,
        type_sizes=flat.type_sizes,
        counts_vcpu=flat.counts_vcpu,
        short_since=flat.short_since,
        spot_since=flat.spot_since,
        switched_at=flat.switched_at,
        trial_since=flat.trial_since,
        failed_trials=flat.failed_trials,
        returning_since=flat.returning_since,
        interruptions=flat.interruptions,
        incomplete_since=flat.incomplete_since,
        broken_up_at=flat.broken_up_at,
        rolled_at=flat.rolled_at,
        reclaimed=flat.reclaimed,
        self_ends=flat.self_ends,
        tag_search=flat.tag_search,
        work=flat.work,
        timers=flat.timers,
        adoptions={one.id: one for one in flat.adoptions},
    )


def _as_written(member: Member) -> Member:
    """Returns `member` without the fields that are never stored."""
    return replace(member, end_unconfirmed=False) if member.end_unconfirmed else member


def _refuse_nonsense(flat: _LedgerModel, members: Sequence[Member]) -> None:
    """Raises UnreadableLedger for values that have the right type but that no decision could use."""
    for sentence, has in _NONSENSE:
        if has(flat, members):
            raise UnreadableLedger(sentence)


#: The names of the fields that hold a moment, by class.
_MOMENTS: dict[type, list[str]] = {
    entry: [item.name for item in fields(entry) if str(item.type).startswith("datetime")]
    for entry in (
        Intent,
        Member,
        Termination,
        Marking,
        Adoption,
        TagSearch,
        Timers,
        Backoff,
        StateRefusal,
        PoolTrust,
        SelfEnds,
        Spending,
        Ledger,
    )
}


def _moments(flat: _LedgerModel, members: Sequence[Member]) -> Iterator[datetime]:
    """Yields every time in a ledger."""
    terminations = (member.termination for member in members)
    markings = [*(one.marking for one in members), *(one.marking for one in flat.adoptions)]
    alone = (flat.tag_search, flat.timers, flat.refused, flat.spending, flat.self_ends)
    single = filter(None, (*terminations, *markings, *alone))
    for entry in (*flat.intents, *members, *flat.adoptions, *flat.rests, *flat.reputations, *single):
        yield from filter(None, (getattr(entry, name) for name in _MOMENTS[type(entry)]))
    yield from (*flat.quarantine_looks, *flat.interruptions)
    yield from flat.self_ends.held if flat.self_ends is not None else ()
    yield from filter(None, (getattr(flat, name) for name in _MOMENTS[Ledger]))


def _is_out_of_time(moment: datetime) -> bool:
    """True when the time has no time zone, or is in another century."""
    return moment.tzinfo is None or not _EARLIEST <= moment <= _LATEST


def _is_payable(amount: Decimal) -> bool:
    """True when the amount is one that can occur.

    With an exponent, nine letters can stand for a number that fills a disk.
    """
    return amount.is_finite() and 0 <= amount < 10**12 and int(amount.as_tuple().exponent) >= -20


def _amounts(flat: _LedgerModel) -> Iterator[Decimal]:
    """Yields every amount of money in a ledger."""
    yield from (intent.bid for intent in flat.intents if intent.bid is not None)
    for one in flat.last_prices:
        yield from (one.price, one.extra)
    if flat.spending is not None:
        spending = flat.spending
        yield from (spending.total, spending.per_hour, spending.saved, spending.saved_per_hour)


#: What no ledger of ours holds: the sentence for it, and a test that finds it. The first that is found is reported.
_NONSENSE: tuple[tuple[str, Callable[[_LedgerModel, Sequence[Member]], bool]], ...] = (
    (
        "a time without a time zone, or in another century",
        lambda flat, members: any(map(_is_out_of_time, _moments(flat, members))),
    ),
    (
        "a sequence that was never given",
        lambda flat, _: any(one not in SEQUENCES for one in (flat.sequence, *(item.sequence for item in flat.intents))),
    ),
    (
        "a backoff without a failure, or after more failures than there is time for",
        lambda flat, _: any(backoff.failures not in _FAILURES for backoff in flat.rests),
    ),
    (
        "an instance id that no cloud gives",
        lambda flat, members: any(
            not _ID.fullmatch(key) for key in (*(one.id for one in members), *(one.id for one in flat.adoptions))
        ),
    ),
    (
        "a pool without losses, or with more losses than there is time for",
        lambda flat, _: any(one.reclaims not in _FAILURES or not 0 <= one.early <= 100 for one in flat.reputations),
    ),
    (
        "more instances taken back than there is time for, or fewer than 0",
        lambda flat, _: flat.reclaimed not in _RECLAIMED,
    ),
    (
        "more failed trials of spot than there is time for, or fewer than 0",
        lambda flat, _: flat.failed_trials not in _RECLAIMED,
    ),
    (
        "an instance type without vCPU, or with more than any has",
        lambda flat, _: any(one.vcpu not in _VCPU for one in flat.type_sizes),
    ),
    (
        "more machines that have done their work than there is time for, or fewer than 0",
        lambda flat, _: (
            flat.work is not None and any(one not in _RECLAIMED for one in (flat.work.ended, flat.work.lost))
        ),
    ),
    (
        "an impossible amount of money",
        lambda flat, _: not all(map(_is_payable, _amounts(flat))),
    ),
    (
        "more entries than any environment has",
        lambda flat, members: (
            max(len(members), len(flat.adoptions), len(flat.self_ends.held) if flat.self_ends else 0) > MEMBERS_MAX
            or max(map(len, (flat.rests, flat.reputations, flat.last_prices, flat.type_sizes, flat.interruptions)))
            > BACKOFFS_MAX
        ),
    ),
)
