"""kill -9 at the requests of recorded rounds: a few in `make test`, all scenarios in `make prove`.

`KILLS` is how many points of each scenario, drawn by `KILLS_SEED`, beside those that once failed. With `KILLS_SECONDS`
there are as many as that time allows; each is a line of the file `KILLS_LOG`. `KILLS_ONLY` repeats one: `create: kube
PATCH status #2, reply received, then`.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.kills import SCENARIOS, SLOWEST, Round, TimeBox, play, points, some
from e2e.proxy import Point, Proxy
from e2e.running import Operator
from e2e.simulator import Simulator
from e2e.stage import Stage
from simulation.plays import REGRESSIONS

pytestmark = pytest.mark.e2e

SEED = os.environ.get("KILLS_SEED", "")
ONLY = os.environ.get("KILLS_ONLY", "")
LOG = Path(os.environ["KILLS_LOG"]) if os.environ.get("KILLS_LOG") else None
SECONDS = float(os.environ.get("KILLS_SECONDS", math.inf))
COUNT = int(os.environ.get("KILLS", "1" if math.inf == SECONDS else "10000"))
#: In another order for each seed, as a short time box may end before the last; the slowest is always last.
NAMES = sorted(random.Random(SEED).sample(sorted(SCENARIOS), len(SCENARIOS)), key=SLOWEST.__eq__)
BOX = TimeBox(SECONDS, len(NAMES))
#: For `make test`: bought, replaced, orphaned.
SHORT = {"create", "replace-reclaimed", "orphans"}
CHOSEN = (
    NAMES
    if ONLY or math.inf != SECONDS
    else [pytest.param(name, marks=[] if name in SHORT else pytest.mark.rare) for name in NAMES]
)


@pytest.fixture
def around(stage: Stage, cloud: Simulator, operator_kubeconfig: Path, tmp_path: Path) -> Iterator[Round]:
    """A namespace whose operator reaches both APIs through a proxy only."""
    proxy = Proxy(operator_kubeconfig, cloud.endpoint).start()
    config = proxy.kubeconfig(tmp_path / "kubeconfig")
    operator = Operator(config, f"127.0.0.1:{proxy.cloud}", tmp_path / "operator.log", NAMESPACE=stage.namespace)
    operator.start()
    yield Round(stage, operator, proxy)
    operator.kill9()
    proxy.close()
    # Its cloud ends with this module, and what lost its status would take minutes to be let go: nobody waits for that.
    stage.kubectl.run("delete", "sce", "--all", "--wait=false")
    for name in stage.kubectl.run("get", "sce", "-o", "name").split():
        stage.kubectl.run("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


@pytest.mark.parametrize("name", CHOSEN)
def test_killed_at_requests_of(name: str, around: Round) -> None:
    until = BOX.open_next()
    if time.monotonic() >= until:
        pytest.skip("the time of KILLS_SECONDS is over")
    names, _ = play(around, SCENARIOS[name], None)
    for point in _chosen(name, points(names)):
        if time.monotonic() >= until:
            break
        started, struck, violation = time.monotonic(), False, ""
        try:
            _, struck = play(around, SCENARIOS[name], point)
        except AssertionError as failure:
            violation = str(failure)
            raise AssertionError(f"{name}, killed at {point}: {failure}") from None
        finally:
            _log(f"kill {name}: {point}", struck, time.monotonic() - started, violation)


def _chosen(name: str, candidates: list[Point]) -> list[Point]:
    """Which points of a scenario are struck, in order: those that once failed, then others drawn by the seed."""
    if ONLY:
        found = [point for point in candidates if f"{name}: {point}" == ONLY]
        assert found, f"{name} makes no such request; it makes {sorted({point.name for point in candidates})}"
        return found
    kept = [point for point in candidates if f"kill {name}: {point}" in REGRESSIONS]
    return kept + [point for point in some(candidates, COUNT, name + SEED) if point not in kept]


def _log(kill: str, struck: bool, seconds: float, violation: str) -> None:
    if LOG is not None:
        row = {"kill": kill, "struck": struck, "seconds": round(seconds, 1), "violation": violation}
        with LOG.open("a") as file:
            file.write(json.dumps(row) + "\n")
