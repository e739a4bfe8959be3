"""Releases are asked for in batches: one bad id spoils only itself, and a bad line is not tried twenty times."""

from __future__ import annotations

import asyncio
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
from spotcompute.plan.actions import Postponed
from spotcompute.reconcile.act import Releases

IDS = tuple(f"ins-{number}" for number in range(250))


@dataclass
class Cloud:
    """Refuses a batch that holds one of `blocked`; after `fails_from` calls, any with `trouble`."""

    blocked: frozenset[str] = frozenset()
    names_the_bad: bool = False
    seconds: float = 0.0
    trouble: CloudError | None = None
    fails_from: int = 0
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        self.asked.append(tuple(ids))
        await asyncio.sleep(self.seconds)
        if self.trouble is not None and len(self.asked) > self.fails_from:
            raise self.trouble
        if bad := self.blocked.intersection(ids):
            name = f"`{min(bad)}`" if self.names_the_bad else "one"
            raise TerminationBlocked("UnsupportedOperation.InstancesProtected", f"The instance {name} is protected.")
        return f"req-{len(self.asked)}"


async def released(cloud: Cloud, together: int | None = None) -> dict[str, str | CloudError | Postponed]:
    """What became of each id that has an answer."""
    results = await Releases(cast(CloudProvider, cloud), "default/web").terminate(IDS, together)
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


async def test_an_id_that_the_refusal_names_spoils_one_call() -> None:
    cloud = Cloud(blocked=frozenset({"ins-7", "ins-220"}), names_the_bad=True)
    results = await released(cloud)
    assert set(results) == set(IDS)
    assert {key for key, result in results.items() if isinstance(result, CloudError)} == {"ins-7", "ins-220"}
    assert len(cloud.asked) == 5


@pytest.mark.looptime
@pytest.mark.parametrize("names_the_bad", [True, False])
async def test_releases_end_after_two_seconds_and_the_rest_is_left_for_the_next_run(names_the_bad: bool) -> None:
    cloud = Cloud(blocked=frozenset(IDS), seconds=1.0, names_the_bad=names_the_bad)
    began = asyncio.get_running_loop().time()
    results = await released(cloud)
    assert asyncio.get_running_loop().time() - began <= 3.0
    assert set(results) == set(IDS)
    assert results["ins-249"] == Postponed()
    assert results["ins-99"] == Postponed(98 if names_the_bad else 50)


@pytest.mark.looptime
async def test_halving_goes_on_in_the_next_run_where_it_was() -> None:
    cloud = Cloud(blocked=frozenset(IDS), seconds=1.0)
    assert (await released(cloud, together=1))["ins-2"] == Postponed()
    assert [len(ids) for ids in cloud.asked] == [1, 1]


@pytest.mark.parametrize("kind", [OutcomeUnknown, NotSent, Throttled, InvalidCredentials])
async def test_trouble_of_the_line_or_the_account_ends_the_release(kind: type[CloudError]) -> None:
    trouble = kind("Some.Code", "words")
    cloud = Cloud(trouble=trouble, fails_from=1)
    results = await released(cloud)
    assert len(cloud.asked) == 2
    assert set(results) == set(IDS[:200])
    assert {key for key, result in results.items() if result is trouble} == set(IDS[100:200])
