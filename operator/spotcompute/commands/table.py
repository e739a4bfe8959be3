"""Aligns rows as columns for a terminal, for every command that prints a table."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yields rows of equal length as lines: columns are two spaces apart, and no line ends with spaces."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (room - width(cell)) for cell, room in zip(row, widths, strict=True))
        yield (indent + "  ".join(cells)).rstrip()


def width(text: str) -> int:
    """Returns how many columns of a terminal `text` takes. A Chinese character takes two, an accent of its own none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
