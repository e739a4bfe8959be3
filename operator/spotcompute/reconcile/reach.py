"""Gets what a run needs of one environment: its spec, its key, its inventory, its user data.

Apart from `reconciler` because `identity` needs them too, before there is anything to reconcile. When one is
missing, the run has a `Problem`.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from spotcompute.api.conditions import Reason
from spotcompute.api.environment import Environment, InvalidSpec
from spotcompute.api.spec import Spec
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.errors import CloudError, InvalidCredentials
from spotcompute.cloud.inventory import Inventory
from spotcompute.kube.sources import Sources, SourceUnavailable, UserData
from spotcompute.plan.policy import Policy
from spotcompute.report.conclusion import Conclusion, cloud_unreadable

_log = structlog.get_logger(__name__)


class Problem(Exception):
    """`Problem` means that a run cannot go on. It holds the conclusion to report, and how soon to try again."""

    def __init__(self, conclusion: Conclusion, retry_after: timedelta) -> None:
        self.conclusion = conclusion
        self.retry_after = retry_after
        super().__init__(conclusion.message)


class Reach:
    """`Reach` gets what an environment names and needs. Raises Problem when something of it cannot be had."""

    def __init__(self, sources: Sources, accounts: Accounts, policy: Policy) -> None:
        self._sources, self._accounts, self._policy = sources, accounts, policy

    def spec(self, environment: Environment) -> Spec:
        """Returns the typed spec; of an object that is being deleted, only what its release needs."""
        try:
            return environment.spec_to_release() if environment.deleting else environment.spec()
        except InvalidSpec as error:
            conclusion = Conclusion("Stalled", Reason.INVALID_SPEC, str(error), stalled=True)
            raise Problem(conclusion, self._policy.resync) from None

    async def inventory(self, environment: Environment, spec: Spec) -> Inventory:
        """Returns the inventory of the account that the key in its Secret opens, in the region of the spec."""
        try:
            credentials = await self._sources.credentials(
                environment.namespace, environment.secret, is_deleting=environment.deleting
            )
        except SourceUnavailable as error:
            conclusion = Conclusion("Stalled", Reason.CREDENTIALS_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.backoff_max) from None
        return self._accounts.inventory(credentials, spec.region)

    async def user_data(self, environment: Environment, spec: Spec) -> UserData | None:
        """Returns what its instances run at their first start. None when there is nothing, or nothing is needed."""
        try:
            return await self._sources.user_data(environment.namespace, spec.template)
        except SourceUnavailable as error:
            if environment.deleting:
                return None
            conclusion = Conclusion("Stalled", Reason.USER_DATA_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.backoff_max) from None

    def unreadable(self, environment: Environment, inventory: Inventory, error: CloudError) -> Problem:
        """Returns the problem of a cloud that does not show all there is. Nothing is decided on half a view."""
        _log.debug("blind", error=str(error))
        if isinstance(error, InvalidCredentials):
            # Another key would have another inventory: only the Secret can tell when it is there.
            self._sources.distrust(environment.namespace, environment.secret)
            return Problem(cloud_unreadable(error), self._policy.backoff_base)
        return Problem(cloud_unreadable(error), max(self._policy.backoff_base, inventory.next_view_in))
