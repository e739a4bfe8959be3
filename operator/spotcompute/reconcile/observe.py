"""Looks at the cloud for one environment: at its instances, at the market, and at the prices of disks and bandwidth.

Apart from `reconciler`, because it says what must be seen before anything is decided: half a view is no view.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from spotcompute.api.conditions import Reason
from spotcompute.cloud.errors import CloudError
from spotcompute.model.ledger import Ledger
from spotcompute.model.observation import Observation
from spotcompute.plan.ledger_sync import is_another_account
from spotcompute.plan.policy import Policy
from spotcompute.plan.selection import with_pools
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.reach import Problem, Reach
from spotcompute.reconcile.target import Target
from spotcompute.report.conclusion import Conclusion


class Observer:
    """Makes a situation from what is desired, what is remembered, and what the cloud shows."""

    def __init__(self, reach: Reach, policy: Policy) -> None:
        self._reach, self._policy = reach, policy

    async def situation(self, target: Target, ledger: Ledger, now: datetime) -> Situation:
        """Returns the situation at `now`. Raises `Problem` when the cloud shows nothing, or shows another account."""
        observed = await self._observe(target, ledger, now)
        if is_another_account(ledger, observed):
            raise Problem(_another_account(), self._policy.backoff_max)
        situation = Situation(with_pools(target.desired, observed.market), ledger, observed, now, self._policy)
        return await self.with_equipment_prices(target, situation) if situation.desired.limits_costs else situation

    async def _observe(self, target: Target, ledger: Ledger, now: datetime) -> Observation:
        """Looks at everything the ledger names. Launches that may no longer be repeated are searched for by name."""
        names = {one.name for one in ledger.intents if now - one.created_at > self._policy.replay_window}
        # A limit on the whole cost leaves room that only the prices of now can tell.
        fresh_quotes = target.desired.caps.in_total is not None and not target.desired.deleting
        try:
            return await target.inventory.observe(ledger.environment_id, ledger.members.keys(), names, fresh_quotes)
        except CloudError as error:
            raise self._reach.unreadable(target.environment, target.inventory, error) from None

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
        prices = target.inventory.equipment_prices
        extras = await prices.extras_for(desired.template, sorted(pools), market, target.label)
        return replace(situation, observed=replace(situation.observed, market=replace(market, extras=extras)))


def _another_account() -> Conclusion:
    message = (
        "the key in use now shows none of the environment's instances: it seems to be of another account, so"
        " nothing is decided. Put back a key of the former one until they are released"
    )
    return Conclusion("Stalled", Reason.ANOTHER_ACCOUNT, message, stalled=True)
