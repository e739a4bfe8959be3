"""How soon a machine that ends is asked for again: from its end to the RunInstances call, in the simulator's own books.

Fills environments on a real API server, waits until the machines are old enough, ends one after the other at random
moments by the simulator's control port, and prints the median and the 99th percentile. The settings are the operator's
defaults. `PYTHONPATH=operator:deploy/local:tests python benchmarks/reaction_bench.py --environments 100 --replicas 10`
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "deploy" / "local"), str(ROOT / "tests")]

from e2e.simulator import Account, Simulator  # noqa: E402 - after the paths
from operator_bench import fill, fleet  # noqa: E402 - after the paths

ENVIRONMENT_TAG = "spotcompute-environment"

#: How long to wait for what is still to be replaced after the last end, in seconds.
PATIENCE_SECONDS = 120.0

#: A machine that ends sooner than this, in seconds, counts against its pool, which then rests on purpose. With a lower
#: age the operator is told to count only younger ones. Below 180 s lists may lag, and ends are not proven by look-ups.
EARLY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What is ended, how often, and how it is shown."""

    ends: int
    rounds: int
    pause: float
    age: float
    reclaim_visible: tuple[str, ...]
    terminating_seconds: tuple[str, ...]


def owner(row: dict[str, Any]) -> str:
    """The environment that an instance was launched for."""
    return str(row["originalTags"].get(ENVIRONMENT_TAG))


def play_round(cloud: Simulator, customer: Account, options: Options, dice: random.Random) -> list[float]:
    """The seconds from each end to its answer. Begins when enough environments have a machine that is old enough."""
    while len(old := old_machines(cloud, customer, options.age)) < min(options.ends, environments_of(cloud, customer)):
        time.sleep(5.0)
    return reactions(cloud, customer, end_some(cloud, old, options, dice))


def old_machines(cloud: Simulator, customer: Account, age: float) -> dict[str, str]:
    """The oldest machine of each environment, where it is old enough."""
    now = float(cloud.get("clock")["now"])
    rows = sorted(cloud.running(customer), key=lambda row: -row["createdAt"])
    return {owner(row): row["id"] for row in rows if now - row["createdAt"] > age}


def environments_of(cloud: Simulator, customer: Account) -> int:
    """How many environments have machines."""
    return len({owner(row) for row in cloud.running(customer)})


def end_some(cloud: Simulator, by_owner: dict[str, str], options: Options, dice: random.Random) -> dict[str, float]:
    """Ends machines at random moments, of another environment each time; returns when, by environment."""
    ended = {}
    for environment in dice.sample(sorted(by_owner), min(options.ends, len(by_owner))):
        time.sleep(dice.uniform(0.0, 2 * options.pause))
        answer = cloud.post("interrupt", instances=[by_owner[environment]], notice_seconds=0)
        ended[environment] = float(answer["reclaimAt"])
    return ended


def reactions(cloud: Simulator, customer: Account, ended: dict[str, float]) -> list[float]:
    """Seconds from each end to the first launch for the same environment after it; waits until there are all."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        born: dict[str, float] = {}
        for row in cloud.instances(customer, gone=True):
            environment, at = owner(row), float(row["createdAt"])
            if environment in ended and at >= ended[environment]:
                born[environment] = min(at, born.get(environment, at))
        if len(born) == len(ended) or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    if len(born) < len(ended):
        raise SystemExit(f"{len(ended) - len(born)} of {len(ended)} machines were not replaced")
    return [born[environment] - at for environment, at in ended.items()]


@click.command(help=__doc__)
@click.option("--environments", default=100, show_default=True)
@click.option("--replicas", default=10, show_default=True, help="Instances of each environment.")
@click.option("--ends", default=40, show_default=True, help="Machines that end in each round, one per environment.")
@click.option("--rounds", default=1, show_default=True, help="Rounds of ends for each row.")
@click.option("--pause", default=2.0, show_default=True, help="Seconds between two ends, on average.")
@click.option("--age", default=EARLY_SECONDS, show_default=True, help="Seconds that machines live before they end.")
@click.option(
    "--reclaim-visible",
    type=click.Choice(["terminating", "shutdown", "absent"]),
    multiple=True,
    default=["terminating", "shutdown", "absent"],
    show_default=True,
    help="What the cloud shows of a machine that it has taken back. May be given several times.",
)
@click.option("--terminating-seconds", multiple=True, default=["0.5", "60"], show_default=True, help="For how long.")
@click.option("--seed", default=1, show_default=True)
def main(environments: int, replicas: int, seed: int, **chosen: Any) -> None:
    """Fill once, then play every combination."""
    options, dice = Options(**chosen), random.Random(seed)
    settings = {"EARLY_LOSS_SECONDS": f"{options.age:g}"} if options.age < EARLY_SECONDS else {}
    with fleet(environments, replicas, **settings) as (plane, cloud, customer, _):
        seconds = fill(plane, environments, replicas)
        click.echo(f"{environments} × {replicas} are Ready after {seconds:.1f} s")
        click.echo("| shown as | for | machines | p50 | p99 | longest |\n|---|---|---|---|---|---|")
        for visible in options.reclaim_visible:
            for shown in options.terminating_seconds if visible != "absent" else ("0",):
                cloud.post("switches", **{"reclaim-visible": visible, "terminating-seconds": shown})
                took = [second for _ in range(options.rounds) for second in play_round(cloud, customer, options, dice)]
                percentiles = quantiles(took, n=100, method="inclusive")
                figures = f"{percentiles[49]:.2f} s | {percentiles[98]:.2f} s | {max(took):.2f} s"
                click.echo(f"| {visible} | {shown} s | {len(took)} | {figures} |")
        if (exist := len(cloud.running(customer))) > environments * replicas:
            raise SystemExit(f"{exist} instances run, {environments * replicas} are wanted")


if __name__ == "__main__":
    main()
