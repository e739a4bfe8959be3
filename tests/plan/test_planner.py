"""The order of the questions, situation by situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plan.given import (
    NOTHING_LEARNED,
    NOW,
    OURS,
    THEIRS,
    A,
    B,
    C,
    accepted,
    ago,
    backoff_of,
    desired_of,
    instance,
    intent,
    launched_by,
    launches,
    ledger_of,
    market_of,
    member,
    observed_of,
    released,
    seconds,
    situation_of,
    terminated_ids,
)
from plan.judge import complaints
from spotcompute.model.desired import AllocationStrategy, Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.launch import Template
from spotcompute.model.ledger import Backoff, Cause, Ledger, Termination, Trouble
from spotcompute.model.observation import Observation
from spotcompute.model.offering import Pool
from spotcompute.plan.actions import Learned, Plan, Terminate
from spotcompute.plan.launching import may_launch, request_for
from spotcompute.plan.planner import make_plan

DESIRED = desired_of(3)


def plan(
    desired: Desired,
    ledger: Ledger,
    observed: Observation | None = None,
    learned: Learned = NOTHING_LEARNED,
    at: float = 0,
) -> Plan:
    """The plan, after the judge has looked at it."""
    situation = situation_of(desired, ledger, observed, NOW + seconds(at))
    made = make_plan(situation, learned)
    assert complaints(situation, made) == []
    return made


def running(*ids: str) -> tuple[Ledger, Observation]:
    return ledger_of(*map(member, ids)), observed_of(*map(instance, ids))


def test_a_satisfied_environment_is_left_alone() -> None:
    ledger, observed = running("ins-1", "ins-2", "ins-3")
    made = plan(DESIRED, ledger, observed)
    assert made.actions == ()
    assert made.ledger == ledger


@pytest.mark.parametrize(
    ("replicas", "counts"),
    [
        (1, [1]),
        (100, [100]),
        (101, [100, 1]),
        (250, [100, 100, 50]),
        (500, [100] * 5),
        pytest.param(2500, [100] * 20, id="twenty-calls-at-once-the-rest-in-the-next-round"),
    ],
)
def test_what_is_missing_is_asked_for_in_as_few_calls_as_possible(replicas: int, counts: list[int]) -> None:
    made = plan(desired_of(replicas), ledger_of())
    assert [launch.request.count for launch in launches(made.actions)] == counts
    assert {launch.request.pool for launch in launches(made.actions)} == {A}


def test_a_launch_says_what_the_spec_says() -> None:
    desired = desired_of(2, user_data_digest="abcdef012345")
    (launch,) = launches(plan(desired, ledger_of()).actions)
    assert (launch.request.ownership, launch.request.template) == (OURS, desired.template)
    assert launch.request.user_data_digest == "abcdef012345"
    assert launch.intent.template_digest == launch.request.template_digest
    assert launch.because == "2 of 2 missing"
    assert not launch.replay


def test_sequences_go_on_even_when_the_ledger_has_forgotten_them() -> None:
    (first,) = launches(plan(desired_of(1), Ledger(OURS.environment_id)).actions)
    (later,) = launches(plan(desired_of(1), Ledger(OURS.environment_id), at=1).actions)
    assert later.intent.sequence > first.intent.sequence
    assert later.intent.token != first.intent.token


def test_sequences_go_on_when_the_clock_steps_back() -> None:
    made = plan(desired_of(1), ledger_of(sequence=9_999_999_999), at=-3600)
    assert made.ledger.sequence == 10_000_000_000


def test_only_the_missing_are_asked_for() -> None:
    ledger, observed = running("ins-1", "ins-2")
    (launch,) = launches(plan(DESIRED, ledger, observed).actions)
    assert launch.request.count == 1


def test_the_cheapest_free_pool_is_asked() -> None:
    desired = desired_of(1, strategy=AllocationStrategy.LOWEST_PRICE)
    observed = observed_of(market=market_of({A: "3", B: "1", C: "2"}))
    (launch,) = launches(plan(desired, ledger_of(backoff_of(B)), observed).actions)
    assert launch.request.pool == C


@pytest.mark.parametrize(
    "ledger",
    [
        pytest.param(ledger_of(backoff_of(A), backoff_of(B), backoff_of(C)), id="all-pools-rest"),
        pytest.param(ledger_of(backoff_of(None, Trouble.RATE_LIMITED)), id="the-whole-rests"),
        pytest.param(ledger_of(quarantine_until=NOW + seconds(60)), id="quarantine"),
        pytest.param(ledger_of(quarantine_until=ago(60)), id="quarantine-that-no-sync-has-ended-yet"),
    ],
)
def test_there_are_reasons_not_to_ask(ledger: Ledger) -> None:
    assert plan(DESIRED, ledger).actions == ()


# --- letting go ------------------------------------------------------------------------------------------------------


def test_scaling_down_releases_the_surplus_after_recording_it() -> None:
    ledger, observed = running("ins-1", "ins-2", "ins-3")
    made = plan(desired_of(1), ledger, observed)
    assert made.actions == (Terminate(("ins-1", "ins-2"), Cause.SCALED_DOWN, "more than the 1 wanted"),)
    assert made.ledger.members["ins-1"].termination == Termination(Cause.SCALED_DOWN, recorded_at=NOW, sent_at=NOW)
    assert made.ledger.members["ins-3"].termination is None


def test_the_useless_are_part_of_the_surplus_and_not_on_top_of_it() -> None:
    ledger, _ = running("ins-1", "ins-2", "ins-3", "ins-4")
    observed = observed_of(
        instance("ins-1"), instance("ins-2"), instance("ins-3"), instance("ins-4", InstanceState.STOPPED)
    )
    made = plan(DESIRED, ledger, observed)
    assert made.actions == (
        Terminate(
            ("ins-4",), Cause.STOPPED_OUTSIDE, "stopped outside; a stopped spot instance costs money and does nothing"
        ),
    )


def test_a_stopped_instance_is_replaced_only_once_the_cloud_has_taken_its_release() -> None:
    ledger = ledger_of(member("ins-1"))
    observed = observed_of(instance("ins-1", InstanceState.STOPPED))
    first = plan(desired_of(1), ledger, observed)
    assert terminated_ids(first.actions) == ["ins-1"]
    assert launches(first.actions) == []
    gone = first.ledger.members["ins-1"]
    taken = replace(gone, termination=replace(gone.termination, accepted_at=NOW))
    assert len(launches(plan(desired_of(1), first.ledger.with_member(taken), observed, at=1).actions)) == 1


def test_deleting_releases_everything_that_is_left() -> None:
    ledger, observed = running("ins-1", "ins-2")
    made = plan(desired_of(0, deleting=True), ledger, observed)
    assert made.actions == (Terminate(("ins-1", "ins-2"), Cause.ENVIRONMENT_DELETED, "the environment is deleted"),)


def test_deleting_goes_on_while_paused() -> None:
    ledger, observed = running("ins-1")
    assert terminated_ids(plan(desired_of(0, deleting=True, paused=True), ledger, observed).actions) == ["ins-1"]


def test_deleting_records_the_lost_too_but_does_not_call_for_them() -> None:
    ledger = ledger_of(member("ins-1", lost=Cause.RECLAIMED))
    made = plan(desired_of(0, deleting=True), ledger, observed_of(instance("ins-1", InstanceState.TERMINATING)))
    assert made.actions == ()
    assert made.ledger.members["ins-1"].termination is not None


def test_releases_of_different_causes_are_told_apart() -> None:
    ledger, _ = running("ins-1", "ins-2", "ins-3")
    observed = observed_of(
        instance("ins-1"),
        instance("ins-2", InstanceState.STOPPED),
        instance("ins-3", InstanceState.PENDING, created_at=ago(700)),
    )
    made = plan(desired_of(1), ledger, observed)
    assert {action.cause: action.instance_ids for action in made.actions if isinstance(action, Terminate)} == {
        Cause.STOPPED_OUTSIDE: ("ins-2",),
        Cause.STUCK_PENDING: ("ins-3",),
    }


@pytest.mark.parametrize(
    ("observed", "obstacle"),
    [
        pytest.param(observed_of(), "not in the cloud's lists yet", id="not-seen"),
        pytest.param(observed_of(instance("ins-1", ownership=None)), "its tags do not (yet) say", id="no-tags-yet"),
        pytest.param(
            observed_of(instance("ins-1", ownership=THEIRS)), "its tags do not (yet) say", id="tags-of-another"
        ),
    ],
)
def test_nothing_is_released_whose_tags_do_not_say_that_it_is_ours(observed: Observation, obstacle: str) -> None:
    made = plan(desired_of(0), ledger_of(member("ins-1")), observed)
    assert made.actions == ()
    termination = made.ledger.members["ins-1"].termination
    assert termination is not None
    assert termination.obstacle is not None
    assert termination.obstacle.startswith(obstacle)


def test_what_is_still_starting_is_not_asked_for_until_it_runs_or_is_stuck() -> None:
    """The cloud would refuse it and the whole batch with it: two calls per instance, for nothing."""
    ledger = ledger_of(member("ins-1", termination=released()), member("ins-2", termination=released()))
    young, stuck = (
        instance(key, InstanceState.PENDING, created_at=ago(age)) for key, age in [("ins-1", 9), ("ins-2", 601)]
    )
    made = plan(desired_of(0), ledger, observed_of(young, stuck))
    assert terminated_ids(made.actions) == ["ins-2"]
    termination = made.ledger.members["ins-1"].termination
    assert termination is not None
    assert termination.obstacle == "still starting, and cannot be released before it runs"


@pytest.mark.parametrize(("seen_ago", "ended"), [(0, ["ins-1"]), (30, ["ins-1"]), (40, [])])
def test_what_was_starting_in_an_old_look_may_run_by_now(seen_ago: float, ended: list[str]) -> None:
    starting = instance("ins-1", InstanceState.PENDING, created_at=ago(631))
    made = plan(desired_of(1), ledger_of(member("ins-1")), observed_of(starting, at=ago(seen_ago)))
    assert terminated_ids(made.actions) == ended


def test_an_accepted_release_that_is_no_longer_listed_has_no_obstacle() -> None:
    ledger = ledger_of(member("ins-1", termination=accepted()))
    made = plan(desired_of(0), ledger, observed_of())
    assert made.actions == ()
    assert made.ledger == ledger


@pytest.mark.parametrize(
    ("termination", "state", "is_due"),
    [
        pytest.param(released(), InstanceState.RUNNING, True, id="never-sent"),
        pytest.param(released(sent_at=ago(4), attempts=1), InstanceState.RUNNING, False, id="sent-just-now"),
        pytest.param(released(sent_at=ago(5), attempts=1), InstanceState.RUNNING, True, id="no-effect-after-one"),
        pytest.param(released(sent_at=ago(19), attempts=3), InstanceState.RUNNING, False, id="third-waits-longer"),
        pytest.param(released(sent_at=ago(20), attempts=3), InstanceState.RUNNING, True, id="third-is-over"),
        pytest.param(
            released(sent_at=ago(-3600), attempts=1), InstanceState.RUNNING, True, id="the-clock-was-set-back"
        ),
        pytest.param(released(sent_at=ago(59), attempts=99), InstanceState.RUNNING, False, id="waits-are-limited"),
        pytest.param(released(sent_at=ago(60), attempts=99), InstanceState.RUNNING, True, id="and-never-silence"),
        pytest.param(replace(accepted(), sent_at=ago(59)), InstanceState.RUNNING, False, id="accepted-lately"),
        pytest.param(replace(accepted(), sent_at=ago(60)), InstanceState.RUNNING, True, id="accepted-without-effect"),
        pytest.param(released(), InstanceState.TERMINATING, False, id="ending-already"),
        pytest.param(released(), InstanceState.LAUNCH_FAILED, False, id="never-started"),
        pytest.param(replace(accepted(), sent_at=ago(60)), InstanceState.SHUTDOWN, True, id="out-of-the-recycle-bin"),
    ],
)
def test_when_a_recorded_release_is_asked_for(termination: Termination, state: InstanceState, is_due: bool) -> None:
    ledger = ledger_of(member("ins-1", termination=termination))
    made = plan(desired_of(0), ledger, observed_of(instance("ins-1", state)))
    assert bool(made.actions) is is_due


def test_a_look_from_before_a_release_says_nothing_of_its_effect() -> None:
    ledger = ledger_of(member("ins-1", termination=replace(accepted(), sent_at=ago(90))))
    assert not plan(desired_of(0), ledger, observed_of(instance("ins-1"), at=ago(91))).actions
    assert plan(desired_of(0), ledger, observed_of(instance("ins-1"), at=ago(89))).actions


# --- settling --------------------------------------------------------------------------------------------------------


def test_an_open_launch_is_repeated_unchanged() -> None:
    open_launch = intent(DESIRED, 3)
    made = plan(DESIRED, ledger_of(open_launch))
    (launch,) = launches(made.actions)
    assert launch.replay
    assert launch.intent == replace(open_launch, sent_at=NOW, answer_lost=True)
    assert launch.request == request_for(DESIRED, A, 3, open_launch.sequence, open_launch.bid)


@pytest.mark.parametrize(
    ("pools", "backoffs", "expected"),
    [
        pytest.param([A, B], [], [(A, 2, True), (B, 1, False)], id="what-else-is-missing-from-another-pool"),
        pytest.param([A, B], [backoff_of(A)], [(B, 1, False)], id="while-its-pool-backs-off"),
        pytest.param(
            [A, B], [backoff_of(B)], [(A, 2, True), (A, 1, False)], id="from-its-pool-when-no-other-may-be-asked"
        ),
        pytest.param([A, B], [backoff_of(A), backoff_of(B)], [], id="nothing-while-all-back-off"),
    ],
)
def test_a_launch_in_doubt_keeps_its_own_places_and_no_others(
    pools: list[Pool], backoffs: list[Backoff], expected: list[tuple[Pool, int, bool]]
) -> None:
    desired = desired_of(3, pools)
    made = plan(desired, ledger_of(intent(desired, 2, answer_lost=True, sent_at=ago(20)), *backoffs))
    asked = [(launch.intent.pool, launch.intent.count, launch.replay) for launch in launches(made.actions)]
    assert asked == expected


def test_a_launch_that_may_still_be_with_its_sender_is_left_to_it() -> None:
    """Another replica that repeated it at once would make the sender's own answer doubtful."""
    made = plan(DESIRED, ledger_of(intent(DESIRED, 2, created_at=ago(10))))
    assert made.actions == ()


