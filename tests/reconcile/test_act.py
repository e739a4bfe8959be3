"""Releases are asked for in batches: one bad id spoils only itself, and a bad line is not tried twenty times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from spotcompute.cloud.errors import (
    CloudError,
    InvalidCredentials,
    NotSent,
    OutcomeUnknown,
    TerminationBlocked,
    Throttled,
)
from spotcompute.cloud.provider import CloudProvider
from spotcompute.reconcile.act import terminate

IDS = tuple(f"ins-{number}" for number in range(250))


@dataclass
class Cloud:
    """Refuses a batch that holds one of `blocked`; after `fails_from` calls, any with `trouble`."""

    blocked: frozenset[str] = frozenset()
    trouble: CloudError | None = None
    fails_from: int = 0
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        self.asked.append(tuple(ids))
        if self.trouble is not None and len(self.asked) > self.fails_from:
            raise self.trouble
        if self.blocked.intersection(ids):
            raise TerminationBlocked("UnsupportedOperation.InstancesProtected", "is protected")
        return f"req-{len(self.asked)}"


async def released(cloud: Cloud) -> dict[str, str | CloudError]:
    """What became of each id that has an answer."""
    results = await terminate(IDS, cast(CloudProvider, cloud), "default/web")
    return {instance_id: result for ids, result in results for instance_id in ids}


async def test_ids_go_a_hundred_at_a_time() -> None:
    cloud = Cloud()
    assert set(await released(cloud)) == set(IDS)
    assert [len(ids) for ids in cloud.asked] == [100, 100, 50]


async def test_an_id_that_spoils_its_batch_stands_alone_in_the_end() -> None:
    cloud = Cloud(blocked=frozenset({"ins-7", "ins-220"}))
    results = await released(cloud)
    assert set(results) == set(IDS)
    assert {key for key, result in results.items() if isinstance(result, CloudError)} == {"ins-7", "ins-220"}


@pytest.mark.parametrize("kind", [OutcomeUnknown, NotSent, Throttled, InvalidCredentials])
async def test_trouble_of_the_line_or_the_account_ends_the_release(kind: type[CloudError]) -> None:
    trouble = kind("Some.Code", "words")
    cloud = Cloud(trouble=trouble, fails_from=1)
    results = await released(cloud)
    assert len(cloud.asked) == 2
    assert set(results) == set(IDS[:200])
    assert {key for key, result in results.items() if result is trouble} == set(IDS[100:200])
