"""Shows each instance as an object of its own: compares what runs have seen with what is there, and writes the rest.

Apart from `reconciler`, because nothing waits for it and nothing depends on it: a run hands over its situation and
goes on. Writes come one by one at a rate of their own, and give way while environments are being worked on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from spotcompute.api.instance_object import INSTANCE_FINALIZER, shown_digest
from spotcompute.kube.instance_objects import InstanceObjectPort, InstanceObjects, Key, Seen
from spotcompute.kube.instance_watch import follow
from spotcompute.kube.port import Conflict, Forbidden, Invalid, KubeError, KubeObject, KubePort, NotFound
from spotcompute.kube.store import Store
from spotcompute.model.offering import Pool
from spotcompute.model.wishes import UnknownWishes, Wish
from spotcompute.plan.budget import price_of
from spotcompute.plan.situation import Situation
from spotcompute.report.instance_objects import (
    EnvironmentRef,
    InstanceFacts,
    change_to,
    facts_of,
    new_object,
    out_of_sight,
)

_log = structlog.get_logger(__name__)

#: Requests at the same time. An answer takes some milliseconds, so that two would do on a quiet API server.
WRITERS = 8

#: Part of the rate that is used while environments are worked on.
BUSY_SHARE = 0.1

#: Least time between two comparisons, in seconds, and how much longer than a comparison the pause after it is: so they
#: take a twentieth of the time at most, however many instances there are.
COMPARE_SECONDS, COMPARE_REST = 1.0, 20.0

#: A comparison waits while environments are worked on: so many looks at most, and so many seconds between two.
GIVE_WAY_LOOKS, GIVE_WAY_LOOK_SECONDS = 60, 0.25

#: So many objects are compared before others have their turn.
SLICE = 500

#: A new price alone is shown after this time. Otherwise each move of the market would write every object.
PRICE_HELD = timedelta(minutes=10)

#: First and longest pause after a failed write, in seconds.
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 1.0, 60.0

#: Pause before a write is repeated whose object has changed, in seconds: the watch tells of it meanwhile.
AGAIN_SECONDS = 2.0

#: Time until our finalizer is put back on an object that has lost it, in seconds. So an object can be removed by force,
#: which shows it anew and asks for no end.
UNHELD_SECONDS = 10.0

#: How long an environment waits for its objects to be removed, in seconds.
LEAVING_SECONDS = 60.0

#: How long an answer about an environment that no run has shown yet is believed, in seconds.
JUDGED_SECONDS = 30.0

#: Runs wait this long, in seconds, after a start for the wishes that are stored. Then they go on, and end nothing by
#: choice until the wishes are known.
KNOWN_SECONDS = 5.0


@dataclass(slots=True)
class _Shown:
    """`_Shown` is one environment: what its latest run has seen, and what its objects should show."""

    owner: EnvironmentRef
    pending: Situation | None = None
    facts: dict[str, tuple[InstanceFacts, int]] = field(default_factory=dict)
    prices: dict[tuple[Pool, bool], Decimal] = field(default_factory=dict)
    priced_at: datetime | None = None
    leaving_since: float | None = None
    is_complete: bool = False  # once a situation was compared: objects that it does not have may go

    def price(self, situation: Situation) -> Callable[[Pool, bool], Decimal | None]:
        """Returns the prices to show: those of some minutes ago, where they are known."""
        if self.priced_at is None or not self.priced_at <= situation.now < self.priced_at + PRICE_HELD:
            self.prices, self.priced_at = {}, situation.now

        def shown(pool: Pool, on_demand: bool) -> Decimal | None:
            key = (pool, on_demand)
            if key not in self.prices:
                price = price_of(pool, on_demand, situation.market)
                if price is None:
                    return None
                self.prices[key] = price
            return self.prices[key]

        return shown


class Mirror:
    """`Mirror` keeps the objects of all instances as runs have seen them. Start `run` in the background."""

    def __init__(
        self,
        objects: InstanceObjects,
        port: InstanceObjectPort,
        kube: KubePort,
        store: Store,
        *,
        writes_per_second: float,
        is_busy: Callable[[], bool],
    ) -> None:
        """`is_busy` is True while environments are worked on, which writes give way to."""
        self._objects, self._port, self._kube, self._store = objects, port, kube, store
        self._rate, self._is_busy = writes_per_second, is_busy
        self._shown: dict[str, _Shown] = {}
        self._wanted_by: dict[Key, str] = {}
        self._pending: dict[str, None] = {}
        self._news = asyncio.Event()
        self._due: dict[Key, None] = {}
        self._is_due = asyncio.Event()
        self._next_write_at = 0.0
        self._paused_until: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._writing: set[Key] = set()
        self._settled: dict[Key, tuple[int, int]] = {}
        self._unheld: dict[Key, float] = {}
        self._known_by: float | None = None
        self._judged: dict[str, tuple[float, bool]] = {}
        objects.changed, objects.listed = self._add, self._add_all

    # --- what runs hand over ------------------------------------------------------------------------------------------

    async def wishes(self, namespace: str, uid: str) -> Mapping[str, Wish]:
        """Returns what is asked for instances of this environment.

        After a start it waits a little for the stored ones. Until they are known, every instance counts as protected.
        """
        known, loop = self._objects.known, asyncio.get_running_loop()
        if not known.is_set():
            self._known_by = loop.time() + KNOWN_SECONDS if self._known_by is None else self._known_by
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._known_by):
                    await known.wait()
        return self._objects.wishes(namespace, uid) if known.is_set() else UnknownWishes()

    def show(self, obj: KubeObject, situation: Situation) -> None:
        """Takes in what a run has seen. It never waits."""
        owner = EnvironmentRef(*(str(obj["metadata"][name]) for name in ("namespace", "name", "uid")))
        shown = self._shown.setdefault(owner.uid, _Shown(owner))
        shown.pending = situation
        self._pending[owner.uid] = None
        self._news.set()

    def holds(self, obj: KubeObject) -> bool:
        """Returns True while objects of an environment that has released everything are to be removed.

        After a minute it is no longer waited for: they are removed later, when they are seen without an environment.
        """
        namespace, uid = str(obj["metadata"]["namespace"]), str(obj["metadata"]["uid"])
        shown, loop = self._shown.get(uid), asyncio.get_running_loop()
        if shown is None or not self._objects.is_listed(namespace) or not any(self._objects.owned(namespace, uid)):
            return False
        shown.leaving_since = loop.time() if shown.leaving_since is None else shown.leaving_since
        return loop.time() - shown.leaving_since < LEAVING_SECONDS

    def hide(self, uid: str) -> None:
        """Takes in that the cloud cannot be seen: nothing is said to run any more."""
        shown = self._shown.get(uid)
        if shown is None:
            return
        shown.pending = None
        for name, (facts, _) in list(shown.facts.items()):
            self._want(shown, out_of_sight(facts))
            self._add_if_different((shown.owner.namespace, name), shown)

    def gone(self, uid: str) -> None:
        """Takes in that there is no such environment any more."""
        shown = self._shown.pop(uid, None)
        self._pending.pop(uid, None)
        if shown is None:
            return
        for name in shown.facts:
            self._unwant((shown.owner.namespace, name), uid)
        for key in self._objects.owned(shown.owner.namespace, uid):
            self._add(key)

    async def run(self) -> None:
        """Follows the objects, compares and writes, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._port, self._objects))
            group.create_task(self._compare_for_ever())
            group.create_task(self._wake_when_known())
            for _ in range(WRITERS):
                group.create_task(self._write_for_ever())

    async def _wake_when_known(self) -> None:
        """Wakes every environment once wishes are known that runs have gone on without."""
        await self._objects.known.wait()
        if self._known_by is not None and self._known_by <= asyncio.get_running_loop().time():
            for obj in self._store.all():
                self._objects.wake(obj["metadata"]["namespace"], obj["metadata"]["uid"])

    # --- comparing ----------------------------------------------------------------------------------------------------

    async def _compare_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            await self._give_way()
            self._news.clear()
            began, uids = loop.time(), list(self._pending)
            self._pending.clear()
            for uid in uids:
                try:
                    await self._compare(uid)
                except Exception:  # as for writes
                    _log.exception("instance_objects_not_compared", uid=uid)
            await asyncio.sleep(max(COMPARE_SECONDS, COMPARE_REST * (loop.time() - began)))

    async def _give_way(self) -> None:
        """Waits while environments are worked on, but not for ever. What they show meanwhile replaces what they did."""
        for _ in range(GIVE_WAY_LOOKS):
            if not self._is_busy():
                return
            await asyncio.sleep(GIVE_WAY_LOOK_SECONDS)

    async def _compare(self, uid: str) -> None:
        """Works out what the objects of an environment should show, and queues those that do not."""
        shown = self._shown.get(uid)
        if shown is None or shown.pending is None:
            return
        situation, shown.pending = shown.pending, None
        namespace, left = shown.owner.namespace, dict.fromkeys(shown.facts)
        for number, facts in enumerate(facts_of(situation, shown.price(situation)), 1):
            left.pop(facts.id, None)
            self._want(shown, facts)
            self._add_if_different((namespace, facts.id), shown)
            if number % SLICE == 0:
                await asyncio.sleep(0)
                if self._shown.get(uid) is not shown:
                    return
        for name in left:
            del shown.facts[name]
            self._unwant((namespace, name), uid)
        shown.is_complete = True
        for key in list(self._objects.owned(namespace, uid)):
            if key[1] not in shown.facts:
                self._add(key)

    def _want(self, shown: _Shown, facts: InstanceFacts) -> None:
        known = shown.facts.get(facts.id)
        if known is None or known[0] != facts:
            shown.facts[facts.id] = facts, shown_digest(new_object(facts, shown.owner))
        self._wanted_by.setdefault((shown.owner.namespace, facts.id), shown.owner.uid)

    def _unwant(self, key: Key, uid: str) -> None:
        if self._wanted_by.get(key) == uid:
            del self._wanted_by[key]
        self._settled.pop(key, None)
        self._add(key)

    def _add_if_different(self, key: Key, shown: _Shown) -> None:
        seen = self._objects.get(key)
        if seen is None or not self._is_as_wanted(seen, shown, key):
            self._add(key)

    def _add_all(self, scope: str) -> None:
        """Queues what is missing there, now that it is known what there is."""
        for shown in self._shown.values():
            if scope in ("", shown.owner.namespace):
                for name in shown.facts:
                    self._add_if_different((shown.owner.namespace, name), shown)

    def _is_as_wanted(self, seen: Seen, shown: _Shown, key: Key) -> bool:
        """True when nothing is to be written, or when what was written did not come out as it was meant."""
        digest = shown.facts[key[1]][1]
        is_shown = seen.digest == digest or self._settled.get(key) == (digest, seen.digest)
        return is_shown and seen.owner_uid == shown.owner.uid and (seen.held or seen.deleting)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _add(self, key: Key) -> None:
        self._due[key] = None
        self._is_due.set()

    async def _write_for_ever(self) -> None:
        while True:
            while not self._due:
                self._is_due.clear()
                await self._is_due.wait()
            key = next(iter(self._due))
            del self._due[key]
            await asyncio.sleep(0)
            if not self._objects.is_listed(key[0]) or self._set_aside(key):
                continue
            if key not in self._writing and self._has_work(key) and not self._was_just_let_go(key):
                self._writing.add(key)
                await self._turn()
                await self._try(key)
                self._writing.discard(key)

    def _has_work(self, key: Key) -> bool:
        seen, shown = self._objects.get(key), self._shown.get(self._wanted_by.get(key, ""))
        if shown is None:
            return seen is not None
        return seen is None or not self._is_as_wanted(seen, shown, key)

    def _was_just_let_go(self, key: Key) -> bool:
        """True when our finalizer was just taken off. The object comes back once it has been off for long."""
        loop, seen = asyncio.get_running_loop(), self._objects.get(key)
        if seen is None or seen.held or seen.deleting or key not in self._wanted_by:
            self._unheld.pop(key, None)
            return False
        until = self._unheld.setdefault(key, loop.time() + UNHELD_SECONDS)
        if until <= loop.time():
            del self._unheld[key]
            return False
        loop.call_at(until, self._add, key)
        return True

    def _set_aside(self, key: Key) -> bool:
        """True when writes pause there. The object comes back when they go on."""
        loop = asyncio.get_running_loop()
        until = max(self._paused_until.get(key[0], 0.0), self._paused_until.get("", 0.0))
        if until <= loop.time():
            return False
        loop.call_at(until, self._add, key)
        return True

    async def _turn(self) -> None:
        """Waits until the next write may be sent."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_write_at)
        self._next_write_at = at + 1 / (self._rate * (BUSY_SHARE if self._is_busy() else 1.0))
        await asyncio.sleep(at - now)

    async def _try(self, key: Key) -> None:
        try:
            await self._write(key)
        except (Conflict, NotFound):  # another writer was faster, and the watch tells
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._add, key)
        except (Forbidden, Invalid) as error:
            self._pause(key, key[0], error)
        except KubeError as error:
            self._pause(key, "", error)
        except Exception as error:  # a view must never end the process that looks after instances
            _log.exception("instance_object_failed", namespace=key[0], name=key[1])
            self._pause(key, "", error)
        else:
            self._pauses.pop(key[0], None)
            self._pauses.pop("", None)
            if self._has_work(key):  # what it should show has changed while it was written
                self._add(key)

    def _pause(self, key: Key, scope: str, error: Exception) -> None:
        """Lets writes of a namespace rest, or all of them: for a minute at most, and says so when it begins."""
        loop = asyncio.get_running_loop()
        before = self._pauses.get(scope)
        pause = PAUSE_SECONDS if before is None else min(2 * before, PAUSE_SECONDS_MAX)
        if before is None:
            _log.warning("instance_object_refused", namespace=key[0], name=key[1], error=str(error))
        self._pauses[scope], self._paused_until[scope] = pause, loop.time() + pause
        loop.call_later(pause, self._add, key)

    async def _write(self, key: Key) -> None:
        """Makes one object what it should be, by the first step that is missing."""
        seen, shown = self._objects.get(key), self._shown.get(self._wanted_by.get(key, ""))
        if shown is not None and self._store.get(shown.owner.uid) is None:
            self.gone(shown.owner.uid)
            shown = None
        if seen is None:
            if shown is not None:
                sent = shown.facts[key[1]][1]
                self._answered(key, sent, await self._port.create(self._object(key, shown)))
        elif shown is None or seen.owner_uid != shown.owner.uid:
            if await self._may_go(key, seen) and self._objects.get(key) is seen:
                await self._remove(key, seen)
        elif not self._is_as_wanted(seen, shown, key):
            sent = shown.facts[key[1]][1]
            self._answered(key, sent, await self._port.patch(key, self._change(key, seen, shown)))

    def _object(self, key: Key, shown: _Shown) -> dict[str, Any]:
        return new_object(shown.facts[key[1]][0], shown.owner)

    def _change(self, key: Key, seen: Seen, shown: _Shown) -> dict[str, Any]:
        change = change_to(shown.facts[key[1]][0], shown.owner)
        change["metadata"]["uid"] = seen.uid
        if not seen.held and not seen.deleting:
            finalizers = [*seen.finalizers, INSTANCE_FINALIZER]
            change["metadata"] |= {"finalizers": finalizers, "resourceVersion": str(seen.version)}
        return change

    def _answered(self, key: Key, sent: int, answer: KubeObject) -> None:
        """Takes in the answer to a write. What came out otherwise than it was sent is not sent again."""
        self._objects.on_object(answer)
        written = shown_digest(answer)
        if written == sent:
            self._settled.pop(key, None)
        else:
            self._settled[key] = sent, written

    async def _may_go(self, key: Key, seen: Seen) -> bool:
        """True when no environment can want the object: made by hand, of an ended instance, or of a gone environment.

        While the environment is known to the API server and no run has shown it yet, its objects stay.
        """
        if seen.owner is None:
            return True
        name, uid = seen.owner
        shown = self._shown.get(uid)
        if shown is not None and shown.owner.namespace == key[0]:
            return shown.is_complete
        loop = asyncio.get_running_loop()
        judged_at, exists = self._judged.get(uid, (-JUDGED_SECONDS, True))
        if loop.time() - judged_at >= JUDGED_SECONDS:
            found = await self._kube.get(key[0], name)
            exists = found is not None and found["metadata"]["uid"] == uid
            if len(self._judged) > SLICE:
                self._judged.clear()
            self._judged[uid] = loop.time(), exists
        return not exists

    async def _remove(self, key: Key, seen: Seen) -> None:
        """Takes our finalizer off first: deleted before, the object would ask for the end of its instance."""
        if seen.held:
            others = [finalizer for finalizer in seen.finalizers if finalizer != INSTANCE_FINALIZER]
            metadata = {"uid": seen.uid, "resourceVersion": str(seen.version), "finalizers": others}
            answer = await self._port.patch(key, {"metadata": metadata})
            if not seen.deleting:
                self._objects.on_object(answer)
        if not seen.deleting:
            await self._port.delete(key, seen.uid)
