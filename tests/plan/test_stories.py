"""What the planner does in situations that users know, told so that a person can read it; see `stories/`.

The stories are compared. After a wanted change of a decision or its words, write them anew and read the difference:
pytest tests/plan/test_stories.py --write-stories
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from plan import given
from plan.given import NOW, OURS, POLICY, A, B, desired_of, fallback, market_of, seconds
from plan.telling import Story
from spotcompute.cloud.errors import CloudError, OutcomeUnknown, PriceTooLow, QuotaExceeded
from spotcompute.model.desired import Caps, Desired, Gang, Runs
from spotcompute.model.ledger import Ledger
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.actions import Launch
from spotcompute.plan.ledger_sync import in_quarantine

STORIES = Path(__file__).parent / "stories"
STARTS_IN = seconds(10)


def quoted(now: datetime) -> Market:
    return market_of({A: "0.10", B: "0.12"})


def told(title: str, setting: str, desired: Desired, **other: Any) -> Story:
    """A story that has not begun: two pools, of which the first is the cheaper, and instances that start in 10 s."""
    return Story(desired, **({"market": quoted, "starts_in": STARTS_IN} | other), title=title, setting=setting)


def until(moment: timedelta, before: int, after: int = 1000, pool: Pool = A) -> Callable[[Pool, datetime], int]:
    """`pool` has room for `before` until that moment, and for `after` from then on."""
    return lambda asked, now: 1000 if asked != pool else before if now < NOW + moment else after


def fill() -> Story:
    story = told("From nothing to three", "replicas 3; gz-3 costs 0.10 and gz-4 costs 0.12", desired_of(3, [A, B]))
    story.run(seconds(30))
    return story


def partial_stock() -> Story:
    story = told(
        "A pool has fewer than are missing",
        "replicas 3; gz-3 has two left, gz-4 has plenty",
        desired_of(3, [A, B]),
        room=lambda pool, now: 1000 if pool == B else 2 - story.held(A),
    )
    story.run(seconds(30))
    return story


def sold_out_and_back() -> Story:
    story = told(
        "A pool is sold out for a minute",
        "replicas 2, and gz-3 is the only pool; it sells again after a minute",
        desired_of(2, [A]),
        room=until(seconds(60), 0),
    )
    story.run(seconds(120))
    return story


def price_above_the_bid() -> Story:
    def market(now: datetime) -> Market:
        return market_of({A: "0.15" if now < NOW + seconds(50) else "0.09"})

    def refuses(launch: Launch, now: datetime) -> CloudError | None:
        price, bid = market(now).price(A), launch.intent.bid
        is_too_low = bid is not None and price is not None and bid < price
        return (
            PriceTooLow("InvalidParameterValue.InsufficientPrice", "the bid is below the price") if is_too_low else None
        )

    story = told(
        "The price is above the bid",
        "replicas 1, maxPrice 0.10, and gz-3 is the only pool; it costs 0.15, and after 50 seconds 0.09",
        desired_of(1, [A], caps=Caps(Decimal("0.10"))),
        market=market,
        refuses=refuses,
    )
    story.run(seconds(90))
    return story


def reclaim() -> Story:
    story = told(
        "An instance is reclaimed", "replicas 2; the cloud takes one back after an hour", desired_of(2, [A, B])
    )
    story.run(seconds(30))
    next(iter(story.machines.values())).reclaimed_at = NOW + seconds(3600)
    story.run(seconds(3720))
    return story


def early_losses() -> Story:
    story = told(
        "A pool takes instances back within minutes",
        "replicas 1; what gz-3 sells in the first half hour lasts three minutes, and then as long as it is wanted",
        desired_of(1, [A, B]),
        life=lambda pool, now: seconds(180) if pool == A and now < NOW + seconds(1800) else None,
    )
    story.run(seconds(900))
    story.change("replicas 3", replicas=3)
    story.run(seconds(900))
    story.change("replicas 4", replicas=4)
    story.run(seconds(1800))
    story.change("replicas 6", replicas=6)
    story.run(seconds(900))
    story.change("replicas 8", replicas=8)
    story.run(seconds(30))
    return story


def quota() -> Story:
    def refuses(launch: Launch, now: datetime) -> CloudError | None:
        is_over = launch.intent.pool == A and story.held(A) + launch.intent.count > 1
        return (
            QuotaExceeded("LimitExceeded.UserSpotQuota", "the spot quota of the zone is used up") if is_over else None
        )

    story = told(
        "The quota of a zone is used up",
        "replicas 3; the account's quota in gz-3 has room for one instance",
        desired_of(3, [A, B]),
        refuses=refuses,
    )
    story.run(seconds(60))
    return story


def gang() -> Story:
    story = told(
        "A gang stays incomplete",
        "replicas 3, minAvailable 3, held for a minute; gz-3 is the only pool, has two, and after three minutes plenty",
        desired_of(3, [A], gang=Gang(3, seconds(60))),
        room=lambda pool, now: 1000 if now > NOW + seconds(180) else 2 - story.held(A),
    )
    story.run(seconds(300))
    return story


def fallback_and_back() -> Story:
    def room(pool: Pool, now: datetime) -> int:
        return 0 if now < NOW + seconds(300) else 1000

    story = told(
        "On demand stands in for spot, and is released when spot is back",
        "replicas 2, onDemandFallback after one minute, spot must look well for ten;"
        "\ngz-3 is the only pool, and sells spot again after five minutes; half an hour lies between two changes",
        desired_of(2, [A], fallback=fallback(after=seconds(60), stable_for=seconds(600))),
        market=lambda now: market_of({A: "0.10"}, [] if room(A, now) else [A]),
        room=room,
    )
    story.run(seconds(3600))
    return story


def fallback_taken_out() -> Story:
    story = told(
        "The fallback is taken out of the spec, and on demand gives way",
        "replicas 2, onDemandFallback after one minute; gz-3 is the only pool, and sells spot after ten minutes",
        desired_of(2, [A], fallback=fallback(after=seconds(60))),
        market=lambda now: market_of({A: "0.10"}, [] if now >= NOW + seconds(600) else [A]),
        room=until(seconds(600), 0),
    )
    story.run(seconds(120))
    story.change("takes onDemandFallback out", fallback=None)
    story.run(seconds(720))
    return story


def scale_in() -> Story:
    story = told("Three become one", "replicas 3, and later 1", desired_of(3, [A, B]))
    story.run(seconds(30))
    story.change("replicas 1", replicas=1)
    story.run(seconds(120))
    return story


def deletion() -> Story:
    story = told(
        "An environment is deleted while an instance is still starting",
        "replicas 1, then 2, and a moment later the object is deleted",
        desired_of(1, [A, B]),
    )
    story.run(seconds(30))
    story.change("replicas 2", replicas=2)
    story.run(seconds(5))
    story.change("deletes the object", replicas=0, deleting=True)
    story.run(seconds(200))
    return story


def lost_answer() -> Story:
    def loses(launch: Launch, now: datetime) -> CloudError | None:
        return OutcomeUnknown("ClientTimeout", "no answer within 10 s") if now == NOW else None

    story = told(
        "The answer to a launch is lost",
        "replicas 2; the cloud carries out the first launch, and its answer never arrives",
        desired_of(2, [A, B]),
        loses=loses,
        listed_in=seconds(3),
    )
    story.run(seconds(30))
    return story


def lost_answer_repeated() -> Story:
    def loses(launch: Launch, now: datetime) -> CloudError | None:
        return OutcomeUnknown("ClientTimeout", "no answer within 10 s") if now == NOW else None

    story = told(
        "The answer to a launch is lost, and its instances are not listed yet",
        "replicas 2; the cloud carries out the first launch, its answer never arrives, and lists are a minute late",
        desired_of(2, [A, B]),
        loses=loses,
        listed_in=seconds(60),
        starts_in=seconds(60),
    )
    story.run(seconds(90))
    return story


def restored_ledger() -> Story:
    story = told(
        "The ledger is lost",
        "replicas 2; etcd is restored from a backup that does not know the ledger; then a third is wanted",
        desired_of(2, [A, B]),
    )
    story.run(seconds(30))
    story.ledger = in_quarantine(Ledger(OURS.environment_id), story.now, POLICY)
    story.change("restores etcd, and asks for replicas 3", replicas=3)
    story.run(seconds(560))
    return story


def work_that_ends() -> Story:
    story = told(
        "Work is done once",
        "replicas 2, onStop Release, maxAttempts 2; the work takes an hour, then a machine powers itself off;"
        "\nthe first of gz-3 is taken back after forty minutes",
        desired_of(2, [A, B], runs=Runs(2, 2)),
        stops_after=lambda born: seconds(3600),
    )
    story.run(seconds(30))
    next(iter(story.machines.values())).reclaimed_at = NOW + seconds(2400)
    story.run(seconds(6300))
    return story


def instances_that_stop() -> Story:
    story = told(
        "Instances power themselves off",
        "replicas 1; an instance powers itself off after a minute, until the user data is corrected",
        desired_of(1, [A, B]),
        stops_after=lambda born: seconds(60) if born < NOW + seconds(2400) else None,
    )
    story.run(seconds(2400))
    story.change("takes the shutdown out of the user data", user_data_digest="0123456789ab")
    story.run(seconds(120))
    return story


TOLD: dict[str, Callable[[], Story]] = {
    "01-from-nothing-to-three": fill,
    "02-half-an-answer": partial_stock,
    "03-sold-out-and-back": sold_out_and_back,
    "04-price-above-the-bid": price_above_the_bid,
    "05-a-reclaim-is-replaced": reclaim,
    "06-early-losses": early_losses,
    "07-quota": quota,
    "08-an-incomplete-gang": gang,
    "09-fallback-and-back": fallback_and_back,
    "10-scale-in": scale_in,
    "11-deletion": deletion,
    "12-a-lost-answer": lost_answer,
    "13-a-launch-is-repeated": lost_answer_repeated,
    "14-a-lost-ledger": restored_ledger,
    "17-work-that-ends": work_that_ends,
    "16-fallback-taken-out": fallback_taken_out,
    "15-instances-that-stop": instances_that_stop,
}


@pytest.mark.parametrize("name", TOLD)
def test_the_story_is_told_as_it_stands(name: str, request: pytest.FixtureRequest) -> None:
    path, text = STORIES / f"{name}.txt", TOLD[name]().text()
    if request.config.getoption("--write-stories"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), "read the difference; then --write-stories writes it anew"


@pytest.mark.parametrize("name", TOLD)
def test_the_story_is_the_same_where_every_request_states_a_price(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The international site wants that; the planner decides all else alike."""
    monkeypatch.setattr(given, "POLICY", replace(POLICY, states_bids=True))
    assert TOLD[name]().text() == (STORIES / f"{name}.txt").read_text(encoding="utf-8")


def test_no_story_is_left_that_nobody_tells() -> None:
    assert {path.stem for path in STORIES.iterdir()} == set(TOLD)
