"""Starts the simulated cloud as a child of the demo, and reads its ledger, which judges the story.

Apart from `cvmsim`, which it starts and asks over HTTP like any other client of the control port.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from localcluster.processes import Child, direct_opener
from localdemo.surroundings import OPERATOR_SOURCES, REPOSITORY, surroundings

READY_SECONDS = 60.0
ANSWER_SECONDS = 60.0
SEED = 1  # of every random choice in the demo
#: A key pair of the simulator's default world.
SECRET_ID, SECRET_KEY = "AKIDsimulatedsecretid0000000000000001", "simulatedSecretKey000000000000001"
#: The tag with which every instance of an environment is launched. Its value is `status.environmentID`.
ENVIRONMENT_TAG = "spotcompute-environment"
RUNNING, GONE = "RUNNING", "GONE"


@dataclass(frozen=True)
class Account:
    """`Account` is what the ledger says of one environment. `ended` counts ends by cause: operator, cloud, console."""

    launched: int
    live: int
    running: int
    leaving: int
    peak: int
    ended: Mapping[str, int]
    billed_seconds: float
    cost: Decimal

    @classmethod
    def of(cls, ledger: Mapping[str, Any], summary: Mapping[str, Any], environment_id: str) -> Self:
        """Returns the account in `GET ledger` and `GET ledger/summary`. It counts by the instances' original tags."""
        mine = [one for one in ledger["instances"] if one["originalTags"].get(ENVIRONMENT_TAG) == environment_id]
        live = sum(one["live"] for one in mine)
        tag = summary["tags"].get(f"{ENVIRONMENT_TAG}={environment_id}", {"peak": 0})
        return cls(
            launched=len(mine),
            live=live,
            running=sum(one["state"] == RUNNING for one in mine),
            leaving=sum(not one["live"] and one["state"] != GONE for one in mine),
            peak=tag["peak"],
            ended=Counter(ended_by(one) for one in mine if not one["live"]),
            billed_seconds=sum(one["billedSeconds"] for one in mine),
            cost=sum((Decimal(one["cost"]) for one in mine), start=Decimal(0)),
        )


def ended_by(instance: Mapping[str, Any]) -> str:
    """Returns what ended an instance that is no longer live: operator, cloud, console or other."""
    causes = [change["cause"] for change in instance["changes"] if change["state"] in ("TERMINATING", "SHUTDOWN", GONE)]
    first = causes[0] if causes else "launch failed"
    if first.startswith("TerminateInstances"):
        return "operator"
    return {"reclaim": "cloud", "console": "console"}.get(first, "other")


class Simulator:
    """`Simulator` is a running `cvmsim serve`, started in `directory`. It ends with its owner."""

    def __init__(self, directory: Path) -> None:
        self.ready_file = directory / "cvmsim.json"
        command = [sys.executable, "-m", "cvmsim", "serve", f"--seed={SEED}", f"--ready-file={self.ready_file}"]
        self.child = Child.start(
            "cvmsim", command, log=directory / "cvmsim.log", env=surroundings(OPERATOR_SOURCES), cwd=REPOSITORY
        )
        self.child.wait_until(self.ready_file.exists, timeout=READY_SECONDS)
        self._address: dict[str, str] = json.loads(self.ready_file.read_text())

    @property
    def endpoint(self) -> str:
        """Returns host:port of the CVM API."""
        return self._address["api"]

    def command(self, *words: str) -> str:
        """Runs `cvmsim <words>` as a person would, and returns its output. Raises CalledProcessError."""
        env = surroundings(OPERATOR_SOURCES, CVMSIM_READY_FILE=str(self.ready_file))
        done = subprocess.run(
            [sys.executable, "-m", "cvmsim", *words], env=env, cwd=REPOSITORY, check=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout

    def ledger(self) -> dict[str, Any]:
        """Returns every request, token and instance."""
        return self._get("ledger")

    def summary(self) -> dict[str, Any]:
        """Returns totals, which stay small however long it runs."""
        return self._get("ledger/summary")

    def account(self, environment_id: str) -> Account:
        """Returns what the ledger says of one environment."""
        return Account.of(self.ledger(), self.summary(), environment_id)

    def _get(self, path: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._address['control']}/_sim/{path}", headers={"X-Sim-Token": self._address["token"]}
        )
        with direct_opener().open(request, timeout=ANSWER_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
