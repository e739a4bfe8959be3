"""A cloud in memory: `CloudProvider` over a small world that moves by calls and by `advance`, and never by itself.

For stories and simulations of the loop, where `cvmsim` over HTTP would be too slow. It is pure: the clock is given,
nothing is random, nothing sleeps. It keeps its own ledger, which is the judge: who really launched what, under
which token, and how many were ever alive at once. The contract suite holds it against the real provider.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from spotcompute.cloud.credentials import AnyKey
from spotcompute.cloud.errors import (
    CloudError,
    InstanceBusy,
    InstanceGone,
    InsufficientCapacity,
    InvalidConfiguration,
    PriceTooLow,
    QuotaExceeded,
    TerminationBlocked,
)
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.instance import ENDED_STATES, Instance, InstanceState, Ownership
from spotcompute.model.launch import MAX_LAUNCH_COUNT, Disk, LaunchRequest, Part, Template
from spotcompute.model.leftover import Leftover
from spotcompute.model.offering import Offering, Pool

#: The same marks as the real provider sets; written out here, because a world shares no code with what it judges.
CLUSTER_TAG, ENVIRONMENT_TAG = "spotcompute-cluster", "spotcompute-environment"
OWNER_TAG, RETAINED_TAG, ADOPTED_TAG = "spotcompute-owner", "spotcompute-retained", "spotcompute-adopted"

#: Called before and after each method's effect, with the method's name and "before" or "after". It may await
#: (latency), raise (a lost answer) or cancel (a crash).
Hook = Callable[[str, str], Awaitable[None]]

T = TypeVar("T")

_FOREVER = timedelta(days=36500)


@dataclass(slots=True)
class Shelf:
    """One pool of the market. `stock` is None when it never runs out."""

    price: Decimal
    list_price: Decimal
    stock: int | None = None
    vcpu: int = 2
    memory_gib: int = 4


@dataclass(slots=True)
class Record:
    """The truth about one instance, dead or alive. `owner` is who launched it, whatever its tags say today."""

    id: str
    name: str
    pool: Pool
    owner: Ownership
    token: str
    request_id: str
    created_at: datetime
    #: (since, state); None: not there any more.
    history: list[tuple[datetime, InstanceState | None]]
    tag_history: list[tuple[datetime, dict[str, str]]]
    due: list[tuple[datetime, InstanceState | None]] = field(default_factory=list)
    protected: bool = False
    image_id: str = ""
    #: When its timer ends it.
    ends_at: datetime | None = None
    #: Why it ended: reclaim, console, api, launch-failed; None while it lives.
    cause: str | None = None
    last_operation: str = "RunInstances"
    last_request_id: str = ""

    @property
    def state(self) -> InstanceState | None:
        return self.history[-1][1]

    @property
    def is_live(self) -> bool:
        """It counts, and somebody pays for it."""
        return self.state is not None and self.state not in ENDED_STATES

    @property
    def ended_at(self) -> datetime | None:
        """When it stopped being live."""
        return next((at for at, state in self.history if state is None or state in ENDED_STATES), None)

    def as_of(self, moment: datetime) -> Instance | None:
        """What a list of that moment shows of it, or None."""
        state = _latest(self.history, moment)
        if state is None:
            return None
        tags = _latest(self.tag_history, moment) or {}
        cluster, environment = tags.get(CLUSTER_TAG), tags.get(ENVIRONMENT_TAG)
        return Instance(
            id=self.id,
            name=self.name,
            state=state,
            pool=self.pool,
            created_at=self.created_at,
            ownership=Ownership(cluster, environment) if cluster and environment else None,
            owner=tags.get(OWNER_TAG),
            retained=tags.get(RETAINED_TAG),
            adopted=tags.get(ADOPTED_TAG),
            image_id=self.image_id,
            private_ip=f"10.0.0.{int(self.id[4:]) % 250 + 2}",
            protected=self.protected,
            failure="launch failed" if state is InstanceState.LAUNCH_FAILED else None,
            last_operation=self.last_operation,
            last_operation_request_id=self.last_request_id,
            tags=tags,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the port, as it arrived. `error` is the code it was answered with, None when it succeeded."""

    at: datetime
    method: str
    on_behalf_of: str
    token: str | None
    ids: tuple[str, ...]
    error: str | None


