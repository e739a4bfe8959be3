"""Defines `Wish`: what people and programs have asked for one instance, by marks on its object or by deleting that.

Apart from `ledger`, because a wish is not ours: people and programs that may write the object make it. A wish chooses
among what may be done anyway. It never makes us buy more, nor touch an instance that is not proven to be ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Wish:
    """`Wish` holds everything that is asked for one instance.

    `protect`: it is not to be ended while its environment exists. `delete_first` and `deletion_cost` say which one goes
    when some have to: first the marked ones, then those of the lowest cost. `unhealthy`: it is to be replaced.
    `keep_for` is how long a failed one is kept to be looked at, from when it failed. `notice` is what was reported of
    its coming interruption. `ended`: its object was deleted, so it is to be ended.
    """

    protect: bool = False
    delete_first: bool = False
    deletion_cost: int = 0
    unhealthy: bool = False
    keep_for: timedelta | None = None
    notice: str | None = None
    ended: bool = False


#: What is asked for an instance that bears no mark.
NO_WISH = Wish()


class UnknownWishes(Mapping[str, Wish]):
    """`UnknownWishes` stands for wishes that are not known yet. Any instance may be protected, so none is ended by
    choice.
    """

    _PROTECTED = Wish(protect=True)

    def __getitem__(self, instance_id: str) -> Wish:
        """Returns the protection of any instance."""
        return self._PROTECTED

    def __iter__(self) -> Iterator[str]:
        """Returns an iterator of no ids, because none is known."""
        return iter(())

    def __len__(self) -> int:
        """Returns 0."""
        return 0
