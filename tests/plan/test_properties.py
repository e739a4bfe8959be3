"""What holds of every decision, in any situation hypothesis can think of."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from hypothesis import example, given, settings
from hypothesis import strategies as st

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    C,
    applied,
    desired_of,
    intent,
    launches,
    ledger_of,
    member,
    observed_of,
    planned,
    seconds,
    synced,
    terminated_ids,
)
from plan.judge import complaints, places_taken, takes_a_place
from plan.worlds import SEQUENCES, Dice, answers, instance_of, random_desired, random_situation, seeds, situations
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.desired import Desired
from spotcompute.model.identity import is_of_launch
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Cause, Ledger, Member
from spotcompute.plan.actions import Launched, Learned, Outcome
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation

Case = tuple[Situation, Learned]
K, V = TypeVar("K"), TypeVar("V")

many = settings(max_examples=200, deadline=None)


@many
@given(situations)
def test_every_plan_is_a_good_plan(case: Case) -> None:
    situation, learned = case
    assert complaints(situation, make_plan(situation, learned)) == []


@many
@given(situations)
def test_sync_then_plan_is_a_good_plan_too(case: Case) -> None:
    before, learned = case
    situation = before.with_ledger(sync_ledger(before).ledger)
    assert complaints(situation, make_plan(situation, learned)) == []


def shuffled(mapping: Mapping[K, V], order: random.Random) -> dict[K, V]:
    items = list(mapping.items())
    order.shuffle(items)
    return dict(items)


def in_another_order(situation: Situation, order: random.Random) -> Situation:
    ledger, observed = situation.ledger, situation.observed
    return replace(
        situation,
        ledger=replace(ledger, members=shuffled(ledger.members, order), backoffs=shuffled(ledger.backoffs, order)),
        observed=replace(
            observed,
            instances=shuffled(observed.instances, order),
            absent=shuffled(observed.absent, order),
            market=replace(observed.market, offerings=shuffled(observed.market.offerings, order)),
        ),
    )


@many
@given(situations, st.randoms(use_true_random=False))
def test_the_order_in_which_things_were_observed_does_not_matter(case: Case, order: random.Random) -> None:
    situation, learned = case
    other = in_another_order(situation, order)
    kept, other_kept = sync_ledger(situation), sync_ledger(other)
    assert kept == other_kept
    plan = make_plan(situation.with_ledger(kept.ledger), learned)
    assert plan == make_plan(other.with_ledger(other_kept.ledger), learned)


@many
@given(situations)
@example(random_situation(37))
@example(random_situation(2623))
def test_a_second_sync_tells_nothing_new(case: Case) -> None:
    situation, _ = case
    once = sync_ledger(situation)
    again = sync_ledger(situation.with_ledger(once.ledger))
    disowned = {key for item in once.activities if item.cause == Cause.NOT_OURS for key in item.instance_ids}
    assert again.ledger == once.ledger
    assert not [item for item in again.activities if not disowned & set(item.instance_ids)]


def is_old(member: Member, sight: Instance) -> bool:
    """As old as what was launched then, give or take what a launch may take."""
    return abs(sight.created_at - member.launched_at) <= POLICY.replay_window + POLICY.signature_lifetime


@many
@given(situations)
def test_a_sync_frees_a_place_only_by_evidence(case: Case) -> None:
    """Whoever took a place and no longer does was seen to have ended, is not ours, or is absent beyond doubt."""
    situation, _ = case
    desired, before, observed = situation.desired, situation.ledger, situation.observed
    after = sync_ledger(situation).ledger
    for key, old in before.members.items():
        new = after.members.get(key)
        if not takes_a_place(old) or (new is not None and takes_a_place(new)):
            continue
        sight, absence = observed.instances.get(key), observed.absent.get(key)
        is_untagged = old.verified and sight is not None and sight.ownership is None and sight.pool == old.pool
        is_strange = (
            sight is not None and sight.ownership != desired.ownership and (not is_untagged or not is_old(old, sight))
        )
        has_ended = sight is not None and sight.has_ended
        is_absent = absence is not None and absence.sweeps >= POLICY.absence_sweeps and absence.looked_up
        assert is_strange or has_ended or is_absent, (old, new)


@many
@given(situations)
def test_a_sync_gives_up_a_launch_only_when_it_can_bring_nothing_more(case: Case) -> None:
    situation, _ = case
    desired, before, observed = situation.desired, situation.ledger, situation.observed
    after = sync_ledger(situation).ledger
    for old in before.intents:
        if any(item.sequence == old.sequence for item in after.intents):
            continue
        is_hopeless = (
            observed.observed_at >= old.created_at + POLICY.launch_uncertain_for and old.name in observed.searched
        )
        of_it = {
            key
            for key, item in observed.instances.items()
            if item.name.startswith(old.name) or (item.ownership == desired.ownership and key not in before.members)
        }
        assert is_hopeless or len(old.found | of_it) >= old.count


@many
@given(situations)
def test_planning_again_before_anything_was_sent_asks_for_nothing_more(case: Case) -> None:
    """A crash between the commit and the calls: the next run repeats the same tokens."""
    situation, learned = case
    first = make_plan(situation, learned)
    again = make_plan(situation.with_ledger(first.ledger), learned)
    if first_launches := launches(first.actions):
        tokens = {item.intent.token for item in first_launches}
        assert {item.intent.token for item in launches(again.actions)} <= tokens
        assert places_taken(again.ledger) == places_taken(first.ledger)
    assert terminated_ids(again.actions) == []


@given(st.integers(0, 8), st.integers(0, 10_000), st.lists(st.sampled_from(["paused", "one_time"]), unique=True))
def test_a_satisfied_environment_is_left_alone_for_ever(count: int, later: int, flags: list[str]) -> None:
    desired = desired_of(count, **dict.fromkeys(flags, True))
    machines = [f"ins-{number}" for number in range(count)]
    ledger = ledger_of(*map(member, machines))
    observed = observed_of(*[Instance(key, "x", InstanceState.RUNNING, A, NOW, desired.ownership) for key in machines])
    kept = synced(ledger, desired, observed, now=NOW + seconds(later))
    assert (kept.ledger, kept.activities) == (ledger, ())
    plan = planned(desired, ledger, observed, now=NOW + seconds(later))
    assert (plan.ledger, plan.actions) == (ledger, ())


@many
@given(answers)
def test_no_accepted_id_is_ever_lost_whatever_else_is_entered(case: tuple[Desired, Ledger, list[Outcome]]) -> None:
    desired, ledger, outcomes = case
    after = applied(ledger, outcomes, desired).ledger
    promised = {
        key
        for outcome in outcomes
        if isinstance(outcome, Launched) and isinstance(outcome.result, LaunchReceipt)
        for key in outcome.result.instance_ids
    }
    assert after.members.keys() == ledger.members.keys() | promised


@many
@given(answers)
def test_only_an_answer_settles_a_launch(case: tuple[Desired, Ledger, list[Outcome]]) -> None:
    desired, ledger, outcomes = case
    after = applied(ledger, outcomes, desired).ledger
    settling = {
        outcome.launch.intent.sequence
        for outcome in outcomes
        if isinstance(outcome, Launched) and isinstance(outcome.result, LaunchReceipt)
    }
    for old in ledger.intents:
        if old.answer_lost and old.sequence not in settling:
            assert old.sequence in {item.sequence for item in after.intents}


@many
@given(answers)
def test_entering_an_answer_twice_is_entering_it_once(case: tuple[Desired, Ledger, list[Outcome]]) -> None:
    """After a conflict, what came back is entered into the newer ledger, which may know some of it already."""
    desired, ledger, outcomes = case
    once = applied(ledger, outcomes, desired).ledger
    twice = applied(once, outcomes, desired).ledger
    assert twice.members.keys() == once.members.keys()
    assert places_taken(twice) >= places_taken(once)


@given(st.integers(1, 100), st.integers(0, 10**11), st.text("abcxyz019-.", min_size=1, max_size=63))
def test_the_name_of_a_launch_leads_back_to_it_and_to_no_other(count: int, sequence: int, prefix: str) -> None:
    desired = desired_of(name_prefix=prefix, pools=[A, B, C])
    one, next_one = intent(desired, count, sequence), intent(desired, count, sequence + 1)
    assert len(one.name.encode()) <= 56
    assert one.name != next_one.name
    assert one.token != next_one.token
    assert len(one.token) <= 64
    assert one.token.isascii()


@many
@given(seeds)
def test_an_instance_belongs_to_one_launch_at_most(seed: int) -> None:
    dice = Dice(seed)
    seen = instance_of(dice, random_desired(dice))
    open_launches = [intent(desired_of(), dice.randint(1, 2), number) for number in SEQUENCES]
    assert sum(is_of_launch(seen, item) for item in open_launches) <= 1
