"""Sets the timers of many instances, and takes them off: a hundred in a call, and fewer where one spoils the others.

Apart from `act`, because a timer is no release: what cannot get one stays as it is, and is told.
"""

from __future__ import annotations

import asyncio
from collections import deque

from spotcompute.cloud.errors import CloudError, InstanceBusy, InstanceGone
from spotcompute.cloud.provider import CloudProvider
from spotcompute.plan.actions import SetTimers, TimersSet

#: Ids in one call.
BATCH = 100

#: Seconds after which a run begins no further call. What is left is due at once in the next one.
SECONDS = 10.0


async def set_timers(action: SetTimers, provider: CloudProvider, environment: str) -> TimersSet:
    """Sends the calls of one action, one after the other. After an error about no single instance it sends no more."""
    until = asyncio.get_running_loop().time() + SECONDS
    waiting = deque(action.instance_ids[start : start + BATCH] for start in range(0, len(action.instance_ids), BATCH))
    done, last = list[str](), None
    while waiting and asyncio.get_running_loop().time() < until:
        batch = waiting.popleft()
        try:
            await provider.set_timers(batch, action.ends_at, environment)
            done += batch
        except (InstanceBusy, InstanceGone) as error:
            last, middle = error, len(batch) // 2
            waiting.extendleft(part for part in (batch[middle:], batch[:middle]) if middle)
        except CloudError as error:
            return TimersSet(tuple(done), action.ends_at, error)
    return TimersSet(tuple(done), action.ends_at, last)
