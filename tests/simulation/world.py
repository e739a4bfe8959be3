"""One small universe: API server, cloud, operator replicas, and the judge of all of it.

Histories (random) and scenarios (scripted) are played in it; it decides nothing about what happens, only how it is
carried out and whether it was right.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal

import yaml

from cvmsim.catalog import DEFAULT_WORLD, Catalog, parse
from cvmsim.instance import LAUNCH_FAILED, ON_DEMAND, Instance
from simulation.cloudworld import ENVIRONMENT_TAG, EPOCH, Cloud, CloudLine, CloudTrouble
from simulation.faultpoint import FaultPoint
from simulation.kubeworld import ApiServer, KubeLine, KubeTrouble, Object
from simulation.marks import Marks
from simulation.measure import granted, units
from simulation.objectworld import ObjectLine, ObjectServer
from simulation.oracles import EXISTING, Oracles
from simulation.records import Records
from spotcompute.api.gang import ASKED_SECONDS
from spotcompute.app import pace, policy
from spotcompute.cloud.accounts import Accounts
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.pace import IDLE, Pace
from spotcompute.cloud.pacer import Pacer
from spotcompute.cloud.tencent.provider import TencentProvider
from spotcompute.kube.account_registry import AccountRegistry
from spotcompute.kube.audit import Audit
from spotcompute.kube.cluster import Cluster
from spotcompute.kube.instance_objects import InstanceObjects
from spotcompute.kube.names import ENVIRONMENT_ID
from spotcompute.kube.sources import Sources
from spotcompute.kube.store import Store
from spotcompute.model.identity import binding
from spotcompute.plan.policy import Policy
from spotcompute.reconcile.mirror import Mirror
from spotcompute.reconcile.orphan_sweep import OrphanSweep
from spotcompute.reconcile.reconciler import Reconciler
from spotcompute.runtime.workqueue import WorkQueue
from spotcompute.settings import Settings

CLUSTER = "cluster-1"
ACCOUNT = "100000000001"
SECRET = "key"
EPOCH_UTC = datetime.fromtimestamp(EPOCH, UTC)
RESYNC = timedelta(seconds=300)
#: The pace of an install that has chosen none. Made once: the judge asks for it at every step, and to read settings out
#: of the environment takes longer than everything that the operator computes in a step.
DEFAULT_PACE = replace(pace(Settings()), idle=max(IDLE, 2 * RESYNC))
AUDIT_SECONDS = 120.0
ORPHAN_SECONDS = 30.0

#: States in which an instance costs money.
BILLED = frozenset({"PENDING", "RUNNING", "STARTING", "STOPPING", "STOPPED", "REBOOTING"})

#: What the promise says of an instance whose environment is gone, from the moment lists show it.
ORPHANS_GONE_SECONDS = 300.0

#: The longest that an answer of the API server is on its way in a history. What another process claims meanwhile, the
#: asker cannot know of.
SLOWEST_ANSWER = timedelta(seconds=0.3)

#: How much rarer, at most, everything periodic is during the long quiet at the end of most histories.
CALM = 100

#: And no more often than that, in seconds, are the cloud and orphans looked for then: in short plays most of the work.
CALM_SECONDS = 240.0

#: One history in so many keeps its pace.
UNCALMED = 2000
ZONES = ("ap-guangzhou-3", "ap-guangzhou-4")
TYPES = ("S2.MEDIUM4", "S5.MEDIUM4", "SA2.MEDIUM4")
NAMES_OF_ENVIRONMENTS = tuple(f"env{number}" for number in range(20))
IMAGES = ("img-pmqg1cw7", "img-487zeit5")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a play came to: nothing in `violations` is the only good end."""

    name: str
    violations: tuple[str, ...]
    digest: str
    launched: int
    calls: int
    replicas: int
    records: int
    longest_orphan: float
    features: frozenset[str]
    faults_struck: int
    log: tuple[str, ...] = field(repr=False)


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The shipped world, with room for everything a play wants to do."""
    document = yaml.safe_load(DEFAULT_WORLD.read_text())
    for account in document["accounts"]:
        account["spotQuota"] = 2000
        account["balance"] = "1000000.00"
    return parse(document)


class Replica:
    """One operator process: everything `app` puts together, with lines instead of networks."""

    def __init__(self, world: World, number: int) -> None:
        self._world, self.number = world, number
        self._rng = random.Random(f"{world.seed}/replica/{number}/{world.births}")
        world.births += 1
        self.alive = False
        self._read, self._reached = (0.0, EPOCH_UTC), 0
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        """Begin as a fresh process: list, then watch."""
        world = self._world
        self.alive = True
        self.queue = WorkQueue(self._rng)
        self.store = Store(self.queue.add)
        kube = KubeLine(world.api, world.kube_trouble, self._rng, self._boundary, world.fault)
        self.accounts = Accounts(self._provider, world.cluster, self.clock, world.pace, self._news)
        cluster = Cluster(
            world.cluster, kube, self.store, Sources(kube, None, self.clock), AccountRegistry(kube), uid=world.cluster
        )
        policy = replace(world.policy, resync=RESYNC * world.calm)
        self.reconciler = Reconciler(cluster, self.accounts, policy, self.clock, self._nonce, "CNY")
        audit = Audit(self.store, kube, AUDIT_SECONDS * world.calm)
        orphans = OrphanSweep(cluster, self.accounts, policy, self.clock, world.period(ORPHAN_SECONDS))
        parts = (
            self.queue.run(world.workers, self.reconciler.reconcile),
            audit.run(),
            self.accounts.run(),
            orphans.run(),
        )
        self._tasks = [asyncio.ensure_future(part) for part in (*parts, *self._views(kube))]
        self._reached = world.api.version
        for obj in list(world.api.objects.values()):
            self.deliver("LISTED", obj)
        world.api.watchers.append(self._watch)

    def _views(self, kube: KubeLine) -> list[Coroutine[Any, Any, None]]:
        """What shows instances as objects, in plays that have such objects."""
        if self._world.objects is None:
            return []
        line = ObjectLine(self._world.objects, self._world.kube_trouble, self._rng)
        seen = InstanceObjects((), lambda _, uid: self.queue.add(uid))
        mirror = Mirror(seen, line, kube, self.store, writes_per_second=100.0, is_busy=lambda: self.queue.is_busy)
        self.reconciler.views = self.mirror = mirror
        return [mirror.run()]

    def crash(self) -> None:
        """kill -9: nothing is finished, nothing is taken back."""
        self.alive = False
        self._world.api.watchers.remove(self._watch)
        for task in self._tasks:
            task.cancel()

    def dead_parts(self) -> list[str]:
        """Parts that ended by themselves: a real process would have exited."""
        return [repr(task.exception()) for task in self._tasks if task.done() and not task.cancelled()]

    def clock(self) -> datetime:
        """What this process takes for the time."""
        seconds = asyncio.get_running_loop().time() + self._skew()
        if seconds != self._read[0]:  # asked for many times at each moment
            self._read = seconds, EPOCH_UTC + timedelta(seconds=seconds)
        return self._read[1]

    def _skew(self) -> float:
        return self._world.skews.get(self.number, 0.0)

    def _boundary(self, name: str) -> None:
        self._world.note(f"r{self.number} {name}")

    def _nonce(self) -> str:
        return "".join(self._rng.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(6))

    def _provider(self, credentials: Credentials, region: str) -> TencentProvider:
        world = self._world
        line = CloudLine(
            world.cloud,
            world.accounts.get(credentials.secret_id, ACCOUNT),
            world.cloud_trouble,
            self._rng,
            self._boundary,
            world.fault,
            self._skew,
            lambda environment_id: environment_id in identities(self.store.all()),
            lambda: credentials.secret_id in world.revoked,
            world.pacer,
        )
        return TencentProvider(line, f"{credentials.fingerprint}/{region}")  # type: ignore[arg-type]  # the line stands in for HTTP

    def _news(self, environment_ids: Collection[str]) -> None:
        for obj in self.store.all():
            if (obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID) in environment_ids:
                self.queue.add(obj["metadata"]["uid"])

    def _watch(self, kind: str, obj: Object) -> None:
        version = int(obj["metadata"]["resourceVersion"])
        if version <= self._reached:  # etcd went back: a watch goes on from where it was, and is blind until then
            return
        self._reached = version
        trouble, rng = self._world.kube_trouble, self._rng
        if rng.random() < trouble.drop_event:
            return
        asyncio.get_running_loop().call_later(rng.uniform(0, trouble.delay_event), self.deliver, kind, obj)
        if rng.random() < trouble.replay_event:
            asyncio.get_running_loop().call_later(rng.uniform(0, 60), self.deliver, "MODIFIED", obj)

    def deliver(self, kind: str, obj: Object) -> None:
        if not self.alive:
            return
        if kind == "DELETED":
            self.store.on_deleted(obj["metadata"]["uid"])
        else:
            self.store.on_event(obj)


class World:
    """API server, cloud, replicas and judge; `seed` decides every delay, `switches` what the cloud leaves open."""

    def __init__(
        self,
        seed: int | str,
        names: Collection[str],
        switches: Mapping[str, object],
        sweep_seconds: float = 15.0,
        cluster: str = CLUSTER,
        cloud: Cloud | None = None,
    ) -> None:
        """`cloud` when there is one already, of another world with another `cluster`."""
        self.seed, self.cluster = seed, cluster
        self.births = 0
        #: How many environments a process works on at the same time.
        self.workers = 2
        self.log: list[str] = []
        self._wanted: dict[tuple[str, str], list[tuple[float, int]]] = {}
        self.kube_trouble, self.cloud_trouble = KubeTrouble(), CloudTrouble()
        # The memory of the market in the pace of the plays, whose troubles come every minute and not every hour.
        minutes = timedelta(minutes=2)
        self._states_bids = switches.get("site") == "international"
        self.policy = Policy(
            self._states_bids, early_loss=timedelta(minutes=3), half_life=minutes, switch_interval_min=minutes
        )
        self._sweep_seconds, self.calm, self._has_defaults = sweep_seconds, 1, False
        #: How many environments each process works on at the same time, and what limits its calls, in plays about that.
        self.workers = 2
        self.pacer: Pacer | None = None
        #: Objects of instances, in plays that have them. To be set before replicas start.
        self.objects: ObjectServer | None = None
        self.skews: dict[int, float] = {}
        #: Whose each secret id is; those that are not named here are of `ACCOUNT`.
        self.accounts: dict[str, str] = {}
        #: Secret ids that the cloud accepts no more.
        self.revoked: set[str] = set()
        self._rotations = 0
        self.no_starts_until = 0.0
        self.fault = FaultPoint()
        self.cloud = cloud or Cloud(catalog(), hash_of(seed), switches)
        self.cloud.allowed, self.cloud.owner_of_caller = self._allowed, self._owner_of_caller
        self.api = ApiServer(random.Random(f"{seed}/api"), self.clock, cluster)
        self.api.on_release = self._judge_release
        self.records = Records(self.cloud.violations.append)
        self.oracles: Oracles | None = None
        self.api.on_status = self._judge_status
        #: How often a person has taken a machine of ours for something else, or given it away.
        self.confusions = 0
        self.cloud.units = self._units
        self.cloud.is_living, self.cloud.is_newcomer = self._is_living, self._is_newcomer
        self.api.secrets["default", SECRET] = {"data": {"secretId": b"AKIDx", "secretKey": b"k"}}
        self.names = list(names)
        self._bindings = {binding(self.cluster, "default", name): name for name in NAMES_OF_ENVIRONMENTS}
        self.replicas: list[Replica] = []
        self.repairs: list[tuple[Instance, Mapping[str, str]]] = []
        self.features: set[str] = set()
        #: How many more than are wanted may live while an environment rolls out, by name.
        self.surges: dict[str, int] = {}
        #: Environments that have expired, by name. They want nothing.
        self.expired: set[str] = set()
        #: The judge of what people mark, in plays in which they do.
        self.marks: Marks | None = None
        self.longest_orphan = 0.0

    @property
    def stated_price(self) -> dict[str, Any]:
        """What a person adds to an order for spot, on the site that wants a price in each."""
        options = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.5", "SpotInstanceType": "one-time"}}
        return {"InstanceMarketOptions": options} if self._states_bids else {}

    def play_with_defaults(self) -> None:
        """Replicas that start later have the settings of an install that has chosen none."""
        site: Literal["mainland", "international"] = "international" if self._states_bids else "mainland"
        self.policy, self._has_defaults = policy(Settings(site=site)), True

    def set_pace(self, sweep_seconds: float) -> None:
        """How often replicas that start later look at the cloud."""
        self._sweep_seconds = sweep_seconds

    @property
    def pace(self) -> Pace:
        """How often replicas that start now look at the cloud."""
        if self._has_defaults and self.calm == 1:
            return DEFAULT_PACE
        sweep = self.period(self._sweep_seconds)
        return Pace(sweep, min(timedelta(seconds=5), sweep), timedelta(seconds=120), idle=max(IDLE, 2 * RESYNC))

    def period(self, seconds: float) -> timedelta:
        """What happens every so many seconds, at the present pace."""
        return timedelta(seconds=seconds if self.calm == 1 else max(seconds * self.calm, CALM_SECONDS))

    def clock(self) -> datetime:
        """The true time."""
        return EPOCH_UTC + timedelta(seconds=asyncio.get_running_loop().time())

    def note(self, line: str) -> None:
        """One line of the trace: kept for a failing seed, digested for every one."""
        self.log.append(f"{asyncio.get_running_loop().time():9.3f} {line}")

    # --- what was wanted ---------------------------------------------------------------------------------------------

    def want(self, name: str, replicas: int) -> None:
        """Remember what the user asked for from now on. What has expired wants nothing."""
        wanted = 0 if name in self.expired else replicas
        self._wanted.setdefault(("default", name), []).append((asyncio.get_running_loop().time(), wanted))

    def expire(self, name: str) -> None:
        """The time of an environment is over: its object stays, and wants nothing."""
        obj = self.api.objects.get(("default", name))
        if obj is not None and "deletionTimestamp" not in obj["metadata"]:
            self.note(f"{name} expires")
            self.expired.add(name)
            self.want(name, 0)
            self._note_spec(obj)

    def live_on(self, name: str) -> None:
        """A person gives an expired environment as much time as it wants."""
        obj = self.api.objects.get(("default", name))
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        self.note(f"{name} lives on")
        self.expired.discard(name)
        self.want(name, obj["spec"].get("replicas", 0))
        self.api.change_spec("default", name, lambda spec: [spec.pop(key, None) for key in ("ttlSeconds", "expiresAt")])

    def _note_spec(self, obj: Object) -> None:
        if self.oracles is not None:
            self.oracles.note_spec(obj)

    def annotate(self, name: str, key: str, text: str) -> None:
        """`kubectl annotate --overwrite`; without text, the annotation goes."""
        obj = self.api.objects.get(("default", name))
        known = (obj or {}).get("metadata", {}).get("annotations") or {}
        if obj is None or known.get(key, "") == text:
            return
        others = {other: value for other, value in known.items() if other != key}
        annotations = {**others, key: text} if text else others
        self.api.edit("default", name, lambda one: one["metadata"].update(annotations=annotations))

    def spec_of(self, name: str | None) -> Object:
        """The spec of an environment as it is now; empty without one."""
        obj = self.api.objects.get(("default", name or ""))
        return obj["spec"] if obj is not None else {}

    def _units(self, instance: Instance) -> int:
        return units(instance, self.spec_of(self.name_of(self.cloud.owner_of(instance) or "")))

    def name_of(self, environment_id: str) -> str | None:
        """The environment of this cluster that has such an identity; None for what is another's."""
        return self._bindings.get(environment_id.split("-")[0])

    def _allowed(self, environment_id: str, window: float) -> int | None:
        """The most that was wanted at any moment of the last `window` seconds."""
        name = self.name_of(environment_id)
        history = self._wanted.get(("default", name or ""), [])
        since = asyncio.get_running_loop().time() - window
        recent = [count for moment, count in history if moment >= since]
        before = [count for moment, count in history if moment < since][-1:]
        return max([*before, *recent], default=0) + self.surges.get(name or "", 0)

    def _owner_of_caller(self, caller: str) -> str:
        namespace, _, name = caller.partition("/")
        return binding(self.cluster, namespace, name) + "-" if name else ""

    def _is_living(self, environment_id: str) -> bool:
        return environment_id in identities(self.api.objects.values())

    def _is_newcomer(self, environment_id: str) -> bool:
        claimed_at = self.api.claimed_at.get(environment_id)
        return claimed_at is not None and self.clock() - claimed_at <= SLOWEST_ANSWER

    def judge_all_the_time(self) -> None:
        """From now on what users read and pay is judged too."""
        self.oracles = Oracles(self)

    def _judge_status(self, before: Object, after: Object) -> None:
        self.records.judge(before, after)
        if self.oracles is not None:
            self.oracles.judge_status(before, after)

    def can_write(self) -> bool:
        """True when a process is alive whose clock is right, and the API server takes what it writes."""
        now, trouble = asyncio.get_running_loop().time(), self.kube_trouble
        is_reachable = now >= max(trouble.outage_until, trouble.forbidden_until, self.no_starts_until)
        return is_reachable and not self.skews and all(replica.alive for replica in self.replicas)

    def is_line_clean(self) -> bool:
        """True when nothing but the pools themselves keeps launches from succeeding."""
        cloud, kube = self.cloud_trouble, self.kube_trouble
        is_heard = not cloud.is_bad and not cloud.revoked and asyncio.get_running_loop().time() >= cloud.outage_until
        is_kube_good = not (kube.refuse or kube.lose_answer or kube.drop_event or kube.empty_list or kube.partial_list)
        return self.can_write() and is_heard and is_kube_good

    @property
    def resync_seconds(self) -> float:
        """The longest time between two looks at an environment, at the present pace."""
        return RESYNC.total_seconds() * self.calm

    def _judge_release(self, obj: Object) -> None:
        environment_id = (obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID)
        self.cloud.advance()
        left = self.cloud.living(environment_id) if environment_id else []
        if left:
            ids = [instance.id for instance in left]
            self.cloud.violations.append(f"O1 leak: {obj['metadata']['name']} released with {ids} alive")

    # --- keys --------------------------------------------------------------------------------------------------------

    def use_key(self, secret_id: str, token: str = "", secret: str = SECRET) -> None:
        """The Secret holds that key from now on."""
        data = {"secretId": secret_id.encode(), "secretKey": b"k", **({"token": token.encode()} if token else {})}
        self.features.add("rotate")
        self.note(f"Secret {secret} gets key {secret_id}")
        self.api.secrets["default", secret] = {"data": data}

    def rotate_key(self, is_temporary: bool, revokes: bool) -> None:
        """Another key of the same account, and with `revokes` the end of the former one.

        Not while something was launched and nobody knows in whose account: the docs name it among the limits.
        """
        if self.marks is not None and any(map(_is_of_no_account, self.api.objects.values())):
            return
        former = self.api.secrets["default", SECRET]["data"]["secretId"].decode()
        self._rotations += 1
        self.use_key(f"AKIDrotated{self._rotations}", f"token{self._rotations}" if is_temporary else "")
        if revokes:
            self.revoked.add(former)

    # --- processes ---------------------------------------------------------------------------------------------------

    def start_replicas(self, count: int) -> None:
        """Start operator processes."""
        for number in range(count):
            replica = Replica(self, number)
            self.replicas.append(replica)
            replica.start()

    def crash(self, number: int, down_seconds: float) -> None:
        """kill -9 one process; another takes its place after a while."""
        replica = self.replicas[number]
        if not replica.alive:
            return
        self.note(f"r{number} is killed")
        replica.crash()
        fresh = Replica(self, number)
        self.replicas[number] = fresh
        asyncio.get_running_loop().call_later(down_seconds, self.restart, fresh)

    def restart(self, replica: Replica) -> None:
        """Start a process that is to come back, unless it did already or was given up."""
        loop = asyncio.get_running_loop()
        if loop.time() < self.no_starts_until:
            loop.call_at(self.no_starts_until, self.restart, replica)
        elif not replica.alive and replica in self.replicas:
            self.note(f"r{replica.number} starts")
            replica.start()

    # --- the end -----------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        self.note("heal")
        self.skews.clear()
        self.kube_trouble.__init__()  # type: ignore[misc]  # the lines keep their reference
        self.cloud_trouble.__init__()  # type: ignore[misc]  # kept by reference
        self.cloud.advance()
        world = self.cloud.simulator.world
        for instance, tags in self.repairs:
            if self.cloud.owner_of(instance) is not None:
                world.retag(instance, tags)
        for instance in world.instances.values():
            instance.is_protected = False
        world.switches.set("launch-failure-rate", "0")
        for offering in world.offerings.values():
            offering.set_stock(500, world.now)
            world.set_price(offering, Decimal("0.02"))
        for name in self.names:
            self.api.change_spec("default", name, lambda obj: obj_set(obj, "paused", False))
        for replica in self.replicas:
            if not replica.alive:
                self.restart(replica)

    def check_alive(self) -> None:
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
        settle = self.policy.launch_uncertain_for.total_seconds()
        # On demand gives way in its own time: each once what took the place of the one before has been seen to run.
        # Each pool that leaves launches in doubt may hold a place for as long.
        settle *= 1 + self.cloud.doubtful_pools(ZONES, TYPES)
        # All pools may have taken instances back early, and are avoided for a while.
        settle += 2 * self.policy.half_life.total_seconds() + self.policy.blocked_recheck.total_seconds()
        if "on-demand" in self.features:
            settle += 2 * (300.0 + self.policy.switch_interval_min.total_seconds()) + 7 * (slow + 60.0)
        settle += max(map(self._pause_of, self.api.objects.values()), default=0.0)
        return 2 * RESYNC.total_seconds() + AUDIT_SECONDS + settle + slow + 120.0 + min(bin_seconds, 600.0)

    def _pause_of(self, obj: Object) -> float:
        """How long a gang is not tried again that no pool may be asked for as a whole, after it was given up."""
        gang, spec = obj["spec"].get("gang"), obj["spec"]
        if gang is None or spec.get("market", {}).get("maxSharePerPool", 100) == 100:
            return 0.0
        hold = max(ASKED_SECONDS, gang["holdSeconds"])
        return hold + max(self.policy.gang_pause * hold, self.policy.blocked_recheck.total_seconds())

    async def converge(self) -> None:
        """All as wanted within the bound, orphans gone in less."""
        loop = asyncio.get_running_loop()
        healed = max(loop.time(), self.no_starts_until)
        while loop.time() < healed + self.bound:
            await asyncio.sleep(10)
            self.cloud.advance()
            self._judge_orphans(healed)
            if not self.differences() and not self._is_reclaim_due():
                break
        self.check_alive()
        for difference in self.differences():
            self.cloud.violations.append(f"O4 not converged {self.bound:.0f} s after the last fault: {difference}")

    def _is_reclaim_due(self) -> bool:
        """True while the cloud has said of an instance that it will take it back: the last trouble is still to come."""
        return any(instance.reclaim_at is not None for instance in self.cloud.living())

    def _judge_orphans(self, healed: float) -> None:
        """How long instances without an environment have been visible, and not yet told to end."""
        lags = self.cloud.simulator.switches.number
        claimed = {(obj["metadata"].get("annotations") or {}).get(ENVIRONMENT_ID) for obj in self.api.objects.values()}
        unclaimed = {name for (_, name), obj in self.api.objects.items() if not obj["metadata"].get("annotations", {})}
        for instance in self.cloud.living():
            owner = self.cloud.owner_of(instance)
            name = self.name_of(owner or "")  # None for what another cluster owns
            if owner in claimed or name is None or name in unclaimed or instance.state not in BILLED:
                continue
            visible = instance.created_at - EPOCH + max(lags("list-lag"), lags("tag-lag")) + lags("pending-seconds")
            waiting = asyncio.get_running_loop().time() - max(healed, visible)
            self.longest_orphan = max(self.longest_orphan, waiting)
            if waiting > ORPHANS_GONE_SECONDS:
                self.cloud.violations.append(f"O1 orphan: {instance.id} of {owner}, visible for {waiting:.0f} s")

    def differences(self) -> list[str]:
        """What is not as wanted, by the cloud's own books and the object's own words."""
        result = []
        for name in self.names:
            obj = self.api.objects.get(("default", name))
            if obj is None or "deletionTimestamp" in obj["metadata"]:
                prefix = binding(self.cluster, "default", name)
                left = [i.id for i in self.cloud.living() if (self.cloud.owner_of(i) or "").startswith(prefix)]
                if obj is not None:
                    conditions = [item.get("message") for item in obj["status"].get("conditions", [])][:1]
                    result.append(f"{name} is still being deleted, {len(left)} alive: {conditions}")
                elif left:
                    result.append(f"O1 leak: {name} is gone and {left} live")
                continue
            prefix = binding(self.cluster, "default", name) + "-"
            living = [i for i in self.cloud.living() if (self.cloud.owner_of(i) or "").startswith(prefix)]
            running = [i for i in living if i.state == "RUNNING"]
            wanted = 0 if name in self.expired else granted(obj["spec"])
            if obj["spec"].get("requestPolicy") == "OneTime" and len(running) == len(living) <= wanted:
                wanted = len(living)  # a single attempt replaces nothing, and its phase says how it went
                if obj["status"].get("readyReplicas") == wanted and obj["status"].get("phase") in ("Ready", "Failed"):
                    continue
            sizes = sorted(units(one, obj["spec"]) for one in living)
            are_as_wanted = len(running) == len(living) and sum(sizes) >= wanted > sum(sizes[1:])
            if not are_as_wanted and (living or wanted):
                states = sorted(i.state for i in living)
                message = [item.get("message") for item in obj["status"].get("conditions", [])][:1]
                result.append(f"{name} wants {wanted}, has {states}: {message}")
            elif obj["status"].get("readyReplicas") != sum(sizes) or not self._is_phase_right(name, obj):
                status = {key: obj["status"].get(key) for key in ("phase", "reason", "readyReplicas")}
                result.append(f"{name} runs {wanted} and says {status}")
        return result + self._not_shown()

    def _is_phase_right(self, name: str, obj: Object) -> bool:
        """True when the phase tells that it has expired, that a limit holds something, or that all is as wanted."""
        phase = obj["status"].get("phase")
        if name in self.expired:
            return bool(phase == "Expired")
        return bool((phase == "Ready") == (granted(obj["spec"]) == obj["spec"].get("replicas", 0)))

    def _not_shown(self) -> list[str]:
        """Which instances live and have no object, or have one and exist no more."""
        if self.objects is None or self.marks is None:
            return []
        books, owned = self.cloud.simulator.world.instances, identities(self.api.objects.values())
        living = {one.id for one in self.cloud.living() if self.cloud.owner_of(one) in owned}
        shown = {name for _, name in self.objects.objects}
        gone = {one for one in shown if one not in books or books[one].state not in {*EXISTING, LAUNCH_FAILED}}
        return [f"without object: {sorted(living - shown)}, gone: {sorted(gone)}"] if living - shown or gone else []

    async def stay_quiet(self, seconds: float) -> None:
        """After a while for stragglers (a release that still shows), nothing may be written or changed any more."""
        if self.cloud.violations:
            return
        lags = self.cloud.simulator.switches.number
        bin_seconds = lags("recycle-bin-seconds") if self.cloud.simulator.switches["recycle-bin"] == "yes" else 0.0
        forgets = self.policy.self_ends_memory.total_seconds()
        stragglers = max(lags("terminating-seconds"), lags("launch-failed-lifetime"), bin_seconds, forgets)
        # Requests that were under way still arrive, and what they bring is seen; with everything periodic made rarer,
        # it would be given up before it was looked at.
        await asyncio.sleep(300.0 + max(lags("list-lag"), lags("tag-lag"), lags("pending-seconds")))
        await self.converge()
        await self._go_back_to_spot()
        if hash_of(self.seed) % UNCALMED:
            # Still some looks at every environment while nothing may be written.
            self._calm_down(min(CALM, max(1, int(seconds / RESYNC.total_seconds() / 1.5))))
        # Quotes are read again with the next look at an environment, and may change what is told of the costs.
        await asyncio.sleep(stragglers + 900.0 + 1.1 * RESYNC.total_seconds() * self.calm)
        self.records.judge_the_end(self.cloud.simulator.world.instances.values(), self.features)
        self.records.judge_what_is_open(self.api.objects.values(), self.features)
        writes, mutations = self.api.writes, self.cloud.mutations
        await asyncio.sleep(seconds)
        if self.api.writes != writes or self.cloud.mutations != mutations:
            self.cloud.violations.append(
                f"O4 not quiet: {self.api.writes - writes} writes and {self.cloud.mutations - mutations} calls"
            )
        for difference in self.differences():
            self.cloud.violations.append(f"O4 did not stay: {difference}")

    async def _go_back_to_spot(self) -> None:
        """What runs on demand gives way in its own time, which is news. Where spot is too dear it does not."""
        if "on-demand" not in self.features:
            return
        for _ in range(6):
            if not any(instance.order.charge_type == ON_DEMAND for instance in self.cloud.living()):
                break
            await asyncio.sleep(600.0)
            self.cloud.advance()
        await self.converge()

    def _calm_down(self, calm: int) -> None:
        """Start all processes anew, with everything periodic much rarer: hours without news are most of the work."""
        self.calm = calm
        for number, replica in enumerate(self.replicas):
            if replica.alive:  # the others were enough, and one that may not begin yet has not
                replica.crash()
            self.replicas[number] = Replica(self, number)
            self.restart(self.replicas[number])

    def outcome(self, name: str) -> Outcome:
        """The sum of it."""
        world = self.cloud.simulator.world
        return Outcome(
            name=name,
            violations=tuple(dict.fromkeys(self.cloud.violations)),
            digest=hashlib.sha256("".join(self.log).encode()).hexdigest()[:16],
            launched=sum(ENVIRONMENT_TAG in instance.order.tags for instance in world.instances.values()),
            calls=sum(1 for _ in self.cloud.simulator.ledger.requests()),
            replicas=len(self.replicas),
            records=self.records.count,
            longest_orphan=self.longest_orphan,
            features=frozenset(self.features),
            faults_struck=self.fault.struck,
            log=tuple(self.log),
        )


def _is_of_no_account(obj: Object) -> bool:
    """True when an environment has launched something, and remembers no account."""
    ledger = obj["status"].get("ledger") or {}
    is_known = ledger.get("account", "").isdigit()  # not the name of a key alone
    return not is_known and bool(ledger.get("lots") or ledger.get("intents"))


def identities(objects: Iterable[Mapping[str, Any]]) -> set[str]:
    """The environment ids that objects have claimed."""
    annotations = (obj["metadata"].get("annotations") or {} for obj in objects)
    return {each[ENVIRONMENT_ID] for each in annotations if ENVIRONMENT_ID in each}


def obj_set(spec: Object, key: str, value: object) -> None:
    """Set one field of a spec."""
    spec[key] = value


def hash_of(seed: int | str) -> int:
    """A number for what wants one."""
    return int(hashlib.sha256(str(seed).encode()).hexdigest()[:12], 16)
