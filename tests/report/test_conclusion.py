"""One word, one reason and one sentence for how an environment stands."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings

from plan.given import (
    NOW,
    A,
    B,
    C,
    accepted,
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
)
from plan.worlds import situations
from spotcompute.api.conditions import ConditionType
from spotcompute.api.times import to_text
from spotcompute.cloud.errors import CloudError, InvalidCredentials, OutcomeUnknown
from spotcompute.model.desired import Caps, Desired
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Trouble
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Learned
from spotcompute.plan.backoff import FOR_A_PERSON
from spotcompute.plan.situation import Situation
from spotcompute.report.conclusion import Conclusion, cloud_unreadable, conclude, out_of_reach
from spotcompute.report.why import decisive_backoff

DESIRED = desired_of(2)
ONE, TWO = member("ins-1"), member("ins-2")
BOTH = observed_of(instance("ins-1"), instance("ins-2"))
ALL_SOLD_OUT = [backoff_of(A), backoff_of(B, until=NOW + seconds(20)), backoff_of(C)]


def everywhere(trouble: Trouble) -> Ledger:
    return ledger_of(
        ONE, *(backoff_of(pool, trouble, code="Code.X", message="words of the cloud") for pool in (A, B, C))
    )


@pytest.mark.parametrize(
    ("desired", "ledger", "observed", "phase", "reason", "stalled", "mentioned"),
    [
        pytest.param(DESIRED, ledger_of(ONE, TWO), BOTH, "Ready", "AllReplicasReady", False, ["2 of 2"], id="ready"),
        pytest.param(
            DESIRED,
            ledger_of(ONE, TWO, member("ins-3", lost=Cause.RECLAIMED), member("ins-4", termination=accepted())),
            BOTH,
            "Ready",
            "AllReplicasReady",
            False,
            ["2 of 2"],
            id="ready-beside-what-is-not-proven-gone",
        ),
        pytest.param(
            desired_of(0), ledger_of(), observed_of(), "Ready", "AllReplicasReady", False, ["0 of 0"], id="none-wanted"
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, TWO),
            observed_of(instance("ins-1"), instance("ins-2", InstanceState.PENDING)),
            "Filling",
            "Provisioning",
            False,
            ["1 of 2", "1 on their way"],
            id="pending",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE),
            BOTH,
            "Filling",
            "Provisioning",
            False,
            ["asking for 1 more"],
            id="asking-a-free-pool",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, intent(DESIRED, 1)),
            BOTH,
            "Filling",
            "SettlingLaunch",
            False,
            ["1 asked for without an answer"],
            id="settling",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, TWO, member("ins-3", termination=released(obstacle="Protected: no"))),
            BOTH,
            "Releasing",
            "ScalingDown",
            False,
            ["ins-3 (Protected: no)"],
            id="a-release-in-the-way-of-which-something-stands",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, *ALL_SOLD_OUT),
            BOTH,
            "Waiting",
            "InsufficientCapacity",
            False,
            ["ResourcesSoldOut", "sold out", "req-1", to_text(NOW + seconds(20)), "3 pools tried", "1 missing"],
            id="sold-out-everywhere",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, backoff_of(None, Trouble.RATE_LIMITED, code="RequestLimitExceeded")),
            BOTH,
            "Waiting",
            "RateLimited",
            False,
            ["RequestLimitExceeded", to_text(NOW + seconds(30))],
            id="the-whole-rests",
        ),
        pytest.param(
            DESIRED,
            everywhere(Trouble.INVALID_CONFIGURATION),
            BOTH,
            "Stalled",
            "InvalidConfiguration",
            True,
            ["Code.X", "words of the cloud"],
            id="wrong-everywhere",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, backoff_of(A, Trouble.INVALID_CONFIGURATION), backoff_of(B), backoff_of(C)),
            BOTH,
            "Waiting",
            "InsufficientCapacity",
            False,
            ["S5.MEDIUM4@ap-guangzhou-4"],
            id="wrong-in-one-pool-sold-out-in-the-others",
        ),
        pytest.param(
            DESIRED,
            ledger_of(ONE, backoff_of(A, Trouble.INVALID_CONFIGURATION)),
            BOTH,
            "Filling",
            "Provisioning",
            False,
            [],
            id="wrong-in-one-pool-others-are-free",
        ),
        pytest.param(
            DESIRED,
            ledger_of(backoff_of(None, Trouble.INSUFFICIENT_BALANCE)),
            observed_of(),
            "Stalled",
            "InsufficientBalance",
            True,
            [],
            id="no-money",
        ),
        pytest.param(
            DESIRED,
            ledger_of(quarantine_until=NOW + seconds(60)),
            observed_of(),
            "Filling",
            "RecoveringLedger",
            False,
            [to_text(NOW + seconds(60))],
            id="status-was-lost",
        ),
        pytest.param(
            desired_of(2, paused=True),
            ledger_of(ONE),
            BOTH,
            "Paused",
            "Paused",
            False,
            ["1 of 2", "paused"],
            id="paused",
        ),
        pytest.param(
            desired_of(0, deleting=True),
            ledger_of(member("ins-1", termination=accepted())),
            BOTH,
            "Deleting",
            "Deleting",
            False,
            ["ins-1"],
            id="deleting",
        ),
        pytest.param(
            desired_of(0, deleting=True, paused=True),
            ledger_of(intent(DESIRED, 2)),
            observed_of(),
            "Deleting",
            "Deleting",
            False,
            ["2 launches without an answer"],
            id="deleting-with-a-launch-open",
        ),
        pytest.param(
            desired_of(2, one_time=True),
            ledger_of(backoff_of(A, code="ResourcesSoldOut.X", until=NOW), attempted_generation=1),
            observed_of(),
            "Failed",
            "InsufficientCapacity",
            True,
            ["ResourcesSoldOut.X", "Change the spec"],
            id="the-one-attempt-failed",
        ),
        pytest.param(
            desired_of(2, one_time=True),
            ledger_of(ONE, member("ins-2", lost=Cause.RECLAIMED), attempted_generation=1),
            BOTH,
            "Failed",
            "InstancesLost",
            True,
            ["instances were lost"],
            id="one-time-instances-were-lost",
        ),
    ],
)
def test_how_it_stands(
    desired: Desired,
    ledger: Ledger,
    observed: Observation,
    phase: str,
    reason: str,
    stalled: bool,
    mentioned: list[str],
) -> None:
    found = conclude(situation_of(desired, ledger, observed))
    assert (found.phase, found.reason, found.stalled) == (phase, reason, stalled)
    assert found.ready is (phase == "Ready")
    assert [part for part in mentioned if part not in found.message] == []


@pytest.mark.parametrize("trouble", list(Trouble))
def test_stalled_only_when_a_person_must_act(trouble: Trouble) -> None:
    found = conclude(situation_of(DESIRED, everywhere(trouble), BOTH))
    assert found.stalled is (trouble in FOR_A_PERSON)
    assert found.reason == trouble


def test_a_price_too_low_is_shown_beside_the_price_of_the_market() -> None:
    desired = desired_of(2, pools=[A], caps=Caps(Decimal("0.05")))
    observed = observed_of(market=market_of({A: "0.12"}))
    found = conclude(situation_of(desired, ledger_of(backoff_of(A, Trouble.PRICE_TOO_LOW)), observed))
    assert "the market asks 0.12 per hour" in found.message


def test_a_market_price_below_the_bid_is_not_put_beside_the_complaint_that_it_is_too_low() -> None:
    desired = desired_of(2, pools=[A], caps=Caps(Decimal("0.50")))
    found = conclude(
        situation_of(
            desired, ledger_of(backoff_of(A, Trouble.PRICE_TOO_LOW)), observed_of(market=market_of({A: "0.12"}))
        )
    )
    assert "the market asks" not in found.message


def test_many_leaving_are_counted_and_not_all_named() -> None:
    ledger = ledger_of(*[member(f"ins-{n:03}", termination=released()) for n in range(500)])
    message = conclude(situation_of(desired_of(0), ledger, observed_of())).message
    assert "ins-000, ins-001, ins-002, ins-003, ins-004 and 495 more" in message
    assert len(message) < 300


def test_the_rest_that_decides_does_not_depend_on_the_order() -> None:
    rests = [
        backoff_of(A, Trouble.INVALID_CONFIGURATION),
        backoff_of(B, Trouble.PRICE_TOO_LOW),
        backoff_of(C, Trouble.INSUFFICIENT_CAPACITY),
    ]
    assert {decisive_backoff(list(order)).trouble for order in itertools.permutations(rests)} == {
        Trouble.INSUFFICIENT_CAPACITY
    }


@settings(max_examples=400)
@given(situations)
def test_conditions_never_contradict_each_other(case: tuple[Situation, Learned]) -> None:
    """Source: kstatus. Ready beside Reconciling or Stalled would tell Flux and Argo CD two things at once."""
    assume(case[0].desired.pools)
    found = conclude(case[0])
    truth = {condition.type: condition.status == "True" for condition in found.conditions()}
    assert set(truth) == {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}
    assert sum(truth.values()) <= 1
    assert truth[ConditionType.READY] or truth[ConditionType.RECONCILING] or found.stalled or found.phase == "Paused"
    assert all(condition.reason for condition in found.conditions())
    assert found.message


@pytest.mark.parametrize(
    ("conclusion", "true"),
    [
        (Conclusion("Ready", "AllReplicasReady", "m", ready=True), "Ready"),
        (Conclusion("Waiting", "InsufficientCapacity", "m"), "Reconciling"),
        (Conclusion("Deleting", "Deleting", "m"), "Reconciling"),
        (Conclusion("Stalled", "InvalidSpec", "m", stalled=True), "Stalled"),
        (Conclusion("Failed", "X", "m", stalled=True), "Stalled"),
        (Conclusion("Paused", "Paused", "m"), None),
    ],
    ids=lambda value: value.phase if isinstance(value, Conclusion) else None,
)
def test_exactly_one_condition_is_true_except_while_paused(conclusion: Conclusion, true: str | None) -> None:
    assert [item.type for item in conclusion.conditions() if item.status == "True"] == ([true] if true else [])


@pytest.mark.parametrize(
    ("kind", "phase", "reason"),
    [(OutcomeUnknown, "Waiting", "CloudUnreachable"), (InvalidCredentials, "Stalled", "InvalidCredentials")],
)
def test_a_lasting_trouble_of_looking_reads_the_same_at_every_attempt(
    kind: type[CloudError], phase: str, reason: str
) -> None:
    first, second = (
        cloud_unreadable(kind("Some.Code", "in its words", request_id), NOW, is_lasting=False, deleting=False)
        for request_id in ("req-1", "req-2")
    )
    assert first == second
    assert (first.phase, first.reason, first.stalled, first.ready) == (phase, reason, phase == "Stalled", False)
    assert first.message.endswith("Some.Code: in its words")
    assert f"last seen at {to_text(NOW)}" in first.message


NO_ANSWER, REFUSED = OutcomeUnknown("X", "no answer"), InvalidCredentials("Y", "no such key")


@pytest.mark.parametrize(
    ("error", "is_lasting", "deleting", "phase", "ready"),
    [
        pytest.param(NO_ANSWER, False, False, "Waiting", "Unknown", id="nobody-knows"),
        pytest.param(NO_ANSWER, True, False, "Waiting", "False", id="for-long"),
        pytest.param(REFUSED, True, False, "Stalled", "False", id="the-key-is-refused"),
        pytest.param(NO_ANSWER, False, True, "Deleting", "False", id="what-is-deleted-is-not-ready"),
        pytest.param(REFUSED, True, True, "Stalled", "False", id="a-person-must-act-to-delete"),
    ],
)
def test_what_a_cloud_out_of_sight_makes_of_the_conditions(
    error: CloudError, is_lasting: bool, deleting: bool, phase: str, ready: str
) -> None:
    conclusion = cloud_unreadable(error, None, is_lasting=is_lasting, deleting=deleting)
    conditions = {one.type: one.status for one in conclusion.conditions()}
    assert (conclusion.phase, conditions["Ready"]) == (phase, ready)
    assert [one for one in ("Reconciling", "Stalled") if conditions[one] == "True"] == [
        "Stalled" if phase == "Stalled" else "Reconciling"
    ]
    assert "last seen" not in conclusion.message


@pytest.mark.parametrize(
    ("caps", "price", "part"),
    [
        pytest.param(Caps(Decimal("0.1")), "0.2", "the price is above maxPrice 0.1", id="of-one"),
        pytest.param(
            Caps(in_total=Decimal("0.3")), "0.2", "0.4 per hour: more than limits.maxHourlyCost 0.3", id="of-all"
        ),
        pytest.param(Caps(Decimal("0.1"), in_total=Decimal("0.3")), "0.1", "", id="within"),
        pytest.param(Caps(), "99", "", id="no-cap"),
    ],
)
def test_a_price_above_a_cap_is_told_whichever_of_them_moved_and_changes_nothing(
    caps: Caps, price: str, part: str
) -> None:
    ledger = ledger_of(member("ins-1"), member("ins-2"))
    observed = observed_of(instance("ins-1"), instance("ins-2"), market=market_of({A: price}))
    found = conclude(situation_of(desired_of(2, [A], caps=caps), ledger, observed))
    assert found.phase == "Ready"
    assert part in found.message
    assert "risen" not in found.message
    assert part or "above" not in found.message


# --- an account that the key does not show ---------------------------------------------------------------------------

NUMBER, KEY_NAME = "100000000001", "4d4fa27c0e/ap-guangzhou"
NOT_ALLOWED = InvalidCredentials("UnauthorizedOperation", "not with this key")


@pytest.mark.parametrize(
    ("noted", "account", "unknown_because", "phase", "reason", "mentioned"),
    [
        pytest.param(NUMBER, "2", None, "Stalled", "AnotherAccount", [NUMBER, "account 2"], id="another-account"),
        pytest.param(
            NUMBER, None, NOT_ALLOWED, "Stalled", "AccountUnknown", ["sts:GetCallerIdentity", "Unauth"], id="refused"
        ),
        pytest.param(
            NUMBER, None, OutcomeUnknown("NoAnswer", "-"), "Waiting", "AccountUnknown", ["NoAnswer"], id="no-answer"
        ),
        pytest.param(KEY_NAME, None, None, "Stalled", "AccountUnknown", ["former key", "again"], id="never-noted"),
        pytest.param(KEY_NAME, None, NOT_ALLOWED, "Stalled", "AccountUnknown", ["former key"], id="neither"),
    ],
)
@pytest.mark.parametrize(
    ("waits_until", "deleting", "then"),
    [
        pytest.param(None, False, [], id="for-ever"),
        pytest.param(NOW, True, ["the object goes at", "ins-1, ins-2", to_text(NOW)], id="deleted"),
        pytest.param(NOW, False, ["begins anew", "ins-1, ins-2", to_text(NOW)], id="kept"),
    ],
)
def test_what_a_person_is_told_of_a_key_that_shows_nothing(
    noted: str,
    account: str | None,
    unknown_because: CloudError | None,
    phase: str,
    reason: str,
    mentioned: list[str],
    waits_until: datetime | None,
    deleting: bool,
    then: list[str],
) -> None:
    ledger = replace(ledger_of(ONE, TWO), account=noted)
    found = out_of_reach(ledger, account, unknown_because, waits_until, deleting=deleting)
    assert (found.phase, found.reason, found.stalled, found.ready) == (phase, reason, phase == "Stalled", False)
    expected = [*mentioned, "nothing is decided", *then]
    assert [part for part in expected if part not in found.message] == []


def test_the_reason_of_a_condition_that_is_false_is_explained_beside_it() -> None:
    (stalled,) = [one for one in Conclusion("Ready", "R", "m", ready=True).conditions() if one.type == "Stalled"]
    assert (stalled.status, stalled.reason) == ("False", "NothingForAPersonToDo")
    assert "no person is needed" in stalled.message


def test_one_is_one_instance() -> None:
    def said(wanted: int, *ids: str) -> str:
        observed = observed_of(*(instance(one) for one in ids))
        return conclude(situation_of(desired_of(wanted), ledger_of(*map(member, ids)), observed)).message

    assert said(1, "ins-1") == "1 of 1 instance runs"
    assert said(2, "ins-1", "ins-2") == "2 of 2 instances run"
