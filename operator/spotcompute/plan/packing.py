"""Packs pods of few shapes into machines, pod by pod: the largest shape first, into the first machine with room.

Apart from `claims`, which says whose turn it is: here is only arithmetic. First fit needs at most a fifth more machines
than the best packing, and gives the same answer however things are ordered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spotcompute.model.claim import Amounts, PodGroup


@dataclass(slots=True)
class Bin:
    """`Bin` is one machine with the room that is left in it. `is_ready` is False until pods can start there.

    `id` is None for a machine that is still to be asked for. `pods` counts those that were put in.
    """

    id: str | None
    room: dict[str, int]
    is_ready: bool = False
    pods: int = 0


@dataclass(frozen=True, slots=True)
class Packed:
    """`Packed` says where pods were put, and how many found no room."""

    parts: tuple[tuple[Bin, Amounts, int], ...] = ()
    left: int = 0

    @property
    def bins(self) -> list[Bin]:
        """Returns each machine that got a pod, once, in order."""
        return list({id(one): one for one, _, _ in self.parts}.values())


@dataclass(slots=True)
class Packing:
    """`Packing` is a number of machines that fills up. At most `count_max` of them may be in use, new ones included."""

    bins: list[Bin]
    types: Mapping[str, Amounts]
    count_max: int
    _used: int = field(default=0, init=False)

    @property
    def used(self) -> int:
        """Returns how many machines hold a pod."""
        return self._used

    @property
    def new(self) -> int:
        """Returns how many machines must be asked for."""
        return sum(one.id is None for one in self.bins)

    def put(self, groups: Iterable[PodGroup]) -> Packed:
        """Puts in as many pods as find room, and returns where."""
        parts: list[tuple[Bin, Amounts, int]] = []
        left = 0
        for group in sorted(groups, key=self._size, reverse=True):
            missing = group.count
            for one in self.bins:
                if missing == 0:
                    break
                missing -= self._put(one, group.requests, missing, parts)
            best = best_type(self.types, group.requests)
            while missing and best is not None and self._used < self.count_max:
                self.bins.append(Bin(None, dict(self.types[best])))
                missing -= self._put(self.bins[-1], group.requests, missing, parts)
            left += missing
        return Packed(tuple(parts), left)

    def take_back(self, placement: Packed) -> None:
        """Takes out what `put` has just put in. Machines that were asked for to hold it are asked for no more."""
        for one, requests, count in placement.parts:
            one.pods -= count
            self._used -= one.pods == 0
            for name, amount in requests.items():
                one.room[name] = one.room.get(name, 0) + amount * count
        self.bins[:] = [one for one in self.bins if one.id is not None or one.pods]

    def _put(self, one: Bin, requests: Amounts, wanted: int, parts: list[tuple[Bin, Amounts, int]]) -> int:
        """Puts pods into one machine. Returns how many."""
        count = min(wanted, fitting(one.room, requests))
        if count == 0 or (one.pods == 0 and self._used >= self.count_max):
            return 0
        self._used += one.pods == 0
        one.pods += count
        for name, amount in requests.items():
            one.room[name] = one.room.get(name, 0) - amount * count
        parts.append((one, requests, count))
        return count

    def _size(self, group: PodGroup) -> tuple[float, str]:
        """Returns which part of the best type one pod takes, by the resource of which it takes most."""
        best = best_type(self.types, group.requests)
        if best is None:
            return (1.0, group.name)
        room = self.types[best]
        return (max((amount / room[name] for name, amount in group.requests.items() if amount), default=0), group.name)


def fitting(room: Amounts, requests: Amounts) -> int:
    """Returns how many pods with these requests have room. A resource that the machine does not name has none."""
    return min((max(0, room.get(name, 0)) // amount for name, amount in requests.items() if amount > 0), default=0)


def best_type(types: Mapping[str, Amounts], requests: Amounts) -> str | None:
    """Returns the type that holds most of such pods. None when no type holds one.

    If a smaller type is bought in the end, more are asked for then. The other way round too many would be bought.
    """
    holds = [(fitting(room, requests), name) for name, room in types.items()]
    count, name = max(holds, default=(0, ""), key=lambda one: (one[0], one[1]))
    return name if count else None


def count_alone(types: Mapping[str, Amounts], groups: Iterable[PodGroup]) -> int:
    """Returns how many machines such pods need when each group has its own. Every group must fit some type."""
    held = ((group.count, max(fitting(room, group.requests) for room in types.values())) for group in groups)
    return sum(-(-count // most) for count, most in held)


def too_small(types: Mapping[str, Amounts], groups: Sequence[PodGroup]) -> list[tuple[str, PodGroup, str]]:
    """Returns every type that holds not even one pod of a group, with that group and the resource that it lacks."""
    return [
        (name, group, next(key for key, amount in sorted(group.requests.items()) if room.get(key, 0) < amount))
        for name, room in sorted(types.items())
        for group in groups
        if group.count and not fitting(room, group.requests)
    ]
