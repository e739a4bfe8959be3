"""Who goes: the useless at once, the surplus in an order that loses least work."""

from __future__ import annotations

import itertools

import pytest

from plan.given import NOW, PRESENT, A, B, accepted, ago, instance, ledger_of, market_of, member, released, seconds
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Member
from spotcompute.model.offering import Market
from spotcompute.plan.retirement import in_order_of_leaving, why_replace

TIMEOUT = seconds(600)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (InstanceState.PENDING, None),
        (InstanceState.RUNNING, None),
        (InstanceState.STARTING, None),
        (InstanceState.STOPPING, None),
        (InstanceState.REBOOTING, None),
        (InstanceState.OTHER, None),
        (InstanceState.STOPPED, Cause.STOPPED_OUTSIDE),
        (InstanceState.SHUTDOWN, Cause.RECYCLE_BIN),
        (InstanceState.TERMINATING, None),
        (InstanceState.LAUNCH_FAILED, None),
    ],
    ids=str,
)
def test_which_states_make_a_fresh_instance_useless(state: InstanceState, cause: Cause | None) -> None:
    assert why_replace(member("ins-1"), instance("ins-1", state, created_at=NOW), NOW, TIMEOUT) is cause


def test_pending_for_too_long_is_replaced() -> None:
    stuck = instance("ins-1", InstanceState.PENDING, created_at=ago(601))
    assert why_replace(member("ins-1"), stuck, NOW, TIMEOUT) is Cause.STUCK_PENDING


def test_nothing_is_said_about_what_is_not_seen() -> None:
    assert why_replace(member("ins-1"), None, NOW, TIMEOUT) is None


def test_the_lost_are_only_fetched_out_of_the_recycle_bin() -> None:
    lost = member("ins-1", lost=Cause.RECLAIMED)
    assert why_replace(lost, instance("ins-1", InstanceState.STOPPED), NOW, TIMEOUT) is None
    assert why_replace(lost, instance("ins-1", InstanceState.SHUTDOWN), NOW, TIMEOUT) is Cause.RECYCLE_BIN


def order(members: list[Member], *pending: str, prices: Market | None = None) -> list[str]:
    seen = {
        item.id: instance(item.id, InstanceState.PENDING if item.id in pending else InstanceState.RUNNING)
        for item in members
    }
    return [item.id for item in in_order_of_leaving(ledger_of(*members), seen, prices or Market(), PRESENT)]


def test_not_running_yet_goes_before_everything_else() -> None:
    old = member("ins-old", template_digest="000000000000")
    assert order([member("ins-new"), old], "ins-new") == ["ins-new", "ins-old"]


def test_an_older_template_goes_before_a_costlier_one() -> None:
    dear = member("ins-dear", pool=B)
    old = member("ins-old", template_digest="000000000000")
    assert order([dear, old], prices=market_of({A: "1", B: "9"})) == ["ins-old", "ins-dear"]


def test_the_costliest_goes_before_the_youngest() -> None:
    dear = member("ins-dear", pool=B, launched_at=ago(9000))
    young = member("ins-young", launched_at=ago(1))
    assert order([young, dear], prices=market_of({A: "1", B: "9"})) == ["ins-dear", "ins-young"]


def test_the_youngest_goes_first_then_the_smallest_id() -> None:
    ages = [("ins-3", 50), ("ins-2", 10), ("ins-1", 10)]
    assert order([member(key, launched_at=ago(age)) for key, age in ages]) == ["ins-1", "ins-2", "ins-3"]


def test_an_adopted_instance_of_unknown_template_counts_as_current() -> None:
    adopted = member("ins-adopted", template_digest=None, launched_at=ago(9000))
    assert order([adopted, member("ins-young", launched_at=ago(1))]) == ["ins-young", "ins-adopted"]


def test_who_is_leaving_lost_or_released_is_no_candidate() -> None:
    others = [
        member("ins-2", termination=released()),
        member("ins-3", lost=Cause.RECLAIMED),
        member("ins-4", termination=accepted()),
    ]
    assert order([member("ins-1"), *others]) == ["ins-1"]


def test_the_order_is_that_of_the_facts_not_that_of_the_listing() -> None:
    members = [
        member("ins-1", launched_at=ago(5)),
        member("ins-2", template_digest="000000000000"),
        member("ins-3", pool=B),
        member("ins-4", launched_at=ago(5)),
    ]
    prices = market_of({A: "1", B: "2"})
    orders = {tuple(order(list(shuffled), "ins-4", prices=prices)) for shuffled in itertools.permutations(members)}
    assert orders == {("ins-4", "ins-2", "ins-3", "ins-1")}
