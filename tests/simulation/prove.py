"""`make prove`: plays histories and fault points by the ten thousand on all cores, resumably, and prints the figures.

    python tests/simulation/prove.py --histories 100000 --pairs 50000

Progress is kept in .cache/prove per commit: killed, it goes on where it was. Failing plays are printed with what
replays them, and make the exit code 1.
"""

from __future__ import annotations

import json
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path

import click
import structlog

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "tests")]

from simulation.faultpoint import Kind, Phase  # noqa: E402 - after the path is set
from simulation.history import run  # noqa: E402 - after the path is set
from simulation.scenarios import SCENARIOS, SMALLEST, pairs, play, single_points  # noqa: E402 - after the path is set

#: Plays handed to a process at once.
CHUNK = 20

Job = tuple[str, list[object]]


@click.command(help=__doc__)
@click.option("--histories", default=100_000, show_default=True, help="Random histories.")
@click.option("--pairs", "pair_count", default=50_000, show_default=True, help="Pairs of fault points.")
@click.option("--first-seed", default=1_000_000, show_default=True, help="Seed of the first history.")
@click.option("--processes", default=os.cpu_count() or 2, show_default=True)
def main(histories: int, pair_count: int, first_seed: int, processes: int) -> None:
    """Do everything that is not done yet for this commit, then print the table."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    state = ROOT / ".cache" / "prove" / f"{commit.strip()}-{first_seed}.jsonl"
    state.parent.mkdir(parents=True, exist_ok=True)
    done = {row["job"]: row for row in map(json.loads, state.read_text().splitlines())} if state.exists() else {}
    jobs = list(_jobs(histories, pair_count, first_seed))
    waiting = [(name, job) for name, job in jobs if name not in done]
    click.echo(f"{len(jobs)} jobs of {CHUNK} plays, {len(jobs) - len(waiting)} done before; state in {state}")
    started = time.monotonic()
    with ProcessPoolExecutor(processes, initializer=_silence) as pool, state.open("a") as log:
        for count, row in enumerate(pool.map(_work, waiting, chunksize=1), 1):
            done[row["job"]] = row
            log.write(json.dumps(row) + "\n")
            log.flush()
            _show_progress(count, len(waiting), started)
    _report([done[name] for name, _ in jobs], commit.strip(), first_seed, time.monotonic() - started)


def _jobs(histories: int, pair_count: int, first_seed: int) -> Iterator[tuple[str, Job]]:
    seeds = range(first_seed, first_seed + histories)
    for start in range(0, histories, CHUNK):
        yield f"histories {start}", ("history", list(seeds[start : start + CHUNK]))
    points = [(name, cells) for name in SCENARIOS for cells in single_points(name)]
    yield from _chunks("singles", points)
    small = [(name, cells) for name in SMALLEST for cells in pairs(name, random.Random(0))]
    others = [name for name in SCENARIOS if name not in SMALLEST]
    missing = max(0, pair_count - len(small))
    drawn = chain.from_iterable(
        ((name, cells) for cells in pairs(name, random.Random(f"{first_seed}/{name}"), missing // len(others) + 1))
        for name in others
    )
    yield from _chunks("pairs", [*small, *islice(drawn, missing)][:pair_count])


def _chunks(kind: str, plays: list[tuple[str, object]]) -> Iterator[tuple[str, Job]]:
    for start in range(0, len(plays), CHUNK):
        yield f"{kind} {start}", (kind, list(plays[start : start + CHUNK]))


def _silence() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


def _work(named: tuple[str, Job]) -> dict[str, object]:
    """Play one chunk; everything the table needs comes back as plain data."""
    name, (kind, plays) = named
    failures, launched, calls, replicas = [], 0, 0, 0
    for item in plays:
        if kind == "history":
            outcome = run(int(str(item)))
            replicas += outcome.replicas > 1
        else:
            scenario, cells = item  # type: ignore[misc]  # a pair by construction
            outcome, _ = play(scenario, {int(at): (Phase(cell[0]), Kind(cell[1])) for at, cell in cells.items()})
        launched, calls = launched + outcome.launched, calls + outcome.calls
        failures += [f"{kind} {outcome.name}: {violation}" for violation in outcome.violations[:2]]
    return {
        "job": name,
        "kind": kind,
        "plays": len(plays),
        "launched": launched,
        "calls": calls,
        "with_several_replicas": replicas,
        "failures": failures,
    }


def _show_progress(count: int, total: int, started: float) -> None:
    spent = time.monotonic() - started
    left = spent / count * (total - count)
    bar = "#" * (30 * count // total)
    end = "\n" if count == total or not sys.stderr.isatty() else ""
    if sys.stderr.isatty() or count == total or count % max(1, total // 50) == 0:
        text = f"\r[{bar:<30}] {count}/{total}  {spent / 60:.1f} min spent, {left / 60:.1f} min left "
        click.echo(text, nl=bool(end), err=True)


def _report(rows: list[dict[str, object]], commit: str, first_seed: int, seconds: float) -> None:
    plays: Counter[str] = Counter()
    failures: list[str] = []
    launched = calls = several = 0
    for row in rows:
        plays[str(row["kind"])] += int(str(row["plays"]))
        launched += int(str(row["launched"]))
        calls += int(str(row["calls"]))
        several += int(str(row["with_several_replicas"]))
        failures += [str(failure) for failure in row["failures"]]  # type: ignore[attr-defined]  # a list, from JSON
    click.echo(f"\ncommit {commit}, first seed {first_seed}, {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} min\n")
    click.echo("| what | number |\n|---|---|")
    click.echo(f"| simulated histories (with 2 or 3 replicas) | {plays['history']:,} ({several:,}) |")
    click.echo(f"| single fault points | {plays['singles']:,} |")
    click.echo(f"| pairs of fault points | {plays['pairs']:,} |")
    click.echo(f"| instances launched, cloud requests | {launched:,}, {calls:,} |")
    click.echo(f"| violations (over N, leaks, foreign kills, not converged, not quiet) | {len(failures)} |")
    for failure in failures[:20]:
        click.echo(f"FAILED {failure}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
