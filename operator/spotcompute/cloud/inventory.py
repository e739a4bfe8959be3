"""Sweeps one account and region: lists every instance once and hands out the result by environment.

No environment polls the cloud by itself, so the cost grows with the number of instances / 100, not with environments.
Apart from the provider because it remembers how often an id has been missing, and which environments have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from spotcompute.cloud.absences import LOOKS_APART, Absences
from spotcompute.cloud.arrivals import Arrivals
from spotcompute.cloud.claims import TakeoverClaims
from spotcompute.cloud.equipment_prices import EquipmentPrices
from spotcompute.cloud.errors import CloudError, OutcomeUnknown
from spotcompute.cloud.for_all import begun_for_all
from spotcompute.cloud.keyring import Keyring
from spotcompute.cloud.listing import AccountListing
from spotcompute.cloud.lookups import WITNESSES, Look, LookUps
from spotcompute.cloud.market import MarketReader
from spotcompute.cloud.pace import RECHECK, Pace, Tempo
from spotcompute.cloud.provider import CloudProvider
from spotcompute.cloud.sight import PATIENCE_SECONDS, Sight, View
from spotcompute.cloud.sweep import Sweep, bound_to
from spotcompute.cloud.waiting import Waiting
from spotcompute.model.identity import binding_of
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.moments import age
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market
from spotcompute.telemetry import metrics

#: Sweeps in a row that must show no instance before that is believed, because one may be falsely empty. They begin at
#: least `Pace.suspect` apart.
AGREEING_SWEEPS = 3

#: Look-ups that follow at once when a sweep lacks what the one before has shown.
LOOKS = 3

#: Between two sweeps there is a pause of at least this part of their interval, however long the first one took.
PAUSE_MIN = 4


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
        self._clock, self._pace, self._on_change = clock, pace, on_change
        self._keyring = Keyring(provider, pace.rest_of_key, pace.idle, lambda: asyncio.get_running_loop().time())
        self._listing = AccountListing(self._keyring, cluster_id)
        self._tempo = Tempo(pace, clock)
        self.waiting = Waiting(clock, on_change)
        self.sight = Sight(
            lambda: self.provider.name,
            self._tempo.interval_seconds,
            kept=pace.idle.total_seconds(),
            wake=on_change,
        )
        self.claims = TakeoverClaims()
        self.equipment_prices = EquipmentPrices(lambda: self.provider, clock)
        self._market = MarketReader(lambda: self.provider, clock, pace.market)
        self._lookups, self._absences = LookUps(), Absences(clock, pace.agreeing_apart)
        self.arrivals = Arrivals(lambda: self.provider, on_change)
        self._sweep: Sweep | None = None
        self._sweeping: asyncio.Task[Sweep] | None = None
        self._confirming: set[asyncio.Task[None]] = set()
        self._alive_lately: deque[tuple[float, frozenset[str]]] = deque(maxlen=AGREEING_SWEEPS)
        self._asked_at = clock()
        self._hurry = asyncio.Event()
        self._is_retired, self._not_before = False, 0.0

    # --- keys --------------------------------------------------------------------------------------------------------

    @property
    def provider(self) -> CloudProvider:
        """Returns the key with which the account was last swept."""
        return self._keyring.current

    def admit(self, provider: CloudProvider) -> None:
        """Takes in a key of this account that is in use now. Sweeps are made with all of them in turn."""
        if self._keyring.add(provider):
            self._tempo.forgive()  # what the other keys were refused says nothing about this one

    def retire(self, heir: Inventory) -> None:
        """Ends the sweeps, because `heir` shows the same account. That serves no view older than the last one here."""
        heir._not_before = max(heir._not_before, self.latest_began or 0.0)
        self._is_retired = True
        self.sight.close()
        self._hurry.set()

    def refuses(self, provider: CloudProvider) -> bool:
        """True when the cloud counts as refusing that key."""
        return self._keyring.refusal_of(provider) is not None

    def refusal_of(self, provider: CloudProvider) -> CloudError | None:
        """Returns why the cloud refuses that key, while it is not to be tried again yet. Returns None otherwise."""
        refusal = self._keyring.refusal_of(provider)
        return refusal if refusal is not None and self._keyring.rests(provider) else None

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

        `ids` that the sweep lacks, or showed in PENDING some seconds ago, are looked up, and instances are searched by
        each of `names`. The observation is complete, or CloudError is raised. With `fresh_quotes` the market is read
        now. Environments with a cost limit need that. Look-ups are made with the key of `asking`, one of this
        account's.
        """
        asking, self._asked_at = asking or self.provider, self._clock()
        self.sight.looks(environment_id, asking.key)
        sweep = await self._fresh_sweep(asking)
        instances = dict(sweep.slice(environment_id))
        arrived = self.arrivals.seen(ids)
        wanted = set(ids) - arrived.keys() - (instances.keys() - self._may_run_by_now(sweep, environment_id))
        try:
            look, named, _ = await asyncio.gather(
                self._look(environment_id, wanted, sweep, asking),
                self._named(environment_id, names, asking),
                self._market.refresh(timedelta(0) if fresh_quotes else self._pace.market),
            )
        except CloudError:
            self.sight.sees_half(environment_id)
            raise
        self.sight.sees_all(environment_id)
        found = {key: look.instances[key] for key in ids if key in look.instances} | named
        self._absences.shown(found.values())
        instances = self._absences.without_lag({**instances, **arrived, **found})
        absent = set(ids) - instances.keys()
        if absent:
            self._hurry.set()
        others = frozenset(sweep.bound_to(binding_of(environment_id))) - {environment_id}
        return Observation(
            observed_at=sweep.started_at,
            account=asking.account or "",
            key=asking.key,
            instances=instances,
            absent=self._absences.of(sorted(absent), sweep, look),
            unlisted=self._absences.unlisted(found),
            searched=frozenset(names),
            market=replace(self._market.latest, sold_at=self.waiting.sold_at),
            waiting=self.waiting.count,
            other_identities=others if all(one.has_ended for one in instances.values()) else frozenset(),
        )

    def _may_run_by_now(self, sweep: Sweep, environment_id: str) -> set[str]:
        """Returns what the sweep showed in PENDING, when it is older than sweeps of a small account ever are."""
        if age(sweep.started_at, self._clock()) <= self._pace.sweep:
            return set()
        return {key for key, one in sweep.slice(environment_id).items() if one.state is InstanceState.PENDING}

    async def _look(self, environment_id: str, ids: Collection[str], sweep: Sweep, asking: CloudProvider) -> Look:
        """Looks up what the sweep lacks, together with witnesses that it shows. Raises CloudError."""
        if not ids:
            return Look({}, asyncio.get_running_loop().time(), 0)
        return await self._lookups.find(asking, ids, sweep.witnesses(environment_id, WITNESSES), environment_id)

    async def _named(self, environment_id: str, names: Collection[str], asking: CloudProvider) -> dict[str, Instance]:
        """Searches for instances by their names. Raises CloudError."""
        found = [await asking.find_by_name(name, environment_id) for name in sorted(names)]
        return {instance.id: instance for instances in found for instance in instances}

    @property
    def market(self) -> Market:
        """Returns the latest reading of the market, empty before the first."""
        return self._market.latest

    @property
    def next_view_in(self) -> timedelta:
        """Returns how long until the next sweep while the last sweeps have failed. Zero otherwise."""
        return self._tempo.rest

    def touch(self) -> None:
        """Keeps the account in use, so that it is still swept."""
        self._asked_at = self._clock()

    @property
    def latest(self) -> tuple[datetime | None, tuple[Instance, ...]]:
        """Returns the start of the latest complete sweep and all its instances. None and nothing before the first."""
        if self._sweep is None:
            return None, ()
        return self._sweep.started_at, tuple(self._sweep.instances)

    def of_environment(self, environment_id: str) -> Mapping[str, Instance]:
        """Returns what the latest sweep shows of one environment, by id. Empty before the first sweep."""
        return self._sweep.slice(environment_id) if self._sweep else {}

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
        if is_sure and not any(bound_to(prefix, alive) for _, alive in self._alive_lately):
            return True
        self._hurry.set()
        return False

    # --- sweeping ----------------------------------------------------------------------------------------------------

    async def _fresh_sweep(self, asking: CloudProvider) -> Sweep:
        """Returns the latest sweep. When that is too old, all callers wait for a new one.

        Raises CloudError for a key that the cloud refuses, although other keys of the account may still show something.
        """
        if (refusal := self.refusal_of(asking)) is not None:
            raise refusal.with_traceback(None)
        if not self.refuses(asking):
            if self._sweep is not None and self._is_fresh(self._sweep):
                return self._sweep
            if self._tempo.error is not None and self.next_view_in > timedelta(0):
                raise self._tempo.error.with_traceback(None)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if self.sight.error else None):
                sweep = await self._shared_sweep()
        except TimeoutError:
            raise self.sight.error or OutcomeUnknown("NoAnswer", "the cloud does not answer") from None
        if (refusal := self._keyring.refusal_of(asking)) is not None:
            raise refusal.with_traceback(None)
        return sweep

    def _is_fresh(self, sweep: Sweep) -> bool:
        is_young = age(sweep.started_at, self._clock()) <= self._tempo.oldest_view
        return is_young and sweep.began >= self._not_before

    async def _shared_sweep(self) -> Sweep:
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = begun_for_all(self._sweep_now())
        return await asyncio.shield(self._sweeping)

    async def _sweep_now(self) -> Sweep:
        started_at, began = self._clock(), asyncio.get_running_loop().time()
        try:
            with metrics.sweep_seconds.time():
                listed = await self._listing.instances()
        except CloudError as error:
            self._tempo.failed(error, is_key_in_doubt=self._keyring.is_in_doubt)
            self.sight.failed(error)
            self.sight.refusals(self._keyring.refused_keys)
            raise
        self._tempo.went_well(len(listed))
        before, self._sweep = self._sweep, Sweep.of(started_at, began, listed)
        self._remember_alive(self._sweep)
        self.arrivals.listed(self._sweep)
        vanished = self._absences.swept(before, self._sweep)
        if before is not None and vanished:
            self._confirm(vanished, before.owners_of(vanished))
        changed = self._sweep.changed_since(before) if before is not None else set[str]()
        if before is not None and (news := self.arrivals.worth_telling(changed, before, self._sweep)):
            self._on_change(news)
        self.sight.came(View(started_at, began, asyncio.get_running_loop().time() - began))
        self.sight.refusals(self._keyring.refused_keys)
        return self._sweep

    def _confirm(self, vanished: Collection[str], owners: Collection[str]) -> None:
        """Looks several times for what a sweep lacks, without waiting for its environments, and then wakes those."""

        async def look() -> frozenset[str]:
            witnesses = self._sweep.witnesses("", WITNESSES) if self._sweep else ()
            found = await self._lookups.find(self.provider, vanished, witnesses, "")
            return self._absences.looked(vanished, found)

        async def confirm() -> None:
            with contextlib.suppress(CloudError):
                looks = [begun_for_all(look())]
                for _ in range(LOOKS - 1):
                    await asyncio.sleep(LOOKS_APART)
                    looks.append(begun_for_all(look()))
                if any(await asyncio.gather(*looks)):
                    self._on_change(owners)

        task = begun_for_all(confirm())
        self._confirming.add(task)
        task.add_done_callback(self._confirming.discard)

    def _remember_alive(self, sweep: Sweep) -> None:
        """Remembers which environments own something. Sweeps close together count as one that shows all they show."""
        began, alive = self._alive_lately[-1] if self._alive_lately else (None, sweep.alive)
        if began is not None and sweep.began < began + self._pace.agreeing_apart:
            self._alive_lately[-1] = began, alive | sweep.alive
        else:
            self._alive_lately.append((sweep.began, sweep.alive))

    async def run(self) -> None:
        """Sweeps until no caller has asked for a long time, faster while an instance is missing."""
        looks = asyncio.create_task(self.arrivals.run())
        try:
            while not self._is_retired and age(self._asked_at, self._clock()) < self._pace.idle:
                await self._pause()
                with contextlib.suppress(CloudError):
                    await self._shared_sweep()
                if looks.done():
                    looks.result()  # raises what has ended them
        finally:
            looks.cancel()
            self.sight.close()
            for task in self._confirming:
                task.cancel()

    async def _pause(self) -> None:
        self._hurry.clear()
        if self._tempo.failures or self._keyring.is_in_doubt:
            await asyncio.sleep(max(self.next_view_in, RECHECK).total_seconds())
            return
        spent = asyncio.get_running_loop().time() - self._sweep.began if self._sweep else 0.0
        short, long = self._tempo.hurried.total_seconds(), self._tempo.interval.total_seconds()
        # A cloud that is slow is not asked without a pause.
        await asyncio.sleep(max(short - spent, long / PAUSE_MIN))
        with contextlib.suppress(TimeoutError):
            # Not wait_for: on Python 3.11 it loses a cancellation that comes with its result.
            async with asyncio.timeout(long - max(short, spent)):
                await self._hurry.wait()
