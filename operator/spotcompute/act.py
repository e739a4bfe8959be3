"""Carries out a plan, action by action; every attempt becomes an outcome, and no error escapes as an exception.

Separate from the planner because it waits and chooses nothing; separate from the provider because it knows plans.
"""

from __future__ import annotations

from spotcompute.cloud.errors import (
    CloudError,
    InstanceBusy,
    InstanceGone,
    InvalidConfiguration,
    TerminationBlocked,
    Unclassified,
)
from spotcompute.cloud.provider import CloudProvider
from spotcompute.plan.actions import Launch, Launched, Outcome, Plan, Terminate, Terminated

#: CVM's limit of ids per TerminateInstances call.
TERMINATE_BATCH = 100

#: Errors that may be about one instance of a batch: the others deserve a call without it.
_OF_ONE_INSTANCE = (InstanceBusy, InstanceGone, TerminationBlocked, InvalidConfiguration, Unclassified)


async def perform(plan: Plan, provider: CloudProvider, user_data: str | None, environment: str) -> list[Outcome]:
    """Carry out the actions in order. After a launch fails, the launches behind it are not sent (result None)."""
    outcomes: list[Outcome] = []
    failed = False
    for action in plan.actions:
        if isinstance(action, Terminate):
            for start in range(0, len(action.instance_ids), TERMINATE_BATCH):
                batch = action.instance_ids[start : start + TERMINATE_BATCH]
                outcomes.extend(await _terminate(action, batch, provider, environment))
        elif failed and not action.replay:
            outcomes.append(Launched(action, None))
        else:
            outcome = await _launch(action, provider, user_data, environment)
            failed = failed or isinstance(outcome.result, CloudError)
            outcomes.append(outcome)
    return outcomes


async def _launch(action: Launch, provider: CloudProvider, user_data: str | None, environment: str) -> Launched:
    try:
        return Launched(action, await provider.launch(action.request, user_data, action.intent.token, environment))
    except CloudError as error:
        return Launched(action, error)


async def _terminate(
    action: Terminate, batch: tuple[str, ...], provider: CloudProvider, environment: str
) -> list[Outcome]:
    """Release a batch; when one id spoils it, halve it until the culprit stands alone."""
    try:
        request_id = await provider.terminate(batch, environment)
    except _OF_ONE_INSTANCE as error:
        if len(batch) == 1:
            return [Terminated(batch, action.cause, action.because, error)]
        middle = len(batch) // 2
        first = await _terminate(action, batch[:middle], provider, environment)
        return first + await _terminate(action, batch[middle:], provider, environment)
    except CloudError as error:
        return [Terminated(batch, action.cause, action.because, error)]
    return [Terminated(batch, action.cause, action.because, request_id)]
