"""Defines `Sweep`: one complete list of an account and region, by environment.

Apart from `inventory` because it is a value: what one list shows never changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest

from spotcompute.model.identity import is_named_by_us
from spotcompute.model.instance import Instance

#: Instances that a sweep names as its oldest.
OLDEST = 8


@dataclass(frozen=True, slots=True)
class Sweep:
    """`Sweep` is one complete list. It began at `started_at`, and at `began` by the loop's clock, which cannot be set
    back.

    `alive` holds the environments that own a live instance with a name of ours, `oldest` the ids of a few such
    instances, the oldest first.
    """

    started_at: datetime
    began: float
    by_environment: Mapping[str, Mapping[str, Instance]]
    alive: frozenset[str]
    oldest: tuple[str, ...] = ()

    @classmethod
    def of(cls, started_at: datetime, began: float, listed: Iterable[Instance]) -> Sweep:
        """Sorts a list by environment. Instances without our tags belong to none."""
        by_environment: dict[str, dict[str, Instance]] = {}
        for instance in listed:
            if instance.ownership is not None:
                by_environment.setdefault(instance.ownership.environment_id, {})[instance.id] = instance
        alive = (key for key, piece in by_environment.items() if any(map(_is_alive_and_ours, piece.values())))
        everything = (one for piece in by_environment.values() for one in piece.values())
        return cls(started_at, began, by_environment, frozenset(alive), _oldest(everything))

    def slice(self, environment_id: str) -> Mapping[str, Instance]:
        """Returns the instances of one environment."""
        return self.by_environment.get(environment_id, {})

    @property
    def instances(self) -> Iterator[Instance]:
        """Yields the instances of all environments."""
        return (instance for piece in self.by_environment.values() for instance in piece.values())

    @property
    def ids(self) -> set[str]:
        """Returns the ids of all instances."""
        return {key for piece in self.by_environment.values() for key in piece}

    def bound_to(self, prefix: str) -> tuple[str, ...]:
        """Returns those of `alive` whose binding is `prefix`."""
        return bound_to(prefix, self.alive)

    def changed_since(self, before: Sweep) -> set[str]:
        """Returns the environments whose instances are not the same as in the sweep before."""
        pieces, known = self.by_environment, before.by_environment
        return {key for key in known.keys() | pieces.keys() if known.get(key) != pieces.get(key)}

    def changed_in(self, environment_id: str, before: Sweep) -> set[str]:
        """Returns the ids of one environment that are not shown as in the sweep before."""
        piece, known = self.slice(environment_id), before.slice(environment_id)
        return {key for key in known.keys() | piece.keys() if known.get(key) != piece.get(key)}

    def owners_of(self, ids: Collection[str]) -> set[str]:
        """Returns the environments that own any of these instances."""
        return {key for key, piece in self.by_environment.items() if not piece.keys().isdisjoint(ids)}

    def witnesses(self, environment_id: str, count: int) -> tuple[str, ...]:
        """Returns the ids of at most `count` live instances: the oldest of the environment, then others.

        The environment's key is most likely to be allowed to see its own.
        """
        own = _oldest(self.slice(environment_id).values())
        return tuple(dict.fromkeys((*own, *self.oldest)))[:count]


def _oldest(instances: Iterable[Instance]) -> tuple[str, ...]:
    alive = filter(_is_alive_and_ours, instances)
    return tuple(one.id for one in nsmallest(OLDEST, alive, key=lambda one: (one.created_at, one.id)))


def bound_to(prefix: str, environment_ids: Iterable[str]) -> tuple[str, ...]:
    """Returns those of the environments whose binding is `prefix`, in order."""
    return tuple(sorted(one for one in environment_ids if one.startswith(f"{prefix}-")))


def _is_alive_and_ours(instance: Instance) -> bool:
    """True when the instance lives and carries our tags and our name. Tags alone can be copied to another instance."""
    ownership = instance.ownership
    return not instance.has_ended and ownership is not None and is_named_by_us(instance, ownership)
