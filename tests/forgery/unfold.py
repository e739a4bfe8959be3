"""Ledgers with every member by itself, as anybody may write them: what forgers of single members begin with."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from spotcompute.api.times import to_text

#: What a lot says of all its members, by bit.
_FLAGS = {"seen": 1, "arrived": 2, "verified": 4, "onDemand": 8}


def members_of(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    """Every member of `status.ledger`, those of lots too."""
    members = [dict(one) for one in ledger.get("members", [])]
    for pool, template, sequence, launched_at, flags, ids in ledger.get("lots", []):
        common: dict[str, Any] = {
            "pool": ledger["pools"][pool],
            "launchedAt": to_text(datetime.fromtimestamp(launched_at, UTC)),
            **{name: True for name, bit in _FLAGS.items() if flags & bit},
            **({"templateDigest": ledger["templates"][template]} if template >= 0 else {}),
            **({"sequence": sequence} if sequence is not None else {}),
        }
        members += [{"id": one, **common} for one in ids]
    return members


def unfold(ledger: dict[str, Any]) -> None:
    """Take all lots apart, in place. What an earlier forger has left without sense stays as it is."""
    with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError, OverflowError):
        ledger["members"] = members_of(ledger)
        ledger.pop("lots", None)
