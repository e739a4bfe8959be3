"""Jobs and the objects of Kueue as the API server shows them, and a server in memory that holds them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from spotcompute.kube.claim_port import Kind
from spotcompute.kube.port import Conflict, Forbidden, KubeError, KubeObject, NotFound, NotServed

BORN = "2026-11-30T11:00:00Z"
QUEUE = "kueue.x-k8s.io/queue-name"


def pod(cpu: str = "500m", memory: str = "512Mi", **more: Any) -> dict[str, Any]:
    """The spec of a pod with one container."""
    return {"containers": [{"name": "work", "resources": {"requests": {"cpu": cpu, "memory": memory}}}], **more}


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": BORN, "reason": kind, "message": ""}


def job(
    name: str = "render", labels: Mapping[str, str] | None = None, status: Any = None, **spec: Any
) -> dict[str, Any]:
    """A Job of four pods, marked for environment farm unless `labels` says otherwise."""
    marks = {"spotcompute.dev/environment": "farm"} if labels is None else dict(labels)
    metadata = {"namespace": "jobs", "name": name, "uid": f"job-{name}", "creationTimestamp": BORN, "labels": marks}
    template = {"spec": spec.pop("pod", pod())}
    whole = {"parallelism": 4, "completions": 4, "template": template} | spec
    return {"metadata": metadata, "spec": whole, "status": status or {}}


def workload(name: str = "render", count: int = 4, has_quota: bool = True, **status: Any) -> dict[str, Any]:
    """A Workload of one pod set that waits for the check farm."""
    conditions = [condition("QuotaReserved")] if has_quota else []
    conditions += [condition(each) for each in status.pop("conditions", ())]
    check = {"name": "farm", "state": "Pending", "message": "", "lastTransitionTime": BORN}
    return {
        "metadata": {"namespace": "jobs", "name": name, "uid": f"workload-{name}", "creationTimestamp": BORN},
        "spec": {"podSets": [{"name": "main", "count": count, "template": {"spec": pod()}}]},
        "status": {"conditions": conditions, "admissionChecks": [check] if has_quota else [], **status},
    }


def check(
    name: str = "farm", controller: str = "spotcompute.dev/environment", environment: str = "farm", **parameters: str
) -> dict[str, Any]:
    """An admission check that names an environment."""
    named = {"apiGroup": "spotcompute.dev", "kind": "SpotComputeEnvironment", "name": environment} | parameters
    metadata = {"name": name, "uid": f"check-{name}", "creationTimestamp": BORN, "generation": 1}
    return {"metadata": metadata, "spec": {"controllerName": controller, "parameters": named}}


class ClaimServer:
    """The API server's part for claims, in memory. `trouble` raises for a kind; `served` says which exist."""

    def __init__(self) -> None:
        self._versions = itertools.count(100)
        self.objects_of: dict[Kind, dict[str, dict[str, Any]]] = {kind: {} for kind in Kind}
        self.served = set(Kind)
        self.trouble: dict[Kind, KubeError] = {}
        self.replicas: list[int] = []
        self.writes: list[tuple[Kind, Any]] = []
        self._watchers: list[tuple[Kind, asyncio.Queue[tuple[str, KubeObject] | KubeError]]] = []
        self.busy: set[str] = set()  # nodes with work
        #: Is told of each new number of instances.
        self.on_replicas = self.replicas.append

    # --- what others do

    def put(self, kind: Kind, obj: Mapping[str, Any]) -> dict[str, Any]:
        whole = deepcopy(dict(obj))
        whole["metadata"]["resourceVersion"] = str(next(self._versions))
        known = self.objects_of[kind]
        event = "MODIFIED" if _key(whole) in known else "ADDED"
        known[_key(whole)] = whole
        self._tell(kind, (event, whole))
        return whole

    def remove(self, kind: Kind, obj: Mapping[str, Any]) -> None:
        gone = self.objects_of[kind].pop(_key(obj))
        gone["metadata"]["resourceVersion"] = str(next(self._versions))
        self._tell(kind, ("DELETED", gone))

    def uninstall(self, *kinds: Kind) -> None:
        """Takes kinds away, with all of their objects, as a removed definition does."""
        for kind in kinds:
            for obj in list(self.objects_of[kind].values()):
                self.remove(kind, obj)
            self.served.discard(kind)
            self.cut(kind)

    def cut(self, kind: Kind) -> None:
        """Ends watches."""
        for watched, queue in self._watchers:
            if watched is kind:
                queue.put_nowait(NotServed("gone") if kind not in self.served else KubeError("cut"))

    def workload(self, name: str = "render") -> dict[str, Any]:
        return self.objects_of[Kind.WORKLOADS][f"jobs/{name}"]

    def state(self, name: str = "render") -> dict[str, Any]:
        """What stands about the first admission check of a Workload."""
        found: dict[str, Any] = self.workload(name)["status"]["admissionChecks"][0]
        return found

    # --- what is asked

    async def objects(self, kind: Kind) -> tuple[Sequence[KubeObject], str]:
        self._refuse(kind)
        return [deepcopy(obj) for obj in self.objects_of[kind].values()], str(next(self._versions))

    async def watch(self, kind: Kind, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        self._refuse(kind)
        queue: asyncio.Queue[tuple[str, KubeObject] | KubeError] = asyncio.Queue()
        entry = (kind, queue)
        self._watchers.append(entry)
        try:
            while True:
                event = await queue.get()
                if isinstance(event, KubeError):
                    raise event
                yield event[0], deepcopy(event[1])
        finally:
            self._watchers.remove(entry)

    async def apply_status(self, kind: Kind, body: Mapping[str, Any], manager: str) -> KubeObject:
        self._refuse(kind)
        metadata = body["metadata"]
        obj = self.objects_of[kind].get(_key(body))
        if obj is None:
            raise NotFound(metadata["name"])
        if (obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]) != (
            metadata["uid"],
            metadata["resourceVersion"],
        ):
            raise Conflict(metadata["name"])
        self.writes.append((kind, body["status"]))
        status = deepcopy(obj.get("status") or {})
        for field, key in (("admissionChecks", "name"), ("conditions", "type")):
            for said in body["status"].get(field, ()):
                others = [one for one in status.get(field, ()) if one[key] != said[key]]
                status[field] = [*others, dict(said)]
        return self.put(kind, {**obj, "status": status})

    async def has_work(self, node: str) -> bool:
        return node in self.busy

    async def set_replicas(self, environment: KubeObject, replicas: int) -> None:
        self.on_replicas(replicas)

    def _refuse(self, kind: Kind) -> None:
        if kind not in self.served:
            raise NotServed(kind.value)
        if kind in self.trouble:
            raise self.trouble[kind]

    def _tell(self, kind: Kind, event: tuple[str, KubeObject]) -> None:
        for watched, queue in self._watchers:
            if watched is kind:
                queue.put_nowait(event)


def refused() -> Forbidden:
    return Forbidden("jobs.batch is forbidden")


def _key(obj: Mapping[str, Any]) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
