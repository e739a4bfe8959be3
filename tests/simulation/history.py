"""One history: a seed becomes a workload, troubles and a schedule; then everything is healed and must converge.

`run(seed)` is deterministic: the same seed gives the same events to the bit, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import yaml

from cvmsim.catalog import DEFAULT_WORLD, Catalog, parse
from simulation.cloudworld import CLUSTER_TAG, ENVIRONMENT_TAG, EPOCH, Cloud, CloudLine, CloudTrouble
from simulation.kubeworld import ApiServer, KubeLine, KubeTrouble, Object
from simulation.virtual import run_virtual
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.tencent.provider import TencentProvider
from spotcompute.inventory import Accounts, Pace
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.sources import Sources
from spotcompute.model.identity import binding
from spotcompute.orphans import OrphanSweep
from spotcompute.plan.policy import Policy
from spotcompute.reconcile import Reconciler
from spotcompute.store import Audit, Store
from spotcompute.workqueue import WorkQueue

CLUSTER = "cluster-1"
ACCOUNT = "100000000001"
SECRET = "key"
FAULT_SECONDS = 2400.0
RESYNC = timedelta(seconds=300)
AUDIT_SECONDS = 120.0
ZONES = ("ap-guangzhou-3", "ap-guangzhou-4")
TYPES = ("S2.MEDIUM4", "S5.MEDIUM4", "SA2.MEDIUM4")
IMAGES = ("img-pmqg1cw7", "img-487zeit5")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a history came to: nothing in `violations` is the only good end."""

    seed: int
    violations: tuple[str, ...]
    digest: str
    launched: int
    calls: int
    log: tuple[str, ...] = field(repr=False)


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The shipped world, with room for everything a history wants to do."""
    document = yaml.safe_load(DEFAULT_WORLD.read_text())
    for account in document["accounts"]:
        account["spotQuota"] = 2000
        account["balance"] = "1000000.00"
    return parse(document)


class Replica:
    """One operator process: everything `__main__` puts together, with lines instead of networks."""

    def __init__(self, world: World, number: int) -> None:
        self._world, self.number = world, number
        self._rng = random.Random(f"{world.seed}/replica/{number}/{world.births}")
        world.births += 1
        self.alive = False
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        """Begin as a fresh process: list, then watch."""
        world = self._world
        self.alive = True
        self.queue = WorkQueue(self._rng)
        self.store = Store(self.queue.add)
        kube = KubeLine(world.api, world.kube_trouble, self._rng, self._boundary)
        self.accounts = Accounts(self._provider, CLUSTER, world.clock, world.pace, self._news)
        self.reconciler = Reconciler(
            kube,
            self.store,
            Sources(kube, None, world.clock),
            self.accounts,
            CLUSTER,
            world.policy,
            world.clock,
            self._nonce,
            RESYNC,
        )
        audit = Audit(self.store, kube, AUDIT_SECONDS)
        orphans = OrphanSweep(
            kube, self.store, self.accounts, CLUSTER, world.clock, timedelta(seconds=30), cluster_uid=CLUSTER
        )
        parts = (self.queue.run(2, self.reconciler.reconcile), audit.run(), self.accounts.run(), orphans.run())
        self._tasks = [asyncio.ensure_future(part) for part in parts]
        for obj in list(world.api.objects.values()):
            self._deliver("LISTED", obj)
        world.api.watchers.append(self._watch)

    def crash(self) -> None:
        """kill -9: nothing is finished, nothing is taken back."""
        self.alive = False
        self._world.api.watchers.remove(self._watch)
        for task in self._tasks:
            task.cancel()

    def dead_parts(self) -> list[str]:
        """Parts that ended by themselves: a real process would have exited."""
        return [repr(task.exception()) for task in self._tasks if task.done() and not task.cancelled()]

    def _boundary(self, name: str) -> None:
        self._world.note(f"r{self.number} {name}")

    def _nonce(self) -> str:
        return "".join(self._rng.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(6))

    def _provider(self, credentials: Credentials, region: str) -> TencentProvider:
        line = CloudLine(self._world.cloud, ACCOUNT, self._world.cloud_trouble, self._rng, self._boundary)
        return TencentProvider(line, f"{ACCOUNT}/{region}")  # type: ignore[arg-type]  # the line stands in for HTTP

    def _news(self, environment_ids: Collection[str]) -> None:
        for obj in self.store.all():
            if (obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID) in environment_ids:
                self.queue.add(obj["metadata"]["uid"])

    def _watch(self, kind: str, obj: Object) -> None:
        trouble, rng = self._world.kube_trouble, self._rng
        if rng.random() < trouble.drop_event:
            return
        asyncio.get_running_loop().call_later(rng.uniform(0, trouble.delay_event), self._deliver, kind, obj)
        if rng.random() < trouble.replay_event:
            asyncio.get_running_loop().call_later(rng.uniform(0, 60), self._deliver, "MODIFIED", obj)

    def _deliver(self, kind: str, obj: Object) -> None:
        if not self.alive:
            return
        if kind == "DELETED":
            self.store.deleted(obj["metadata"]["uid"])
        else:
            self.store.observe(obj)


class World:
    """Everything in one history: API server, cloud, replicas, users, and the judge."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(f"{seed}/world")
        self.births = 0
        self.log: list[str] = []
        self._digest = hashlib.sha256()
        self._wanted: dict[tuple[str, str], list[tuple[float, int]]] = {}
        self.kube_trouble, self.cloud_trouble = KubeTrouble(), CloudTrouble()
        self.policy = Policy()
        sweep = self.rng.choice([5, 15, 15, 30])
        self.pace = Pace(timedelta(seconds=sweep), timedelta(seconds=min(5, sweep)), timedelta(seconds=120))
        self.cloud = Cloud(catalog(), seed, self._switches())
        self.cloud.allowed, self.cloud.owner_of_caller = self._allowed, self._owner_of_caller
        self.api = ApiServer(random.Random(f"{seed}/api"), self.clock)
        self.api.on_gone = self._judge_release
        self.api.secrets["default", SECRET] = {"data": {"secretId": b"AKIDx", "secretKey": b"k"}}
        self.names = [f"env{number}" for number in range(self.rng.choice([1, 1, 1, 2, 3]))]
        self.replicas: list[Replica] = []
        self.deleted: set[str] = set()
        self.swarm: set[str] = set()

    def clock(self) -> datetime:
        return datetime.fromtimestamp(EPOCH + asyncio.get_running_loop().time(), UTC)

    def note(self, line: str) -> None:
        """One line of the trace: kept for a failing seed, digested for every one."""
        text = f"{asyncio.get_running_loop().time():9.3f} {line}"
        self._digest.update(text.encode())
        self.log.append(text)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()[:16]

    def _switches(self) -> dict[str, object]:
        """Every undocumented behaviour of the cloud, drawn anew; lags stay within the promised visibility."""
        pick = self.rng.choice
        return {
            "token-lifetime": pick(["600", "86400", "forever"]),
            "token-of-terminated": pick(["same-ids", "error"]),
            "token-mismatch": pick(["error", "old-ids"]),
            "token-after-failure": pick(["free", "consumed"]),
            "list-lag": pick(["0", "0", "5", "30", "60", "150"]),
            "id-lag": pick(["0", "0", "5", "30"]),
            "tag-lag": pick(["0", "0", "5", "60", "150"]),
            "order": pick(["creation", "newest-first", "shuffled"]),
            "terminate-batch": pick(["all-or-nothing", "partial"]),
            "terminate-pending": pick(["refused", "accepted"]),
            "terminating-seconds": pick(["0", "5", "120", "1200"]),
            "recycle-bin": pick(["no", "no", "yes"]),
            "reclaim-visible": pick(["terminating", "shutdown", "absent"]),
            "latest-operation-of-console": pick(["recorded", "absent"]),
            "pending-seconds": pick(["0", "3", "30", "120"]),
            "launch-failure-rate": pick(["0", "0", "0.1"]),
            "launch-failed-lifetime": pick(["0", "60", "3600"]),
            "quote-lag": pick(["0", "30", "300"]),
            "unknown-id": pick(["absent", "absent", "absent"]),
            "sold-out-code": pick(["ResourceInsufficient.SpecifiedInstanceType", "LimitExceeded.SpotQuota"]),
        }

    # --- what was wanted ---------------------------------------------------------------------------------------------

    def want(self, name: str, replicas: int) -> None:
        """Remember what the user asked for from now on."""
        self._wanted.setdefault(("default", name), []).append((asyncio.get_running_loop().time(), replicas))

    def _name_of(self, environment_id: str) -> str | None:
        prefix = environment_id.split("-")[0]
        return next((name for name in self.names if binding(CLUSTER, "default", name) == prefix), None)

    def _allowed(self, environment_id: str, window: float) -> int | None:
        """The most that was wanted at any moment of the last `window` seconds."""
        name = self._name_of(environment_id)
        history = self._wanted.get(("default", name or ""), [])
        since = asyncio.get_running_loop().time() - window
        recent = [count for moment, count in history if moment >= since]
        before = [count for moment, count in history if moment < since][-1:]
        return max([*before, *recent], default=0)

    def _owner_of_caller(self, caller: str) -> str:
        namespace, _, name = caller.partition("/")
        return binding(CLUSTER, namespace, name) + "-" if name else ""

    def _judge_release(self, obj: Object) -> None:
        environment_id = (obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID)
        self.cloud.advance()
        left = self.cloud.living(environment_id) if environment_id else []
        if left and "strip" not in self.swarm:
            ids = [instance.id for instance in left]
            self.cloud.violations.append(f"O1 leak: {obj['metadata']['name']} released with {ids} alive")

    # --- the course of events ----------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Trouble for a while, then heal, converge, and stay quiet."""
        rng = self.rng
        self._draw_swarm()
        for name in self.names:
            self._create(name)
        for number in range(rng.choice([1, 1, 1, 1, 2, 3])):
            replica = Replica(self, number)
            replica.start()
            self.replicas.append(replica)
        loop = asyncio.get_running_loop()
        while loop.time() < FAULT_SECONDS:
            await asyncio.sleep(rng.expovariate(1 / self._tempo))
            self._disturb()
            self._check_alive()
        self._heal()
        await self._converge()
        await self._stay_quiet()

    def _draw_swarm(self) -> None:
        kinds = [
            "scale", "reclaim", "console-terminate", "console-stop", "stock", "price", "pause", "template", "types",
            "crash", "kube-outage", "cloud-outage", "delete", "launch-outcome", "revoke", "wipe", "untag", "rename",
        ]  # fmt: skip
        self.swarm = {kind for kind in kinds if self.rng.random() < 0.4} | {"scale"}
        if "wipe" in self.swarm:
            # Our memory and the cloud's mark gone together leave nothing to know an instance by; the docs say so.
            self.swarm -= {"rename", "untag"}
        if "untag" in self.swarm:
            # Two strange hands on one machine before its tags were ever seen: nothing says any more that it is ours.
            self.swarm.discard("rename")
        self._tempo = self.rng.choice([15.0, 40.0, 120.0])
        level = self.rng.choice([0.0, 0.03, 0.08, 0.2])
        weight = self.rng.random
        self.cloud_trouble = CloudTrouble(
            not_sent=level * weight(),
            throttle=level * weight(),
            fail_before=level * weight(),
            lose_after=level * weight(),
            late=level * weight() if self.rng.random() < 0.4 else 0.0,
            empty_list=level * weight() / 4,
            partial_list=level * weight() / 4,
            latency=self.rng.choice([0.05, 0.5, 2.0]),
            slow=level,
        )
        level = self.rng.choice([0.0, 0.02, 0.1])
        self.kube_trouble = KubeTrouble(
            refuse=level * weight(),
            lose_answer=level * weight(),
            drop_event=level * weight(),
            replay_event=level * weight(),
            delay_event=self.rng.choice([0.05, 1.0, 10.0]),
            latency=self.rng.choice([0.01, 0.3]),
        )

    def _create(self, name: str) -> None:
        replicas = self.rng.randint(0, 6)
        self.want(name, replicas)
        spec = {
            "region": "ap-guangzhou",
            "replicas": replicas,
            "placements": [{"zone": zone} for zone in ZONES[: self.rng.randint(1, 2)]],
            "instanceTypes": list(self.rng.sample(TYPES, self.rng.randint(1, 2))),
            "market": {"maxPrice": "0.5"},
            "template": {"imageId": IMAGES[0]},
            "credentialsSecretRef": {"name": SECRET},
        }
        self.api.create("default", name, spec)
        self.note(f"user creates {name} with {replicas}")

    def _disturb(self) -> None:
        kind = self.rng.choice(sorted(self.swarm))
        name = self.rng.choice(self.names)
        self.note(f"event {kind} {name}")
        self.cloud.advance()
        getattr(self, "_do_" + kind.replace("-", "_"))(name)
        self.cloud.advance()

    def _do_scale(self, name: str) -> None:
        replicas = self.rng.randint(0, 6)
        if name in self.deleted:
            return
        self.want(name, replicas)
        self.api.change_spec("default", name, lambda obj: obj_set(obj, "replicas", replicas))

    def _do_pause(self, name: str) -> None:
        paused = self.rng.random() < 0.5
        self.api.change_spec("default", name, lambda obj: obj_set(obj, "paused", paused))

    def _do_template(self, name: str) -> None:
        image = self.rng.choice(IMAGES)
        self.api.change_spec("default", name, lambda obj: obj["template"].update(imageId=image))

    def _do_types(self, name: str) -> None:
        types = list(self.rng.sample(TYPES, self.rng.randint(1, 3)))
        self.api.change_spec("default", name, lambda obj: obj_set(obj, "instanceTypes", types))

    def _do_delete(self, name: str) -> None:
        if ("default", name) in self.api.objects:
            self.want(name, 0)
            self.deleted.add(name)
            self.api.delete("default", name)
        else:
            self.deleted.discard(name)
            self._create(name)

    def _do_wipe(self, name: str) -> None:
        if self.rng.random() < 0.2:
            self.api.edit("default", name, lambda obj: obj.update(status={"observedGeneration": -1, "replicas": 0}))

    def _some(self) -> list[Any]:
        living = sorted(self.cloud.living(), key=lambda instance: instance.id)
        return self.rng.sample(living, min(len(living), self.rng.randint(1, 3)))

    def _do_reclaim(self, name: str) -> None:
        self.cloud.simulator.world.reclaim(self._some(), self.rng.choice([0.0, 120.0]))

    def _do_console_terminate(self, name: str) -> None:
        for instance in self._some():
            self.cloud.simulator.world.terminate(instance, "console", None)

    def _do_console_stop(self, name: str) -> None:
        for instance in self._some():
            if instance.state == "RUNNING":
                self.cloud.simulator.world.stop(instance, "console", None)

    def _do_untag(self, name: str) -> None:
        for instance in self._some()[:1]:
            self.cloud.simulator.world.retag(instance, {})
            self._repair.append((instance, dict(instance.order.tags)))

    def _do_rename(self, name: str) -> None:
        for instance in self._some()[:1]:
            instance.name = "renamed-by-hand"

    def _do_launch_outcome(self, name: str) -> None:
        return None

    def _do_stock(self, name: str) -> None:
        for offering in self.cloud.simulator.world.offerings.values():
            if self.rng.random() < 0.5:
                offering.set_stock(self.rng.choice([0, 0, 1, 2, 5, 100]), self.cloud.simulator.world.now)

    def _do_price(self, name: str) -> None:
        from decimal import Decimal

        for offering in self.cloud.simulator.world.offerings.values():
            if self.rng.random() < 0.5:
                self.cloud.simulator.world.set_price(offering, self.rng.choice([Decimal("0.02"), Decimal("0.9")]))

    def _do_crash(self, name: str) -> None:
        replica = self.rng.choice(self.replicas)
        if replica.alive:
            replica.crash()
            fresh = Replica(self, replica.number)
            self.replicas[self.replicas.index(replica)] = fresh
            asyncio.get_running_loop().call_later(self.rng.choice([0.1, 5.0, 60.0, 900.0]), self._restart, fresh)

    def _restart(self, replica: Replica) -> None:
        if not replica.alive and replica in self.replicas:
            self.note(f"r{replica.number} starts")
            replica.start()

    def _do_kube_outage(self, name: str) -> None:
        until = asyncio.get_running_loop().time() + self.rng.choice([2.0, 30.0, 400.0])
        if self.rng.random() < 0.3:
            self.kube_trouble.forbidden_until = until
        else:
            self.kube_trouble.outage_until = until

    def _do_cloud_outage(self, name: str) -> None:
        self.cloud_trouble.outage_until = asyncio.get_running_loop().time() + self.rng.choice([2.0, 30.0, 400.0])

    def _do_revoke(self, name: str) -> None:
        self.cloud_trouble.revoked = not self.cloud_trouble.revoked

    _repair: list[tuple[Any, dict[str, str]]]

    # --- the end -----------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        self.note("heal")
        self.kube_trouble.__init__()  # type: ignore[misc]  # the lines keep their reference
        self.cloud_trouble.__init__()  # type: ignore[misc]
        self.cloud.advance()
        world = self.cloud.simulator.world
        for instance, tags in self._repair:
            world.retag(instance, tags)
        world.switches.set("launch-failure-rate", "0")
        for offering in world.offerings.values():
            from decimal import Decimal

            offering.set_stock(500, world.now)
            world.set_price(offering, Decimal("0.02"))
        for name in self.names:
            self.api.change_spec("default", name, lambda obj: obj_set(obj, "paused", False))
        for replica in self.replicas:
            if not replica.alive:
                self._restart(replica)

    def _check_alive(self) -> None:
        for replica in self.replicas:
            if replica.alive and replica.dead_parts():
                self.cloud.violations.append(f"process ended: {replica.dead_parts()}")
                replica.alive = False

    @property
    def bound(self) -> float:
        """How long convergence may take after the last fault."""
        lags = self.cloud.simulator.switches.number
        slow = lags("list-lag") + lags("tag-lag") + lags("pending-seconds") + lags("terminating-seconds")
        bin_seconds = 7200.0 if self.cloud.simulator.switches["recycle-bin"] == "yes" else 0.0
        settle = self.policy.horizon.total_seconds()
        return 2 * RESYNC.total_seconds() + AUDIT_SECONDS + settle + slow + 120.0 + min(bin_seconds, 600.0)

    async def _converge(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.bound
        while loop.time() < deadline:
            await asyncio.sleep(10)
            self.cloud.advance()
            if not self.differences():
                break
        self._check_alive()
        for difference in self.differences():
            self.cloud.violations.append(f"O4 not converged {self.bound:.0f} s after the last fault: {difference}")

    def differences(self) -> list[str]:
        """What is not as wanted, by the cloud's own books and the object's own words."""
        result = []
        for name in self.names:
            obj = self.api.objects.get(("default", name))
            if obj is None or "deletionTimestamp" in obj["metadata"]:
                prefix = binding(CLUSTER, "default", name)
                left = [i.id for i in self.cloud.living() if i.order.tags.get(ENVIRONMENT_TAG, "").startswith(prefix)]
                if obj is not None:
                    conditions = [item.get("message") for item in obj["status"].get("conditions", [])][:1]
                    result.append(f"{name} is still being deleted, {len(left)} alive: {conditions}")
                elif left:
                    result.append(f"O1 leak: {name} is gone and {left} live")
                continue
            prefix = binding(CLUSTER, "default", name) + "-"
            living = [i for i in self.cloud.living() if i.order.tags.get(ENVIRONMENT_TAG, "").startswith(prefix)]
            running = [i for i in living if i.state == "RUNNING"]
            wanted = obj["spec"].get("replicas", 0)
            if len(living) != wanted or len(running) != wanted:
                states = sorted(i.state for i in living)
                message = [item.get("message") for item in obj["status"].get("conditions", [])][:1]
                result.append(f"{name} wants {wanted}, has {states}: {message}")
            elif obj["status"].get("readyReplicas") != wanted or obj["status"].get("phase") != "Ready":
                status = {key: obj["status"].get(key) for key in ("phase", "reason", "readyReplicas")}
                result.append(f"{name} runs {wanted} and says {status}")
        return result

    async def _stay_quiet(self) -> None:
        """After a while for stragglers (a release that still shows), nothing may be written or changed any more."""
        if self.cloud.violations:
            return
        lags = self.cloud.simulator.switches.number
        bin_seconds = 7200.0 if self.cloud.simulator.switches["recycle-bin"] == "yes" else 0.0
        stragglers = max(lags("terminating-seconds"), lags("launch-failed-lifetime"), bin_seconds)
        await asyncio.sleep(stragglers + 900.0)
        writes, mutations = self.api.writes, self.cloud.mutations
        await asyncio.sleep(self.quiet_seconds)
        if self.api.writes != writes or self.cloud.mutations != mutations:
            self.cloud.violations.append(
                f"O4 not quiet: {self.api.writes - writes} writes and {self.cloud.mutations - mutations} calls"
            )
        for difference in self.differences():
            self.cloud.violations.append(f"O4 did not stay: {difference}")

    quiet_seconds = 3600.0


def obj_set(spec: Object, key: str, value: object) -> None:
    """Set one field of a spec."""
    spec[key] = value


def run(seed: int, quiet_seconds: float = 3600.0) -> Outcome:
    """Play the history of `seed` to its end and judge it."""
    holder: list[World] = []

    async def play() -> None:
        world = World(seed)
        world._repair = []
        world.quiet_seconds = quiet_seconds
        holder.append(world)
        await world.play()

    run_virtual(play())
    world = holder[0]
    return Outcome(
        seed=seed,
        violations=tuple(world.cloud.violations),
        digest=world.digest,
        launched=sum(ENVIRONMENT_TAG in i.order.tags for i in world.cloud.simulator.world.instances.values()),
        calls=sum(1 for _ in world.cloud.simulator.ledger.requests()),
        log=tuple(world.log),
    )


Check = Callable[[World], list[str]]
__all__ = ["CLUSTER_TAG", "Outcome", "World", "run"]
