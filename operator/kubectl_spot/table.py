"""Aligns rows as columns, as kubectl does it. Every table of the plugin is made here."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

Row = Sequence[str]

#: Spaces between two columns.
GAP = "   "


def columns(rows: Sequence[Row]) -> list[str]:
    """Returns rows of equal length as lines, aligned as kubectl does it: three spaces apart, no spaces at the end."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [GAP.join(map(_padded, row, widths)).rstrip() for row in rows]


def _padded(cell: str, room: int) -> str:
    return cell + " " * (room - width(cell))


def width(text: str) -> int:
    """Returns how many columns of a terminal `text` takes. A Chinese character takes two, an accent of its own none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
