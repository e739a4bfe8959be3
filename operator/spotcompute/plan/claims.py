"""Decides how many instances claims need, which of them may begin, and what each of the others waits for.

Apart from `planner`, which keeps a number of instances: here is where that number comes from. Capacity follows claims
and never pods: in the pause after a failure a Job has no pods, and its machines must not go meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from spotcompute.model.claim import Amounts, CapacityWishes, Claim
from spotcompute.plan.packing import Bin, Packed, Packing, count_alone, too_small

#: Types that are named in one sentence.
TYPES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Host:
    """`Host` is a machine that lives and stays, with the room that it has for pods of claims.

    `is_ready` is True once its node takes pods.
    """

    id: str
    room: Amounts
    is_ready: bool = False


@dataclass(frozen=True, slots=True)
class Supply:
    """`Supply` is what an environment can put claims on.

    `types` gives the room that one more machine of each type would have: empty while that is not known. `closed` counts
    machines that live and take no pods, because their node was cordoned by hand.
    """

    hosts: tuple[Host, ...] = ()
    types: Mapping[str, Amounts] | None = None
    closed: int = 0


class ClaimState(StrEnum):
    """`ClaimState` says how a claim stands.

    READY: it may begin. COMING: its machines are on their way. BEHIND: older claims use all that there may be.
    TOO_MUCH: it needs more than there may ever be. FITS_NOWHERE: a machine may be too small for one of its pods.
    UNKNOWN: the sizes of machines are not known yet.
    """

    READY = "Ready"
    COMING = "Coming"
    BEHIND = "Behind"
    TOO_MUCH = "TooMuch"
    FITS_NOWHERE = "FitsNowhere"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """`Standing` says how one claim stands: `ready` of the `needed` nodes are there.

    `detail` is part of a sentence, or empty.
    """

    claim: Claim
    verdict: ClaimState
    needed: int = 0
    ready: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Allotment:
    """`Allotment` says how many instances all claims need together, and how each claim stands, in their order."""

    needed: int
    standings: tuple[Standing, ...]


def allot(claims: Iterable[Claim], supply: Supply, wishes: CapacityWishes) -> Allotment:
    """Returns what the claims need and get. Those that have begun come first, then the oldest.

    A claim holds what is there for it while it waits for the rest. Otherwise a large claim would wait for ever behind
    small ones that come later.
    """
    bins = [Bin(host.id, dict(host.room), host.is_ready) for host in sorted(supply.hosts, key=_ready_first)]
    packing = Packing(bins, supply.types or {}, max(0, wishes.count_max - supply.closed))
    standings = tuple(_answer(claim, packing, supply, wishes) for claim in sorted(claims, key=_turn))
    return Allotment(packing.used + (supply.closed if packing.new else 0), standings)


def _ready_first(host: Host) -> tuple[bool, str]:
    return (not host.is_ready, host.id)


def _turn(claim: Claim) -> tuple[bool, datetime, str, str, str]:
    return (not claim.has_begun, claim.since, claim.namespace, claim.name, claim.kind)


def _answer(claim: Claim, packing: Packing, supply: Supply, wishes: CapacityWishes) -> Standing:
    if claim.has_begun:
        return _stand(claim, ClaimState.READY, packing.put(claim.groups))
    small = too_small(supply.types or {}, claim.groups)
    if small:
        return Standing(claim, ClaimState.FITS_NOWHERE, detail=_which_are_small(small, len(supply.types or {})))
    placed = packing.put(claim.groups)
    if _may_begin(placed, wishes):
        return _stand(claim, ClaimState.READY, placed)
    if placed.left == 0 or (wishes.any_is_enough and placed.parts):
        return _stand(claim, ClaimState.COMING, placed)
    packing.take_back(placed)
    if not supply.types:
        return Standing(claim, ClaimState.UNKNOWN)
    alone = Packing([], supply.types, packing.count_max)
    if not wishes.any_is_enough and alone.put(claim.groups).left:
        return Standing(claim, ClaimState.TOO_MUCH, needed=count_alone(supply.types, claim.groups))
    return Standing(claim, ClaimState.BEHIND)


def _may_begin(placed: Packed, wishes: CapacityWishes) -> bool:
    if wishes.any_is_enough:
        return any(one.is_ready for one in placed.bins)
    return placed.left == 0 and all(one.is_ready for one in placed.bins)


def _stand(claim: Claim, verdict: ClaimState, placed: Packed) -> Standing:
    return Standing(claim, verdict, len(placed.bins), sum(one.is_ready for one in placed.bins))


def _which_are_small(small: Sequence[tuple[str, object, str]], types: int) -> str:
    """Returns the types that are too small, and what they lack: `S5.MEDIUM4 (cpu)`."""
    lacking: dict[str, str] = {}
    for name, _, resource in small:
        lacking.setdefault(name, resource)
    shown = [f"{name} ({resource})" for name, resource in list(lacking.items())[:TYPES_SHOWN]]
    named = ", ".join(shown) + (f" and {len(lacking) - TYPES_SHOWN} more" if len(lacking) > TYPES_SHOWN else "")
    if len(lacking) < types:
        return f"machines of {named} could be bought too, and are too small for one of its pods"
    return f"no type is large enough for one of its pods: {named}"


# --- how many there are to be -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """`Needs` remembers how many instances were needed lately: each entry holds since when, and how many."""

    entries: tuple[tuple[datetime, int], ...] = ()

    def with_need(self, now: datetime, needed: int, idle: timedelta) -> Needs:
        """Returns what to remember once `needed` are needed now. What ended longer than `idle` ago is forgotten.

        A clock that was set back forgets nothing: what it says of the past began now at the latest.
        """
        entries = [(min(since, now), count) for since, count in self.entries]
        if not entries or entries[-1][1] != needed:
            entries.append((now, needed))
        while len(entries) > 1 and entries[1][0] <= now - idle:
            entries.pop(0)
        return Needs(tuple(entries))

    @property
    def most(self) -> int:
        """Returns the most that was needed in that time."""
        return max((count for _, count in self.entries), default=0)


def replicas_for(needs: Needs, current: int, busy: int | None) -> int:
    """Returns how many instances there are to be. More at once; fewer only as far as machines have no work.

    `busy` counts machines that work. None when that is not known: then nothing goes.
    """
    wanted = needs.most
    if wanted >= current:
        return wanted
    return current if busy is None else min(current, max(wanted, busy))
