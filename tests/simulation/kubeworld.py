"""An API server in memory, as far as the operator's port goes, and the lines to it: late, lossy, and fair when told to.

The real one is used everywhere else; here it must be deterministic, and a thousand times faster. Objects are never
changed, only replaced: so nobody needs a copy.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulation.faultpoint import FaultPoint, strike
from spotcompute.api.events import Event
from spotcompute.api.times import to_text
from spotcompute.kube.client import merge_patch
from spotcompute.kube.names import ENVIRONMENT_ID, FINALIZER
from spotcompute.kube.port import (
    ApiUnavailable,
    Conflict,
    Forbidden,
    KubeObject,
    NotFound,
    SecretData,
)

Object = dict[str, Any]


class ApiServer:
    """The objects, their versions and who watches them. Everything here happens at once; waiting is the line's."""

    def __init__(self, rng: random.Random, clock: Callable[[], datetime], cluster_id: str = "cluster-1") -> None:
        self._rng, self._clock, self.cluster_id = rng, clock, cluster_id
        self.objects: dict[tuple[str, str], Object] = {}
        self.claimed_at: dict[str, datetime] = {}
        self.accounts: dict[str, str] = {}
        self.secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self.config_maps: dict[tuple[str, str], dict[str, str]] = {}
        self.version, self._used = 100, set[int]()
        self.watchers: list[Callable[[str, Object], None]] = []
        self.writes = 0
        self.on_release: Callable[[Object], None] = lambda obj: None
        self.events: list[Event] = []
        self.on_status: Callable[[Object, Object], None] = lambda before, after: None

    # --- what users do -----------------------------------------------------------------------------------------------

    def create(self, namespace: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Object:
        """Create an environment as `kubectl apply` would; the schema's status default included."""
        obj: Object = {
            "metadata": {
                "namespace": namespace,
                "name": name,
                "uid": f"{self._rng.getrandbits(64):016x}",
                "generation": 1,
                "creationTimestamp": to_text(self._clock()),
                **metadata,
            },
            "spec": copy.deepcopy(dict(spec)),
            "status": {"observedGeneration": -1, "replicas": 0},
        }
        return self._put("ADDED", obj)

    def change_spec(self, namespace: str, name: str, change: Callable[[Object], None]) -> None:
        """Edit the spec; a new generation if it differs."""
        obj = self.objects.get((namespace, name))
        if obj is None:
            return
        spec = copy.deepcopy(obj["spec"])
        change(spec)
        if spec != obj["spec"]:
            generation = obj["metadata"]["generation"] + 1
            self._put("MODIFIED", {**obj, "spec": spec, "metadata": {**obj["metadata"], "generation": generation}})

    def edit(self, namespace: str, name: str, change: Callable[[Object], None]) -> None:
        """Edit anything, as someone with too many rights could: status, annotations, finalizers."""
        obj = copy.deepcopy(self.objects.get((namespace, name)))
        if obj is not None:
            change(obj)
            self._remove_if_released(self._put("MODIFIED", obj))

    def delete(self, namespace: str, name: str) -> None:
        """`kubectl delete --wait=false`."""
        obj = self.objects.get((namespace, name))
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        if not obj["metadata"].get("finalizers"):
            self._remove(obj)
            return
        deleting = {"deletionTimestamp": to_text(self._clock()), "generation": obj["metadata"]["generation"] + 1}
        self._put("MODIFIED", {**obj, "metadata": {**obj["metadata"], **deleting}})

    def remove_by_force(self, namespace: str, name: str) -> Object | None:
        """The object is gone at once, whatever its finalizers say: as if etcd had lost it."""
        obj = self.objects.get((namespace, name))
        if obj is not None:
            self._remove(obj)
        return obj

    def snapshot(self) -> Snapshot:
        """What etcd holds now."""
        return Snapshot(self.version, dict(self.objects), dict(self.accounts))

    def restore(self, snapshot: Snapshot) -> None:
        """etcd from a backup: objects, notes and versions are as they were then. Nobody is told."""
        self.version = snapshot.version
        self.objects, self.accounts = dict(snapshot.objects), dict(snapshot.accounts)

    # --- what the operator does --------------------------------------------------------------------------------------

    def add_identity(self, obj: KubeObject, environment_id: str) -> Object:
        stored = self._same(obj)
        finalizers = list(stored["metadata"].get("finalizers") or ())
        annotations = dict(stored["metadata"].get("annotations") or {})
        if FINALIZER in finalizers and annotations.get(ENVIRONMENT_ID) == environment_id:
            return stored
        if FINALIZER not in finalizers:
            if "deletionTimestamp" in stored["metadata"]:
                raise Forbidden("no new finalizers on an object that is being deleted")
            finalizers.append(FINALIZER)
        if annotations.get(ENVIRONMENT_ID) != environment_id:
            self.claimed_at[environment_id] = self._clock()
        marks = {"finalizers": finalizers, "annotations": {**annotations, ENVIRONMENT_ID: environment_id}}
        self.writes += 1
        return self._put("MODIFIED", {**stored, "metadata": {**stored["metadata"], **marks}})

    def write_status(self, obj: KubeObject, status: Mapping[str, Any]) -> Object:
        stored = self._same(obj)
        self.writes += 1
        after = self._put("MODIFIED", {**stored, "status": dict(status)})
        self.on_status(stored, after)
        return after

    def remove_finalizer(self, obj: KubeObject) -> None:
        if (obj["metadata"]["namespace"], obj["metadata"]["name"]) not in self.objects:
            return
        stored = self._same(obj)
        finalizers = list(stored["metadata"].get("finalizers") or ())
        if FINALIZER in finalizers:
            self.on_release(stored)
            finalizers.remove(FINALIZER)
            self.writes += 1
            metadata = {**stored["metadata"], "finalizers": finalizers}
            self._remove_if_released(self._put("MODIFIED", {**stored, "metadata": metadata}))

    def mark_secret(self, namespace: str, name: str, is_protected: bool) -> None:
        """Put our finalizer on a Secret, or take it off; a Secret that was only kept by it then goes."""
        secret = self.secrets.get((namespace, name))
        if secret is None or (is_protected and secret.get("deleting")):
            return
        secret["protected"] = is_protected
        if secret.get("deleting") and not is_protected:
            del self.secrets[namespace, name]

    def delete_secret(self, namespace: str, name: str) -> None:
        """What deleting a namespace does to its Secrets."""
        secret = self.secrets.get((namespace, name))
        if secret is not None and secret.get("protected"):
            secret["deleting"] = True
        elif secret is not None:
            del self.secrets[namespace, name]

    def _same(self, obj: KubeObject) -> Object:
        stored = self.objects.get((obj["metadata"]["namespace"], obj["metadata"]["name"]))
        if stored is None:
            raise NotFound(f"{obj['metadata']['name']} does not exist")
        if stored["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        if stored["metadata"]["uid"] != obj["metadata"]["uid"]:
            raise Conflict("another object of that name")
        return stored

    def _remove_if_released(self, obj: Object) -> None:
        if "deletionTimestamp" in obj["metadata"] and not obj["metadata"].get("finalizers"):
            self._remove(obj)

    def _remove(self, obj: Object) -> None:
        self.objects.pop((obj["metadata"]["namespace"], obj["metadata"]["name"]), None)
        self._announce("DELETED", self._next_version(obj))

    def _put(self, kind: str, obj: Object) -> Object:
        fresh = self._next_version(obj)
        self.objects[obj["metadata"]["namespace"], obj["metadata"]["name"]] = fresh
        self._announce(kind, fresh)
        return fresh

    def _next_version(self, obj: Object) -> Object:
        # Others write as well. Two branches of one history, before and after a restore, never meet by number here: the
        # docs name what that would do to replicas without a Lease.
        self.version += self._rng.randint(1, 1000)
        while self.version in self._used:
            self.version += 1
        self._used.add(self.version)
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}

    def _announce(self, kind: str, obj: Object) -> None:
        for watcher in list(self.watchers):
            watcher(kind, obj)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A backup of etcd."""

    version: int
    objects: Mapping[tuple[str, str], Object]
    accounts: Mapping[str, str]


@dataclass(slots=True)
class KubeTrouble:
    """How bad the line to the API server is; all zero when healed."""

    refuse: float = 0.0
    lose_answer: float = 0.0
    drop_event: float = 0.0
    replay_event: float = 0.0
    empty_list: float = 0.0
    partial_list: float = 0.0
    delay_event: float = 0.05
    latency: float = 0.01
    outage_until: float = 0.0
    forbidden_until: float = 0.0
    history: dict[str, list[Object]] = field(default_factory=dict)


class KubeLine:
    """One replica's connection: implements `KubePort`, with latency and the trouble of the moment.

    A request commits on its own schedule: a replica that dies while waiting does not take it back.
    """

    def __init__(
        self,
        server: ApiServer,
        trouble: KubeTrouble,
        rng: random.Random,
        boundary: Callable[[str], None],
        fault: FaultPoint,
    ) -> None:
        self._server, self._trouble, self._rng, self._boundary = server, trouble, rng, boundary
        self._fault = fault

    async def _call(self, what: str, commit: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        trouble, rng = self._trouble, self._rng
        self._boundary(f"{what} before")
        cell = self._fault.next(f"kube {what}")
        if cell is not None:
            return await strike(cell, self._fault, commit, ApiUnavailable, Forbidden(what), lambda kind, answer: [])
        luck = rng.random()

        def arrive() -> None:
            if loop.time() < trouble.outage_until or luck < trouble.refuse:
                return respond(ApiUnavailable(f"{what}: connection refused"))
            if loop.time() < trouble.forbidden_until:
                return respond(Forbidden(f"{what}: forbidden"))
            try:
                result = commit()
            except Exception as error:
                return respond(error)
            if luck > 1 - trouble.lose_answer:
                return respond(ApiUnavailable(f"{what}: no answer"))
            return respond(result)

        def respond(result: Any) -> None:
            loop.call_later(rng.uniform(0, trouble.latency), deliver, result)

        def deliver(result: Any) -> None:
            if answer.cancelled():
                return
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        loop.call_later(rng.uniform(0, trouble.latency), arrive)
        try:
            return await answer
        finally:
            self._boundary(f"{what} after")

    async def cluster_id(self) -> str:
        return str(await self._call("cluster_id", lambda: self._server.cluster_id))

    async def get(self, namespace: str, name: str) -> KubeObject | None:
        result: KubeObject | None = await self._call("get", lambda: self._server.objects.get((namespace, name)))
        return result

    async def check_served(self) -> None:
        await self._call("check_served", lambda: None)

    async def list_environments(self) -> Sequence[KubeObject]:
        def read() -> list[KubeObject]:
            listed = [{"metadata": obj["metadata"]} for obj in self._server.objects.values()]
            luck = self._rng.random()
            if luck < self._trouble.empty_list:
                return []
            return listed[::2] if luck > 1 - self._trouble.partial_list else listed

        result: Sequence[KubeObject] = await self._call("list", read)
        return result

    async def add_identity(self, obj: KubeObject, environment_id: str) -> KubeObject:
        result: KubeObject = await self._call("claim", lambda: self._server.add_identity(obj, environment_id))
        return result

    async def write_status(self, obj: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        if not merge_patch(obj.get("status") or {}, status):
            return obj
        result: KubeObject = await self._call("status", lambda: self._server.write_status(obj, status))
        return result

    async def remove_finalizer(self, obj: KubeObject) -> None:
        await self._call("release", lambda: self._server.remove_finalizer(obj))

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        def read() -> SecretData:
            if (namespace, name) not in self._server.secrets:
                raise NotFound(name)
            secret = self._server.secrets[namespace, name]
            data = SecretData(secret["data"])
            data.is_going = bool(secret.get("deleting"))
            return data

        result: SecretData = await self._call("secret", read)
        return result

    async def secret_version(self, namespace: str, name: str) -> str:
        def read() -> str:
            if (namespace, name) not in self._server.secrets:
                raise NotFound(name)
            return repr(self._server.secrets[namespace, name]["data"])

        result: str = await self._call("version", read)
        return result

    async def protect_secret(self, namespace: str, name: str) -> None:
        await self._call("protect", lambda: self._server.mark_secret(namespace, name, True))

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        await self._call("unprotect", lambda: self._server.mark_secret(namespace, name, False))

    async def remembered_accounts(self) -> Mapping[str, str]:
        result: Mapping[str, str] = await self._call("notes", lambda: dict(self._server.accounts))
        return result

    async def remember_account(self, key: str, text: str) -> None:
        await self._call("note", lambda: self._server.accounts.update({key: text}))

    async def forget_account(self, key: str) -> None:
        await self._call("forget", lambda: self._server.accounts.pop(key, None))

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, bytes]:
        def read() -> Mapping[str, bytes]:
            if (namespace, name) not in self._server.config_maps:
                raise NotFound(name)
            return {key: text.encode() for key, text in self._server.config_maps[namespace, name].items()}

        result: Mapping[str, bytes] = await self._call("config map", read)
        return result

    async def record(self, obj: KubeObject, event: Event) -> None:
        self._server.events.append(event)
