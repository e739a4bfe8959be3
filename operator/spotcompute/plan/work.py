"""Counts the attempts of machines that are to work until they power themselves off.

Apart from `capacity`, which counts what exists: here it is remembered what is gone, and how it went.
"""

from __future__ import annotations

from dataclasses import replace

from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Cause, Ledger, Member, WorkCount
from spotcompute.plan.capacity import finished, has_worked, occupies, taken

#: Ends that were asked for because of the environment. All others are losses: the work has to be done again.
_WANTED = frozenset({Cause.SCALED_DOWN, Cause.EXPIRED, Cause.ENVIRONMENT_DELETED, Cause.WORK_ENDED})


def with_end_counted(ledger: Ledger, member: Member, desired: Desired) -> Ledger:
    """Returns the ledger that remembers how `member` has gone, which is not in it any more.

    Until then the member itself says so. What was lost counts anew under a changed spec, what is done does not: a
    correction of a price must not run finished work a second time.
    """
    if desired.runs is None:
        return ledger
    before = ledger.work or WorkCount(desired.generation)
    if before.generation != desired.generation:
        before = replace(before, generation=desired.generation, lost=0)
    after = replace(before, ended=before.ended + has_worked(member), lost=before.lost + _is_loss(member))
    return ledger if after == WorkCount(desired.generation) else replace(ledger, work=after)


def attempts_left(ledger: Ledger, desired: Desired) -> int | None:
    """Returns how many machines may still be launched before all attempts are used. None where they are not bounded."""
    runs = desired.runs
    if runs is None:
        return None
    ended_here = sum(has_worked(member) and not occupies(member) for member in ledger.members.values())
    used = (ledger.work.ended if ledger.work else 0) + ended_here + lost(ledger, desired) + taken(ledger, desired)
    return max(0, runs.count * runs.attempts_max - used)


def lost(ledger: Ledger, desired: Desired) -> int:
    """Returns how many machines were lost before their work was done, since the last change of the spec."""
    before = ledger.work.lost if ledger.work and ledger.work.generation == desired.generation else 0
    return before + sum(_is_loss(member) and not occupies(member) for member in ledger.members.values())


def is_over(ledger: Ledger, desired: Desired) -> bool:
    """True when all work is done, whether or not the last machines are gone yet."""
    runs = desired.runs
    return runs is not None and 0 < runs.count <= finished(ledger, desired)


def _is_loss(member: Member) -> bool:
    cause = member.termination.cause if member.termination is not None else member.lost
    return cause is not None and cause not in _WANTED
