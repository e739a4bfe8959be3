"""Looks at the cloud for one environment: at its instances, at the market, and at the prices of disks and bandwidth.

Apart from `reconciler`, because it says what must be seen before anything is decided: half a view is no view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from spotcompute.cloud.errors import CloudError
from spotcompute.model.activity import Activity
from spotcompute.model.desired import CapacityUnit, Desired
from spotcompute.model.ledger import Ledger
from spotcompute.model.observation import Observation
from spotcompute.plan.account_match import AccountMatch, awaits_number, judge_account, match_account
from spotcompute.plan.adoption import to_look_for
from spotcompute.plan.expiry import with_expiry
from spotcompute.plan.limits import with_sizes
from spotcompute.plan.policy import Policy
from spotcompute.plan.selection import with_pools
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.reach import Reach
from spotcompute.reconcile.target import Target

_log = structlog.get_logger(__name__)


class Observer:
    """Makes a situation from what is desired, what is remembered, and what the cloud shows."""

    def __init__(self, reach: Reach, policy: Policy) -> None:
        self._reach, self._policy = reach, policy

    async def situation(self, target: Target, ledger: Ledger, now: datetime) -> tuple[Situation, Sequence[Activity]]:
        """Returns the situation at `now`, and what is left behind in an account that the key does not show.

        Raises `Problem` when the cloud shows nothing, or may show another account.
        """
        observed = await self._observe(target, ledger, now)
        observed = await self._with_candidates(target, ledger, observed)
        ledger, left_behind = await self._in_reach(target, ledger, observed, now)
        desired = with_pools(with_expiry(target.desired, now), observed.market)
        situation = Situation(with_sizes(desired, ledger, observed.market), ledger, observed, now, self._policy)
        if situation.desired.limits_costs:
            situation = await self.with_equipment_prices(target, situation)
        return situation, left_behind

    async def _in_reach(
        self, target: Target, ledger: Ledger, observed: Observation, now: datetime
    ) -> tuple[Ledger, Sequence[Activity]]:
        """Returns the ledger when the key shows its account, and what is left behind when it stops waiting for one.

        Raises `Problem` while it waits.
        """
        deleted_at = target.environment.deleted_at
        if awaits_number(target.desired, ledger, observed) and target.access.awaits_number:
            raise self._reach.nameless(target.access, observed.observed_at)
        number = None
        if match_account(ledger, observed) is AccountMatch.UNKNOWN:
            # The account was noted by the name of a key, and what that key belongs to may have been learned later.
            number = await self._reach.number_behind(ledger.account)
        noted = ledger if number is None else replace(ledger, account=number)
        verdict = judge_account(noted, observed, deleted_at, now, self._policy)
        if verdict.waits:
            raise self._reach.elsewhere(verdict, target.access, deleting=target.environment.deleting)
        if verdict.left_behind:
            _log.warning("instances_left_behind", account=noted.account, instances=sorted(noted.members))
        return verdict.ledger, verdict.left_behind

    async def _observe(self, target: Target, ledger: Ledger, now: datetime) -> Observation:
        """Looks at everything the ledger names. Launches that may no longer be repeated are searched for by name."""
        names = {one.name for one in ledger.intents if now - one.created_at > self._policy.replay_window}
        # A limit on the whole cost leaves room that only the prices of now can tell.
        fresh_quotes = target.desired.caps.in_total is not None or _pays_for_nothing(target.desired, ledger)
        # Nor can anything be counted before the sizes of all types are known.
        fresh_quotes = fresh_quotes or target.desired.unit is CapacityUnit.VCPU
        fresh_quotes = fresh_quotes and not target.desired.deleting
        try:
            return await target.access.observe(ledger.environment_id, ledger.members.keys(), names, fresh_quotes)
        except CloudError as error:
            raise self._reach.unreadable(target.environment, target.access, error, ledger.environment_id) from None

    async def _with_candidates(self, target: Target, ledger: Ledger, observed: Observation) -> Observation:
        """Returns the observation with what may be taken over. What bears our marks by now is one of our instances."""
        desired = with_expiry(target.desired, observed.observed_at)
        ids = to_look_for(desired, ledger)
        tag = None if desired.deleting or desired.paused or desired.expired else desired.adopt.tag
        if not ids and tag is None:
            return observed
        try:
            found = await target.access.candidates(ids, tag, ledger.environment_id)
        except CloudError as error:
            raise self._reach.unreadable(target.environment, target.access, error, ledger.environment_id) from None
        found = {key: one for key, one in found.items() if key not in ledger.members}
        ours = {key: one for key, one in found.items() if one.ownership == desired.ownership}
        return replace(observed, candidates=found, instances={**observed.instances, **ours})

    async def with_equipment_prices(self, target: Target, situation: Situation) -> Situation:
        """Returns the situation with the prices of disks and bandwidth wherever there are instances, or may be soon.

        They are asked for before anything is bought only where a limit includes them. Otherwise launches would wait for
        a price that decides nothing.
        """
        desired, ledger, market = situation.desired, situation.ledger, situation.market
        if desired.deleting:
            return situation
        pools = {pool for pool, _ in desired.pools} | {member.pool for member in ledger.members.values()}
        pools |= {intent.pool for intent in ledger.intents}
        prices = target.access.inventory.equipment_prices
        extras = await prices.extras_for(desired.template, sorted(pools), market, target.label)
        return replace(situation, observed=replace(situation.observed, market=replace(market, extras=extras)))


def _pays_for_nothing(desired: Desired, ledger: Ledger) -> bool:
    """True when on-demand instances wait for spot although the spec no longer asks for them."""
    if desired.fallback is not None:
        return False
    return sum(member.on_demand for member in ledger.members.values()) > desired.on_demand_wanted
