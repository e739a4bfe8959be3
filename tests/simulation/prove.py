"""`make prove`: plays histories and fault points by the ten thousand on all cores, resumably, and prints the figures.

    python tests/simulation/prove.py --histories 100000 --pairs 50000

Progress is kept in .cache/prove: killed, it goes on where it was. `--record` writes what is done to a file that can be
committed, so that another machine goes on from there; `--check` plays some of that again. Failing plays are printed
with what replays them, and make the exit code 1.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click
import structlog

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "tests")]

from simulation.faultpoint import Kind, Phase  # noqa: E402 - after the path is set
from simulation.history import run  # noqa: E402 - after the path is set
from simulation.proof import BLOCK, CACHE, PROOFS, Record, Tally, version_of_what_is_played  # noqa: E402 - after it
from simulation.realparts import PARTS, RealPart  # noqa: E402 - after the path is set
from simulation.scenarios import (  # noqa: E402 - after the path is set
    SCENARIOS,
    SMALLEST,
    coverage,
    pairs,
    play,
    single_points,
)

#: Plays handed to a process at once.
CHUNK = 20

#: Seconds of a core for one play, as measured for docs/reliability.md: in proportion to each other, for the estimate.
SECONDS_OF_A_PLAY = {"histories": 0.17, "singles": 0.026, "pairs": 0.027}

Job = tuple[str, list[Any]]


@click.command(help=__doc__)
@click.option("--histories", default=100_000, show_default=True, help="Random histories.")
@click.option("--pairs", "pair_count", default=50_000, show_default=True, help="Pairs of fault points.")
@click.option("--first-seed", default=4_000_000, show_default=True, help="Seed of the first history.")
@click.option("--processes", default=os.cpu_count() or 2, show_default=True)
@click.option("--real/--no-real", default=True, help="Also kill the real operator at every request, and plant mutants.")
@click.option("--only", "names", multiple=True, type=click.Choice(sorted(PARTS)), help="Do this real part, no plays.")
@click.option("--record", is_flag=True, help="Write what is done to tests/simulation/proofs, and play nothing.")
@click.option("--check", default=0, metavar="N", help="Play N recorded jobs again, compare their digests, and no more.")
def main(
    histories: int,
    pair_count: int,
    first_seed: int,
    processes: int,
    real: bool,
    names: tuple[str, ...],
    record: bool,
    check: int,
) -> None:
    """Do everything that is not done yet for this code, then print the table."""
    _silence()
    parts = {name: RealPart(part) for name, part in PARTS.items()}
    if names:
        sys.exit(sum(not parts[name].run(processes) for name in names if not parts[name].is_done()))
    jobs = dict(_jobs(histories, pair_count, first_seed))
    proof = Record(list(jobs), first_seed, CACHE)
    if record:
        added = sum(part.record() for part in parts.values())
        blocks = proof.write_blocks(_commit())
        click.echo(f"{blocks} blocks of {BLOCK} jobs and {added} real parts added to {PROOFS.relative_to(ROOT)}")
        sys.exit(0)
    if check:
        sys.exit(_check(proof, jobs, check))
    waiting = [(name, jobs[name]) for name in proof.missing()]
    mutants_failed = real and not parts["mutants"].is_done() and not parts["mutants"].run(processes)
    others = _start_kills_and_drills(proof.path.with_suffix(".log")) if real else None
    click.echo(f"{len(jobs)} jobs of {CHUNK} plays, {len(jobs) - len(waiting)} done before; state in {proof.path}")
    efforts = [SECONDS_OF_A_PLAY[kind] * len(plays) for _, (kind, plays) in waiting]
    started = time.monotonic()
    with ProcessPoolExecutor(processes, initializer=_be_modest) as pool:
        for count, (name, tally) in enumerate(pool.map(_work, waiting, chunksize=1), 1):
            proof.enter(name, tally)
            _show_progress(count, efforts, started)
            for failure in tally.failures:
                click.echo(f"\nFAILED {failure}", err=True)
    if others is not None:
        click.echo("waiting for the kills and drills on real parts")
    others_failed = others is not None and others.wait() != 0
    tallies = list(proof.tallies())
    _report(tallies, first_seed, processes, [row for part in parts.values() if (row := part.row()) is not None])
    sys.exit(1 if mutants_failed or others_failed or any(tally.failures for tally in tallies) else 0)


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return described.stdout.strip()


def _check(proof: Record, jobs: Mapping[str, Job], count: int) -> int:
    """Play some of what was recorded again, whoever recorded it; the number that came to something else."""
    recorded = proof.digests()
    differing = 0
    for name in random.sample(sorted(recorded), min(count, len(recorded))):
        _, tally = _work((name, jobs[name]))
        same = tally.digests == [recorded[name]]
        differing += not same
        click.echo(f"{name}: {'the same' if same else 'SOMETHING ELSE than was recorded'}")
    if not recorded:
        click.echo("nothing is recorded for this code and this first seed", err=True)
    return differing or not recorded


def _start_kills_and_drills(output: Path) -> subprocess.Popen[bytes]:
    """Beside the plays, since they mostly wait."""
    click.echo(f"kills and drills on real parts go on beside the plays: {output}")
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--only", "kills", "--only", "drills"]
    with output.open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)


def _jobs(histories: int, pair_count: int, first_seed: int) -> Iterator[tuple[str, Job]]:
    """Histories first: they find what points do not, and a fault that is found late voids all that was played."""
    seeds = range(first_seed, first_seed + histories)
    for start in range(0, histories, CHUNK):
        yield f"histories {first_seed + start}", ("histories", list(seeds[start : start + CHUNK]))
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


def _be_modest() -> None:
    """Before the first play of a process: no log lines, and the real parts beside go first."""
    os.nice(10)
    _silence()
    gc.freeze()  # What is loaded by now stays: not to look through it again saves a fiftieth of the time.


def _silence() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


def _work(named: tuple[str, Job]) -> tuple[str, Tally]:
    """Play one chunk; everything the table needs comes back as plain data."""
    name, (kind, plays) = named
    started = time.monotonic()
    gc.disable()  # A play makes much and keeps nothing: to look through it all once a chunk saves a fifth of the time.
    tally, digest = Tally(kind), hashlib.sha256()
    for item in plays:
        if kind == "histories":
            outcome = run(item)
        else:
            scenario, cells = item
            outcome = play(scenario, {int(at): (Phase(one), Kind(two)) for at, (one, two) in cells.items()})[0]
        tally.count(outcome)
        digest.update(outcome.digest.encode())
    gc.collect()
    tally.seconds = time.monotonic() - started
    tally.digests.append(digest.hexdigest()[:8])
    return name, tally


def _show_progress(count: int, efforts: list[float], started: float) -> None:
    total = len(efforts)
    spent = time.monotonic() - started
    left = spent * sum(efforts[count:]) / sum(efforts[:count])
    bar = "#" * (30 * count // total)
    end = "\n" if count == total or not sys.stderr.isatty() else ""
    if sys.stderr.isatty() or count == total or count % max(1, total // 50) == 0:
        text = f"\r[{bar:<30}] {count}/{total}  {spent / 60:.1f} min spent, {left / 60:.1f} min left "
        click.echo(text, nl=bool(end), err=True)


def _report(done: Iterable[Tally], first_seed: int, processes: int, more: list[tuple[str, str]]) -> None:
    tallies = {kind: Tally(kind) for kind in ("histories", "singles", "pairs")}
    everything = Tally("everything")
    for tally in done:
        tallies[tally.kind].add(tally)
        everything.add(tally)
    histories, singles, double = tallies.values()
    minutes = everything.seconds / processes / 60
    kinds = Counter(failure.split(": ", 1)[1].split()[0] for failure in everything.failures)
    lines = [
        ("simulated histories · with 2 or 3 replicas · with 6 or 20 environments",
         f"{histories.plays:,} · {histories.several_replicas:,} · {histories.many_environments:,}"),
        ("single fault points, in scenarios", f"{singles.plays:,}, in {len(SCENARIOS)}"),
        ("pairs of fault points · of which both struck", f"{double.plays:,} · {double.struck:,}"),
        ("instances launched · requests to the cloud", f"{everything.launched:,} · {everything.calls:,}"),
        ("leaks · foreign kills · instances over N at any commit", f"{kinds['O1']} · {kinds['O3']} · {kinds['O2']}"),
        ("histories with an API server away, rewound, or with empty or partial lists", f"{histories.tempted:,}"),
        ("longest life of a visible orphan after the last fault, seconds", f"{everything.longest_orphan:.0f}"),
        ("not converged in bound, or not quiet for 24 virtual hours", f"{kinds['O4'] + kinds['process']}"),
        ("activity records promised · lost", f"{everything.records:,} · {kinds['O6']}"),
    ]  # fmt: skip
    commit = f"commit {_commit()}, code {version_of_what_is_played()}"
    click.echo(f"\n{commit}, first seed {first_seed}, {datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} min\n")
    click.echo("| what | number |\n|---|---|")
    for what, number in [*lines, *more]:
        click.echo(f"| {what} | {number} |")
    _show_coverage()
    for failure in everything.failures[:20]:
        click.echo(f"FAILED {failure}")


def _show_coverage() -> None:
    """Every request the operator makes, and how many single points there are for it in each phase."""
    points = coverage()
    click.echo("\n| request | " + " | ".join(Phase) + " |\n|---|" + "---|" * len(Phase))
    for request in sorted({request for request, _ in points}):
        counts = [sum(n for (name, cell), n in points.items() if name == request and cell[0] is at) for at in Phase]
        click.echo(f"| {request} | " + " | ".join(f"{count:,}" for count in counts) + " |")


if __name__ == "__main__":
    main()
