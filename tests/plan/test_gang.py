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
    desired,
    instance,
    intent,
    launches,
    ledger,
    market,
    member,
    observed,
    released,
    rest,
    seconds,
)
from plan.playing import Play
from spotcompute.model.desired import Caps, Desired, Gang, ZonePolicy
from spotcompute.model.ledger import Cause, Ledger, Trouble
from spotcompute.model.offering import Market, Pool, whole_zone
from spotcompute.plan.actions import Learned, Plan
from spotcompute.plan.allocation import Obstacle, rank
from spotcompute.plan.planner import make_plan

HOLD = seconds(300)
QUOTES = market({A: "0.1", B: "0.1", C: "0.1"})
LEAVING = released(Cause.GANG_INCOMPLETE, obstacle="still starting")


def wishes(least: int = 4, replicas: int = 4, hold: timedelta = HOLD, **other: Any) -> Desired:
    return desired(replicas, gang=Gang(least, hold), **other)


def planned(spec: Desired, books: Ledger, quotes: Market = QUOTES) -> Plan:
    return make_plan(spec, books, observed(*map(instance, books.members), market=quotes), NOW, POLICY, Learned())


def asked(spec: Desired, books: Ledger, quotes: Market = QUOTES) -> list[tuple[Pool, int]]:
    return [(launch.intent.pool, launch.intent.count) for launch in launches(planned(spec, books, quotes).actions)]


OVER = {"until": ago(1)}
ALL_REFUSED = [rest(pool, **OVER) for pool in (A, B, C)]


@pytest.mark.parametrize(
    ("spec", "entries", "remembered", "quotes", "expected"),
    [
        pytest.param(wishes(), [], {}, QUOTES, [(A, 4)], id="the-whole"),
        pytest.param(wishes(3, 5), [], {}, QUOTES, [(A, 5)], id="more-than-the-least"),
        pytest.param(wishes(), [rest(A)], {}, QUOTES, [(B, 4)], id="the-whole-elsewhere"),
        pytest.param(wishes(), [], {}, market({A: "1"}, [A]), [(A, 4)], id="no-trying-with-one-of-them"),
        pytest.param(wishes(share=50), [], {}, QUOTES, [(A, 2)], id="in-shares-it-can-only-come-in-parts"),
        pytest.param(
            wishes(), [rest(whole_zone(pool.zone), Trouble.QUOTA_EXCEEDED, **OVER) for pool in (A, B, C)], {}, QUOTES,
            [(A, 1)], id="every-zone-has-refused",
        ),
        pytest.param(wishes(), ALL_REFUSED, {}, market({A: "1"}, [A]), [(A, 1)], id="parts-once-all-have-refused"),
        pytest.param(
            wishes(), ALL_REFUSED, {"broken_up_at": ago(2999)}, market({A: "1"}, [A]), [(A, 4)], id="the-whole-again"
        ),
        pytest.param(
            wishes(), ALL_REFUSED, {"broken_up_at": ago(3000)}, market({A: "1"}, [A]), [(A, 1)], id="and-parts-again"
        ),
        pytest.param(wishes(), [member("ins-1")], {}, QUOTES, [(A, 3)], id="the-rest-of-it"),
        pytest.param(wishes(2), [member(f"i-{n}") for n in range(3)], {}, QUOTES, [(A, 1)], id="beyond-the-least"),
        pytest.param(
            wishes(), [member("ins-1", termination=LEAVING)], {}, QUOTES, [], id="not-beside-one-that-is-leaving"
        ),
        pytest.param(
            wishes(2), [member("ins-1", termination=LEAVING)], {}, QUOTES, [(A, 3)], id="unless-there-is-room-for-it"
        ),
        pytest.param(
            wishes(zone_policy=ZonePolicy.BALANCED), [], {}, QUOTES, [(A, 4)], id="a-whole-is-worth-more-than-a-balance"
        ),
    ],
)  # fmt: skip
def test_what_is_asked_for(spec: Desired, entries: list, remembered: dict, quotes: Market, expected: list) -> None:
    assert asked(spec, ledger(*entries, **remembered), quotes) == expected


@pytest.mark.parametrize(
    ("entries", "since", "gone"),
    [
        pytest.param([member("ins-1"), member("ins-2")], 300, 2, id="held-for-long-enough"),
        pytest.param([member("ins-1"), member("ins-2")], 299, 0, id="not-yet"),
        pytest.param([member(f"ins-{number}") for number in range(4)], 999, 0, id="complete"),
        pytest.param([member("ins-1"), intent(wishes(), 3)], 999, 0, id="the-rest-may-be-on-its-way"),
        pytest.param([member("ins-1"), intent(wishes(), 2)], 999, 1, id="what-is-on-its-way-is-not-enough"),
    ],
)
def test_a_part_is_let_go_altogether_or_not_at_all(entries: list, since: float, gone: int) -> None:
    plan = planned(wishes(), ledger(*entries, incomplete_since=ago(since)))
    chosen = [one for one in plan.ledger.members.values() if one.termination is not None]
    assert len(chosen) == gone
    assert {one.termination.cause for one in chosen if one.termination} <= {Cause.GANG_INCOMPLETE}
    assert plan.ledger.broken_up_at == (NOW if gone else None)


@pytest.mark.parametrize(
    ("books", "since"),
    [
        pytest.param(ledger(), None, id="nothing-is-no-part"),
        pytest.param(ledger(member("ins-1")), NOW, id="a-part-from-now-on"),
        pytest.param(ledger(member("ins-1"), incomplete_since=ago(9)), ago(9), id="a-part-since-then"),
        pytest.param(ledger(member("ins-1"), incomplete_since=NOW + seconds(99)), NOW, id="a-clock-that-was-set-back"),
    ],
)
def test_since_when_a_part_is_paid_for(books: Ledger, since: datetime | None) -> None:
    assert planned(wishes(), books).ledger.incomplete_since == since


def test_pools_that_cannot_give_the_whole_say_so_and_until_when() -> None:
    limit = Caps(in_total=QUOTES.price(A))
    books = ledger(broken_up_at=ago(1000))
    ranking = rank(wishes(caps=limit), books, QUOTES, NOW, POLICY)
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
        wishes(least, least, seconds(hold), share=share),
        lambda _: QUOTES,
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
        wishes(least, least, seconds(hold)),
        lambda _: QUOTES,
        room=lambda pool, now: 100 if now >= there_from else max(0, min(room, least - 1) - play.live()),
    )
    play.run(seconds(3600 + 61))
    assert play.live() == least


@pytest.mark.parametrize("share", [50, 25])
def test_a_gang_with_shares_is_put_together_from_several_pools(share: int) -> None:
    pools = [A, B, C, Pool("ap-guangzhou-7", "S5.MEDIUM4")]
    play = Play(wishes(4, 4, pools=pools, share=share), lambda _: QUOTES)
    play.run(seconds(60))
    assert play.live() == 4
