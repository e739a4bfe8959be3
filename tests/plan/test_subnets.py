"""Where a zone is given with several subnets, the next one is used when the one before has no free address."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    applied,
    backoff_of,
    desired_of,
    fallback,
    launches,
    ledger_of,
    market_of,
    observed_of,
    planned,
    seconds,
    situation_of,
)
from plan.playing import Play
from spotcompute.api import ledger as stored
from spotcompute.cloud.errors import CloudError, NoRoom, OutcomeUnknown
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.desired import Desired, Gang, Placement
from spotcompute.model.ledger import Trouble
from spotcompute.model.offering import whole_subnet, whole_zone
from spotcompute.plan.actions import Launch, Launched
from spotcompute.plan.launching import may_be_repeated
from spotcompute.plan.situation import Situation
from spotcompute.report.why import why_short

SMALL, LARGE = Placement(A.zone, "vpc-1", "subnet-small"), Placement(A.zone, "vpc-1", "subnet-large")


def desired(replicas: int = 3, **other: Any) -> Desired:
    """One type in one zone with two subnets, as the spec makes it."""
    return replace(desired_of(replicas, [A]), pools=((A, SMALL),), placements=(SMALL, LARGE), **other)


@dataclass
class Networks(Play):
    """A market in which everything is in stock, and whose subnets have so many addresses."""

    addresses: dict[str | None, int] = field(default_factory=dict)

    def used(self, subnet: str | None) -> int:
        alive = [one for one in self.machines.values() if one.ended_at is None]
        return sum(one.launch.request.subnet_id == subnet for one in alive)

    def _launch(self, action: Launch) -> LaunchReceipt | CloudError:
        subnet = action.request.subnet_id
        if self.used(subnet) + action.intent.count > self.addresses.get(subnet, 1000):
            return NoRoom("ResourceInsufficient.VpcIp", f"{subnet} has too few addresses")
        return super()._launch(action)


def playing(wanted: Desired, small: int, large: int) -> Networks:
    quoted = market_of({A: "0.10"})
    return Networks(wanted, lambda now: quoted, addresses={"subnet-small": small, "subnet-large": large})


@pytest.mark.parametrize(("small", "large"), [(0, 9), (2, 9), (9, 0), (9, 9), (2, 1), (1, 2)])
def test_every_free_address_of_the_zone_is_found(small: int, large: int) -> None:
    play = playing(desired(3), small, large)
    play.run(seconds(300))
    assert play.live() == 3


def test_the_first_is_used_while_it_has_room() -> None:
    play = playing(desired(3), 9, 9)
    play.run(seconds(60))
    assert (play.used("subnet-small"), play.used("subnet-large")) == (3, 0)


def test_the_second_is_asked_at_once_and_not_after_a_backoff() -> None:
    play = playing(desired(3), 0, 9)
    play.run(seconds(1))
    assert play.live() == 3
    assert [launch.request.subnet_id for _, launch in play.asked] == ["subnet-small", "subnet-large"]


def test_a_full_zone_is_asked_rarely_and_says_so() -> None:
    play = playing(desired(3), 0, 0)
    play.run(seconds(3600))
    assert len(play.asked) < 300
    assert "SubnetFull" in str(why_short(play._situation()))


def test_on_demand_finds_the_second_subnet_too() -> None:
    play = playing(desired(3, fallback=fallback(after=seconds(0))), 0, 9)
    play.room = lambda pool, now: 0
    play.run(seconds(900))
    assert play.live(on_demand=True) == 3
    assert {launch.request.subnet_id for _, launch in play.launched} == {"subnet-large"}


def test_a_gang_comes_whole_in_the_second_subnet() -> None:
    play = playing(desired(4, gang=Gang(4, seconds(60))), 2, 9)
    play.run(seconds(60))
    assert (play.used("subnet-small"), play.used("subnet-large")) == (0, 4)


def test_another_zone_comes_after_the_second_subnet() -> None:
    there = Placement(B.zone)
    wanted = replace(desired(3), pools=((A, SMALL), (B, there)), placements=(SMALL, LARGE, there))
    play = Networks(wanted, lambda now: market_of({A: "0.10", B: "0.12"}), addresses={"subnet-small": 0})
    play.run(seconds(60))
    assert play.used("subnet-large") == 3


# --- the ledger ------------------------------------------------------------------------------------------------------


def doubtful() -> tuple[Desired, Situation]:
    """A launch into the second subnet whose answer was lost."""
    wanted = desired(2)
    full = whole_subnet(A.zone, "subnet-small")
    ledger = ledger_of(backoff_of(full, Trouble.NO_ROOM))
    plan = planned(wanted, ledger, observed_of())
    (launch,) = launches(plan.actions)
    assert launch.intent.subnet_id == launch.request.subnet_id == "subnet-large"
    lost = applied(plan.ledger, [Launched(launch, OutcomeUnknown("InternalError", "no answer"))], wanted)
    return wanted, situation_of(wanted, lost.ledger)


def test_an_open_launch_is_repeated_in_its_own_subnet_whichever_is_open_now() -> None:
    wanted, situation = doubtful()
    (intent,) = situation.ledger.intents
    later = replace(situation, ledger=replace(situation.ledger, backoffs={}), now=NOW + POLICY.answer_wait_max)
    assert may_be_repeated(intent, later)
    (repeated,) = launches(planned(wanted, later.ledger, observed_of(), now=later.now).actions)
    assert repeated.intent.token == intent.token
    assert repeated.request.digest == intent.digest


def test_an_open_launch_into_a_subnet_that_the_spec_no_longer_gives_is_not_repeated() -> None:
    _, situation = doubtful()
    (intent,) = situation.ledger.intents
    once = replace(situation.desired, placements=(SMALL,))
    later = replace(situation, desired=once, now=NOW + POLICY.answer_wait_max)
    assert not may_be_repeated(intent, later)


def test_the_ledger_keeps_the_subnet_and_says_nothing_where_there_is_one() -> None:
    _, situation = doubtful()
    assert stored.decode(stored.encode(situation.ledger)) == situation.ledger
    (launch,) = launches(planned(desired_of(2, [A]), ledger_of(), observed_of()).actions)
    assert launch.intent.subnet_id is None
    assert "subnet" not in str(stored.encode(ledger_of(launch.intent)))


def test_a_zone_that_is_given_once_backs_off_whole_as_before() -> None:
    play = Networks(desired_of(2, [A]), lambda now: market_of({A: "0.10"}), addresses={None: 0})
    play.run(seconds(5))
    assert whole_zone(A.zone) in play.ledger.backoffs


def test_a_launch_that_comes_ends_the_backoff_of_its_subnet() -> None:
    play = playing(desired(3), 9, 9)
    full = whole_subnet(A.zone, "subnet-small")
    play.ledger = ledger_of(backoff_of(full, Trouble.NO_ROOM, until=NOW))
    play.run(seconds(5))
    assert full not in play.ledger.backoffs
