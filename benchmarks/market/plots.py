"""One picture per trace: when which zones had room, and what each rule held."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from market.makespan import Course, Work
from market.models import Outcome
from market.traces import Trace

#: Rows of a picture are as long as this many points at most.
POINTS = 1200


def draw(trace: Trace, outcomes: list[Outcome], path: Path) -> None:
    """Write the picture of `trace` to `path`."""
    days = trace.ticks * trace.gap / 86_400
    step = max(1, trace.ticks // POINTS)
    zones = sorted(trace.room)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(11, 1.5 + 0.28 * (len(zones) + len(outcomes))), sharex=True,
        height_ratios=[len(zones), len(outcomes)], layout="constrained",
    )  # fmt: skip
    _bands(
        above,
        [[min(1.0, float(room)) for room in trace.room[zone][: trace.ticks : step]] for zone in zones],
        days,
        "Greens",
    )
    above.set_yticks(range(len(zones)), [f"{zone}  ${trace.price[zone]}" for zone in zones], fontsize=8)
    above.set_title(f"{trace.name}: when zones had room (assumed price per hour)", fontsize=10, loc="left")
    most = max(max(outcome.series, default=1) for outcome in outcomes) or 1
    _bands(below, [[count / most for count in outcome.series[::step]] for outcome in outcomes], days, "Blues")
    below.set_yticks(range(len(outcomes)), [_label(outcome) for outcome in outcomes], fontsize=8)
    below.set_title("what was held", fontsize=10, loc="left")
    below.set_xlabel("days")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_course(course: Course, work: Work, path: Path) -> None:
    """Write the picture of one job to `path`: which zones had room, and what ran and was paid for meanwhile."""
    trace, hours = course.trace, [at / 3600 for at, *_ in course.series]
    zones, end = sorted(trace.room), course.series[-1][0]
    ticks = [(course.first_tick + tick) % trace.ticks for tick in range(int(end / trace.gap) + 1)]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(11, 3.6 + 0.28 * len(zones)), sharex=True, height_ratios=[len(zones), 9], layout="constrained"
    )
    _bands(above, [[min(1.0, float(trace.room[zone][tick])) for tick in ticks] for zone in zones], end / 3600, "Greens")
    above.set_yticks(range(len(zones)), zones, fontsize=8)
    above.set_title(f"{trace.name}, from day {course.day:.1f}: when zones had room", fontsize=10, loc="left")
    paid, at_work = [one[2] for one in course.series], [one[1] for one in course.series]
    below.fill_between(hours, paid, color="#c6dbef", label="machines paid for", step="post")
    below.step(hours, at_work, color="#08519c", linewidth=1, label="tasks at work", where="post")
    below.axvline(work.uninterrupted / 3600, color="black", linestyle="--", linewidth=1, label="end without reclaims")
    below.axvline(course.makespan / 3600, color="#d94801", linewidth=1.5, label="end")
    below.set_ylim(0, work.parallelism * 1.3)
    below.set_xlim(0, 1.01 * end / 3600)
    below.set_title(
        f"{work.tasks} tasks, {work.parallelism} at a time: makespan {course.makespan / work.uninterrupted:.3f} ×,"
        f" bill {course.billed / work.machine_seconds:.3f} × the useful machine-hours, {course.lost} tasks broken off",
        fontsize=10,
        loc="left",
    )
    below.set_xlabel("hours since the request")
    below.legend(loc="upper center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _label(outcome: Outcome) -> str:
    return f"{outcome.name}  {outcome.held:.1%}, {outcome.interruptions} lost"


def _bands(axes: plt.Axes, rows: list[list[float]], days: float, colours: str) -> None:
    axes.imshow(
        rows,
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=0,
        vmax=1,
        extent=(0, days, len(rows) - 0.5, -0.5),
    )
    for edge in range(1, len(rows)):
        axes.axhline(edge - 0.5, color="white", linewidth=2)
