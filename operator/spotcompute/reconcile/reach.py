"""Gets what a run needs of one environment: its spec, its key, its inventory, its user data.

Apart from `reconciler` because `identity` needs them too, before there is anything to reconcile. When one is
missing, the run has a `Problem`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from spotcompute.api.conditions import Reason
from spotcompute.api.environment import Environment, InvalidSpec
from spotcompute.api.spec import Spec
from spotcompute.cloud.accounts import AccountAccess, Accounts
from spotcompute.cloud.errors import CloudError, InvalidCredentials
from spotcompute.kube.sources import Sources, SourceUnavailable, UserData
from spotcompute.model.ledger import Ledger
from spotcompute.plan.account_match import AccountMatch, AccountVerdict
from spotcompute.plan.policy import Policy
from spotcompute.report.conclusion import Conclusion, account_awaited, cloud_unreadable, out_of_reach
from spotcompute.report.status import later_look

_log = structlog.get_logger(__name__)


#: Time between two looks at whether a refused key works again, or its Secret holds another one.
REFUSED_PAUSE = timedelta(seconds=20)


class Problem(Exception):
    """`Problem` means that a run cannot go on. It holds the conclusion to report, and how soon to try again.

    `ledger` is the one to write, when there is news in it. `seen_at` is when the cloud was last seen, None when the run
    did not get as far as to ask it. `is_passing`: it may be over in a moment, and is not worth a word before.
    """

    def __init__(
        self,
        conclusion: Conclusion,
        retry_after: timedelta,
        ledger: Ledger | None = None,
        seen_at: datetime | None = None,
        *,
        is_passing: bool = False,
    ) -> None:
        self.conclusion, self.retry_after, self.ledger = conclusion, retry_after, ledger
        self.seen_at, self.is_passing = seen_at, is_passing
        super().__init__(conclusion.message)


class Reach:
    """`Reach` gets what an environment names and needs. Raises Problem when something of it cannot be had."""

    def __init__(self, sources: Sources, accounts: Accounts, policy: Policy, clock: Callable[[], datetime]) -> None:
        self._sources, self._accounts, self._policy, self._clock = sources, accounts, policy, clock

    def spec(self, environment: Environment) -> Spec:
        """Returns the typed spec; of an object that is being deleted, only what its release needs."""
        try:
            return environment.spec_to_release() if environment.deleting else environment.spec()
        except InvalidSpec as error:
            conclusion = Conclusion("Stalled", Reason.INVALID_SPEC, str(error), stalled=True)
            raise Problem(conclusion, self._policy.resync) from None

    async def number_behind(self, account: str | None) -> str | None:
        """Returns the account's number when `account` is the name of a key whose account is known by now."""
        return await self._accounts.number_behind(account)

    async def access(self, environment: Environment, spec: Spec) -> AccountAccess:
        """Returns what the key in its Secret opens. Raises `Problem` without a key."""
        try:
            credentials = await self._sources.credentials(
                environment.namespace, environment.secret, environment.role, is_deleting=environment.deleting
            )
        except SourceUnavailable as error:
            conclusion = Conclusion("Stalled", Reason.CREDENTIALS_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.backoff_max) from None
        return await self._accounts.open(credentials, spec.region)

    async def user_data(self, environment: Environment, spec: Spec) -> UserData | None:
        """Returns what its instances run at their first start. None when there is nothing, or nothing is needed."""
        try:
            return await self._sources.user_data(environment.namespace, spec.template)
        except SourceUnavailable as error:
            if environment.deleting:
                return None
            conclusion = Conclusion("Stalled", Reason.USER_DATA_UNAVAILABLE, str(error), stalled=True)
            raise Problem(conclusion, self._policy.backoff_max) from None

    def refuse_early(self, environment: Environment, access: AccountAccess, environment_id: str) -> None:
        """Raises `Problem` while the key is refused and rests: then nothing else needs to be read."""
        if (refusal := access.refusal) is not None:
            raise self.unreadable(environment, access, refusal, environment_id)

    def unreadable(
        self, environment: Environment, access: AccountAccess, error: CloudError, environment_id: str | None = None
    ) -> Problem:
        """Returns the problem of a cloud that does not show all there is. Nothing is decided on half a view."""
        _log.debug("blind", error=str(error))
        blindness = access.blindness_of(environment_id)
        # Another process may have seen it later. Two that each tell of their own last look would never stop writing.
        last_seen = later_look(blindness.last_seen, environment.status, self._clock())
        conclusion = cloud_unreadable(error, last_seen, is_lasting=blindness.is_lasting, deleting=environment.deleting)
        retry_after = self._policy.backoff_base
        if isinstance(error, InvalidCredentials):
            # Only the Secret can tell when there is another key.
            is_news = self._sources.distrust(environment.namespace, environment.secret)
            retry_after = retry_after if is_news else REFUSED_PAUSE
        else:
            retry_after = max(retry_after, access.inventory.next_view_in)
        return Problem(conclusion, retry_after, seen_at=blindness.last_seen, is_passing=blindness.is_passing)

    def nameless(self, access: AccountAccess, seen_at: datetime) -> Problem:
        """Returns the problem of a key of which the cloud has not told the account yet, and is likely to."""
        return Problem(account_awaited(access.unknown_because), self._policy.poll_interval, seen_at=seen_at)

    def elsewhere(self, verdict: AccountVerdict, access: AccountAccess, *, deleting: bool) -> Problem:
        """Returns the problem of a key that does not show the account of the instances, or may not show it."""
        seen = access.provider.account if verdict.match is AccountMatch.OTHER else None
        conclusion = out_of_reach(verdict.ledger, seen, access.unknown_because, verdict.waits_until, deleting=deleting)
        return Problem(conclusion, self._policy.backoff_max, verdict.ledger)
