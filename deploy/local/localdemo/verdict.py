"""Makes the table at the end: what the ledger says of the whole story, by environment.

Apart from `story` so that the figures are read again after everything is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from localdemo.simulator import Account

COLUMNS = (
    "ENVIRONMENT",
    "LAUNCHED",
    "MOST WANTED",
    "MOST LIVE",
    "TERMINATED",
    "RECLAIMED",
    "CONSOLE",
    "SECONDS",
    "COST",
    "LIVE NOW",
)


def table(rows: Iterable[tuple[str, int, Account]]) -> str:
    """Returns one line per environment (name, most instances wanted, its account), under their columns."""
    lines = [COLUMNS, *(_line(name, most_wanted, account) for name, most_wanted, account in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


def _line(name: str, most_wanted: int, account: Account) -> tuple[str, ...]:
    return (
        name,
        str(account.launched),
        str(most_wanted),
        str(account.peak),
        *(str(account.ended.get(by, 0)) for by in ("operator", "cloud", "console")),
        f"{account.billed_seconds:.0f}",
        f"${account.cost.quantize(Decimal('0.000001'))}",
        str(account.live),
    )
