"""A pool with room for fewer than wanted is filled to the last place, in few calls."""

from __future__ import annotations

import math

import pytest

from plan.given import A, applied, desired_of, launches, ledger_of, observed_of, planned
from spotcompute.cloud.errors import InsufficientCapacity
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.ledger import Ledger
from spotcompute.plan.actions import Launch, Launched, Learned


def answer(launch: Launch, room: int) -> LaunchReceipt | InsufficientCapacity:
    """All or nothing, as RunInstances does it."""
    if launch.request.count > room:
        return InsufficientCapacity("ResourcesSoldOut.SpecifiedInstanceType", f"fewer than {launch.request.count}")
    ids = tuple(f"ins-{launch.intent.sequence}-{number}" for number in range(launch.request.count))
    return LaunchReceipt(ids, "req-1")


def one_run(wanted: int, room: int) -> tuple[Ledger, int]:
    """Plan and fold as one run of the loop does, until the plan is empty; the ledger, and the calls it took."""
    desired, ledger, learned, calls = desired_of(wanted, pools=[A]), ledger_of(), Learned(), 0
    while asked := launches((plan := planned(desired, ledger, observed_of(), learned)).actions):
        (launch,) = asked
        result = answer(launch, room - len(ledger.members))
        folded = applied(plan.ledger, [Launched(launch, result)], desired, learned)
        ledger, learned, calls = folded.ledger, folded.learned, calls + 1
        assert calls <= 200, "it never ends"
    return ledger, calls


@pytest.mark.parametrize("wanted", range(41))
def test_a_pool_is_filled_to_the_last_place_in_few_calls(wanted: int) -> None:
    for room in range(41):
        ledger, calls = one_run(wanted, room)
        assert len(ledger.members) == min(room, wanted), f"room {room}"
        assert calls <= 2 * math.ceil(math.log2(wanted + 1)) + 1, f"room {room}: {calls} calls"
        assert ledger.intents == ()
