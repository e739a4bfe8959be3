"""What the observation says about the ledger: seen, lost, gone, ours or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from plan.given import (
    NOW,
    OURS,
    POLICY,
    PRESENT,
    THEIRS,
    A,
    B,
    accepted,
    ago,
    backoff_of,
    desired_of,
    instance,
    intent,
    launched_by,
    ledger_of,
    member,
    observed_of,
    released,
    seconds,
    synced,
)
from spotcompute.model.activity import ActivityState, ActivityType
from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.ledger import Cause, Ledger, Member, StateRefusal, StateRefusalKind, Termination, Trouble
from spotcompute.model.observation import Absence, Observation
from spotcompute.plan.capacity import shortfall, surplus
from spotcompute.plan.ledger_sync import Synced

DESIRED = desired_of(3)
GONE = {"ins-1": Absence(sweeps=3, looked_up=True)}
LISTED = {"ins-1": Absence(sweeps=3, looked_up=True, was_listed=True)}
PROVEN = Absence(sweeps=1, looked_up=True, was_listed=True, looks=3)


def sync(before: Ledger, observed: Observation, desired: Desired = DESIRED, now: datetime = NOW) -> Synced:
    """Sync, after making sure that a second one changes nothing and tells nothing."""
    kept = synced(before, desired, observed, now=now)
    assert synced(kept.ledger, desired, observed, now=now) == Synced(kept.ledger)
    return kept


def activities_of(kept: Synced) -> list[tuple[ActivityType, str, tuple[str, ...]]]:
    return [(activity.type, activity.cause, activity.instance_ids) for activity in kept.activities]


def test_what_is_as_remembered_changes_nothing() -> None:
    before = ledger_of(member("ins-1"), member("ins-2", arrived=False), backoff_of(A))
    observed = observed_of(instance("ins-1"), instance("ins-2", InstanceState.PENDING))
    assert sync(before, observed) == Synced(before)


# --- launches in flight ----------------------------------------------------------------------------------------------


def test_a_launch_whose_instances_have_all_been_seen_is_settled() -> None:
    launch = intent(DESIRED, 2)
    observed = observed_of(*launched_by(launch, ["ins-1", "ins-2"], created_at=ago(5)))
    kept = sync(ledger_of(launch), observed)
    assert kept.ledger.intents == ()
    assert kept.ledger.members == {
        key: Member(key, A, ago(5), PRESENT, launch.sequence, seen=True, arrived=True, verified=True)
        for key in ("ins-1", "ins-2")
    }
    (line,) = kept.activities
    assert (line.type, line.state, line.instance_ids) == (
        ActivityType.LAUNCH,
        ActivityState.PROCESSING,
        ("ins-1", "ins-2"),
    )


def test_a_launch_seen_in_part_stays_open_for_the_rest() -> None:
    launch = intent(DESIRED, 3)
    kept = sync(ledger_of(launch), observed_of(*launched_by(launch, ["ins-1", "ins-2"])))
    assert [item.found for item in kept.ledger.intents] == [frozenset({"ins-1", "ins-2"})]
    assert kept.ledger.intents[0].missing == 1
    assert set(kept.ledger.members) == {"ins-1", "ins-2"}


def test_instances_without_tags_are_recognised_by_their_name() -> None:
    launch = intent(DESIRED, 1)
    kept = sync(ledger_of(launch), observed_of(*launched_by(launch, ["ins-1"], ownership=None)))
    assert kept.ledger.intents == ()
    assert set(kept.ledger.members) == {"ins-1"}


def test_an_instance_that_failed_at_once_settles_its_launch_too() -> None:
    launch = intent(DESIRED, 1)
    failed = launched_by(launch, ["ins-1"], state=InstanceState.LAUNCH_FAILED, created_at=ago(5))
    kept = sync(ledger_of(launch), observed_of(*failed))
    assert kept.ledger.intents == ()
    assert kept.ledger.members["ins-1"].lost is Cause.LAUNCH_FAILED


@pytest.mark.parametrize(
    ("age", "searched", "is_settled"),
    [
        pytest.param(600, True, True, id="horizon-over-and-searched"),
        pytest.param(599, True, False, id="it-may-still-appear"),
        pytest.param(99999, False, False, id="nobody-has_looked"),
    ],
)
def test_a_launch_nobody_has_seen_is_given_up_only_by_evidence(age: float, searched: bool, is_settled: bool) -> None:
    launch = intent(DESIRED, 2, created_at=ago(age))
    kept = sync(ledger_of(launch), observed_of(searched=[launch.name] if searched else []))
    assert (kept.ledger.intents == ()) is is_settled
    if is_settled:
        (line,) = kept.activities
        assert (line.state, line.reason) == (ActivityState.FAILED, "NothingLaunched")


def test_the_search_must_have_been_made_after_the_horizon() -> None:
    launch = intent(DESIRED, 1, created_at=ago(700))
    kept = sync(ledger_of(launch), observed_of(searched=[launch.name], at=ago(101)))
    assert kept.ledger.intents == (launch,)


def test_names_of_neighbouring_sequences_are_not_confused() -> None:
    one, ten = intent(DESIRED, 1, sequence=1), intent(DESIRED, 1, sequence=10)
    several = intent(DESIRED, 2, sequence=100)
    observed = observed_of(*launched_by(ten, ["ins-10"]), *launched_by(several, ["ins-100", "ins-101"]))
    kept = sync(ledger_of(one, ten, several), observed)
    assert kept.ledger.intents == (one,)
    assert {key: item.sequence for key, item in kept.ledger.members.items()} == {
        "ins-10": 10,
        "ins-100": 100,
        "ins-101": 100,
    }


@pytest.mark.parametrize(
    ("changes", "is_recognised"),
    [
        pytest.param({}, True, id="our-tags-in-the-right-pool-and-time"),
        pytest.param({"ownership": None}, False, id="without-our-tags"),
        pytest.param({"ownership": THEIRS}, False, id="tags-of-another"),
        pytest.param({"pool": B}, False, id="in-another-pool"),
        pytest.param({"state": InstanceState.LAUNCH_FAILED}, False, id="ended-already"),
        pytest.param({"created_at": ago(3600)}, False, id="older-than-the-launch"),
        pytest.param({"name": "web-web001-5"}, False, id="named-after-another-launch"),
    ],
)
def test_an_instance_renamed_before_it_was_seen_is_recognised(changes: dict[str, object], is_recognised: bool) -> None:
    launch = intent(DESIRED, 1)
    renamed = replace(instance("ins-1", name="database", created_at=ago(5)), **changes)
    kept = sync(ledger_of(launch), observed_of(renamed))
    assert (kept.ledger.intents == ()) is is_recognised


# --- adoption --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "is_adopted"),
    [
        pytest.param(instance("ins-1"), True, id="our-tags-and-our-name"),
        pytest.param(instance("ins-1", InstanceState.PENDING), True, id="pending"),
        pytest.param(instance("ins-1", InstanceState.STOPPED), True, id="stopped"),
        pytest.param(instance("ins-1", ownership=THEIRS), False, id="tags-of-another-environment"),
        pytest.param(instance("ins-1", ownership=None), False, id="no-tags"),
        pytest.param(instance("ins-1", name="database"), False, id="our-tags-on-a-strangers-machine"),
        pytest.param(instance("ins-1", name="web-job002-7"), False, id="the-name-of-another-environment"),
        pytest.param(instance("ins-1", InstanceState.TERMINATING), False, id="on-its-way-out"),
        pytest.param(instance("ins-1", InstanceState.SHUTDOWN), False, id="in-the-recycle-bin"),
    ],
)
def test_who_is_adopted(seen: Instance, is_adopted: bool) -> None:
    kept = sync(ledger_of(), observed_of(seen))
    assert set(kept.ledger.members) == ({"ins-1"} if is_adopted else set())
    assert activities_of(kept) == ([(ActivityType.ADOPT, Cause.ADOPTED, ("ins-1",))] if is_adopted else [])


@pytest.mark.parametrize(
    ("sequence", "is_doubted"),
    [
        pytest.param(int(NOW.timestamp()) - 60, True, id="later-than-all-we-remember"),
        pytest.param(700, False, id="the-latest-we-remember"),
        pytest.param(699, False, id="an-earlier-one"),
        pytest.param(int(NOW.timestamp()) + 86_400, False, id="a-name-nobody-gave"),
    ],
)
def test_an_instance_of_a_later_launch_tells_that_status_is_an_old_one(sequence: int, is_doubted: bool) -> None:
    seen = instance("ins-1", name=f"web-web001-{sequence}")
    kept = sync(ledger_of(), observed_of(seen)).ledger
    assert set(kept.members) == {"ins-1"}
    assert (kept.quarantine_until is not None) is is_doubted
    assert kept.sequence == (sequence if is_doubted else 700)
    again = sync(replace(kept, members={}), observed_of(seen)).ledger
    assert again.quarantine_until == kept.quarantine_until


# --- members ---------------------------------------------------------------------------------------------------------


def test_a_launch_in_the_future_is_counted_from_now_on() -> None:
    """The answer came while the clock was an hour ahead; nothing may wait for that hour to come."""
    late = member("ins-1", launched_at=ago(-3600), seen=False)
    kept = sync(ledger_of(late), observed_of(absent={"ins-1": Absence(9, looked_up=True)}))
    assert kept.ledger.members["ins-1"].launched_at == NOW
    then = NOW + POLICY.listing_lag_max + seconds(1)
    observed = replace(observed_of(absent={"ins-1": Absence(9, looked_up=True)}), observed_at=then)
    assert not sync(kept.ledger, observed, now=then).ledger.members


STOPPING: dict[str, object] = {"transient": "STOPPING", "transient_since": NOW}


@pytest.mark.parametrize(
    ("before", "state", "after"),
    [
        pytest.param({"seen": False, "arrived": False}, "PENDING", {"arrived": False}, id="first-sight"),
        pytest.param({"arrived": False}, "RUNNING", {"arrived": True}, id="arrives"),
        pytest.param({}, "STOPPED", {"arrived": True}, id="having-arrived-is-not-forgotten"),
        pytest.param({}, "STOPPING", STOPPING, id="since-when-it-is-between-two-states-is-noted"),
        pytest.param(STOPPING | {"transient_since": ago(60)}, "STOPPING", {}, id="and-not-noted-again"),
        pytest.param({"transient": "STARTING", "transient_since": ago(9)}, "STOPPING", STOPPING, id="anew-in-another"),
        pytest.param(STOPPING | {"transient_since": NOW + seconds(60)}, "STOPPING", STOPPING, id="never-in-the-future"),
        pytest.param(STOPPING, "RUNNING", {"transient": None, "transient_since": None}, id="and-forgotten-when-over"),
        pytest.param({}, "OTHER", STOPPING | {"transient": "OTHER"}, id="a-state-nobody-knows-is-no-loss"),
        pytest.param({"pool": B}, "RUNNING", {"pool": A}, id="the-cloud-knows-better-where-it-is"),
    ],
)
def test_what_a_sighting_changes(before: dict[str, object], state: str, after: dict[str, object]) -> None:
    kept = sync(ledger_of(member("ins-1", **before)), observed_of(instance("ins-1", InstanceState(state))))
    assert kept.ledger.members["ins-1"] == member("ins-1", **(before | {"seen": True} | after))
    assert kept.activities == ()


@pytest.mark.parametrize(
    ("seen", "cause"),
    [
        pytest.param({"state": InstanceState.TERMINATING}, Cause.RECLAIMED, id="nobody-called"),
        pytest.param({"state": InstanceState.SHUTDOWN}, Cause.RECLAIMED, id="into-the-recycle-bin"),
        pytest.param(
            {"state": InstanceState.TERMINATING, "last_operation": "TerminateInstances"},
            Cause.RELEASED_OUTSIDE,
            id="somebody-called",
        ),
        pytest.param({"state": InstanceState.LAUNCH_FAILED}, Cause.LAUNCH_FAILED, id="never-started"),
        pytest.param(
            {"state": InstanceState.TERMINATING, "last_operation": "RebootInstances"}, Cause.RECLAIMED, id="other-call"
        ),
    ],
)
def test_an_instance_that_ends_without_us_is_lost_at_once(seen: dict[str, object], cause: Cause) -> None:
    kept = sync(ledger_of(member("ins-1")), observed_of(replace(instance("ins-1"), **seen)))
    assert kept.ledger.members["ins-1"].lost is cause
    assert activities_of(kept) == [(ActivityType.LOSS, cause, ("ins-1",))]


@pytest.mark.parametrize(
    ("who", "seen", "reclaimed"),
    [
        pytest.param({}, {"state": InstanceState.TERMINATING}, 1, id="taken-back"),
        pytest.param({}, None, 1, id="vanished"),
        pytest.param({}, {"state": InstanceState.SHUTDOWN, "last_operation": "TerminateInstances"}, 0, id="released"),
        pytest.param({}, {"state": InstanceState.LAUNCH_FAILED}, 0, id="never-started"),
        pytest.param({"on_demand": True}, None, 0, id="on-demand"),
        pytest.param({"termination": accepted()}, None, 0, id="let-go-by-us"),
        pytest.param({"lost": Cause.RECLAIMED}, None, 0, id="counted-before"),
        pytest.param({}, {"state": InstanceState.RUNNING}, 0, id="still-there"),
    ],
)
def test_what_counts_as_taken_back(who: dict[str, Any], seen: dict[str, Any] | None, reclaimed: int) -> None:
    sights = [instance("ins-1", **seen)] if seen else []
    kept = sync(ledger_of(member("ins-1", **who), reclaimed=3), observed_of(*sights, absent=None if seen else GONE))
    assert kept.ledger.reclaimed == 3 + reclaimed


def test_a_loss_says_why_in_the_words_of_the_cloud() -> None:
    seen = instance("ins-1", InstanceState.LAUNCH_FAILED, failure="disk quota")
    (line,) = sync(ledger_of(member("ins-1")), observed_of(seen)).activities
    assert line.message == "accepted by the cloud, then failed to start: disk quota"
    assert line.pool == A


def test_a_release_outside_names_the_request() -> None:
    seen = instance(
        "ins-1",
        InstanceState.TERMINATING,
        last_operation="TerminateInstances",
        last_operation_request_id="req-7",
    )
    (line,) = sync(ledger_of(member("ins-1")), observed_of(seen)).activities
    assert line.request_id == "req-7"


@pytest.mark.parametrize("termination", [released(), released(sent_at=ago(5))], ids=["recorded", "sent"])
def test_what_ends_while_we_want_it_gone_is_released_and_not_lost(termination: Termination) -> None:
    before = ledger_of(member("ins-1", termination=termination))
    kept = sync(before, observed_of(instance("ins-1", InstanceState.TERMINATING)))
    assert kept == Synced(ledger_of(member("ins-1", termination=replace(termination, accepted_at=NOW))))


def test_what_ends_after_its_release_was_accepted_changes_nothing() -> None:
    before = ledger_of(member("ins-1", termination=accepted()))
    assert sync(before, observed_of(instance("ins-1", InstanceState.TERMINATING))) == Synced(before)


@pytest.mark.parametrize(
    ("who", "absent", "is_gone"),
    [
        pytest.param({}, {"ins-1": Absence(3, True)}, True, id="three-sweeps-and-a-look-up"),
        pytest.param({}, {"ins-1": Absence(2, True)}, False, id="two-sweeps"),
        pytest.param({}, {"ins-1": Absence(99, False)}, False, id="nobody-looked-it-up"),
        pytest.param({}, {}, False, id="nobody-asked"),
        pytest.param({}, {"ins-1": PROVEN}, True, id="one-sweep-and-three-looks-with-witnesses"),
        pytest.param({}, {"ins-1": replace(PROVEN, looks=2)}, False, id="two-looks-with-witnesses"),
        pytest.param({}, {"ins-1": replace(PROVEN, was_listed=False)}, True, id="looks-for-what-was-listed-earlier"),
        pytest.param(
            {"verified": False}, {"ins-1": replace(PROVEN, was_listed=False)}, False, id="looks-for-what-no-list-showed"
        ),
        pytest.param({"verified": False}, {"ins-1": Absence(5, True)}, False, id="five-sweeps-for-what-no-list-showed"),
        pytest.param({"verified": False}, {"ins-1": Absence(6, True)}, True, id="six-sweeps-for-what-no-list-showed"),
        pytest.param({"launched_at": ago(180)}, {"ins-1": PROVEN}, False, id="looks-for-what-is-too-young"),
        pytest.param({"launched_at": ago(181)}, {"ins-1": PROVEN}, True, id="looks-for-what-is-just-old-enough"),
        pytest.param(
            {"launched_at": ago(60), "termination": accepted()}, {"ins-1": PROVEN}, False, id="looks-for-a-young-end"
        ),
        pytest.param({"launched_at": ago(180), "seen": False}, GONE, False, id="too-young-to-be-listed"),
        pytest.param({"launched_at": ago(181), "seen": False}, GONE, True, id="old-enough-never-seen"),
        pytest.param({"launched_at": ago(60)}, GONE, False, id="seen-once-but-lists-may-flap"),
        pytest.param(
            {"launched_at": ago(60), "lost": Cause.RECLAIMED}, LISTED, True, id="young-but-known-to-have-ended"
        ),
        pytest.param({"launched_at": ago(60), "termination": accepted()}, LISTED, True, id="young-but-released"),
        pytest.param(
            {"launched_at": ago(60), "termination": accepted()}, GONE, False, id="young-released-and-in-no-list-so-far"
        ),
        pytest.param(
            {"launched_at": ago(60), "termination": accepted()},
            {"ins-1": Absence(6, True)},
            True,
            id="young-released-and-long-in-no-list",
        ),
        pytest.param({"launched_at": ago(60), "termination": released()}, GONE, False, id="release-not-accepted"),
        pytest.param(
            {"launched_at": ago(60), "termination": accepted(), "seen": False}, GONE, False, id="released-before-seen"
        ),
    ],
)
def test_gone_needs_evidence(who: dict[str, object], absent: Mapping[str, Absence], is_gone: bool) -> None:
    kept = sync(ledger_of(member("ins-1", **who)), observed_of(absent=absent))
    assert ("ins-1" not in kept.ledger.members) is is_gone


def test_age_is_measured_at_the_observation_and_not_now() -> None:
    young = member("ins-1", launched_at=ago(200), seen=False)
    kept = sync(ledger_of(young), observed_of(absent=GONE, at=ago(100)))
    assert kept.ledger.members == {"ins-1": young}


@pytest.mark.parametrize(
    ("who", "lines"),
    [
        pytest.param({}, [(ActivityType.LOSS, Cause.DISAPPEARED, ("ins-1",))], id="disappeared"),
        pytest.param({"lost": Cause.RECLAIMED}, [], id="the-loss-was-told"),
        pytest.param({"termination": accepted()}, [], id="released"),
    ],
)
def test_what_is_told_of_the_gone(who: dict[str, object], lines: list[object]) -> None:
    assert activities_of(sync(ledger_of(member("ins-1", **who)), observed_of(absent=GONE))) == lines


@pytest.mark.parametrize(
    ("seen", "is_disowned"),
    [
        pytest.param({"ownership": None, "name": "db"}, True, id="neither-tags-nor-name"),
        pytest.param({"ownership": THEIRS, "name": "db"}, True, id="tags-of-another"),
        pytest.param({"ownership": None}, False, id="untagged-but-our-name"),
        pytest.param({"name": "renamed"}, False, id="renamed-but-our-tags"),
        pytest.param({"ownership": None, "name": "db", "created_at": ago(180)}, False, id="tags-may-still-attach"),
    ],
)
def test_a_claim_the_cloud_does_not_confirm_is_dropped(seen: dict[str, object], is_disowned: bool) -> None:
    kept = sync(ledger_of(member("ins-1", verified=False)), observed_of(replace(instance("ins-1"), **seen)))
    assert ("ins-1" not in kept.ledger.members) is is_disowned
    assert activities_of(kept) == ([(ActivityType.DISOWN, Cause.NOT_OURS, ("ins-1",))] if is_disowned else [])


def test_what_was_ours_once_is_not_disowned_when_somebody_takes_its_tags_away() -> None:
    before = ledger_of(member("ins-1"))
    assert sync(before, observed_of(instance("ins-1", ownership=None, name="db"))) == Synced(before)


@pytest.mark.parametrize(("ownership", "is_verified"), [(OURS, True), (THEIRS, False), (None, False)])
def test_only_our_tags_verify(ownership: Ownership | None, is_verified: bool) -> None:
    kept = sync(ledger_of(member("ins-1", verified=False)), observed_of(instance("ins-1", ownership=ownership)))
    assert kept.ledger.members["ins-1"].verified is is_verified


def test_deleting_does_not_wait_for_what_never_lived() -> None:
    observed = observed_of(instance("ins-1", InstanceState.LAUNCH_FAILED), instance("ins-2"))
    kept = sync(ledger_of(member("ins-1"), member("ins-2")), observed, desired_of(0, deleting=True))
    assert set(kept.ledger.members) == {"ins-2"}


# --- losses and rests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "state", "trouble"),
    [
        pytest.param(600, InstanceState.TERMINATING, Trouble.EARLY_LOSS, id="early"),
        pytest.param(601, InstanceState.TERMINATING, None, id="not-early"),
        pytest.param(5, InstanceState.LAUNCH_FAILED, Trouble.LAUNCH_FAILED, id="failed-to-start"),
    ],
)
def test_an_early_loss_rests_its_pool(age: float, state: InstanceState, trouble: Trouble | None) -> None:
    before = ledger_of(member("ins-1", launched_at=ago(age)))
    kept = sync(before, observed_of(instance("ins-1", state)))
    assert [item.trouble for item in kept.ledger.backoffs.values()] == ([trouble] if trouble else [])


def test_an_early_release_by_a_person_is_no_fault_of_the_pool() -> None:
    seen = instance("ins-1", InstanceState.TERMINATING, last_operation="TerminateInstances")
    assert sync(ledger_of(member("ins-1", launched_at=ago(5))), observed_of(seen)).ledger.backoffs == {}


def test_many_losses_seen_at_once_are_one_failure_of_their_pool() -> None:
    members = [member(f"ins-{number}", launched_at=ago(9)) for number in range(5)]
    lost = [instance(item.id, InstanceState.TERMINATING) for item in members]
    assert sync(ledger_of(*members), observed_of(*lost)).ledger.backoffs[A].failures == 1


def test_losses_in_a_row_rest_longer_each_time() -> None:
    before = ledger_of(member("ins-1", launched_at=ago(9)), backoff_of(A, Trouble.EARLY_LOSS, failures=3))
    after = sync(before, observed_of(instance("ins-1", InstanceState.TERMINATING))).ledger.backoffs[A]
    assert after.failures == 4
    assert after.until - NOW >= seconds(0.8 * 40)


def test_a_loss_in_a_pool_no_longer_wanted_rests_nothing() -> None:
    before = ledger_of(member("ins-1", launched_at=ago(9)))
    kept = sync(before, observed_of(instance("ins-1", InstanceState.TERMINATING)), desired_of(3, pools=[B]))
    assert kept.ledger.backoffs == {}


# --- quarantine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "seen_at", "is_over"),
    [
        pytest.param(ago(10), ago(10), True, id="seen-after-it"),
        pytest.param(ago(10), ago(11), False, id="what-was-seen-is-older"),
        pytest.param(NOW + seconds(1), NOW, False, id="not-yet"),
    ],
)
def test_quarantine_ends_with_an_observation_made_after_it(until: datetime, seen_at: datetime, is_over: bool) -> None:
    earlier = (seen_at - seconds(30), seen_at - seconds(15))
    kept = sync(ledger_of(quarantine_until=until, quarantine_looks=earlier), observed_of(at=seen_at))
    assert (kept.ledger.quarantine_until is None) is is_over


def test_one_sweep_alone_does_not_end_a_quarantine() -> None:
    """It may be falsely empty: a deletion was let go with five instances alive."""
    kept = ledger_of(quarantine_until=ago(60))
    for looked_at in (ago(50), ago(50), ago(35)):
        kept = sync(kept, observed_of(at=looked_at)).ledger
        assert kept.quarantine_until is not None
    assert sync(kept, observed_of(at=ago(20))).ledger.quarantine_until is None


def test_quarantine_is_never_longer_than_the_cloud_can_be_late() -> None:
    """The clock has stepped back, or somebody has edited status: waiting until then could take years."""
    kept = sync(ledger_of(quarantine_until=NOW + seconds(86400)), observed_of())
    assert kept.ledger.quarantine_until == NOW + POLICY.signature_lifetime + POLICY.listing_lag_max


#: What no look at the cloud brings to light: it comes of a decision.
OF_DECISIONS = {ActivityType.TERMINATE, ActivityType.HOLD, ActivityType.NOTICE, ActivityType.RETAIN}


def test_every_activity_of_a_sync_is_complete() -> None:
    launch = intent(DESIRED, 1)
    observed = observed_of(
        *launched_by(launch, ["ins-1"]),
        instance("ins-2"),
        instance("ins-3", InstanceState.TERMINATING),
        instance("ins-4", name="db", ownership=None),
        instance("ins-5"),
    )
    ended = member("ins-5", lost=Cause.RECLAIMED)
    kept = sync(ledger_of(launch, member("ins-3"), member("ins-4", verified=False), ended), observed)
    assert {item.type for item in kept.activities} == set(ActivityType) - OF_DECISIONS
    assert all(item.instance_ids for item in kept.activities)
    assert {item.type: item.ended_at for item in kept.activities if item.ended_at != NOW} == {ActivityType.LAUNCH: None}
    assert OURS.environment_id == kept.ledger.environment_id


# --- words that others may have written ------------------------------------------------------------------------------

ENDS = [
    pytest.param(member("ins-1", lost=Cause.RECLAIMED), id="said-to-be-lost"),
    pytest.param(member("ins-1", termination=accepted()), id="said-to-be-released"),
]


@pytest.mark.parametrize("ended", ENDS)
def test_a_place_is_not_free_while_the_cloud_shows_the_instance_alive(ended: Member) -> None:
    kept = sync(ledger_of(ended), observed_of(instance("ins-1")))
    assert shortfall(kept.ledger, desired_of(1)) == 0
    assert surplus(kept.ledger, desired_of(1)) == 0


@pytest.mark.parametrize("ended", ENDS)
@pytest.mark.parametrize(("had_ended", "missing"), [(True, 1), (False, 0)])
def test_a_place_of_an_absent_instance_is_free_once_its_end_was_shown(
    ended: Member, had_ended: bool, missing: int
) -> None:
    absent = {"ins-1": Absence(1, looked_up=True, had_ended=had_ended)}
    kept = sync(ledger_of(ended), observed_of(absent=absent))
    assert shortfall(kept.ledger, desired_of(1)) == missing
    assert surplus(kept.ledger, desired_of(0)) == 0


def test_an_end_that_the_cloud_denies_is_taken_back_and_told() -> None:
    kept = sync(ledger_of(member("ins-1", lost=Cause.RECLAIMED)), observed_of(instance("ins-1")))
    assert kept.ledger.members["ins-1"].lost is None
    assert kept.ledger.state_refused == StateRefusal(
        StateRefusalKind.END, "ins-1 was recorded as ended, but the cloud shows it RUNNING", NOW
    )
    assert [(item.type, item.cause) for item in kept.activities] == [(ActivityType.REFUSE, "EndNotConfirmed")]


def test_no_member_is_younger_than_now() -> None:
    kept = sync(
        ledger_of(member("ins-1", launched_at=NOW + seconds(10**9))), observed_of(absent={"ins-1": Absence(0, True)})
    )
    assert kept.ledger.members["ins-1"].launched_at == NOW


@pytest.mark.parametrize(
    ("altered", "stays"),
    [
        pytest.param({}, True, id="untagged-and-renamed"),
        pytest.param({"ownership": THEIRS}, False, id="tagged-as-anothers"),
        pytest.param({"pool": B}, False, id="in-another-pool"),
        pytest.param({"created_at": ago(3600 + 500)}, False, id="older-than-its-launch"),
    ],
)
def test_once_verified_says_nothing_against_the_clouds_own_words(altered: dict[str, Any], stays: bool) -> None:
    seen = instance("ins-1", **({"name": "db", "ownership": None} | altered))
    kept = sync(ledger_of(member("ins-1", verified=True)), observed_of(seen))
    assert ("ins-1" in kept.ledger.members) is stays
    assert (kept.ledger.state_refused is None) is stays


@pytest.mark.parametrize(("later", "is_told"), [(599, True), (600, False), (-600, False)])
def test_a_refusal_is_told_for_ten_minutes(later: float, is_told: bool) -> None:
    refused = replace(ledger_of(), state_refused=StateRefusal(StateRefusalKind.LEDGER, "words", NOW))
    then = NOW + seconds(later)
    kept = synced(refused, DESIRED, replace(observed_of(), observed_at=then), now=then)
    assert (kept.ledger.state_refused is not None) is is_told


def test_a_refusal_is_told_until_the_waiting_is_over() -> None:
    waiting = replace(
        ledger_of(quarantine_until=NOW + seconds(60)),
        state_refused=StateRefusal(StateRefusalKind.LEDGER, "words", ago(3600)),
    )
    assert sync(waiting, observed_of()).ledger.state_refused is not None
