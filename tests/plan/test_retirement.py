"""Who goes: the useless at once, the surplus in an order that loses least work."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from plan.given import (
    NOW,
    A,
    B,
    C,
    accepted,
    ago,
    desired_of,
    instance,
    ledger_of,
    market_of,
    member,
    observed_of,
    released,
    seconds,
    situation_of,
)
from spotcompute.model.desired import Desired, ScaleInOrder, ZonePolicy
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Member
from spotcompute.model.offering import Market, Pool
from spotcompute.model.wishes import Wish
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


def order(
    members: Iterable[Member],
    *pending: str,
    prices: Market | None = None,
    desired: Desired | None = None,
    wishes: Mapping[str, Wish] | None = None,
    protected: Iterable[str] = (),
) -> list[str]:
    """The ids of those that may be chosen to go, in the order in which they go."""
    members, shielded = list(members), set(protected)
    seen = [
        instance(
            one.id,
            InstanceState.PENDING if one.id in pending else InstanceState.RUNNING,
            pool=one.pool,
            protected=one.id in shielded,
        )
        for one in members
    ]
    situation = situation_of(desired or desired_of(), ledger_of(*members), observed_of(*seen, market=prices))
    return [one.id for one in in_order_of_leaving(replace(situation, wishes=wishes or {}))]


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


# --- every step, by its name ------------------------------------------------------------------------------------------

#: Each step with the two instances that it tells apart: the one that goes, and one that every later step would choose.
OLD, YOUNG = ago(7200), ago(60)
STEPS = [
    pytest.param({}, {}, {"pending": ["ins-goes"]}, id="useless"),
    pytest.param({"pool": C}, {"launched_at": YOUNG}, {"desired": desired_of(1, [A, B])}, id="outside-the-spec"),
    pytest.param(
        {}, {"template_digest": "0" * 12}, {"wishes": {"ins-goes": Wish(delete_first=True)}}, id="marked-delete-first"
    ),
    pytest.param({"template_digest": "0" * 12}, {"launched_at": YOUNG}, {}, id="older-template"),
    pytest.param({"on_demand": True}, {"launched_at": YOUNG}, {}, id="another-charge-type"),
    pytest.param(
        {}, {"launched_at": YOUNG}, {"wishes": {"ins-goes": Wish(deletion_cost=-1)}}, id="lowest-deletion-cost"
    ),
    pytest.param(
        {}, {}, {"wishes": {"ins-goes": Wish(deletion_cost=-100), "ins-stays": Wish(deletion_cost=7)}}, id="cost-order"
    ),
    pytest.param({"pool": B}, {"launched_at": YOUNG}, {"prices": market_of({A: "1", B: "9"})}, id="costliest"),
    pytest.param(
        {"launched_at": OLD},
        {"pool": B},
        {"prices": market_of({A: "1", B: "9"}), "desired": desired_of(1, scale_in=ScaleInOrder.OLDEST_FIRST)},
        id="oldest",
    ),
    pytest.param(
        {"launched_at": YOUNG},
        {"pool": B},
        {"prices": market_of({A: "1", B: "9"}), "desired": desired_of(1, scale_in=ScaleInOrder.NEWEST_FIRST)},
        id="newest",
    ),
    pytest.param({"launched_at": YOUNG}, {}, {}, id="youngest"),
]


@pytest.mark.parametrize(("goes", "stays", "other"), STEPS)
def test_each_step_decides_before_all_that_follow(
    goes: dict[str, Any], stays: dict[str, Any], other: dict[str, Any]
) -> None:
    both = [member("ins-stays", **stays), member("ins-goes", **({"launched_at": OLD} | goes))]
    assert order(both, *other.pop("pending", ()), **other) == ["ins-goes", "ins-stays"]


def spread(**counts: int) -> list[Member]:
    """So many members in pool A, B and C, with younger ones in A."""
    pools = {"a": A, "b": B, "c": C}
    return [
        member(f"ins-{name}{number}", pool=pools[name], launched_at=ago(1000 * ord(name) - number))
        for name, count in counts.items()
        for number in range(count)
    ]


def left(members: list[Member], replicas: int, **desired: Any) -> Counter[str]:
    """What each of the pools a, b and c has left of `members` once only `replicas` are wanted."""
    gone = order(members, desired=desired_of(replicas, **desired))[: len(members) - replicas]
    return Counter(one.id[4] for one in members if one.id not in gone)


@pytest.mark.parametrize(
    ("before", "replicas", "after"),
    [
        pytest.param({"a": 2, "b": 2, "c": 2}, 3, {"a": 1, "b": 1, "c": 1}, id="one-of-each"),
        pytest.param({"a": 4, "b": 1, "c": 1}, 3, {"a": 1, "b": 1, "c": 1}, id="from-the-fullest"),
        pytest.param({"a": 5, "b": 0, "c": 1}, 4, {"a": 3, "c": 1}, id="as-level-as-can-be"),
    ],
)
def test_balanced_zones_stay_balanced(before: dict[str, int], replicas: int, after: dict[str, int]) -> None:
    assert left(spread(**before), replicas, zone_policy=ZonePolicy.BALANCED) == after


def test_ranked_zones_are_left_as_the_other_steps_say() -> None:
    assert left(spread(a=2, b=2, c=2), 3) == {"b": 1, "c": 2}


def test_no_pool_is_left_with_more_than_its_share() -> None:
    assert left(spread(a=1, b=3), 2, share=50) == {"a": 1, "b": 1}


def test_a_share_comes_before_the_balance_of_zones() -> None:
    dear = Pool(A.zone, "SA2.MEDIUM4")
    members = [*spread(a=3, b=4), *(member(f"ins-d{number}", pool=dear, launched_at=ago(5)) for number in range(3))]
    spec = {"share": 40, "zone_policy": ZonePolicy.BALANCED, "pools": [A, dear, B]}
    assert left(members, 7, **spec)["b"] == 3
    assert left(members, 7, **(spec | {"share": 100}))["b"] == 4


def test_protected_ones_cannot_be_chosen() -> None:
    members = [member("ins-1"), member("ins-2"), member("ins-3")]
    assert order(members, protected=["ins-1"], wishes={"ins-2": Wish(protect=True)}) == ["ins-3"]


def test_two_thousand_are_put_in_order_soon() -> None:
    pools = [Pool(f"ap-guangzhou-{zone}", f"S{kind}.MEDIUM4") for zone in range(1, 7) for kind in range(1, 11)]
    members = [member(f"ins-{number}", pool=pools[number % 60]) for number in range(2000)]
    began = time.process_time()
    assert len(order(members, desired=desired_of(1, pools, zone_policy=ZonePolicy.BALANCED))) == 2000
    assert time.process_time() - began < 5
