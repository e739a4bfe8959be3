"""Every small world there is: most mistakes of counting show in one of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from plan.given import (
    THEIRS,
    accepted,
    ago,
    desired_of,
    instance,
    intent,
    ledger_of,
    member,
    observed_of,
    released,
    situation_of,
    synced,
)
from plan.judge import complaints, places_taken
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.ledger import Cause, Intent, Member
from spotcompute.model.observation import Absence
from spotcompute.plan.actions import Learned
from spotcompute.plan.planner import make_plan

STATES = [None, *(InstanceState(name) for name in ("PENDING", "RUNNING", "STOPPED", "SHUTDOWN", "TERMINATING"))]
MARKS = [
    {"seen": False, "arrived": False, "launched_at": ago(20)},
    {},
    {"lost": Cause.RECLAIMED},
    {"termination": released()},
    {"termination": accepted()},
]
INTENTS = [None, {"count": 1}, {"count": 2}, {"count": 2, "created_at": ago(700)}]


@dataclass(frozen=True)
class Kind:
    """One way a machine may be remembered and seen; `owner` False: its tags say somebody else's."""

    state: InstanceState | None
    mark: int
    is_ours: bool = True

    def remembered(self, key: str) -> Member:
        return member(key, **MARKS[self.mark])

    def seen(self, key: str) -> Instance | None:
        if self.state is None:
            return None
        ownership: Ownership | None = instance(key).ownership if self.is_ours else THEIRS
        return instance(key, self.state, ownership=ownership)


KINDS = [
    *(Kind(state, mark) for state in STATES for mark in range(len(MARKS))),
    *(Kind(InstanceState.RUNNING, mark, is_ours=False) for mark in (1, 3)),
]


#: Those that differ in how they are counted; three of a kind need no more than these.
CORE = [Kind(state, mark) for state in (None, InstanceState.RUNNING, InstanceState.STOPPED) for mark in range(1, 5)]


def groups() -> Iterator[tuple[Kind, ...]]:
    """Every group of up to two machines, and every three whose counting differs."""
    for size in range(3):
        yield from itertools.combinations_with_replacement(KINDS, size)
    yield from itertools.combinations_with_replacement(CORE, 3)


GROUPS = list(groups())


@pytest.mark.parametrize("replicas", range(4))
@pytest.mark.parametrize("opened", INTENTS, ids=["no-launch", "one-open", "two-open", "two-open-long-ago"])
def test_every_plan_of_a_small_world_is_a_good_plan(replicas: int, opened: dict[str, object] | None) -> None:
    desired = desired_of(replicas)
    launch: list[Intent] = [] if opened is None else [replace(intent(desired, int(str(opened["count"]))), **opened)]
    for kinds in GROUPS:
        keys = [f"ins-{number}" for number in range(len(kinds))]
        before = ledger_of(*launch, *(kind.remembered(key) for kind, key in zip(kinds, keys, strict=True)))
        sights = [kind.seen(key) for kind, key in zip(kinds, keys, strict=True)]
        observed = observed_of(
            *(sight for sight in sights if sight is not None),
            absent={key: Absence(3, True) for key, sight in zip(keys, sights, strict=True) if sight is None},
            searched=[item.name for item in launch],
        )
        situation = situation_of(desired, synced(before, desired, observed).ledger, observed)
        plan = make_plan(situation, Learned())
        assert complaints(situation, plan) == [], kinds
        # No pool rests, so whatever is missing is asked for now, unless a launch has to be settled first.
        assert launch or places_taken(plan.ledger) >= replicas, kinds
