"""A zone that a person has cordoned: nothing is launched there, what runs there stays, and the object says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    ago,
    all_running,
    asked,
    desired_of,
    fallback,
    instance,
    intent,
    launches,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    situation_of,
)
from spotcompute.api.cordon import CORDON_ZONE, cordons_of
from spotcompute.api.times import to_text
from spotcompute.model.desired import Cordon, Cordons, Desired, ZonePolicy
from spotcompute.model.offering import ON_DEMAND
from spotcompute.report.conclusion import conclude
from spotcompute.report.cordon import cordon_condition
from spotcompute.report.wake import next_wake

LATER = NOW + seconds(240)


def cordoned(*zones: str, until: Any = None, replicas: int = 3, **other: Any) -> Desired:
    return desired_of(replicas, [A, B], cordons=Cordons(tuple(Cordon(zone, until) for zone in zones)), **other)


@pytest.mark.parametrize(
    ("written", "closed", "unread"),
    [
        pytest.param("", [], [], id="nothing"),
        pytest.param("ap-guangzhou-3", [Cordon("ap-guangzhou-3")], [], id="one"),
        pytest.param(
            "ap-guangzhou-4, ap-guangzhou-3,",
            [Cordon("ap-guangzhou-3"), Cordon("ap-guangzhou-4")],
            [],
            id="a-list-with-spaces-and-a-comma-too-many",
        ),
        pytest.param(
            f"ap-guangzhou-3@{to_text(NOW)},ap-guangzhou-4",
            [Cordon("ap-guangzhou-3", NOW), Cordon("ap-guangzhou-4")],
            [],
            id="one-of-them-with-an-end",
        ),
        pytest.param("ap-guangzhou-3@soon", [Cordon("ap-guangzhou-3")], ["ap-guangzhou-3@soon"], id="an-end-of-words"),
        pytest.param("everything", [], ["everything"], id="no-zone"),
        pytest.param("AP-GUANGZHOU-3", [], ["AP-GUANGZHOU-3"], id="no-zone-in-capitals"),
        pytest.param("x" * 500, [], ["x" * 60], id="a-long-word-is-cut"),
    ],
)
def test_what_the_annotation_says(written: str, closed: list[Cordon], unread: list[str]) -> None:
    assert cordons_of({CORDON_ZONE: written}) == Cordons(tuple(closed), tuple(unread))


def test_without_the_annotation_nothing_is_cordoned() -> None:
    assert cordons_of({"example.org/other": "ap-guangzhou-3"}) == Cordons()


def test_nothing_is_launched_in_a_cordoned_zone() -> None:
    assert asked(planned(cordoned(A.zone))) == [(B, 3)]
    assert planned(cordoned(A.zone, B.zone)).actions == ()


def test_a_cordon_ends_at_its_time() -> None:
    desired = cordoned(A.zone, until=LATER)
    assert asked(planned(desired)) == [(B, 3)]
    assert asked(planned(desired, now=LATER)) == [(A, 3)]


def test_what_runs_there_stays() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"), member("ins-3"))
    plan = planned(cordoned(A.zone), ledger, all_running(ledger))
    assert (plan.actions, plan.ledger) == ((), ledger)


def test_an_open_launch_there_is_not_repeated_but_looked_for() -> None:
    plain = desired_of(3, [A, B])
    ledger = ledger_of(intent(plain, 3, sent_at=ago(20), answer_lost=True))
    assert [launch.replay for launch in launches(planned(plain, ledger).actions)] == [True]
    plan = planned(cordoned(A.zone), ledger)
    assert (plan.actions, plan.ledger.intents) == ((), ledger.intents)


def test_nothing_is_bought_on_demand_there() -> None:
    market = market_of({A: "0.1", B: "0.2"}, [A, B])
    ledger = ledger_of(short_since=ago(7200))
    desired = cordoned(A.zone, fallback=fallback(count_max=9))
    bought = planned(desired, ledger, observed_of(market=market))
    assert ON_DEMAND not in bought.ledger.backoffs
    assert {launch.intent.pool for launch in launches(bought.actions)} == {B}


def test_the_other_zones_take_an_even_part_of_what_is_left() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"))
    desired = cordoned(A.zone, replicas=6, zone_policy=ZonePolicy.BALANCED)
    assert asked(planned(desired, ledger, all_running(ledger))) == [(B, 4)]


def told(desired: Desired) -> tuple[str, str, str]:
    (found,) = cordon_condition(situation_of(desired))
    return found.status, found.reason, found.message


def test_the_object_names_the_zone_and_the_end() -> None:
    assert told(cordoned(A.zone)) == (
        "True",
        "CordonInForce",
        f"nothing is launched in {A.zone}; what runs there stays",
    )
    assert f"{A.zone} until {to_text(LATER)}" in told(cordoned(A.zone, until=LATER))[2]
    assert "no placement is in ap-guangzhou-99" in told(cordoned("ap-guangzhou-99"))[2]
    assert cordon_condition(situation_of(cordoned(A.zone, until=ago(1)))) == []
    assert cordon_condition(situation_of(cordoned(A.zone, deleting=True, replicas=0))) == []


def test_the_object_says_what_is_not_understood() -> None:
    desired = replace(desired_of(), cordons=Cordons(unread=("everything",)))
    status, reason, message = told(desired)
    assert (status, reason) == ("False", "CordonUnreadable")
    assert "not understood: everything. Write a zone" in message


def test_with_every_zone_closed_a_person_must_act_or_time_will() -> None:
    found = conclude(situation_of(cordoned(A.zone, B.zone)))
    assert (found.reason, found.stalled) == ("ZoneCordoned", True)
    assert f"{A.zone} is cordoned" in found.message
    assert "spotcompute.dev/cordon-zone" in found.message
    found = conclude(situation_of(cordoned(A.zone, B.zone, until=LATER)))
    assert (found.reason, found.stalled, found.phase) == ("ZoneCordoned", False, "Waiting")
    assert to_text(LATER) in found.message


def test_the_end_of_a_cordon_wakes_a_run_even_at_rest() -> None:
    ledger = ledger_of(member("ins-1"))
    desired = cordoned(A.zone, until=LATER, replicas=1)
    wake = next_wake(situation_of(desired, ledger, observed_of(instance("ins-1"))))
    assert (wake.at, wake.reason) == (LATER, "a cordon ends")
    assert POLICY.resync > seconds(240)