def test_a_release_is_not_held_up_by_an_open_launch() -> None:
    ledger = ledger_of(intent(DESIRED, 1), member("ins-1", termination=released()))
    made = plan(DESIRED, ledger, observed_of(instance("ins-1")))
    assert terminated_ids(made.actions) == ["ins-1"]


@pytest.mark.parametrize(
    ("desired", "changes"),
    [
        pytest.param(DESIRED, {"created_at": ago(120)}, id="too-old-for-its-token"),
        pytest.param(DESIRED, {"created_at": NOW + seconds(1)}, id="from-the-future"),
        pytest.param(DESIRED, {"found": frozenset({"ins-1"})}, id="partly-found-already"),
        pytest.param(DESIRED, {"token": "f" * 40}, id="a-token-that-is-not-its-own"),
        pytest.param(DESIRED, {"digest": "0" * 12}, id="another-request-than-the-spec-makes"),
        pytest.param(DESIRED, {"count": 3}, id="a-count-somebody-edited"),
        pytest.param(DESIRED, {"count": 0}, id="no-count"),
        pytest.param(desired_of(3, pools=[B]), {}, id="its-pool-is-no-longer-wanted"),
        pytest.param(desired_of(3, template=Template("img-22222222")), {}, id="the-template-has-changed"),
        pytest.param(desired_of(1), {}, id="it-would-be-too-many-now"),
        pytest.param(desired_of(0, deleting=True), {}, id="deleting"),
    ],
)
def test_a_launch_that_may_not_be_repeated_is_only_searched_for(desired: Desired, changes: dict[str, object]) -> None:
    made = plan(desired, ledger_of(replace(intent(DESIRED, 2), **changes)))
    assert [launch for launch in launches(made.actions) if launch.replay] == []


