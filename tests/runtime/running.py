"""The shell at work: kopf embedded for real, with the small reconciler behind it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from runtime.fakes import SmallReconciler, cluster_around
from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import Connection, connect
from spotcompute.kube.store import Store
from spotcompute.runtime.health import Health, serve_probes
from spotcompute.runtime.shell import Shell, run_shell
from spotcompute.runtime.supervisor import Background, Supervisor
from spotcompute.runtime.workqueue import WorkQueue
from spotcompute.settings import Settings
from waiting import PATIENCE_SECONDS, allowed


@dataclass
class Running:
    """The parts of an operator under test."""

    store: Store
    queue: WorkQueue
    connection: Connection
    reconciler: SmallReconciler
    shell: Shell
    stop: asyncio.Event
    ready: asyncio.Event
    task: asyncio.Task[None] = field(init=False)

    def reports(self) -> list[int]:
        """The generation that each object's status is of, as far as the watch has shown; -1 where none was written."""
        return [obj["status"]["observedGeneration"] for obj in self.store.all()]

    def reported(self, uid: str) -> int | None:
        """The same of one object; None when it is not known."""
        obj = self.store.get(uid)
        return None if obj is None else obj["status"]["observedGeneration"]


@asynccontextmanager
async def running(
    kubeconfig: Path, settings: Settings, *, background: Sequence[Background] = (), is_ready_soon: bool = True
) -> AsyncIterator[Running]:
    """Run an operator for `kubeconfig` until the block ends; then it must stop in time and without an error.

    The block begins once the operator is ready, or at once where it has to wait for something.
    """
    connection = await connect({"KUBECONFIG": str(kubeconfig)})
    queue = WorkQueue(random.Random(1), limit_seconds=10.0)
    store = Store(queue.add)
    kube = KubeClient(connection, settings.watched)
    reconciler = SmallReconciler(store, kube)
    stop, ready, health = asyncio.Event(), asyncio.Event(), Health()
    shell = Shell(
        settings,
        login=connection.access,
        cluster=cluster_around(kube, store, settings.watched),
        reconciler=reconciler,
        queue=queue,
        supervisor=Supervisor(background, stop),
    )
    health.check, health.is_ready = shell.check, ready.is_set
    parts = Running(store, queue, connection, reconciler, shell, stop, ready)
    async with serve_probes(health, settings.listen_host, settings.health_port):
        parts.task = asyncio.create_task(run_shell(shell, stop, ready))
        if is_ready_soon:
            await asyncio.wait_for(ready.wait(), PATIENCE_SECONDS)
        try:
            yield parts
        finally:
            stop.set()
            began = time.monotonic()
            await asyncio.wait([parts.task], timeout=PATIENCE_SECONDS)
            await connection.close()
    assert time.monotonic() - began < allowed(5.0), "slow to stop"
    assert parts.task.done()
