"""The second kind of the API server in memory: objects of instances, and one replica's line to them.

Apart from `kubeworld`, which plays what is bought by: nothing here may ever change that.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from simulation.kubeworld import KubeTrouble, Object
from spotcompute.kube.instance_objects import Key, Page
from spotcompute.kube.port import ApiUnavailable, Conflict, Forbidden, Invalid, KubeObject, NotFound, NotServed
from spotcompute.kube.transport import Expired

#: Changes that a watch can still be told of.
REMEMBERED = 200


class ObjectServer:
    """The objects, who watches them, and who has written: the operator, or other people."""

    def __init__(self, seed: object) -> None:
        self._rng = random.Random(f"{seed}/objects")
        self.objects: dict[Key, Object] = {}
        self.writes = 0
        self.is_served = True
        #: The longest that an answer is on its way.
        self.answer_seconds = 0.01
        self._version, self._log = 100, list[tuple[int, str, Object]]()
        self._watchers: list[asyncio.Queue[tuple[str, Object]]] = []

    # --- what people do -----------------------------------------------------------------------------------------------

    def mark(self, key: Key, **marks: str) -> None:
        """`kubectl annotate`, without a policy that would refuse nonsense."""
        obj = self.objects.get(key)
        if obj is not None:
            ours = {f"spotcompute.dev/{name.replace('_', '-')}": text for name, text in marks.items()}
            known = obj["metadata"].get("annotations") or {}
            self._put("MODIFIED", _with(obj, annotations={**known, **ours}))

    def forge(self, key: Key, **status: Any) -> None:
        """Write into the view, as one with too many rights could."""
        obj = self.objects.get(key)
        if obj is not None:
            self._put("MODIFIED", {**obj, "status": {**obj["status"], **status}})

    def make(self, obj: Object) -> None:
        """Make an object by hand, unless there is one of that name."""
        if _key(obj) not in self.objects:
            self._create(obj)

    def remove_by_force(self, key: Key) -> None:
        """The object is gone at once, whatever holds it."""
        obj = self.objects.get(key)
        if obj is not None:
            self._remove(obj)

    # --- what anybody may do ------------------------------------------------------------------------------------------

    def page(self) -> Page:
        self._refuse_unserved()
        return Page(list(self.objects.values()), None, str(self._version))

    def create(self, obj: KubeObject) -> Object:
        self._refuse_unserved()
        self.writes += 1
        if _key(obj) in self.objects:
            raise Conflict("already exists")
        return self._create(dict(obj))

    def patch(self, key: Key, change: Mapping[str, Any]) -> Object:
        self._refuse_unserved()
        self.writes += 1
        obj = self.objects.get(key)
        if obj is None:
            raise NotFound(key[1])
        metadata = change.get("metadata") or {}
        for precondition in ("uid", "resourceVersion"):
            if precondition in metadata and metadata[precondition] != obj["metadata"][precondition]:
                raise Conflict(precondition)
        added = set(metadata.get("finalizers") or ()) - set(obj["metadata"].get("finalizers") or ())
        if added and "deletionTimestamp" in obj["metadata"]:
            raise Invalid("no new finalizers on an object that is being deleted")
        fresh = _merged(
            obj, {**change, "metadata": {**metadata, "resourceVersion": obj["metadata"]["resourceVersion"]}}
        )
        return self._put("MODIFIED", fresh)

    def delete(self, key: Key, uid: str | None = None) -> None:
        obj = self.objects.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        if uid is not None and uid != obj["metadata"]["uid"]:
            raise Conflict("uid")
        if obj["metadata"].get("finalizers"):
            self._put("MODIFIED", _with(obj, deletionTimestamp="2026-11-23T00:00:00Z"))
        else:
            self._remove(obj)

    async def changes(self, version: str) -> AsyncGenerator[tuple[str, Object]]:
        """Every change after `version`, for ever."""
        self._refuse_unserved()
        if self._log and int(version) < self._log[0][0] - 1:
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

    def collect(self, is_there: Callable[[str, str], bool]) -> None:
        """What the garbage collector does: objects whose environment is gone are deleted."""
        for key, obj in list(self.objects.items()):
            owners = obj["metadata"].get("ownerReferences") or ()
            if owners and not any(is_there(key[0], owner["uid"]) for owner in owners):
                self.delete(key)

    def _create(self, obj: Object) -> Object:
        return self._put("ADDED", _with(obj, uid=f"{self._rng.getrandbits(64):016x}", resourceVersion=""))

    def _put(self, kind: str, obj: Object) -> Object:
        if "deletionTimestamp" in obj["metadata"] and not obj["metadata"].get("finalizers"):
            self._remove(obj)
            return obj
        known = self.objects.get(_key(obj))
        if known is not None and _with(known, resourceVersion="") == _with(obj, resourceVersion=""):
            return known
        fresh = self._next(obj)
        self.objects[_key(obj)] = fresh
        self._tell(kind, fresh)
        return fresh

    def _remove(self, obj: Object) -> None:
        self.objects.pop(_key(obj), None)
        self._tell("DELETED", self._next(obj))

    def _next(self, obj: Object) -> Object:
        self._version += 1
        return _with(obj, resourceVersion=str(self._version))

    def _tell(self, kind: str, obj: Object) -> None:
        self._log = [*self._log, (self._version, kind, obj)][-REMEMBERED:]
        for queue in self._watchers:
            queue.put_nowait((kind, obj))

    def _refuse_unserved(self) -> None:
        if not self.is_served:
            raise NotServed("the server could not find the requested resource")


class ObjectLine:
    """One replica's connection: implements `InstanceObjectPort`, with latency and the trouble of the moment."""

    def __init__(self, server: ObjectServer, trouble: KubeTrouble, rng: random.Random) -> None:
        self._server, self._trouble, self._rng = server, trouble, rng

    async def _call(self, what: str, commit: Callable[[], Any]) -> Any:
        trouble, luck = self._trouble, self._rng.random()
        await asyncio.sleep(self._rng.uniform(0, 0.01))
        now = asyncio.get_running_loop().time()
        if now < trouble.outage_until or luck < trouble.refuse:
            raise ApiUnavailable(f"{what}: connection refused")
        if now < trouble.forbidden_until:
            raise Forbidden(f"{what}: forbidden")
        result = commit()
        await asyncio.sleep(self._rng.uniform(0, self._server.answer_seconds))
        if luck > 1 - trouble.lose_answer:
            raise ApiUnavailable(f"{what}: no answer")
        return result

    async def page(self, namespace: str, token: str | None) -> Page:
        page: Page = await self._call("list", self._server.page)
        return page

    async def watch(self, namespace: str, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        changes = self._server.changes(version)
        try:
            async for change in changes:
                if asyncio.get_running_loop().time() < self._trouble.outage_until:
                    raise ApiUnavailable("watch: connection lost")
                await asyncio.sleep(self._rng.uniform(0, 0.05))
                yield change
        finally:
            await changes.aclose()

    async def create(self, obj: KubeObject) -> KubeObject:
        created: KubeObject = await self._call("create", lambda: self._server.create(obj))
        return created

    async def patch(self, key: Key, change: Mapping[str, Any]) -> KubeObject:
        patched: KubeObject = await self._call("patch", lambda: self._server.patch(key, change))
        return patched

    async def delete(self, key: Key, uid: str) -> None:
        await self._call("delete", lambda: self._server.delete(key, uid))


def _key(obj: KubeObject) -> Key:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _with(obj: Object, **metadata: Any) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **metadata}}


def _merged(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(value) if isinstance(value, Mapping) else {}
    for name, inner in patch.items():
        if inner is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), inner)
    return result
