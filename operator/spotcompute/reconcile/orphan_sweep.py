"""The orphan sweep: ends instances whose environment is gone, and abstains whenever it is not sure.

Apart from `reconcile`, because it has no object to work for; it looks from the cloud's side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.inventory import Inventory
from spotcompute.kube.account_registry import AccountRef
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.port import KubeError, KubeObject
from spotcompute.kube.sources import SourceUnavailable
from spotcompute.model.identity import owner_of
from spotcompute.model.instance import Instance, Ownership
from spotcompute.plan.orphans import Owner, Sighting, ownerless, sighted, to_end
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.act import terminate
from spotcompute.telemetry import metrics

_log = structlog.get_logger(__name__)

#: In whose name the pacer lets these calls wait.
CALLER = "orphan sweep"

#: Ids per look-up before a release.
BATCH = 100


class OrphanSweep:
    """Looks at every account in use now and then; see `plan.orphans` for what it takes to be an orphan."""

    def __init__(
        self,
        cluster: Cluster,
        accounts: Accounts,
        policy: Policy,
        clock: Callable[[], datetime],
        interval: timedelta,
    ) -> None:
        self._cluster, self._kube, self._store, self._accounts = cluster, cluster.kube, cluster.store, accounts
        self._sources, self._register = cluster.sources, cluster.account_registry
        self._policy, self._clock, self._interval = policy, clock, interval
        self._sightings: dict[str, dict[str, Sighting]] = {}
        self._unused_since: dict[AccountRef, float] = {}  # by the loop's clock: a date can be set back
        self._empty_sweeps: dict[AccountRef, list[float]] = {}  # when each began; one alone may be falsely empty

    async def run(self) -> None:
        """Sweep for ever. Trouble of the cloud or the API server means: abstain, and begin to count anew."""
        while True:
            await asyncio.sleep(self._interval.total_seconds())
            try:
                await self.once()
            except KubeError as error:
                self._abstain(error, *self._sightings)

    def _abstain(self, error: Exception, *accounts: str) -> None:
        for account in accounts:
            self._sightings.pop(account, None)
        _log.warning("orphan_sweep_abstains", accounts=list(accounts), error=f"{type(error).__name__}: {error}")

    async def once(self) -> None:
        """One look at all accounts. Raises KubeError; then nothing has been ended on weak evidence."""
        await self._keep_watch()
        suspects = [inventory for inventory in self._accounts.in_use if self._suspects(inventory)]
        accounts = {inventory.provider.account for inventory in suspects}
        self._sightings = {account: seen for account, seen in self._sightings.items() if account in accounts}
        owners = await self._owners() if suspects else []
        for inventory in suspects:
            try:
                await self._judge(inventory, owners)
            except CloudError as error:
                # One account in trouble keeps nobody from looking at the others.
                self._abstain(error, inventory.provider.account)

    async def _keep_watch(self) -> None:
        """Sweep accounts that only our notes still know; forget a note once nothing can be left behind it."""
        used = {note for obj in self._store.all() if (note := _note(obj)) is not None}
        notes = await self._register.all()
        if notes is None:
            return
        for note in sorted(used - set(notes), key=lambda note: note.key):
            await self._register.renew(note)
        self._unused_since = {note: since for note, since in self._unused_since.items() if note in notes}
        self._empty_sweeps = {note: sweeps for note, sweeps in self._empty_sweeps.items() if note in self._unused_since}
        for note in notes:
            if note in used or self._cluster.namespace not in (None, note.namespace):
                self._unused_since.pop(note, None)
                continue
            try:
                credentials = await self._sources.credentials(note.namespace, note.secret, is_deleting=True)
            except SourceUnavailable as error:
                if note not in self._unused_since:
                    _log.warning("account_out_of_reach", namespace=note.namespace, error=str(error))
                self._unused_since.setdefault(note, asyncio.get_running_loop().time())
                continue
            inventory = self._accounts.inventory(credentials, note.region)
            inventory.touch()
            await self._forget_if_empty(note, inventory)

    async def _forget_if_empty(self, note: AccountRef, inventory: Inventory) -> None:
        """A launch of the last moment may show up until the horizon; after that, an empty account needs no note."""
        since = self._unused_since.setdefault(note, asyncio.get_running_loop().time())
        began = inventory.latest_began
        if began is None or began < since + self._policy.launch_uncertain_for.total_seconds():
            return
        _, instances = inventory.latest
        if any(_may_be_behind(note, instance) and not instance.has_ended for instance in instances):
            self._empty_sweeps.pop(note, None)
            return
        sweeps = self._empty_sweeps.setdefault(note, [])
        if began not in sweeps:
            sweeps.append(began)
        if len(sweeps) < self._policy.absence_sweeps:
            return
        # The note goes last: as long as it is there, a removal of the finalizer that failed is tried again.
        await self._sources.unprotect(note.namespace, note.secret)
        await self._register.forget(note)

    def _suspects(self, inventory: Inventory) -> tuple[Instance, ...]:
        """What looks ownerless by what is known without asking: usually nothing, and then nothing is asked."""
        known = [_owner(obj) for obj in self._store.all()]
        _, instances = inventory.latest
        return ownerless(instances, known, self._cluster.id, self._cluster.namespace)

    async def _owners(self) -> list[Owner]:
        """Every living environment: a complete live list that knows at least all that we know, from our own cluster."""
        if self._cluster.uid is not None and await self._kube.cluster_id() != self._cluster.uid:
            raise KubeError("this API server belongs to another cluster")
        listed = [_owner(obj) for obj in await self._kube.list_environments()]
        missing = {(owner.namespace, owner.name) for owner in map(_owner, self._store.all())}
        missing -= {(owner.namespace, owner.name) for owner in listed}
        if missing:
            raise KubeError(f"the list of environments lacks {len(missing)} that exist as far as we know")
        return listed

    async def _judge(self, inventory: Inventory, owners: list[Owner]) -> None:
        swept_at, instances = inventory.latest
        if swept_at is None:
            return
        lonely = ownerless(instances, owners, self._cluster.id, self._cluster.namespace)
        lonely = await self._without_owner(lonely)
        account = inventory.provider.account
        before = self._sightings.get(account, {})
        self._sightings[account] = sighted(before, lonely, swept_at, self._clock())
        doomed = to_end(self._sightings[account], lonely, swept_at, self._clock(), self._policy)
        for start in range(0, len(doomed), BATCH):
            await self._end(inventory, doomed[start : start + BATCH])

    async def _without_owner(self, instances: Sequence[Instance]) -> tuple[Instance, ...]:
        """Those whose owner nobody knows here and a live look does not find; one look serves all of an environment."""
        looks: dict[tuple[str | None, Ownership | None], bool] = {}
        for instance in instances:
            key = (instance.owner, instance.ownership)
            if key not in looks:
                looks[key] = await self._has_no_owner(instance)
        lonely = (instance for instance in instances if looks[instance.owner, instance.ownership])
        # Without waiting in between: what came on the watch, or was claimed by us, while an answer was on its way.
        return ownerless(lonely, map(_owner, self._store.all()), self._cluster.id, self._cluster.namespace)

    async def _has_no_owner(self, instance: Instance) -> bool:
        """Ask for the very object its tags name: a list may lie by omission, an empty one most of all."""
        owner = owner_of(instance.owner)
        if owner is None or instance.ownership is None:
            return False
        obj = await self._kube.get(*owner)
        if obj is None:
            return True
        found = _owner(obj)
        return not found.may_adopt(self._cluster.id) and found.environment_id != instance.ownership.environment_id

    async def _end(self, inventory: Inventory, doomed: Sequence[Instance]) -> None:
        """Release them, after one more look at each by id: what their tags say now is what counts."""
        by_id = {instance.id: instance for instance in doomed}
        fresh = await inventory.provider.get_instances(sorted(by_id), CALLER)
        still = [
            instance
            for instance in fresh
            if instance.id in by_id
            and instance.ownership == by_id[instance.id].ownership
            and instance.owner == by_id[instance.id].owner
            and not instance.has_ended
        ]
        found = {instance.id: instance for instance in still}

        async def without_owner(ids: tuple[str, ...]) -> tuple[str, ...]:
            """Once more, and last: what was asked meanwhile may have taken long, and the environment be back since."""
            lonely = await self._without_owner([found[instance_id] for instance_id in ids])
            return tuple(sorted(instance.id for instance in lonely))

        for some, result in await terminate(tuple(sorted(found)), inventory.provider, CALLER, without_owner):
            if isinstance(result, CloudError):
                _log.warning("orphans_not_released", instances=list(some), error=str(result))
            else:
                metrics.orphans_released.inc(len(some))
                _log.info("orphans_released", instances=list(some), request_id=result)


def _note(obj: KubeObject) -> AccountRef | None:
    """The note that belongs to an environment; None when its spec names no region."""
    spec = obj.get("spec") or {}
    secret = (spec.get("credentialsSecretRef") or {}).get("name")
    region = spec.get("region")
    return AccountRef(obj["metadata"]["namespace"], secret, region) if region else None


def _may_be_behind(note: AccountRef, instance: Instance) -> bool:
    """False for what another namespace's environment has left in the same account; True when its tags do not say."""
    owner = owner_of(instance.owner)
    return owner is None or owner[0] == note.namespace


def _owner(obj: KubeObject) -> Owner:
    metadata = obj["metadata"]
    annotations = metadata.get("annotations") or {}
    return Owner(metadata["namespace"], metadata["name"], annotations.get(ENVIRONMENT_ID))
