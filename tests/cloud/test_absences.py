"""What speaks for an instance being gone is counted by sweeps and look-ups apart, and forgotten after an hour."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from plan.given import NOW, instance
from spotcompute.cloud.absences import KEPT, LAG_MAX, LOOKS_APART, Absences
from spotcompute.cloud.lookups import Look
from spotcompute.cloud.sweep import Sweep
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.observation import Absence

APART = 2.0
ONE, OTHER = instance("ins-1"), instance("ins-2")
ENDED = instance("ins-1", InstanceState.TERMINATING)


@dataclass
class Case:
    """The memory of one account; time passes by hand, for its clock and for the loop's alike."""

    seconds: float = 0.0
    absences: Absences = field(init=False)
    before: Sweep | None = None

    def __post_init__(self) -> None:
        self.absences = Absences(self.now, APART)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def swept(self, *shown: Instance, after: float = APART) -> frozenset[str]:
        self.seconds += after
        sweep = Sweep.of(self.now(), self.seconds, shown)
        self.before, before = sweep, self.before
        return self.absences.swept(before, sweep)

    def looked(self, *shown: Instance, after: float = 0.0, weight: int = 2, is_sound: bool = True) -> Look:
        self.seconds += after
        return Look({one.id: one for one in shown}, self.seconds, weight, is_sound)

    def of(self, look: Look, *ids: str) -> Absence:
        assert self.before is not None
        return self.absences.of(ids or ["ins-1"], self.before, look)[(ids or ["ins-1"])[0]]


@pytest.fixture
def case() -> Case:
    return Case()


def counted(absence: Absence) -> tuple[int, int]:
    return absence.sweeps, absence.looks


def test_each_sweep_and_each_look_up_counts_once(case: Case) -> None:
    case.swept(ONE)
    assert case.swept() == {"ins-1"}
    assert counted(case.of(case.looked())) == (1, 1)
    assert counted(case.of(case.looked())) == (1, 1), "neither is a new one"
    case.swept(after=0.9 * APART)
    assert counted(case.of(case.looked(after=0.7 * LOOKS_APART))) == (1, 2), "this sweep came too soon"
    case.swept()
    assert counted(case.of(case.looked())) == (2, 3)
    assert case.of(case.looked()).was_listed
    assert not case.of(case.looked()).had_ended


def test_look_ups_that_come_too_soon_count_as_one(case: Case) -> None:
    case.swept(ONE)
    case.swept()
    for _ in range(4):
        assert case.of(case.looked(after=0.21 * LOOKS_APART)).looks == 1
    assert case.of(case.looked(after=0.21 * LOOKS_APART)).looks == 2


@pytest.mark.parametrize(
    ("weight", "is_sound", "counts"),
    [
        pytest.param(2, True, [(1, 1), (2, 2), (3, 3)], id="with-witnesses"),
        pytest.param(1, True, [(1, 0), (2, 1), (3, 1)], id="one-witness-is-worth-half"),
        pytest.param(0, True, [(1, 0), (2, 0), (3, 0)], id="none-is-worth-nothing"),
        pytest.param(0, False, [(0, 0), (1, 0), (1, 0)], id="a-key-that-does-not-see-its-witnesses"),
    ],
)
def test_what_a_look_up_is_worth(case: Case, weight: int, is_sound: bool, counts: list[tuple[int, int]]) -> None:
    case.swept(ONE)
    seen = []
    for _ in range(3):
        case.swept()
        seen.append(counted(case.of(case.looked(weight=weight, is_sound=is_sound))))
    assert seen == counts


def test_of_an_id_that_no_list_has_shown_sweeps_count_and_it_is_said_so(case: Case) -> None:
    """`plan.absence` asks for twice as many of them, unless the ledger notes that the instance was shown before."""
    case.swept()
    seen = []
    for _ in range(4):
        case.swept()
        seen.append(case.of(case.looked(), "ins-9").sweeps)
    assert seen == [1, 2, 3, 4]
    assert not case.of(case.looked(), "ins-9").was_listed


@pytest.mark.parametrize("shows", ["a-sweep", "a-look-up"])
def test_what_is_shown_again_is_counted_anew(case: Case, shows: str) -> None:
    case.swept(ONE)
    for _ in range(3):
        case.swept()
        case.of(case.looked())
    if shows == "a-sweep":
        case.swept(ONE)
    else:
        assert case.absences.looked(["ins-1", "ins-2"], case.looked(ONE)) == {"ins-2"}
    case.swept()
    assert counted(case.of(case.looked(after=1.0))) == (1, 1)


def test_an_id_that_nobody_asked_about_for_an_hour_is_counted_anew(case: Case) -> None:
    case.swept(ONE)
    case.swept()
    case.swept()
    case.of(case.looked())
    case.swept(after=KEPT.total_seconds() - APART)
    assert case.of(case.looked()).sweeps == 2, "not yet an hour"
    case.swept(after=KEPT.total_seconds() + 1)
    assert counted(case.of(case.looked())) == (1, 1)
    assert not case.of(case.looked()).was_listed


def test_lists_lack_what_they_had_shown_since_the_first_that_lacks_it(case: Case) -> None:
    case.swept(ONE, OTHER)
    case.swept(OTHER)
    since = case.now()
    case.swept(OTHER)
    assert case.absences.unlisted(["ins-1", "ins-2", "ins-9"]) == {"ins-1": since}
    case.swept(ONE)
    assert case.absences.unlisted(["ins-1"]) == {}


def test_without_its_tags_an_instance_is_in_no_list_and_not_missed(case: Case) -> None:
    case.swept(ONE)
    case.swept()
    case.absences.shown([ONE])
    assert case.absences.unlisted(["ins-1"]), "its tags are there: a list lacks it"
    case.absences.shown([instance("ins-1", ownership=None)])
    assert case.absences.unlisted(["ins-1"]) == {}


def test_an_end_that_was_seen_is_no_vanishing(case: Case) -> None:
    case.swept(ONE)
    case.absences.shown([ENDED])
    assert case.swept() == frozenset()
    assert case.of(case.looked()).had_ended


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        pytest.param(LAG_MAX.total_seconds(), ENDED, id="a-list-that-lags"),
        pytest.param(LAG_MAX.total_seconds() + 1, ONE, id="later-it-lives-again"),
    ],
)
def test_a_list_that_is_older_than_the_end_does_not_bring_an_instance_back(
    case: Case, after: float, shown: Instance
) -> None:
    case.swept(ONE)
    case.absences.shown([ENDED])
    case.seconds += after
    assert case.absences.without_lag({"ins-1": ONE, "ins-2": OTHER}) == {"ins-1": shown, "ins-2": OTHER}


def test_one_that_was_taken_out_of_the_recycle_bin_lives_again_at_once(case: Case) -> None:
    binned = instance("ins-1", InstanceState.SHUTDOWN)
    assert binned.is_in_recycle_bin
    case.absences.shown([binned])
    assert case.absences.without_lag({"ins-1": ONE}) == {"ins-1": ONE}
    case.swept(ONE)
    case.swept()
    assert not case.of(case.looked()).had_ended


def remembered(case: Case, ids: Collection[str]) -> list[bool]:
    return [case.of(case.looked(), one).had_ended for one in ids]


def test_an_end_is_forgotten_after_an_hour(case: Case) -> None:
    case.swept(ONE)
    case.absences.shown([ENDED])
    case.swept(after=KEPT.total_seconds())
    assert remembered(case, ["ins-1", "ins-2"]) == [True, False]
    case.swept(after=1)
    assert remembered(case, ["ins-1"]) == [False]
