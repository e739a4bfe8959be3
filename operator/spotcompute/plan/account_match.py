"""Decides whether the key in use belongs to the account in which an environment's instances were launched.

Apart from `ledger_sync` because everything there takes absence for evidence, and in another account it is none. A key
proves nothing by itself: keys are rotated, and temporary ones every hour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from spotcompute.model.activity import Activity, ActivityState, ActivityType
from spotcompute.model.desired import Desired
from spotcompute.model.identity import is_of_launch
from spotcompute.model.ledger import Cause, Ledger
from spotcompute.model.observation import Observation
from spotcompute.plan.capacity import occupying
from spotcompute.plan.policy import Policy


class AccountMatch(StrEnum):
    """`AccountMatch` says whether absence is evidence: it is in the `SAME` account, and not in any `OTHER`."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AccountVerdict:
    """`AccountVerdict` says whether a run goes on with what the key shows.

    It `waits` while the key does not show the account of the ledger. `waits_until` is when it stops waiting: a deleted
    object goes then, and another begins anew. `left_behind` tells what was in its ledger then.
    """

    match: AccountMatch
    ledger: Ledger
    waits: bool = False
    waits_until: datetime | None = None
    left_behind: tuple[Activity, ...] = ()


def judge_account(
    ledger: Ledger, observed: Observation, deleted_at: datetime | None, now: datetime, policy: Policy
) -> AccountVerdict:
    """Decides whether to go on with what the key shows, to wait for another key, or to leave instances behind.

    An object that is to go waits for a key that shows more, but not for ever. Then its ledger is emptied. So does an
    environment when the account cannot be told. Where the number is known to be another, it waits for ever.
    """
    match = match_account(ledger, observed)
    ledger = with_reach(ledger, match, now)
    if match is AccountMatch.SAME:
        return AccountVerdict(match, ledger)
    until = _waits_until(ledger, match, deleted_at, now, policy)
    if until is None or now < until:
        return AccountVerdict(match, ledger, waits=True, waits_until=until)
    ledger, activity = leave_behind(ledger, now)
    return AccountVerdict(match, ledger, left_behind=(activity,))


def match_account(ledger: Ledger, observed: Observation) -> AccountMatch:
    """Compares the account in the ledger with the account that was looked at.

    The best evidence is an instance of ours that the key shows, or has shown in a list before, because status may be
    forged. The account's number comes next. An equal name of the key proves the same account; another name proves
    nothing. When nothing is owned and nothing is on its way, any account will do.
    """
    if not _has_stake(ledger) or _shows_one(ledger, observed):
        return AccountMatch.SAME
    noted = ledger.account
    if noted is None or noted in (observed.account, observed.key):
        return AccountMatch.SAME
    if observed.account and is_number(noted):
        return AccountMatch.OTHER
    return AccountMatch.SAME if observed.instances else AccountMatch.UNKNOWN


def account_to_note(ledger: Ledger, observed: Observation) -> str | None:
    """Returns what to remember as the account: its number, or the name of the key while the number is not known.

    An earlier number stays while something is owned: it is worth more than the name of a key.
    """
    if observed.account:
        return observed.account
    if is_number(ledger.account) and _has_stake(ledger):
        return ledger.account
    return observed.key or None


def with_reach(ledger: Ledger, match: AccountMatch, now: datetime) -> Ledger:
    """Returns the ledger with the time since when the key in use does not show its account, or without one."""
    since = ledger.out_of_reach_since
    if match is AccountMatch.SAME:
        return ledger if since is None else replace(ledger, out_of_reach_since=None)
    # The clock was set back, or status was edited: count from now on.
    return replace(ledger, out_of_reach_since=now) if since is None or since > now else ledger


def awaits_number(desired: Desired, ledger: Ledger, observed: Observation) -> bool:
    """True when nothing should be launched before the cloud has told the account, as long as it is likely to tell it.

    Only where nothing is owned yet, and nothing shows: what is lost is replaced at once.
    """
    wants = desired.replicas > 0 and not (desired.paused or desired.deleting or desired.expired)
    is_told = bool(observed.account) or is_number(ledger.account)
    return wants and not is_told and not _has_stake(ledger) and not observed.instances


def _waits_until(
    ledger: Ledger, match: AccountMatch, deleted_at: datetime | None, now: datetime, policy: Policy
) -> datetime | None:
    """Returns when a key that shows the instances is waited for no more. Returns None when that never comes."""
    if deleted_at is not None:
        return left_behind_at(ledger, match, deleted_at, policy)
    is_other = match is AccountMatch.OTHER
    return None if is_other else (ledger.out_of_reach_since or now) + policy.other_account_wait_max


def left_behind_at(ledger: Ledger, match: AccountMatch, deleted_at: datetime, policy: Policy) -> datetime:
    """Returns when a deleted object stops waiting for a key that shows its instances."""
    wait = policy.other_account_wait_max if match is AccountMatch.OTHER else policy.unknown_account_wait_max
    return max(ledger.out_of_reach_since or deleted_at, deleted_at) + wait


def leave_behind(ledger: Ledger, now: datetime) -> tuple[Ledger, Activity]:
    """Returns the ledger without what the key does not show, and the line that names it: it may still cost money."""
    ids = tuple(member.id for member in occupying(ledger))
    names = ", ".join(intent.name for intent in ledger.intents)
    message = f"account {ledger.account}, which the key in use does not show"
    if names:
        message += f"; also launches called {names}, whose outcome is not known"
    activity = Activity(
        ActivityType.DISOWN,
        ActivityState.SUCCEEDED,
        cause=Cause.OUT_OF_REACH,
        started_at=ledger.out_of_reach_since or now,
        ended_at=now,
        instance_ids=ids,
        message=message,
    )
    return replace(ledger, members={}, intents=(), out_of_reach_since=None), activity


def _has_stake(ledger: Ledger) -> bool:
    """True when something is owned in the account of the ledger, or may still turn up there."""
    return bool(ledger.intents or occupying(ledger))


def _shows_one(ledger: Ledger, observed: Observation) -> bool:
    """True when the key shows an instance that is recorded, or was launched by us."""
    listed = any(absence.was_listed for key, absence in observed.absent.items() if key in ledger.members)
    found = not ledger.members.keys().isdisjoint(observed.instances)
    launched = (is_of_launch(one, intent) for one in observed.instances.values() for intent in ledger.intents)
    return listed or found or any(launched)


def is_number(account: str | None) -> bool:
    """True when the text is the number of an account, and not ``<name of the key>/<region>`` of an earlier version."""
    return account is not None and account.isascii() and account.isdigit()
