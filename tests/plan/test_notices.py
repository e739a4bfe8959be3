"""The notice of an interruption: who is believed, what is bought for it, and what a false one costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from plan.given import (
    NOW,
    PRESENT,
    A,
    B,
    ago,
    all_running,
    asked,
    desired_of,
    instance,
    ledger_of,
    member,
    observed_of,
    seconds,
    situation_of,
    terminated_ids,
)
from plan.worlds import Dice
from spotcompute.model.activity import ActivityType
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger
from spotcompute.model.node import NodeState, UnknownNodes
from spotcompute.model.wishes import Wish
from spotcompute.plan.actions import Learned, Plan
from spotcompute.plan.notices import LIVES_ON_AFTER, NOTICE_TAG, is_believable, lives_on_at
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.wake import next_wake

#: Noon where the cloud's clocks are is NOW.
IN_TWO_MINUTES = "2026-11-23 12:02:00"


@pytest.mark.parametrize(
    ("text", "is_believed"),
    [
        (IN_TWO_MINUTES, True),
        ("2026-11-23T04:02:00Z", True),
        ("2026-11-23T06:02:00+02:00", True),
        ("2026-11-23 12:10:00", True),
        ("2026-11-23 12:10:01", False),
        ("2026-11-23 11:58:00", True),
        ("2026-11-23 11:57:59", False),
        ("2026-11-23 04:02:00", False),
        ("", True),
        ("true", True),
        ("maybe", False),
        ("9999-12-31T23:59:59Z", False),
        ("0001-01-01 00:00:00", False),
    ],
)
def test_a_notice_is_believed_when_its_end_is_near(text: str, is_believed: bool) -> None:
    assert is_believable(text, NOW) is is_believed


def three(**first: Any) -> Ledger:
    """Three instances that run; `first` is what differs of the first."""
    return ledger_of(member("ins-1", **first), member("ins-2"), member("ins-3"))


def of(ledger: Ledger, replicas: int = 3, now: datetime = NOW, **more: Any) -> Situation:
    situation = situation_of(desired_of(replicas, [A, B]), ledger, all_running(ledger), now)
    return replace(situation, **more)


def decided(situation: Situation) -> Plan:
    return make_plan(situation, Learned())


def by_node(text: str = IN_TWO_MINUTES) -> dict[str, Any]:
    return {"nodes": {"ins-1": NodeState("ins-1", notice=text)}}


def by_tag(ledger: Ledger) -> Situation:
    seen = [instance(key, tags={NOTICE_TAG: IN_TWO_MINUTES} if key == "ins-1" else {}) for key in ledger.members]
    return replace(of(ledger), observed=observed_of(*seen))


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(of(three(), **by_node()), id="the condition of its node"),
        pytest.param(of(three(), wishes={"ins-1": Wish(notice=IN_TWO_MINUTES)}), id="a mark on its object"),
        pytest.param(by_tag(three()), id="its own tag"),
    ],
)
def test_a_noticed_instance_is_replaced_before_it_goes(situation: Situation) -> None:
    plan = decided(situation)
    assert asked(plan) == [(A, 1)]
    assert plan.ledger.members["ins-1"].notice_at == NOW
    assert [one.type for one in plan.activities] == [ActivityType.NOTICE]
    assert "12:02:00" in (plan.activities[0].message or "")
    assert terminated_ids(plan.actions) == []


@pytest.mark.parametrize(
    "situation",
    [
        pytest.param(of(three(), **by_node("2027-01-01 00:00:00")), id="a far time"),
        pytest.param(of(three(), nodes={"ins-9": NodeState("ins-9", notice="")}), id="a stranger's"),
        pytest.param(of(three(notice_at=ago(10)), **by_node(), replicas=2), id="known, and there is enough"),
        pytest.param(of(three(on_demand=True), **by_node()), id="on demand is never taken back"),
        pytest.param(of(ledger_of(member("ins-1", lost=Cause.RECLAIMED)), 0, **by_node()), id="it is gone"),
    ],
)
def test_what_asks_for_nothing(situation: Situation) -> None:
    plan = decided(situation)
    assert asked(plan) == []
    assert plan.activities == ()


def test_with_nothing_wanted_nothing_is_bought_for_a_notice_and_all_go() -> None:
    plan = decided(of(three(), replicas=0, **by_node()))
    assert asked(plan) == []
    assert len(terminated_ids(plan.actions)) == 3


def test_while_it_lives_the_one_with_notice_is_never_the_one_to_go() -> None:
    for order in range(20):
        ledger = ledger_of(
            member("ins-1", notice_at=ago(30), launched_at=ago(100 + order)), member("ins-2"), member("ins-3")
        )
        plan = decided(of(ledger, replicas=1))
        assert asked(plan) == []
        assert len(terminated_ids(plan.actions)) == 1
        assert "ins-1" not in terminated_ids(plan.actions)


def after_false_notice(runs: int, **more: Any) -> Situation:
    """The first of four had a notice, and lives ten minutes later; `runs` of the other three run."""
    ledger = ledger_of(
        member("ins-1", notice_at=NOW - LIVES_ON_AFTER, **more), *(member(f"ins-{number}") for number in (2, 3, 4))
    )
    states = [InstanceState.RUNNING if number < runs else InstanceState.PENDING for number in range(3)]
    others = [
        instance(f"ins-{number + 2}", state, created_at=ago(5) if state is InstanceState.PENDING else ago(3600))
        for number, state in enumerate(states)
    ]
    return situation_of(desired_of(3, [A, B]), ledger, observed_of(instance("ins-1"), *others))


def test_after_a_false_notice_it_goes_once_others_run_in_its_place() -> None:
    plan = decided(after_false_notice(3))
    assert terminated_ids(plan.actions) == ["ins-1"]
    termination = plan.ledger.members["ins-1"].termination
    assert termination is not None
    assert termination.cause is Cause.NOT_INTERRUPTED
    assert terminated_ids(decided(after_false_notice(2)).actions) == [], "its replacement still starts"


def test_one_instance_is_believed_once() -> None:
    situation = replace(after_false_notice(3), **by_node())
    again = replace(situation, wishes={"ins-1": Wish(protect=True, notice="")})
    plan = decided(again)
    assert asked(plan) == []
    assert plan.ledger.members["ins-1"].notice_at == NOW - LIVES_ON_AFTER


def test_the_loop_wakes_when_a_notice_turns_out_to_be_false_and_when_a_pool_may_be_asked() -> None:
    situation = replace(of(ledger_of(member("ins-1", notice_at=ago(590)), *(member(f"i-{n}") for n in range(3)))))
    assert lives_on_at(situation) == NOW + seconds(10)
    assert next_wake(situation).at <= NOW + seconds(10)


def test_no_more_live_than_wanted_and_noticed_and_each_is_replaced() -> None:
    """A thousand random environments: what is bought is what is missing beside those under notice."""
    for seed in range(1000):
        dice = Dice(f"{seed} notices")
        count = dice.randint(0, 8)
        replicas = dice.randint(0, 8)
        doomed = {f"ins-{number}" for number in range(count) if dice.chance(3)}
        ledger = ledger_of(
            *(
                member(f"ins-{number}", notice_at=ago(5) if f"ins-{number}" in doomed else None)
                for number in range(count)
            )
        )
        plan = decided(of(ledger, replicas=replicas))
        target = replicas + (len(doomed) if replicas else 0)
        bought = sum(number for _, number in asked(plan))
        ended = set(terminated_ids(plan.actions))
        assert bought == max(0, target - count), seed
        assert len(ended) == max(0, count - target), seed
        assert not (ended & doomed) or len(ended - doomed) == count - len(doomed), "the others go first"


# --- work -------------------------------------------------------------------------------------------------------------


def test_of_five_with_two_busy_the_three_idle_ones_go() -> None:
    """In a thousand environments, whatever else differs among their instances."""
    for seed in range(1000):
        dice = Dice(f"{seed} busy")
        keys = [f"ins-{number}" for number in range(5)]
        busy = set(dice.sample(keys, 2))
        templates = [PRESENT, None, "0" * 12]
        ledger = ledger_of(
            *(
                member(key, launched_at=ago(dice.randint(700, 9000)), template_digest=dice.choice(templates))
                for key in keys
            )
        )
        nodes = {key: NodeState(key, is_ready=True, pods=dice.randint(1, 3) if key in busy else 0) for key in keys}
        wishes = {key: Wish(deletion_cost=dice.choice([-9, 0, 9])) for key in keys}
        plan = decided(of(ledger, replicas=2, nodes=nodes, wishes=wishes))
        assert set(terminated_ids(plan.actions)) == set(keys) - busy, seed


def goes(nodes: Mapping[str, NodeState], wishes: Mapping[str, Wish] | None = None) -> str:
    """Which of the two instances goes when one is too many."""
    plan = decided(of(ledger_of(member("ins-1"), member("ins-2")), 1, nodes=nodes, wishes=wishes or {}))
    (found,) = [key for key, one in plan.ledger.members.items() if one.termination is not None]
    return found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NodeState("a", pods=2), NodeState("b", pods=1)),
        (NodeState("a", pods=1, working_since=ago(500)), NodeState("b", pods=1, working_since=ago(50))),
        (NodeState("a", pods=1, working_since=ago(5)), NodeState("b", pods=1)),
        (NodeState("a", is_kept=True, pods=1), NodeState("b", pods=9, working_since=ago(9999))),
    ],
    ids=["the fewest pods", "the youngest work", "work that has not started", "never what must not be disturbed"],
)
def test_of_two_busy_ones_the_one_goes_with_which_less_is_lost(first: NodeState, second: NodeState) -> None:
    assert goes({"ins-1": first, "ins-2": second}) == "ins-2"
    assert goes({"ins-2": first, "ins-1": second}) == "ins-1"


def test_a_busy_one_that_is_marked_goes_before_an_idle_one() -> None:
    nodes = {"ins-1": NodeState("ins-1", pods=1), "ins-2": NodeState("ins-2")}
    assert goes(nodes, {"ins-1": Wish(delete_first=True)}) == "ins-1"


def test_while_nodes_are_not_read_nothing_is_ended_by_choice() -> None:
    situation = of(three(), replicas=1, nodes=UnknownNodes())
    situation = replace(situation, desired=replace(situation.desired, drain_limit=seconds(300)))
    assert terminated_ids(decided(situation).actions) == []
