"""Asks for instances by id: for all environments with one key together, and with witnesses.

Apart from `inventory`, which lists, because a look-up proves something of its own. A witness is an instance that the
latest sweep showed alive. An answer that lacks a witness is not complete, and what else it lacks may live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from spotcompute.cloud.few import few_at_once
from spotcompute.cloud.for_all import begun_for_all
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.instance import Instance

#: Ids in one call.
BATCH = 100

#: Witnesses in one call. One stands in front and the others behind, so that an answer that lacks its beginning, its end
#: or every second item lacks one of them.
WITNESSES = 4

#: Seconds in which environments that ask with one key are gathered into one call.
GATHERING = 0.01

#: Calls of one look-up at the same time.
CALLS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Look:
    """`Look` is what one look-up has shown, and when it was made, by the loop's clock.

    `weight` says what the absence of an id is worth: 2 when two or more witnesses were asked for and shown, 1 with one
    witness, 0 without a witness, or when a witness was not shown. In the last case it is not `is_sound`.
    """

    instances: Mapping[str, Instance]
    at: float
    weight: int
    is_sound: bool = True


@dataclass(slots=True)
class _Gathering:
    """`_Gathering` holds the ids that the next call asks for, and who asks for them."""

    ids: set[str] = field(default_factory=set)
    look: asyncio.Task[Look] | None = None


class LookUps:
    """`LookUps` looks instances up for many environments."""

    def __init__(self) -> None:
        self._gatherings: dict[str, _Gathering] = {}

    async def find(
        self, asking: CloudProvider, ids: Collection[str], witnesses: Sequence[str], on_behalf_of: str
    ) -> Look:
        """Looks `ids` up with that key, together with those of others who ask at the same time. Raises CloudError."""
        gathering = self._gatherings.setdefault(asking.key, _Gathering())
        gathering.ids.update(ids)
        if gathering.look is None:
            gathering.look = begun_for_all(self._look(asking, gathering, witnesses, on_behalf_of))
        return await asyncio.shield(gathering.look)

    async def _look(
        self, asking: CloudProvider, gathering: _Gathering, witnesses: Sequence[str], on_behalf_of: str
    ) -> Look:
        await asyncio.sleep(GATHERING)
        del self._gatherings[asking.key]
        at = asyncio.get_running_loop().time()
        witnesses = [one for one in witnesses if one not in gathering.ids]
        size, wanted = BATCH - len(witnesses), sorted(gathering.ids)
        batches = [_among(witnesses, wanted[start : start + size]) for start in range(0, len(wanted), size)]
        calls = [partial(asking.get_instances, batch, on_behalf_of) for batch in batches]
        answers = [{one.id: one for one in answer} for answer in await few_at_once(CALLS_AT_ONCE, calls)]
        is_sound = all(answer.keys() >= set(witnesses) for answer in answers)
        weight = min(2, len(witnesses)) if is_sound else 0
        return Look({key: one for answer in answers for key, one in answer.items()}, at, weight, is_sound)


def _among(witnesses: Sequence[str], ids: Sequence[str]) -> list[str]:
    in_front = witnesses[:1] if len(witnesses) > 2 else ()
    return [*in_front, *ids, *witnesses[len(in_front) :]]
