"""The activity log: newest first, bounded, repeats counted, numbers without gaps; and the events of it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from plan.given import NOW, A, B, ago, ledger_of, member, seconds
from spotcompute.api.status import ActivityStatus
from spotcompute.api.times import to_text
from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.ledger import Cause, Member
from spotcompute.report.history import HISTORY_LIMIT, IDS_SHOWN, appended, events_of, settled

REFUSED = Activity(
    ActivityType.LAUNCH,
    ActivityState.FAILED,
    cause="1 of 1 missing",
    started_at=NOW,
    ended_at=NOW,
    pool=A,
    reason="InsufficientCapacity",
    code="ResourcesSoldOut.X",
    message="sold out",
    request_id="req-1",
    sequence=7,
)
SOLD = Activity(
    ActivityType.LAUNCH,
    ActivityState.PROCESSING,
    "1 of 1 missing",
    NOW,
    pool=A,
    instance_ids=("ins-1",),
    request_id="req-2",
)


def loss(key: str, cause: Cause = Cause.RECLAIMED) -> Activity:
    return Activity(
        ActivityType.LOSS,
        ActivityState.SUCCEEDED,
        str(cause),
        NOW,
        NOW,
        pool=A,
        instance_ids=(key,),
        message="taken back by the cloud",
    )


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return [int(line["id"].removeprefix("act-")) for line in lines]


def test_a_line_says_what_happened() -> None:
    assert appended([], [REFUSED]) == [
        {
            "id": "act-1",
            "type": "Launch",
            "state": "Failed",
            "cause": "1 of 1 missing",
            "zone": A.zone,
            "instanceType": A.instance_type,
            "reason": "InsufficientCapacity",
            "code": "ResourcesSoldOut.X",
            "message": "sold out",
            "requestId": "req-1",
            "sequence": 7,
            "count": 1,
            "startTime": to_text(NOW),
            "endTime": to_text(NOW),
        }
    ]


def test_ten_thousand_equal_failures_are_one_line() -> None:
    lines: list[dict[str, Any]] = []
    for number in range(10_000):
        at = NOW + seconds(number)
        lines = appended(lines, [replace(REFUSED, started_at=at, ended_at=at, request_id=f"req-{number}")])
    (line,) = lines
    assert (line["count"], line["id"]) == (10_000, "act-1")
    assert (line["startTime"], line["endTime"]) == (to_text(NOW), to_text(NOW + seconds(9_999)))
    assert line["requestId"] == "req-9999"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(REFUSED, pool=B), id="pool"),
        pytest.param(replace(REFUSED, code="Other.Code"), id="code"),
        pytest.param(replace(REFUSED, reason="PriceTooLow"), id="reason"),
        pytest.param(replace(REFUSED, sequence=8, state=ActivityState.SUBMITTED, ended_at=None), id="state"),
        pytest.param(replace(REFUSED, type=ActivityType.TERMINATE), id="type"),
    ],
)
def test_what_differs_is_a_line_of_its_own(other: Activity) -> None:
    assert numbers(appended([], [REFUSED, other])) == [2, 1]


def test_several_failures_in_turn_are_counted_each_in_its_line() -> None:
    other = replace(REFUSED, pool=B)
    lines = appended([], [REFUSED, other] * 100)
    assert [(line["zone"], line["count"]) for line in lines] == [(B.zone, 100), (A.zone, 100)]


def test_a_success_in_between_starts_a_new_line() -> None:
    lines = appended([], [REFUSED, REFUSED, SOLD, REFUSED])
    assert [(line["state"], line["count"]) for line in lines] == [("Failed", 1), ("Processing", 1), ("Failed", 2)]


def test_successes_are_never_merged_away() -> None:
    assert len(appended([], [SOLD, SOLD, SOLD])) == 3


def test_losses_seen_in_one_run_are_one_line_with_all_ids() -> None:
    lines = appended([], [loss("ins-1"), loss("ins-2"), loss("ins-3", Cause.DISAPPEARED)])
    assert [line["instanceIds"] for line in lines] == [["ins-3"], ["ins-1", "ins-2"]]


def test_losses_of_different_runs_stay_apart() -> None:
    assert len(appended(appended([], [loss("ins-1")]), [loss("ins-2")])) == 2


def test_the_log_is_bounded_and_its_numbers_have_no_gaps() -> None:
    dice, lines = random.Random(1), list[dict[str, Any]]()
    for _ in range(500):
        one = dice.choice([SOLD, loss(f"ins-{dice.random()}"), replace(REFUSED, code=f"Code.{dice.randrange(40)}")])
        lines = appended(lines, [one])
        assert len(lines) <= HISTORY_LIMIT
        assert numbers(lines) == list(range(numbers(lines)[0], numbers(lines)[0] - len(lines), -1))


def test_a_line_is_bounded_too() -> None:
    huge = replace(SOLD, instance_ids=tuple(f"ins-{n}" for n in range(2000)), message="x" * 100_000)
    (line,) = appended([], [huge])
    assert len(line["instanceIds"]) == IDS_SHOWN
    assert len(str(line)) < 5_000


def test_the_given_history_is_left_as_it_was() -> None:
    before = appended([], [REFUSED])
    copy = [dict(line) for line in before]
    appended(before, [REFUSED, SOLD])
    assert before == copy


DOUBTED = replace(REFUSED, state=ActivityState.SUBMITTED, ended_at=None, code="ClientNetworkError")
RELEASE = Activity(ActivityType.TERMINATE, ActivityState.SUBMITTED, "ScaledDown", NOW, instance_ids=("ins-1", "ins-2"))
ACCEPTED = replace(RELEASE, state=ActivityState.PROCESSING, request_id="req-9")


def states(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(line["state"], line["count"]) for line in lines]


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param([DOUBTED, DOUBTED], [("Submitted", 2)], id="still-no-answer"),
        pytest.param([DOUBTED, replace(SOLD, sequence=7)], [("Processing", 1)], id="answered-in-the-end"),
        pytest.param([DOUBTED, REFUSED], [("Failed", 1)], id="refused-in-the-end"),
        pytest.param([DOUBTED, replace(DOUBTED, sequence=8)], [("Submitted", 1)] * 2, id="another-launch"),
        pytest.param([replace(SOLD, sequence=7)] * 2, [("Processing", 1)] * 2, id="an-answer-is-never-merged-away"),
        pytest.param([RELEASE, RELEASE, ACCEPTED], [("Processing", 2)], id="a-release-that-was-accepted-in-the-end"),
        pytest.param([ACCEPTED, ACCEPTED], [("Processing", 2)], id="a-release-that-shows-no-effect"),
        pytest.param(
            [ACCEPTED, replace(ACCEPTED, instance_ids=("ins-1",))], [("Processing", 1)] * 2, id="another-release"
        ),
    ],
)
def test_what_has_begun_goes_on_in_its_line(story: list[Activity], expected: list[tuple[str, int]]) -> None:
    lines: list[dict[str, Any]] = []
    for activity in story:
        lines = appended(lines, [activity])
    assert states(lines) == expected
    assert numbers(lines) == list(range(len(lines), 0, -1))


@pytest.mark.parametrize(
    ("activities", "members", "expected"),
    [
        pytest.param([SOLD], [member("ins-1", arrived=False)], ["Processing"], id="starting"),
        pytest.param([SOLD], [member("ins-1")], ["Succeeded"], id="it-runs"),
        pytest.param([SOLD], [member("ins-1", arrived=False, lost=Cause.RECLAIMED)], ["Succeeded"], id="it-went"),
        pytest.param([SOLD], [], ["Succeeded"], id="gone-before-anybody-looked"),
        pytest.param([SOLD, loss("ins-1", Cause.LAUNCH_FAILED)], [], ["Succeeded", "Failed"], id="it-never-ran"),
        pytest.param([SOLD, loss("ins-1")], [], ["Succeeded", "Succeeded"], id="taken-back-later"),
        pytest.param([SOLD, loss("ins-2", Cause.LAUNCH_FAILED)], [], ["Succeeded", "Succeeded"], id="another-failed"),
        pytest.param([DOUBTED], [], ["Submitted"], id="nobody-knows-yet"),
        pytest.param([REFUSED], [], ["Failed"], id="refused"),
        pytest.param([ACCEPTED], [member("ins-1")], ["Processing"], id="one-is-still-there"),
        pytest.param([ACCEPTED], [member("ins-3")], ["Succeeded"], id="both-have-gone"),
        pytest.param([RELEASE], [], ["Succeeded"], id="gone-without-an-answer"),
    ],
)
def test_lines_end_when_their_instances_have_started_or_gone(
    activities: list[Activity], members: list[Member], expected: list[str]
) -> None:
    later = NOW + seconds(60)
    before = appended([], activities)
    after = settled(before, ledger_of(*members), later)
    assert [line["state"] for line in after] == expected
    for line, was in zip(after, before, strict=True):
        ends = to_text(later) if line["state"] != was["state"] else was.get("endTime")
        assert {**was, "state": line["state"], "endTime": ends} == {"endTime": None} | line
    assert settled(after, ledger_of(*members), NOW + seconds(120)) == after


@pytest.mark.parametrize("kind", list(ActivityType))
@pytest.mark.parametrize("state", list(ActivityState))
def test_every_line_fits_the_schema(kind: ActivityType, state: ActivityState) -> None:
    (line,) = appended([], [replace(REFUSED, type=kind, state=state)])
    ActivityStatus.model_validate(line)


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activity", "type_", "reason", "mentioned"),
    [
        pytest.param(SOLD, "Normal", "InstanceLaunched", ["ins-1", str(A)], id="launched"),
        pytest.param(
            REFUSED, "Warning", "InsufficientCapacity", ["ResourcesSoldOut.X", "sold out", str(A)], id="refused"
        ),
        pytest.param(
            replace(REFUSED, state=ActivityState.SUBMITTED),
            "Warning",
            "LaunchOutcomeUnknown",
            ["same token", "ResourcesSoldOut.X"],
            id="no-answer",
        ),
        pytest.param(loss("ins-1"), "Warning", "InstanceReclaimed", ["ins-1"], id="reclaimed"),
        pytest.param(loss("ins-1", Cause.DISAPPEARED), "Warning", "InstanceLost", ["ins-1"], id="disappeared"),
        pytest.param(
            loss("ins-1", Cause.RELEASED_OUTSIDE), "Warning", "InstanceReleasedOutside", ["ins-1"], id="outside"
        ),
        pytest.param(
            replace(SOLD, type=ActivityType.TERMINATE, cause="ScaledDown"),
            "Normal",
            "InstanceReleased",
            ["ins-1", "ScaledDown"],
            id="released",
        ),
        pytest.param(
            replace(REFUSED, type=ActivityType.TERMINATE, instance_ids=("ins-1",)),
            "Warning",
            "ReleaseRefused",
            ["ResourcesSoldOut.X", "ins-1"],
            id="release-refused",
        ),
        pytest.param(replace(SOLD, type=ActivityType.ADOPT), "Normal", "InstanceAdopted", ["ins-1"], id="adopted"),
        pytest.param(replace(SOLD, type=ActivityType.DISOWN), "Warning", "InstanceDisowned", ["ins-1"], id="disowned"),
        pytest.param(
            replace(SOLD, type=ActivityType.DISOWN, cause=Cause.OUT_OF_REACH, message="account 1"),
            "Warning",
            "InstancesLeftBehind",
            ["ins-1", "account 1", "cost money"],
            id="left-behind",
        ),
    ],
)
def test_what_a_person_should_notice(activity: Activity, type_: str, reason: str, mentioned: list[str]) -> None:
    (event,) = events_of([activity])
    assert (event.type, event.reason) == (type_, reason)
    assert [part for part in mentioned if part not in event.note] == []
    assert event.request_id == activity.request_id


def test_a_release_still_under_way_is_no_event() -> None:
    assert events_of([replace(REFUSED, type=ActivityType.TERMINATE, state=ActivityState.SUBMITTED)]) == []


def test_many_losses_are_one_event_that_names_a_few() -> None:
    (event,) = events_of([loss(f"ins-{n:04}") for n in range(2000)])
    assert event.note.startswith("ins-0000, ins-0001")
    assert ", …" in event.note
    assert len(event.note) < 1024


def test_a_launch_settled_by_search_that_found_nothing_is_said_in_words() -> None:
    settled = Activity(
        ActivityType.LAUNCH,
        ActivityState.FAILED,
        "Shortfall",
        ago(600),
        NOW,
        pool=A,
        reason="NothingLaunched",
        message="settled by looking for its instances, since its answer was lost",
    )
    (event,) = events_of([settled])
    assert "None" not in event.note
