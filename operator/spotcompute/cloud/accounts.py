"""Keeps the inventories of all accounts and regions in use, and the tasks that refresh them.

Apart from `inventory` because an inventory is one account in one region and owns no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime

from spotcompute.cloud.credentials import Credentials, ProviderFactory
from spotcompute.cloud.inventory import Inventory, Pace


class Accounts:
    """`Accounts` keeps one inventory per key and region, and sweeps each in a task."""

    def __init__(
        self,
        providers: ProviderFactory,
        cluster_id: str,
        clock: Callable[[], datetime],
        pace: Pace,
        on_change: Callable[[Collection[str]], None],
    ) -> None:
        """Asks the cloud nothing until the first call of `inventory`."""
        self._providers, self._cluster_id, self._clock, self._pace = providers, cluster_id, clock, pace
        self._on_change = on_change
        self._inventories: dict[tuple[str, str], Inventory] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._died_of: BaseException | None = None

    def inventory(self, credentials: Credentials, region: str) -> Inventory:
        """Returns the inventory of that key in that region. From now on it is swept in the background."""
        key = (credentials.fingerprint, region)
        if key not in self._inventories:
            provider = self._providers(credentials, region)
            inventory = Inventory(provider, self._cluster_id, self._clock, self._pace, self._on_change)
            self._inventories[key] = inventory
            task = asyncio.create_task(self._sweep(key, inventory), name=f"sweep {provider.account}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return self._inventories[key]

    @property
    def in_use(self) -> list[Inventory]:
        """Returns every inventory that is being swept."""
        return list(self._inventories.values())

    async def _sweep(self, key: tuple[str, str], inventory: Inventory) -> None:
        await inventory.run()
        self._inventories.pop(key, None)

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
