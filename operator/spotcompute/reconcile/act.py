"""Carries out a plan, action by action; every attempt becomes an outcome, and no error escapes as an exception.

Apart from `plan.planner`, because it waits and chooses nothing; apart from the provider, because it knows plans.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from spotcompute.cloud.errors import OF_ONE_INSTANCE, CloudError, OutcomeUnknown, Refused
from spotcompute.cloud.few import few_at_once
from spotcompute.cloud.provider import CloudProvider, LaunchReceipt
from spotcompute.model.instance import Instance, Ownership
from spotcompute.plan.actions import (
    Launch,
    Launched,
    Mark,
    Marked,
    Outcome,
    Plan,
    Postponed,
    SetTimers,
    Terminate,
    Terminated,
)
from spotcompute.reconcile.timers import set_timers

#: CVM's limit of ids per TerminateInstances call.
TERMINATE_BATCH = 100

#: Launches of one environment that wait for a turn or for an answer at the same time. A launch takes the cloud 1 to 3
#: seconds, and the rate allows nearly ten a second.
LAUNCHES_UNDER_WAY = 20

#: Seconds after which a run begins no further release, so that no environment keeps a worker for long: hundreds of
#: instances that the cloud does not release take hundreds of calls.
RELEASE_SECONDS = 2.0


#: Changes of tags that wait for a turn or for an answer at the same time, and seconds after which a run begins no
#: further one. Each instance takes a call, and the rate allows 18 a second.
MARKS_UNDER_WAY, MARK_SECONDS = 16, 10.0


#: Says whether an instance may be taken over: no other environment is about to do so.
Claim = Callable[[str], bool]


async def perform(
    plan: Plan, provider: CloudProvider, user_data: str | None, environment: str, claim: Claim = lambda _: True
) -> list[Outcome]:
    """Carries out the plan: releases first, one after the other, then tags, timers and launches, some at the same time.

    A launch takes the cloud some seconds, so launches that waited for each other would not use the rate of the account.
    What launches have brought comes before what was refused, because the refusal is about what was left after them.
    """
    releases, outcomes = Releases(provider, environment), list[Outcome]()
    for action in plan.actions:
        if isinstance(action, Terminate):
            for ids, result in await releases.terminate(action.instance_ids, action.together):
                outcomes.append(Terminated(ids, action.cause, action.because, result))
        elif isinstance(action, Mark):
            outcomes += await _Marks(action, provider, environment, claim).send()
        elif isinstance(action, SetTimers):
            outcomes.append(await set_timers(action, provider, environment))
    launches = [action for action in plan.actions if isinstance(action, Launch)]
    answers = await _Launches(provider, user_data, environment).send(launches)
    return outcomes + sorted(answers, key=lambda answer: not isinstance(answer.result, LaunchReceipt))


class _Marks:
    """`_Marks` changes the tags of the instances of one action, for ten seconds in all."""

    def __init__(self, mark: Mark, provider: CloudProvider, environment: str, claim: Claim) -> None:
        self._mark, self._provider, self._environment, self._claim = mark, provider, environment, claim
        self._until = asyncio.get_running_loop().time() + MARK_SECONDS
        self._is_over = False

    async def send(self) -> list[Marked]:
        """Sends them. After an error that is not about one instance, the others are left for the next run."""
        calls = [partial(self._send, instance) for instance in self._mark.instances]
        results = await few_at_once(MARKS_UNDER_WAY, calls)
        alike: dict[str, list[tuple[str, str | CloudError | Postponed]]] = {}
        for instance, result in zip(self._mark.instances, results, strict=True):
            kind = result.code if isinstance(result, CloudError) else type(result).__name__
            alike.setdefault(kind, []).append((instance.id, result))
        return [Marked(tuple(key for key, _ in some), self._mark, some[0][1]) for some in alike.values()]

    async def _send(self, instance: Instance) -> str | CloudError | Postponed:
        if self._is_over or asyncio.get_running_loop().time() >= self._until:
            return Postponed()
        try:
            if self._mark.ownership is not None:
                instance = await self._still_free(instance, self._mark.ownership)
            return await self._provider.mark(instance, self._mark.ownership, self._mark.owner, self._environment)
        except CloudError as error:
            self._is_over = self._is_over or not isinstance(error, (*OF_ONE_INSTANCE, NotFree))
            return error

    async def _still_free(self, instance: Instance, ownership: Ownership) -> Instance:
        """Returns the instance as it is now. Raises NotFree when it is, or is about to be, another environment's."""
        if not self._claim(instance.id):
            raise NotFree("TakenOverElsewhere", "another environment is taking it over")
        fresh = await self._provider.get_instances([instance.id], self._environment)
        if len(fresh) != 1 or fresh[0].ownership not in (None, ownership):
            raise NotFree("NotFree", "it belongs to another environment by now, or is gone")
        return fresh[0]


