"""How one environment is reached: its spec, its key, its inventory, its user data.

Apart from `reconciler` because `identity` needs the same before there is anything to reconcile. Whoever lacks one of
them has a `Problem`.
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
    """A run cannot go on: the conclusion to report, and how soon to try again."""

    def __init__(self, conclusion: Conclusion, retry_after: timedelta) -> None:
        self.conclusion = conclusion
        self.retry_after = retry_after
        super().__init__(conclusion.message)


class Reach:
    """What an environment names and needs, or the `Problem` to report."""

    def __init__(self, sources: Sources, accounts: Accounts, policy: Policy) -> None:
        self._sources, self._accounts, self._policy = sources, accounts, policy

    def spec(self, environment: Environment) -> Spec:
        """Its spec; while deleting, what of it is needed to let go."""
        try:
            return environment.spec_to_release() if environment.deleting else environment.spec()
        except InvalidSpec as error:
            conclusion = Conclusion("Stalled", Reason.INVALID_SPEC, str(error), stalled=True)
            raise Problem(conclusion, self._policy.resync) from None

    async def inventory(self, environment: Environment, spec: Spec) -> Inventory:
        """The inventory that the key in its Secret opens; `Problem` without one."""
        try:
            credentials = await self._sources.credentials(
                environment.namespace, environment.secret, is_deleting=environment.deleting
            )
        except SourceUnavailable as error:
            conclusion = Conclusion("Stalled", Reason.CREDENTIALS_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.backoff_max) from None
        return self._accounts.inventory(credentials, spec.region)

    async def user_data(self, environment: Environment, spec: Spec) -> UserData | None:
        """What its instances are given to run at their first start, or None."""
        try:
            return await self._sources.user_data(environment.namespace, spec.template)
        except SourceUnavailable as error:
            if environment.deleting:
                return None
            conclusion = Conclusion("Stalled", Reason.USER_DATA_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.backoff_max) from None

    def unreadable(self, environment: Environment, inventory: Inventory, error: CloudError) -> Problem:
        """The cloud does not show what there is: nothing is decided on half a view."""
        _log.debug("blind", error=str(error))
        if isinstance(error, InvalidCredentials):
            # Another key would have another inventory: only the Secret can tell when it is there.
            self._sources.distrust(environment.namespace, environment.secret)
            return Problem(cloud_unreadable(error), self._policy.backoff_base)
        return Problem(cloud_unreadable(error), max(self._policy.backoff_base, inventory.next_view_in))
