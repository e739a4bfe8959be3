"""`make bench-peers`: a loop with the vendor's unmodified command line, and the operator, on one simulator in one run.

Both keep ten instances, each in an account of its own. The loop asks every two seconds with `tccli` how many there are,
and buys what is missing. Machines of both end at the same moments, and the simulator's ledger says when each is asked
for again. Then lists begin to lag, one more machine of each ends, and the ledger says how many lived at once.
The command line is installed into the environment of `make conformance`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("benchmarks", "deploy/local", "tests", "tests/conformance")]

import run as conformance  # noqa: E402 - after the paths

from e2e.simulator import IMAGE, REGION, Account, Simulator, world  # noqa: E402 - after the paths
from e2e.stage import manifest  # noqa: E402 - after the paths
from localcluster.controlplane import ControlPlane  # noqa: E402 - after the paths
from operator_bench import give_secret, start_operator  # noqa: E402 - after the paths

WANTED, POLL_SECONDS, PATIENCE_SECONDS = 10, 2.0, 120.0
ALIVE = ("PENDING", "STARTING", "RUNNING")
TAG = "peer"


class Loop(threading.Thread):
    """`Loop` is what people write: list, count, buy what is missing, sleep for two seconds."""

    def __init__(self, tccli: list[str], cloud: Simulator, customer: Account, home: Path) -> None:
        super().__init__(daemon=True)
        self._tccli, self._cloud, self._customer, self._home = tccli, cloud, customer, home
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            listed = self._call(
                "DescribeInstances", Limit="100", Filters=_json([{"Name": f"tag:{TAG}", "Values": ["loop"]}])
            )
            if listed is not None:
                alive = sum(row["InstanceState"] in ALIVE for row in listed["InstanceSet"])
                if alive < WANTED:
                    self._buy(WANTED - alive)
            self._ended.wait(POLL_SECONDS)

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _buy(self, count: int) -> None:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": TAG, "Value": "loop"}]}]
        self._call(
            "RunInstances",
            Placement=_json({"Zone": self._customer.zones[0]}),
            InstanceType="S5.MEDIUM4",
            ImageId=IMAGE,
            InstanceChargeType="SPOTPAID",
            InstanceCount=str(count),
            InstanceName="loop",
            TagSpecification=_json(tags),
        )

    def _call(self, action: str, **parameters: str) -> dict[str, Any] | None:
        """The answer. None when the command line has failed: the loop tries again."""
        words = [word for name, value in parameters.items() for word in (f"--{name}", value)]
        key = ["--secretId", self._customer.secret_id, "--secretKey", self._customer.secret_key]
        command = [
            *self._tccli,
            "cvm",
            action,
            *key,
            "--region",
            REGION,
            "--endpoint",
            self._cloud.endpoint,
            *words,
        ]
        env = {**os.environ, "HOME": str(self._home)}
        env.pop("PYTHONPATH", None)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return None
        return None if done.returncode else answer


def _json(value: object) -> str:
    return json.dumps(value)


@dataclass(frozen=True, slots=True)
class Beside:
    """`Beside` is the simulator with the two customers: the loop's and the operator's."""

    cloud: Simulator
    loop: Account
    ours: Account

    @property
    def both(self) -> tuple[Account, Account]:
        return self.loop, self.ours


@contextmanager
def beside(age: float) -> Iterator[Beside]:
    """Starts cloud, control plane, operator and loop; both have ten instances that run."""
    venv = conformance.ENVIRONMENT
    # By its interpreter, so that it works after the checkout was moved, too.
    tccli = [str(venv / "bin" / "python"), str(conformance.install())]
    with tempfile.TemporaryDirectory() as name, ControlPlane(crds=ROOT / "crds") as plane:
        folder = Path(name)
        cloud = Simulator.start(
            folder, world=world(2), switches={"pending-seconds": "3"}, tls=(venv / "server.pem", venv / "server.key")
        )
        stage = Beside(cloud, cloud.new_account(), cloud.new_account())
        settings = {"PROTOCOL": "https", "CA_BUNDLE": str(venv / "client.pem"), "EARLY_LOSS_SECONDS": f"{age:g}"}
        operator, loop = start_operator(plane, cloud, folder, settings), Loop(tccli, cloud, stage.loop, folder)
        try:
            give_secret(plane, stage.ours)
            plane.kubectl.apply(json.dumps(manifest("web", stage.ours.zones[0], replicas=WANTED)))
            loop.start()
            until(lambda: all(len(cloud.running(one)) == WANTED for one in stage.both), "both have ten")
            yield stage
        finally:
            loop.stop()
            operator.kill9()
            cloud.stop()


def until(holds: Any, what: str) -> None:
    since = time.monotonic()
    while not holds():
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise SystemExit(f"in vain: {what}")
        time.sleep(0.2)


def oldest(stage: Beside, customer: Account) -> dict[str, Any]:
    return min(stage.cloud.running(customer), key=lambda row: row["createdAt"])


def end_one(stage: Beside, customer: Account) -> float:
    """Ends the oldest machine; returns when."""
    row = oldest(stage, customer)
    return float(stage.cloud.post("interrupt", instances=[row["id"]], notice_seconds=0)["reclaimAt"])


def reactions(stage: Beside, ends: int, age: float, dice: random.Random) -> dict[str, list[float]]:
    """Seconds from each end to the next launch of that account, by account."""
    took: dict[str, list[float]] = {one.uin: [] for one in stage.both}
    for _ in range(ends):
        while min(float(stage.cloud.get("clock")["now"]) - oldest(stage, one)["createdAt"] for one in stage.both) < age:
            time.sleep(2.0)
        time.sleep(dice.uniform(0.0, 2 * POLL_SECONDS))
        ended = {one.uin: end_one(stage, one) for one in stage.both}
        until(lambda ended=ended: all(born_after(stage, one, ended[one.uin]) for one in stage.both), "both have bought")
        for one in stage.both:
            took[one.uin].append(born_after(stage, one, ended[one.uin])[0] - ended[one.uin])
        until(lambda: all(len(stage.cloud.running(one)) >= WANTED for one in stage.both), "both have ten again")
    return took


def born_after(stage: Beside, customer: Account, moment: float) -> list[float]:
    born = (float(row["createdAt"]) for row in stage.cloud.instances(customer, gone=True))
    return sorted(at for at in born if at >= moment)


def under_lag(stage: Beside, lag: float) -> dict[str, int]:
    """Ends one machine of each while lists lag; returns how many lived at once, by account, at most."""
    stage.cloud.post("switches", **{"list-lag": f"{lag:g}", "tag-lag": f"{lag:g}"})
    for one in stage.both:
        end_one(stage, one)
    most, since = {one.uin: 0 for one in stage.both}, time.monotonic()
    while time.monotonic() - since < 4 * lag + 20:
        for one in stage.both:
            most[one.uin] = max(most[one.uin], len(stage.cloud.running(one)))
        time.sleep(0.5)
    return most


@click.command(help=__doc__)
@click.option("--ends", default=8, show_default=True, help="Machines of each that end.")
@click.option(
    "--age",
    default=200.0,
    show_default=True,
    help="Seconds that machines live before they end. The operator waits until one that vanishes is 180 s old.",
)
@click.option("--lag", default=10.0, show_default=True, help="Seconds by which lists and tags lag in the end.")
@click.option("--seed", default=1, show_default=True)
def main(ends: int, age: float, lag: float, seed: int) -> None:
    """Play both, and print what each did."""
    described = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(described, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    load = Path("/proc/loadavg").read_text(encoding="ascii").split()[0]
    with beside(age) as stage:
        took = reactions(stage, ends, age, random.Random(seed))
        most = under_lag(stage, lag)
    click.echo(f"commit {commit}, seed {seed}, {datetime.now(UTC):%Y-%m-%d}, load average before it {load}\n")
    click.echo(f"| who | end → create call: median | longest | of {WANTED}, lived at once with lists {lag:g} s late |")
    click.echo("|---|---|---|---|")
    for who, one in (("`tccli` every 2 s", stage.loop), ("the operator", stage.ours)):
        times = took[one.uin]
        click.echo(f"| {who} | {median(times):.2f} s | {max(times):.2f} s | {most[one.uin]} |")
    slower = median(took[stage.ours.uin]) > median(took[stage.loop.uin])
    sys.exit(1 if slower or most[stage.ours.uin] > WANTED else 0)


if __name__ == "__main__":
    main()
