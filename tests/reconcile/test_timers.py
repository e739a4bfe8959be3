"""Timers are set a hundred at a time; one instance that cannot have one spoils only itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest

from spotcompute.cloud.errors import CloudError, InstanceBusy, InvalidCredentials
from spotcompute.cloud.provider import CloudProvider
from spotcompute.plan.actions import SetTimers, TimersSet
from spotcompute.reconcile.timers import set_timers

IDS = tuple(f"ins-{number:03d}" for number in range(250))
AT = datetime(2026, 11, 30, tzinfo=UTC)


@dataclass
class Cloud:
    """Refuses a batch that holds one of `busy`, and after `fails_from` calls every one."""

    busy: frozenset[str] = frozenset()
    fails_from: int = 10**6
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def set_timers(self, ids: Sequence[str], ends_at: datetime | None, on_behalf_of: str) -> None:
        self.asked.append(tuple(ids))
        if len(self.asked) > self.fails_from:
            raise InvalidCredentials("UnauthorizedOperation", "not with this key")
        if self.busy.intersection(ids):
            raise InstanceBusy("UnsupportedOperation.InstanceStateTerminating", "one of them ends")


async def became(cloud: Cloud) -> TimersSet:
    return await set_timers(SetTimers(IDS, AT), cast(CloudProvider, cloud), "default/web")


async def test_a_hundred_go_in_a_call() -> None:
    cloud = Cloud()
    assert await became(cloud) == TimersSet(IDS, AT)
    assert [len(ids) for ids in cloud.asked] == [100, 100, 50]


async def test_the_others_get_theirs_when_one_cannot() -> None:
    cloud = Cloud(busy=frozenset({"ins-007", "ins-120"}))
    outcome = await became(cloud)
    assert set(outcome.instance_ids) == set(IDS) - cloud.busy
    assert isinstance(outcome.error, InstanceBusy)


@pytest.mark.parametrize("fails_from", [0, 1])
async def test_a_missing_right_ends_it_at_once(fails_from: int) -> None:
    cloud = Cloud(fails_from=fails_from)
    outcome = await became(cloud)
    assert isinstance(outcome.error, CloudError)
    assert len(outcome.instance_ids) == 100 * fails_from
    assert len(cloud.asked) == fails_from + 1
