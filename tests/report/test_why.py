"""Why something is missing, in one sentence: the cause, the pool, the next attempt, and what a person could change."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from plan.given import (
    NOW,
    A,
    B,
    C,
    ago,
    backoff_of,
    desired_of,
    fallback,
    ledger_of,
    market_of,
    member,
    observed_of,
    pool_trust_of,
    seconds,
    situation_of,
)
from plan.worlds import situations
from spotcompute.api.times import to_text
from spotcompute.model.desired import Caps, Desired, Gang, Requirements
from spotcompute.model.launch import Part
from spotcompute.model.ledger import Ledger, Trouble
from spotcompute.model.offering import ON_DEMAND, Market, Pool, whole_zone
from spotcompute.plan.actions import Learned
from spotcompute.plan.field_errors import field_of_part
from spotcompute.plan.situation import Situation
from spotcompute.report.why import Why, why_short

MARKET = market_of({A: "0.3", B: "0.3", C: "0.3"})
#: When a rest of the tables ends.
AT_30 = f"Next attempt {to_text(NOW + seconds(30))}"
IN_A = "in S5.MEDIUM4@ap-guangzhou-3"


def why(desired: Desired, ledger: Ledger, market: Market = MARKET) -> Why | None:
    return why_short(situation_of(desired, ledger, observed_of(market=market)))


def one(**other: Any) -> Desired:
    """One pool, so that the sentence is about it."""
    return desired_of(2, [A], **other)


def refused(trouble: Trouble, pool: Pool | None = A, code: str = "Some.Code", message: str = "its words") -> Ledger:
    return ledger_of(backoff_of(pool, trouble, code=code, message=message))


PRICEY = Caps(Decimal("0.2"))


@pytest.mark.parametrize(
    ("desired", "ledger", "market", "reason", "parts"),
    [
        pytest.param(
            one(), refused(Trouble.INSUFFICIENT_CAPACITY), MARKET, "InsufficientCapacity",
            ["Some.Code", IN_A, "its words (request req-1)", "More instanceTypes or placements", AT_30], id="sold-out",
        ),
        pytest.param(
            one(caps=PRICEY), refused(Trouble.PRICE_TOO_LOW), MARKET, "PriceTooLow",
            [IN_A, "asks 0.3 per hour", "maxPrice is 0.2", "A higher maxPrice", AT_30], id="price-above-the-cap",
        ),
        pytest.param(
            one(), refused(Trouble.QUOTA_EXCEEDED, whole_zone(A.zone)), MARKET, "QuotaExceeded",
            ["ap-guangzhou-3", "a higher quota of spot vCPU", AT_30], id="quota",
        ),
        pytest.param(
            one(), refused(Trouble.NO_ROOM, whole_zone(A.zone)), MARKET, "SubnetFull",
            ["ap-guangzhou-3", "a larger subnet", AT_30], id="subnet-full",
        ),
        pytest.param(
            one(), refused(Trouble.INSUFFICIENT_BALANCE, None), MARKET, "InsufficientBalance",
            ["Add money to the account", AT_30], id="no-money",
        ),
        pytest.param(
            one(), refused(Trouble.INVALID_CREDENTIALS, None), MARKET, "InvalidCredentials",
            ["Correct the credentials Secret", AT_30], id="credentials",
        ),
        pytest.param(
            one(), refused(Trouble.INVALID_CONFIGURATION), MARKET, "InvalidConfiguration",
            [IN_A, "Correct the spec", AT_30], id="an-image-that-is-not-there",
        ),
        pytest.param(
            one(), refused(Trouble.RATE_LIMITED, None), MARKET, "RateLimited", ["its words", AT_30], id="throttled"
        ),
        pytest.param(
            one(), refused(Trouble.CLOUD_UNREACHABLE, None), MARKET, "CloudUnreachable", ["its words", AT_30], id="away"
        ),
        pytest.param(
            one(), ledger_of(pool_trust_of(A, 2.0, ago(60))), MARKET, "ReclaimsEarly",
            [str(A), "taken instances back soon", "More instanceTypes", f"Next attempt {to_text(NOW + seconds(1740))}"],
            id="reclaims-early",
        ),
        pytest.param(
            one(caps=Caps(in_total=Decimal("0.5"))), ledger_of(member("ins-1")), MARKET, "OverBudget",
            [str(A), "one more at 0.3", "limits.maxHourlyCost", "lower replicas"], id="over-budget",
        ),
        pytest.param(
            one(caps=Caps(percent_of_on_demand=20)), ledger_of(), Market(), "MarketUnreadable",
            [str(A), "on-demand price is not quoted", "a maxPrice alone needs none"], id="no-list-price",
        ),
        pytest.param(
            one(caps=Caps(in_total=Decimal(5))), ledger_of(),
            replace(MARKET, unreliable_because="they are empty"), "MarketUnreadable",
            ["not believed: they are empty", "read again every minute"], id="a-market-nobody-believes",
        ),
        pytest.param(
            one(share=50), ledger_of(member("ins-1")), MARKET, "ShareFull",
            [str(A), "it holds 1 of at most 1", "market.maxSharePerPool"], id="share-full",
        ),
        pytest.param(
            one(gang=Gang(2, seconds(300)), caps=Caps(in_total=Decimal("0.5"))), ledger_of(broken_up_at=ago(60)),
            MARKET, "GangIncomplete",
            [str(A), "1 at once, and 2 are needed", f"Next attempt {to_text(NOW + seconds(2940))}"],
            id="half-a-gang",
        ),
        pytest.param(
            desired_of(2, [], requirements=Requirements()), ledger_of(), MARKET, "NoMatchingType",
            ["spec.instanceRequirements", "Widen them"], id="no-type-meets-the-requirements",
        ),
        pytest.param(
            desired_of(2, [], requirements=Requirements(), unmet="which types there are: not known yet"),
            ledger_of(), MARKET,
            "MarketUnreadable", ["which types there are"], id="types-not-known-yet",
        ),
    ],
)  # fmt: skip
def test_the_sentence_names_the_cause_the_pool_the_moment_and_the_way_out(
    desired: Desired, ledger: Ledger, market: Market, reason: str, parts: list[str]
) -> None:
    found = why(desired, ledger, market)
    assert found is not None
    assert found.reason == reason
    assert [part for part in parts if part not in found.text] == []
    assert ".." not in found.text
    assert "  " not in found.text


SHORT = {"short_since": ago(600)}
SOLD_OUT = backoff_of(A)


@pytest.mark.parametrize(
    ("desired", "ledger", "market", "word"),
    [
        pytest.param(
            one(fallback=fallback()), ledger_of(SOLD_OUT, short_since=ago(540)), MARKET,
            f"On demand from {to_text(NOW + seconds(60))}", id="later",
        ),
        pytest.param(
            one(fallback=fallback()), ledger_of(SOLD_OUT, backoff_of(ON_DEMAND, code="Od.Code", message="no"), **SHORT),
            MARKET, "On demand refused too: Od.Code: no", id="refused-too",
        ),
        pytest.param(
            one(fallback=fallback(count_max=1)), ledger_of(SOLD_OUT, member("ins-1", on_demand=True), **SHORT), MARKET,
            "The limits of onDemandFallback allow no more on demand", id="capped",
        ),
        pytest.param(
            one(fallback=fallback()), ledger_of(SOLD_OUT, **SHORT), Market(),
            "no price on demand is quoted", id="no-price",
        ),
        pytest.param(
            one(fallback=fallback()), ledger_of(SOLD_OUT, **SHORT),
            replace(MARKET, unreliable_because="they are empty"),
            "not believed: they are empty", id="no-belief",
        ),
    ],
)  # fmt: skip
def test_it_tells_why_on_demand_does_not_stand_in(desired: Desired, ledger: Ledger, market: Market, word: str) -> None:
    found = why(desired, ledger, market)
    assert found is not None
    assert word in found.text


@pytest.mark.parametrize(
    ("ledger", "mentioned"),
    [
        pytest.param(ledger_of(backoff_of(A), backoff_of(B), backoff_of(C)), True, id="all-pools-rest"),
        pytest.param(
            ledger_of(backoff_of(A), backoff_of(B), backoff_of(C), backoff_of(None, until=ago(1))),
            True,
            id="beside-an-old-rest",
        ),
        pytest.param(ledger_of(backoff_of(None, Trouble.RATE_LIMITED)), False, id="it-is-not-about-pools"),
    ],
)
def test_where_there_are_more_pools_it_says_where_to_look(ledger: Ledger, mentioned: bool) -> None:
    found = why(desired_of(2), ledger)
    assert found is not None
    assert ("3 pools" in found.text and "status.pools" in found.text) is mentioned


@pytest.mark.parametrize(
    ("desired", "ledger", "stalled"),
    [
        pytest.param(one(), refused(Trouble.INVALID_CONFIGURATION), True, id="only-a-person-can-correct-it"),
        pytest.param(one(), refused(Trouble.INSUFFICIENT_CAPACITY), False, id="the-market-may-change"),
        pytest.param(one(share=50), ledger_of(member("ins-1")), True, id="full-until-a-person-says-otherwise"),
        pytest.param(one(caps=Caps(in_total=Decimal("0.5"))), ledger_of(member("ins-1")), False, id="prices-may-fall"),
        pytest.param(
            desired_of(2, [A, B], share=50),
            ledger_of(member("ins-1"), backoff_of(B)),
            False,
            id="another-pool-only-rests",
        ),
    ],
)
def test_stalled_is_what_nothing_but_a_person_can_change(desired: Desired, ledger: Ledger, stalled: bool) -> None:
    found = why(desired, ledger)
    assert found is not None
    assert found.stalled is stalled


@settings(max_examples=400, deadline=None)
@given(situations)
def test_a_promised_moment_is_the_next_attempt_and_never_past(case: tuple[Situation, Learned]) -> None:
    situation, _ = case
    if situation.missing == 0:
        return
    found, at = why_short(situation), situation.next_attempt
    if found is not None and situation.desired.pools:
        assert at is None or at > NOW
        assert ("Next attempt" in found.text) is (at is not None)
    elif situation.desired.pools:
        assert at == NOW


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("image", "Correct spec.template.imageId"),
        ("login", "Correct spec.template.loginSettings"),
        ("network", "Correct spec.placements[].subnetId"),
        (None, "Correct the spec"),
        ("a part of a later version", "Correct the spec"),
    ],
)
def test_what_is_to_be_corrected_is_named_by_its_path(about: str | None, words: str) -> None:
    wrong = backoff_of(A, Trouble.INVALID_CONFIGURATION, code="InvalidImageId.NotFound", message="no such", about=about)
    found = why_short(situation_of(desired_of(1, [A]), ledger_of(wrong)))
    assert found is not None
    assert words in found.text


def test_every_part_of_a_launch_stands_somewhere_in_the_spec() -> None:
    assert all((field_of_part(str(part)) or "").startswith("spec.") for part in Part)
