"""Turns points in time into the geometry of charts: paths, bars, ticks. It is pure.

Apart from the template that draws them, so that the numbers can be tested. The drawings are SVG made on this side: a
library of charts in the browser would need a script of its own, and a looser content policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from kubectl_spot.ui.rows import duration

Point = tuple[float, float]

#: Size in units of the drawing, and the room for labels at its left and below.
WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 480, 170, 48, 22, 8

#: Lines drawn in one chart; a legend of more is not readable.
LINES_MAX = 6

#: Shortest time that a chart spans, and the number of bars of a chart of events.
SPAN_SECONDS, BARS = 60.0, 24


@dataclass(frozen=True, slots=True)
class Line:
    """`Line` is one line of a chart."""

    label: str
    path: str
    latest: str


@dataclass(frozen=True, slots=True)
class Bar:
    """`Bar` is one bar of a chart of events."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`Chart` is everything that the template draws. `summary` says the same in words."""

    title: str
    unit: str
    summary: str
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    y_ticks: Sequence[tuple[float, str]] = ()
    x_ticks: Sequence[tuple[float, str]] = ()
    more: int = 0
    width: int = field(default=WIDTH)
    height: int = field(default=HEIGHT)
    left: int = field(default=LEFT)

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to draw yet."""
        return not self.lines and not self.bars


def steps(title: str, unit: str, series: Mapping[str, Sequence[Point]], now: float, *, from_zero: bool) -> Chart:
    """Returns a chart of values that stay as they are until they change."""
    known = {label: points for label, points in series.items() if points}
    if not known:
        return Chart(title, unit, "Nothing has been seen yet.")
    drawn = dict(list(known.items())[:LINES_MAX])
    values = [value for points in drawn.values() for _, value in points]
    low, high, step = _scale(0.0 if from_zero else min(values), max(values), is_whole=from_zero)
    first = min(now - SPAN_SECONDS, *(points[0][0] for points in drawn.values()))

    def x(at: float) -> float:
        return round(LEFT + (WIDTH - LEFT) * (at - first) / (now - first), 1)

    def y(value: float) -> float:
        return round(ABOVE + (HEIGHT - BELOW - ABOVE) * (1 - (value - low) / (high - low)), 1)

    lines = []
    for label, points in drawn.items():
        path = f"M{x(points[0][0])} {y(points[0][1])}"
        path += "".join(f"H{x(at)}V{y(value)}" for at, value in points[1:]) + f"H{x(now)}"
        lines.append(Line(label, path, _plain(points[-1][1])))
    ticks = [low + step * index for index in range(round((high - low) / step) + 1)]
    return Chart(
        title=title,
        unit=unit,
        summary="; ".join(f"{line.label}: {line.latest}" for line in lines),
        lines=lines,
        y_ticks=[(y(value), _plain(value)) for value in ticks],
        x_ticks=_times(first, now),
        more=len(known) - len(drawn),
    )


def bars(title: str, unit: str, events: Sequence[tuple[float, int]], now: float) -> Chart:
    """Returns a chart of how much happened in each of equal spans of time."""
    if not events:
        return Chart(title, unit, "None has been seen.")
    first = min(now - 60 * SPAN_SECONDS, *(at for at, _ in events))
    span = (now - first) / BARS
    counts = [0] * BARS
    for at, count in events:
        counts[min(BARS - 1, max(0, int((at - first) / span)))] += count
    _, high, step = _scale(0.0, max(counts), is_whole=True)
    room, wide = HEIGHT - BELOW - ABOVE, (WIDTH - LEFT) / BARS
    drawn = [
        Bar(
            x=round(LEFT + index * wide + 1, 1),
            y=round(ABOVE + room * (1 - count / high), 1),
            width=round(wide - 2, 1),
            height=round(room * count / high, 1),
            label=f"{count}, {duration(timedelta(seconds=now - first - span * (index + 1)))} ago",
        )
        for index, count in enumerate(counts)
        if count
    ]
    ticks = [step * index for index in range(round(high / step) + 1)]
    return Chart(
        title=title,
        unit=unit,
        summary=f"{sum(counts)} in {duration(timedelta(seconds=now - first))}",
        bars=drawn,
        y_ticks=[(round(ABOVE + room * (1 - value / high), 1), _plain(value)) for value in ticks],
        x_ticks=_times(first, now),
    )


def _scale(low: float, high: float, *, is_whole: bool) -> tuple[float, float, float]:
    """Returns round bounds around the values, and the distance of ticks between them."""
    if high <= low:
        low, high = (0.0, max(1.0, high)) if is_whole else (low * 0.9, high * 1.1 or 1.0)
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    if is_whole:
        step = max(1.0, step)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return bottom, max(top, bottom + step), step


def _times(first: float, now: float) -> list[tuple[float, str]]:
    parts = [(LEFT + (WIDTH - LEFT) * index / 2, (now - first) * (1 - index / 2)) for index in range(3)]
    return [(round(x, 1), f"{duration(timedelta(seconds=ago))} ago" if ago >= 1 else "now") for x, ago in parts]


def _plain(value: float) -> str:
    return f"{value:.6g}" if value else "0"
