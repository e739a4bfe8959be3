"""Looks at instances that were launched a moment ago until they run, for all environments of an account together.

Apart from `inventory` because its list of a large account is many seconds old when an instance begins to run, and an
environment that looked by itself every half second would cost a run each time. Only what a look-up shows counts here:
an instance that it lacks is as unknown as before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.few import few_at_once
from spotcompute.cloud.provider import CloudProvider
from spotcompute.cloud.sweep import Sweep
from spotcompute.model.instance import Instance, InstanceState

#: Seconds between two looks.
LOOKS_APART = 0.25

#: Seconds from a launch to the first look. Nothing boots faster.
FIRST_LOOK = 2.0

#: What has been on its way for longer is looked at after this part of the time it has taken so far.
RARER = 16

#: Seconds after which an instance that does not run yet is left to the sweeps.
LEFT_AFTER = 120.0

#: Seconds after a launch in which its environment need not hear of each instance. It looks by itself after that.
TOLD_TOGETHER = 4.0

#: Ids in one call, and calls of one look: eight a second at most, a fifth of the documented rate.
BATCH, CALLS = 100, 2


@dataclass(slots=True)
class _Awaited:
    """`_Awaited` is an instance that does not run yet: whose it is, since when, and when to look again."""

    environment_id: str
    since: float
    due: float


class Arrivals:
    """`Arrivals` wakes an environment when the last of the instances it waits for runs, or will never run.

    Moments are the running loop's.
    """

    def __init__(self, provider: Callable[[], CloudProvider], wake: Callable[[Collection[str]], None]) -> None:
        """Takes `wake`, which is called with the ids of environments."""
        self._provider, self._wake = provider, wake
        self._awaited: dict[str, _Awaited] = {}
        self._seen: dict[str, tuple[float, Instance]] = {}
        self._born: dict[str, float] = {}
        self._list_began = 0.0
        self._news = asyncio.Event()

    def expect(self, environment_id: str, ids: Collection[str]) -> None:
        """Looks at these instances of an environment from now on. They have just been launched."""
        now = asyncio.get_running_loop().time()
        self._awaited |= {key: _Awaited(environment_id, now, now + FIRST_LOOK) for key in ids}
        self._born = {key: at for key, at in self._born.items() if now - at < TOLD_TOGETHER} | dict.fromkeys(ids, now)
        self._news.set()

    def listed(self, sweep: Sweep) -> None:
        """Takes in a list: what runs in it is awaited no more, and what was seen before it began is old."""
        self._list_began = sweep.began
        for instance in sweep.instances if self._awaited else ():
            if instance.id in self._awaited and instance.state is not InstanceState.PENDING:
                del self._awaited[instance.id]
        self._seen = {key: seen for key, seen in self._seen.items() if seen[0] > sweep.began}

    def worth_telling(self, environment_ids: Collection[str], before: Sweep, after: Sweep) -> set[str]:
        """Returns those of these environments that have to hear now of what has changed between two lists.

        An environment need not when all of it is about instances launched a moment ago, and some of them are awaited
        still: it is woken for the last, and each run in between would write the status of all.
        """
        now = asyncio.get_running_loop().time()
        young = {key for key, at in self._born.items() if now - at < TOLD_TOGETHER}
        waiting = {one.environment_id for key, one in self._awaited.items() if key in young}
        return {one for one in environment_ids if one not in waiting or not after.changed_in(one, before) <= young}

    def seen(self, ids: Collection[str]) -> Mapping[str, Instance]:
        """Returns those of `ids` that a look has shown since the latest list began."""
        return {key: self._seen[key][1] for key in ids if key in self._seen}

    async def run(self) -> None:
        """Looks for ever. Without young instances it waits."""
        while True:
            await self._news.wait()
            await asyncio.sleep(LOOKS_APART)
            now = asyncio.get_running_loop().time()
            self._awaited = {key: one for key, one in self._awaited.items() if now - one.since < LEFT_AFTER}
            due = sorted((one.due, key) for key, one in self._awaited.items() if one.due <= now + LOOKS_APART / 2)
            with contextlib.suppress(CloudError):
                await self._look([key for _, key in due[: BATCH * CALLS]])
            if not self._awaited:
                self._news.clear()

    async def _look(self, ids: Sequence[str]) -> None:
        """Looks at these instances once, and wakes the environments that wait for no others. Raises CloudError."""
        at, provider = asyncio.get_running_loop().time(), self._provider()
        for key in ids:
            one = self._awaited[key]
            one.due = at + max(LOOKS_APART, (at - one.since) / RARER)
        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        answers = await few_at_once(CALLS, [partial(provider.get_instances, batch, "") for batch in batches])
        if at <= self._list_began:
            return  # the list that has come meanwhile is newer
        arrived: set[str] = set()
        for instance in (one for answer in answers for one in answer if one.state is not InstanceState.PENDING):
            awaited = self._awaited.pop(instance.id, None)
            if awaited is not None:
                self._seen[instance.id] = at, instance
                arrived.add(awaited.environment_id)
        complete = arrived - {one.environment_id for one in self._awaited.values()}
        if complete:
            self._wake(complete)
