"""Counts, id by id, what speaks for an instance being gone: sweeps without it, and look-ups without it.

Apart from `inventory` because it remembers over many sweeps. It draws no conclusion; `plan.ledger_sync` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotcompute.cloud.lookups import Look
from spotcompute.cloud.sweep import Sweep
from spotcompute.model.instance import Instance
from spotcompute.model.moments import age
from spotcompute.model.observation import Absence

#: How long an id that nobody asks about, and the end of an instance, are remembered.
KEPT = timedelta(hours=1)

#: How long a list may still show an instance as it was before its end.
LAG_MAX = timedelta(seconds=180)

#: Seconds from one look-up to the next that counts, and the part of them that is enough: timers are not exact.
LOOKS_APART = 0.35
NEARLY = 0.8


@dataclass(slots=True)
class _Sought:
    """`_Sought` counts what was in vain since the id was last shown. Moments are the loop's, but for `asked_at`.

    `looks` adds up what the look-ups were worth. `sweeps` counts 2 for each, and 1 when the look-up that agreed was not
    sound: the key in use may not be allowed to see the witnesses.
    """

    asked_at: datetime
    sweeps: int = 0
    swept_at: float | None = None
    looks: int = 0
    looked_at: float | None = None

    def count_sweep(self, sweep: Sweep, look: Look, apart: float) -> None:
        """Counts a sweep without the id, if it began long enough after the last one."""
        if self.swept_at is None or sweep.began >= self.swept_at + apart:
            self.sweeps, self.swept_at = self.sweeps + (2 if look.is_sound else 1), sweep.began

    def count_look(self, look: Look) -> None:
        """Counts a look-up without the id, if it was made long enough after the last one."""
        if look.weight and (self.looked_at is None or look.at >= self.looked_at + NEARLY * LOOKS_APART):
            self.looks, self.looked_at = self.looks + look.weight, look.at


class Absences:
    """`Absences` remembers which ids were sought in vain in one account and region."""

    def __init__(self, clock: Callable[[], datetime], apart: float) -> None:
        """Takes `apart`, the least time in seconds between two sweeps that both count."""
        self._clock, self._apart = clock, apart
        self._sought: dict[str, _Sought] = {}
        #: Since when lists lack what they had shown. Without its tags an instance is not in a list: it leaves this.
        self._unlisted: dict[str, datetime] = {}
        #: When each instance was last shown as ended, and as what. Only in memory, because an end in status may be
        #: forged.
        self._ended: dict[str, tuple[datetime, Instance]] = {}

    def swept(self, before: Sweep | None, after: Sweep) -> frozenset[str]:
        """Takes in a sweep. Returns the ids that only the sweep before has shown, and nothing has shown to end."""
        now, stale = self._clock(), self._clock() - KEPT
        self._ended = {key: end for key, end in self._ended.items() if end[0] >= stale}
        self._sought = {key: value for key, value in self._sought.items() if value.asked_at >= stale}
        self._unlisted = {key: moment for key, moment in self._unlisted.items() if moment >= stale}
        vanished = before.ids - after.ids if before is not None else set[str]()
        self._unlisted |= dict.fromkeys(vanished, now)
        self._note(after.instances)
        for instance_id in after.ids & self._unlisted.keys():
            del self._unlisted[instance_id]
        return frozenset(vanished - self._ended.keys())

    def looked(self, ids: Collection[str], look: Look) -> frozenset[str]:
        """Takes in a look-up by id: what it shows, and what it lacks of `ids`, which is returned."""
        self.shown(look.instances.values())
        absent = frozenset(ids) - look.instances.keys()
        for instance_id in absent:
            self._seek(instance_id).count_look(look)
        return absent

    def shown(self, instances: Iterable[Instance]) -> None:
        """Takes note of instances that a look-up has shown, alive or ended."""
        shown = list(instances)
        self._note(shown)
        for instance in shown:
            if instance.ownership is None:
                self._unlisted.pop(instance.id, None)

    def of(self, absent: Collection[str], sweep: Sweep, look: Look) -> Mapping[str, Absence]:
        """Counts once more what neither the sweep nor the look-up has shown, and returns what speaks for its end."""
        return {instance_id: self._absence(instance_id, sweep, look) for instance_id in absent}

    def without_lag(self, instances: Mapping[str, Instance]) -> dict[str, Instance]:
        """Returns the instances as they were last shown, if a look-up has shown an end that a list still lacks.

        Otherwise what is lost would be found again and lost again, and each time its replacement would be released.
        """
        return {key: self._end_of(key) or instance for key, instance in instances.items()}

    def _end_of(self, instance_id: str) -> Instance | None:
        """Returns the instance as it ended, while a list may still be older than that.

        One in the recycle bin may be taken out of it.
        """
        ended_at, instance = self._ended.get(instance_id, (None, None))
        if ended_at is None or instance is None or instance.is_in_recycle_bin:
            return None
        return instance if age(ended_at, self._clock()) <= LAG_MAX else None

    def unlisted(self, ids: Collection[str]) -> Mapping[str, datetime]:
        """Returns those of `ids` that lists show no more, and since when."""
        return {one: self._unlisted[one] for one in ids if one in self._unlisted}

    def _absence(self, instance_id: str, sweep: Sweep, look: Look) -> Absence:
        sought, was_listed = self._seek(instance_id), instance_id in self._unlisted
        sought.count_look(look)
        sought.count_sweep(sweep, look, self._apart)
        return Absence(
            sought.sweeps // 2,
            looked_up=True,
            had_ended=instance_id in self._ended,
            was_listed=was_listed,
            looks=sought.looks // 2,
        )

    def _seek(self, instance_id: str) -> _Sought:
        sought = self._sought.setdefault(instance_id, _Sought(self._clock()))
        sought.asked_at = self._clock()
        return sought

    def _note(self, instances: Iterable[Instance]) -> None:
        for instance in instances:
            self._sought.pop(instance.id, None)
            if instance.has_ended:
                self._ended[instance.id] = self._clock(), instance
            elif self._end_of(instance.id) is None:
                self._ended.pop(instance.id, None)
