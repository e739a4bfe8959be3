"""Carries out a plan, action by action; every attempt becomes an outcome, and no error escapes as an exception.

Apart from `plan.planner`, because it waits and chooses nothing; apart from the provider, because it knows plans.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from spotcompute.cloud.errors import (
    CloudError,
    InstanceBusy,
    InstanceGone,
    InvalidConfiguration,
    OutcomeUnknown,
    TerminationBlocked,
    Unclassified,
)
from spotcompute.cloud.provider import CloudProvider
from spotcompute.plan.actions import Launch, Launched, Outcome, Plan, Terminate, Terminated

#: CVM's limit of ids per TerminateInstances call.
TERMINATE_BATCH = 100

#: Errors that may be about one instance of a batch. The others are asked for without it.
_OF_ONE_INSTANCE = (InstanceBusy, InstanceGone, TerminationBlocked, InvalidConfiguration, Unclassified)


async def perform(plan: Plan, provider: CloudProvider, user_data: str | None, environment: str) -> list[Outcome]:
    """Carries out the actions in order. After a launch has failed, the next new launches are not sent (result None).

    After a launch was not answered, no open launch is repeated either: each could take as long.
    """
    outcomes: list[Outcome] = []
    failed = unanswered = False
    for action in plan.actions:
        if isinstance(action, Terminate):
            for ids, result in await terminate(action.instance_ids, provider, environment):
                outcomes.append(Terminated(ids, action.cause, action.because, result))
        elif unanswered or (failed and not action.replay):
            outcomes.append(Launched(action, None))
        else:
            outcome = await _launch(action, provider, user_data, environment)
            failed = failed or isinstance(outcome.result, CloudError)
            unanswered = isinstance(outcome.result, OutcomeUnknown)
            outcomes.append(outcome)
    return outcomes


async def _launch(action: Launch, provider: CloudProvider, user_data: str | None, environment: str) -> Launched:
    try:
        return Launched(action, await provider.launch(action.request, user_data, action.intent.token, environment))
    except CloudError as error:
        return Launched(action, error)


#: Says which of these ids may still be ended, now.
Recheck = Callable[[tuple[str, ...]], Awaitable[tuple[str, ...]]]


async def terminate(
    ids: tuple[str, ...], provider: CloudProvider, caller: str, recheck: Recheck | None = None
) -> list[tuple[tuple[str, ...], str | CloudError]]:
    """Releases `ids`, a hundred in a call. Returns, for parts of them, the request id or the error that they share.

    `recheck` is asked right before each call: one bad id takes a dozen calls, and as many seconds. An error that is not
    about single instances ends it: on a connection that hangs, twenty calls would take twenty timeouts. Ids that were
    not asked for are not in the answer, and are due again later.
    """
    results: list[tuple[tuple[str, ...], str | CloudError]] = []
    for start in range(0, len(ids), TERMINATE_BATCH):
        results += await _terminate_batch(ids[start : start + TERMINATE_BATCH], provider, caller, recheck)
        if any(isinstance(result, CloudError) and not isinstance(result, _OF_ONE_INSTANCE) for _, result in results):
            break
    return results


async def _terminate_batch(
    batch: tuple[str, ...], provider: CloudProvider, caller: str, recheck: Recheck | None
) -> list[tuple[tuple[str, ...], str | CloudError]]:
    """Releases a batch. When one id makes it fail, the batch is halved until that id stands alone."""
    if recheck is not None and not (batch := await recheck(batch)):
        return []
    try:
        return [(batch, await provider.terminate(batch, caller))]
    except _OF_ONE_INSTANCE as error:
        if len(batch) == 1:
            return [(batch, error)]
        middle = len(batch) // 2
        first = await _terminate_batch(batch[:middle], provider, caller, recheck)
        return first + await _terminate_batch(batch[middle:], provider, caller, recheck)
    except CloudError as error:
        return [(batch, error)]