class NotFree(Refused):
    """`NotFree` means that an instance is not taken over, because it is another environment's."""


class _Launches:
    """`_Launches` sends launches of one environment. Each has an intent that was written before."""

    def __init__(self, provider: CloudProvider, user_data: str | None, environment: str) -> None:
        self._provider, self._user_data, self._environment = provider, user_data, environment
        self._has_failed = self._is_unanswered = False

    async def send(self, launches: Sequence[Launch]) -> list[Launched]:
        """Sends them. When a launch has failed, no further new one is sent (result None).

        When a launch was not answered, no open launch is repeated either: each could take as long.
        """
        return await few_at_once(LAUNCHES_UNDER_WAY, [partial(self._send, launch) for launch in launches])

    async def _send(self, launch: Launch) -> Launched:
        if self._is_unanswered or (self._has_failed and not launch.replay):
            return Launched(launch, None)
        answer = await _launch(launch, self._provider, self._user_data, self._environment)
        self._has_failed = self._has_failed or isinstance(answer.result, CloudError)
        self._is_unanswered = self._is_unanswered or isinstance(answer.result, OutcomeUnknown)
        return answer


async def _launch(action: Launch, provider: CloudProvider, user_data: str | None, environment: str) -> Launched:
    try:
        return Launched(action, await provider.launch(action.request, user_data, action.intent.token, environment))
    except CloudError as error:
        return Launched(action, error)


#: Says which of these ids may still be ended, now.
Recheck = Callable[[tuple[str, ...]], Awaitable[tuple[str, ...]]]

#: What became of some instances that share it: the request id, an error, or that they were left for the next run.
Result = tuple[tuple[str, ...], str | CloudError | Postponed]


class Releases:
    """`Releases` asks for releases on behalf of one caller, for two seconds in all."""

    def __init__(self, provider: CloudProvider, caller: str, recheck: Recheck | None = None) -> None:
        """`recheck` is asked right before each call, because the calls before it may have taken long."""
        self._provider, self._caller, self._recheck = provider, caller, recheck
        self._until = asyncio.get_running_loop().time() + RELEASE_SECONDS

    async def terminate(self, ids: tuple[str, ...], together: int | None = None) -> list[Result]:
        """Releases `ids`, at most a hundred or `together` in a call. Returns what became of them, in parts.

        When one id makes a call fail, the others are asked for without it. If the error does not name it, the ids are
        asked for in halves until it stands alone. An error that is not about single instances ends it: on a connection
        that hangs, twenty calls would take twenty timeouts. Ids that were not asked for then are not in the answer, and
        are due again later.
        """
        size = min(TERMINATE_BATCH, together or TERMINATE_BATCH)
        waiting = deque((ids[start : start + size], False) for start in range(0, len(ids), size))
        results: list[Result] = []
        while waiting and asyncio.get_running_loop().time() < self._until:
            batch, _ = waiting.popleft()
            batch = batch if self._recheck is None else await self._recheck(batch)
            if not batch:
                continue
            try:
                results.append((batch, await self._provider.terminate(batch, self._caller)))
            except OF_ONE_INSTANCE as error:
                refused, parts = _parted(batch, error)
                results += [(refused, error)] if refused else []
                waiting.extendleft((part, True) for part in reversed(parts))
            except CloudError as error:
                return [*results, (batch, error)]
        return [*results, *(_postponed(batch, is_part) for batch, is_part in waiting)]


def _postponed(batch: tuple[str, ...], is_part: bool) -> Result:
    """Returns that a batch was not asked for. As part of a refused one it is not to grow again."""
    return batch, Postponed(len(batch) if is_part else None)


def _parted(batch: tuple[str, ...], error: CloudError) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns those ids that an error is about, none when that is not known, and the parts to ask for next."""
    words = set(re.findall(r"[\w-]+", error.message))
    named = batch if len(batch) == 1 else tuple(one for one in batch if one in words)
    if named:
        others = tuple(one for one in batch if one not in named)
        return named, [others] if others else []
    middle = len(batch) // 2
    return (), [batch[:middle], batch[middle:]]
