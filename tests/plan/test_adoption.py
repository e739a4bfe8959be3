"""What the spec names is taken over where it fits and has a place, and a place is kept for what may come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from plan.given import (
    NOW,
    POLICY,
    A,
    B,
    ago,
    asked,
    desired_of,
    instance,
    intent,
    ledger_of,
    market_of,
    member,
    observed_of,
    planned,
    seconds,
    synced,
)
from spotcompute.cloud.errors import OutcomeUnknown, Throttled
from spotcompute.model.activity import ActivityState, ActivityType
from spotcompute.model.desired import Adopt, Caps, Desired, Fallback, Limits, OnDemandShare
from spotcompute.model.identity import adoption_mark
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.launch import Template
from spotcompute.model.ledger import Adoption, Cause, Ledger, Marking, Member, TagSearch
from spotcompute.model.observation import Observation
from spotcompute.plan.actions import Launch, Learned, Mark, Marked, Plan
from spotcompute.plan.adoption import next_adoption, searching_until, to_look_for
from spotcompute.plan.capacity import in_flight
from spotcompute.plan.outcomes import apply_outcomes
from spotcompute.plan.situation import Situation

NAMED = desired_of(2, [A], adopt=Adopt(("ins-1",)))
OURS = NAMED.ownership
OTHER = Ownership("c", "e")
TAGGED = desired_of(2, [A], adopt=Adopt(tag=("team", "blue")))


def free(instance_id: str = "ins-1", state: InstanceState = InstanceState.RUNNING, **other: Any) -> Instance:
    """A machine that belongs to no environment."""
    return instance(instance_id, state, **({"ownership": None, "name": "by-hand"} | other))


def seen(*candidates: Instance, **other: Any) -> Observation:
    return replace(observed_of(), candidates={one.id: one for one in candidates}, **other)


def marked(plan: Plan) -> list[str]:
    return [one.id for action in plan.actions if isinstance(action, Mark) for one in action.instances]


def bought(plan: Plan) -> int:
    return sum(count for _, count in asked(plan))


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        pytest.param(free(ownership=OTHER, owner="jobs@web"), "belongs to environment jobs@web", id="of-another"),
        pytest.param(free(ownership=OTHER), "belongs to environment e", id="of-another-without-a-name"),
        pytest.param(free(state=InstanceState.TERMINATING), "has ended", id="ending"),
        pytest.param(free(charge_type="PREPAID"), "charged as PREPAID", id="prepaid"),
        pytest.param(free(state=InstanceState.STOPPED), "start it first", id="stopped"),
        pytest.param(free(pool=B), "add a placement there", id="zone"),
        pytest.param(free(pool=A._replace(instance_type="S9.LARGE8")), "add the type", id="type"),
        pytest.param(free(on_demand=True), "set onDemand or onDemandFallback", id="on-demand"),
        pytest.param(free(image_id="img-99999999"), "another image", id="image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_reason_and_bought_instead(candidate: Instance, says: str) -> None:
    plan = planned(NAMED, ledger_of(), seen(candidate))
    refused = plan.ledger.adoptions["ins-1"].refused
    assert says in str(refused)
    assert (marked(plan), bought(plan)) == ([], 2)


@pytest.mark.parametrize(
    ("desired", "candidate"),
    [
        pytest.param(NAMED, free(), id="plain"),
        pytest.param(NAMED, free(retained="default@web"), id="left-by-an-environment"),
        pytest.param(NAMED, free(image_id="img-11111111"), id="same-image"),
        pytest.param(NAMED, free(protected=True), id="protected"),
        pytest.param(
            replace(NAMED, fallback=Fallback(seconds(60), 1, None, seconds(60))), free(on_demand=True), id="on-demand"
        ),
        pytest.param(TAGGED, free("ins-7", tags={"team": "blue"}), id="by-tag"),
    ],
)
def test_what_fits_is_taken_over_and_nothing_is_bought_for_its_place(desired: Desired, candidate: Instance) -> None:
    ledger = ledger_of(tag_search=TagSearch("team=blue", ago(181)))
    plan = planned(desired, ledger, seen(candidate))
    assert (marked(plan), bought(plan)) == ([candidate.id], 1)
    (mark,) = (action for action in plan.actions if isinstance(action, Mark))
    assert (mark.ownership, mark.owner) == (desired.ownership, desired.owner)
    adoption = plan.ledger.adoptions[candidate.id]
    assert adoption.marking == Marking(sent_at=NOW)
    assert plan.ledger.sequence > 0  # an older ledger is recognised


@pytest.mark.parametrize(
    ("adoption", "candidates", "is_waited_for"),
    [
        pytest.param(None, [], True, id="not-shown-yet"),
        pytest.param(Adoption("ins-1", ago(179)), [], True, id="lists-may-be-late"),
        pytest.param(Adoption("ins-1", ago(181)), [], False, id="not-there"),
        pytest.param(Adoption("ins-1", ago(181)), [free(state=InstanceState.PENDING)], True, id="starting"),
        pytest.param(Adoption("ins-1", ago(181)), [free(state=InstanceState.REBOOTING)], True, id="rebooting"),
        pytest.param(Adoption("ins-1", ago(181), Marking(ago(100))), [], True, id="marked-and-a-list-is-falsely-empty"),
        pytest.param(Adoption("ins-1", ago(900), Marking(ago(400))), [], False, id="marked-and-gone"),
        pytest.param(Adoption("ins-1", ago(900), refused="it was stopped"), [], False, id="refused-before"),
    ],
)
def test_a_place_is_kept_for_what_may_come(
    adoption: Adoption | None, candidates: list[Instance], is_waited_for: bool
) -> None:
    ledger = ledger_of(adoptions={} if adoption is None else {"ins-1": adoption})
    plan = planned(NAMED, ledger, seen(*candidates))
    assert (marked(plan), bought(plan)) == ([], 1 if is_waited_for else 2)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({}, 1, id="without-a-limit"),
        pytest.param({"caps": Caps(in_total=Decimal(9))}, 0, id="money"),
        pytest.param({"limits": Limits(vcpu=9)}, 0, id="vcpu"),
        pytest.param({"limits": Limits(count=9)}, 1, id="its-number-is-known"),
    ],
)
@pytest.mark.parametrize("is_on_demand", [False, True], ids=["spot", "on-demand"])
def test_nothing_is_bought_below_a_limit_before_it_is_known_what_is_taken_over(
    limits: dict[str, Any], expected: int, is_on_demand: bool
) -> None:
    part = {"on_demand": OnDemandShare(2)} if is_on_demand else {}
    desired = desired_of(2, [A], adopt=Adopt(("ins-1",)), **limits, **part)
    ledger = ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(10), Marking(ago(8)))})
    plan = planned(desired, ledger, observed_of(market=market_of({A: "0.1"})))
    assert sum(count for _, count in asked(plan, on_demand=is_on_demand)) == expected


@pytest.mark.parametrize(
    ("adoption", "stays"),
    [
        pytest.param(Adoption("ins-1", ago(100)), False, id="waited-for"),
        pytest.param(Adoption("ins-1", ago(100), refused="no"), True, id="refused-and-told"),
        pytest.param(Adoption("ins-1", ago(100), Marking(ago(8))), True, id="under-way"),
    ],
)
def test_what_has_expired_keeps_no_place_for_what_it_waits_for(adoption: Adoption, stays: bool) -> None:
    """Otherwise it would count as one that is still to be released, for ever."""
    desired = desired_of(0, [A], adopt=Adopt(("ins-1",)), expired=True)
    plan = planned(desired, ledger_of(adoptions={"ins-1": adoption}), observed_of())
    assert ("ins-1" in plan.ledger.adoptions) == stays


def test_only_as_many_as_there_are_places() -> None:
    desired = desired_of(3, [A], adopt=Adopt(("ins-3", "ins-1", "ins-2")))
    ledger = ledger_of(member("ins-9"), intent(desired_of(3, [A]), 1))
    plan = planned(desired, ledger, seen(free("ins-1"), free("ins-2"), free("ins-3")))
    assert marked(plan) == ["ins-3"]
    assert {key for key, one in plan.ledger.adoptions.items() if one.refused} == {"ins-1", "ins-2"}
    assert not any(isinstance(action, Launch) and not action.replay for action in plan.actions)


@pytest.mark.parametrize(
    "state", [{"paused": True}, {"deleting": True, "replicas": 0}, {"expired": True, "replicas": 0}]
)
def test_nothing_is_taken_over_while_nothing_is_wanted(state: dict[str, Any]) -> None:
    desired = replace(NAMED, **state)
    assert marked(planned(desired, ledger_of(), seen(free()))) == []
    assert to_look_for(desired, ledger_of()) == ()


def test_nothing_is_taken_over_while_a_lost_ledger_is_rebuilt() -> None:
    assert marked(planned(NAMED, ledger_of(quarantine_until=NOW + seconds(60)), seen(free()))) == []


@pytest.mark.parametrize(
    ("marking", "is_repeated"),
    [
        pytest.param(Marking(ago(8), answered=True), False, id="just-done"),
        pytest.param(Marking(ago(61), answered=True), True, id="without-effect"),
        pytest.param(Marking(ago(6), attempts=1, obstacle="no"), True, id="refused-a-while-ago"),
        pytest.param(Marking(ago(-3600), attempts=3, obstacle="no"), True, id="refused-by-a-clock-an-hour-ahead"),
        pytest.param(Marking(ago(-3600), answered=True), True, id="done-by-a-clock-an-hour-ahead"),
    ],
)
def test_tags_are_changed_again_until_the_cloud_shows_it(marking: Marking, is_repeated: bool) -> None:
    ledger = ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(100), marking)})
    plan = planned(NAMED, ledger, seen(free()))
    assert marked(plan) == (["ins-1"] if is_repeated else [])
    assert bought(plan) == 1


@pytest.mark.parametrize(
    ("tried_at", "other", "places"),
    [
        pytest.param(ago(500), {"image_id": "img-other1"}, 2, id="the-spec-asks-for-another-image-since"),
        pytest.param(ago(500), {}, 1, id="it-fits-still"),
        pytest.param(ago(60), {"image_id": "img-other1"}, 1, id="its-tags-may-still-show"),
    ],
)
def test_what_the_spec_does_not_ask_for_any_more_keeps_its_place_until_its_tags_must_have_shown(
    tried_at: datetime, other: dict[str, Any], places: int
) -> None:
    refused = Marking(tried_at, attempts=6, obstacle="slow down")
    plan = planned(NAMED, ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(900), refused)}), seen(free(**other)))
    assert bought(plan) == places


def test_what_bears_our_mark_is_a_member_from_then_on_and_never_taken_over_again() -> None:
    ours = free(ownership=OURS, adopted=adoption_mark(OURS, "ins-1"))
    ledger = ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(100), Marking(ago(8)))})
    kept = synced(ledger, NAMED, observed_of(ours))
    assert set(kept.ledger.members) == {"ins-1"}
    told = [(one.type, one.cause, one.state) for one in kept.activities]
    assert told == [(ActivityType.ADOPT, Cause.TAKEN_OVER, ActivityState.SUCCEEDED)]
    plan = planned(NAMED, kept.ledger, observed_of(ours))
    assert plan.ledger.adoptions["ins-1"] == Adoption("ins-1", ago(100), done=True)
    settled = replace(plan.ledger.without_member("ins-1"), intents=())
    lost = planned(NAMED, settled, seen(free()))
    assert (marked(lost), bought(lost)) == ([], 2)
    assert to_look_for(NAMED, plan.ledger.without_member("ins-1")) == ()


def test_a_mark_that_was_copied_to_another_instance_is_of_no_use() -> None:
    stolen = free("ins-2", ownership=OURS, adopted=adoption_mark(OURS, "ins-1"))
    assert synced(ledger_of(), NAMED, observed_of(stolen)).ledger.members == {}


def test_what_is_under_way_is_settled_before_a_deleted_object_goes() -> None:
    deleting = replace(NAMED, replicas=0, deleting=True)
    ledger = ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(100), Marking(ago(8)))})
    assert not ledger.is_empty
    assert to_look_for(deleting, ledger) == ("ins-1",)
    assert not planned(deleting, ledger, seen(free())).ledger.is_empty
    late = ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(900), Marking(ago(301)))})
    assert planned(deleting, late, seen(free())).ledger.is_empty


def test_what_is_named_no_more_is_forgotten_once_nothing_is_under_way() -> None:
    plain = replace(NAMED, adopt=Adopt())
    under_way = {"ins-1": Adoption("ins-1", ago(100), Marking(ago(8)))}
    assert set(planned(plain, ledger_of(adoptions=under_way), seen(free())).ledger.adoptions) == {"ins-1"}
    late = {"ins-1": Adoption("ins-1", ago(900), Marking(ago(200)))}
    assert marked(planned(plain, ledger_of(adoptions=late), seen(free()))) == []
    refused = {"ins-1": Adoption("ins-1", ago(100), refused="it is STOPPED")}
    assert planned(plain, ledger_of(adoptions=refused), seen(free())).ledger.adoptions == {}


@pytest.mark.parametrize(
    ("search", "until"),
    [
        pytest.param(None, NOW + seconds(180), id="begins"),
        pytest.param(TagSearch("team=blue", ago(100)), NOW + seconds(80), id="goes-on"),
        pytest.param(TagSearch("team=red", ago(900)), NOW + seconds(180), id="another-tag"),
        pytest.param(TagSearch("team=blue", ago(180)), None, id="over"),
    ],
)
def test_a_search_by_tag_waits_for_late_lists_before_anything_is_bought(search: TagSearch | None, until: Any) -> None:
    plan = planned(TAGGED, ledger_of(tag_search=search), seen())
    situation = Situation(TAGGED, plan.ledger, seen(), NOW, POLICY)
    assert searching_until(situation) == until
    assert bought(plan) == (2 if until is None else 0)
    assert next_adoption(situation) == until


@pytest.mark.parametrize(
    ("ledger", "wait"),
    [
        pytest.param(ledger_of(), None, id="nothing"),
        pytest.param(ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(9))}), 5, id="waited-for"),
        pytest.param(ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(9), refused="no")}), None, id="refused"),
        pytest.param(ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(9), done=True)}), None, id="done"),
        pytest.param(
            ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(9), Marking(ago(2), attempts=2, obstacle="no"))}),
            8,
            id="tags-not-changed",
        ),
    ],
)
def test_when_to_look_again(ledger: Ledger, wait: float | None) -> None:
    at = next_adoption(Situation(NAMED, ledger, seen(), NOW, POLICY))
    assert at == (None if wait is None else NOW + seconds(wait))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param("r-1", Marking(NOW, answered=True, attempts=1), id="done"),
        pytest.param(OutcomeUnknown("Net", "lost"), None, id="lost"),
        pytest.param(Throttled("Limit", "slow"), None, id="refused"),
    ],
)
def test_an_answer_is_noted(result: Any, expected: Marking | None) -> None:
    ledger = ledger_of(adoptions={"ins-1": Adoption("ins-1", ago(9), Marking(NOW))})
    mark = Mark((free(),), OURS, NAMED.owner, "because")
    applied = apply_outcomes(
        Situation(NAMED, ledger, seen(free()), NOW, POLICY), [Marked(("ins-1",), mark, result)], Learned()
    )
    marking = applied.ledger.adoptions["ins-1"].marking
    assert marking is not None
    if expected is not None:
        assert (marking, applied.activities) == (expected, ())
    else:
        assert marking.obstacle == str(result)
        assert [one.type for one in applied.activities] == [ActivityType.ADOPT]


def test_an_image_is_compared_with_that_of_the_template() -> None:
    other = replace(NAMED, template=Template(image_id="img-99999999"))
    assert marked(planned(other, ledger_of(), seen(free(image_id="img-99999999")))) == ["ins-1"]


def test_a_change_of_tags_has_a_number_of_its_own_as_a_launch_has() -> None:
    """So that a ledger from a backup shows that it is older."""
    for before in (700, int(NOW.timestamp()) + 50):
        plan = planned(replace(NAMED, replicas=1), ledger_of(sequence=before), seen(free()))
        assert marked(plan) == ["ins-1"]
        assert plan.ledger.sequence == max(before + 1, int(NOW.timestamp()))


@pytest.mark.parametrize(
    ("adoption", "members", "places"),
    [
        pytest.param(Adoption("ins-1", NOW), [], 1, id="it-may-come"),
        pytest.param(Adoption("ins-1", NOW), [member("ins-1")], 0, id="it-counts-as-a-member"),
        pytest.param(Adoption("ins-1", NOW, done=True), [], 0, id="it-was-one-once"),
        pytest.param(Adoption("ins-1", NOW, refused="it is of another type"), [], 0, id="it-does-not-fit"),
    ],
)
def test_what_may_come_counts_until_it_is_a_member_or_cannot_come(
    adoption: Adoption, members: list[Member], places: int
) -> None:
    assert in_flight(ledger_of(*members).with_adoption(adoption)) == places
