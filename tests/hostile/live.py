"""Hostile manifests for real: on an API server, under a running operator, against the simulated cloud.

Apart from `judge`, which only asks: here objects come to life, and what is judged is what they became, what the cloud
was asked, what the operator logged, and how long somebody else had to wait meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.running import Operator, grant_shipped_rights
from e2e.simulator import IMAGE, Simulator, world
from e2e.stage import SECRET, Object, Stage, condition, is_observed, manifest
from hostile.judge import AT_ONCE, ApiServer, api_server
from hostile.manifests import Forge, Manifest, bases
from localcluster.cluster import Cluster
from spotcompute.kube.names import FINALIZER

SETTLE_SECONDS = 120.0
SAMPLES = 3  # of a wait without hostile objects
STEADY_SECONDS = 60.0

#: What the cloud says of a request whose very form is wrong. Ours never should be: that is what the schema is for.
#: Codes about things that do not exist, or do not go together, are the cloud's to find.
MALFORMED = ("InvalidParameter", "MissingParameter", "UnknownParameter", "AuthFailure", "FailedOperation.IllegalTag")
OF_THE_CLOUD = (
    "AuthFailure.CamRoleNameAuthenticateFailed",
    "InvalidParameterValue.InstanceTypeNotFound",
    "InvalidParameterValue.InsufficientPrice",
    "InvalidParameterValue.InsufficientOffering",
    "InvalidParameterValue.SubnetIdZoneIdNotMatch",
    "InvalidParameterValue.VpcIdZoneIdNotMatch",
)


@dataclass(slots=True)
class Live:
    """What the real ones came to."""

    applied: int = 0
    accepted: int = 0
    became: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    #: Seconds a neighbour waited for three instances: undisturbed, while as many harmless objects as hostile ones came,
    #: while the hostile ones came, and while those were there.
    alone: list[float] = field(default_factory=list)
    beside_harmless: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    lines_per_minute: int = 0  # of the most talkative object, once all had settled
    failures: list[str] = field(default_factory=list)


class Theatre:
    """One operator, an account for the hostile ones, and a neighbour with an account of its own."""

    def __init__(self, cluster: Cluster, directory: Path, seed: int) -> None:
        self._cloud = Simulator.start(directory, world=world(2))
        kubeconfig = grant_shipped_rights(cluster)
        # The waits that ship, so that lines per minute are those of an installation; and a short wait for lost memory.
        self._operator = Operator(
            kubeconfig,
            self._cloud.endpoint,
            directory / "operator.log",
            REST_BASE_SECONDS="5",
            REST_LIMIT_SECONDS="60",
            RECHECK_SECONDS="300",
            SIGNATURE_SECONDS="5",
        )
        self._hostile = Stage(cluster, self._cloud, f"hostile-{seed}", directory)
        self._neighbour = Stage(cluster, self._cloud, f"neighbour-{seed}", directory)
        self._kubeconfig = cluster.kubeconfig
        self._forge = Forge(seed, bases(self._hostile.account.zones, IMAGE, SECRET))
        self.live = Live()

    def close(self) -> None:
        self._hostile.close()
        self._neighbour.close()
        self._operator.kill9()
        self._cloud.stop()

    def play(
        self, accepted: int, batch: int, say: Callable[[str], None] = lambda line: None, *, is_quick: bool = False
    ) -> Live:
        """Apply manifests until so many were accepted, `batch` of them alive at once.

        `is_quick` leaves out what takes minutes: the samples to compare with, and the minute of listening.
        """
        self._operator.start()
        self._neighbour.apply(replicas=0)
        self._neighbour.until_ready(0)
        if not is_quick:
            self.live.alone = [self._wait_of_the_neighbour() for _ in range(SAMPLES)]
            for number in range(SAMPLES):
                asyncio.run(self._beside_harmless(number, min(batch, accepted)))
                asyncio.run(self._clear())
        manifests = self._forge.manifests(1_000_000)
        while self.live.accepted < accepted:
            asyncio.run(self._batch(manifests, min(batch, accepted - self.live.accepted)))
            if self.live.accepted >= accepted and not is_quick:
                self._listen()
            asyncio.run(self._clear())
            say(f"{self.live.accepted} of {accepted}, {self.live.applied} applied; {dict(self.live.became)}")
        self._judge()
        return self.live

    async def _beside_harmless(self, number: int, count: int) -> None:
        zone = self._hostile.account.zones[0]
        async with api_server(self._kubeconfig, self._hostile.namespace) as server:
            for index in range(count):
                body = json.dumps(manifest(f"harmless-{number}-{index}", zone, replicas=1)).encode()
                assert (await server.create(body))[0] == 201
            waiting = asyncio.create_task(asyncio.to_thread(self._wait_of_the_neighbour))
            await self._settled(server)
            self.live.beside_harmless.append(await waiting)

    async def _batch(self, manifests: Iterator[Manifest], count: int) -> None:
        labels: dict[str, str] = {}
        async with api_server(self._kubeconfig, self._hostile.namespace) as server:

            async def apply() -> None:
                while len(labels) < count:
                    hostile = next(manifests)
                    status, answer = await server.create(hostile.body, fieldValidation="Ignore")
                    self.live.applied += 1
                    if status == 201:
                        labels[json.loads(answer)["metadata"]["name"]] = f"{hostile.number} ({hostile.label})"

            await asyncio.gather(*(apply() for _ in range(AT_ONCE)))
            self.live.accepted += len(labels)
            waiting = asyncio.create_task(asyncio.to_thread(self._wait_of_the_neighbour))
            objects = await self._settled(server)
            self.live.meanwhile.append(await waiting)
            self.live.beside.append(await asyncio.to_thread(self._wait_of_the_neighbour))
        for obj in objects:
            ready = condition(obj, "Ready")
            self.live.became[f"{ready.get('reason')}"] += 1
            if not is_clear(obj):
                self.live.failures.append(f"{labels.get(obj['metadata']['name'])}: {json.dumps(obj.get('status'))}")

    async def _settled(self, server: ApiServer) -> list[Object]:
        """Every object once each says clearly what it is, or as they are when the time is up."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            objects = await server.items()
            if all(is_clear(obj) for obj in objects) or time.monotonic() > deadline:
                return objects
            await asyncio.sleep(0.5)

    async def _clear(self) -> None:
        """Delete them all; finalizers of strangers, which nobody here serves, are taken off once ours is gone."""
        deadline = time.monotonic() + SETTLE_SECONDS
        async with api_server(self._kubeconfig, self._hostile.namespace) as server:
            await server.delete_all()
            while objects := await server.items():
                for obj in objects:
                    finalizers = obj["metadata"].get("finalizers") or []
                    if finalizers and FINALIZER not in finalizers:
                        await server.patch(obj["metadata"]["name"], {"metadata": {"finalizers": None}})
                if time.monotonic() > deadline:
                    stuck = [f"{obj['metadata']['name']}: {json.dumps(obj.get('status'))}" for obj in objects]
                    self.live.failures.append(f"not let go within {SETTLE_SECONDS:g} s: {stuck[:3]}")
                    return
                await asyncio.sleep(0.5)

    def _wait_of_the_neighbour(self) -> float:
        began = time.monotonic()
        self._neighbour.scale(3)
        self._neighbour.until_ready(3, seconds=SETTLE_SECONDS)
        took = time.monotonic() - began
        self._neighbour.scale(0)
        self._neighbour.until_ready(0, seconds=SETTLE_SECONDS)
        return took

    def _listen(self) -> None:
        """Count what is logged of each object in a minute in which nobody touches anything."""
        begin = len(self._operator.log_text())
        time.sleep(STEADY_SECONDS)
        lines = Counter(
            row["environment"]
            for line in self._operator.log_text()[begin:].splitlines()
            if (row := _row(line)).get("environment")
        )
        self.live.lines_per_minute = max(lines.values(), default=0)
        if self.live.lines_per_minute > 1:
            self.live.failures.append(f"more than a line a minute: {lines.most_common(3)}")

    def _judge(self) -> None:
        for line in self._operator.log_text().splitlines():
            if "Traceback" in line or _row(line).get("level") in ("error", "critical"):
                self.live.failures.append(f"logged: {line[:1000]}")
        for row in self._cloud.requests(self._hostile.account):
            self.live.codes[row["code"] or "OK"] += 1
            if row["code"].startswith(MALFORMED) and row["code"] not in OF_THE_CLOUD:
                self.live.failures.append(f"the cloud was asked: {row['code']} {json.dumps(row['params'])[:600]}")
        left = [row["id"] for row in self._cloud.instances(self._hostile.account) if row["live"]]
        if left:
            self.live.failures.append(f"all are deleted, but these live: {left}")


def is_clear(obj: Object) -> bool:
    """It was looked at as it is now, and says in a condition what became of it."""
    ready = condition(obj, "Ready")
    return "status" in obj and is_observed(obj) and bool(ready.get("reason")) and bool(ready.get("message"))


def _row(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