@dataclass(slots=True)
class Books:
    """The ledger: every call, every instance ever launched, every token, and the most ever alive at once."""

    calls: list[Call] = field(default_factory=list)
    instances: dict[str, Record] = field(default_factory=dict)
    #: Token → (digest of the request, ids, when).
    tokens: dict[str, tuple[str, tuple[str, ...], datetime]] = field(default_factory=dict)
    #: Tokens that came again with other parameters: must stay empty.
    reused_tokens: list[str] = field(default_factory=list)
    live: Counter[str] = field(default_factory=Counter)
    peak: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def live_of(self, environment_id: str) -> list[Record]:
        """Instances alive now that this environment launched, in the order of their launch."""
        return [
            record
            for record in self.instances.values()
            if record.owner.environment_id == environment_id and record.is_live
        ]

    def launched(self, environment_id: str) -> int:
        """How many it ever launched."""
        return sum(record.owner.environment_id == environment_id for record in self.instances.values())

    def mutations(self) -> list[Call]:
        """Calls that change something."""
        return [call for call in self.calls if call.method in ("launch", "terminate")]


@dataclass(slots=True)
class _Failure:
    error: CloudError
    after_commit: bool
    times: int


class InMemoryCloud:
    """One account in one region.

    Knobs are plain attributes and take effect at once; durations are `timedelta`:
    `list_lag`, `lookup_lag`: lists and look-ups by id show the world as it was that long ago.
    `tag_lag`: tags of a new instance show up that late. `pending`, `terminating`: how long these states last.
    `recycle_bin`: SHUTDOWN for so long after TERMINATING; zero: absent at once.
    `quota`: most live instances, None for no limit. `stale_quotes`: offerings never say "sold out". `gib_hour` and
    `mbps_hour`: what disks and bandwidth cost, whatever kind they are.
    `token_life`: how long a token answers with the ids of its first launch.
    `known`: ids and names of images, networks, security groups, keys and roles that exist; None: all of them do.
    `checks_price`: does a dry run compare the bid with the price?
    """

    def __init__(
        self, clock: Callable[[], datetime], key: str = "memory/ap-guangzhou", hook: Hook | None = None
    ) -> None:
        """`clock` returns aware UTC."""
        self._clock = clock
        self._key, self._number, self._account = key, "100000000001", None
        self._hook = hook
        self._failures: dict[str, list[_Failure]] = defaultdict(list)
        self._visible: dict[str, Record] = {}
        self._serial = 0
        self.books = Books()
        self.shelves: dict[Pool, Shelf] = {}
        self.list_lag = self.lookup_lag = self.tag_lag = timedelta()
        self.pending, self.terminating, self.recycle_bin = timedelta(seconds=5), timedelta(seconds=5), timedelta()
        self.launch_failed_life = timedelta(seconds=60)
        self.token_life = _FOREVER
        self.quota: int | None = None
        self.stale_quotes = False
        self.gib_hour, self.mbps_hour = Decimal("0.00007"), Decimal("0.011")
        self.known: frozenset[str] | None = None
        self.checks_price = True
        self._doomed = 0
        self._stuck = 0

    # --- knobs -------------------------------------------------------------------------------------------------------

    def sell(
        self, zone: str, instance_type: str, price: str, stock: int | None = None, list_price: str = "0.1071"
    ) -> Pool:
        """Put a pool on the market, or change its price and stock."""
        pool = Pool(zone, instance_type)
        self.shelves[pool] = Shelf(Decimal(price), Decimal(list_price), stock)
        return pool

    def set_stock(self, pool: Pool, stock: int | None) -> None:
        """How many more of `pool` can be launched; None: any number."""
        self.shelves[pool].stock = stock

    def set_price(self, pool: Pool, price: str) -> None:
        """What `pool` costs an hour from now on."""
        self.shelves[pool].price = Decimal(price)

    def fail_next(self, method: str, error: CloudError, after_commit: bool = False, times: int = 1) -> None:
        """Answer the next `times` calls of `method` with `error`, before or after it has been carried out."""
        self._failures[method].append(_Failure(error, after_commit, times))

    def heal(self) -> None:
        """Forget all failures that were ordered."""
        self._failures.clear()

    def doom_next_launches(self, count: int) -> None:
        """The next `count` instances are accepted and then end in LAUNCH_FAILED."""
        self._doomed = count

    def stall_next_launches(self, count: int) -> None:
        """The next `count` instances stay in PENDING for ever."""
        self._stuck = count

    def reclaim(self, *ids: str) -> None:
        """The cloud takes instances back: gone at once, without a call anybody could see. Their stock goes too."""
        self._end(ids, "reclaim", None)

    def console_terminate(self, *ids: str) -> None:
        """A person releases instances in the console."""
        for record in self._records(ids):
            self._release(record, "console", self._request_id())

    def stop(self, *ids: str) -> None:
        """A person stops instances in the console."""
        for record in self._records(ids):
            self._move(record, InstanceState.STOPPED)

    def start(self, *ids: str) -> None:
        """A person starts them again."""
        for record in self._records(ids):
            self._move(record, InstanceState.RUNNING)

    def protect(self, *ids: str, on: bool = True) -> None:
        """Switch termination protection on or off."""
        for record in self._records(ids):
            record.protected = on

    def retag(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """A person replaces all tags of an instance; the books keep the true owner."""
        for record in self._records((instance_id,)):
            record.tag_history.append((self._clock(), dict(tags)))

    def advance(self, now: datetime | None = None) -> None:
        """Carry out what has become due until `now` (default: the clock). Every call does this first."""
        now = now or self._clock()
        for record in list(self._visible.values()):
            while record.due and record.due[0][0] <= now:
                at, state = record.due.pop(0)
                self._set_state(record, at, state)
            if record.ends_at is not None and record.ends_at <= now and record.is_live:
                self._release(record, "timer", self._request_id())
            if record.state is None and record.history[-1][0] <= now - max(self.list_lag, self.lookup_lag):
                del self._visible[record.id]

    # --- the port ----------------------------------------------------------------------------------------------------

    _account: str | None

    @property
    def key(self) -> str:
        """As given."""
        return self._key

    @property
    def account(self) -> str | None:
        """See the port."""
        return self._account

    @property
    def name(self) -> str:
        """See the port."""
        return f"{self._account}/{self._key.partition('/')[2]}" if self._account else self._key

    async def identify(self) -> str:
        """See the port."""

        def effect() -> str:
            self._account = self._number
            return self._number

        return await self._call("identify", effect)

    async def list_instances(self, cluster_id: str) -> tuple[Instance, ...]:
        """See the port."""

        def effect() -> tuple[Instance, ...]:
            shown = self._as_of(self._clock() - self.list_lag)
            return tuple(instance for instance in shown if instance.tags.get(CLUSTER_TAG) == cluster_id)

        return await self._call("list_instances", effect)

    async def get_instances(self, ids: Sequence[str], on_behalf_of: str) -> tuple[Instance, ...]:
        """See the port."""
        if not ids:
            return ()
        wanted = _at_most_100(ids)

        def effect() -> tuple[Instance, ...]:
            shown = self._as_of(self._clock() - self.lookup_lag)
            return tuple(instance for instance in shown if instance.id in wanted)

        return await self._call("get_instances", effect, on_behalf_of, ids=wanted)

    async def find_by_name(self, name: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """See the port."""

        def effect() -> tuple[Instance, ...]:
            shown = self._as_of(self._clock() - self.list_lag)
            return tuple(instance for instance in shown if _is_named(instance.name, name))

        return await self._call("find_by_name", effect, on_behalf_of)

    async def find_by_tag(self, key: str, value: str, on_behalf_of: str) -> tuple[Instance, ...]:
        """See the port."""

        def effect() -> tuple[Instance, ...]:
            shown = self._as_of(self._clock() - self.list_lag)
            return tuple(instance for instance in shown if instance.tags.get(key) == value)

        return await self._call("find_by_tag", effect, on_behalf_of)

    async def list_leftovers(self) -> tuple[Leftover, ...]:
        """See the port. Here nothing outlives an instance."""
        return ()

    async def list_offerings(self) -> tuple[Offering, ...]:
        """See the port."""

        def effect() -> tuple[Offering, ...]:
            return tuple(self._quote(pool) for pool in sorted(self.shelves))

        return await self._call("list_offerings", effect)

    async def list_price(self, pool: Pool, template: Template, on_behalf_of: str) -> Decimal:
        """See the port."""

        def effect() -> Decimal:
            shelf = self.shelves.get(pool)
            if shelf is None or shelf.stock == 0:
                message = f"{pool.instance_type} is sold out in {pool.zone}"
                raise InsufficientCapacity("ResourcesSoldOut.SpecifiedInstanceType", message, self._request_id())
            return shelf.list_price + self._equipment(template)

        return await self._call("list_price", effect, on_behalf_of)

    async def launch(
        self, request: LaunchRequest, user_data: str | None, token: str, on_behalf_of: str
    ) -> LaunchReceipt:
        """See the port. The same token with the same request answers with the same ids."""
        return await self._call("launch", lambda: self._launch(request, token), on_behalf_of, token)

    async def check(self, request: LaunchRequest, user_data: str | None, on_behalf_of: str) -> None:
        """See the port."""

        def effect() -> None:
            asked = request if self.checks_price else replace(request, max_price=None)
            self._refuse_launch(asked, self._request_id())

        await self._call("check", effect, on_behalf_of)

    async def terminate(self, ids: Sequence[str], on_behalf_of: str) -> str:
        """See the port. One bad id refuses the whole batch."""
        wanted = _at_most_100(ids)
        return await self._call("terminate", lambda: self._terminate(wanted), on_behalf_of, ids=wanted)

    async def mark(self, instance: Instance, ownership: Ownership | None, owner: str, on_behalf_of: str) -> str:
        """See the port. What stands on an instance besides stays."""
        if self._account is None:
            await self.identify()

        def effect() -> str:
            record = self._visible.get(instance.id)
            if record is None or record.state is None:
                raise InstanceGone("InvalidParameterValue.ResourceIdInvalid", instance.id, self._request_id())
            ours = {CLUSTER_TAG, ENVIRONMENT_TAG, OWNER_TAG, RETAINED_TAG, ADOPTED_TAG}
            rest = {key: value for key, value in record.tag_history[-1][1].items() if key not in ours}
            made = {RETAINED_TAG: owner}
            if ownership is not None:
                made = _marks(ownership, owner) | {ADOPTED_TAG: _adoption_mark(ownership, instance.id)}
            record.tag_history.append((self._clock(), rest | made))
            return self._request_id()

        return await self._call("mark", effect, on_behalf_of, ids=(instance.id,))

    async def set_timers(self, ids: Sequence[str], ends_at: datetime | None, on_behalf_of: str) -> None:
        """See the port. One bad id refuses the whole batch."""
        wanted = _at_most_100(ids)

        def effect() -> None:
            if ends_at is not None and ends_at < self._clock() + timedelta(minutes=5):
                raise InvalidConfiguration("InvalidParameterValue", "ActionTime is too soon", self._request_id())
            for record in self._live_records(wanted) if ends_at is not None else ():
                record.ends_at = ends_at
            for key in wanted if ends_at is None else ():
                if key in self._visible:
                    self._visible[key].ends_at = None

        await self._call("set_timers", effect, on_behalf_of, ids=wanted)

    def _live_records(self, ids: Sequence[str]) -> list[Record]:
        records = [self._visible.get(key) for key in ids]
        for key, record in zip(ids, records, strict=True):
            if record is None or record.state is None:
                raise InstanceGone("InvalidInstanceId.NotFound", key, self._request_id())
            if not record.is_live:
                raise InstanceBusy(f"UnsupportedOperation.InstanceState{record.state}", key, self._request_id())
        return [record for record in records if record is not None]

    # --- what happens ------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        effect: Callable[[], T],
        on_behalf_of: str = "",
        token: str | None = None,
        ids: tuple[str, ...] = (),
    ) -> T:
        await self._reach(method, "before")
        failure, code = self._ordered_failure(method), None
        try:
            self.advance()
            if failure is not None and not failure.after_commit:
                raise failure.error
            answer = effect()
            if failure is not None:
                raise failure.error
        except CloudError as error:
            code = error.code
            raise
        finally:
            self.books.calls.append(Call(self._clock(), method, on_behalf_of, token, ids, code))
        await self._reach(method, "after")
        return answer

    async def _reach(self, method: str, moment: str) -> None:
        if self._hook is not None:
            await self._hook(method, moment)

    def _ordered_failure(self, method: str) -> _Failure | None:
        queue = self._failures[method]
        if not queue:
            return None
        queue[0].times -= 1
        return queue[0] if queue[0].times > 0 else queue.pop(0)

    def _launch(self, request: LaunchRequest, token: str) -> LaunchReceipt:
        request_id, now = self._request_id(), self._clock()
        digest, ids, since = self.books.tokens.get(token, ("", (), now))
        if ids and now - since < self.token_life:
            if digest != request.digest:
                self.books.reused_tokens.append(token)
                raise InvalidConfiguration("InvalidParameterValue", "token used with other parameters", request_id)
            return LaunchReceipt(ids, request_id)
        self._refuse_launch(request, request_id)
        ids = tuple(self._create(request, index, token, request_id).id for index in range(1, request.count + 1))
        self.books.tokens[token] = (request.digest, ids, now)
        return LaunchReceipt(ids, request_id)

    def _refuse_launch(self, request: LaunchRequest, request_id: str) -> None:
        shelf = self.shelves.get(request.pool)
        if not 1 <= request.count <= MAX_LAUNCH_COUNT:
            raise InvalidConfiguration("InvalidParameterValue.Range", "InstanceCount is out of range", request_id)
        if shelf is None:
            raise InvalidConfiguration("InvalidParameterValue.InstanceTypeNotFound", str(request.pool), request_id)
        self._refuse_unknown(request, request_id)
        if request.ends_at is not None and request.ends_at < self._clock() + timedelta(minutes=5):
            error = InvalidConfiguration("InvalidParameterValue", "ActionTime is too soon", request_id)
            error.about = Part.TIMER
            raise error
        if request.max_price is not None and request.max_price < shelf.price:
            raise PriceTooLow("InvalidParameterValue.InsufficientPrice", f"the price is {shelf.price}", request_id)
        if self.quota is not None and self.books.live.total() + request.count > self.quota:
            raise QuotaExceeded("LimitExceeded.UserSpotQuota", f"the quota is {self.quota}", request_id)
        if shelf.stock is not None and request.count > shelf.stock:
            raise InsufficientCapacity(
                "ResourcesSoldOut.SpecifiedInstanceType", f"{request.pool} is sold out", request_id
            )

    def _refuse_unknown(self, request: LaunchRequest, request_id: str) -> None:
        template = request.template
        for part, names in (
            (Part.IMAGE, (template.image_id,)),
            (Part.LOGIN, template.key_ids),
            (Part.ROLE, (template.cam_role_name,)),
            (Part.NETWORK, (request.subnet_id,)),
            (Part.SECURITY_GROUPS, template.security_group_ids),
        ):
            wrong = [name for name in names if name and self.known is not None and name not in self.known]
            if wrong:
                error = InvalidConfiguration("InvalidParameterValue", f"{wrong[0]} does not exist", request_id)
                error.about = part
                raise error

    def _create(self, request: LaunchRequest, index: int, token: str, request_id: str) -> Record:
        now = self._clock()
        self._serial += 1
        tags = dict(request.template.tags)
        tags |= _marks(request.ownership, request.owner)
        record = Record(
            id=f"ins-{self._serial:08d}",
            name=f"{request.name}{index}" if request.count > 1 else request.name,
            pool=request.pool,
            owner=request.ownership,
            token=token,
            request_id=request_id,
            created_at=now,
            history=[(now, InstanceState.PENDING)],
            tag_history=[(now + self.tag_lag, tags)],
            due=self._fate(now + self.pending),
            last_request_id=request_id,
            image_id=request.template.image_id,
            ends_at=request.ends_at,
        )
        self.books.instances[record.id] = self._visible[record.id] = record
        shelf = self.shelves[request.pool]
        if shelf.stock is not None:
            shelf.stock -= 1
        self._count(record, +1)
        return record

    def _fate(self, ready_at: datetime) -> list[tuple[datetime, InstanceState | None]]:
        if self._doomed > 0:
            self._doomed -= 1
            return [(ready_at, InstanceState.LAUNCH_FAILED), (ready_at + self.launch_failed_life, None)]
        if self._stuck > 0:
            self._stuck -= 1
            return []
        return [(ready_at, InstanceState.RUNNING)]

    def _terminate(self, ids: tuple[str, ...]) -> str:
        request_id = self._request_id()
        records = [self._releasable(instance_id, request_id) for instance_id in ids]
        for record in records:
            self._release(record, "api", request_id)
        return request_id

    def _releasable(self, instance_id: str, request_id: str) -> Record:
        record = self._visible.get(instance_id)
        if record is None or record.state is None:
            raise InstanceGone("InvalidInstanceId.NotFound", instance_id, request_id)
        if record.state is InstanceState.TERMINATING:
            raise InstanceGone("UnsupportedOperation.InstanceStateTerminating", instance_id, request_id)
        if record.state is InstanceState.PENDING:
            raise InstanceBusy("UnsupportedOperation.InstanceStatePending", instance_id, request_id)
        if record.state is InstanceState.LAUNCH_FAILED:
            raise InstanceBusy("UnsupportedOperation.InstanceStateLaunchFailed", instance_id, request_id)
        if record.protected:
            raise TerminationBlocked("UnsupportedOperation.InstancesProtected", instance_id, request_id)
        return record

    def _release(self, record: Record, cause: str, request_id: str) -> None:
        now = self._clock()
        twice = record.state is InstanceState.SHUTDOWN
        record.cause = record.cause or cause
        record.last_operation, record.last_request_id = "TerminateInstances", request_id
        shelf = self.shelves.get(record.pool)
        if shelf is not None and shelf.stock is not None and not twice:
            shelf.stock += 1
        self._move(record, InstanceState.TERMINATING)
        gone_at = now + self.terminating
        record.due = [(gone_at, None)]
        if self.recycle_bin and not twice:
            record.due = [(gone_at, InstanceState.SHUTDOWN), (gone_at + self.recycle_bin, None)]

    def _end(self, ids: Iterable[str], cause: str, state: InstanceState | None) -> None:
        for record in self._records(ids):
            record.cause = cause
            self._move(record, state)

    def _move(self, record: Record, state: InstanceState | None) -> None:
        record.due = []
        self._set_state(record, self._clock(), state)

    def _set_state(self, record: Record, at: datetime, state: InstanceState | None) -> None:
        was_live = record.is_live
        record.history.append((at, state))
        if state is InstanceState.LAUNCH_FAILED:
            record.cause = "launch-failed"
        if was_live != record.is_live:
            self._count(record, -1 if was_live else +1)

    def _count(self, record: Record, step: int) -> None:
        environment = record.owner.environment_id
        self.books.live[environment] += step
        self.books.peak[environment] = max(self.books.peak[environment], self.books.live[environment])

    def _records(self, ids: Iterable[str]) -> list[Record]:
        self.advance()
        return [self._visible[instance_id] for instance_id in ids]

    def _as_of(self, moment: datetime) -> list[Instance]:
        shown = (record.as_of(moment) for record in self._visible.values())
        return [instance for instance in shown if instance is not None]

    def _equipment(self, template: Template) -> Decimal:
        """Per hour: disks by the GiB, 50 of them where no system disk is asked for, and bandwidth by the hour."""
        disks = (template.system_disk or Disk(), *template.data_disks)
        amount = sum(((disk.size or 50) * self.gib_hour for disk in disks), Decimal(0))
        if template.internet_charge_type == "BANDWIDTH_POSTPAID_BY_HOUR":
            amount += self.mbps_hour * (template.internet_max_bandwidth_out or 0)
        return amount

    def _quote(self, pool: Pool) -> Offering:
        shelf = self.shelves[pool]
        sold_out = shelf.stock == 0 and not self.stale_quotes
        return Offering(pool, shelf.price, shelf.list_price, shelf.vcpu, shelf.memory_gib, sold_out)

    def _request_id(self) -> str:
        self._serial += 1
        return f"request-{self._serial}"


class InMemoryClouds:
    """`ProviderFactory` over several accounts and regions; one cloud per key and region, made at first use."""

    def __init__(self, clock: Callable[[], datetime], hook: Hook | None = None) -> None:
        """`clock` and `hook` are given to every cloud."""
        self._clock = clock
        self._hook = hook
        self.clouds: dict[tuple[str, str], InMemoryCloud] = {}

    def __call__(self, credentials: AnyKey, region: str) -> InMemoryCloud:
        """The cloud of this account and region: a key's id is the account, so a rotated key finds its instances."""
        key = (credentials.secret_id, region)
        if key not in self.clouds:
            self.clouds[key] = InMemoryCloud(self._clock, f"{credentials.fingerprint}/{region}", self._hook)
        return self.clouds[key]


def _marks(ownership: Ownership, owner: str) -> dict[str, str]:
    return {CLUSTER_TAG: ownership.cluster_id, ENVIRONMENT_TAG: ownership.environment_id, OWNER_TAG: owner}


def _adoption_mark(ownership: Ownership, instance_id: str) -> str:
    text = f"{ownership.cluster_id}/{ownership.environment_id}/{instance_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _latest(history: Sequence[tuple[datetime, T]], moment: datetime) -> T | None:
    return next((value for at, value in reversed(history) if at <= moment), None)


def _is_named(candidate: str, name: str) -> bool:
    number = candidate.removeprefix(name)
    return candidate == name if not name.endswith("-") else candidate.startswith(name) and number.isdigit()


def _at_most_100(ids: Sequence[str]) -> tuple[str, ...]:
    if not 0 < len(ids) <= 100:
        raise ValueError(f"{len(ids)} ids in one call; it takes 1 to 100")
    return tuple(ids)
