"""The status as a whole: true, bounded, and still when nothing happens."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings

from plan.given import (
    NOW,
    A,
    B,
    C,
    accepted,
    ago,
    backoff_of,
    desired_of,
    instance,
    intent,
    ledger_of,
    market_of,
    member,
    observed_of,
    released,
    seconds,
    situation_of,
    synced,
)
from plan.worlds import situations
from spotcompute.api.ledger import decode, encode
from spotcompute.api.status import Status
from spotcompute.api.times import to_text
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.desired import Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Spending, Trouble
from spotcompute.model.observation import Absence, Observation
from spotcompute.model.offering import Pool
from spotcompute.plan.actions import Learned
from spotcompute.plan.situation import Situation
from spotcompute.report.conclusion import Conclusion
from spotcompute.report.status import StatusExtras, full_status, intent_status, later_look, problem_status

DESIRED = desired_of(2)
#: Of an environment that is seen for the first time.
FREE = {"extrasPerHour": "0"}
BEGUN = {"accrued": "0", "accruedAt": to_text(NOW), "saved": "0", "currency": "CNY"}
SELECTOR = "spotcompute.dev/environment=0123456789-web001"
MARKET = market_of({A: "0.12", B: "0.24", C: None})


def status_of(
    desired: Desired, ledger: Ledger, observed: Observation, previous: dict[str, Any] | None = None, at: datetime = NOW
) -> dict[str, Any]:
    """The status, after making sure that the API server would keep all of it."""
    status = full_status(previous or {}, situation_of(desired, ledger, observed, at), (), StatusExtras(SELECTOR, "CNY"))
    assert Status.model_validate(status).to_json() == status
    return status


def test_an_environment_that_has_what_it_wants() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2", pool=B))
    observed = observed_of(
        instance("ins-1", private_ip="10.0.0.1"), instance("ins-2", pool=B, public_ip="1.2.3.4"), market=MARKET
    )
    status = status_of(DESIRED, ledger, observed)
    assert {key: status[key] for key in ("observedGeneration", "phase", "reason", "selector", "environmentID")} == {
        "observedGeneration": 1,
        "phase": "Ready",
        "reason": "AllReplicasReady",
        "selector": SELECTOR,
        "environmentID": ledger.environment_id,
    }
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (2, 2, 2)
    assert status["instances"][0] == {
        "id": "ins-1",
        "zone": A.zone,
        "instanceType": A.instance_type,
        "state": "RUNNING",
        "ready": True,
        "pricePerHour": "0.12",
        "launchedAt": to_text(ago(3600)),
        "privateIP": "10.0.0.1",
        "updated": True,
    }
    assert (
        status["cost"]
        == {"perHour": "0.36", "extrasPerHour": "0", "onDemandPerHour": "3.6", "savedPercent": 90} | BEGUN
    )
    assert replace(decode(status["ledger"]), spending=None) == ledger
    assert "nextAttemptTime" not in status
    assert "activities" not in status


@pytest.mark.parametrize(
    ("who", "seen", "state", "ready", "note"),
    [
        pytest.param({"seen": False}, None, "LAUNCHED", False, None, id="accepted-not-listed-yet"),
        pytest.param({}, None, "UNSEEN", False, None, id="no-longer-listed"),
        pytest.param({}, InstanceState.PENDING, "PENDING", False, None, id="pending"),
        pytest.param(
            {"lost": Cause.RECLAIMED}, InstanceState.TERMINATING, "TERMINATING", False, "Reclaimed", id="lost"
        ),
        pytest.param({"termination": released()}, InstanceState.RUNNING, "RUNNING", False, "ScaledDown", id="to-go"),
        pytest.param(
            {"termination": released(obstacle="Protected: no")},
            InstanceState.RUNNING,
            "RUNNING",
            False,
            "ScaledDown: Protected: no",
            id="to-go-but-protected",
        ),
    ],
)
def test_how_an_instance_is_shown(
    who: dict[str, Any], seen: InstanceState | None, state: str, ready: bool, note: str | None
) -> None:
    sights = [instance("ins-1", seen)] if seen else []
    (shown,) = status_of(DESIRED, ledger_of(member("ins-1", **who)), observed_of(*sights))["instances"]
    assert (shown["state"], shown["ready"], shown.get("note")) == (state, ready, note)


def test_what_ends_costs_nothing_more() -> None:
    ledger = ledger_of(member("ins-1", lost=Cause.RECLAIMED))
    observed = observed_of(instance("ins-1", InstanceState.TERMINATING), market=MARKET)
    status = status_of(DESIRED, ledger, observed)
    assert "pricePerHour" not in status["instances"][0]
    assert "cost" not in status


@pytest.mark.parametrize(
    ("pools", "market", "cost"),
    [
        pytest.param(
            [A, A], MARKET, FREE | {"perHour": "0.24", "onDemandPerHour": "2.4", "savedPercent": 90}, id="both"
        ),
        pytest.param([A, C], MARKET, None, id="one-price-is-unknown"),
        pytest.param([], MARKET, None, id="nothing-there"),
        pytest.param(
            [A],
            replace(MARKET, offerings={A: replace(MARKET.offerings[A], on_demand_price_per_hour=None)}),
            FREE | {"perHour": "0.12"},
            id="no-list-price",
        ),
        pytest.param(
            [A],
            replace(MARKET, offerings={A: replace(MARKET.offerings[A], price_per_hour=Decimal("0.00000051"))}),
            FREE | {"perHour": "0.000001", "onDemandPerHour": "1.2", "savedPercent": 99},
            id="money-has-six-decimals-and-no-exponent",
        ),
    ],
)
def test_cost_is_known_or_not_told(pools: list[Any], market: Any, cost: dict[str, Any] | None) -> None:
    ledger = ledger_of(*[member(f"ins-{n}", pool=pool) for n, pool in enumerate(pools)])
    assert status_of(DESIRED, ledger, observed_of(market=market)).get("cost") == (cost and cost | BEGUN)


def test_counts_include_launches_in_flight_and_exclude_what_is_going() -> None:
    ledger = ledger_of(
        intent(DESIRED, 3),
        member("ins-1"),
        member("ins-2", template_digest="000000000000"),
        member("ins-3", termination=accepted()),
        member("ins-4", lost=Cause.RECLAIMED),
    )
    status = status_of(DESIRED, ledger, observed_of(instance("ins-1"), instance("ins-2"), instance("ins-3")))
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (5, 2, 1)


def test_what_was_taken_back_is_counted_from_the_first_report_on() -> None:
    assert status_of(DESIRED, ledger_of(), observed_of())["reclaimed"] == 0
    assert status_of(DESIRED, ledger_of(reclaimed=7), observed_of())["reclaimed"] == 7


def test_zones_are_those_of_the_instances_each_once() -> None:
    ledger = ledger_of(
        member("ins-1", pool=B), member("ins-2", pool=A), member("ins-3", pool=A), intent(DESIRED, 1, pool=C)
    )
    assert status_of(DESIRED, ledger, observed_of())["zones"] == [A.zone, B.zone]
    leaving = ledger_of(member("ins-1", termination=accepted()), member("ins-2", lost=Cause.RECLAIMED))
    assert "zones" not in status_of(DESIRED, leaving, observed_of())


def test_no_more_zones_are_shown_than_there_can_be_placements() -> None:
    far = [Pool(f"ap-guangzhou-{number}", "S5.MEDIUM4") for number in range(30)]
    ledger = ledger_of(*[member(f"ins-{number}", pool=pool) for number, pool in enumerate(far)])
    assert len(status_of(DESIRED, ledger, observed_of())["zones"]) == 20


def test_pools_say_why_they_rest_and_until_when() -> None:
    ledger = ledger_of(
        member("ins-1"),
        backoff_of(A, failures=3),
        backoff_of(B, Trouble.INVALID_CONFIGURATION),
        backoff_of(C, until=ago(1)),
    )
    first, second, third = status_of(DESIRED, ledger, observed_of(market=MARKET))["pools"]
    assert first == {
        "zone": A.zone,
        "instanceType": A.instance_type,
        "state": "Resting",
        "instances": 1,
        "pricePerHour": "0.12",
        "onDemandPricePerHour": "1.2",
        "lastError": "ResourcesSoldOut: sold out",
        "reason": "InsufficientCapacity",
        "failures": 3,
        "score": "1.00",
        "stock": "Unknown",
        "nextAttemptTime": to_text(NOW + seconds(30)),
    }
    assert second["state"] == "Invalid"
    assert third["state"] == "Available"
    assert "nextAttemptTime" not in third


def full(previous: dict[str, Any], *offerings: Any) -> dict[str, Any]:
    market = market_of({A: "0.1", B: "0.2", C: "0.3"})
    market = replace(market, offerings={**market.offerings, **{one.pool: one for one in offerings}})
    seen = observed_of(instance("ins-1"), instance("ins-2"), market=market)
    situation = situation_of(DESIRED, ledger_of(member("ins-1"), member("ins-2")), seen)
    return full_status(previous, situation, (), StatusExtras("x=y", "CNY"))


def test_stock_and_score_are_shown_when_nothing_is_missing_too() -> None:
    pools = full({})["pools"]
    assert [(one["stock"], float(one["score"]) >= 0) for one in pools] == [("Unknown", True)] * 3


def test_another_stock_is_written_and_another_score_alone_is_not() -> None:
    first = full({})
    for one in first["pools"]:
        one["score"] = "0.01"
    assert full(first) == first, "the scores of the last change stay"
    gone = replace(market_of({A: "0.1"}).offerings[A], sold_out=True)
    again = full(first, gone)
    assert again["pools"][0]["stock"] == "None"
    assert again["pools"][0]["score"] != "0.01"


# --- stillness -------------------------------------------------------------------------------------------------------

BOTH = observed_of(instance("ins-1"), instance("ins-2"))


@pytest.mark.parametrize(
    ("desired", "ledger", "observed", "later"),
    [
        pytest.param(DESIRED, ledger_of(member("ins-1"), member("ins-2")), BOTH, 86400, id="ready"),
        pytest.param(desired_of(0), ledger_of(), observed_of(), 86400, id="none-wanted"),
        pytest.param(desired_of(9, paused=True), ledger_of(member("ins-1"), member("ins-2")), BOTH, 86400, id="paused"),
        pytest.param(
            DESIRED,
            ledger_of(member("ins-1"), member("ins-2"), backoff_of(A, until=ago(1))),
            BOTH,
            86400,
            id="ready-after-trouble",
        ),
        pytest.param(
            DESIRED,
            ledger_of(backoff_of(A), backoff_of(B), backoff_of(C)),
            observed_of(),
            29,
            id="waiting-for-the-next-attempt",
        ),
        pytest.param(
            DESIRED,
            ledger_of(*[backoff_of(pool, Trouble.INVALID_CONFIGURATION) for pool in (A, B, C)]),
            observed_of(),
            29,
            id="stalled",
        ),
        pytest.param(
            DESIRED,
            ledger_of(quarantine_until=NOW + seconds(90), spending=Spending(Decimal(0), Decimal(0), NOW, lost_at=NOW)),
            observed_of(),
            80,
            id="recovering",
        ),
        pytest.param(
            desired_of(2, one_time=True),
            ledger_of(backoff_of(A, until=NOW), attempted_generation=1),
            observed_of(),
            86400,
            id="the-one-attempt-failed",
        ),
        pytest.param(
            desired_of(0, deleting=True),
            ledger_of(member("ins-1", termination=accepted())),
            observed_of(absent={"ins-1": Absence(1, looked_up=True, had_ended=True)}),
            50,
            id="deleting",
        ),
    ],
)
def test_nothing_is_written_while_nothing_happens(
    desired: Desired, ledger: Ledger, observed: Observation, later: float
) -> None:
    """What a run does when it has nothing to do: sync, then report; an equal status is not written."""
    first = status_of(desired, ledger, observed)
    then = NOW + seconds(later)
    kept = synced(ledger, desired, replace(observed, observed_at=then), now=then)
    assert kept.activities == ()
    assert status_of(desired, kept.ledger, replace(observed, observed_at=then), first, then) == first


@settings(max_examples=200)
@given(situations)
def test_reporting_again_at_once_changes_nothing(case: tuple[Situation, Learned]) -> None:
    desired, ledger, observed = case[0].desired, case[0].ledger, case[0].observed
    assume(desired.pools)
    first = status_of(desired, ledger, observed)
    assert status_of(desired, ledger, observed, first) == first


@settings(max_examples=200)
@given(situations)
def test_the_printed_columns_agree_with_the_conditions(case: tuple[Situation, Learned]) -> None:
    desired, ledger, observed = case[0].desired, case[0].ledger, case[0].observed
    assume(desired.pools)
    status = status_of(desired, ledger, observed)
    ready = next(item for item in status["conditions"] if item["type"] == "Ready")
    assert status["reason"] == ready["reason"]
    assert (ready["status"] == "True") is (status["phase"] == "Ready")
    if ready["status"] == "True":
        assert status["readyReplicas"] >= desired.replicas
    assert {item["observedGeneration"] for item in status["conditions"]} == {desired.generation}


# --- size ------------------------------------------------------------------------------------------------------------

SIZE_500 = 256 * 1024


def many_members(count: int) -> tuple[Desired, Ledger, Observation]:
    """An environment of that many machines, each with all there is to say of one."""
    keys = [f"ins-{n:08x}" for n in range(count)]
    ledger = ledger_of(*[member(key, sequence=1_700_000_000 + n) for n, key in enumerate(keys)])
    observed = observed_of(*[instance(key, private_ip="10.200.100.100", public_ip="200.100.100.100") for key in keys])
    return desired_of(count), ledger, replace(observed, market=MARKET)


def test_the_status_of_five_hundred_is_far_below_what_the_api_server_takes() -> None:
    desired, ledger, observed = many_members(500)
    assert len(json.dumps(status_of(desired, ledger, observed))) < SIZE_500


def test_the_status_of_the_largest_environment_fits_with_a_full_history() -> None:
    """etcd takes 1.5 MiB by default, and while everything goes at once every instance has more to say."""
    desired, ledger, observed = many_members(2000)
    going = replace(
        ledger, members={key: replace(item, termination=accepted()) for key, item in ledger.members.items()}
    )
    everything = [
        Activity(
            ActivityType.TERMINATE,
            ActivityState.FAILED,
            "ScaledDown",
            NOW,
            NOW,
            instance_ids=tuple(sorted(ledger.members)),
            code=f"Code.{n}",
            message="x" * 5000,
        )
        for n in range(60)
    ]
    status = full_status({}, situation_of(desired, going, observed, NOW), everything, StatusExtras(SELECTOR, "CNY"))
    assert len(json.dumps(status)) < 1536 * 1024


# --- in between ------------------------------------------------------------------------------------------------------


def test_what_is_committed_before_acting_is_the_ledger_and_nothing_else_changes() -> None:
    previous = status_of(DESIRED, ledger_of(member("ins-1")), BOTH)
    intended = ledger_of(member("ins-1"), intent(DESIRED, 1))
    status = intent_status(previous, intended, ())
    assert decode(status["ledger"]) == intended
    assert {key: value for key, value in status.items() if key != "ledger"} == {
        key: value for key, value in previous.items() if key != "ledger"
    }


def test_trouble_says_what_is_wrong_and_no_number_that_it_cannot_know() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"))
    previous = status_of(DESIRED, ledger, BOTH, at=ago(60))
    conclusion = Conclusion("Stalled", "InvalidSpec", "spec.replicas: too many", stalled=True)
    status = problem_status(previous, conclusion, ledger, 2, NOW)
    assert (status["phase"], status["reason"], status["observedGeneration"]) == ("Stalled", "InvalidSpec", 2)
    kept = ("replicas", "ledger", "observedTime", "reclaimed", "selector")
    assert {key: status[key] for key in kept} == {key: previous[key] for key in kept}
    assert not {"readyReplicas", "updatedReplicas", "zones", "pools", "nextAttemptTime", "quote"} & status.keys()
    assert [(one["id"], one["state"], one["ready"]) for one in status["instances"]] == [
        ("ins-1", "UNSEEN", False),
        ("ins-2", "UNSEEN", False),
    ]
    assert not any("pricePerHour" in one for one in status["instances"])
    assert problem_status(status, conclusion, ledger, 2, NOW + seconds(600)) == status
    Status.model_validate(status)


def test_trouble_leaves_what_was_spent_and_not_what_it_costs_now() -> None:
    previous = {"cost": {"perHour": "0.1", "accrued": "12", "accruedAt": "2026-01-01T00:00:00Z", "currency": "USD"}}
    paid = {"accrued": "12", "accruedAt": "2026-01-01T00:00:00Z", "currency": "USD"}
    assert problem_status(previous, AWAY, ledger_of(), 1, NOW)["cost"] == paid


def test_trouble_counts_what_the_ledger_holds_by_now() -> None:
    previous = status_of(DESIRED, ledger_of(member("ins-1"), member("ins-2")), BOTH)
    status = problem_status(previous, AWAY, ledger_of(member("ins-2"), intent(DESIRED, 3)), 1, NOW)
    assert status["replicas"] == 1 + intent(DESIRED, 3).count
    assert [one["id"] for one in status["instances"]] == ["ins-2"]


AWAY = Conclusion("Waiting", "CloudUnreachable", "the cloud cannot be asked", unknown=True)


def test_a_gang_that_nobody_sees_is_neither_whole_nor_broken() -> None:
    previous = {"conditions": [{"type": "GangReady", "status": "True", "reason": "GangComplete", "message": "3 of 3"}]}
    found = {one["type"]: one["status"] for one in problem_status(previous, AWAY, None, 1, NOW)["conditions"]}
    assert found == {"Ready": "Unknown", "Reconciling": "True", "Stalled": "False", "GangReady": "Unknown"}


def test_the_time_of_the_last_look_travels_with_other_news_and_is_no_news_itself() -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"))
    first = status_of(DESIRED, ledger, BOTH, at=ago(600))
    assert first["observedTime"] == to_text(BOTH.observed_at)
    later = replace(BOTH, observed_at=NOW + seconds(60))
    assert status_of(DESIRED, ledger, later, previous=first) == first
    lost = status_of(DESIRED, ledger_of(member("ins-1")), later, previous=first)
    assert lost["observedTime"] == to_text(NOW + seconds(60))


def test_an_outage_says_when_the_cloud_was_last_seen_and_is_written_once() -> None:
    previous = status_of(DESIRED, ledger_of(member("ins-1")), BOTH)
    seen_at = NOW + seconds(50)
    status = problem_status(previous, AWAY, ledger_of(member("ins-1")), 1, NOW + seconds(90), seen_at)
    assert status["observedTime"] == to_text(seen_at)
    again = problem_status(status, AWAY, ledger_of(member("ins-1")), 1, NOW + seconds(300), NOW + seconds(200))
    assert again == status


def test_another_key_in_an_outage_does_not_set_the_time_of_the_last_look_back() -> None:
    previous = status_of(DESIRED, ledger_of(member("ins-1")), BOTH)
    status = problem_status(previous, AWAY, ledger_of(member("ins-1")), 1, NOW, BOTH.observed_at - seconds(900))
    assert status["observedTime"] == previous["observedTime"]
    forged = {**previous, "observedTime": to_text(NOW + seconds(86_400))}
    status = problem_status(forged, AWAY, ledger_of(member("ins-1")), 1, NOW, BOTH.observed_at)
    assert status["observedTime"] == to_text(BOTH.observed_at)


def test_trouble_before_anything_was_known() -> None:
    conclusion = Conclusion("Stalled", "InvalidSpec", "spec.region: missing", stalled=True)
    status = problem_status({}, conclusion, None, 1, NOW)
    assert Status.model_validate(status).replicas == 0
    assert "ledger" not in status
    assert problem_status({}, conclusion, ledger_of(), 1, NOW)["ledger"] == encode(ledger_of())


@pytest.mark.parametrize(("count", "kibibytes"), [(500, 64), (2000, 400)])
@pytest.mark.parametrize("together", [50, 1], ids=["launched-by-fifties", "launched-one-by-one"])
def test_a_large_environment_is_a_small_object(count: int, kibibytes: int, together: int) -> None:
    """Twelve pools, a full history, and ids as long as the cloud's: what etcd, watches and people have to carry."""
    pools = [Pool(f"ap-guangzhou-{zone}", name) for zone in (3, 4, 6) for name in ("S5.M4", "SA2.M4", "S2.M4", "S5.L8")]
    members = [
        member(
            f"ins-{number:08}",
            pool=pools[number % 12],
            launched_at=ago(3600 + number // together),
            sequence=1_700_000_000 + number // together,
        )
        for number in range(count)
    ]
    seen = [instance(one.id, pool=one.pool, private_ip="10.255.255.255") for one in members]
    launch = Activity(
        ActivityType.LAUNCH,
        ActivityState.PROCESSING,
        cause="50 of 500 missing",
        started_at=NOW,
        sequence=1_700_000_000,
        price=Decimal("0.0214"),
        pool=pools[0],
        instance_ids=tuple(one.id for one in members[:together]),
        request_id="8f0e3c9a-1111-2222-3333-444455556666",
    )
    market = market_of(dict.fromkeys(pools, "0.0214"))
    desired, ledger = desired_of(count, pools), ledger_of(*members)
    status = full_status(
        {},
        situation_of(desired, ledger, observed_of(*seen, market=market), NOW),
        [launch] * 50,
        StatusExtras(SELECTOR, "CNY"),
    )
    assert len(json.dumps(status)) < kibibytes * 1024
    assert len(status["instanceIDs"]) == count
    assert len(status["instances"]) == 35


@pytest.mark.parametrize(
    ("seen", "known", "expected"),
    [
        pytest.param(10, 5, 5, id="another-process-saw-it-later"),
        pytest.param(5, 10, 5, id="this-one-did"),
        pytest.param(None, 5, None, id="this-one-never-saw-it"),
        pytest.param(10, -60, 10, id="a-time-to-come"),
        pytest.param(10, None, 10, id="nobody-else"),
    ],
)
def test_the_last_look_is_anybodys(seen: int | None, known: int | None, expected: int | None) -> None:
    status = {} if known is None else {"observedTime": to_text(ago(known))}
    found = later_look(None if seen is None else ago(seen), status, NOW)
    assert found == (None if expected is None else ago(expected))


def test_a_time_that_makes_no_sense_is_not_read() -> None:
    assert later_look(ago(10), {"observedTime": to_text(ago(10))[:-2] + "!"}, NOW) == ago(10)
