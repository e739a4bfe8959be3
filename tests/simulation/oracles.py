"""The judge of what users read and pay: numbers of status, money, churn, requests, and how long something is missing.

Apart from the judge of machines, which looks at each birth and end: these look at stretches of time. What really
happened comes from the cloud's own books, so nothing that the operator believes is taken from it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cvmsim.instance import LIVE, ON_DEMAND, SHUTDOWN, TERMINATING, Instance, Order
from simulation.cloudworld import ENVIRONMENT_TAG, EPOCH
from simulation.measure import LARGEST, counts_vcpu, granted, most_of, units_of
from simulation.records import FORGETFUL
from spotcompute.api.times import from_text
from spotcompute.cloud.sight import GRACE_SECONDS

if TYPE_CHECKING:
    from simulation.world import World

Object = dict[str, Any]

#: Time between two looks of the judge while things happen, and in quiet hours.
LOOK_SECONDS, CALM_LOOK_SECONDS = 5.0, 300.0

#: What a write of status may take: some requests, a conflict, and the next attempt.
WRITTEN_SECONDS = 60.0

#: The longest that a request without an answer is waited for.
UNANSWERED_SECONDS = 16.0

#: Requests for the rate stretch the time between two sweeps so much at most.
SLOWED = 4.0

#: How old a reading of the market may be, besides what the cloud's own quotes lag.
MARKET_SECONDS = 300.0

#: Over so long requests and writes are counted.
COUNTED_SECONDS = 600.0

#: States in which a machine is there, or was and is not gone yet.
EXISTING = LIVE | {TERMINATING, SHUTDOWN}


class Oracles:
    """`Oracles` complains about everything that was untrue, too dear, in vain, too often, or missing for too long."""

    def __init__(self, world: World) -> None:
        """Judges `world` from now on; it must be called within its loop."""
        self._world, self._complain = world, world.cloud.violations.append
        self._specs: dict[str, list[tuple[float, Object]]] = defaultdict(list)
        self._born: dict[str, list[Instance]] = defaultdict(list)
        self._growth: Counter[str] = Counter()
        self._uids: dict[str, str] = {}
        self.unseen_until, self._unknown_until = 0.0, 0.0
        self._short_since: dict[str, tuple[float, int]] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.writes: Counter[str] = Counter()
        self._counted_from = 0.0
        self.longest_shortage = 0.0
        #: The most of each kind that was ever counted.
        self.busiest: Counter[str] = Counter()
        self.seen_at = 0.0
        world.cloud.on_birth = self.judge_birth
        world.cloud.on_request, world.cloud.on_list = self.count_request, self.note_list
        world.api.watchers.append(lambda kind, obj: self.note_spec(obj))
        for obj in world.api.objects.values():
            self.note_spec(obj)
        self._looking = asyncio.ensure_future(self._look_around())

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS if self._world.calm == 1 else CALM_LOOK_SECONDS)
            self._world.cloud.advance()
            self.look()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- what is noted -----------------------------------------------------------------------------------------------

    def note_spec(self, obj: Object) -> None:
        """Takes note of what an environment asks for from now on: nothing when it is being deleted, or has expired."""
        known, name = self._specs[obj["metadata"]["name"]], obj["metadata"]["name"]
        is_over = "deletionTimestamp" in obj["metadata"] or name in self._world.expired
        wanted = 0 if is_over else obj["spec"].get("replicas", 0)
        spec = {**obj["spec"], "replicas": wanted}
        if known and known[-1][1] == spec and self._uids[name] == obj["metadata"]["uid"]:
            return
        uid = obj["metadata"]["uid"]
        before = known[-1][1]["replicas"] if known and self._uids.get(name) == uid else 0
        self._uids[name] = uid
        self._growth[name] += max(0, wanted - before)
        known.append((self._now, spec))

    def count_request(self, action: str, caller: str) -> None:
        """Counts a request that an operator makes for one environment."""
        if "/" in caller:
            self.requests[action, caller] += 1

    def note_list(self) -> None:
        """Takes note that an operator has received a list of instances."""
        self.seen_at = self._now

    def _in_force(self, name: str, window: float) -> list[Object]:
        """Every spec of the last `window` seconds."""
        history, since = self._specs[name], self._now - window
        before = [spec for moment, spec in history if moment < since][-1:]
        return before + [spec for moment, spec in history if moment >= since]

    # --- money and churn: at each birth ------------------------------------------------------------------------------

    def judge_birth(self, instance: Instance, window: float) -> None:
        """A machine is bought: no spec of the last `window` seconds may forbid it, and it must be for something."""
        name = self._world.name_of(instance.order.tags.get(ENVIRONMENT_TAG, ""))
        if name is None:
            return
        self._born[name].append(instance)
        if self._world.marks is not None:
            self._world.marks.judge_birth(instance, window)
        specs = self._in_force(name, window + WRITTEN_SECONDS)
        reasons = [self._why_too_dear(instance, name, spec) for spec in specs]
        if reasons and all(reasons):
            self._complain(f"O7 money: {name} buys {instance.id}, second {self._now:.0f}: {reasons[-1]}")
        self._judge_churn(name)

    def _is_of_former(self, one: Instance, name: str, bought: Instance) -> bool:
        """True when it was bought for a former object of this name, of which the one that buys now knows nothing."""
        identity = one.order.tags.get(ENVIRONMENT_TAG, "")
        return identity != bought.order.tags[ENVIRONMENT_TAG] and self._world.name_of(identity) == name

    def _why_too_dear(self, instance: Instance, name: str, spec: Object) -> str | None:
        order, rate = instance.order, self._world.cloud.simulator.world.currency_per_dollar
        living = [one for one in self._held(name) if one.is_live and not self._is_of_former(one, name, instance)]
        limits = spec.get("limits", {})
        most, vcpu = limits.get("maxReplicas"), limits.get("maxVcpu")
        if most is not None and units_of(living, spec) > most:
            return f"{units_of(living, spec)} live, and {most} are the limit"
        if vcpu is not None and sum(one.order.type.cpu for one in living) > vcpu:
            return f"{sum(one.order.type.cpu for one in living)} vCPU are above {vcpu}"
        if order.charge_type == ON_DEMAND:
            count = units_of((one for one in living if one.order.charge_type == ON_DEMAND), spec)
            most = _most_on_demand(spec)
            if count > most:
                return f"{count} on demand, and {most} allowed"
        else:
            cap = spec.get("market", {}).get("maxPrice")
            if cap is not None and (order.bid is None or order.bid > Decimal(cap)):
                return f"the bid {order.bid} is above {cap}"
        limit = limits.get("maxHourlyCost")
        cost = sum((self._least_cost(one) for one in living), Decimal(0)) * rate
        if limit is not None and cost > Decimal(limit):
            return f"{cost} an hour is above {limit}"
        return None

    def _least_cost(self, instance: Instance) -> Decimal:
        """What an instance can have been thought to cost when something else was bought, in dollars per hour."""
        order, machines = instance.order, self._world.cloud.simulator.world
        offering = machines.offerings[order.zone, order.type.name]
        if order.charge_type == ON_DEMAND:
            return offering.list_price + self._known_extras(order)
        prices = offering.prices_since(machines.now - machines.switches.number("quote-lag") - MARKET_SECONDS)
        bid = [] if order.bid is None else [machines.in_dollars(order.bid)]
        return min([*prices, *bid]) + self._known_extras(order)

    def _known_extras(self, order: Order) -> Decimal:
        """The price of disks and bandwidth, as far as the cloud tells it at all."""
        tells = self._world.cloud.simulator.switches["inquiry-disks"] == "included"
        return order.extras_per_hour if tells else Decimal(0)

    def _judge_churn(self, name: str) -> None:
        """No more launches than losses, growth, and what may be tried."""
        born = self._born[name]
        spec = self._specs[name][-1][1]
        lost = most_of((one for one in [*born, *self._taken_over(name)] if self._may_be_replaced(one)), spec)
        lost -= max(0, sum(map(self._ended_itself, born)) - self._self_ends_replaced(name))
        most = self._growth[name] + lost + self._trials(name) + self._world.confusions
        if len(born) > most:
            self._complain(
                f"O8 churn: {name} has bought {len(born)} by second {self._now:.0f}: {self._growth[name]} wanted,"
                f" {lost} lost, {self._trials(name)} trials"
            )

    def _may_be_replaced(self, instance: Instance) -> bool:
        """True when it was lost, or a person has wanted another one in its place."""
        marks = self._world.marks
        return _is_lost(instance) or (marks is not None and instance.id in marks.unwanted)

    def _ended_itself(self, instance: Instance) -> bool:
        """True when it stopped, or failed, too soon after its launch."""
        ends = (change.time for change in instance.changes if change.state in ("STOPPING", "LAUNCH_FAILED"))
        end = next(ends, None)
        return end is not None and end - instance.created_at < self._world.policy.early_loss.total_seconds()

    def _self_ends_replaced(self, name: str) -> int:
        """How many such ends may be replaced: all at first and after a change, then each place once in a while."""
        specs = self._specs[name]
        places = max(spec["replicas"] for _, spec in specs)
        held = self._world.policy.place_held.total_seconds()
        return round(2 * places * len(specs) + places * self._now / held)

    def _trials(self, name: str) -> int:
        """What may be bought beyond that: trials of spot beside a stand-in, and gangs that were not completed."""
        specs = [spec for _, spec in self._specs[name]]
        policy, trials = self._world.policy, 0
        if any("onDemandFallback" in spec or "onDemand" in spec for spec in specs):
            switches = 1 + self._now / policy.switch_interval_min.total_seconds()
            trials += round(6 * switches)
        # Each change of the spec may replace everything.
        trials += sum(spec["replicas"] + spec["strategy"]["maxSurge"] for spec in specs if "strategy" in spec)
        ages = [spec["maxAgeSeconds"] for spec in specs if "maxAgeSeconds" in spec]
        if ages:  # up to a tenth sooner, and each time one for each
            trials += round(8 * (1 + self._now / (0.9 * min(ages))))
        gangs = [spec["gang"] for spec in specs if "gang" in spec]
        if gangs:
            hold = min(gang["holdSeconds"] for gang in gangs)
            pause = max(policy.gang_pause * hold, policy.blocked_recheck.total_seconds())
            trials += round(6 * (1 + self._now / pause))
        return trials

    # --- numbers and rates: at each write, and all the time ----------------------------------------------------------

    def judge_status(self, before: Object, after: Object) -> None:
        """One status write: its parts agree, and time and money do not go back."""
        name, old, new = after["metadata"]["name"], before["status"], after["status"]
        self.writes[name] += 1
        complaints = [*_disagreements(new, after.get("spec", {}))]
        if not self._world.features & (FORGETFUL | {"clock"}):
            complaints += self._steps_back(old, new)
        for text in complaints:
            self._complain(f"O9 untrue: {name} at {self._now:.0f} s: {text}")

    def _steps_back(self, old: Object, new: Object) -> Iterable[str]:
        spent = [Decimal(status.get("cost", {}).get("accrued", "0")) for status in (old, new)]
        if spent[1] < spent[0]:
            yield f"accrued falls from {spent[0]} to {spent[1]}"
        times = [from_text(status["observedTime"]) for status in (old, new) if "observedTime" in status]
        if sorted(times) != times and len(self._world.replicas) <= 1:  # two replicas have two views
            yield f"observedTime goes back from {times[0]} to {times[1]}"
        if "observedTime" in new and times[-1].timestamp() - EPOCH > self.seen_at + 1.0:
            yield f"observedTime is {times[-1]}, and the last list came at second {self.seen_at:.0f}"

    def look(self) -> None:
        """The judge looks at every object as a user would, now."""
        world, now = self._world, self._now
        if not world.can_write():
            self.unseen_until = now
        if now - self.seen_at > self._told_within:
            self._unknown_until = now
        if now - self._counted_from >= COUNTED_SECONDS:
            self._judge_rates()
        for name in world.names:
            obj = world.api.objects.get(("default", name))
            if obj is None:
                self._short_since.pop(name, None)
                continue
            self._judge_shortage(name, obj)
            if now - self.unseen_until > self._told_within and obj["status"].get("conditions"):
                self._judge_numbers(name, obj["status"])

    @property
    def _told_within(self) -> float:
        """How old what status says may be."""
        lags, trouble = self._world.cloud.simulator.switches.number, self._world.cloud_trouble
        stretch = SLOWED if trouble.throttle else 1.0
        sweep = self._world.pace.sweep.total_seconds() * stretch
        answer = UNANSWERED_SECONDS if trouble.is_bad else 2 * trouble.latency
        late_events = self._world.kube_trouble.delay_event * 2
        missed = 150.0 if self._world.kube_trouble.drop_event else 0.0
        return (
            2 * (sweep + answer) + GRACE_SECONDS + max(lags("list-lag"), lags("id-lag")) + WRITTEN_SECONDS
            + late_events + missed
        )  # fmt: skip

    def _judge_numbers(self, name: str, status: Object) -> None:
        window = self._told_within
        ours = self._of(name)
        ready, is_ready = status.get("readyReplicas"), _condition(status, "Ready") == "True"
        is_looked_at = self._world.calm == 1  # otherwise so rarely that nobody would call it a look
        if is_looked_at and self._now - self.seen_at > window and (ready is not None or is_ready):
            self._say(name, f"nothing was seen for {self._now - self.seen_at:.0f} s, and {ready} are ready")
            return
        spec = self._world.spec_of(name)
        ran = units_of((one for one in ours if _was_within(one, {"RUNNING"}, self._world_now - window)), spec)
        if ready is not None and ready > ran:
            self._say(name, f"readyReplicas is {ready}, and {ran} ran within {window:.0f} s")
        policy = self._world.policy
        remembered = window + (policy.launch_uncertain_for + 2 * policy.backoff_max).total_seconds()
        if self._now - max(self.unseen_until, self._unknown_until) < remembered:
            return
        if status.get("reason") == "AccountUnknown":
            return  # nothing is decided then, for hours perhaps: the docs name it among the limits
        # What was told to end counts until its end is proven, by a process that began after that, too.
        lived = [one for one in ours if _was_within(one, EXISTING, self._world_now - remembered)]
        asked = max((spec["replicas"] for spec in self._in_force(name, remembered)), default=0)
        there = units_of(lived, spec) + asked + (LARGEST if counts_vcpu(spec) else 0)
        if status.get("replicas", 0) > there:
            self._say(name, f"replicas is {status['replicas']}: {len(lived)} lived lately, and {asked} were wanted")
        self._judge_cost(name, status.get("cost", {}), lived)

    def _judge_cost(self, name: str, cost: Mapping[str, str], lived: list[Instance]) -> None:
        if "perHour" not in cost:
            return
        machines = self._world.cloud.simulator.world
        # Prices are read with the next look at an environment.
        since = machines.now - machines.switches.number("quote-lag") - MARKET_SECONDS - self._world.resync_seconds
        most = Decimal(0)
        for one in lived:
            offering = machines.offerings[one.order.zone, one.order.type.name]
            prices = [offering.list_price] if one.order.charge_type == ON_DEMAND else offering.prices_since(since)
            most += max(prices) + one.order.extras_per_hour
        if Decimal(cost["perHour"]) > most * machines.currency_per_dollar + Decimal("0.0001"):
            self._say(name, f"perHour is {cost['perHour']}, and all that lived cost {most} dollars at most")

    def _say(self, name: str, text: str) -> None:
        self._complain(f"O9 untrue: {name} at {self._now:.0f} s: {text}")

    @property
    def _world_now(self) -> float:
        return self._world.cloud.simulator.world.now

    def _taken_over(self, name: str) -> list[Instance]:
        """What was not bought for it and belongs to it now."""
        return [one for one in self._world.cloud.taken_over if self._owner(one) == name]

    def _held(self, name: str) -> list[Instance]:
        """What belongs to it now: without what it has left."""
        return [*(one for one in self._born[name] if self._owner(one) == name), *self._taken_over(name)]

    def _owner(self, instance: Instance) -> str | None:
        return self._world.name_of(self._world.cloud.owner_of(instance) or "")

    def _of(self, name: str) -> list[Instance]:
        """All that was bought for it or ever taken over, and what carries its tag by a person's hand."""
        taken = {one.id: one for owner, one in self._world.cloud.takeovers if self._world.name_of(owner) == name}
        ours = [*self._born[name], *taken.values()]
        if "steal" not in self._world.features:
            return ours
        tagged = [
            one
            for one in self._world.cloud.simulator.world.instances.values()
            if self._world.name_of(one.tags.get(ENVIRONMENT_TAG, "")) == name and one not in ours
        ]
        return ours + tagged

    # --- how long something is missing -------------------------------------------------------------------------------

    def _judge_shortage(self, name: str, obj: Object) -> None:
        spec, generation = obj["spec"], obj["metadata"]["generation"]
        before = self._short_since.pop(name, None)
        living = units_of((one for one in self._held(name) if one.is_live), spec)
        is_wanted = not spec.get("paused") and "deletionTimestamp" not in obj["metadata"]
        is_wanted = is_wanted and name not in self._world.expired
        is_wanted = is_wanted and spec.get("requestPolicy") != "OneTime"
        missing = granted(spec) - living if is_wanted else 0
        if missing <= 0 or not self._world.is_line_clean() or not self._is_for_sale(spec, missing, name):
            return
        since = before[0] if before and before[1] == generation else self._now
        self._short_since[name] = since, generation
        self.longest_shortage = max(self.longest_shortage, self._now - since)
        if self._now - since > self._world.bound:
            reason = obj["status"].get("reason")
            self._complain(
                f"O11 short: {name} lacks {missing} for {self._now - since:.0f} s, {reason}, and one is sold"
            )
            self._short_since[name] = self._now, generation

    def _is_for_sale(self, spec: Object, missing: int, name: str) -> bool:
        """True when a pool of the spec has all that is missing, at a price that the spec pays."""
        machines = self._world.cloud.simulator.world
        cap, limit = spec.get("market", {}).get("maxPrice"), spec.get("limits", {}).get("maxHourlyCost")
        if spec.get("market", {}).get("maxSharePerPool", 100) < 100:
            return False  # which pools still have a part to give is for the end of a history, when all of them sell
        marks = self._world.marks
        zones = [placement["zone"] for placement in spec["placements"]]
        zones = [zone for zone in zones if marks is None or not marks.is_closed(name, zone)]
        rate = machines.currency_per_dollar
        spent = sum((machines.hourly(one.order) for one in self._held(name) if one.is_live), Decimal(0))
        for zone in zones:
            for kind in spec.get("instanceTypes") or ():
                offering = machines.offerings.get((zone, kind))
                if offering is None or (zone, kind) in self._world.cloud.pool_troubles or offering.stock < missing:
                    continue
                fits = limit is None or (spent + missing * (offering.price + EXTRAS)) * rate <= Decimal(limit)
                if fits and (cap is None or offering.price * rate <= Decimal(cap)):
                    return True
        return False

    # --- how often ---------------------------------------------------------------------------------------------------

    def _judge_rates(self) -> None:
        """Requests and writes of the last ten minutes, by environment."""
        world = self._world
        span = (self._now - self._counted_from) / COUNTED_SECONDS
        processes = max(1, len(world.replicas))
        for (action, caller), count in self.requests.items():
            most = MOST.get(action, MOST_OTHERS) * span * processes
            self.busiest[action] = max(self.busiest[action], round(count / span / processes))
            if count > most:
                self._complain(f"O12 often: {caller} sends {count} {action} by second {self._now:.0f}")
        for name, count in self.writes.items():
            self.busiest["writes"] = max(self.busiest["writes"], round(count / span))
            if count > MOST_WRITES * span:
                self._complain(f"O12 often: {name} is written {count} times by second {self._now:.0f}")
        self.requests.clear()
        self.writes.clear()
        self._counted_from = self._now


