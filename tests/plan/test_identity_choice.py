"""One table of what can become of an object's identity: what it claims, what the cloud shows, what is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from plan.given import NOW, POLICY, backoff_of, desired_of, intent, ledger_of, member
from spotcompute.model.ledger import Ledger
from spotcompute.plan.identity_choice import (
    Claims,
    Disbelief,
    Gap,
    IdentityChoice,
    Question,
    choose_identity,
    choose_ledger,
    question_of,
)

BINDING = "0123456789"
OWN, OTHER_OWN, FOREIGN, NEW = "0123456789-web001", "0123456789-web002", "9876543210-job002", "0123456789-fresh1"
QUARANTINE = NOW + POLICY.signature_lifetime + POLICY.listing_lag_max

FULL = replace(ledger_of(member("ins-1")), environment_id=OWN, sequence=3)
SETTLING = replace(ledger_of(intent(desired_of())), environment_id=OWN, sequence=3)
ENDED = Ledger(OWN, sequence=3)
BLANK = Ledger(OWN)

BELIEVED, WAITS = "believed as it is", "a blank one that waits"


@dataclass(frozen=True, slots=True)
class Case:
    """What an object claims, what the cloud shows when asked, and what becomes of it."""

    claims: Claims
    asked: Question
    alive: tuple[str, ...] = ()
    chosen: str | None = OWN
    ledger: str | Ledger = BELIEVED
    refused: tuple[Disbelief, ...] = ()
    gap: Gap | None = None


def claims(ledger: Ledger | None = None, annotation: str | None = None, **other: object) -> Claims:
    return replace(Claims(BINDING, ledger, annotation=annotation, has_finalizer=True), **other)


def waiting(ledger: Ledger) -> Ledger:
    return replace(ledger, quarantine_until=QUARANTINE)


ALIVE, NOTHING, LEFT_BEHIND = Question.ALIVE, Question.NOTHING, Question.LEFT_BEHIND
ANOTHERS_LEDGER, ANOTHERS_ANNOTATION = Disbelief.LEDGER_OF_ANOTHER, Disbelief.ANNOTATION_OF_ANOTHER

CASES = {
    # --- nothing has happened ---
    "healthy": Case(claims(FULL, OWN), NOTHING),
    "healthy and a launch is open": Case(claims(SETTLING, OWN), NOTHING),
    "healthy and everything has ended": Case(claims(ENDED, OWN), ALIVE),
    "new": Case(claims(has_finalizer=False), ALIVE, (), NEW, Ledger(NEW)),
    "cut off after the ledger was written": Case(claims(BLANK, has_finalizer=False), ALIVE),
    "deleting and blank": Case(claims(BLANK, OWN, deleting=True), LEFT_BEHIND),
    "deleting and blank, never annotated": Case(claims(BLANK, deleting=True, has_finalizer=False), LEFT_BEHIND),
    "deleting with instances": Case(claims(FULL, OWN, deleting=True), NOTHING),
    "deleting when everything has ended": Case(claims(ENDED, OWN, deleting=True), ALIVE),
    # --- memory was lost ---
    "all wiped but the finalizer": Case(claims(), ALIVE, (), NEW, WAITS),
    "all wiped, instances live": Case(claims(has_finalizer=False), ALIVE, (OWN,), OWN, WAITS),
    "all wiped, known to this process": Case(claims(last_known_id=OWN, last_known_sequence=3), ALIVE, (), OWN,
                                             waiting(ENDED), gap=Gap.WENT_BACK),
    "all wiped, known, another one lives": Case(claims(last_known_id=OWN), ALIVE, (OTHER_OWN,), OTHER_OWN, WAITS),
    "known to this process under another's": Case(claims(last_known_id=FOREIGN), ALIVE, (), NEW, WAITS),
    "status wiped": Case(claims(annotation=OWN), ALIVE, (), OWN, WAITS),
    "status wiped, instances live": Case(claims(annotation=OWN), ALIVE, (OWN,), OWN, WAITS),
    "annotation wiped": Case(claims(FULL), NOTHING),
    "restored from before the first launch": Case(claims(BLANK, OWN), ALIVE, (OWN,), OWN, waiting(BLANK),
                                                  gap=Gap.IS_BEHIND),
    "restored and everything has ended": Case(claims(ENDED, OWN), ALIVE, (OWN,)),
    "ledger went back": Case(claims(FULL, OWN, last_known_sequence=5), NOTHING, (), OWN,
                             waiting(replace(FULL, sequence=5)), gap=Gap.WENT_BACK),
    "ledger is as late as it was seen": Case(claims(FULL, OWN, last_known_sequence=3), NOTHING),
    "deleting and blank, instances live": Case(claims(BLANK, OWN, deleting=True), LEFT_BEHIND, (OWN,), OWN,
                                               waiting(BLANK), gap=Gap.IS_BEHIND),
    "made again under the same name": Case(claims(has_finalizer=False), ALIVE, (OTHER_OWN, OWN), OTHER_OWN, WAITS),
    # --- the claims disagree, or are forged ---
    "annotation of another object": Case(claims(annotation=FOREIGN), ALIVE, (), None),
    "annotation of another object, own ones live": Case(claims(annotation=FOREIGN), ALIVE, (OWN,), OWN, WAITS,
                                                        (ANOTHERS_ANNOTATION,)),
    "annotation of another object, own ledger": Case(claims(FULL, FOREIGN), ALIVE, (), OWN, BELIEVED,
                                                     (ANOTHERS_ANNOTATION,)),
    "ledger of another object": Case(claims(replace(FULL, environment_id=FOREIGN), OWN), ALIVE, (), OWN, WAITS,
                                     (ANOTHERS_LEDGER,)),
    "all of another object": Case(claims(replace(FULL, environment_id=FOREIGN), FOREIGN), NOTHING, (), None),
    "two of another object, own ones live": Case(claims(replace(ENDED, environment_id=FOREIGN), FOREIGN), ALIVE,
                                                 (OWN,), OWN, WAITS, (ANOTHERS_LEDGER, ANOTHERS_ANNOTATION)),
    "two own ones, none lives": Case(claims(FULL, OTHER_OWN), ALIVE, (), OWN, BELIEVED, (ANOTHERS_ANNOTATION,)),
    "two own ones, the annotation's lives": Case(claims(FULL, OTHER_OWN), ALIVE, (OTHER_OWN,), OTHER_OWN, WAITS,
                                                 (ANOTHERS_LEDGER,)),
    "two own ones, both live": Case(claims(FULL, OTHER_OWN), ALIVE, (OTHER_OWN, OWN), OWN, BELIEVED,
                                    (ANOTHERS_ANNOTATION,)),
    "ledger that we never wrote": Case(claims(FULL, OWN, flaw="two launches of one sequence"), ALIVE, (), OWN, WAITS,
                                       (Disbelief.LEDGER_FLAWED,)),
    "ledger that cannot be read": Case(claims(None, OWN, flaw="not a ledger"), ALIVE, (OWN,), OWN, WAITS,
                                       (Disbelief.LEDGER_FLAWED,)),
    "annotation that is no identity": Case(claims(annotation="0123456789-UPPER"), ALIVE, (), None),
}  # fmt: skip


def rows(cases: Mapping[str, Case]) -> list[Any]:
    return [pytest.param(case, id=name.replace(" ", "-")) for name, case in cases.items()]


def chosen(case: Case) -> IdentityChoice:
    choice = choose_identity(case.claims, case.alive)
    return replace(choice, environment_id=NEW) if choice.is_new else choice


@pytest.mark.parametrize("case", rows(CASES))
def test_the_cloud_is_asked_only_what_the_claims_leave_open(case: Case) -> None:
    assert question_of(case.claims) is case.asked


@pytest.mark.parametrize("case", rows(CASES))
def test_the_identity_is_an_own_one_and_before_all_one_that_has_instances(case: Case) -> None:
    assert chosen(case).environment_id == case.chosen


@pytest.mark.parametrize("case", rows({name: case for name, case in CASES.items() if case.chosen}))
def test_the_ledger_is_believed_or_waits_and_what_is_refused_is_named(case: Case) -> None:
    choice = chosen(case)
    assert choice.environment_id is not None
    belief = choose_ledger(case.claims, choice, case.alive, NOW, POLICY)
    if isinstance(case.ledger, Ledger):
        assert belief.ledger == case.ledger
    elif case.ledger is BELIEVED:
        assert belief.ledger is case.claims.ledger
    else:
        assert belief.ledger == waiting(Ledger(choice.environment_id))
    assert (belief.disbelieved, belief.gap) == (case.refused, case.gap)


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        pytest.param(None, True, id="none"),
        pytest.param(BLANK, True, id="blank"),
        pytest.param(ENDED, False, id="ended"),
        pytest.param(waiting(BLANK), False, id="waiting"),
        pytest.param(FULL, False, id="an-instance"),
    ],
)
def test_who_remembers_nothing_may_go_without_a_look(ledger: Ledger | None, expected: bool) -> None:
    assert claims(ledger).remembers_nothing is expected


def test_backoffs_alone_are_no_memory_of_a_launch() -> None:
    assert question_of(claims(replace(ledger_of(backoff_of()), environment_id=OWN), OWN)) is Question.ALIVE