def test_a_launch_that_is_only_searched_for_keeps_its_places_and_holds_up_nothing_else() -> None:
    ledger = ledger_of(intent(DESIRED, 2, created_at=ago(200)))
    (launch,) = launches(plan(DESIRED, ledger).actions)
    assert (launch.replay, launch.request.count) == (False, 1)


def test_while_everything_rests_an_open_launch_waits_too() -> None:
    ledger = ledger_of(intent(DESIRED, 2), backoff_of(None, Trouble.CLOUD_UNREACHABLE))
    assert plan(DESIRED, ledger).actions == ()


def test_planning_again_after_a_crash_repeats_the_same_tokens_and_asks_for_nothing_more() -> None:
    first = plan(desired_of(250), ledger_of())
    again = plan(desired_of(250), first.ledger, at=20)
    assert [launch.intent.token for launch in launches(again.actions)] == [
        launch.intent.token for launch in launches(first.actions)
    ]
    assert [launch.request for launch in launches(again.actions)] == [
        launch.request for launch in launches(first.actions)
    ]


def test_instances_of_an_open_launch_that_were_found_are_not_asked_for_again() -> None:
    open_launch = intent(DESIRED, 2, found=frozenset({"ins-1"}))
    seen = launched_by(open_launch, ["ins-1"])
    made = plan(DESIRED, ledger_of(open_launch, member("ins-1")), observed_of(*seen))
    assert [launch.request.count for launch in launches(made.actions)] == [1]