#: Requests that one process may send for one environment in ten minutes, and writes of one status.
MOST = {"RunInstances": 120, "TerminateInstances": 40, "DescribeInstances": 600}
MOST_OTHERS, MOST_WRITES = 60, 200

#: The disk of a machine that asks for none: what it costs per hour, in dollars, at most.
EXTRAS = Decimal("0.02")


def _most_on_demand(spec: Object) -> int:
    """How many on demand a spec allows at most: as a stand-in, and as a part."""
    fallback, part, wanted = spec.get("onDemandFallback"), spec.get("onDemand", {}), spec.get("replicas", 0)
    base = min(wanted, part.get("base", 0))
    above = -(-(wanted - base) * part.get("percentageAboveBase", 0) // 100)
    beyond = LARGEST - 1 if counts_vcpu(spec) else 0  # a machine cannot be bought in parts
    return base + above + (min(wanted + beyond, fallback["maxReplicas"]) if fallback else 0)


def _is_lost(instance: Instance) -> bool:
    """True when something else than a release of ours has ended it, stopped it or kept it from running."""
    for change in instance.changes:
        if change.state not in ("PENDING", "RUNNING"):
            return not change.cause.startswith("TerminateInstances") or instance.reclaim_at is not None
    return instance.reclaim_at is not None


def _was_within(instance: Instance, states: Iterable[str], since: float) -> bool:
    """True when it was in one of the states at any moment since then."""
    changes = instance.changes
    return any(
        change.state in states and (number + 1 == len(changes) or changes[number + 1].time >= since)
        for number, change in enumerate(changes)
    )


def _condition(status: Object, kind: str) -> str | None:
    return next((one["status"] for one in status.get("conditions", ()) if one["type"] == kind), None)


def _disagreements(status: Object, spec: Object) -> Iterable[str]:
    """What one status says twice, and not alike."""
    if not status.get("conditions"):
        return
    ready, replicas, lines = status.get("readyReplicas"), status.get("replicas", 0), status.get("instances", [])
    if (_condition(status, "Ready") == "True") != (status.get("phase") == "Ready"):
        yield f"phase {status.get('phase')} and Ready={_condition(status, 'Ready')}"
    if status.get("phase") == "Ready" and ready is None:
        yield "Ready, and nobody knows how many"
    if (ready or 0) > replicas or (status.get("updatedReplicas") or 0) > replicas:
        yield f"of {replicas} replicas {ready} are ready and {status.get('updatedReplicas')} up to date"
    if (
        not counts_vcpu(spec)
        and "instanceIDs" not in status
        and ready != sum(line["ready"] for line in lines)
        and ready is not None
    ):
        yield f"{ready} are ready, and {sum(line['ready'] for line in lines)} are listed so"
