"""Whose account a key shows: told by its number, by what it shows, and never by the key's own name being another."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from plan.given import (
    NOW,
    POLICY,
    accepted,
    ago,
    desired_of,
    instance,
    intent,
    launched_by,
    ledger_of,
    member,
    observed_of,
    seconds,
    synced,
)
from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Cause, Ledger
from spotcompute.model.observation import Absence, Observation
from spotcompute.plan.account_match import (
    AccountMatch,
    account_to_note,
    awaits_number,
    judge_account,
    leave_behind,
    left_behind_at,
    match_account,
    with_reach,
)

DESIRED = desired_of()

SAME, OTHER, UNKNOWN = AccountMatch.SAME, AccountMatch.OTHER, AccountMatch.UNKNOWN

#: What an earlier version has noted, and what is noted while nobody knows the number: ``<name of the key>/<region>``.
OLD_KEY, KEY = "1234567890/ap-guangzhou", "4d4fa27c0e/ap-guangzhou"
NUMBER, ANOTHER = "100000000001", "100000000002"


def seen_by(account: str, *ids: str, key: str = KEY) -> Observation:
    """An observation made with a key of that account, in which these instances of ours show."""
    return replace(observed_of(*map(instance, ids)), account=account, key=key)


def noted(account: str | None, *ids: str) -> Ledger:
    """Remembered members, and the account noted with them."""
    return replace(ledger_of(*map(member, ids or ("ins-1", "ins-2"))), account=account)


@pytest.mark.parametrize(
    ("account", "observed", "match"),
    [
        pytest.param(NUMBER, seen_by(NUMBER), SAME, id="the-number-is-the-same"),
        pytest.param(NUMBER, seen_by(ANOTHER), OTHER, id="the-number-is-another"),
        pytest.param(NUMBER, seen_by(""), UNKNOWN, id="the-number-is-not-told-now"),
        pytest.param(NUMBER, seen_by("", "ins-1"), SAME, id="not-told-but-the-key-shows-one"),
        pytest.param(NUMBER, seen_by(ANOTHER, "ins-1"), SAME, id="a-forged-number-and-the-key-shows-one"),
        pytest.param(NUMBER, seen_by(ANOTHER, "ins-9"), OTHER, id="another-number-and-a-stranger-with-our-tags"),
        pytest.param(KEY, seen_by(""), SAME, id="the-same-key-whose-account-nobody-knows"),
        pytest.param(KEY, seen_by(NUMBER), SAME, id="the-same-key-and-now-the-number-is-told"),
        pytest.param(OLD_KEY, seen_by(""), UNKNOWN, id="another-key-and-nobody-knows-whose"),
        pytest.param(OLD_KEY, seen_by(NUMBER), UNKNOWN, id="a-ledger-of-an-earlier-version-and-another-key"),
        pytest.param(OLD_KEY, seen_by(NUMBER, "ins-2"), SAME, id="the-same-and-it-shows-one"),
        pytest.param(OLD_KEY, seen_by("", "ins-9"), SAME, id="it-shows-one-that-was-forgotten"),
        pytest.param(None, seen_by(NUMBER), SAME, id="never-noted"),
    ],
)
def test_whose_absence_says_nothing(account: str | None, observed: Observation, match: AccountMatch) -> None:
    assert match_account(noted(account), observed) is match


@pytest.mark.parametrize("account", [NUMBER, OLD_KEY])
def test_any_account_will_do_where_nothing_is_left(account: str) -> None:
    for ended in (member("ins-1", lost=Cause.RECLAIMED), member("ins-1", termination=accepted())):
        assert match_account(replace(ledger_of(ended), account=account), seen_by(ANOTHER)) is SAME
    assert match_account(replace(ledger_of(), account=account), seen_by(ANOTHER)) is SAME


def test_a_launch_on_its_way_is_looked_for_in_its_own_account() -> None:
    launch = intent(DESIRED, 1)
    open_one = replace(ledger_of(launch), account=NUMBER)
    assert match_account(open_one, seen_by(ANOTHER)) is OTHER
    assert match_account(open_one, seen_by("")) is UNKNOWN
    (found,) = launched_by(launch, ["ins-1"])
    assert match_account(open_one, replace(seen_by(""), instances={found.id: found})) is SAME


@pytest.mark.parametrize("account", [ANOTHER, OLD_KEY])
def test_a_key_whose_lists_have_shown_an_instance_is_of_its_account(account: str) -> None:
    absent = {"ins-1": Absence(sweeps=1, looked_up=True, was_listed=True)}
    observed = replace(observed_of(absent=absent), account=NUMBER, key=KEY)
    assert match_account(noted(account), observed) is SAME
    assert match_account(noted(account, "ins-2"), observed) is not SAME, "that of somebody else is no evidence"


@pytest.mark.parametrize(
    ("ledger", "observed", "note"),
    [
        pytest.param(noted(OLD_KEY), seen_by(NUMBER), NUMBER, id="a-number-once-it-is-told"),
        pytest.param(ledger_of(), seen_by(NUMBER), NUMBER, id="before-anything-is-bought-too"),
        pytest.param(noted(NUMBER), seen_by(""), NUMBER, id="the-number-stays-while-it-is-not-told"),
        pytest.param(replace(ledger_of(), account=NUMBER), seen_by(""), KEY, id="but-not-when-it-speaks-of-nothing"),
        pytest.param(noted(OLD_KEY), seen_by("", "ins-1"), KEY, id="the-key-that-shows-them"),
        pytest.param(noted(None), observed_of(), None, id="nothing-is-known"),
    ],
)
def test_what_is_noted(ledger: Ledger, observed: Observation, note: str | None) -> None:
    assert account_to_note(ledger, observed) == note
    assert synced(ledger, DESIRED, observed).ledger.account == note


def test_since_when_it_is_out_of_reach_is_kept_until_it_is_seen_again() -> None:
    first = with_reach(noted(NUMBER), OTHER, ago(60))
    assert first.out_of_reach_since == ago(60)
    assert with_reach(first, UNKNOWN, NOW) is first
    assert with_reach(first, SAME, NOW).out_of_reach_since is None
    assert with_reach(replace(first, out_of_reach_since=NOW + seconds(9)), OTHER, NOW).out_of_reach_since == NOW


@pytest.mark.parametrize(
    ("match", "hours"), [pytest.param(OTHER, 24, id="another-account"), pytest.param(UNKNOWN, 0.5, id="unknown")]
)
def test_an_object_that_is_to_go_waits_for_a_key_but_not_for_ever(match: AccountMatch, hours: float) -> None:
    wait = seconds(hours * 3600)
    long_ago = with_reach(noted(NUMBER), match, ago(10**6))
    assert left_behind_at(long_ago, match, NOW, POLICY) == NOW + wait, "a person may still act on the deletion"
    lately = with_reach(noted(NUMBER), match, NOW)
    assert left_behind_at(lately, match, ago(10**6), POLICY) == NOW + wait, "and on a key that was changed since"


def test_what_is_left_behind_is_named() -> None:
    launch = intent(DESIRED, 7)
    ledger = replace(ledger_of(launch, member("ins-1"), member("ins-2", lost=Cause.RECLAIMED)), account=NUMBER)
    left, activity = leave_behind(with_reach(ledger, OTHER, ago(60)), NOW)
    assert left.is_empty
    assert left.out_of_reach_since is None
    assert (activity.cause, activity.instance_ids, activity.started_at) == ("OutOfReach", ("ins-1",), ago(60))
    assert NUMBER in str(activity.message)
    assert launch.name in str(activity.message)


@pytest.mark.parametrize(
    ("observed", "deleted_at", "waits", "until"),
    [
        pytest.param(seen_by(NUMBER), None, False, None, id="its-account-is-shown"),
        pytest.param(seen_by(NUMBER), ago(10**6), False, None, id="its-account-is-shown-while-it-goes"),
        pytest.param(seen_by(ANOTHER), None, True, None, id="kept-it-waits-for-ever"),
        pytest.param(seen_by(""), None, True, NOW + seconds(86_400), id="kept-it-waits-a-day-for-an-answer"),
        pytest.param(seen_by(ANOTHER), ago(60), True, NOW + seconds(86_400), id="deleted-it-waits-a-day"),
        pytest.param(seen_by(""), ago(60), True, NOW + seconds(1800), id="deleted-it-waits-half-an-hour-for-an-answer"),
    ],
)
def test_who_waits_for_another_key(
    observed: Observation, deleted_at: datetime | None, waits: bool, until: datetime | None
) -> None:
    ledger = noted(NUMBER)
    verdict = judge_account(ledger, observed, deleted_at, NOW, POLICY)
    assert (verdict.waits, verdict.waits_until, verdict.left_behind) == (waits, until, ())
    assert verdict.ledger.members == ledger.members
    assert (verdict.ledger.out_of_reach_since == NOW) is waits


def test_who_is_kept_begins_anew_after_a_day_without_an_answer_and_says_what_it_leaves() -> None:
    ledger = with_reach(noted(OLD_KEY), UNKNOWN, ago(86_400))
    verdict = judge_account(ledger, seen_by(NUMBER), None, NOW, POLICY)
    assert (verdict.waits, verdict.ledger.is_empty) == (False, True)
    assert [line.instance_ids for line in verdict.left_behind] == [("ins-1", "ins-2")]
    assert account_to_note(verdict.ledger, seen_by(NUMBER)) == NUMBER
    assert judge_account(with_reach(noted(NUMBER), OTHER, ago(10**6)), seen_by(ANOTHER), None, NOW, POLICY).waits


@pytest.mark.parametrize(
    ("desired", "ledger", "observed", "awaits"),
    [
        pytest.param(desired_of(1), ledger_of(), seen_by(""), True, id="nothing-is-owned-yet"),
        pytest.param(desired_of(1), ledger_of(), seen_by(NUMBER), False, id="it-is-told"),
        pytest.param(desired_of(1), replace(ledger_of(), account=NUMBER), seen_by(""), False, id="it-was-told"),
        pytest.param(desired_of(1), noted(KEY), seen_by(""), False, id="what-is-lost-is-replaced-at-once"),
        pytest.param(desired_of(1), ledger_of(), seen_by("", "ins-1"), False, id="what-shows-is-adopted-at-once"),
        pytest.param(desired_of(0), ledger_of(), seen_by(""), False, id="nothing-is-wanted"),
        pytest.param(desired_of(1, paused=True), ledger_of(), seen_by(""), False, id="paused"),
        pytest.param(desired_of(1, deleting=True), ledger_of(), seen_by(""), False, id="deleted"),
    ],
)
def test_who_waits_for_the_number_of_its_account(
    desired: Desired, ledger: Ledger, observed: Observation, awaits: bool
) -> None:
    assert awaits_number(desired, ledger, observed) is awaits


def test_who_has_waited_long_enough_goes_and_says_what_it_leaves() -> None:
    ledger = with_reach(noted(NUMBER), OTHER, ago(86_400))
    verdict = judge_account(ledger, seen_by(ANOTHER), ago(86_400), NOW, POLICY)
    assert not verdict.waits
    assert verdict.ledger.is_empty
    assert [line.instance_ids for line in verdict.left_behind] == [("ins-1", "ins-2")]
    just_before = judge_account(with_reach(noted(NUMBER), OTHER, NOW), seen_by(ANOTHER), ago(86_399), NOW, POLICY)
    assert just_before.waits
    assert just_before.ledger.members.keys() == {"ins-1", "ins-2"}
