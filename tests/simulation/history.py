"""Random histories: a seed becomes a workload, troubles and a schedule; then everything is healed and must converge.

`run(seed)` is deterministic: the same seed gives the same events to the bit, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

from cvmsim.switches import SITES, TABLE
from simulation.cloudworld import SIGNATURE_SECONDS, CloudTrouble
from simulation.kubeworld import KubeTrouble, Snapshot
from simulation.life import Life
from simulation.virtual import run_virtual
from simulation.wishes import Wishes, keep_the_rules
from simulation.world import (
    ACCOUNT,
    IMAGES,
    NAMES_OF_ENVIRONMENTS,
    SECRET,
    SLOWEST_ANSWER,
    TYPES,
    ZONES,
    Outcome,
    World,
    obj_set,
)

DAY = 24 * 3600.0

SOLD_OUT_CODES = next(switch.settings for switch in TABLE if switch.name == "sold-out-code")


class History:
    """What happens in one world, drawn from one seed."""

    def __init__(
        self,
        seed: int,
        with_market: bool = True,
        with_accounts: bool = True,
        with_wishes: bool = True,
        with_keeping: bool = True,
        is_abroad: bool = False,
        with_life: bool = True,
    ) -> None:
        """`is_abroad` plays the seed on the vendor's international site, and half of its environments name no price.

        `with_market` False plays seeds as they were before environments had strategies and stand-ins.

        `with_accounts` False plays them as they were before keys were asked for their account, and changed.
        `with_wishes` False plays them as they were before gangs, shares, tight limits, requirements, single attempts,
        troubles of single pools, and an install's default settings. `with_keeping` False plays them as they were before
        instances could outlive their environment. `with_life` False plays them as they were before environments could
        expire, instances grew old, replicas counted vCPU, and people marked instances and zones.
        """
        self._with_keeping = with_keeping
        self.wishes = Wishes(seed) if with_wishes else None
        self._with_market = with_market
        self.rng, self.market_rng = random.Random(f"{seed}/history"), random.Random(f"{seed}/market")
        names = NAMES_OF_ENVIRONMENTS[: self.rng.choices([1, 2, 3, 6, 20], [54, 25, 15, 5, 1])[0]]
        self._fault_seconds = self.rng.choices([300.0, 600.0, 1200.0, 2400.0], [60, 25, 12, 3])[0]
        self._snapshots: list[Snapshot] = []
        switches = {**self._switches(), **(SITES["international"] if is_abroad else {})}
        self._site_rng = random.Random(f"{seed}/site") if is_abroad else None
        self.world = World(seed, names, switches, self.rng.choice([2.0, 5.0, 15.0, 30.0]))
        self.world.cloud.tells_prices, self.world.cloud.tells_accounts = with_market, with_accounts
        if self.wishes is not None and self.wishes.has_defaults:
            self.world.play_with_defaults()
        self.life = Life(seed) if with_life else None
        if self.life is not None:
            self.life.begin(self.world)
        self._accounts_rng = random.Random(f"{seed}/accounts")
        self.deleted: set[str] = set()
        self.swarm: set[str] = set()
        self.is_over = False

    def _switches(self) -> dict[str, object]:
        """Every undocumented behaviour of the cloud, drawn anew; lags stay within the promised visibility."""
        pick = self.rng.choice
        return {
            "token-lifetime": pick(["600", "86400", "forever"]),
            "token-of-terminated": pick(["same-ids", "same-ids", "error", "relaunch"]),
            "token-mismatch": pick(["error", "old-ids", "relaunch"]),
            "token-after-failure": pick(["free", "consumed"]),
            "list-lag": pick(["0", "0", "5", "30", "60", "150"]),
            "id-lag": pick(["0", "0", "5", "30"]),
            "tag-lag": pick(["0", "0", "5", "60", "150"]),
            "order": pick(["creation", "newest-first", "shuffled"]),
            "terminate-batch": pick(["all-or-nothing", "partial"]),
            "terminate-pending": pick(["refused", "accepted"]),
            "terminating-seconds": pick(["0", "5", "120", "1200"]),
            "terminate-gone": pick(["InvalidInstanceId.NotFound", "UnsupportedOperation.InstanceStateTerminated"]),
            "malformed-id": pick(["InvalidInstanceId.Malformed", "InvalidParameterValue.InstanceIdMalformed"]),
            "recycle-bin": pick(["no", "no", "yes"]),
            "recycle-bin-seconds": pick(["60", "7200"]),
            "price-interrupts": pick(["no", "yes"]),
            "price-check": pick(["before-stock", "after-stock"]),
            "stop-seconds": pick(["0", "2", "60"]),
            "min-count": pick(["supported", "unsupported-charge-type", "unsupported-region"]),
            "instance-name-limit": pick(["60", "128"]),
            "instance-count-limit": pick(["100", "500"]),
            "tag-charset": pick(["cvm", "tag-product"]),
            "spot-charge-type-filter": pick(["works", "ignored", "empty", "refused"]),
            "price-currency": pick(["USD", "CNY"]),
            "inquiry-price": pick(["whole", "each"]),
            "limit-scope": pick(["region", "account"]),
            "dry-run-answer": pick(["empty", "code"]),
            "dry-run-checks-price": pick(["yes", "no"]),
            "skew-clock": "world",
            "reclaim-visible": pick(["terminating", "shutdown", "absent"]),
            "latest-operation-of-console": pick(["recorded", "absent"]),
            "pending-seconds": pick(["0", "3", "30", "120"]),
            "launch-failure-rate": pick(["0", "0", "0.1"]),
            "launch-failed-lifetime": pick(["0", "60", "3600"]),
            "quote-lag": pick(["0", "30", "300"]),
            "unknown-id": pick(["absent", "absent", "error"]),
            "sold-out-code": pick(list(SOLD_OUT_CODES)),
            "inquiry-disks": self.market_rng.choice(["included", "excluded"]),
        }

    # --- the course of events ----------------------------------------------------------------------------------------

    async def play(self, quiet_seconds: float) -> None:
        """Trouble for a while, then heal, converge, and stay quiet."""
        self._draw_swarm()
        self.world.judge_all_the_time()
        for name in self.world.names:
            self._create(name)
        self.world.start_replicas(self.rng.choices([1, 2, 3], [78, 13, 9])[0])
        loop = asyncio.get_running_loop()
        self._plan_rotations()
        while loop.time() < self._fault_seconds:
            await asyncio.sleep(self.rng.expovariate(1 / self._tempo))
            self._disturb()
            self.world.check_alive()
        self.is_over = True
        self.world.heal()
        if self.life is not None:
            self.life.heal(self.world)
        if self.wishes is not None:
            self.wishes.trouble_pools(self.world, leave_one=True)
        await self.world.converge()
        self.world.cloud.pool_troubles.clear()
        await self.world.stay_quiet(quiet_seconds)

    def _plan_rotations(self) -> None:
        """Other keys of the same account now and then, temporary ones too; or a cloud that tells no account.

        By dice of their own, and not before the first key can have been asked for its account. Before that nothing is
        launched, or a minute has passed.
        """
        rng, loop = self._accounts_rng, asyncio.get_running_loop()
        if not self.world.cloud.tells_accounts:
            return
        # Tags are changed by the number of the account: without the right to ask for it nothing is kept or taken over.
        if rng.random() < 0.2 and not self.world.features & {"retain", "adopt"}:
            self.world.cloud.simulator.switches.set("caller-identity", "UnauthorizedOperation")
            return
        away = 0.0
        if self.wishes is not None:
            # Longer than launches wait for it now and then. Who changes the key then is told that nobody knows whose
            # account it was: the docs name it among the limits.
            away = random.Random(f"{self.world.seed}/accounts-away").choice([0.0, 0.0, 0.0, 40.0, 150.0])
            self.world.cloud.accounts_away_until = away
        for _ in range(rng.choice([0, 0, 1, 3])):
            self.world.features.add("rotate")
            at = rng.uniform(max(120.0, away + 60.0), max(self._fault_seconds, away + 60.0))
            loop.call_at(at, self.world.rotate_key, rng.random() < 0.5, rng.random() < 0.5)

    def _draw_swarm(self) -> None:
        kinds = [
            "scale", "reclaim", "console-terminate", "console-stop", "stock", "price", "pause", "template", "types",
            "crash", "kube-outage", "cloud-outage", "delete", "strip", "revoke", "wipe", "untag", "rename",
            "clock", "backup", "rewind", "migrate", "steal", "protect",
        ]  # fmt: skip
        self.swarm = {kind for kind in kinds if self.rng.random() < 0.35} | {"scale"}
        if self.swarm & {"wipe", "strip", "rewind", "migrate"}:
            # Our memory and the cloud's mark gone together leave nothing to know an instance by; the docs say so.
            self.swarm -= {"rename", "untag"}
        if "untag" in self.swarm:
            # Two strange hands on one machine before its tags were ever seen: nothing says any more that it is ours.
            self.swarm.discard("rename")
        self.world.features |= self.swarm
        self._tempo = self.rng.choice([15.0, 40.0, 120.0])
        level = self.rng.choice([0.0, 0.03, 0.08, 0.2])
        weight = self.rng.random
        self.world.cloud_trouble = CloudTrouble(
            not_sent=level * weight(),
            throttle=level * weight(),
            fail_before=level * weight(),
            lose_after=level * weight(),
            late=level * weight() if self.rng.random() < 0.4 and not self._buys_again() else 0.0,
            empty_list=level * weight() / 4,
            partial_list=level * weight() / 4,
            latency=self.rng.choice([0.05, 0.5, 2.0]),
            slow=level if not self._buys_again() else 0.0,
            garble=level * weight() / 4,
        )
        level = self.rng.choice([0.0, 0.02, 0.1])
        self.world.kube_trouble = KubeTrouble(
            refuse=level * weight(),
            lose_answer=level * weight(),
            drop_event=level * weight(),
            replay_event=level * weight(),
            empty_list=self.rng.choice([0.0, 0.0, 0.5, 1.0]) * weight(),
            partial_list=level * weight(),
            delay_event=self.rng.choice([0.05, 1.0, 10.0]),
            latency=self.rng.choice([0.01, SLOWEST_ANSWER.total_seconds()]),
        )
        lies = self.world.kube_trouble.empty_list or self.world.kube_trouble.partial_list
        self.world.features |= {"lying-list"} if lies else set()

    def _buys_again(self) -> bool:
        """True in a cloud where a request that comes late, under a token whose instances are gone, is a new purchase.

        Both together nobody can tell from a launch: the docs name it among the limits.
        """
        return self.world.cloud.simulator.switches["token-of-terminated"] == "relaunch"

    def _create(self, name: str, **metadata: Any) -> None:
        replicas = self.rng.randint(0, 6)
        self.world.want(name, replicas)
        spec = {
            "region": "ap-guangzhou",
            "replicas": replicas,
            "placements": [{"zone": zone} for zone in ZONES[: self.rng.randint(1, 2)]],
            "instanceTypes": list(self.rng.sample(TYPES, self.rng.randint(1, 2))),
            "market": {"maxPrice": "0.5"},
            "template": {"imageId": IMAGES[0]},
            "credentialsSecretRef": {"name": SECRET},
            **self._wishes_of_the_market(),
            **self._strategy(name),
            **self._keeping(name),
        }
        spec |= self._protecting(name, spec)
        if self.wishes is not None:
            spec = self.wishes.added_to(spec, self.world)
        if self.life is not None:
            spec = self.life.added_to(spec, name, self.world, self._fault_seconds)
        spec |= self._adopting(name, spec)
        if self._site_rng is not None and self._site_rng.random() < 0.5:
            self.world.features.add("no-price")
            spec["market"] = {key: value for key, value in spec["market"].items() if key != "maxPrice"}
        self.world.api.create("default", name, spec, **metadata)
        self.world.note(f"user creates {name} with {replicas}")

    def _strategy(self, name: str) -> dict[str, Any]:
        """A roll-out for some environments, by dice of its own."""
        rng = random.Random(f"{self.world.seed}/strategy/{name}")
        if not self._with_market or rng.random() >= 0.2:
            return {}
        self.world.features.add("roll-out")
        surge, unavailable = rng.choice([(1, 0), (2, 1), (0, 1)])
        self.world.surges[name] = surge
        pause = rng.choice([0, 0, 60])
        strategy = {"maxSurge": surge, "maxUnavailable": unavailable, "pauseSeconds": pause}
        return {"strategy": {"type": "RollingUpdate", **strategy}}

    def _keeping(self, name: str) -> dict[str, Any]:
        """Some environments leave their instances when they are deleted, by dice of their own."""
        if not self._with_keeping or random.Random(f"{self.world.seed}/keeping/{name}").random() >= 0.25:
            return {}
        self.world.features.add("retain")
        return {"deletionPolicy": "Retain"}

    def _protecting(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Some instances bear timers, by dice of their own. They run longer than any history, so none may end one."""
        rng = random.Random(f"{self.world.seed}/protecting/{name}")
        if not self._with_keeping or "deletionPolicy" in spec or rng.random() >= 0.2:
            return {}
        self.world.features.add("timers")
        return {"orphanProtection": {"afterSeconds": 2_592_000}}

    def _adopting(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """Some environments take over what a person has bought, by dice of their own."""
        rng = random.Random(f"{self.world.seed}/adopting/{name}")
        if not self._with_keeping or rng.random() >= 0.15 or "instanceTypes" not in spec:
            return {}
        ids = []
        for _ in range(rng.choice([1, 2, 3])):
            place, kind = spec["placements"][0]["zone"], rng.choice(spec["instanceTypes"])
            stranger = self._stranger({"Placement": {"Zone": place}, "InstanceType": kind})
            ids += [stranger.id] if stranger is not None else []
        if not ids:
            return {}
        self.world.features.add("adopt")
        return {"adopt": {"instanceIds": ids}}

    def _wishes_of_the_market(self) -> dict[str, Any]:
        """Strategies and stand-ins, by dice of their own: what else a seed draws stays as it was without them."""
        if not self._with_market:
            return {}
        pick = self.market_rng.choice
        strategy = pick(["Prioritized", "Prioritized", "LowestPrice", "CapacityOptimized", "PriceCapacityOptimized"])
        market = {
            "maxPrice": "0.5",
            "allocationStrategy": strategy,
            "zonePolicy": pick(["Ranked", "Ranked", "Balanced"]),
        }
        spec: dict[str, Any] = {"market": market}
        if self.market_rng.random() < 0.15:  # far more than is ever spent: what matters is that all prices are known
            self.world.features.add("limit")
            spec["limits"] = {"maxHourlyCost": "50"}
        if self.market_rng.random() < 0.8:
            return spec
        self.world.features.add("on-demand")
        self.swarm.add("stock")
        self._have_a_drought()
        fallback = {
            "afterSeconds": pick([0, 30, 300]),
            "maxReplicas": pick([1, 6]),
            "stableForSeconds": pick([60, 300]),
        }
        if self.market_rng.random() < 0.4:
            spec["onDemand"] = {"base": pick([0, 1]), "percentageAboveBase": pick([0, 50])}
        return {**spec, "onDemandFallback": fallback}

    def _disturb(self) -> None:
        if self.life is not None:
            self.life.disturb(self.world, self.world.names)
        if self.wishes is not None and self.wishes.is_time_for_trouble():
            self.wishes.trouble_pools(self.world, leave_one=False)
        kind = self.rng.choice(sorted(self.swarm))
        name = self.rng.choice(self.world.names)
        self.world.note(f"event {kind} {name}")
        self.world.cloud.advance()
        getattr(self, "_do_" + kind.replace("-", "_"))(name)
        self.world.cloud.advance()

    def _do_scale(self, name: str) -> None:
        replicas = self.rng.randint(0, 6)
        if name in self.deleted:
            return
        self.world.want(name, replicas)
        self._change(name, "replicas", replicas)

    def _do_pause(self, name: str) -> None:
        paused = self.rng.random() < 0.5
        self.world.api.change_spec("default", name, lambda obj: obj_set(obj, "paused", paused))

    def _do_template(self, name: str) -> None:
        image = self.rng.choice(IMAGES)
        self.world.api.change_spec("default", name, lambda obj: obj["template"].update(imageId=image))

    def _do_types(self, name: str) -> None:
        types = list(self.rng.sample(TYPES, self.rng.randint(1, 3)))
        obj = self.world.api.objects.get(("default", name))
        if obj is not None and "instanceRequirements" not in obj["spec"]:
            self._change(name, "instanceTypes", types)

    def _change(self, name: str, key: str, value: Any) -> None:
        """Edit one field of a spec, and others where the API server would refuse it otherwise."""

        def change(spec: dict[str, Any]) -> None:
            spec[key] = value
            if self.wishes is not None:
                keep_the_rules(spec)

        self.world.api.change_spec("default", name, change)

    def _do_delete(self, name: str) -> None:
        if ("default", name) in self.world.api.objects:
            self.world.want(name, 0)
            self.deleted.add(name)
            self.world.api.delete("default", name)
        else:
            self.deleted.discard(name)
            self._create(name)

    def _do_strip(self, name: str) -> None:
        """Somebody deletes the object and takes our finalizer off by force."""
        if ("default", name) not in self.world.api.objects or self.rng.random() < 0.7:
            return
        self.world.want(name, 0)
        self.deleted.add(name)
        self.world.api.delete("default", name)
        self.world.api.edit("default", name, lambda obj: obj["metadata"].update(finalizers=[]))

    def _do_migrate(self, name: str) -> None:
        """The object comes back as another: from a backup with its annotations, or from Git without; status is lost."""
        if self.rng.random() < 0.6 or name in self.deleted:
            return
        old = self.world.api.remove_by_force("default", name)
        annotations = (old or {}).get("metadata", {}).get("annotations")
        self._create(name, **({"annotations": annotations} if annotations and self.rng.random() < 0.5 else {}))

    def _do_backup(self, name: str) -> None:
        self._snapshots = [*self._snapshots[-2:], self.world.api.snapshot()]

    def _do_rewind(self, name: str) -> None:
        """etcd is restored from a backup while its API server is down; then the manifests are applied anew."""
        if not self._snapshots or self.rng.random() < 0.6:
            return
        down = self.rng.choice([60.0, 200.0, 600.0])
        loop = asyncio.get_running_loop()
        self.world.kube_trouble.outage_until = loop.time() + down
        loop.call_later(down - 1.0, self._restore, self.rng.choice(self._snapshots))

    def _restore(self, snapshot: Snapshot) -> None:
        if self.is_over:
            return
        self.world.note("etcd is restored from a backup")
        # A process that begins before lists show what was launched since cannot know of it: the docs name that limit.
        lags = self.world.cloud.simulator.switches.number
        unseen = lags("list-lag") + lags("tag-lag") + SIGNATURE_SECONDS + 30.0
        self.world.no_starts_until = asyncio.get_running_loop().time() + unseen
        self._snapshots = [one for one in self._snapshots if one.version <= snapshot.version]
        self.world.api.restore(snapshot)
        for name in self.world.names:
            obj = self.world.api.objects.get(("default", name))
            if obj is None:
                self.deleted.discard(name)
                self._create(name)
            elif "deletionTimestamp" in obj["metadata"]:
                self.world.want(name, 0)
                self.deleted.add(name)
            else:
                self.world.want(name, obj["spec"]["replicas"])
                self.deleted.discard(name)

    def _do_clock(self, name: str) -> None:
        """One process's clock steps, and is set right some time later."""
        number = self.rng.randrange(len(self.world.replicas))
        self.world.skews[number] = self.rng.choice([-3600.0, -60.0, -5.0, 5.0, 60.0, 3600.0])
        back = self.rng.choice([10.0, 60.0, 300.0])
        asyncio.get_running_loop().call_later(back, self.world.skews.pop, number, None)

    def _do_steal(self, name: str) -> None:
        """Somebody copies the tags of one of our instances to a machine of his own."""
        for instance in self._some()[:1]:
            stolen = self._stranger()
            if stolen is not None:
                self.world.cloud.simulator.world.retag(stolen, dict(instance.tags))

    def _stranger(self, other: dict[str, Any] | None = None) -> Any:
        parameters = {
            "Placement": {"Zone": ZONES[0]},
            "ImageId": IMAGES[0],
            # Of a type we never launch: one that fits an open launch in every way is taken for it, and the docs say so.
            "InstanceType": "S5.LARGE8",
            "InstanceChargeType": "SPOTPAID",
            "InstanceName": "somebody-elses",
            **self.world.stated_price,
            **(other or {}),
        }
        cloud = self.world.cloud
        answer = cloud.simulator.handle(ACCOUNT, "RunInstances", parameters, cloud.now)
        ids = answer.get("InstanceIdSet") or [None]
        return cloud.simulator.world.instances.get(ids[0])

    def _do_protect(self, name: str) -> None:
        for instance in self._some()[:1]:
            instance.is_protected = not instance.is_protected

    def _do_wipe(self, name: str) -> None:
        if self.rng.random() < 0.2:
            self.world.api.edit(
                "default", name, lambda obj: obj.update(status={"observedGeneration": -1, "replicas": 0})
            )

    def _some(self) -> list[Any]:
        living = sorted(self.world.cloud.living(), key=lambda instance: instance.id)
        return self.rng.sample(living, min(len(living), self.rng.randint(1, 3)))

    def _do_reclaim(self, name: str) -> None:
        self.world.cloud.simulator.world.reclaim(self._some(), self.rng.choice([0.0, 120.0]))

    def _do_console_terminate(self, name: str) -> None:
        for instance in self._some():
            self.world.cloud.simulator.world.terminate(instance, "console", None)

    def _do_console_stop(self, name: str) -> None:
        for instance in self._some():
            if instance.state == "RUNNING":
                self.world.cloud.simulator.world.stop(instance, "console", None)

    def _do_untag(self, name: str) -> None:
        for instance in self._some()[:1]:
            if instance.tags:
                self.world.repairs.append((instance, dict(instance.tags)))
            self.world.cloud.simulator.world.retag(instance, {})
            self.world.confusions += 1

    def _do_rename(self, name: str) -> None:
        for instance in self._some()[:1]:
            instance.name = "renamed-by-hand"

    def _do_stock(self, name: str) -> None:
        for offering in self.world.cloud.simulator.world.offerings.values():
            if self.rng.random() < 0.5:
                offering.set_stock(self.rng.choice([0, 0, 1, 2, 5, 100]), self.world.cloud.simulator.world.now)
        if "on-demand" in self.world.features:
            self._have_a_drought()

    def _have_a_drought(self) -> None:
        """No spot anywhere, half of the time: what on demand is for."""
        world = self.world.cloud.simulator.world
        for offering in world.offerings.values() if self.market_rng.random() < 0.5 else ():
            offering.set_stock(0, world.now)

    def _do_price(self, name: str) -> None:
        for offering in self.world.cloud.simulator.world.offerings.values():
            if self.rng.random() < 0.5:
                self.world.cloud.simulator.world.set_price(offering, self.rng.choice([Decimal("0.02"), Decimal("0.9")]))

    def _do_crash(self, name: str) -> None:
        number = self.rng.randrange(len(self.world.replicas))
        self.world.crash(number, self.rng.choice([0.1, 5.0, 60.0, 900.0]))

    def _do_kube_outage(self, name: str) -> None:
        until = asyncio.get_running_loop().time() + self.rng.choice([2.0, 30.0, 400.0])
        if self.rng.random() < 0.3:
            self.world.kube_trouble.forbidden_until = until
        else:
            self.world.kube_trouble.outage_until = until

    def _do_cloud_outage(self, name: str) -> None:
        self.world.cloud_trouble.outage_until = asyncio.get_running_loop().time() + self.rng.choice([2.0, 30.0, 400.0])

    def _do_revoke(self, name: str) -> None:
        self.world.cloud_trouble.revoked = not self.world.cloud_trouble.revoked


def run(
    seed: int,
    quiet_seconds: float = DAY,
    with_market: bool = True,
    with_accounts: bool = True,
    with_wishes: bool = True,
    with_keeping: bool = True,
    is_abroad: bool = False,
    with_life: bool = True,
) -> Outcome:
    """Play the history of `seed` to its end and judge it."""

    async def play() -> Outcome:
        history = History(seed, with_market, with_accounts, with_wishes, with_keeping, is_abroad, with_life)
        await history.play(quiet_seconds)
        return history.world.outcome(str(seed))

    return run_virtual(play())
