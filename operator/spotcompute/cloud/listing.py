"""Lists an account with one of its keys: the one whose turn it is, or the first that works when that one does not.

Apart from `inventory`, which makes a sweep of the list, and from `keyring`, which only remembers and asks nothing.
"""

from __future__ import annotations

import asyncio

from spotcompute.cloud.errors import CloudError, InvalidCredentials, NotSent, OutcomeUnknown, Unavailable
from spotcompute.cloud.keyring import Keyring
from spotcompute.cloud.provider import CloudProvider
from spotcompute.model.instance import Instance

#: Keys that are tried one after the other. If none of them is answered, others are tried side by side.
ONE_BY_ONE = 2

#: Keys that are tried at the same time.
AT_ONCE = 16

#: A key that was not the last to be answered gets so many seconds, or so many times what the last list took.
OTHER_KEY_SECONDS, OTHER_KEY_TIMES = 2.0, 3


class AccountListing:
    """`AccountListing` lists every instance of one account and region."""

    def __init__(self, keyring: Keyring, cluster_id: str) -> None:
        self._keyring, self._cluster_id = keyring, cluster_id
        self._took_seconds = 0.0

    async def instances(self) -> tuple[Instance, ...]:
        """Lists with the first key, in their turn, that the cloud answers and does not refuse. Raises CloudError."""
        error: CloudError = InvalidCredentials("NoKey", "no key of this account is in use any more")
        line, unanswered = list(self._keyring.in_turn()), 0
        while line and unanswered < ONE_BY_ONE:
            try:
                return await self._list_with(line.pop(0))
            except InvalidCredentials as refusal:
                error = refusal
            except (OutcomeUnknown, NotSent, Unavailable) as failure:
                error, unanswered = failure, unanswered + 1
        for start in range(0, len(line), AT_ONCE):
            if (listed := await self._list_with_any(line[start : start + AT_ONCE])) is not None:
                return listed
        raise error

    async def _list_with_any(self, providers: list[CloudProvider]) -> tuple[Instance, ...] | None:
        """Lists with all these keys at the same time. Returns the first answer, and None when there is none."""
        tasks = [asyncio.create_task(self._list_with(provider)) for provider in providers]
        try:
            for coming in asyncio.as_completed(tasks):
                try:
                    return await coming
                except CloudError:
                    continue
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None

    async def _list_with(self, provider: CloudProvider) -> tuple[Instance, ...]:
        """Lists with one key, and takes note of how that ended. Raises CloudError."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience_with(provider)):
                listed = await provider.list_instances(self._cluster_id)
        except InvalidCredentials as refusal:
            self._keyring.refused(provider, refusal)
            raise
        except (OutcomeUnknown, NotSent, Unavailable):
            self._keyring.unanswered(provider)
            raise
        except TimeoutError:
            self._keyring.unanswered(provider)
            raise OutcomeUnknown("NoAnswer", "no answer in the time that another key of the account needs") from None
        self._keyring.accepted(provider)
        self._took_seconds = loop.time() - began
        return listed

    def _patience_with(self, provider: CloudProvider) -> float | None:
        """Returns the seconds after which another key is tried. None for the key that was answered last."""
        if provider.key == self._keyring.current.key:
            return None
        return max(OTHER_KEY_SECONDS, OTHER_KEY_TIMES * self._took_seconds)
