"""`make bench-scale`: what the operator promises at scale, each row beside its bound, judged by the simulator's ledger.

Every row begins with an empty control plane and cloud, and can be played alone: `make bench-scale SCALE='fill-one'`.
Rows that wait until machines are older than ten minutes take that long; the others take one to six minutes. The
settings are the operator's defaults. Exits with 1 when a bound is missed or an instance is one too many.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import quantiles

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "deploy" / "local"), str(ROOT / "tests")]

from e2e.simulator import Account, Simulator  # noqa: E402 - after the paths
from localcluster.controlplane import ControlPlane  # noqa: E402 - after the paths
from operator_bench import cpu_seconds, fill, fleet, memory_mib, writes  # noqa: E402 - after them
from reaction_bench import EARLY_SECONDS, Options, play_round  # noqa: E402 - after the paths

#: Instances in one RunInstances call at most, and calls per second that the cloud allows.
IN_ONE_CALL, CALLS_PER_SECOND = 100, 10.0

#: Seconds that machines stay PENDING. The simulator varies it by a third.
BOOT_SECONDS = 3.0

#: Seconds in which the last words about a fill are written, and the seconds of a steady state that are measured.
LAST_WORDS_SECONDS, STEADY_SECONDS = 20.0, 60.0

#: How long to wait for what has a bound of some seconds.
PATIENCE_SECONDS = 120.0

#: Instances that a sweep lists in a second, and its shortest interval: the operator's share of the rate.
LISTED_PER_SECOND, SWEEP_SECONDS = 760.0, 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    what: str
    measured: str
    bound: str
    holds: bool


def line(what: str, found: float, bound: float, unit: str) -> Line:
    return Line(what, f"{found:.2f} {unit}", f"≤ {bound:g} {unit}", found <= bound)


def sweep_of(instances: int) -> float:
    """The seconds between two sweeps of an account with so many instances."""
    return max(SWEEP_SECONDS, instances / LISTED_PER_SECOND)


# --- rows ------------------------------------------------------------------------------------------------------------


def filled(environments: int, replicas: int, times: float) -> Iterator[Line]:
    """The time to fill, against the calls at the rate and the boot of the last machine."""
    with fleet(environments, replicas) as (plane, cloud, customer, _):
        time.sleep(LAST_WORDS_SECONDS)  # the start of the process is measured by start_bench
        yield fill_line(plane, cloud, customer, environments, replicas, times)


def fill_line(
    plane: ControlPlane, cloud: Simulator, customer: Account, environments: int, replicas: int, times: float
) -> Line:
    began = float(cloud.get("clock")["now"])
    seconds = fill(plane, environments, replicas)
    judge(cloud, customer, environments * replicas)
    needed = environments * -(-replicas // IN_ONE_CALL)
    optimum = needed / CALLS_PER_SECOND + BOOT_SECONDS
    born, runs = last_moments(cloud, customer)
    what = (
        f"fill {environments:,} × {replicas:,}: {seconds:.1f} s, last call after {born - began:.1f} s, last machine"
        f" runs after {runs - began:.1f} s; {needed} calls at the rate, and boot: {optimum:.1f} s"
    )
    return line(what, seconds / optimum, times, "×")


def last_moments(cloud: Simulator, customer: Account) -> tuple[float, float]:
    """When the last machine was bought, and when the last one began to run, by the simulator's clock."""
    rows = cloud.instances(customer, gone=True)
    runs = (change["time"] for row in rows for change in row["changes"] if change["state"] == "RUNNING")
    return max(float(row["createdAt"]) for row in rows), max(runs)


def steady(environments: int, replicas: int, cpu: float, rss: float) -> Iterator[Line]:
    """The fill, and what it costs when nothing happens."""
    with fleet(environments, replicas) as (plane, cloud, customer, operator):
        time.sleep(LAST_WORDS_SECONDS)
        yield fill_line(plane, cloud, customer, environments, replicas, 1.15)
        time.sleep(2 * LAST_WORDS_SECONDS)
        before = writes(plane), cpu_seconds(operator.pid)
        time.sleep(STEADY_SECONDS)
        used, name = cpu_seconds(operator.pid) - before[1], f"steady {environments:,} × {replicas:,}"
        yield line(f"{name}: CPU of a core", 100 * used / STEADY_SECONDS, cpu, "%")
        yield line(f"{name}: resident memory", memory_mib(operator.pid), rss, "MiB")
        yield line(f"{name}: writes to Kubernetes", writes(plane) - before[0], 0, "")
        judge(cloud, customer, environments * replicas)


def shown(environments: int, replicas: int, seconds: float, rss: float) -> Iterator[Line]:
    """From the last Ready until each instance has an object that shows it running, and what objects cost at rest."""
    count, name = environments * replicas, f"objects of {environments:,} × {replicas:,}"
    with fleet(environments, replicas) as (plane, cloud, customer, operator):
        time.sleep(LAST_WORDS_SECONDS)
        yield fill_line(plane, cloud, customer, environments, replicas, 1.15 * 1.05)
        found = seconds_until(lambda: running_objects(plane) == count, patience=2 * seconds)
        yield line(f"{name}: complete after the fill", found, seconds, "s")
        time.sleep(2 * LAST_WORDS_SECONDS)
        before = writes(plane)
        time.sleep(STEADY_SECONDS)
        yield line(f"{name}: writes to Kubernetes at rest", writes(plane) - before, 0, "")
        yield line(f"{name}: resident memory", memory_mib(operator.pid), rss, "MiB")
        judge(cloud, customer, count)


