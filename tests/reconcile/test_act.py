"""Releases are asked for in batches: one bad id spoils only itself, and a bad line is not tried twenty times."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from plan.given import A, desired_of, intent, ledger_of
from spotcompute.cloud.errors import (
    CloudError,
    InvalidCredentials,
    NotSent,
    OutcomeUnknown,
    TerminationBlocked,
    Throttled,
)
from spotcompute.cloud.provider import CloudProvider, LaunchReceipt
from spotcompute.model.launch import LaunchRequest
from spotcompute.plan.actions import Launch, Launched, Plan, Postponed
from spotcompute.plan.launching import request_for
from spotcompute.reconcile.act import LAUNCHES_UNDER_WAY, Releases, perform

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


@dataclass
class Market:
    """Answers each launch with the next of `answers`: an error is raised, anything else is a success."""

    answers: list[CloudError | None]
    asked: list[str] = field(default_factory=list)

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        self.asked.append(token)
        answer = self.answers[len(self.asked) - 1]
        if answer is not None:
            raise answer
        return LaunchReceipt((f"ins-{len(self.asked)}",), "req-1")


SOLD_OUT = Throttled("RequestLimitExceeded", "slow down")
NO_ANSWER = OutcomeUnknown("ClientTimeout", "no answer within 10 s")


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        pytest.param([None, None, None, None], [1, 2, 3, 4], id="all-go"),
        pytest.param([SOLD_OUT, None, None], [1, 3], id="after-a-refusal-open-launches-alone"),
        pytest.param([NO_ANSWER], [1], id="after-no-answer-none"),
        pytest.param([None, SOLD_OUT, None], [1, 2, 3], id="what-went-before-a-refusal-stays"),
        pytest.param([SOLD_OUT, NO_ANSWER], [1, 3], id="a-refusal-and-then-no-answer"),
    ],
)
async def test_what_is_not_sent_after_a_launch_has_failed(answers: list[CloudError | None], sent: list[int]) -> None:
    """The third is a repetition of an open launch, the others are new."""
    desired = desired_of(4)
    launches = []
    for number in (1, 2, 3, 4):
        request = request_for(desired, A, 1, number, None, False)
        assert request is not None
        launches.append(Launch(intent(desired, sequence=number), request, "missing", replay=number == 3))
    market = Market([*answers, *[None] * 4])
    outcomes = await perform(Plan(ledger_of(), tuple(launches)), cast(CloudProvider, market), None, "default/web")
    tokens = [launches[number - 1].intent.token for number in sent]
    assert market.asked == tokens
    told = [one.launch.intent.token for one in outcomes if isinstance(one, Launched) and one.result is not None]
    assert sorted(told) == sorted(tokens)
    assert len(outcomes) == 4


@dataclass
class SlowMarket:
    """Answers each launch after two seconds, and refuses those after the first `stock`."""

    stock: int
    asked: int = 0
    under_way: int = 0
    most_under_way: int = 0

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        self.asked += 1
        number = self.asked
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(2.0)
        self.under_way -= 1
        if number > self.stock:
            raise SOLD_OUT
        return LaunchReceipt((f"ins-{number}",), "req-1")


async def slowly_launched(market: SlowMarket, count: int) -> list[Launched]:
    desired = desired_of(count)
    launches = []
    for number in range(1, count + 1):
        request = request_for(desired, A, 1, number, None, False)
        assert request is not None
        launches.append(Launch(intent(desired, sequence=number), request, "missing"))
    outcomes = await perform(Plan(ledger_of(), tuple(launches)), cast(CloudProvider, market), None, "default/web")
    return [one for one in outcomes if isinstance(one, Launched)]


@pytest.mark.looptime
async def test_launches_that_take_seconds_do_not_wait_for_each_other() -> None:
    market = SlowMarket(stock=20)
    began = asyncio.get_running_loop().time()
    answers = await slowly_launched(market, 20)
    assert asyncio.get_running_loop().time() - began < 5.0
    assert all(isinstance(one.result, LaunchReceipt) for one in answers)
    assert market.most_under_way == LAUNCHES_UNDER_WAY


@pytest.mark.looptime
async def test_after_a_refusal_no_further_launch_begins_and_sales_are_told_first() -> None:
    market = SlowMarket(stock=3)
    answers = await slowly_launched(market, 40)
    assert market.asked <= LAUNCHES_UNDER_WAY + 3
    kinds = [type(one.result) for one in answers]
    assert kinds[:3] == [LaunchReceipt] * 3
    assert LaunchReceipt not in kinds[3:]
    assert len({one.launch.intent.sequence for one in answers}) == 40
