"""A job of many tasks on a recorded market, beside the same job on machines that nobody takes back.

The operator decides as in a cluster: a Job is a claim, nodes join and are given up, pods of lost machines fail and are
started anew, and machines that have nothing to do go. A task that is broken off goes on where it was last saved.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from cvmsim.instance import Instance
from kube.claimed import ClaimServer, job
from market.arena import NAME, TYPE, Arena, play, zone
from market.traces import Trace
from simulation.kubeworld import Object
from simulation.nodeworld import Judge, NodeLine, NodeServer, certificate_request, node
from simulation.world import Replica
from spotcompute.kube.claim_port import Kind
from spotcompute.plan.nodes import ENVIRONMENT_LABEL
from spotcompute.reconcile import claim_keeper, node_keeper
from spotcompute.reconcile.claim_keeper import ClaimKeeper
from spotcompute.reconcile.node_keeper import NodeKeeper
from spotcompute.reconcile.node_states import NodeStates

#: A machine takes so long from RUNNING until its node is ready, in seconds.
BOOT_SECONDS = 45.0

#: After a lost pod the Job controller waits so long before the next one of the same index (`backoffLimitPerIndex`).
PAUSE_SECONDS = 10.0

#: Time between two looks at tasks and machines.
STEP_SECONDS = 5.0

#: Time between two looks of the operator at nodes and claims, here: four times as rare as in a cluster.
LOOK_SECONDS = 2.0

#: The operator lists once a minute: a trace has steps of minutes.
SWEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Work:
    """A job: so many tasks of so many seconds, so many at a time, each saved every so often."""

    tasks: int = 200
    task_seconds: float = 1800.0
    parallelism: int = 20
    save_seconds: float = 300.0

    def __str__(self) -> str:
        """Say what the job is."""
        return (
            f"{self.tasks} tasks of {self.task_seconds / 60:g} min, {self.parallelism} at a time, saved every"
            f" {self.save_seconds / 60:g} min; {self.uninterrupted / 3600:.2f} h without reclaims"
        )

    @property
    def machine_seconds(self) -> float:
        """What the work takes on one machine after the other."""
        return self.tasks * self.task_seconds

    @property
    def uninterrupted(self) -> float:
        """Seconds from the request to the end on machines that are there at once, boot, and are never taken back."""
        rounds = -(-self.tasks // self.parallelism)
        return BOOT_SECONDS + rounds * self.task_seconds


@dataclass(slots=True)
class Task:
    """One task: what is done of it and saved, and where it runs since when."""

    number: int
    saved: float = 0.0
    pod: str | None = None
    machine: str | None = None
    since: float = 0.0
    may_start_at: float = 0.0


@dataclass(slots=True)
class Course:
    """What a job came to: seconds until its last task was done, and seconds of machines that were paid.

    `least` is what any rule would have needed at least, which gets all machines whenever some zone has room.
    `series` holds time, running tasks, machines that are paid for, and tasks done, step by step.
    """

    trace: Trace
    first_tick: int
    makespan: float = 0.0
    least: float = 0.0
    billed: float = 0.0
    lost: int = 0
    launched: int = 0
    series: list[tuple[float, int, int, int]] = field(default_factory=list)

    @property
    def day(self) -> float:
        """The day of the trace on which it was requested."""
        return self.first_tick * self.trace.gap / 86_400


class Yard:
    """The cluster around one environment: its Job, nodes and pods."""

    def __init__(self, arena: Arena, work: Work, seed: str) -> None:
        self._arena, self._work, self._rng = arena, work, random.Random(seed)
        self.server, self.claims = NodeServer(Judge()), ClaimServer()
        self.tasks = [Task(number) for number in range(work.tasks)]
        self._boots_at: dict[str, float] = {}
        self._requests: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._uids = 0
        self.done = self.lost = 0

    def connect(self, replica: Replica) -> None:
        """Start what keeps nodes and claims, beside the operator that the arena has started."""
        world, reconciler = self._arena._world, replica.reconciler
        cluster = reconciler._cluster
        states = reconciler.nodes = NodeStates(replica.queue.add)
        line = NodeLine(self.server, world.kube_trouble, self._rng)
        nodes = NodeKeeper(cluster, line, replica.accounts, states, reconciler._policy, replica.clock)
        self.claims.on_replicas = self._set_replicas
        claims = ClaimKeeper(cluster, self.claims, nodes.known, replica.clock, wake=replica.queue.add)
        reconciler.claims = claims
        self._parts = [asyncio.ensure_future(part.run()) for part in (nodes, claims)]

    def submit(self) -> None:
        """Apply the Job, or tell what is done of it."""
        left = self._work.tasks - self.done
        is_over = {"conditions": [{"type": "Complete", "status": "True"}]} if not left else {}
        marks = {"spotcompute.dev/environment": NAME}
        whole = job(
            "work",
            marks,
            {"succeeded": self.done, **is_over},
            parallelism=self._work.parallelism,
            completions=self._work.tasks,
        )
        whole["metadata"]["namespace"] = "default"
        containers = whole["spec"]["template"]["spec"]["containers"]
        containers[0]["resources"]["requests"] = {"cpu": "1500m", "memory": "1Gi"}  # one to a machine
        self.claims.put(Kind.MARKED_JOBS, whole)

    def step(self, now: float) -> None:
        """Let the machines' inside go on: boot, join, work, end."""
        alive = {one.id: one for one in self._arena.living() if one.state == "RUNNING"}
        for key, one in alive.items():
            if now >= self._boots_at.setdefault(key, now + BOOT_SECONDS):
                self._join(key, one)
        self._go_on(now, alive)
        self._schedule(now, alive)
        self.claims.busy = {one.machine for one in self.tasks if one.machine is not None}

    def running(self) -> int:
        """How many tasks run."""
        return sum(one.machine is not None for one in self.tasks)

    def _uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"

    def _join(self, key: str, one: Instance) -> None:
        if key not in self._requests:
            self._requests[key] = self._uid()
            self.server.requests.put(certificate_request(self._requests[key], key, "system:bootstrap:abcdef"))
        request = self.server.requests.objects[self._requests[key]]
        if key not in self._nodes and request["status"].get("conditions"):
            self._nodes[key] = self._uid()
            self.server.nodes.put(node(self._nodes[key], key, f"qcloud:///{one.order.zone}/{key}"))

    def _go_on(self, now: float, alive: dict[str, Instance]) -> None:
        for task in self.tasks:
            if task.pod is None:
                continue
            if task.machine in alive:
                if task.saved + now - task.since >= self._work.task_seconds:
                    self._end(task)
            elif task.machine is not None:  # the machine is gone: what was not saved is lost, and nobody knows it yet
                spent = task.saved + now - task.since
                task.saved = max(task.saved, spent // self._work.save_seconds * self._work.save_seconds)
                task.machine, self.lost = None, self.lost + 1
            if task.pod is not None and task.pod not in self.server.pods.objects:
                task.pod, task.machine, task.may_start_at = None, None, now + PAUSE_SECONDS

    def _end(self, task: Task) -> None:
        assert task.pod is not None
        self.server.pods.remove(task.pod)
        task.pod, task.machine, task.saved = None, None, self._work.task_seconds
        self.done += 1
        self.submit()

    def _schedule(self, now: float, alive: dict[str, Instance]) -> None:
        taken = {pod["spec"]["nodeName"] for pod in self.server.pods.objects.values()}
        free = (key for key in sorted(alive) if key not in taken and self._takes_pods(key))
        for task, key in zip(self._waiting(now), free, strict=False):
            task.pod, task.machine, task.since = self._uid(), key, now
            metadata = {"namespace": "default", "name": f"work-{task.number}", "uid": task.pod}
            self.server.pods.put({"metadata": metadata, "spec": {"nodeName": key}, "status": {"phase": "Running"}})

    def _waiting(self, now: float) -> Iterator[Task]:
        """Tasks that may start, as many as the Job lets run at a time."""
        room = self._work.parallelism - sum(one.pod is not None for one in self.tasks)
        for task in self.tasks:
            is_done = task.saved >= self._work.task_seconds
            if room > 0 and task.pod is None and not is_done and now >= task.may_start_at:
                room -= 1
                yield task

    def _takes_pods(self, key: str) -> bool:
        obj: Object | None = self.server.nodes.objects.get(self._nodes.get(key, ""))
        if obj is None or obj["spec"].get("unschedulable") or ENVIRONMENT_LABEL not in obj["metadata"]["labels"]:
            return False
        return not obj["spec"].get("taints")

    def _set_replicas(self, count: int) -> None:
        self._arena._world.want(NAME, count)
        self._arena.edit(replicas=count)


def course(trace: Trace, first_tick: int, work: Work, strategy: str = "PriceCapacityOptimized") -> Course:
    """Play the job from that tick of the trace on. Where a zone closes, its machines are taken back."""
    names = {name: zone(number) for number, name in enumerate(sorted(trace.room), 1)}

    async def script() -> Course:
        prices = {(names[name], TYPE): trace.price[name] for name in trace.room}
        arena = Arena(trace.name, prices, sweep_seconds=SWEEP_SECONDS)
        yard = Yard(arena, work, f"{trace.name}/{first_tick}")
        capacity: dict[str, Any] = {"from": "Claims", "maxReplicas": work.parallelism, "idleSeconds": 60}
        arena.create(0, nodes={}, capacity=capacity, market={"allocationStrategy": strategy})
        yard.connect(arena._world.replicas[0])
        found = Course(trace, first_tick, least=least(trace, first_tick, work))
        room = dict.fromkeys(trace.room, -1)
        yard.submit()
        while not found.makespan or arena.living():
            tick = first_tick + int(arena.now / trace.gap)
            for name, at in names.items():
                now = trace.room[name][tick % trace.ticks]
                if now != room[name]:
                    arena.stock(at, 1000 if now else 0)
                    if not now and (gone := arena.living(at)):
                        arena.reclaim(gone)
                    room[name] = now
            yard.step(arena.now)
            if yard.done == work.tasks and not found.makespan:
                found.makespan = arena.now
            found.series.append((arena.now, yard.running(), len(arena.living()), yard.done))
            await arena.rest(STEP_SECONDS)
        found.series.append((arena.now, yard.running(), len(arena.living()), yard.done))
        found.billed, found.lost, found.launched = arena.billed(), yard.lost, len(arena.everything())
        return found

    looks = [mock.patch.object(part, "LOOK_SECONDS", LOOK_SECONDS) for part in (node_keeper, claim_keeper)]
    with looks[0], looks[1]:
        return play(script)


def least(trace: Trace, first_tick: int, work: Work) -> float:
    """Seconds until some zone has had room for as long as the work takes: no rule can be sooner."""
    left, seconds = work.uninterrupted, 0.0
    for tick in range(first_tick, first_tick + 10 * trace.ticks):
        is_open = any(room[tick % trace.ticks] for room in trace.room.values())
        if is_open and left <= trace.gap:
            return seconds + left
        left -= trace.gap if is_open else 0.0
        seconds += trace.gap
    raise ValueError(f"{trace.name}: no zone ever has room")
