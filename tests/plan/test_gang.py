"""All or nothing: the whole at once where it is to be had, parts for a while, and never for long."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    C,
    ago,
    all_running,
    asked,
    backoff_of,
    desired_of,
    intent,
    ledger_of,
    market_of,
    member,
    planned,
    pool_trust_of,
    released,
    seconds,
)
from plan.playing import Play
from spotcompute.model.desired import Caps, Desired, Gang, ZonePolicy
from spotcompute.model.ledger import Cause, Ledger, Trouble
from spotcompute.model.offering import Market, Pool, whole_zone
from spotcompute.plan.actions import Plan
from spotcompute.plan.allocation import Obstacle, rank
from spotcompute.plan.gang import missing_of_gang

HOLD = seconds(300)
MARKET = market_of({A: "0.1", B: "0.1", C: "0.1"})
LEAVING = released(Cause.GANG_INCOMPLETE, obstacle="still starting")


def gang_of(least: int = 4, replicas: int = 4, hold: timedelta = HOLD, **other: Any) -> Desired:
    return desired_of(replicas, gang=Gang(least, hold), **other)


def plan_of(desired: Desired, ledger: Ledger, market: Market = MARKET) -> Plan:
    return planned(desired, ledger, all_running(ledger, market))


ON_PROBATION = pool_trust_of(A, 1.5, ago(1801))


@pytest.mark.parametrize(
    ("desired", "entries", "expected"),
    [
        pytest.param(desired_of(4, [A]), [], [(A, 1)], id="no-gang-tries-with-one"),
        pytest.param(gang_of(4, 4, pools=[A]), [], [(A, 4)], id="the-whole-gang-in-one-call"),
        pytest.param(gang_of(3, 5, pools=[A]), [], [(A, 3)], id="no-more-than-the-gang"),
        pytest.param(gang_of(4, 4, pools=[A]), [member("ins-1", launched_at=ago(60))], [(A, 3)], id="what-it-lacks"),
        pytest.param(
            gang_of(2, 4, pools=[A]), [member(f"ins-{n}", launched_at=ago(60)) for n in (1, 2)], [], id="it-is-complete"
        ),
    ],
)
def test_a_gang_passes_the_probation_of_a_pool_in_one_piece(desired: Desired, entries: list, expected: list) -> None:
    assert asked(plan_of(desired, ledger_of(ON_PROBATION, *entries))) == expected


OVER = {"until": ago(1)}
ALL_REFUSED = [backoff_of(pool, **OVER) for pool in (A, B, C)]


@pytest.mark.parametrize(
    ("desired", "entries", "remembered", "market", "expected"),
    [
        pytest.param(gang_of(), [], {}, MARKET, [(A, 4)], id="the-whole"),
        pytest.param(gang_of(3, 5), [], {}, MARKET, [(A, 5)], id="more-than-the-least"),
        pytest.param(gang_of(), [backoff_of(A)], {}, MARKET, [(B, 4)], id="the-whole-elsewhere"),
        pytest.param(gang_of(), [], {}, market_of({A: "1"}, [A]), [(A, 4)], id="no-trying-with-one-of-them"),
        pytest.param(gang_of(share=50), [], {}, MARKET, [(A, 2)], id="in-shares-it-can-only-come-in-parts"),
        pytest.param(
            gang_of(), [backoff_of(whole_zone(pool.zone), Trouble.QUOTA_EXCEEDED, **OVER) for pool in (A, B, C)], {},
            MARKET,
            [(A, 1)], id="every-zone-has-refused",
        ),
        pytest.param(gang_of(), ALL_REFUSED, {}, market_of({A: "1"}, [A]), [(A, 1)], id="parts-once-all-have-refused"),
        pytest.param(
            gang_of(), ALL_REFUSED, {"broken_up_at": ago(2999)}, market_of({A: "1"}, [A]), [(A, 4)],
            id="the-whole-again"
        ),
        pytest.param(
            gang_of(), ALL_REFUSED, {"broken_up_at": ago(3000)}, market_of({A: "1"}, [A]), [(A, 1)],
            id="and-parts-again"
        ),
        pytest.param(gang_of(), [member("ins-1")], {}, MARKET, [(A, 3)], id="the-rest-of-it"),
        pytest.param(gang_of(2), [member(f"i-{n}") for n in range(3)], {}, MARKET, [(A, 1)], id="beyond-the-least"),
        pytest.param(
            gang_of(), [member("ins-1", termination=LEAVING)], {}, MARKET, [], id="not-beside-one-that-is-leaving"
        ),
        pytest.param(
            gang_of(2), [member("ins-1", termination=LEAVING)], {}, MARKET, [(A, 3)], id="unless-there-is-room-for-it"
        ),
        pytest.param(
            gang_of(zone_policy=ZonePolicy.BALANCED), [], {}, MARKET, [(A, 4)],
            id="a-whole-is-worth-more-than-a-balance"
        ),
    ],
)  # fmt: skip
def test_what_is_asked_for(desired: Desired, entries: list, remembered: dict, market: Market, expected: list) -> None:
    assert asked(plan_of(desired, ledger_of(*entries, **remembered), market)) == expected


@pytest.mark.parametrize(
    ("entries", "since", "gone"),
    [
        pytest.param([member("ins-1"), member("ins-2")], 300, 2, id="held-for-long-enough"),
        pytest.param([member("ins-1"), member("ins-2")], 299, 0, id="not-yet"),
        pytest.param([member(f"ins-{number}") for number in range(4)], 999, 0, id="complete"),
        pytest.param([member("ins-1"), intent(gang_of(), 3)], 999, 0, id="the-rest-may-be-on-its-way"),
        pytest.param([member("ins-1"), intent(gang_of(), 2)], 999, 1, id="what-is-on-its-way-is-not-enough"),
    ],
)
def test_a_part_is_let_go_altogether_or_not_at_all(entries: list, since: float, gone: int) -> None:
    plan = plan_of(gang_of(), ledger_of(*entries, incomplete_since=ago(since)))
    chosen = [one for one in plan.ledger.members.values() if one.termination is not None]
    assert len(chosen) == gone
    assert {one.termination.cause for one in chosen if one.termination} <= {Cause.GANG_INCOMPLETE}
    assert plan.ledger.broken_up_at == (NOW if gone else None)


@pytest.mark.parametrize(
    ("ledger", "since"),
    [
        pytest.param(ledger_of(), None, id="nothing-is-no-part"),
        pytest.param(ledger_of(member("ins-1")), NOW, id="a-part-from-now-on"),
        pytest.param(ledger_of(member("ins-1"), incomplete_since=ago(9)), ago(9), id="a-part-since-then"),
        pytest.param(
            ledger_of(member("ins-1"), incomplete_since=NOW + seconds(99)), NOW, id="a-clock-that-was-set-back"
        ),
    ],
)
def test_since_when_a_part_is_paid_for(ledger: Ledger, since: datetime | None) -> None:
    assert plan_of(gang_of(), ledger).ledger.incomplete_since == since


def test_pools_that_cannot_give_the_whole_say_so_and_until_when() -> None:
    limit = Caps(in_total=MARKET.price(A))
    ledger = ledger_of(broken_up_at=ago(1000))
    ranking = rank(gang_of(caps=limit), ledger, MARKET, NOW, POLICY)
    assert {one.why for one in ranking.rejected} == {Obstacle.TOO_FEW}
    assert ranking.next_at == NOW + seconds(2000)
    assert ranking.kept == ()


# --- plays -----------------------------------------------------------------------------------------------------------


def paid_in_part(play: Play, least: int) -> list[float]:
    """Billed seconds of each time when there was something and not enough of it."""
    moments = sorted({play.now, *(one.born for one in play.machines.values()), *play.ends()})
    attempts, running = [0.0], False
    for start, end in itertools.pairwise(moments):
        count = sum(
            one.born <= start and (one.ended_at is None or one.ended_at > start) for one in play.machines.values()
        )
        if 0 < count < least:
            attempts[-1] += count * (end - start).total_seconds()
            running = True
        elif running:
            attempts.append(0.0)
            running = False
    return attempts


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), st.integers(0, 4), st.sampled_from([0, 1, 60, 300]), st.sampled_from([100, 50]))
def test_a_gang_that_cannot_be_had_is_paid_for_no_longer_than_it_is_held(
    least: int, room: int, hold: int, share: int
) -> None:
    play = Play(
        gang_of(least, least, seconds(hold), share=share),
        lambda _: MARKET,
        room=lambda pool, _: max(0, min(room, least - 1) - play.live()),
    )
    play.run(seconds(2 * 3600))
    assert max(paid_in_part(play, least)) <= hold * least
    assert len([1 for _, one in play.released if one.cause is Cause.GANG_INCOMPLETE]) <= 2 * 3600 / max(300, hold) + 1
    assert play.looks < 2500


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), st.integers(0, 4), st.sampled_from([60, 300]))
def test_a_whole_is_taken_as_soon_as_it_is_there(least: int, room: int, hold: int) -> None:
    there_from = NOW + seconds(3600)
    play = Play(
        gang_of(least, least, seconds(hold)),
        lambda _: MARKET,
        room=lambda pool, now: 100 if now >= there_from else max(0, min(room, least - 1) - play.live()),
    )
    play.run(seconds(3600 + 61))
    assert play.live() == least


@pytest.mark.parametrize("share", [50, 25])
def test_a_gang_with_shares_is_put_together_from_several_pools(share: int) -> None:
    pools = [A, B, C, Pool("ap-guangzhou-7", "S5.MEDIUM4")]
    play = Play(gang_of(4, 4, pools=pools, share=share), lambda _: MARKET)
    play.run(seconds(60))
    assert play.live() == 4


def test_without_a_gang_nothing_is_missing_of_it() -> None:
    assert missing_of_gang(desired_of(3), ledger_of()) == 0
