"""Keeps accounts, stock, prices and instances. Only requests and `advance(now)` change them.

Apart from everything that waits or speaks HTTP. Time is an argument in world seconds (seconds since 1970, UTC) and
every random choice comes from the seed. Therefore a history can be repeated exactly, over HTTP or in process.
"""

import heapq
import random
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from cvmsim.addresses import Addresses, ElasticAddress
from cvmsim.catalog import Account, Catalog
from cvmsim.credentials import Credited
from cvmsim.errors import ApiError
from cvmsim.instance import (
    GONE,
    LAUNCH_FAILED,
    LIVE,
    PENDING,
    RUNNING,
    SHUTDOWN,
    SPOT,
    STARTING,
    STOPPED,
    STOPPING,
    TERMINATING,
    Change,
    Instance,
    Operation,
    Order,
)
from cvmsim.keys import KeyPairs
from cvmsim.market import FALLING, FLAT, HOUR, YUAN_PER_DOLLAR, Offering
from cvmsim.storage import LeftDisk, Storage
from cvmsim.switches import Switches
from cvmsim.timers import DOING, DONE, Timer, Timers
from cvmsim.tokens import TokenBook

NOTICE_SECONDS = 120.0  # time from the notice in the metadata to the end
RECLAIM = "reclaim"  # the cause of an end when the cloud takes an instance back
ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class Named(NamedTuple):
    """`Named` holds the names of one instance that is about to be created."""

    name: str
    host_name: str


@dataclass(slots=True)
class LaunchOutcome:
    """`LaunchOutcome` decides how the next `times` launches of `account` end: `run`, `fail` or `stuck` in PENDING."""

    outcome: str
    times: int
    account: str | None = None


