"""Checks whether this operator can have written a ledger: what its open launches say must fit together.

Apart from `ledger_sync`, which compares entries with the cloud one by one. An open launch that was edited may hide a
real one, so the whole ledger is refused then, and rebuilt from the cloud's tags after a quarantine.
"""

from __future__ import annotations

from spotcompute.model.identity import is_launch_name, launch_token
from spotcompute.model.instance import Ownership
from spotcompute.model.launch import MAX_LAUNCH_COUNT
from spotcompute.model.ledger import Intent, Ledger

#: Most open launches at once: a handful for each backoff, in the time that launches can stay open.
INTENTS_MAX = 500


def ledger_flaw(ledger: Ledger, cluster_id: str) -> str | None:
    """Returns why this operator cannot have written the ledger. Returns None when it can."""
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
