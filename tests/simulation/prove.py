"""`make prove`: plays new faults against the operator for the minutes it is given, and prints what it found.

    python tests/simulation/prove.py --minutes 30

Single faults, pairs of them, attacks by forgery, two clusters in one account, environments beside others in trouble, a
thousand rolls, histories with nodes, and histories are played in virtual time on all cores, in fixed shares of the
minutes. Beside them, all the time, the real operator is killed at its requests, and the tests run that are marked
`rare`. A violation is printed with the command that plays it again, and makes the exit code 1.
A run that was interrupted begins anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click
import structlog

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "tests")]

from simulation.killing import Kills, RareTests, play_kill  # noqa: E402 - after the path is set
from simulation.plays import (  # noqa: E402 - after the path is set
    attacks,
    fair_shares,
    farms,
    fault_pairs,
    histories,
    neighbourhoods,
    play_named,
    rolls,
    singles,
)
from simulation.tally import Tally, play_all  # noqa: E402 - after the path is set

#: Of each kind: who names its plays, at which part of the time it ends, and how many go to a process at once.
KINDS = {
    "singles": (singles, 0.1, 30),
    "pairs": (fault_pairs, 0.35, 30),
    "attacks": (attacks, 0.42, 5),
    "neighbours": (neighbourhoods, 0.45, 5),
    "fairness": (fair_shares, 0.47, 1),
    "rolls": (rolls, 0.58, 5),
    "farms": (farms, 0.68, 5),
    "histories": (histories, 1.0, 5),
}


class Progress:
    """How much of the time is over: a bar on a terminal, a line a minute elsewhere."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds, self._next_line = time.monotonic(), seconds, 60.0

    def is_past(self, part: float) -> bool:
        """True when that part of the time is over, from 0 to 1."""
        return time.monotonic() >= self.began + part * self.seconds

    def show(self, text: str) -> None:
        """Show `text` beside the time."""
        spent = time.monotonic() - self.began
        bar = "#" * min(30, int(30 * spent / self.seconds))
        line = f"[{bar:<30}] {spent / 60:.1f} of {self.seconds / 60:g} min  {text}"
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
        elif spent >= self._next_line:
            self._next_line += 60.0
            click.echo(line, err=True)


@click.command(help=__doc__)
@click.option("--minutes", default=30.0, show_default=True, help="How long to play.")
@click.option("--seed", type=int, help="What to play; drawn from the time and the commit if not given.")
@click.option("--processes", default=os.cpu_count() or 2, show_default=True)
@click.option("--kills/--no-kills", default=True, help="Also kill the real operator and run rare tests.")
@click.option("--play", "name", help="Play this again, say what it came to, and no more.")
def main(minutes: float, seed: int | None, processes: int, kills: bool, name: str | None) -> None:
    """Play until the minutes are over, then print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    if name:
        sys.exit(_replay(name))
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    drawn = int(hashlib.sha256(f"{datetime.now(UTC)} {commit}".encode()).hexdigest(), 16)
    seed = 100_000_000 + drawn % 900_000_000 if seed is None else seed
    click.echo(f"seed {seed}; to play the same: make prove MINUTES={minutes:g} SEED={seed}")
    everything, progress = Tally(), Progress(60 * minutes)
    until = progress.began + progress.seconds
    beside = [Kills(seed, until), RareTests(until)] if kills else []
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(10,)) as pool:
        for kind in KINDS:
            _play(kind, seed, pool, 2 * processes, everything, progress)
    while not all(run.is_over() for run in beside):
        progress.show("waiting for the last kills and rare tests")
        time.sleep(0.5)
    for run in beside:
        everything.add(Tally(*run.result()))
    _report(everything, f"{commit} · {seed} · {datetime.now(UTC):%Y-%m-%d} · {minutes:g}")
    sys.exit(1 if everything.violations else 0)


def _play(kind: str, seed: int, pool: ProcessPoolExecutor, ahead: int, everything: Tally, progress: Progress) -> None:
    """Play one kind until its part of the time is over, or all its plays are played; the rest is the next kind's."""
    draw, part, size = KINDS[kind]
    names = draw(seed)
    waiting: set[Future[Tally]] = set()

    def collect() -> None:
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        waiting.difference_update(done)
        for future in done:
            everything.add(future.result())
        progress.show(f"{kind} {everything.counts[kind]:,}, {len(everything.violations)} violations")

    while some := [*islice(names, size)]:
        waiting.add(pool.submit(play_all, kind, some))
        if len(waiting) >= ahead:
            collect()
        if progress.is_past(part):
            break
    while waiting:
        collect()


def _replay(name: str) -> int:
    """Play one play again, and show what it came to; exit code 1 for a violation."""
    if name.startswith("kill "):
        return play_kill(name)
    outcome = play_named(name)
    click.echo("\n".join([*outcome.log[-200:], *outcome.violations]) or outcome)
    return 1 if outcome.violations else 0


def _report(tally: Tally, run: str) -> None:
    """Print the table, then each violation with what plays it again and what keeps it."""
    counts, oracles = tally.counts, Counter(text.split()[0] for _, text in tally.violations)
    rows = {
        "commit · seed · date · minutes": run,
        "single fault points": f"{counts['singles']:,}",
        "pairs of fault points · of which both struck": f"{counts['pairs']:,} · {counts['pairs both struck']:,}",
        "histories · with 2 or 3 replicas": f"{counts['histories']:,} · {counts['histories with replicas']:,}",
        "rolls of twenty instances": f"{counts['rolls']:,}",
        "histories with nodes, notices and pods": f"{counts['farms']:,}",
        "attacks by forgery · two clusters in one account": f"{counts['attacks']:,} · {counts['neighbours']:,}",
        "environments beside others in trouble": f"{counts['fairness']:,}",
        "kill -9 on real parts · of which struck": f"{counts['kills']:,} · {counts['struck']:,}",
        "rare tests passed": f"{counts['rare']:,}",
        "instances launched · requests to the cloud": f"{counts['launched']:,} · {counts['calls']:,}",
        "records promised": f"{counts['records']:,}",
        "longest life of a visible orphan, seconds": f"{tally.longest_orphan:.0f}",
        "violations": ", ".join(f"{oracle} {n}" for oracle, n in sorted(oracles.items())) or "0",
    }
    click.echo(
        "\n\n| what | number |\n|---|---|\n" + "\n".join(f"| {what} | {number} |" for what, number in rows.items())
    )
    for name, text in tally.violations[:20]:
        row = json.dumps({"play": name, "why": "…"}, ensure_ascii=False)
        click.echo(f"\nFAILED {text}\n  play it again: {again(name, text)}")
        if name == "rare":
            continue
        click.echo(f"  once mended, add to tests/simulation/regressions.json: {row}")


def again(name: str, text: str) -> str:
    """Returns the command that plays a violation again."""
    return f"pytest -m rare '{text}'" if name == "rare" else f"make prove PLAY='{name}'"


if __name__ == "__main__":
    main()
