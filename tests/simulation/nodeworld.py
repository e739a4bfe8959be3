"""Nodes, pods and requests for certificates in memory, the machines' inside, and one replica's line to all of them.

Apart from `kubeworld`, which holds what is bought by. Here a machine boots, asks for its certificate, registers its
node, runs pods, and stops without a word when the cloud ends it. Whoever it is that deletes a node, this knows which
machine it was.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cvmsim.instance import Instance
from simulation.kubeworld import KubeTrouble, Object
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, KubeObject, NotFound
from spotcompute.kube.transport import Expired
from spotcompute.model.node import Pod
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, STARTUP_TAINT

#: Changes of each kind that a watch can still be told of, and how long a watch lasts.
REMEMBERED, WATCH_SECONDS = 300, 60.0

#: A machine has room for so many pods.
ROOM = 2

#: After so long without its node, Kubernetes' own controllers remove a pod.
COLLECTED_SECONDS = 60.0


class Shelf:
    """All objects of one kind by uid, and who watches them. `shows` says which the watchers may see."""

    def __init__(self, server: NodeServer, shows: Callable[[Object], bool] = lambda obj: True) -> None:
        self._server, self._shows = server, shows
        self.objects: dict[str, Object] = {}
        self._log: list[tuple[int, str, Object]] = []
        self._watchers: list[asyncio.Queue[tuple[str, Object]]] = []

    def named(self, name: str) -> Object | None:
        """The object of that name."""
        return next((one for one in self.objects.values() if one["metadata"]["name"] == name), None)

    def put(self, obj: Object) -> Object:
        """Make or change an object. One that may not be seen any more is told of as deleted."""
        uid = obj["metadata"]["uid"]
        before = self.objects.get(uid)
        fresh = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._server.next_version())}}
        self.objects[uid] = fresh
        was_shown = before is not None and self._shows(before)
        if self._shows(fresh):
            self._tell("MODIFIED" if was_shown else "ADDED", fresh)
        elif was_shown:
            self._tell("DELETED", fresh)
        return fresh

    def remove(self, uid: str) -> None:
        """Delete an object."""
        obj = self.objects.pop(uid, None)
        if obj is not None and self._shows(obj):
            version = str(self._server.next_version())
            self._tell("DELETED", {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}})

    def shown(self) -> tuple[list[Object], str]:
        """What a list returns."""
        return [one for one in self.objects.values() if self._shows(one)], str(self._server.version)

    async def changes(self, version: str) -> AsyncGenerator[tuple[str, Object]]:
        """Every change after `version`. Raises Expired when some are forgotten."""
        if self._log and int(version) < self._log[0][0] - 1 and len(self._log) == REMEMBERED:
            raise Expired("too old")
        queue: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()
        for at, kind, obj in self._log:
            if at > int(version):
                queue.put_nowait((kind, obj))
        self._watchers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(queue)

    def _tell(self, kind: str, obj: Object) -> None:
        self._log = [*self._log, (int(obj["metadata"]["resourceVersion"]), kind, obj)][-REMEMBERED:]
        for queue in self._watchers:
            queue.put_nowait((kind, obj))


class NodeServer:
    """The API server's part for nodes. `judge` is told of each thing that an operator does, before it is done."""

    def __init__(self, judge: Judge) -> None:
        self.version, self._judge = 100, judge
        self.nodes = Shelf(self)
        self.pods = Shelf(self, _is_at_work)
        self.requests = Shelf(self)

    def next_version(self) -> int:
        self.version += 1
        return self.version

    def patch_node(self, name: str, change: Mapping[str, Any]) -> Object:
        node = self.nodes.named(name)
        if node is None:
            raise NotFound(name)
        metadata = change.get("metadata") or {}
        for precondition in ("uid", "resourceVersion"):
            if precondition in metadata and metadata[precondition] != node["metadata"][precondition]:
                raise Conflict(precondition)
        self._judge.patching(node)
        return self.nodes.put(_patched(node, change))

    def delete_node(self, name: str, uid: str) -> None:
        node = self.nodes.objects.get(uid)
        if node is not None and node["metadata"]["name"] == name:
            self._judge.deleting(node)
            self.nodes.remove(uid)

    def fail_pod(self, pod: Pod) -> None:
        obj = self.pods.objects.get(pod.uid)
        if obj is not None:
            self._judge.failing(obj)
            self.pods.remove(pod.uid)

    def evict_pod(self, pod: Pod) -> None:
        obj = self.pods.objects.get(pod.uid)
        if obj is not None and "deletionTimestamp" not in obj["metadata"]:
            self._judge.evicting(obj)
            self.pods.put(_patched(obj, {"metadata": {"deletionTimestamp": "2026-11-23T00:00:00Z"}}))

    def approve(self, request: KubeObject) -> None:
        stored = self.requests.objects.get(request["metadata"]["uid"])
        if stored is None or stored["metadata"]["resourceVersion"] != request["metadata"]["resourceVersion"]:
            raise Conflict(request["metadata"]["name"])
        self._judge.approving(stored)
        self.requests.put({**stored, "status": request["status"]})