# --- one attempt only ------------------------------------------------------------------------------------------------

ONCE = desired_of(3, one_time=True)


def test_one_attempt_is_noted_before_it_is_made() -> None:
    made = plan(ONCE, ledger_of())
    assert [launch.request.count for launch in launches(made.actions)] == [3]
    assert made.ledger.attempted_generation == 1


@pytest.mark.parametrize(
    ("desired", "ledger", "learned", "asks"),
    [
        pytest.param(ONCE, ledger_of(attempted_generation=1), Learned(), False, id="it-had-its-attempt"),
        pytest.param(
            ONCE, ledger_of(attempted_generation=1), Learned(one_time_started=True), True, id="in-the-midst-of-it"
        ),
        pytest.param(ONCE, ledger_of(attempted_generation=0), Learned(), True, id="the-spec-has-changed-since"),
        pytest.param(DESIRED, ledger_of(attempted_generation=1), Learned(), True, id="persistent-now"),
    ],
)
def test_a_one_time_request_asks_once(desired: Desired, ledger: Ledger, learned: Learned, asks: bool) -> None:
    assert bool(plan(desired, ledger, learned=learned).actions) is asks
    assert may_launch(desired, ledger, learned) is asks


def test_a_one_time_request_is_not_probed_with_one_when_quoted_sold_out() -> None:
    observed = observed_of(market=market_of({A: "1"}, sold_out=[A]))
    (launch,) = launches(plan(ONCE, ledger_of(), observed).actions)
    assert launch.request.count == 3


def test_what_a_one_time_request_has_lost_is_not_replaced() -> None:
    ledger = ledger_of(member("ins-1", lost=Cause.RECLAIMED), attempted_generation=1)
    assert plan(ONCE, ledger).actions == ()


# --- paused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ledger", "seen"),
    [
        pytest.param(ledger_of(), [], id="something-missing"),
        pytest.param(ledger_of(*[member(f"ins-{n}") for n in range(9)]), [instance("ins-1")], id="too-many"),
        pytest.param(ledger_of(member("ins-1", termination=released())), [instance("ins-1")], id="a-release-recorded"),
        pytest.param(ledger_of(intent(DESIRED, 2)), [], id="a-launch-open"),
    ],
)
def test_paused_means_that_nothing_is_done(ledger: Ledger, seen: list[Instance]) -> None:
    made = plan(desired_of(3, paused=True), ledger, observed_of(*seen))
    assert made.actions == ()
    assert made.ledger == ledger
