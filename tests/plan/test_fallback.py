"""When on-demand instances stand in for spot, and when they give way again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    A,
    B,
    C,
    ago,
    all_running,
    asked,
    backoff_of,
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
    released,
    seconds,
    situation_of,
    synced,
    terminated_ids,
)
from plan.playing import Play, most_in_an_hour
from spotcompute.model.desired import Caps, Desired, Fallback
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Cause, Ledger, Trouble
from spotcompute.model.offering import ON_DEMAND, Market, Pool
from spotcompute.plan.actions import Learned
from spotcompute.plan.fallback import due_at, is_due, next_fallback_check, on_demand_to_release, with_fallback_clocks

HOUR = seconds(3600)
MARKET = market_of({A: "0.2", B: "0.1", C: "0.3"})
ALL_BACK_OFF = [backoff_of(pool) for pool in (A, B, C)]


def desired_with_fallback(
    replicas: int = 3, pools: tuple[Pool, ...] = (A, B, C), stands_in: dict | None = None, **other: Any
) -> Desired:
    return desired_of(replicas, pools, fallback=fallback(**(stands_in or {})), **other)


def bought(
    desired: Desired, ledger: Ledger, market: Market = MARKET, learned: Learned = NOTHING_LEARNED
) -> list[tuple]:
    """What is asked for on demand, while spot rests."""
    return asked(planned(desired, ledger, all_running(ledger, market), learned), on_demand=True)


SHORT = {"short_since": ago(600)}


@pytest.mark.parametrize(
    ("stands_in", "remembered", "expected"),
    [
        pytest.param({}, SHORT, [(B, 3)], id="all-that-is-missing-where-it-is-cheapest"),
        pytest.param({}, {"short_since": ago(599)}, [], id="not-before-its-time"),
        pytest.param({}, {}, [], id="short-only-now"),
        pytest.param({"after": seconds(0)}, {}, [(B, 3)], id="without-delay"),
        pytest.param({"count_max": 2}, SHORT, [(B, 2)], id="capped-by-number"),
        pytest.param({"count_max": 0}, SHORT, [], id="none-allowed"),
        pytest.param({"hourly": Decimal("2.9")}, SHORT, [(B, 2)], id="capped-by-money"),
        pytest.param({"hourly": Decimal("0.9")}, SHORT, [], id="too-dear"),
        pytest.param({}, SHORT | {"switched_at": ago(1799)}, [], id="gone-back-not-long-ago"),
        pytest.param({}, SHORT | {"switched_at": ago(1800)}, [(B, 3)], id="gone-back-long-ago"),
        pytest.param({"deadline": ago(1)}, {"switched_at": ago(1)}, [(B, 3)], id="after-the-deadline-at-once"),
        pytest.param(
            {}, {"switched_at": ago(9), "trial_since": ago(9)}, [(B, 3)], id="at-once-in-place-of-what-gave-way-in-vain"
        ),
        pytest.param({"deadline": NOW + seconds(1)}, {}, [], id="before-the-deadline-as-always"),
    ],
)
def test_on_demand_stands_in(stands_in: dict, remembered: dict, expected: list) -> None:
    assert bought(desired_with_fallback(stands_in=stands_in), ledger_of(*ALL_BACK_OFF, **remembered)) == expected


@pytest.mark.parametrize(
    ("trouble", "failed_at", "expected"),
    [
        pytest.param(Trouble.CLOUD_UNREACHABLE, ago(800), {A, B, C}, id="in-doubt-lately"),
        pytest.param(Trouble.CLOUD_UNREACHABLE, ago(900), {B}, id="in-doubt-long-ago"),
        pytest.param(Trouble.INSUFFICIENT_CAPACITY, ago(800), {B}, id="sold-out"),
    ],
)
def test_after_a_doubt_on_demand_any_pool_is_tried(trouble: Trouble, failed_at: datetime, expected: set[Pool]) -> None:
    refused = backoff_of(ON_DEMAND, trouble, failed_at=failed_at, until=ago(1))
    ledgers = (ledger_of(*ALL_BACK_OFF, refused, sequence=sequence, **SHORT) for sequence in range(1, 30))
    assert {bought(desired_with_fallback(), ledger)[0][0] for ledger in ledgers} == expected


def test_a_launch_in_doubt_does_not_stop_the_time_that_spot_has_fallen_short() -> None:
    desired = desired_with_fallback()
    in_doubt = intent(desired, 3, answer_lost=True, sent_at=ago(20))
    kept = planned(desired, ledger_of(in_doubt, backoff_of(A), **SHORT), observed_of(market=MARKET)).ledger
    assert kept.short_since == ago(600)


@pytest.mark.parametrize(
    ("trouble", "failed_at", "expected"),
    [
        pytest.param(Trouble.CLOUD_UNREACHABLE, ago(100), (B, 3, True), id="spot-in-doubt-lately"),
        pytest.param(Trouble.CLOUD_UNREACHABLE, ago(900), (B, 3, False), id="spot-in-doubt-a-while-ago"),
        pytest.param(Trouble.INSUFFICIENT_CAPACITY, ago(100), (A, 1, False), id="spot-sold-out-lately"),
    ],
)
def test_what_is_due_is_bought_on_demand_while_spot_ends_in_doubt(
    trouble: Trouble, failed_at: datetime, expected: tuple[Pool, int, bool]
) -> None:
    ledger = ledger_of(backoff_of(A, trouble, failed_at=failed_at, until=ago(1)), **SHORT)
    (launch,) = launches(planned(desired_with_fallback(), ledger, observed_of(market=MARKET)).actions)
    assert (launch.intent.pool, launch.intent.count, launch.intent.on_demand) == expected


@pytest.mark.parametrize(
    ("desired", "entries", "market", "learned", "expected"),
    [
        pytest.param(desired_of(3), [], MARKET, Learned(), [], id="never-without-being-asked"),
        pytest.param(desired_with_fallback(paused=True), [], MARKET, Learned(), [], id="paused"),
        pytest.param(desired_with_fallback(0, deleting=True), [], MARKET, Learned(), [], id="deleting"),
        pytest.param(desired_with_fallback(one_time=True), [], MARKET, Learned(), [], id="one-time"),
        pytest.param(
            desired_with_fallback(caps=Caps(in_total=Decimal(2))),
            [],
            MARKET,
            Learned(),
            [(B, 2)],
            id="the-limit-of-all",
        ),
        pytest.param(
            desired_with_fallback(caps=Caps(per_instance=Decimal("0.01"))),
            [],
            MARKET,
            Learned(),
            [(B, 3)],
            id="no-spot-cap",
        ),
        pytest.param(desired_with_fallback(), [backoff_of(ON_DEMAND)], MARKET, Learned(), [], id="on-demand-rests"),
        pytest.param(
            desired_with_fallback(),
            [backoff_of(None, Trouble.RATE_LIMITED)],
            MARKET,
            Learned(),
            [],
            id="the-whole-rests",
        ),
        pytest.param(
            desired_with_fallback(),
            [backoff_of(ON_DEMAND)],
            MARKET,
            Learned(not_on_demand=frozenset({B})),
            [(A, 3)],
            id="the-next-pool",
        ),
        pytest.param(
            desired_with_fallback(),
            [],
            market_of({A: "0", B: None, C: "1"}),
            Learned(),
            [(C, 3)],
            id="only-where-a-price-is-quoted",
        ),
        pytest.param(desired_with_fallback(), [], market_of({}), Learned(), [], id="no-price-at-all"),
        pytest.param(
            desired_with_fallback(),
            [member("ins-1", on_demand=True)],
            MARKET,
            Learned(),
            [(B, 2)],
            id="what-there-is-counts",
        ),
        pytest.param(
            desired_with_fallback(stands_in={"count_max": 1}),
            [member("ins-1", on_demand=True)],
            MARKET,
            Learned(),
            [],
            id="that-one-was-the-most",
        ),
    ],
)
def test_on_demand_is_bought_within_all_limits(
    desired: Desired, entries: list, market: Market, learned: Learned, expected: list
) -> None:
    assert bought(desired, ledger_of(*ALL_BACK_OFF, *entries, **SHORT), market, learned) == expected


def test_spot_is_asked_first_however_long_it_fell_short() -> None:
    plan = planned(
        desired_with_fallback(), ledger_of(backoff_of(A), backoff_of(B), **SHORT), observed_of(market=MARKET)
    )
    assert [(launch.intent.pool, launch.intent.on_demand) for launch in launches(plan.actions)] == [(C, False)]


@pytest.mark.parametrize(
    ("limits", "extra", "expected"),
    [
        pytest.param({}, None, [(B, 3)], id="no-limit-no-question"),
        pytest.param({"stands_in": {"hourly": Decimal("2.2")}}, "0.1", [(B, 2)], id="two-with-their-disks"),
        pytest.param({"stands_in": {"hourly": Decimal("2.1")}}, "0.1", [(B, 1)], id="not-both-disks"),
        pytest.param({"caps": Caps(in_total=Decimal("2.1"))}, "0.1", [(B, 1)], id="nor-under-the-limit-of-all"),
        pytest.param({"stands_in": {"hourly": Decimal(9)}}, None, [], id="nobody-says-what-disks-cost"),
    ],
)
def test_limits_hold_disks_too(limits: dict, extra: str | None, expected: list) -> None:
    market = market_of({A: "0.2", B: "0.1", C: "0.3"}, extra=extra)
    assert bought(desired_with_fallback(**limits), ledger_of(*ALL_BACK_OFF, **SHORT), market) == expected


@pytest.mark.parametrize(
    ("stands_in", "caps"),
    [
        pytest.param({}, Caps(), id="allowed"),
        pytest.param({"count_max": 1}, Caps(), id="fewer-allowed-since"),
        pytest.param({"hourly": Decimal("1.9")}, Caps(), id="less-money-since"),
        pytest.param({}, Caps(in_total=Decimal("1.9")), id="less-money-for-all-since"),
        pytest.param(None, Caps(), id="not-allowed-any-more"),
    ],
)
def test_a_purchase_in_doubt_is_repeated_only_within_the_limits_of_now(stands_in: dict | None, caps: Caps) -> None:
    desired = desired_of(2, caps=caps, fallback=None if stands_in is None else fallback(**stands_in))
    open_one = intent(desired, 2, pool=B, on_demand=True, answer_lost=True, sent_at=ago(20))
    plan = planned(desired, ledger_of(open_one), observed_of(market=MARKET))
    assert bool(launches(plan.actions)) is (stands_in == {} and caps == Caps())


def test_a_refused_purchase_is_no_change_over() -> None:
    """It would put off the next one by half an hour, with nothing bought."""
    play = Play(
        desired_with_fallback(2, (A,), {"after": seconds(60)}),
        lambda _: market_of({A: "0.1"}),
        room=lambda *_: 0,
        on_demand_room=0,
    )
    play.run(seconds(300))
    play.on_demand_room = 10
    play.run(seconds(120))
    assert play.live(on_demand=True) == 2


# --- giving way ------------------------------------------------------------------------------------------------------

MACHINES = [member(f"ins-{number}", on_demand=True) for number in range(3)]
WELL = {"spot_since": ago(900), "switched_at": ago(7200)}


def released_ids(desired: Desired, ledger: Ledger, market: Market = MARKET) -> list[str]:
    """Who gives way."""
    plan = planned(desired, ledger, all_running(ledger, market))
    chosen = [one for one in plan.ledger.members.values() if one.termination and one.termination.recorded_at == NOW]
    assert all(one.termination and one.termination.cause is Cause.BACK_TO_SPOT for one in chosen)
    return sorted(one.id for one in chosen)


ALL = ["ins-0", "ins-1", "ins-2"]
LEAVING = released(Cause.BACK_TO_SPOT, recorded_at=ago(10), obstacle="busy", sent_at=ago(1))


@pytest.mark.parametrize(
    ("desired", "entries", "remembered", "market", "expected"),
    [
        pytest.param(desired_with_fallback(), MACHINES, WELL, MARKET, ["ins-0"], id="one-first"),
        pytest.param(
            desired_with_fallback(),
            MACHINES,
            WELL | {"spot_since": ago(899)},
            MARKET,
            [],
            id="not-well-for-long-enough",
        ),
        pytest.param(desired_with_fallback(), MACHINES, WELL, market_of({}), [], id="not-quoted"),
        pytest.param(desired_with_fallback(), MACHINES, WELL, market_of({A: "1"}, [A]), [], id="quoted-sold-out"),
        pytest.param(desired_with_fallback(), [*MACHINES, *ALL_BACK_OFF], WELL, MARKET, [], id="every-pool-rests"),
        pytest.param(
            desired_with_fallback(),
            MACHINES,
            WELL | {"switched_at": ago(1799)},
            MARKET,
            [],
            id="gone-back-not-long-ago",
        ),
        pytest.param(
            desired_with_fallback(),
            [member(key, on_demand=True, launched_at=ago(1799)) for key in ALL],
            {"spot_since": ago(900)},
            MARKET,
            [],
            id="bought-not-long-ago",
        ),
        pytest.param(
            desired_with_fallback(stands_in={"deadline": NOW}),
            MACHINES,
            WELL,
            MARKET,
            [],
            id="nothing-after-the-deadline",
        ),
        pytest.param(desired_of(3), MACHINES, {}, MARKET, ["ins-0"], id="nobody-asks-for-them-any-more"),
        pytest.param(
            desired_with_fallback(),
            MACHINES,
            WELL | {"switched_at": ago(4 * 1800 - 1), "failed_trials": 2},
            MARKET,
            [],
            id="four-times-as-long-after-two-failed-trials-and-not-before",
        ),
        pytest.param(
            desired_with_fallback(),
            [member(key, on_demand=True, launched_at=ago(9 * 1800)) for key in ALL],
            WELL | {"switched_at": ago(8 * 1800), "failed_trials": 99},
            MARKET,
            ["ins-0"],
            id="after-four-hours-however-many-trials-have-failed",
        ),
        pytest.param(
            desired_with_fallback(),
            [*MACHINES[:2], member("ins-2")],
            WELL | {"spot_since": ago(1000), "switched_at": ago(60)},
            MARKET,
            ["ins-0"],
            id="then-the-others-one-at-a-time-without-waiting",
        ),
        pytest.param(
            desired_with_fallback(),
            [*MACHINES[:2], member("ins-2", on_demand=True, termination=LEAVING)],
            WELL | {"spot_since": ago(1000), "switched_at": ago(60)},
            MARKET,
            [],
            id="not-before-the-first-has-gone",
        ),
        pytest.param(
            desired_with_fallback(),
            [*MACHINES[:2], member("ins-2", arrived=False, launched_at=ago(10))],
            WELL | {"spot_since": ago(1000), "switched_at": ago(60)},
            MARKET,
            [],
            id="not-before-spot-has-started",
        ),
    ],
)
def test_on_demand_gives_way(
    desired: Desired, entries: list, remembered: dict, market: Market, expected: list[str]
) -> None:
    assert released_ids(desired, ledger_of(*entries, **remembered), market) == expected


@pytest.mark.parametrize(
    ("entries", "trial_since", "failed"),
    [
        pytest.param([*MACHINES[:2]], ago(60), 1, id="under-way"),
        pytest.param([*MACHINES[:2], member("ins-9", arrived=False, launched_at=ago(9))], ago(60), 1, id="starting"),
        pytest.param([*MACHINES[:2], member("ins-9", launched_at=ago(9))], None, 0, id="succeeded"),
        pytest.param([*MACHINES[:2], member("ins-9", on_demand=True, launched_at=ago(9))], None, 2, id="failed"),
        pytest.param(MACHINES, None, 1, id="made-needless-by-a-smaller-spec"),
    ],
)
def test_a_trial_of_spot_fails_with_the_first_purchase_on_demand(
    entries: list, trial_since: datetime | None, failed: int
) -> None:
    ledger = ledger_of(*entries, **WELL | {"switched_at": ago(60), "trial_since": ago(60), "failed_trials": 1})
    after = with_fallback_clocks(situation_of(desired_with_fallback(), ledger))
    assert (after.trial_since, after.failed_trials) == (trial_since, failed)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param("2.5", ["ins-0"], id="what-is-missing-fits-only-without-it"),
        pytest.param("4.5", [], id="what-is-missing-fits-beside-it"),
        pytest.param("0.05", [], id="it-does-not-fit-without-it-either"),
    ],
)
def test_on_demand_gives_way_first_where_it_leaves_no_room_for_the_spot_that_is_missing(
    limit: str, expected: list[str]
) -> None:
    """A machine costs more on demand than several do on spot. Nothing else could ever be bought under the limit."""
    machines = [member("ins-0", on_demand=True), member("ins-1", on_demand=True)]
    desired = replace(desired_with_fallback(), caps=Caps(in_total=Decimal(limit)))
    assert released_ids(desired, ledger_of(*machines, **WELL)) == expected


#: Spot has recovered, and one instance has been replaced since.
REPLACED_ONE = WELL | {"spot_since": ago(1000), "switched_at": ago(60)}


@pytest.mark.parametrize(
    ("stands_in", "entries", "remembered", "expected"),
    [
        pytest.param({}, MACHINES, WELL, ["ins-0"], id="all-steps-hold"),
        pytest.param({}, [*MACHINES[:2], intent(desired_of(3), 1)], WELL, [], id="has-settled-no-launch-is-open"),
        pytest.param({}, MACHINES[:2], WELL, [], id="has-settled-none-is-missing"),
        pytest.param({}, [*MACHINES[:2], member("ins-9", arrived=False)], WELL, [], id="has-settled-none-is-starting"),
        pytest.param(
            {}, [*MACHINES, member("ins-9", on_demand=True, termination=LEAVING)], WELL, [],
            id="has-settled-no-release-is-open",
        ),
        pytest.param({}, MACHINES, {}, [], id="spot-has-recovered-just-now"),
        pytest.param({}, MACHINES, {"spot_since": ago(899)}, [], id="spot-has-recovered-for-long-enough"),
        pytest.param({"deadline": ago(1)}, MACHINES, WELL, [], id="is-past-deadline"),
        pytest.param({}, MACHINES, REPLACED_ONE, ["ins-0"], id="first-was-replaced-since-spot-recovered"),
        pytest.param(
            {}, [*MACHINES[:2], member("ins-2", on_demand=True, launched_at=ago(30))], REPLACED_ONE, [],
            id="first-was-replaced-before-the-last-purchase",
        ),
        pytest.param({}, MACHINES, WELL | {"switched_at": ago(1799)}, [], id="may-try-one-not-after-a-switch-lately"),
        pytest.param(
            {}, [*MACHINES[:2], member("ins-2", on_demand=True, launched_at=ago(1799))], WELL, [],
            id="may-try-one-not-after-a-purchase-lately",
        ),
    ],
)  # fmt: skip
def test_each_step_has_a_say_in_going_back_to_spot(
    stands_in: dict, entries: list, remembered: dict, expected: list[str]
) -> None:
    situation = situation_of(desired_with_fallback(stands_in=stands_in), ledger_of(*entries, **remembered))
    assert [one.id for one in on_demand_to_release(situation)] == expected


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({}, id="one-pool-that-they-fill"),
        pytest.param({"share": 34}, id="a-share-that-they-fill"),
        pytest.param({"caps": Caps(in_total=Decimal(6))}, id="money-that-they-take-up"),
    ],
)
def test_what_stands_in_does_not_stand_in_the_way_of_spot(limits: dict) -> None:
    assert released_ids(
        desired_with_fallback(3, (A,), **limits), ledger_of(*MACHINES, **WELL), market_of({A: "0.2"})
    ) == ["ins-0"]


@pytest.mark.parametrize(
    ("remembered", "at"),
    [
        pytest.param({}, None, id="nothing-is-short"),
        pytest.param({"short_since": NOW}, 600, id="after-the-delay"),
        pytest.param({"short_since": NOW, "switched_at": ago(60)}, 1740, id="after-the-dwell"),
    ],
)
def test_when_it_will_be_due_is_when_it_is(remembered: dict, at: float | None) -> None:
    situation = situation_of(desired_with_fallback(), ledger_of(**remembered))
    due = due_at(situation)
    assert due == (None if at is None else NOW + seconds(at))
    if due is not None:
        assert is_due(replace(situation, now=due))
        assert not is_due(replace(situation, now=due - seconds(1)))
        assert next_fallback_check(situation) == due


def test_a_deadline_comes_before_any_delay() -> None:
    desired = desired_with_fallback(stands_in={"deadline": NOW + seconds(5)})
    assert due_at(situation_of(desired, ledger_of(short_since=NOW, switched_at=NOW))) == NOW + seconds(5)


# --- plays -----------------------------------------------------------------------------------------------------------


def changes(play: Play) -> list[datetime]:
    """When the environment went over from one to the other: the first purchase after spot, and the other way round."""
    steps = [(at, launch.intent.on_demand) for at, launch in play.launched if launch.intent.on_demand]
    steps += [(at, False) for at, release in play.released if release.cause is Cause.BACK_TO_SPOT]
    found: list[datetime] = []
    kind = False
    for at, is_on_demand in sorted(steps):
        if is_on_demand != kind:
            found.append(at)
            kind = is_on_demand
    return found


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(st.integers(1, 4), st.sampled_from([0, 60, 600]), st.sampled_from([60, 300]), st.sampled_from([1, 3]))
def test_in_a_market_that_flaps_there_are_two_changes_an_hour_at_most(
    replicas: int, after: int, stable_for: int, most: int
) -> None:
    def is_good(now: datetime) -> bool:
        return int((now - NOW).total_seconds()) // 300 % 2 == 0

    stands_in = {"after": seconds(after), "stable_for": seconds(stable_for), "count_max": most}
    play = Play(
        desired_with_fallback(replicas, (A, B), stands_in),
        lambda now: market_of({A: "0.1", B: "0.1"}, [] if is_good(now) else [A, B]),
        room=lambda _, now: 1000 if is_good(now) else 0,
        life=lambda _, now: seconds(300 - (now - NOW).total_seconds() % 300),
    )
    play.run(24 * HOUR)
    assert most_in_an_hour(changes(play)) <= 2
    assert play.looks < 24 * 400


def test_after_an_outage_it_is_all_spot_again_and_one_went_first() -> None:
    outage = (NOW + HOUR, NOW + 3 * HOUR)

    def room(_: Pool, now: datetime) -> int:
        return 0 if outage[0] <= now < outage[1] else 1000

    def life(_: Pool, now: datetime) -> Any:
        return outage[0] - now if now < outage[0] else None

    play = Play(
        desired_with_fallback(3, (A,)),
        lambda now: market_of({A: "0.1"}, [] if room(A, now) else [A]),
        room=room,
        life=life,
    )
    play.run(HOUR + seconds(700))
    assert play.live(on_demand=True) == 3
    play.run(HOUR)
    assert play.live(on_demand=True) == 3
    play.run(2 * HOUR)
    assert (play.live(on_demand=True), play.live()) == (0, 3)
    assert [len(release.instance_ids) for _, release in play.released] == [1, 1, 1]
    assert len(changes(play)) == 2


def test_spot_that_only_looks_well_costs_one_place_and_not_all() -> None:
    """Quoted as available, and refused when it is asked."""
    play = Play(
        desired_with_fallback(3, (A,), {"after": seconds(60)}), lambda _: market_of({A: "0.1"}), room=lambda *_: 0
    )
    play.run(4 * HOUR)
    assert min(play.live(on_demand=True), 3) >= 2
    assert all(len(release.instance_ids) == 1 for _, release in play.released)


def test_nobody_is_released_for_a_limit_that_was_lowered() -> None:
    ledger = ledger_of(*MACHINES, member("ins-9", pool=B))
    desired = desired_with_fallback(
        4, caps=Caps(Decimal("0.001"), in_total=Decimal("0.001")), stands_in={"count_max": 0, "hourly": Decimal(0)}
    )
    observed = observed_of(*(instance(key) for key in ledger.members), market=MARKET)
    assert terminated_ids(planned(desired, ledger, observed).actions) == []


# --- after too many interruptions -------------------------------------------------------------------------------------


def shaky(**other: Any) -> Fallback:
    """After three interruptions within an hour nothing waits for spot."""
    return fallback(**({"interruptions": 3, "within": seconds(3600)} | other))


@pytest.mark.parametrize(
    ("ages", "remembered", "is_bought"),
    [
        pytest.param([10, 20, 30], {}, True, id="three-lately"),
        pytest.param([10, 20], {}, False, id="two-lately"),
        pytest.param([10, 20, 3601], {}, False, id="one-of-them-too-long-ago"),
        pytest.param([10, 20, -30], {}, False, id="a-time-in-the-future-does-not-count"),
        pytest.param([10, 20, 30], {"switched_at": ago(60)}, False, id="not-right-after-a-change-over"),
    ],
)
def test_too_many_interruptions_make_on_demand_stand_in_at_once(
    ages: list[float], remembered: dict[str, Any], is_bought: bool
) -> None:
    ledger = ledger_of(*ALL_BACK_OFF, short_since=ago(5), interruptions=tuple(ago(age) for age in ages), **remembered)
    plan = planned(desired_of(3, fallback=shaky()), ledger, observed_of(market=MARKET))
    assert bool(plan.actions) is is_bought
    if is_bought:
        assert asked(plan, on_demand=True) == [(B, 3)]


def test_interruptions_alone_buy_nothing() -> None:
    ledger = ledger_of(*(member(f"ins-{number}") for number in range(3)), interruptions=(ago(1), ago(2), ago(3)))
    assert planned(desired_of(3, fallback=shaky()), ledger, all_running(ledger, MARKET)).actions == ()


def test_spot_is_not_tried_again_before_it_is_steady() -> None:
    desired = desired_of(3, fallback=shaky())
    shaken = ledger_of(*MACHINES, **WELL, interruptions=(ago(10), ago(20), ago(30)))
    assert released_ids(desired, shaken) == []
    assert with_fallback_clocks(situation_of(desired, shaken, all_running(shaken, MARKET))).spot_since is None
    calm = ledger_of(*MACHINES, **WELL, interruptions=(ago(4000), ago(5000), ago(6000)))
    assert released_ids(desired, calm) == ["ins-0"]


def test_what_the_cloud_takes_back_is_noted_as_often_as_the_fallback_asks() -> None:
    ledger = ledger_of(
        *(member(f"ins-{number}") for number in range(5)), member("ins-9", on_demand=True), interruptions=(ago(99),)
    )
    ended = observed_of(*(instance(key, InstanceState.SHUTDOWN) for key in ledger.members))
    assert synced(ledger, desired_of(6, fallback=shaky()), ended).ledger.interruptions == (NOW, NOW, NOW)
    assert synced(ledger, desired_of(6), ended).ledger.interruptions == (ago(99),)
    assert planned(desired_of(6), ledger).ledger.interruptions == ()
