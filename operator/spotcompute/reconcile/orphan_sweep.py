"""Releases instances whose environment is gone, and abstains whenever it is not sure.

Apart from `reconciler`, because it has no object to work for: it looks from the cloud's side.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from spotcompute.api.environment import role_of
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.errors import OF_ONE_INSTANCE, CloudError
from spotcompute.cloud.inventory import Inventory
from spotcompute.kube.account_registry import AccountRef
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.port import KubeError, KubeObject
from spotcompute.kube.sources import SourceUnavailable
from spotcompute.model.identity import owner_of
from spotcompute.model.instance import Instance, Ownership
from spotcompute.plan.actions import Postponed
from spotcompute.plan.orphans import Owner, Sighting, orphans_to_release, ownerless, sighted, watches
from spotcompute.plan.policy import Policy
from spotcompute.plan.release import PROTECTED, UNPROTECT
from spotcompute.reconcile.act import Releases
from spotcompute.telemetry import metrics

_log = structlog.get_logger(__name__)

#: The name under which the pacer lets these calls wait.
CALLER = "orphan sweep"

#: Ids per look-up before a release.
BATCH = 100


class OrphanSweep:
    """`OrphanSweep` looks at every account in use now and then. `plan.orphans` says what makes an orphan."""

    def __init__(
        self,
        cluster: Cluster,
        accounts: Accounts,
        policy: Policy,
        clock: Callable[[], datetime],
        interval: timedelta,
    ) -> None:
        self._cluster, self._kube, self._store, self._accounts = cluster, cluster.kube, cluster.store, accounts
        self._sources, self._registry = cluster.sources, cluster.account_registry
        self._policy, self._clock, self._interval = policy, clock, interval
        self._sightings: dict[str, dict[str, Sighting]] = {}
        #: When the cloud refused to release an instance, and when one's protection was told, by the loop's clock.
        self._refused_at: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        self._unused_since: dict[AccountRef, float] = {}  # by the loop's clock: a date can be set back
        self._empty_sweeps: dict[AccountRef, list[float]] = {}  # when each began; one alone may be falsely empty

    async def run(self) -> None:
        """Sweeps for ever. On an error of the cloud or the API server it abstains, and begins to count anew."""
        with contextlib.suppress(KubeError):  # noted before anything is launched here; otherwise by the first sweep
            await self._first_start()
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
        """Looks at all accounts once. Raises KubeError; then nothing was released on weak evidence."""
        await self._look_after_accounts()
        suspects = [inventory for inventory in self._accounts.in_use if self._suspects(inventory)]
        accounts = {inventory.provider.name for inventory in suspects}
        self._sightings = {account: seen for account, seen in self._sightings.items() if account in accounts}
        owners = await self._owners() if suspects else []
        for inventory in suspects:
            try:
                await self._judge(inventory, owners)
            except CloudError as error:
                # The other accounts are looked at all the same.
                self._abstain(error, inventory.provider.name)

    async def _look_after_accounts(self) -> None:
        """Sweeps accounts that only the registry still knows; forgets one once nothing can be left in it."""
        used = {ref for obj in self._store.all() if (ref := _account_of(obj)) is not None}
        refs = await self._registry.all()
        if refs is None:
            return
        for ref in sorted(used - set(refs), key=lambda ref: ref.key):
            await self._registry.renew(ref)
        self._unused_since = {ref: since for ref, since in self._unused_since.items() if ref in refs}
        self._empty_sweeps = {ref: sweeps for ref, sweeps in self._empty_sweeps.items() if ref in self._unused_since}
        for ref in refs:
            if ref in used or not watches(self._cluster.namespaces, ref.namespace):
                self._unused_since.pop(ref, None)
                continue
            try:
                credentials = await self._sources.credentials(ref.namespace, ref.secret, ref.role, is_deleting=True)
            except SourceUnavailable as error:
                if ref not in self._unused_since:
                    _log.warning("account_out_of_reach", namespace=ref.namespace, error=str(error))
                self._unused_since.setdefault(ref, asyncio.get_running_loop().time())
                continue
            inventory = (await self._accounts.open(credentials, ref.region)).inventory
            inventory.touch()
            await self._forget_if_empty(ref, inventory)

    async def _forget_if_empty(self, ref: AccountRef, inventory: Inventory) -> None:
        """Forgets an account that stayed empty for as long as its last launch can still bring an instance."""
        since = self._unused_since.setdefault(ref, asyncio.get_running_loop().time())
        began = inventory.latest_began
        if began is None or began < since + self._policy.launch_uncertain_for.total_seconds():
            return
        _, instances = inventory.latest
        if any(_may_be_of(ref, instance) and not instance.has_ended for instance in instances):
            self._empty_sweeps.pop(ref, None)
            return
        sweeps = self._empty_sweeps.setdefault(ref, [])
        if began not in sweeps:
            sweeps.append(began)
        if len(sweeps) < self._policy.absence_sweeps:
            return
        # The reference goes last: as long as it is there, a removal of the finalizer that failed is tried again.
        await self._sources.unprotect(ref.namespace, ref.secret)
        await self._registry.forget(ref)

    def _suspects(self, inventory: Inventory) -> tuple[Instance, ...]:
        """Returns what looks ownerless by what is known without asking: usually nothing, and then nothing is asked."""
        known = [_owner(obj) for obj in self._store.all()]
        _, instances = inventory.latest
        return ownerless(instances, known, self._cluster.id, self._cluster.namespaces)

    async def _owners(self) -> list[Owner]:
        """Returns every environment from a live list. Raises KubeError when the list lacks one that we know, or when
        the API server is of another cluster.
        """
        if self._cluster.uid is not None and await self._kube.cluster_id() != self._cluster.uid:
            raise KubeError("this API server belongs to another cluster")
        listed = [_owner(obj) for obj in await self._kube.list_environments()]
        missing = {(owner.namespace, owner.name) for owner in map(_owner, self._store.all())}
        missing -= {(owner.namespace, owner.name) for owner in listed}
        if missing:
            raise KubeError(f"the list of environments lacks {len(missing)} that exist as far as we know")
        return listed

    async def _first_start(self) -> datetime | None:
        """Returns when this cluster first used an id that was chosen for it. None when the id is its own."""
        if self._cluster.uid is not None:
            return None
        return await self._registry.first_start(self._cluster.id, self._clock())

    async def _judge(self, inventory: Inventory, owners: list[Owner]) -> None:
        swept_at, instances = inventory.latest
        if swept_at is None:
            return
        orphans = ownerless(instances, owners, self._cluster.id, self._cluster.namespaces)
        orphans = await self._without_owner(orphans)
        account = inventory.provider.name
        before = self._sightings.get(account, {})
        self._sightings[account] = sighted(before, orphans, swept_at, self._clock())
        first_start = await self._first_start()
        to_go = orphans_to_release(
            self._sightings[account], orphans, swept_at, self._clock(), self._policy, first_start
        )
        to_go = self._without_refused(to_go)
        for start in range(0, len(to_go), BATCH):
            await self._release(inventory, to_go[start : start + BATCH])

    def _without_refused(self, to_go: Sequence[Instance]) -> tuple[Instance, ...]:
        """Returns those that may be released: not protected, and not refused a while ago. It tells of the protected.

        One whose protection was lifted goes at once.
        """
        now, wait = asyncio.get_running_loop().time(), self._policy.repeat_refused.total_seconds()
        self._refused_at = {key: at for key, at in self._refused_at.items() if now - at < wait}
        self._told_at = {key: at for key, at in self._told_at.items() if now - at < wait}
        protected = [one.id for one in to_go if one.protected and one.id not in self._told_at]
        if protected:
            self._told_at |= dict.fromkeys(protected, now)
            _log.warning("orphans_not_released", instances=protected, error=f"{PROTECTED}. {UNPROTECT}")
        return tuple(one for one in to_go if not one.protected and one.id not in self._refused_at)

    async def _without_owner(self, instances: Sequence[Instance]) -> tuple[Instance, ...]:
        """Returns those whose owner is neither known here nor found by a live look, one for each environment."""
        looks: dict[tuple[str | None, Ownership | None], bool] = {}
        for instance in instances:
            key = (instance.owner, instance.ownership)
            if key not in looks:
                looks[key] = await self._has_no_owner(instance)
        orphans = (instance for instance in instances if looks[instance.owner, instance.ownership])
        # Without waiting in between: the watch may have brought an owner while an answer was on its way.
        return ownerless(orphans, map(_owner, self._store.all()), self._cluster.id, self._cluster.namespaces)

    async def _has_no_owner(self, instance: Instance) -> bool:
        """Asks for the very object that its tags name. A list may lack objects, an empty list most of all."""
        owner = owner_of(instance.owner)
        if owner is None or instance.ownership is None:
            return False
        obj = await self._kube.get(*owner)
        if obj is None:
            return True
        found = _owner(obj)
        return not found.may_adopt(self._cluster.id) and found.environment_id != instance.ownership.environment_id

    async def _release(self, inventory: Inventory, to_go: Sequence[Instance]) -> None:
        """Releases them, after one more look at each by id: what their tags say now counts."""
        by_id = {instance.id: instance for instance in to_go}
        fresh = await inventory.provider.get_instances(sorted(by_id), CALLER)
        found = {one.id: one for one in fresh if one.id in by_id and _is_unchanged(one, by_id[one.id])}

        async def without_owner(ids: tuple[str, ...]) -> tuple[str, ...]:
            """Asks once more, and last: the calls before may have taken long, and the environment may be back since."""
            orphans = await self._without_owner([found[instance_id] for instance_id in ids])
            return tuple(sorted(instance.id for instance in orphans))

        for some, result in await Releases(inventory.provider, CALLER, without_owner).terminate(tuple(sorted(found))):
            if isinstance(result, Postponed):
                continue
            if isinstance(result, CloudError):
                _log.warning("orphans_not_released", instances=list(some), error=str(result))
                if isinstance(result, OF_ONE_INSTANCE):
                    self._refused_at |= dict.fromkeys(some, asyncio.get_running_loop().time())
            else:
                metrics.orphans_released.inc(len(some))
                _log.info("orphans_released", instances=list(some), request_id=result)


def _is_unchanged(instance: Instance, before: Instance) -> bool:
    """True when the instance still lives, is not protected, and its tags name the same owner as before."""
    is_alive = not instance.has_ended and not instance.protected
    return is_alive and (instance.ownership, instance.owner) == (before.ownership, before.owner)


def _account_of(obj: KubeObject) -> AccountRef | None:
    """Returns the account that an environment uses. Returns None when its spec names no region."""
    spec = obj.get("spec") or {}
    secret = (spec.get("credentialsSecretRef") or {}).get("name")
    region = spec.get("region")
    return AccountRef(obj["metadata"]["namespace"], secret, region, role_of(spec)) if region else None


def _may_be_of(ref: AccountRef, instance: Instance) -> bool:
    """True when the instance may belong to this namespace.

    False when its tags name another namespace of the same account.
    """
    owner = owner_of(instance.owner)
    return owner is None or owner[0] == ref.namespace


def _owner(obj: KubeObject) -> Owner:
    metadata = obj["metadata"]
    annotations = metadata.get("annotations") or {}
    return Owner(metadata["namespace"], metadata["name"], annotations.get(ENVIRONMENT_ID))
