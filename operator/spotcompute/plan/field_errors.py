"""Finds what would be wrong with a launch: fields that a person must correct, and refusals of the market.

Apart from `quote`, because it comes from asking the cloud (`dry_run`) and not from computing. No decision depends on
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from spotcompute.cloud.errors import (
    CloudError,
    InsufficientBalance,
    InsufficientCapacity,
    InvalidConfiguration,
    InvalidCredentials,
    NoRoom,
    PriceTooLow,
    QuotaExceeded,
    Unclassified,
)
from spotcompute.model.desired import Caps, Desired, Placement
from spotcompute.model.identity import launch_name
from spotcompute.model.launch import MAX_LAUNCH_COUNT, LaunchRequest, Part, parts_of, without
from spotcompute.model.ledger import Trouble
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.backoff import trouble_of
from spotcompute.plan.budget import bid_for
from spotcompute.plan.quote import Quote
from spotcompute.plan.situation import Situation

#: Where each part of a request stands in the spec. Placements and instance types are lists: see `_field_of`.
_FIELDS = {
    Part.IMAGE: "spec.template.imageId",
    Part.SECURITY_GROUPS: "spec.template.securityGroupIds",
    Part.LOGIN: "spec.template.loginSettings",
    Part.ROLE: "spec.template.camRoleName",
    Part.SYSTEM_DISK: "spec.template.systemDisk",
    Part.DATA_DISKS: "spec.template.dataDisks",
    Part.USER_DATA: "spec.template.userData",
    Part.HOST_NAME: "spec.template.hostName",
    Part.INTERNET: "spec.template.internetAccessible",
    Part.PLACEMENT_GROUP: "spec.template.disasterRecoverGroupIds",
    Part.HPC_CLUSTER: "spec.template.hpcClusterId",
    Part.METADATA: "spec.template.metadata",
    Part.TIMER: "spec.orphanProtection",
    Part.PROJECT: "spec.template.projectId",
    Part.SERVICES: "spec.template.enhancedService",
    Part.TAGS: "spec.template.tags",
}


#: Where the parts stand that are lists, when it is not known which item is meant.
_LISTS = {
    Part.ZONE: "spec.placements[].zone",
    Part.NETWORK: "spec.placements[].subnetId",
    Part.INSTANCE_TYPE: "spec.instanceTypes",
}


def field_of_part(part: str | None) -> str | None:
    """Returns where a part of a launch stands in the spec. None when it is not known, or of a later version."""
    fields = {str(key): path for key, path in {**_FIELDS, **_LISTS}.items()}
    return fields.get(part) if part is not None else None


@dataclass(frozen=True, slots=True)
class FieldError:
    """`FieldError` must be corrected by a person. `field` is where it stands in the spec, None when not known."""

    field: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DryRunRefusal:
    """`DryRunRefusal` is what a pool would answer now to a request for `count` that has no wrong field."""

    pool: Pool
    count: int
    trouble: Trouble
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    """`Findings` holds everything found. `unchecked` says why the cloud could not be asked, None when it could; with
    `may_be_more` the last error may hide others.
    """

    field_errors: tuple[FieldError, ...] = ()
    refusals: tuple[DryRunRefusal, ...] = ()
    unchecked: str | None = None
    may_be_more: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """`Probe` is a request that tries one zone, that of placement number `index`.

    `is_own_type`: the spec names the type. Otherwise it is any type that is sold there. `is_chosen`: the quote counts
    on the pool.
    """

    index: int
    request: LaunchRequest = field(repr=False)
    is_own_type: bool
    is_chosen: bool


def is_field_error(error: CloudError) -> bool:
    """True when only a person can correct it, in spec, key or account. An unknown refusal counts too."""
    return isinstance(error, InvalidConfiguration | InvalidCredentials | Unclassified)


def is_refusal(error: CloudError) -> bool:
    """True when the market or the account refuses today and may accept tomorrow."""
    return isinstance(error, InsufficientCapacity | NoRoom | PriceTooLow | QuotaExceeded | InsufficientBalance)


def field_error_of(error: CloudError, part: Part | None, probe: Probe, desired: Desired) -> FieldError:
    """Returns the error in the cloud's words, and where it stands in the spec."""
    return FieldError(_field_of(part, error, probe, desired), error.code, error.message)


def _field_of(part: Part | None, error: CloudError, probe: Probe, desired: Desired) -> str | None:
    if part is Part.ZONE:
        return f"spec.placements[{probe.index}].zone"
    if part is Part.NETWORK:
        request = probe.request
        is_vpc = f"{request.vpc_id}" in error.message and f"{request.subnet_id}" not in error.message
        return f"spec.placements[{probe.index}].{'vpcId' if is_vpc else 'subnetId'}"
    if part is Part.INSTANCE_TYPE:
        names = types_of(desired)
        name = probe.request.pool.instance_type
        is_named = desired.requirements is None and name in names
        return f"spec.instanceTypes[{names.index(name)}]" if is_named else "spec.instanceRequirements"
    return _FIELDS.get(part) if part else None