class Judge:
    """Hears of each deed of an operator, before it is done."""

    def patching(self, node: Object) -> None:
        """A node is changed."""

    def deleting(self, node: Object) -> None:
        """A node is deleted."""

    def failing(self, pod: Object) -> None:
        """A pod is failed and removed."""

    def evicting(self, pod: Object) -> None:
        """A pod is asked to leave."""

    def approving(self, request: Object) -> None:
        """A certificate is approved."""


def _is_at_work(pod: Object) -> bool:
    return bool(pod["spec"].get("nodeName")) and pod["status"].get("phase") not in ("Succeeded", "Failed")


def _patched(obj: Object, change: Mapping[str, Any]) -> Object:
    """The object after a merge patch: what is None there goes."""
    result = dict(obj)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = _patched(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


class NodeLine:
    """One replica's connection: implements `NodePort`, with latency and the trouble of the moment."""

    def __init__(self, server: NodeServer, trouble: KubeTrouble, rng: random.Random) -> None:
        self._server, self._trouble, self._rng = server, trouble, rng

    async def _call(self, what: str, commit: Callable[[], Any]) -> Any:
        luck = self._rng.random()
        await asyncio.sleep(self._rng.uniform(0, self._trouble.latency))
        self._check(what)
        if luck < self._trouble.refuse:
            raise ApiUnavailable(f"{what}: connection refused")
        result = commit()
        await asyncio.sleep(self._rng.uniform(0, self._trouble.latency))
        if luck > 1 - self._trouble.lose_answer:
            raise ApiUnavailable(f"{what}: no answer")
        return result

    def _check(self, what: str) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._trouble.outage_until:
            raise ApiUnavailable(f"{what}: connection refused")
        if now < self._trouble.forbidden_until:
            raise Forbidden(f"{what}: forbidden")

    async def _watch(self, shelf: Shelf, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        """Changes, each a little late, until the watch ends or the API server is away."""
        self._check("watch")
        loop, changes = asyncio.get_running_loop(), shelf.changes(version)
        until = loop.time() + WATCH_SECONDS
        coming = asyncio.ensure_future(anext(changes))
        try:
            while loop.time() < until:
                await asyncio.wait([coming], timeout=2.0)
                self._check("watch")
                if coming.done():
                    kind, obj = coming.result()
                    coming = asyncio.ensure_future(anext(changes))
                    await asyncio.sleep(self._rng.uniform(0, self._trouble.latency))
                    yield kind, obj
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await changes.aclose()

    async def nodes(self) -> tuple[Sequence[KubeObject], str]:
        found: tuple[Sequence[KubeObject], str] = await self._call("nodes", self._server.nodes.shown)
        return found

    def watch_nodes(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        return self._watch(self._server.nodes, version)

    async def patch_node(self, name: str, change: Mapping[str, Any]) -> KubeObject:
        found: KubeObject = await self._call("patch node", lambda: self._server.patch_node(name, change))
        return found

    async def delete_node(self, name: str, uid: str) -> None:
        await self._call("delete node", lambda: self._server.delete_node(name, uid))

    async def pods(self) -> tuple[Sequence[KubeObject], str]:
        found: tuple[Sequence[KubeObject], str] = await self._call("pods", self._server.pods.shown)
        return found

    def watch_pods(self, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        return self._watch(self._server.pods, version)

    async def pods_on(self, node: str) -> Sequence[KubeObject]:
        found: Sequence[KubeObject] = await self._call(
            "pods of a node",
            lambda: [one for one in self._server.pods.objects.values() if one["spec"].get("nodeName") == node],
        )
        return found

    async def fail_pod(self, pod: Pod, status: Mapping[str, Any]) -> None:
        await self._call("fail pod", lambda: self._server.fail_pod(pod))

    async def evict_pod(self, pod: Pod) -> None:
        await self._call("evict pod", lambda: self._server.evict_pod(pod))

    async def certificate_requests(self) -> Sequence[KubeObject]:
        found: Sequence[KubeObject] = await self._call("requests", lambda: self._server.requests.shown()[0])
        return found

    async def approve(self, request: KubeObject) -> None:
        await self._call("approve", lambda: self._server.approve(request))


@lru_cache(maxsize=1)
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@lru_cache(maxsize=4096)
def _signed(common_name: str, organization: str) -> str:
    names = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(_key(), hashes.SHA256())
    return base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()


def certificate_request(uid: str, name: str, username: str, organization: str = "system:nodes") -> Object:
    """A request for the certificate with which the node `name` would begin."""
    spec = {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "request": _signed(f"system:node:{name}", organization),
        "username": username,
        "usages": ["digital signature", "client auth"],
    }
    return {"metadata": {"name": f"csr-{uid}", "uid": uid}, "spec": spec, "status": {}}


@dataclass(slots=True)
class Guest:
    """The inside of one machine: when it has booted, its request, and its node."""

    boots_at: float
    request: str | None = None
    node: str | None = None
    #: When it began to have pods or to have none, and which: the judge asks what was the case at a moment.
    busy: list[tuple[float, bool]] = field(default_factory=list)


class Machines:
    """Boots machines, registers their nodes, schedules pods there, and ends both when a machine is gone."""

    def __init__(self, server: NodeServer, rng: random.Random, boot_seconds: float) -> None:
        self.server, self._rng, self._boot_seconds = server, rng, boot_seconds
        self.guests: dict[str, Guest] = {}
        #: The instance that registered each node, by the node's uid, of nodes that are there and of former ones.
        self.machine_of: dict[str, str] = {}
        #: Pods that the work is made of: how many there are to be at any time, and since when one has had no node.
        self.work, self._number = 0, 0
        self._ends_at: dict[str, float] = {}

    def step(self, now: float, running: Iterable[Instance]) -> None:
        """One second passes."""
        alive = {one.id: one for one in running}
        for key, instance in alive.items():
            guest = self.guests.get(key)
            if guest is None:
                guest = self.guests[key] = Guest(now + self._rng.uniform(0.5, 1.5) * self._boot_seconds)
            if now >= guest.boots_at:
                self._join(key, instance, guest)
        self._tend_pods(now, alive)
        self._schedule(now, alive)
        self._note_work(now)

    def uid(self) -> str:
        """A new uid."""
        self._number += 1
        return f"uid-{self._number}"

    def node_of(self, instance_id: str) -> Object | None:
        """The node of a machine, if it has one now."""
        guest = self.guests.get(instance_id)
        return self.server.nodes.objects.get(guest.node) if guest is not None and guest.node is not None else None

    def pods_of(self, instance_id: str) -> list[Object]:
        """The pods that work on a machine, as the API server shows them."""
        return [one for one in self.server.pods.shown()[0] if one["spec"]["nodeName"] == instance_id]

    def was(self, instance_id: str, busy: bool, since: float, until: float) -> bool:
        """True when the machine had pods, or had none, all the time from `since` to `until`."""
        before, within = None, []
        for at, value in self.guests[instance_id].busy if instance_id in self.guests else ():
            if at <= since:
                before = value
            elif at <= until:
                within.append(value)
        return before is busy and all(value is busy for value in within)

    def _join(self, key: str, instance: Instance, guest: Guest) -> None:
        if self.node_of(key) is not None:
            return
        if guest.request is None:
            guest.request = self.uid()
            self.server.requests.put(certificate_request(guest.request, key, "system:bootstrap:abcdef"))
            return
        request = self.server.requests.objects.get(guest.request)
        if request is None or not any(one["type"] == "Approved" for one in request["status"].get("conditions", ())):
            return
        guest.node = self.uid()
        self.machine_of[guest.node] = key
        self.server.nodes.put(node(guest.node, key, f"qcloud:///{instance.order.zone}/{key}"))

    def _tend_pods(self, now: float, alive: Mapping[str, Instance]) -> None:
        """Pods end when they are done or were asked to leave; those without a machine wait for somebody else."""
        for uid, pod in list(self.server.pods.objects.items()):
            name = pod["spec"]["nodeName"]
            if name in alive and self.server.nodes.named(name) is not None:
                if "deletionTimestamp" in pod["metadata"]:
                    self._ends_at[uid] = min(self._ends_at.get(uid, now), now + self._rng.choice([1.0, 5.0, 30.0]))
                if now >= self._ends_at.get(uid, now):
                    self.server.pods.remove(uid)
            elif self.server.nodes.named(name) is None:
                lost_at = self._ends_at.setdefault(f"lost {uid}", now)
                if now - lost_at > COLLECTED_SECONDS:
                    self.server.pods.remove(uid)

    def _schedule(self, now: float, alive: Mapping[str, Instance]) -> None:
        """Put as many new pods as the work asks for on nodes that take some."""
        load: dict[str, int] = {}
        for pod in self.server.pods.objects.values():
            load[pod["spec"]["nodeName"]] = load.get(pod["spec"]["nodeName"], 0) + 1
        open_nodes = [key for key in sorted(alive) if _takes_pods(self.node_of(key)) and load.get(key, 0) < ROOM]
        for _ in range(self.work - sum(load.values())):
            open_nodes = [key for key in open_nodes if load.get(key, 0) < ROOM]
            if not open_nodes:
                return
            key, uid = max(open_nodes, key=lambda one: load.get(one, 0)), self.uid()  # packed, so that others idle
            load[key] = load.get(key, 0) + 1
            marks = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"} if self._rng.random() < 0.1 else {}
            metadata = {"namespace": "work", "name": f"pod-{uid}", "uid": uid, "annotations": marks}
            self._ends_at[uid] = now + self._rng.choice([20.0, 120.0, 900.0])
            self.server.pods.put({"metadata": metadata, "spec": {"nodeName": key}, "status": {"phase": "Running"}})

    def _note_work(self, now: float) -> None:
        working = {pod["spec"]["nodeName"] for pod in self.server.pods.shown()[0]}
        for key, guest in self.guests.items():
            if not guest.busy or guest.busy[-1][1] is not (key in working):
                guest.busy.append((now, key in working))


def _takes_pods(node: Object | None) -> bool:
    if node is None or node["spec"].get("unschedulable") or ENVIRONMENT_LABEL not in node["metadata"]["labels"]:
        return False
    return not any(taint["effect"] == "NoSchedule" for taint in node["spec"].get("taints") or ())


def node(uid: str, name: str, provider_id: str, **labels: str) -> Object:
    """A node as its kubelet registers it."""
    taints = [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"name": name, "uid": uid, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": {"providerID": provider_id, "taints": taints},
        "status": {"conditions": [ready], "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"}},
    }


def with_notice(obj: Object, text: str | None) -> Object:
    """The node with the condition by which its machine reports its end; None takes it away."""
    others = [one for one in obj["status"]["conditions"] if one["type"] != "SpotInterruption"]
    told = [] if text is None else [{"type": "SpotInterruption", "status": "True", "message": text}]
    return {**obj, "status": {**obj["status"], "conditions": [*others, *told]}}
