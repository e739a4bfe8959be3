"""Sweeps one account and region: lists every instance once and hands out the result by environment.

No environment polls the cloud by itself, so the cost grows with the number of instances / 100, not with environments.
Apart from the provider because it remembers how often an id has been missing, and which environments have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta

from spotcompute.cloud.equipment_prices import EquipmentPrices
from spotcompute.cloud.errors import CloudError, InvalidCredentials, OutcomeUnknown
from spotcompute.cloud.keyring import Keyring
from spotcompute.cloud.market import MarketReader
from spotcompute.cloud.provider import CloudProvider
from spotcompute.cloud.sight import PATIENCE_SECONDS, Sight, View
from spotcompute.model.identity import binding_of, is_named_by_us
from spotcompute.model.instance import Instance
from spotcompute.model.moments import age
from spotcompute.model.observation import Absence, Observation
from spotcompute.telemetry import metrics

#: Ids per look-up call.
LOOK_UP_BATCH = 100

#: Sweeps in a row that must show no instance before that is believed, because one may be falsely empty.
AGREEING_SWEEPS = 3

#: Time until a key that was refused for the first time is tried again, because one refusal may be an accident.
RECHECK = timedelta(seconds=1)

#: An account that was not asked about for this long is no longer swept, unless its environments run more rarely.
IDLE = timedelta(minutes=30)


#: Longest rest of a key that the cloud refuses.
KEY_RESTS_MAX = timedelta(seconds=35)


@dataclass(frozen=True, slots=True)
class Pace:
    """`Pace` holds the times between two sweeps (`sweep`; `suspect` while an instance is missing) and two readings
    (`market`).

    An account that was not asked about for `idle` is no longer swept. `idle` must be longer than the longest time
    between two runs of an environment, because a quiet environment asks only in a run. Otherwise its losses would not
    be noticed.
    """

    sweep: timedelta
    suspect: timedelta
    market: timedelta
    failure_limit: timedelta = timedelta(seconds=60)
    idle: timedelta = IDLE


@dataclass(frozen=True, slots=True)
class _Sweep:
    """`_Sweep` is one complete listing, by environment id, with its number.

    `alive` holds the environments that own a live instance with a name of ours.
    """

    number: int
    started_at: datetime
    began: float  # by the loop's clock, which cannot be set back
    by_environment: Mapping[str, Mapping[str, Instance]]
    alive: frozenset[str]

    def slice(self, environment_id: str) -> Mapping[str, Instance]:
        return self.by_environment.get(environment_id, {})

    def bound_to(self, prefix: str) -> tuple[str, ...]:
        """Returns those of `alive` whose binding is `prefix`."""
        return _bound_to(prefix, self.alive)


def _bound_to(prefix: str, environment_ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(one for one in environment_ids if one.startswith(f"{prefix}-")))


def _is_alive_and_ours(instance: Instance) -> bool:
    """True when the instance lives and carries our tags and our name. Tags alone can be copied to another instance."""
    ownership = instance.ownership
    return not instance.has_ended and ownership is not None and is_named_by_us(instance, ownership)


@dataclass(slots=True)
class _Sought:
    """`_Sought` counts the sweeps in which an id was asked for and not found.

    `missed_in` is the number of the last one. `was_listed` says whether lists had shown the id before. If not (its tags
    are missing), lists prove nothing about it.
    """

    was_listed: bool
    misses: int = 0
    missed_in: int = 0
    asked_at: datetime | None = None


class Inventory:
    """`Inventory` holds the instances of one account in one region.

    `observe` serves every environment from its latest sweep.
    """

    def __init__(
        self,
        provider: CloudProvider,
        cluster_id: str,
        clock: Callable[[], datetime],
        pace: Pace,
        on_change: Callable[[Collection[str]], None],
    ) -> None:
        """Takes `on_change`, which is called with the ids of environments whose instances have changed."""
        self.provider, self.equipment_prices = provider, EquipmentPrices(provider, clock)
        self._cluster_id, self._clock, self._pace, self._on_change = cluster_id, clock, pace, on_change
        self._sweep: _Sweep | None = None
        self._alive_lately: deque[frozenset[str]] = deque(maxlen=AGREEING_SWEEPS)
        self._sweeping: asyncio.Task[_Sweep] | None = None
        self._market = MarketReader(provider, clock, pace.market)
        self._keyring = Keyring(self._key_rests_after, pace.idle, lambda: asyncio.get_running_loop().time())
        self.sight = Sight(
            lambda: self.provider.name, pace.sweep.total_seconds, kept=pace.idle.total_seconds(), wake=on_change
        )
        self.admit(provider)
        self._sought: dict[str, _Sought] = {}
        self._listed_before: set[str] = set()
        #: When each instance was last shown as ended. Only in memory, because an end in status may be forged.
        self._ended: dict[str, datetime] = {}
        self._failures, self._failed_at, self._error = 0, None, None
        self._asked_at = clock()
        self._hurry = asyncio.Event()
        self._is_retired = False

    _failures: int
    _failed_at: datetime | None
    _error: CloudError | None

    # --- keys --------------------------------------------------------------------------------------------------------

    def admit(self, provider: CloudProvider) -> None:
        """Takes in a key of this account that is in use now. Sweeps are made with all of them in turn."""
        if self._keyring.add(provider):
            self._failed_at = None  # what the other keys were refused says nothing about this one

    def retire(self) -> None:
        """Ends the sweeps, because another inventory shows the same account."""
        self._is_retired = True
        self.sight.close()
        self._hurry.set()

    async def _listed(self) -> tuple[Instance, ...]:
        """Lists with the first key, in their turn, that the cloud does not refuse. Raises CloudError."""
        error: CloudError | None = None
        for provider in self._keyring.in_turn():
            try:
                listed = await provider.list_instances(self._cluster_id)
            except InvalidCredentials as refusal:
                self._keyring.refused(provider, refusal)
                error = refusal
                continue
            self._keyring.accepted(provider)
            self.provider = self._market.provider = self.equipment_prices.provider = provider
            return listed
        raise error or InvalidCredentials("NoKey", "no key of this account is in use any more")

    def refuses(self, provider: CloudProvider) -> bool:
        """True when the cloud counts as refusing that key."""
        return self._keyring.refusal_of(provider) is not None

    def refusal_of(self, provider: CloudProvider) -> CloudError | None:
        """Returns why the cloud refuses that key, while it is not to be tried again yet. Returns None otherwise."""
        refusal = self._keyring.refusal_of(provider)
        return refusal if refusal is not None and self._keyring.rests(provider) else None

    def _key_rests_after(self, refusals: int) -> timedelta:
        """Returns how long a refused key rests: it may be allowed again without a change of its Secret."""
        return min(KEY_RESTS_MAX, self._rest_after(refusals))

    def _rest_after(self, failures: int) -> timedelta:
        """Returns how long to wait after so many failures in a row. The first refusal of a key is checked at once."""
        if failures <= 1 and self._keyring.is_in_doubt:
            return RECHECK
        return min(self._pace.failure_limit, self._pace.suspect * (1 << min(max(0, failures - 1), 10)))

    # --- asking ------------------------------------------------------------------------------------------------------

    async def observe(
        self,
        environment_id: str,
        ids: Collection[str],
        names: Collection[str],
        fresh_quotes: bool = False,
        asking: CloudProvider | None = None,
    ) -> Observation:
        """Returns what the cloud shows of one environment: its part of a fresh sweep, `ids` and `names`.

        `ids` that the sweep lacks are looked up, and instances are searched by each of `names`. The observation is
        complete, or CloudError is raised. With `fresh_quotes` the market is read now. Environments with a cost limit
        need that. Look-ups are made with the key of `asking`, one of this account's.
        """
        asking, self._asked_at = asking or self.provider, self._clock()
        self.sight.looks(environment_id, asking.key)
        sweep = await self._fresh_sweep(asking)
        await self._market.refresh(timedelta(0) if fresh_quotes else self._pace.market)
        instances = dict(sweep.slice(environment_id))
        try:
            instances |= await self._looked_up(environment_id, set(ids) - instances.keys(), names, asking)
        except CloudError:
            self.sight.sees_half(environment_id)
            raise
        self.sight.sees_all(environment_id)
        self._record_ended(instances.values())
        is_alone = all(instance.has_ended for instance in instances.values())
        return Observation(
            observed_at=sweep.started_at,
            account=asking.account or "",
            key=asking.key,
            instances=instances,
            absent=self._absences(sorted(set(ids) - instances.keys()), instances, sweep),
            searched=frozenset(names),
            market=self._market.latest,
            other_identities=frozenset(sweep.bound_to(binding_of(environment_id))) - {environment_id}
            if is_alone
            else frozenset(),
        )

    async def _looked_up(
        self, environment_id: str, ids: Collection[str], names: Collection[str], asking: CloudProvider
    ) -> dict[str, Instance]:
        """Returns what look-ups by id and searches by name find. Raises CloudError."""
        missing, instances = sorted(ids), dict[str, Instance]()
        for start in range(0, len(missing), LOOK_UP_BATCH):
            batch = missing[start : start + LOOK_UP_BATCH]
            found = await asking.get_instances(batch, environment_id)
            instances |= {instance.id: instance for instance in found if instance.id in batch}
        for name in sorted(names):
            named = await asking.find_by_name(name, environment_id)
            instances |= {instance.id: instance for instance in named}
        return instances

    def _absences(
        self, absent: Collection[str], present: Mapping[str, Instance], sweep: _Sweep
    ) -> Mapping[str, Absence]:
        for instance_id in present:
            self._sought.pop(instance_id, None)
        result = {}
        for instance_id in absent:
            sought = self._sought.setdefault(instance_id, _Sought(instance_id in self._listed_before))
            if sweep.number > sought.missed_in:
                sought.misses, sought.missed_in = sought.misses + 1, sweep.number
            sought.asked_at = self._clock()
            # An id that no list has ever shown needs twice as many misses, because only look-ups are evidence.
            misses = sought.misses if sought.was_listed else sought.misses // 2
            result[instance_id] = Absence(
                misses, looked_up=True, had_ended=instance_id in self._ended, was_listed=sought.was_listed
            )
        if absent:
            self._hurry.set()
        return result

    @property
    def next_view_in(self) -> timedelta:
        """Returns how long until the next sweep while the last sweeps have failed. Zero otherwise."""
        if self._failed_at is None:
            return timedelta(0)
        return max(timedelta(0), self._rest_after(self._failures) - age(self._failed_at, self._clock()))

    def touch(self) -> None:
        """Keeps the account in use, so that it is still swept."""
        self._asked_at = self._clock()

    @property
    def latest(self) -> tuple[datetime | None, tuple[Instance, ...]]:
        """Returns the start of the latest complete sweep and all its instances. None and nothing before the first."""
        if self._sweep is None:
            return None, ()
        slices = self._sweep.by_environment.values()
        return self._sweep.started_at, tuple(instance for piece in slices for instance in piece.values())

    @property
    def latest_began(self) -> float | None:
        """Returns when the latest complete sweep began, by the running loop's clock. None before the first."""
        return self._sweep.began if self._sweep else None

    async def environments_bound_to(self, prefix: str, asking: CloudProvider | None = None) -> tuple[str, ...]:
        """Returns the ids of environments with the binding `prefix` that own a live instance. Raises CloudError."""
        self._asked_at = self._clock()
        return (await self._fresh_sweep(asking or self.provider)).bound_to(prefix)

    def has_shown_none(self, prefix: str) -> bool:
        """True when none of the last few sweeps showed a live instance under that binding.

        Otherwise a sweep is made soon.
        """
        is_sure = len(self._alive_lately) == AGREEING_SWEEPS
        if is_sure and not any(_bound_to(prefix, alive) for alive in self._alive_lately):
            return True
        self._hurry.set()
        return False

    # --- sweeping ----------------------------------------------------------------------------------------------------

    async def _fresh_sweep(self, asking: CloudProvider) -> _Sweep:
        """Returns the latest sweep. When that is too old, all callers wait for a new one.

        Raises CloudError for a key that the cloud refuses, although other keys of the account may still show something.
        """
        if (refusal := self.refusal_of(asking)) is not None:
            raise refusal.with_traceback(None)
        if not self.refuses(asking):
            if self._sweep is not None and age(self._sweep.started_at, self._clock()) <= 2 * self._pace.sweep:
                return self._sweep
            if self._error is not None and self.next_view_in > timedelta(0):
                raise self._error.with_traceback(None)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if self.sight.error else None):
                sweep = await self._shared_sweep()
        except TimeoutError:
            raise self.sight.error or OutcomeUnknown("NoAnswer", "the cloud does not answer") from None
        if (refusal := self._keyring.refusal_of(asking)) is not None:
            raise refusal.with_traceback(None)
        return sweep

    async def _shared_sweep(self) -> _Sweep:
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep_now(), context=Context())
        return await asyncio.shield(self._sweeping)

    async def _sweep_now(self) -> _Sweep:
        started_at, began = self._clock(), asyncio.get_running_loop().time()
        try:
            with metrics.sweep_seconds.time():
                listed = await self._listed()
        except CloudError as error:
            self._failures, self._failed_at, self._error = self._failures + 1, self._clock(), error
            self.sight.failed(error)
            self.sight.refusals(self._keyring.refused_keys)
            raise
        self._failures, self._failed_at, self._error = 0, None, None
        by_environment: dict[str, dict[str, Instance]] = {}
        for instance in listed:
            if instance.ownership is not None:
                by_environment.setdefault(instance.ownership.environment_id, {})[instance.id] = instance
        before, number = self._sweep, self._sweep.number + 1 if self._sweep else 1
        if before is not None:
            self._listed_before = {key for piece in before.by_environment.values() for key in piece}
        alive = frozenset(key for key, piece in by_environment.items() if any(map(_is_alive_and_ours, piece.values())))
        self._sweep = _Sweep(number, started_at, began, by_environment, alive)
        self._alive_lately.append(alive)
        self._record_seen(listed)
        self._report_changes(before, self._sweep)
        self.sight.came(View(started_at, began, asyncio.get_running_loop().time() - began))
        self.sight.refusals(self._keyring.refused_keys)
        return self._sweep

    def _record_ended(self, instances: Iterable[Instance]) -> None:
        for instance in instances:
            if instance.has_ended:
                self._ended[instance.id] = self._clock()
            else:
                self._ended.pop(instance.id, None)

    def _record_seen(self, listed: Collection[Instance]) -> None:
        for instance in listed:
            self._sought.pop(instance.id, None)
        self._record_ended(listed)
        stale = self._clock() - timedelta(hours=1)
        self._ended = {key: moment for key, moment in self._ended.items() if moment >= stale}
        self._sought = {key: value for key, value in self._sought.items() if (value.asked_at or stale) >= stale}

    def _report_changes(self, before: _Sweep | None, after: _Sweep) -> None:
        known = before.by_environment if before else {}
        changed = {
            environment_id
            for environment_id in known.keys() | after.by_environment.keys()
            if known.get(environment_id) != after.by_environment.get(environment_id)
        }
        if before is not None and changed:
            self._on_change(changed)

    async def run(self) -> None:
        """Sweeps until no caller has asked for a long time, faster while an instance is missing."""
        try:
            while not self._is_retired and age(self._asked_at, self._clock()) < self._pace.idle:
                await self._pause()
                with contextlib.suppress(CloudError):
                    await self._shared_sweep()
        finally:
            self.sight.close()

    async def _pause(self) -> None:
        self._hurry.clear()
        if self._failures or self._keyring.is_in_doubt:
            await asyncio.sleep(max(self.next_view_in, RECHECK).total_seconds())
            return
        short, long = self._pace.suspect.total_seconds(), self._pace.sweep.total_seconds()
        await asyncio.sleep(min(short, long))
        with contextlib.suppress(TimeoutError):
            # Not wait_for: on Python 3.11 it loses a cancellation that comes with its result.
            async with asyncio.timeout(max(0.0, long - short)):
                await self._hurry.wait()