def dry_run_refusal_of(error: CloudError, request: LaunchRequest) -> DryRunRefusal:
    """Returns the refusal in the cloud's words."""
    return DryRunRefusal(request.pool, request.count, trouble_of(error), error.code, error.message)


def types_of(desired: Desired) -> list[str]:
    """Returns the types of all pools, in the order of the spec."""
    return list(dict.fromkeys(pool.instance_type for pool, _ in desired.pools))


def market_errors(desired: Desired, market: Market) -> tuple[FieldError, ...]:
    """Returns the types and zones that the quotes say never sell. A type that some of the zones sell is no fault."""
    if desired.requirements is not None or not market.offerings:
        return ()
    names, sold = types_of(desired), {pool.instance_type for pool, _ in desired.pools if pool in market.offerings}
    unsold = [name for name in names if name not in sold]
    field_errors = [
        FieldError(
            f"spec.instanceTypes[{names.index(name)}]",
            "NotSoldAsSpot",
            f"{name} is not sold as spot in any of the placements: take another type, or other placements",
        )
        for name in unsold
    ]
    if len(unsold) < len(names):
        field_errors += [
            FieldError(
                f"spec.placements[{index}].zone",
                "NotSoldAsSpot",
                f"{placement.zone} sells none of the instanceTypes as spot: take another zone, or other types",
            )
            for index, placement in enumerate(desired.placements)
            if not any(pool in market.offerings for pool, _ in desired.pools if pool.zone == placement.zone)
        ]
    return tuple(field_errors)


def probes(situation: Situation, quote: Quote) -> tuple[Probe, ...]:
    """Returns one request for each zone, with what would be chosen there: the zones of which most is expected first.

    Where no type of the spec is sold, any type that is sold there tells about its network.
    """
    counts = {lot.pool: lot.count for lot in quote.lots}
    found = [
        probe
        for index, placement in enumerate(situation.desired.placements)
        if (probe := _probe(index, placement, situation, quote)) is not None
    ]
    return tuple(
        sorted(found, key=lambda probe: (-counts.get(probe.request.pool, 0), not probe.is_own_type, probe.index))
    )


def _probe(index: int, placement: Placement, situation: Situation, quote: Quote) -> Probe | None:
    desired, counts = situation.desired, {lot.pool: lot.count for lot in quote.lots}
    sold = sorted(pool for pool in situation.market.offerings if pool.zone == placement.zone)
    own = [line for line in quote.lines if line.pool.zone == placement.zone and (line.pool in sold or not sold)]
    best = max(own, key=lambda line: (counts.get(line.pool, 0), line.why is None, line.score), default=None)
    pool = best.pool if best else sold[0] if sold else None
    if pool is None:
        return None
    request = LaunchRequest(
        pool=pool,
        count=(count := min(MAX_LAUNCH_COUNT, counts.get(pool, 1))),
        name=launch_name(desired.name_prefix, desired.ownership, int(situation.now.timestamp()), count),
        ownership=desired.ownership,
        owner=desired.owner,
        template=desired.template,
        max_price=best.bid if best else _stated_bid(pool, situation),
        vpc_id=placement.vpc_id,
        subnet_id=placement.subnet_id,
        user_data_digest=desired.user_data_digest,
    )
    return Probe(index, request, is_own_type=best is not None, is_chosen=pool in counts)


def _stated_bid(pool: Pool, situation: Situation) -> Decimal | None:
    return bid_for(Caps(), pool, situation.market, is_stated=situation.policy.states_bids).limit


def hinted(request: LaunchRequest, error: CloudError) -> Part | None:
    """Returns the part that an error seems to be about: it is named, or holds a value that the words repeat."""
    if error.about is not None:
        return error.about
    whole = set(_texts(request.to_json()))
    for part in parts_of(request):
        own = whole - set(_texts(without(request, [part]).to_json()))
        if any(text in error.message for text in own):
            return part
    return None


def _texts(value: Any) -> Iterator[str]:
    """Yields the texts in a JSON value that are too long to stand in a sentence by chance."""
    if isinstance(value, str) and len(value) >= _SHORTEST_WORD:
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


_SHORTEST_WORD = 6


def groups(parts: tuple[Part, ...], hint: Part | None) -> list[tuple[Part, ...]]:
    """Returns what to leave out together to learn what is at fault: what the words hint at, then all that can be."""
    first: list[tuple[Part, ...]] = [(hint,)] if hint is not None and (hint in parts or hint is Part.IMAGE) else []
    return [*first, parts] if parts and [parts] != first else first
