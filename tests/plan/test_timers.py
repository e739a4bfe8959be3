"""Timers that end instances whose operator is gone: who has one, when it is renewed, and when it is taken off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from plan.given import (
    NOW,
    accepted,
    ago,
    desired_of,
    instance,
    intent,
    ledger_of,
    member,
    observed_of,
    planned,
    released,
    seconds,
    situation_of,
)
from spotcompute.cloud.errors import CloudError, InvalidCredentials, OutcomeUnknown, Throttled
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.ledger import Cause, Ledger, Member, Timers
from spotcompute.plan.actions import SetTimers, TimersSet
from spotcompute.plan.policy import Policy
from spotcompute.plan.timers import (
    end_at_launch,
    end_from,
    may_have_its_timer,
    next_change,
    period,
    with_timers,
    with_timers_set,
)

AFTER = timedelta(hours=3)
PROTECTED = desired_of(3, orphan_after=AFTER)
HOUR = timedelta(hours=1)


def bearing(key: str, hours: float | None, **other: Any) -> Member:
    """A member whose timer still runs for so many hours."""
    return member(key, ends_at=None if hours is None else NOW + hours * HOUR, **other)


def due(*members: Member, shown: list[Instance] | None = None) -> list[str]:
    """Whose timers are set now."""
    ledger = ledger_of(*members, timers=Timers())
    shown = [instance(one.id) for one in members] if shown is None else shown
    _, actions = with_timers(situation_of(PROTECTED, ledger, observed_of(*shown)))
    assert all(one.ends_at == NOW.replace(microsecond=0) + AFTER for one in actions)
    return [key for one in actions for key in one.instance_ids]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        pytest.param([2.9, 2.8], [], id="young ones are left alone"),
        pytest.param([2.01, 2.8], [], id="a third of the time has not passed"),
        pytest.param([2.0, 2.8], ["ins-0"], id="a third of the time has passed, and another one is young"),
        pytest.param([2.0, 2.5, 2.4], ["ins-0", "ins-1", "ins-2"], id="those of half a period go with it"),
        pytest.param([0.1], ["ins-0"], id="it is nearly too late"),
        pytest.param([-1.0], ["ins-0"], id="the cloud is late with its end"),
        pytest.param([None, 2.4], ["ins-0"], id="one without a timer gets it at once, and alone"),
        pytest.param([3.1, 2.9], ["ins-0"], id="a timer that runs longer than ours do is none of ours"),
    ],
)
def test_who_is_due(hours: list[float | None], expected: list[str]) -> None:
    assert due(*(bearing(f"ins-{number}", left) for number, left in enumerate(hours))) == expected


@pytest.mark.parametrize(
    ("one", "shown", "expected"),
    [
        pytest.param(bearing("ins-1", 1), [], False, id="out of sight"),
        pytest.param(
            bearing("ins-1", 1),
            [instance("ins-1", ownership=Ownership("c", "e"))],
            False,
            id="another's by its tags",
        ),
        pytest.param(bearing("ins-1", 1), [instance("ins-1", ownership=None)], False, id="without tags"),
        pytest.param(bearing("ins-1", 1), [instance("ins-1", InstanceState.TERMINATING)], False, id="ending"),
        pytest.param(bearing("ins-1", 1), [instance("ins-1", InstanceState.STOPPED)], True, id="stopped"),
        pytest.param(bearing("ins-1", 1, termination=accepted()), [instance("ins-1")], False, id="its end is accepted"),
        pytest.param(bearing("ins-1", 1, termination=released()), [instance("ins-1")], True, id="still to be drained"),
        pytest.param(bearing("ins-1", 1, lost=Cause.RECLAIMED), [instance("ins-1")], False, id="lost"),
    ],
)
def test_only_what_is_there_and_ours_gets_a_timer(one: Member, shown: list[Instance], expected: bool) -> None:
    assert bool(due(one, shown=shown)) is expected


def test_a_paused_environment_and_one_that_is_being_deleted_renew() -> None:
    ledger = ledger_of(bearing("ins-1", 1), timers=Timers())
    observed = observed_of(instance("ins-1"))
    for desired in (replace(PROTECTED, paused=True), replace(PROTECTED, deleting=True, replicas=0)):
        actions = planned(desired, ledger, observed).actions
        assert [one.instance_ids for one in actions if isinstance(one, SetTimers)] == [("ins-1",)]


def test_without_the_field_nothing_is_asked() -> None:
    assert with_timers(situation_of(desired_of(1), ledger_of(member("ins-1")), observed_of(instance("ins-1"))))[1] == ()
    assert next_change(situation_of(desired_of(1), ledger_of(member("ins-1")), observed_of(instance("ins-1")))) is None


@pytest.mark.parametrize(
    ("timers", "minutes"),
    [
        pytest.param(Timers(sent_at=ago(1)), 0, id="a call that a crash has cut off is made again"),
        pytest.param(Timers(sent_at=NOW, obstacle="x", attempts=1), 1 / 12, id="a first failure"),
        pytest.param(Timers(sent_at=NOW, obstacle="x", attempts=10**6), 1, id="the last of many failures"),
        pytest.param(Timers(sent_at=NOW, obstacle="x", attempts=1, lasting=True), 5, id="a refusal that lasts"),
        pytest.param(Timers(sent_at=ago(-9999), obstacle="x", lasting=True), 0, id="a failure that is still to come"),
    ],
)
def test_after_a_failure_it_is_tried_again_soon_and_then_more_rarely(timers: Timers, minutes: float) -> None:
    ledger = ledger_of(bearing("ins-1", 1), timers=timers)
    situation = situation_of(PROTECTED, ledger, observed_of(instance("ins-1")))
    assert next_change(situation) == NOW + timedelta(minutes=minutes)
    assert bool(with_timers(situation)[1]) is (minutes == 0)


# --- at launch -------------------------------------------------------------------------------------------------------


def test_a_launch_names_the_moment_and_its_members_have_it() -> None:
    plan = planned(PROTECTED, ledger_of(), observed_of())
    (launch,) = [one for one in plan.actions if not isinstance(one, SetTimers)]
    assert launch.request.ends_at == launch.intent.ends_at == end_from(NOW, AFTER)  # type: ignore[union-attr]  # the only launch
    assert plan.ledger.timers == Timers(), "from here on instances may bear timers"


def test_after_a_refusal_for_the_timer_launches_do_without_for_an_hour() -> None:
    for minutes, expected in ((59, None), (61, end_from(NOW, AFTER)), (-1, end_from(NOW, AFTER))):
        ledger = Ledger("e", timers=Timers(not_at_launch_since=ago(60 * minutes)))
        assert end_at_launch(PROTECTED, ledger, NOW) == expected


@pytest.mark.parametrize(
    ("ends_in", "after", "may"),
    [
        (None, AFTER, True),
        (None, None, True),
        (AFTER, AFTER, True),
        (AFTER, None, False),
        (AFTER, AFTER * 2, False),
        (HOUR, AFTER, False),
    ],
)
def test_a_launch_is_repeated_with_the_timer_of_the_spec_only(
    ends_in: timedelta | None, after: timedelta | None, may: bool
) -> None:
    one = intent(PROTECTED)
    one = replace(one, ends_at=None if ends_in is None else end_from(one.created_at, ends_in))
    assert may_have_its_timer(one, replace(PROTECTED, orphan_after=after)) is may


# --- answers, and taking off -----------------------------------------------------------------------------------------


def after(ledger: Ledger, ends_at: Any, error: CloudError | None = None, *ids: str) -> Ledger:
    return with_timers_set(situation_of(PROTECTED, ledger, observed_of()), TimersSet(ids, ends_at, error))


def test_what_was_answered_is_known_and_the_rest_is_as_before() -> None:
    ledger = ledger_of(bearing("ins-1", 1), bearing("ins-2", 1), timers=Timers(sent_at=NOW))
    new = after(ledger, NOW + AFTER, Throttled("RequestLimitExceeded", "slow down"), "ins-1", "ins-gone")
    assert [new.members[key].ends_at for key in ("ins-1", "ins-2")] == [NOW + AFTER, NOW + HOUR]
    assert new.timers == Timers(sent_at=NOW, answered=True, attempts=1, obstacle="RequestLimitExceeded: slow down")
    assert after(new, NOW + AFTER, None, "ins-2").timers == Timers(sent_at=NOW, answered=True)


def test_a_missing_right_is_told_apart() -> None:
    timers = after(ledger_of(timers=Timers()), NOW, InvalidCredentials("UnauthorizedOperation", "no")).timers
    assert timers is not None
    assert (timers.lasting, timers.forbidden) == (True, True)


RETAINING = desired_of(0, deleting=True, retaining=True)


@pytest.mark.parametrize("desired", [desired_of(2), replace(desired_of(2), paused=True), RETAINING])
def test_without_the_field_all_timers_go_those_of_which_nothing_is_known_too(desired: Any) -> None:
    ledger = ledger_of(bearing("ins-1", 1), bearing("ins-2", None), timers=Timers())
    observed = observed_of(instance("ins-1"), instance("ins-2"))
    plan = planned(desired, ledger, observed)
    assert plan.actions == (SetTimers(("ins-1", "ins-2"), None),)
    assert plan.ledger.timers is not None
    situation = situation_of(desired, plan.ledger, observed)
    done = with_timers_set(situation, TimersSet(("ins-1", "ins-2"), None))
    settled, actions = with_timers(situation.with_ledger(done))
    assert (settled.timers, actions) == (None, ())


def test_as_long_as_an_earlier_request_may_arrive_the_timers_count_as_there() -> None:
    lost = OutcomeUnknown("ClientNetworkError", "no answer")
    ledger = after(ledger_of(bearing("ins-1", None), timers=Timers(sent_at=NOW)), NOW + AFTER, lost)
    situation = situation_of(desired_of(1), ledger, observed_of(instance("ins-1")))
    ledger, _ = with_timers(situation)
    ledger = with_timers_set(situation.with_ledger(ledger), TimersSet(("ins-1",), None))
    assert ledger.timers is not None
    assert ledger.members["ins-1"].ends_at is not None
    later = replace(situation, ledger=ledger, now=NOW + Policy().signature_lifetime + seconds(61))
    ledger, actions = with_timers(later)
    assert actions
    ledger = with_timers_set(later.with_ledger(ledger), TimersSet(("ins-1",), None))
    assert with_timers(later.with_ledger(ledger))[0].timers is None


def test_a_launch_that_is_still_open_may_bring_timers() -> None:
    one = replace(intent(PROTECTED), ends_at=NOW + HOUR)
    ledger, _ = with_timers(situation_of(desired_of(1), ledger_of(one, timers=Timers()), observed_of()))
    assert ledger.timers is not None


def test_who_is_deleted_for_good_needs_no_timers_taken_off() -> None:
    ledger = ledger_of(bearing("ins-1", 1), timers=Timers())
    assert with_timers(situation_of(desired_of(0, deleting=True), ledger, observed_of(instance("ins-1")))) == (
        ledger,
        (),
    )


def test_a_third_of_the_time_is_never_shorter_than_the_cloud_may_take() -> None:
    assert period(timedelta(seconds=900)) >= Policy().resync
