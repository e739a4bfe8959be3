"""Keeps action timers: an instance ends at a moment that its owner has set.

Apart from `world`, which carries out what is due, because timers are listed and deleted by ids of their own.
"""

import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

UNDO, DOING, DONE = "UNDO", "DOING", "DONE"  # the vendor's words


@dataclass(slots=True, eq=False)
class Timer:
    """`Timer` ends one instance at `at` (world seconds)."""

    id: str
    instance_id: str
    at: float
    status: str = UNDO


class Timers:
    """`Timers` holds the timers that were not deleted, by id."""

    def __init__(self, seed: int) -> None:
        self._ids = random.Random(f"{seed}:timers")
        self._all: dict[str, Timer] = {}
        self._of: dict[str, list[Timer]] = {}  # by instance

    def add(self, instance_id: str, at: float) -> Timer:
        """Adds a timer."""
        timer = Timer(str(uuid.UUID(int=self._ids.getrandbits(128), version=4)), instance_id, at)
        self._all[timer.id] = timer
        self._of.setdefault(instance_id, []).append(timer)
        return timer

    def find(self, timer_id: str) -> Timer | None:
        """Returns a timer. None when there is none."""
        return self._all.get(timer_id)

    def of(self, instance_ids: Iterable[str]) -> list[Timer]:
        """Returns the timers of instances."""
        return [timer for instance_id in instance_ids for timer in self._of.get(instance_id, ())]

    def all(self) -> list[Timer]:
        """Returns all timers, in order of creation."""
        return list(self._all.values())

    def delete(self, timer: Timer) -> None:
        """Deletes a timer, which then does nothing."""
        del self._all[timer.id]
        self._of[timer.instance_id].remove(timer)
