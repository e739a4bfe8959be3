"""`make bench-makespan`: a job of 200 tasks on spot traces, beside the same job on machines that nobody takes back.

    python benchmarks/makespan_bench.py [--seed 1] [--traces DIR] [--starts 8] [--picture FILE]

It is requested at evenly spaced times of each trace. Without recorded traces (TRACES) one is invented. Where no zone
has room for hours, no rule can be in time: so the time is also compared with the least that the market allows. Exits
with 1 when a job takes more than 1.15 × that, or costs more than 1.10 × the useful machine-hours.
"""

from __future__ import annotations

import logging
import os
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import click
import structlog

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from market import traces  # noqa: E402 - after the paths
from market.makespan import Course, Work, course  # noqa: E402 - after the paths

#: What is promised: the makespan, and the bill, each beside what the work takes at least.
MAKESPAN, BILL = 1.15, 1.10


def _silence() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


@click.command(help=__doc__)
@click.option("--seed", default=1, show_default=True)
@click.option("--traces", "folder", default=os.environ.get("TRACES"), help="A clone of skypilot-org/spot-traces.")
@click.option("--starts", default=8, show_default=True, help="Times of each trace at which the job is requested.")
@click.option("--only", default="", help="Play the traces alone whose name holds this.")
@click.option("--processes", default=os.cpu_count() or 2, show_default=True)
@click.option("--picture", default=None, help="Draw the job that was broken off most often into this file.")
def main(seed: int, folder: str | None, starts: int, only: str, processes: int, picture: str | None) -> None:
    """Play all, and print the table."""
    _silence()
    described = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    work = Work()
    click.echo(f"commit {commit}, seed {seed}, {datetime.now(UTC):%Y-%m-%d}: {work}\n")
    try:
        sets = traces.recorded(Path(folder), seed) if folder else [traces.invented(14, seed)]
    except traces.TraceError as error:
        raise click.ClickException(str(error)) from None
    sets = [one for one in sets if only in one.name]
    with ProcessPoolExecutor(processes, initializer=_silence) as pool:
        jobs = [[pool.submit(course, one, n * one.ticks // starts, work) for n in range(starts)] for one in sets]
        played = [[job.result() for job in row] for row in jobs]
    head = ["trace", "jobs", "makespan, of uninterrupted", "of the least", "bill, of useful hours", "broken off"]
    click.echo(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    is_kept = [_show(row, work) for row in played]
    if picture is not None:
        from market.plots import draw_course  # matplotlib is there for pictures alone

        everything = [one for row in played for one in row]
        draw_course(max(everything, key=lambda one: one.lost / one.makespan), work, Path(picture))
    sys.exit(0 if all(is_kept) else 1)


def _show(row: list[Course], work: Work) -> bool:
    """Print the row of a trace: of each number the median and the most. True when all jobs keep the promise."""
    spans = [one.makespan / work.uninterrupted for one in row]
    rests = [one.makespan / one.least for one in row]
    bills = [one.billed / work.machine_seconds for one in row]
    numbers = [f"{statistics.median(found):.3f} · {max(found):.3f}" for found in (spans, rests, bills)]
    lost = f"{sum(one.lost for one in row):,} of {work.tasks * len(row):,}"
    click.echo(f"| {' | '.join([row[0].trace.name, str(len(row)), *numbers, lost])} |")
    return max(rests) <= MAKESPAN and max(bills) <= BILL


if __name__ == "__main__":
    main()
