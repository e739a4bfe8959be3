"""Whether a ledger can have been written by us at all: what its open launches say must fit together.

Apart from `ledger_sync`, which holds entries against the cloud one by one: an open launch that was tampered with may
hide a real one, so then the whole ledger is refused, and rebuilt from the cloud's tags after the safe waiting time.
"""

from __future__ import annotations

from spotcompute.model.identity import is_launch_name, launch_token
from spotcompute.model.instance import Ownership
from spotcompute.model.launch import MAX_LAUNCH_COUNT
from spotcompute.model.ledger import Intent, Ledger

#: Open launches at once: a handful for each rest, as long as launches can stay open.
INTENTS_MAX = 500


def ledger_flaw(ledger: Ledger, cluster_id: str) -> str | None:
    """Why this ledger cannot be ours; None when it can."""
    sequences = [intent.sequence for intent in ledger.intents]
    if len(set(sequences)) < len(sequences):
        return "two launches of one sequence"
    if len(sequences) > INTENTS_MAX:
        return "more open launches than there can be"
    if sequences and max(sequences) > ledger.sequence:
        return "a launch after the last one"
    ownership = Ownership(cluster_id, ledger.environment_id)
    wrong = (f"launch {intent.sequence}: {why}" for intent in ledger.intents if (why := _wrong(intent, ownership)))
    return next(wrong, None)


def _wrong(intent: Intent, ownership: Ownership) -> str | None:
    if not 1 <= intent.count <= MAX_LAUNCH_COUNT:
        return "a count that no launch has"
    if not is_launch_name(intent.name, ownership, intent.sequence, intent.count):
        return "a name that is not its own"
    if intent.token != launch_token(ownership, intent.sequence, intent.digest):
        return "a token that is not its own"
    return None
