"""Chooses which identity an object has and which ledger is believed, after a restore, a wipe or a forgery too.

Annotation, status and memory are claims. Where they disagree, or remember nothing, the cloud's tags decide. Apart from
`reconcile.identity`, which reads the claims, asks the cloud and writes the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from spotcompute.model.identity import has_binding
from spotcompute.model.ledger import Ledger
from spotcompute.plan.ledger_sync import in_quarantine
from spotcompute.plan.policy import Policy


@dataclass(frozen=True, slots=True)
class Claims:
    """`Claims` holds what an object and this process remember of its identity. Each part may be lost, old or forged."""

    binding: str
    """What every identity of this object begins with."""
    ledger: Ledger | None = None
    """What status remembers; None when it remembers nothing, or nothing that can be read."""
    flaw: str | None = None
    """Why status cannot be what this operator has written; None when it can."""
    annotation: str | None = None
    has_finalizer: bool = False
    deleting: bool = False
    last_known_id: str | None = None
    """The identity under which this process has seen the object."""
    last_known_sequence: int = 0
    """The number of the latest launch that this process has seen in its status."""

    @property
    def remembers_nothing(self) -> bool:
        """True when status remembers neither an instance nor a launch."""
        return self.ledger is None or self.ledger.is_blank

    @property
    def given(self) -> list[str]:
        """Returns the identities that status and annotation name, status first, whoever they were given to."""
        of_ledger = self.ledger.environment_id if self.ledger else None
        return [one for one in (of_ledger, self.annotation) if one]

    @property
    def own(self) -> list[str]:
        """Returns the identities that were given to this object; those in memory only when the object names none."""
        named = self.given or [self.last_known_id or ""]
        return [one for one in named if has_binding(one, self.binding)]


class Question(Enum):
    """`Question` is what must be asked of the cloud before an identity can be chosen."""

    NOTHING = "the claims agree, and they remember something"
    ALIVE = "which identities of this object have instances"
    LEFT_BEHIND = "the same of an object that is being deleted and remembers no launch"


@dataclass(frozen=True, slots=True)
class IdentityChoice:
    """`IdentityChoice` names the identity to go on with.

    None stands for an identity that must be made when `is_new`, and otherwise for that of another object.
    """

    environment_id: str | None
    is_new: bool = False


class Disbelief(Enum):
    """`Disbelief` is a part of the stored state that was not believed."""

    LEDGER_FLAWED = "status.ledger is not what this operator writes"
    LEDGER_OF_ANOTHER = "status.ledger is that of another identity"
    ANNOTATION_OF_ANOTHER = "the annotation is another identity"


class Gap(Enum):
    """`Gap` is why a ledger that is believed may lack launches."""

    WENT_BACK = "this process has seen a later launch in it"
    IS_BEHIND = "it remembers nothing, and its identity has instances"


@dataclass(frozen=True, slots=True)
class Belief:
    """`Belief` holds the ledger to go on with, what was not believed, and why launches may be missing, if so."""

    ledger: Ledger
    disbelieved: tuple[Disbelief, ...] = ()
    gap: Gap | None = None


def question_of(claims: Claims) -> Question:
    """Returns what must be asked of the cloud. In a healthy cluster that is nothing."""
    ledger = claims.ledger
    if ledger is None or claims.flaw is not None or claims.annotation not in (None, ledger.environment_id):
        return Question.ALIVE
    if ledger.members or ledger.intents:
        return Question.NOTHING
    return Question.LEFT_BEHIND if claims.deleting and ledger.is_blank else Question.ALIVE


def choose_identity(claims: Claims, alive: Sequence[str]) -> IdentityChoice:
    """Returns the identity to go on with: an own one with instances, then any with instances, then an own one.

    `alive` are the identities of this object under which the cloud shows instances. An object made again under the
    same name takes over what the last one left. An object that names only identities of others gets none.
    """
    own = claims.own
    found = next((one for one in own if one in alive), None) or next(iter(alive), None) or next(iter(own), None)
    return IdentityChoice(found, is_new=found is None and not claims.given)


def choose_ledger(
    claims: Claims, choice: IdentityChoice, alive: Sequence[str], now: datetime, policy: Policy
) -> Belief:
    """Returns the ledger of the chosen identity. A new identity has been made already.

    A ledger that may lack launches is put in quarantine: what it lacks must show itself before anything is launched.
    """
    environment_id = choice.environment_id or ""
    disbelieved = tuple(_disbelieved(claims, environment_id))
    ledger = claims.ledger
    if ledger is None or claims.flaw is not None or ledger.environment_id != environment_id:
        # Our finalizer shows that the object was here before, so a ledger was lost and not merely never written.
        is_first = choice.is_new and not claims.has_finalizer
        ledger = Ledger(environment_id) if is_first else in_quarantine(Ledger(environment_id), now, policy)
    if ledger.sequence < claims.last_known_sequence:
        ledger = replace(ledger, sequence=claims.last_known_sequence)
        return Belief(in_quarantine(ledger, now, policy), disbelieved, Gap.WENT_BACK)
    if ledger.is_blank and environment_id in alive:
        return Belief(in_quarantine(ledger, now, policy), disbelieved, Gap.IS_BEHIND)
    return Belief(ledger, disbelieved)


def _disbelieved(claims: Claims, environment_id: str) -> Iterator[Disbelief]:
    if claims.flaw is not None:
        yield Disbelief.LEDGER_FLAWED
    elif claims.ledger is not None and claims.ledger.environment_id != environment_id:
        yield Disbelief.LEDGER_OF_ANOTHER
    if claims.annotation not in (None, environment_id):
        yield Disbelief.ANNOTATION_OF_ANOTHER
