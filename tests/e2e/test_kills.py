"""kill -9 at the requests of recorded rounds: some here, every one of them with `KILLS=all`.

`KILLS` is how many points of each scenario; progress and what is done already are kept in the file `KILLS_STATE`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.kills import SCENARIOS, Round, play, points, some
from e2e.proxy import Proxy
from e2e.running import Operator
from e2e.simulator import Simulator
from e2e.stage import Stage

pytestmark = pytest.mark.e2e

KILLS = 10_000 if os.environ.get("KILLS") == "all" else int(os.environ.get("KILLS", "2"))
STATE = Path(os.environ["KILLS_STATE"]) if os.environ.get("KILLS_STATE") else None


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


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_killed_at_requests_of(name: str, around: Round) -> None:
    done = _done(name)
    names, _ = play(around, SCENARIOS[name], None)
    chosen = [point for point in some(points(names), KILLS, name) if str(point) not in done]
    for count, point in enumerate(chosen, 1):
        started = time.monotonic()
        try:
            _, struck = play(around, SCENARIOS[name], point)
        except AssertionError as failure:
            raise AssertionError(f"{name}, killed at {point}: {failure}") from None
        _note(name, str(point), struck, time.monotonic() - started, f"{count}/{len(chosen)}")


def _done(name: str) -> set[str]:
    if STATE is None or not STATE.exists():
        return set()
    return {row["point"] for row in map(json.loads, STATE.read_text().splitlines()) if row["scenario"] == name}


def _note(name: str, point: str, struck: bool, seconds: float, count: str) -> None:
    if STATE is not None:
        row = {"scenario": name, "point": point, "struck": struck, "seconds": round(seconds, 1), "count": count}
        with STATE.open("a") as file:
            file.write(json.dumps(row) + "\n")
