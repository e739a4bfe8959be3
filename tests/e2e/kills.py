"""Scripted work of the operator that can be done again and again, and a kill -9 at any request of it.

Apart from `simulation.scenarios`, because everything is real here: process, API server, SDK and HTTP. Each scenario is
a round: prepare, then act with the proxy armed, then hold the outcome against the cloud's ledger.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from e2e.proxy import Phase, Point, Proxy
from e2e.running import Operator
from e2e.stage import Stage, is_current
from spotcompute.kube.names import FINALIZER
from waiting import PATIENCE_SECONDS, eventually


class Round:
    """One environment `web` in a namespace of its own, and the operator behind the proxy."""

    def __init__(self, stage: Stage, operator: Operator, proxy: Proxy) -> None:
        self.stage, self.operator, self.proxy = stage, operator, proxy

    def kill(self) -> None:
        """kill -9, and a new process at once."""
        self.operator.kill9()
        self.operator.start()

    def ready(self, replicas: int, name: str = "web") -> None:
        """Wait until all is as wanted, by the object's word and by the ledger."""

        def is_so() -> bool:
            obj = self.stage.get(name)
            return obj is not None and is_current(obj, replicas) and len(self.living(name)) == replicas

        eventually(is_so, f"{replicas} of {name} run, and it says so")

    def living(self, name: str = "web") -> list[str]:
        """Ids of what truly lives of an environment."""
        owner = f"{self.stage.namespace}@{name}"
        rows = self.stage.cloud.instances(self.stage.account)
        return [row["id"] for row in rows if row["live"] and owner in row["originalTags"].values()]

    def ensure(self, replicas: int, name: str = "web", **spec: object) -> None:
        """Bring the environment to a known state, whatever came before."""
        self.stage.apply(name, replicas=replicas, **spec)
        self.ready(replicas, name)

    def remove(self, name: str = "web") -> None:
        """Delete it and wait; at the moment it goes nothing of it may live."""
        self.stage.delete(name)
        self.gone(name)

    def gone(self, name: str = "web", seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the object is gone: what lives then has leaked."""
        self.stage.until_gone(name, seconds)
        left = self.living(name)
        assert not left, f"{name} was let go while {left} lived"


@dataclass(frozen=True, slots=True)
class Scenario:
    """`prepare` runs undisturbed; `act` runs armed; `check` waits until all is well again."""

    prepare: Callable[[Round], None]
    act: Callable[[Round], None]
    check: Callable[[Round], None]


def _nothing(at: Round) -> None:
    if at.stage.get() is not None:
        at.remove()


def _reclaim(at: Round) -> None:
    at.stage.cloud.post("interrupt", account=at.stage.account.uin, notice_seconds=0, count=1)


def _wipe(at: Round) -> None:
    before = len(at.stage.history())
    at.stage.kubectl.run(
        "patch", "sce", "web", "--subresource=status", "--type=merge", "-p", '{"status":{"ledger":null}}'
    )
    eventually(lambda: not all(map(_has_ledger, at.stage.history()[before:])), "the ledger is wiped")


def _adopted(at: Round) -> None:
    eventually(lambda: _has_ledger(at.stage.history()[-1]), "there is a ledger again")
    at.ready(2)


def _has_ledger(event: dict[str, Any]) -> bool:
    return "ledger" in event["object"].get("status", {})


def _end_by_hand(at: Round) -> None:
    at.stage.cloud.post("terminate", account=at.stage.account.uin, count=1)


def _recreate(at: Round) -> None:
    at.stage.delete()
    at.gone()
    at.stage.apply(replicas=2)


def _delete_both(at: Round) -> None:
    at.stage.delete()
    at.stage.delete("other")


def _both_gone(at: Round) -> None:
    at.gone()
    at.gone("other")


def _another_template(at: Round) -> None:
    at.stage.apply(replicas=2, template={"imageId": "img-pmqg1cw7", "instanceName": "other"})


def _strip(at: Round) -> None:
    at.stage.delete()
    at.stage.kubectl.run("patch", "sce", "web", "--type=merge", "-p", json.dumps({"metadata": {"finalizers": []}}))


def _no_orphan(at: Round) -> None:
    at.stage.until_gone()
    eventually(lambda: not at.living(), "orphans are ended")
    time.sleep(2)  # until the last sweep that still shows them is too old to be believed


def _apply_and_delete(at: Round) -> None:
    at.stage.apply(replicas=2)
    eventually(
        lambda: FINALIZER in ((at.stage.get() or {}).get("metadata", {}).get("finalizers") or ()), "it is claimed"
    )
    at.stage.delete()


def _two(at: Round) -> None:
    at.stage.apply(replicas=3)
    at.stage.apply("other", replicas=0)


def _both(at: Round) -> None:
    at.ready(3)
    at.ready(0, "other")


def _one_each(at: Round) -> None:
    at.ensure(1)
    at.ensure(1, "other")


#: A launch that was committed, and perhaps sent, may bring an instance for so long; until then nothing is let go.
HORIZON_SECONDS = 500.0

SCENARIOS: dict[str, Scenario] = {
    "create": Scenario(_nothing, lambda at: at.stage.apply(replicas=2), lambda at: at.ready(2)),
    "scale-up": Scenario(lambda at: at.ensure(1), lambda at: at.stage.scale(3), lambda at: at.ready(3)),
    "scale-down": Scenario(lambda at: at.ensure(3), lambda at: at.stage.scale(1), lambda at: at.ready(1)),
    "replace-reclaimed": Scenario(lambda at: at.ensure(2), _reclaim, lambda at: at.ready(2)),
    "change-template": Scenario(lambda at: at.ensure(1), _another_template, lambda at: at.ready(2)),
    "scale-to-zero": Scenario(lambda at: at.ensure(3), lambda at: at.stage.scale(0), lambda at: at.ready(0)),
    "replace-ended-by-hand": Scenario(lambda at: at.ensure(2), _end_by_hand, lambda at: at.ready(2)),
    "adopt": Scenario(lambda at: at.ensure(2), _wipe, _adopted),
    "delete-and-create-again": Scenario(lambda at: at.ensure(2), _recreate, lambda at: at.ready(2)),
    "delete-two": Scenario(_one_each, _delete_both, _both_gone),
    "delete": Scenario(lambda at: at.ensure(2), lambda at: at.stage.delete(), lambda at: at.gone()),
    "delete-while-creating": Scenario(_nothing, _apply_and_delete, lambda at: at.gone(seconds=HORIZON_SECONDS)),
    "orphans": Scenario(lambda at: at.ensure(2), _strip, _no_orphan),
    "two-environments": Scenario(_one_each, _two, _both),
}

#: One of its rounds in twenty waits for that horizon.
SLOWEST = "delete-while-creating"


class TimeBox:
    """Time that is shared by parts played one after the other: each may take an equal part of what is left."""

    def __init__(self, seconds: float, parts: int) -> None:
        """`seconds` from now on; infinite for no limit."""
        self._until, self._parts = time.monotonic() + seconds, parts

    def open_next(self) -> float:
        """When the next part must end, on `time.monotonic()`'s clock: now or earlier when no time is left."""
        now = time.monotonic()
        end = now + (self._until - now) / self._parts
        self._parts -= 1
        return end


def points(names: list[str]) -> list[Point]:
    """Every request of a recorded round, in every phase."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result += [Point(name, seen[name], phase) for phase in Phase]
    return result


def some(candidates: list[Point], count: int, seed: str) -> Iterator[Point]:
    """`count` of them, or all: of every kind of request one first, then others by chance."""
    rng = random.Random(seed)
    shuffled = rng.sample(candidates, len(candidates))
    kinds: Counter[tuple[str, Phase]] = Counter()
    ranked = []
    for point in shuffled:
        kinds[point.name, point.phase] += 1
        ranked.append((kinds[point.name, point.phase], point))
    yield from (point for _, point in sorted(ranked, key=lambda pair: pair[0])[:count])


def play(at: Round, scenario: Scenario, point: Point | None) -> tuple[list[str], bool]:
    """One round, killed at `point`; the names of its requests, and whether the kill came.

    Raises AssertionError when something was bought, ended or left that should not have been.
    """
    scenario.prepare(at)
    before = len(at.stage.cloud.instances(at.stage.account, gone=True))
    at.proxy.arm(point, at.kill)
    scenario.act(at)
    scenario.check(at)
    names, struck = list(at.proxy.names), at.proxy.struck.is_set()
    at.proxy.arm(None)
    _judge_releases(at)
    launched = len(at.stage.cloud.instances(at.stage.account, gone=True)) - before
    assert launched <= MOST_LAUNCHED, f"{launched} launched in one round"
    at.operator.judge()
    return names, struck


#: No round wants more new instances than these.
MOST_LAUNCHED = 3


def _judge_releases(at: Round) -> None:
    """Everything that was asked to end had been launched for an environment of this namespace."""
    owners = {
        row["id"]: set(row["originalTags"].values()) for row in at.stage.cloud.instances(at.stage.account, gone=True)
    }
    for request in at.stage.cloud.requests(at.stage.account, "TerminateInstances"):
        for instance_id in request["params"]["InstanceIds"]:
            ours = {f"{at.stage.namespace}@web", f"{at.stage.namespace}@other"}
            assert owners.get(instance_id, set()) & ours, f"{instance_id} is not ours and was ended"
