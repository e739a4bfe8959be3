"""Writes the quote of a paused environment: what would be bought if the pause ended now, and what is wrong.

Apart from `reconciler`, because people read it and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spotcompute.plan.quote import make_quote
from spotcompute.plan.situation import Situation
from spotcompute.reconcile.dry_run import find_field_errors
from spotcompute.reconcile.target import Target
from spotcompute.report.quote import quoted, requoted


async def quote_while_paused(
    target: Target, situation: Situation, previous: Mapping[str, Any], currency: str
) -> dict[str, Any] | None:
    """Returns `status.quote`, where `previous` is the one before. Returns None when nothing would be bought.

    The cloud is asked what is wrong with the spec once for each generation. Prices follow the market.
    """
    desired = situation.desired
    if not desired.paused or desired.deleting or not situation.missing:
        return None
    quote = make_quote(situation)
    if previous.get("checkedGeneration") == desired.generation:
        return requoted(quote, previous, currency)
    findings = await find_field_errors(situation, quote, target.access.provider, target.encoded_user_data, target.label)
    return quoted(quote, findings, desired.generation, currency)