class World:
    """`World` is the cloud.

    Every public method is one commit: it happens entirely, or raises before anything has changed.
    """

    def __init__(self, catalog: Catalog, switches: Switches, seed: int, now: float) -> None:
        self.catalog, self.switches, self.now = catalog, switches, now
        self.instances: dict[str, Instance] = {}
        self.balances = {uin: account.balance for uin, account in catalog.accounts.items()}
        self.quotas = {uin: dict(account.spot_quota) for uin, account in catalog.accounts.items()}
        self.credentials = {
            key.secret_id: Credited(key.secret_id, key.secret_key, uin)
            for uin, account in catalog.accounts.items()
            for key in account.credentials
        }
        self.of_machines: dict[tuple[str, str], Credited] = {}  # what machines with a role read, by account and role
        self.offerings = {
            (opening.zone, opening.type): Offering(
                opening, catalog.types[opening.type], catalog.zones[opening.zone].region, now
            )
            for opening in catalog.openings
        }
        self.launch_outcomes: list[LaunchOutcome] = []
        self.live: Counter[str] = Counter()  # per account
        self.live_by_tag: Counter[tuple[str, str]] = Counter()  # per original tag: no edit can hide an instance
        self.peak_by_tag: Counter[tuple[str, str]] = Counter()
        self.tokens, self.timers = TokenBook(), Timers(seed)
        self.addresses, self.storage = Addresses(), Storage()
        self.key_pairs = KeyPairs(catalog.accounts, seed, now)
        self.commits = 0
        self._ids = random.Random(f"{seed}:ids")
        self._fate = random.Random(f"{seed}:fate")
        self._shuffle_seed = seed
        self._used_vcpu: Counter[tuple[str, str]] = Counter()
        self._hourly: dict[str, Decimal] = dict.fromkeys(catalog.accounts, Decimal(0))
        self._spent: dict[str, Decimal] = dict.fromkeys(catalog.accounts, Decimal(0))
        self._listed: dict[tuple[str, str], dict[str, Instance]] = {}
        self._tagged: dict[tuple[str, str, str, str], dict[str, Instance]] = {}
        self._leaving: deque[tuple[float, Instance]] = deque()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0

    # --- time -------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Lets everything happen that is due until `now`, each at its own moment. Time never runs backwards."""
        while self._agenda and self._agenda[0][0] <= now:
            moment, _, happen = heapq.heappop(self._agenda)
            self.now = max(self.now, moment)
            happen()
        self.now = max(self.now, now)
        self._forget_departed()

    def schedule(self, delay: float, happen: Callable[[], None]) -> None:
        """Runs `happen` in `delay` seconds, during a later `advance`. Runs it at once when there is no delay."""
        if delay <= 0:
            happen()
            return
        self._scheduled += 1
        heapq.heappush(self._agenda, (self.now + delay, self._scheduled, happen))

    # --- buying -----------------------------------------------------------------------------------

    def account(self, uin: str) -> Account:
        """Returns the account of a uin."""
        return self.catalog.accounts[uin]

    def free_vcpu(self, account: str, zone: str) -> int:
        """Returns the spot quota left in a zone, in vCPU. Negative when the quota was lowered below what is in use."""
        return self.spot_quota(account, zone) - self.used_vcpu(account, zone)

    def spot_quota(self, account: str, zone: str) -> int:
        """Returns the spot quota of a zone, in vCPU."""
        quota = self.quotas[account]
        return quota.get(zone, quota["default"])

    def used_vcpu(self, account: str, zone: str) -> int:
        """Returns the vCPU of live spot instances in a zone."""
        return self._used_vcpu[account, zone]

    def available_balance(self, account: str) -> Decimal:
        """Returns the dollars left after the cost of ended instances and one frozen hour of each live one."""
        return self.balances[account] - self._spent[account] - self._hourly[account]

    def launch(self, order: Order, names: list[Named]) -> list[Instance]:
        """Buys one instance per name. The caller has checked stock, price, quota, balance and addresses."""
        offering = self.offerings[order.zone, order.type.name]
        offering.add(-len(names), order.charge_type == SPOT, self.now)
        wanted = [*order.private_ips, *[""] * len(names)]
        return [self._create(order, named, address) for named, address in zip(names, wanted, strict=False)]

    def _create(self, order: Order, named: Named, address: str) -> Instance:
        instance = Instance(
            id=self.new_id("ins"),
            uuid=str(uuid.UUID(int=self._ids.getrandbits(128))),
            name=named.name,
            host_name=named.host_name,
            order=order,
            private_ip=self.addresses.take(order.subnet, address),
            public_ip=self.addresses.new_public() if order.has_public_ip else "",
            user_data=order.template.get("UserData") or "",
            created_at=self.now,
            tags_readable_at=self.now + self.switches.number("tag-lag"),
            tags=order.tags,
            is_protected=order.is_protected,
            security_groups=order.security_groups,
            operation=Operation("RunInstances", order.request_id, "OPERATING"),
        )
        self.instances[instance.id] = instance
        self._index(instance)
        self._enter(instance, PENDING, f"RunInstances {order.request_id}")
        self._plan_launch(instance)
        if order.ends_at is not None:
            self.set_timer(instance, order.ends_at)
        return instance

    def _plan_launch(self, instance: Instance) -> None:
        outcome = self._next_outcome(instance.order.account)
        delay = self.switches.number("pending-seconds") * self._fate.uniform(0.67, 1.33)
        if outcome == "stuck":
            return
        state, cause = (LAUNCH_FAILED, "launch failed") if outcome == "fail" else (RUNNING, "launched")
        self._later(delay, instance, state, cause)

    def _next_outcome(self, account: str) -> str:
        fails = self._fate.random() < self.switches.number("launch-failure-rate")
        for row in self.launch_outcomes:
            if row.times > 0 and row.account in (None, account):
                row.times -= 1
                return row.outcome
        return "fail" if fails else "run"

    def set_timer(self, instance: Instance, at: float) -> Timer:
        """Ends an instance at `at` (world seconds), unless the timer is deleted before."""
        timer = self.timers.add(instance.id, at)
        self.schedule(at - self.now, partial(self._time_is_up, instance, timer))
        return timer

    def _time_is_up(self, instance: Instance, timer: Timer) -> None:
        if self.timers.find(timer.id) is None:
            return
        timer.status = DONE
        if instance.is_live:
            timer.status = DOING
            self._enter(instance, TERMINATING, "ActionTimer")
            self._later(self.switches.number("terminating-seconds"), instance, GONE, "ActionTimer")

    # --- ending and changing ----------------------------------------------------------------------

    def terminate(self, instance: Instance, cause: str, operation: Operation | None) -> None:
        """Ends an instance as a customer does. With the switch `recycle-bin` it goes through the recycle bin first."""
        was_binned = instance.state == SHUTDOWN
        self._operate(instance, operation)
        self._enter(instance, TERMINATING, cause)
        delay = self.switches.number("terminating-seconds")
        if self.switches["recycle-bin"] == "yes" and not was_binned:
            self._later(delay, instance, SHUTDOWN, "recycle bin")
        else:
            self._later(delay, instance, GONE, cause)

    def reclaim(self, instances: Iterable[Instance], notice: float, cause: str = RECLAIM) -> None:
        """Takes spot instances back: `notice` seconds of warning in the metadata, then gone. 0 takes them at once."""
        for instance in instances:
            instance.reclaim_at = self.now + notice
            self.schedule(notice, partial(self._take_back, instance, cause))

    def _take_back(self, instance: Instance, cause: str) -> None:
        if not instance.is_live:
            return
        shown = self.switches["reclaim-visible"]
        if shown != "absent":
            self._enter(instance, TERMINATING if shown == "terminating" else SHUTDOWN, cause)
            self._later(self.switches.number("terminating-seconds"), instance, GONE, cause)
        else:
            self._enter(instance, GONE, cause)

    def stop(self, instance: Instance, cause: str, operation: Operation | None) -> None:
        """Stops a running instance."""
        self._operate(instance, operation)
        self._enter(instance, STOPPING, cause)
        self._later(self.switches.number("stop-seconds"), instance, STOPPED, cause)

    def start(self, instance: Instance, cause: str, operation: Operation | None) -> None:
        """Starts a stopped instance."""
        self._operate(instance, operation)
        self._enter(instance, STARTING, cause)
        self._later(self.switches.number("stop-seconds"), instance, RUNNING, cause)

    def retag(self, instance: Instance, tags: Mapping[str, str]) -> None:
        """Gives an instance other tags, readable at once, as a person in the console does."""
        self._unindex_tags(instance)
        instance.tags = dict(tags)
        instance.tags_readable_at = self.now
        self._index_tags(instance)
        self._sort_tagged(instance)
        self.commits += 1

    def _operate(self, instance: Instance, operation: Operation | None) -> None:
        if operation is not None:
            instance.operation = operation

    def _later(self, delay: float, instance: Instance, state: str, cause: str) -> None:
        """Moves the instance to `state` after `delay`, unless it has changed in the meantime."""
        self.schedule(delay, partial(self._arrive, instance, len(instance.changes), state, cause))

    def _arrive(self, instance: Instance, version: int, state: str, cause: str) -> None:
        if len(instance.changes) == version:
            self._enter(instance, state, cause)

    def _enter(self, instance: Instance, state: str, cause: str) -> None:
        """Changes the state of an instance, and all counts with it. No other method does."""
        was_live = bool(instance.changes) and instance.is_live
        self.commits += 1
        instance.changes.append(Change(self.now, state, cause, self.commits))
        if state in LIVE and not was_live:
            self._count_in(instance)
        elif was_live and state not in LIVE:
            self._count_out(instance, is_taken=cause == RECLAIM)
        self._settle(instance, state)

    def _settle(self, instance: Instance, state: str) -> None:
        if state == RUNNING and instance.billed_from is None:
            instance.billed_from = self.now
        if state in (RUNNING, STOPPED) and instance.operation is not None:
            instance.operation = instance.operation._replace(state="SUCCESS")
        if state == LAUNCH_FAILED:
            self._fail(instance)
        if state == SHUTDOWN and instance.reclaim_at is None:
            self._later(self.switches.number("recycle-bin-seconds"), instance, GONE, "recycle bin")
        if state == GONE:
            self._give_back(instance)
            self._leaving.append((self.now, instance))

    def _give_back(self, instance: Instance) -> None:
        self.addresses.give_back(instance.order.subnet, instance.private_ip)
        self.addresses.unbind(instance.id, releases=instance.releases_address)
        for timer in self.timers.of([instance.id]):
            timer.status = DONE

    def _fail(self, instance: Instance) -> None:
        message = "The instance could not be created: resources are insufficient. The order has been refunded."
        instance.operation = Operation("RunInstances", instance.order.request_id, "FAILED", message)
        self._later(self.switches.number("launch-failed-lifetime"), instance, GONE, "launch failed")

    # --- counts -----------------------------------------------------------------------------------

    def offering_of(self, instance: Instance) -> Offering:
        """Returns the offering of an instance."""
        return self.offerings[instance.order.zone, instance.order.type.name]

    def cost(self, instance: Instance) -> Decimal:
        """Returns the dollars that an instance has cost until now."""
        if instance.billed_from is None:
            return Decimal(0)
        until = self.now if instance.billed_until is None else instance.billed_until
        is_spot, offering = instance.order.charge_type == SPOT, self.offering_of(instance)
        machine = offering.cost(instance.billed_from, until, is_spot, self.price_steps)
        return machine + instance.order.extras_per_hour * Decimal(str(until - instance.billed_from)) / HOUR

    def machine_per_hour(self, order: Order) -> Decimal:
        """Returns the dollars per hour for one instance of `order`, without disks and bandwidth."""
        offering = self.offerings[order.zone, order.type.name]
        return offering.price if order.charge_type == SPOT else offering.list_price

    def hourly(self, order: Order) -> Decimal:
        """Returns the dollars per hour for one instance of `order`, with disks and bandwidth."""
        return self.machine_per_hour(order) + order.extras_per_hour

    def _count_in(self, instance: Instance) -> None:
        order = instance.order
        self.live[order.account] += 1
        self._hourly[order.account] += self.hourly(order)
        if order.charge_type == SPOT:
            self._used_vcpu[order.account, order.zone] += order.type.cpu
        for tag in order.tags.items():
            self.live_by_tag[tag] += 1
            self.peak_by_tag[tag] = max(self.peak_by_tag[tag], self.live_by_tag[tag])

    def _count_out(self, instance: Instance, is_taken: bool) -> None:
        order = instance.order
        self.live[order.account] -= 1
        if instance.billed_from is not None:
            instance.billed_until = self.now
            for left in self.storage.leave(instance, self.now):
                self._hourly[order.account] += left.per_hour
        self._spent[order.account] += self.cost(instance)
        self._hourly[order.account] -= self.hourly(order)
        if order.charge_type == SPOT:
            self._used_vcpu[order.account, order.zone] -= order.type.cpu
        for tag in order.tags.items():
            self.live_by_tag[tag] -= 1
        if not is_taken:  # the cloud takes an instance back for another customer, so the stock stays lower
            offering = self.offering_of(instance)
            offering.add(1, order.charge_type == SPOT, self.now)

    def bind_address(self, account: str, region: str, instance: Instance | None) -> ElasticAddress:
        """Makes an elastic address, bound to `instance` if there is one. It outlives the instance."""
        bound = self.addresses.new_elastic(self.new_id("eip"), account, region, self.now)
        bound.instance_id = instance.id if instance else ""
        self.commits += 1
        return bound

    def end_disk(self, left: LeftDisk) -> None:
        """Ends a disk that outlived its instance, and its bill."""
        account = left.disk.instance.order.account
        left.billed_until = self.now
        self._hourly[account] -= left.per_hour
        self._spent[account] += left.cost(self.now)
        self.commits += 1

    def set_price(self, offering: Offering, price: Decimal) -> None:
        """Sets the spot price, and adjusts the frozen hour of every instance that pays it.

        With the switch `price-interrupts`, instances with a lower bid then get notice.
        """
        renting = [
            one
            for one in self.instances.values()
            if one.is_live and one.order.charge_type == SPOT and self.offering_of(one) is offering
        ]
        for instance in renting:
            self._hourly[instance.order.account] += price - offering.price
        offering.set_price(price, self.now)
        if self.switches["price-interrupts"] == "yes":
            self.reclaim([one for one in renting if self._is_outbid(one, price)], NOTICE_SECONDS)

    def _is_outbid(self, one: Instance, price: Decimal) -> bool:
        bid = one.order.bid
        return one.reclaim_at is None and bid is not None and self.in_dollars(bid) < price

    @property
    def price_steps(self) -> tuple[Decimal, Decimal]:
        """Returns the parts of the list price that an hour on demand costs after 96 and after 360 hours."""
        return FALLING if self.switches["price-steps"] == "falling" else FLAT

    @property
    def currency_per_dollar(self) -> Decimal:
        """Returns the value of a dollar in the currency of prices and bids."""
        return YUAN_PER_DOLLAR if self.switches["price-currency"] == "CNY" else Decimal(1)

    def in_dollars(self, amount: Decimal) -> Decimal:
        """Returns an amount of that currency in dollars."""
        return amount / self.currency_per_dollar

    # --- reading ----------------------------------------------------------------------------------

    def find(self, account: str, region: str, instance_id: str) -> Instance:
        """Returns one instance that exists now.

        Raises InvalidInstanceId.NotFound for another account's or a gone one.
        """
        instance = self.instances.get(instance_id)
        if (
            instance is None
            or instance.state == GONE
            or instance.order.account != account
            or instance.order.region != region
        ):
            raise ApiError("InvalidInstanceId.NotFound", f"The instance `{instance_id}` does not exist.")
        return instance

    def listed(self, account: str, region: str) -> Mapping[str, Instance]:
        """Returns all instances that a list may have to show, in order of creation.

        Gone instances are included only for as long as a list may lag.
        """
        return self._listed.get((account, region), {})

    def tagged(self, account: str, region: str, key: str, values: Iterable[str]) -> Mapping[str, Instance]:
        """Returns those of `listed` whose tag `key` has one of `values`. The lag of tags is not considered."""
        found = [self._tagged.get((account, region, key, value), {}) for value in values]
        if len(found) == 1:
            return found[0]
        merged = {instance_id: instance for group in found for instance_id, instance in group.items()}
        return dict(sorted(merged.items(), key=lambda item: item[1].changes[0].commit))

    def living_at(self, address: str) -> Instance | None:
        """Returns the live instance with this private address. None when there is none."""
        return next((one for one in self.instances.values() if one.is_live and one.private_ip == address), None)

    def new_id(self, prefix: str) -> str:
        """Returns a new id."""
        return f"{prefix}-{''.join(self._ids.choices(ID_LETTERS, k=8))}"

    def new_secret(self, prefix: str) -> str:
        """Returns a new random secret."""
        return prefix + "".join(self._ids.choices(ID_LETTERS, k=32))

    def shuffled(self, instances: list[Instance]) -> list[Instance]:
        """Returns the instances in a new order for every list, from the seed and the commits so far."""
        order = random.Random(f"{self._shuffle_seed}:{self.commits}:{self.now}")
        order.shuffle(instances)
        return instances

    def _index(self, instance: Instance) -> None:
        scope = (instance.order.account, instance.order.region)
        self._listed.setdefault(scope, {})[instance.id] = instance
        self._index_tags(instance)

    def _index_tags(self, instance: Instance) -> None:
        for key, value in instance.tags.items():
            scope = (instance.order.account, instance.order.region, key, value)
            self._tagged.setdefault(scope, {})[instance.id] = instance

    def _unindex_tags(self, instance: Instance) -> None:
        for key, value in instance.tags.items():
            scope = (instance.order.account, instance.order.region, key, value)
            self._tagged.get(scope, {}).pop(instance.id, None)

    def _sort_tagged(self, instance: Instance) -> None:
        """Keeps every index in order of creation, also after an old instance got a new tag."""
        for key, value in instance.tags.items():
            scope = (instance.order.account, instance.order.region, key, value)
            self._tagged[scope] = dict(sorted(self._tagged[scope].items(), key=lambda item: item[1].changes[0].commit))

    def _forget_departed(self) -> None:
        lag = max(self.switches.number("list-lag"), self.switches.number("id-lag"))
        while self._leaving and self._leaving[0][0] + lag <= self.now:
            instance = self._leaving.popleft()[1]
            self._listed[instance.order.account, instance.order.region].pop(instance.id, None)
            self._unindex_tags(instance)