def running_objects(plane: ControlPlane) -> int:
    """How many objects of instances show a machine that runs and is ready."""
    states = plane.kubectl.run("get", "si", "-o", "jsonpath={.items[?(@.status.ready==true)].status.state}")
    return states.split().count("RUNNING")


def reaction(environments: int, replicas: int, age: float, seed: int) -> Iterator[Line]:
    """From the end of a machine to the call for its successor, as each setting of the cloud shows the end."""
    dice, settings = random.Random(seed), {"EARLY_LOSS_SECONDS": f"{age:g}"} if age < EARLY_SECONDS else {}
    count = environments * replicas
    slack = 0.0 if count <= 1_000 else sweep_of(count)
    with fleet(environments, replicas, **settings) as (plane, cloud, customer, _):
        fill(plane, environments, replicas)
        for visible, shown in [("absent", "0"), *((v, s) for v in ("terminating", "shutdown") for s in ("0.5", "60"))]:
            cloud.post("switches", **{"reclaim-visible": visible, "terminating-seconds": shown})
            options = Options(min(40, environments), 1, 2.0, age, (visible,), (shown,))
            percentiles = quantiles(play_round(cloud, customer, options, dice), n=100, method="inclusive")
            what = f"end → create call, {environments} × {replicas}, older than {age:g} s, {visible} for {shown} s"
            yield line(f"{what}, p50", percentiles[49], slack + 3, "s")
            yield line(f"{what}, p99", percentiles[98], slack + 5, "s")
        if (exist := len(cloud.running(customer))) > count:
            raise SystemExit(f"{exist} instances run, {count} are wanted")


def blind(environments: int, replicas: int) -> Iterator[Line]:
    """From the first refused or unanswered call until no environment says Ready True."""
    sweep = sweep_of(environments * replicas)
    # One blip of the line must change nothing, so a view may grow as old as two sweeps and the grace first.
    causes: dict[str, tuple[float, dict[str, str]]] = {
        "the cloud is down": (2 * sweep + 10, {"kind": "reset"}),
        "the key is refused": (sweep + 2, {"kind": "error", "code": "AuthFailure.SecretIdNotFound"}),
    }
    for cause, (bound, fault) in causes.items():
        with fleet(environments, replicas) as (plane, cloud, customer, _):
            fill(plane, environments, replicas)
            time.sleep(LAST_WORDS_SECONDS)
            cloud.post("faults", action="*", account=customer.uin, times=0, **fault)
            seconds = seconds_until(partial(says_ready, plane, 0))
            yield line(f"{environments} × {replicas}: {cause}, until no Ready is True", seconds, bound, "s")
            cloud.clear_faults()
            seconds = seconds_until(partial(says_ready, plane, environments))
            yield line(f"{environments} × {replicas}: {cause} no more, until all are Ready", seconds, 60, "s")
            judge(cloud, customer, environments * replicas)


def says_ready(plane: ControlPlane, wanted: int) -> bool:
    """True when so many environments say that they are Ready."""
    path = 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
    return plane.kubectl.run("get", "sce", "-o", path).split().count("True") == wanted


def seconds_until(holds: Callable[[], bool], patience: float = PATIENCE_SECONDS) -> float:
    since = time.monotonic()
    while not holds():
        if time.monotonic() - since > patience:
            return float("inf")
        time.sleep(0.1 if patience <= PATIENCE_SECONDS else 2.0)
    return time.monotonic() - since


def judge(cloud: Simulator, customer: Account, wanted: int) -> None:
    """Ends the program unless the ledger holds exactly so many instances, and never held more."""
    if (ever := len(cloud.instances(customer, gone=True))) != wanted:
        raise SystemExit(f"{ever} instances were bought, {wanted} are wanted")


Row = Callable[[float, int], Iterator[Line]]

ROWS: dict[str, Row] = {
    "fill-one": lambda age, seed: filled(1, 2_000, 1.15),
    "fill-many": lambda age, seed: filled(200, 50, 1.15),
    "steady-10000": lambda age, seed: steady(200, 50, 20, 200),
    "steady-1000x20": lambda age, seed: steady(1_000, 20, 50, 300),
    "objects-10000": lambda age, seed: shown(200, 50, 300, 260),
    "blind": lambda age, seed: blind(20, 5),
    "reaction-1000": lambda age, seed: reaction(100, 10, age, seed),
    "reaction-10000": lambda age, seed: reaction(200, 50, age, seed),
}


@click.command(help=__doc__)
@click.argument("rows", nargs=-1, type=click.Choice(list(ROWS)))
@click.option("--age", default=EARLY_SECONDS, show_default=True, help="Seconds that machines live before they end.")
@click.option("--seed", default=1, show_default=True)
def main(rows: tuple[str, ...], age: float, seed: int) -> None:
    """Play the rows, all of them when none is named."""
    described = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
    click.echo(f"commit {commit}, seed {seed}, {datetime.now(UTC):%Y-%m-%d}, load average before it {load}\n")
    click.echo("| what | measured | bound | |\n|---|---|---|---|")
    missed = 0
    for name in rows or ROWS:
        for found in ROWS[name](age, seed):
            missed += not found.holds
            click.echo(f"| {found.what} | {found.measured} | {found.bound} | {'holds' if found.holds else 'MISSED'} |")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
