"""Keeps the inventories of all accounts and regions in use, and the tasks that refresh them.

Apart from `inventory` because an inventory is one account in one region and owns no task. The cloud tells to which
account a key belongs, because keys are rotated, and several Secrets may hold keys of one account. Where the cloud does
not tell, a key has an inventory of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from spotcompute.cloud.credentials import AnyKey, ProviderFactory
from spotcompute.cloud.errors import CloudError, NotSent, OutcomeUnknown, Throttled, Unavailable
from spotcompute.cloud.inventory import Inventory
from spotcompute.cloud.pace import Pace
from spotcompute.cloud.provider import CloudProvider
from spotcompute.cloud.sight import Blindness
from spotcompute.model.instance import Instance
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Market

_log = structlog.get_logger(__name__)

#: The longest wait for the answer to which account a key belongs. What the key shows can be read without it.
PATIENCE = timedelta(seconds=5)

#: Ids in one look-up.
LOOKED_UP_AT_ONCE = 100

#: The longest pause before the same question is asked again: after a refusal, and after no answer.
PAUSE_MAX, PAUSE_WITHOUT_ANSWER = timedelta(minutes=5), timedelta(seconds=20)

#: How long a key has shown instances when the number of its account is waited for no more.
NUMBER_AWAITED = timedelta(seconds=60)

#: Failures that say nothing: the next answer may tell it.
_PASSING = (OutcomeUnknown, NotSent, Throttled, Unavailable)


@dataclass(slots=True)
class Key:
    """`Key` is one key in one region, with the answer to which account it belongs. Times are the loop's.

    `users` are the environments that have looked with it, `shown_at` is when the first of them saw something, and
    `learning` asks again while there is no answer.
    """

    provider: CloudProvider
    users: set[str] = field(default_factory=set)
    learning: asyncio.Task[None] | None = None
    named_at: float = 0.0
    shown_at: float | None = None
    ask_again_at: float = 0.0
    failures: int = 0
    error: CloudError | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class AccountAccess:
    """`AccountAccess` is what one key opens: the inventory of its account, which all keys of the account share.

    Launches, releases and look-ups are made with `provider`, so that no environment acts with the key of another
    Secret. `unknown_because` is why the cloud does not tell to which account the key belongs, None when it does.
    """

    inventory: Inventory
    key: Key

    @property
    def provider(self) -> CloudProvider:
        """Returns what makes calls with the key."""
        return self.key.provider

    @property
    def unknown_because(self) -> CloudError | None:
        """Returns why the cloud does not tell to which account the key belongs. Returns None when it does."""
        return self.key.error

    @property
    def awaits_number(self) -> bool:
        """True when the number of the account is likely to be told soon, and the key has not shown instances for long.

        Should the key be changed just after a launch without it, the account of that launch could not be named.
        """
        key, now = self.key, asyncio.get_running_loop().time()
        if key.provider.account is not None or not isinstance(key.error, _PASSING):
            return False
        return key.shown_at is None or now - key.shown_at < NUMBER_AWAITED.total_seconds()

    async def observe(
        self, environment_id: str, ids: Collection[str], names: Collection[str], fresh_quotes: bool = False
    ) -> Observation:
        """Returns what the cloud shows of one environment; see `Inventory.observe`. Raises CloudError."""
        self.key.users.add(environment_id)
        observed = await self.inventory.observe(environment_id, ids, names, fresh_quotes, self.provider)
        if self.key.shown_at is None:
            self.key.shown_at = asyncio.get_running_loop().time()
        return observed

    async def candidates(
        self, ids: Sequence[str], tag: tuple[str, str] | None, environment_id: str
    ) -> dict[str, Instance]:
        """Returns the instances with these ids, and those that bear the tag, by id. Raises CloudError."""
        found = [await self.provider.find_by_tag(*tag, environment_id)] if tag is not None else []
        for start in range(0, len(ids), LOOKED_UP_AT_ONCE):
            found.append(await self.provider.get_instances(ids[start : start + LOOKED_UP_AT_ONCE], environment_id))
        return {instance.id: instance for instances in found for instance in instances}

    def named(self, observed: Observation) -> Observation:
        """Returns the observation with the number of the account, when the cloud has told it since."""
        number = self.provider.account
        return observed if number is None or observed.account else replace(observed, account=number)

    @property
    def refusal(self) -> CloudError | None:
        """Returns why the cloud refuses the key, while it is not to be tried again yet. Returns None otherwise."""
        return self.inventory.refusal_of(self.provider)

    async def environments_bound_to(self, prefix: str) -> tuple[str, ...]:
        """Returns the ids of environments with the binding `prefix` that own a live instance. Raises CloudError."""
        return await self.inventory.environments_bound_to(prefix, self.provider)

    def blindness_of(self, environment_id: str | None) -> Blindness:
        """Says how old the view is that an environment still has, after it has failed to look with this key."""
        return self.inventory.sight.blindness_of(environment_id, is_refused=self.inventory.refuses(self.provider))


class Accounts:
    """`Accounts` keeps one inventory per account and region, and sweeps each in a task."""

    def __init__(
        self,
        providers: ProviderFactory,
        cluster_id: str,
        clock: Callable[[], datetime],
        pace: Pace,
        on_change: Callable[[Collection[str]], None],
    ) -> None:
        """Asks the cloud nothing until the first call of `open`."""
        self._providers, self._cluster_id, self._clock, self._pace = providers, cluster_id, clock, pace
        self._on_change = on_change
        self._keys: dict[tuple[str, str], Key] = {}
        self._inventories: dict[tuple[str, str], Inventory] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._died_of: BaseException | None = None

    async def open(self, credentials: AnyKey, region: str) -> AccountAccess:
        """Returns what that key opens in that region. From now on its account is swept in the background.

        Waits at most `PATIENCE` for the answer to which account the key belongs, and then goes on without one.
        """
        key = self._key(credentials, region)
        async with key.asking:
            await self._identify(key)
        if key.provider.account is None and (key.learning is None or key.learning.done()):
            key.learning = self._start(self._learn(key), f"account of {key.provider.name}")
        inventory = self._inventory(key.provider, region)
        inventory.admit(key.provider)
        return AccountAccess(inventory, key)

    async def number_behind(self, key_name: str | None) -> str | None:
        """Returns the number of the account to which the key of that name belongs. Returns None when it is not known.

        A key that was in use lately is asked once more while this process still has it, although the Secret holds
        another one now.
        """
        for key in [key for key in self._keys.values() if key.provider.key == key_name]:
            async with key.asking:
                await self._identify(key)
            if key.provider.account is not None:
                return key.provider.account
        return None

    @property
    def in_use(self) -> list[Inventory]:
        """Returns every inventory that is being swept."""
        return list(self._inventories.values())

    # --- whose a key is ----------------------------------------------------------------------------------------------

    def markets(self) -> list[Market]:
        """Returns the latest reading of each market in use. May be called from another thread."""
        return [inventory.market for inventory in self.in_use]

    def _key(self, credentials: AnyKey, region: str) -> Key:
        now, name = asyncio.get_running_loop().time(), (credentials.fingerprint, region)
        if name not in self._keys:
            oldest = now - self._pace.idle.total_seconds()
            self._keys = {other: key for other, key in self._keys.items() if key.named_at >= oldest}
            self._keys[name] = Key(self._providers(credentials, region))
        self._keys[name].named_at = now
        return self._keys[name]

    async def _identify(self, key: Key) -> None:
        """Asks to which account the key belongs, unless that is known or was asked a moment ago. It never changes."""
        loop = asyncio.get_running_loop()
        if key.provider.account is not None or loop.time() < key.ask_again_at:
            return
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await key.provider.identify()
        except CloudError as error:
            key.error = error
        except TimeoutError:
            key.error = OutcomeUnknown("NoAnswer", f"no answer within {PATIENCE.total_seconds():g} s")
        else:
            key.error, key.failures = None, 0
            # They note the number while the key is still in use: after a restart, another key could not tell it. And
            # those that wait for it go on.
            if key.users:
                self._on_change(key.users)
            return
        key.failures += 1
        longest = PAUSE_WITHOUT_ANSWER if isinstance(key.error, _PASSING) else PAUSE_MAX
        pause = min(longest, self._pace.suspect * (1 << min(key.failures - 1, 10)))
        key.ask_again_at = loop.time() + pause.total_seconds()
        if key.failures == 1:
            _log.warning("account_unknown", key=key.provider.key, error=str(key.error))

    async def _learn(self, key: Key) -> None:
        """Asks until the cloud has told whose the key is, or nobody uses the key any more."""
        loop = asyncio.get_running_loop()
        while key.provider.account is None and loop.time() - key.named_at < self._pace.idle.total_seconds():
            await asyncio.sleep(max(0.0, key.ask_again_at - loop.time()))
            async with key.asking:
                await self._identify(key)

    # --- inventories -------------------------------------------------------------------------------------------------

    def _inventory(self, provider: CloudProvider, region: str) -> Inventory:
        """Returns the inventory of the key's account, or one of the key alone while its account is not known."""
        by_key = (provider.key, region)
        name = by_key if provider.account is None else (provider.account, region)
        if name != by_key and (alone := self._inventories.pop(by_key, None)) is not None:
            # The account is known only now. If it has an inventory already, that one is used, and otherwise this one.
            if name in self._inventories:
                alone.retire(self._inventories[name])
            else:
                self._inventories[name] = alone
        if name not in self._inventories:
            inventory = Inventory(provider, self._cluster_id, self._clock, self._pace, self._on_change)
            self._inventories[name] = inventory
            self._start(self._sweep(inventory), f"sweep {provider.name}")
        return self._inventories[name]

    async def _sweep(self, inventory: Inventory) -> None:
        await inventory.run()
        self._inventories = {name: other for name, other in self._inventories.items() if other is not inventory}

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._died_of = self._died_of or error
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    async def run(self) -> None:
        """Waits until cancelled. Raises the error of a sweep that ended for any other reason than a CloudError."""
        if self._died_of is not None:
            raise self._died_of
        self._failure = asyncio.get_running_loop().create_future()
        try:
            await self._failure
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
