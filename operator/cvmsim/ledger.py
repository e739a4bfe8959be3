"""Records every request, token, instance, second and dollar as they were, not as an answer showed them.

Apart from `world`: tests read the ledger, the API never does. The owner of an instance is decided by its original tags,
even if they were overwritten later.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cvmsim.actions.call import Params, digest
from cvmsim.actions.look import utc
from cvmsim.instance import GONE, Instance
from cvmsim.storage import LeftDisk
from cvmsim.tokens import TokenRecord
from cvmsim.world import World

READS_KEPT = 50_000  # number of reading requests that are kept; requests that may change something are all kept
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """`Request` is one request as it arrived and ended. `code` is empty after success. `fault` names an injected fault.

    `commit` is the world's commit count afterwards, so that requests and changes of instances have one order.
    """

    seq: int
    time: float
    service: str
    action: str
    region: str
    account: str | None
    request_id: str
    params: Params
    code: str
    instance_ids: tuple[str, ...]
    fault: str
    commit: int


class Ledger:
    """`Ledger` is given every request, and reads tokens and instances from the world."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self._seed = world, seed
        self._changing: deque[Request] = deque()
        self._reading: deque[Request] = deque(maxlen=READS_KEPT)
        self.calls: Counter[tuple[str, str]] = Counter()  # (action, code)
        self.seq = 0

    def record(self, request: Request) -> None:
        """Adds one request."""
        is_reading = request.action.startswith(("Describe", "Inquiry"))
        (self._reading if is_reading else self._changing).append(request)
        self.calls[request.action, request.code or request.fault or "OK"] += 1

    def next_seq(self) -> int:
        """Returns the number of the next request."""
        self.seq += 1
        return self.seq

    def requests(self) -> Iterator[Request]:
        """Yields all requests that are kept, in order of arrival."""
        yield from sorted((*self._changing, *self._reading), key=lambda request: request.seq)

    def export(self) -> Row:
        """Returns everything. Times are world seconds (since 1970, UTC), money is dollars as decimal text."""
        return {
            "seed": self._seed,
            "now": self._world.now,
            "commits": self._world.commits,
            "requests": [_request_row(request) for request in self.requests()],
            "tokens": [_token_row(record) for record in self._world.tokens],
            "instances": [self.instance_row(one) for one in self._world.instances.values()],
            "disks": [self._disk_row(left) for left in self._world.storage.left.values()],
        }

    def instance_row(self, one: Instance) -> Row:
        """Returns all facts about one instance, its bill included."""
        order = one.order
        return {
            "id": one.id,
            "account": order.account,
            "region": order.region,
            "zone": order.zone,
            "type": order.type.name,
            "vcpu": order.type.cpu,
            "memoryGib": order.type.memory,
            "gpus": order.type.gpus,
            "chargeType": order.charge_type,
            "bid": None if order.bid is None else str(order.bid),
            "name": one.name,
            "state": one.state,
            "live": one.is_live,
            "originalTags": dict(order.tags),
            "tags": dict(one.tags),
            "token": order.token,
            "requestId": order.request_id,
            "imageId": order.image_id,
            "subnetId": order.subnet.id,
            "privateIp": one.private_ip,
            "protected": one.is_protected,
            "reclaimAt": one.reclaim_at,
            "createdAt": one.created_at,
            "createdTime": utc(one.created_at),
            "goneAt": one.changes[-1].time if one.state == GONE else None,
            "changes": [change._asdict() for change in one.changes],
            "price": str(self._world.machine_per_hour(order)),
            "extras": str(order.extras_per_hour),
            "billedSeconds": self._billed_seconds(one),
            "cost": dollars(self._world.cost(one)),
        }

    def _disk_row(self, left: LeftDisk) -> Row:
        """Returns a disk that outlived its instance, with what it has cost since then."""
        until = self._world.now if left.billed_until is None else left.billed_until
        return {
            "id": left.disk.id,
            "account": left.disk.instance.order.account,
            "instanceId": left.disk.instance.id,
            "type": left.disk.asked.type,
            "size": left.disk.asked.size,
            "ended": left.billed_until is not None,
            "billedSeconds": until - left.billed_from,
            "cost": dollars(left.cost(self._world.now)),
        }

    def _billed_seconds(self, one: Instance) -> float:
        if one.billed_from is None:
            return 0.0
        return (self._world.now if one.billed_until is None else one.billed_until) - one.billed_from

    def summary(self) -> Row:
        """Returns totals, and for each original tag (`key=value`) how many live now and how many lived at most."""
        world, instances = self._world, self._world.instances.values()
        states = Counter(instance.state for instance in instances)
        return {
            "seed": self._seed,
            "now": world.now,
            "commits": world.commits,
            "requests": self.seq,
            "calls": {f"{action} {code}": count for (action, code), count in sorted(self.calls.items())},
            "launched": len(world.instances),
            "live": sum(world.live.values()),
            "states": dict(sorted(states.items())),
            "cost": dollars(sum((world.cost(one) for one in instances), start=Decimal(0))),
            "disksLeft": sum(left.billed_until is None for left in world.storage.left.values()),
            "disksCost": dollars(sum((left.cost(world.now) for left in world.storage.left.values()), start=Decimal(0))),
            "billedSeconds": sum(self._billed_seconds(one) for one in instances),
            "tags": {
                f"{key}={value}": {"live": world.live_by_tag[key, value], "peak": peak}
                for (key, value), peak in sorted(world.peak_by_tag.items())
            },
        }


def dollars(amount: Decimal) -> str:
    """Returns an amount as text with eight decimals."""
    return f"{amount:.8f}"


def _request_row(request: Request) -> Row:
    return {
        "seq": request.seq,
        "time": request.time,
        "service": request.service,
        "action": request.action,
        "region": request.region,
        "account": request.account,
        "requestId": request.request_id,
        "params": request.params,
        "digest": digest(request.params),
        "token": request.params.get("ClientToken") or "",
        "code": request.code,
        "fault": request.fault,
        "instanceIds": list(request.instance_ids),
        "commit": request.commit,
    }


def _token_row(record: TokenRecord) -> Row:
    return {
        "token": record.token,
        "account": record.account,
        "region": record.region,
        "digest": record.digest,
        "createdAt": record.created_at,
        "requestId": record.request_id,
        "instanceIds": list(record.instance_ids),
        "refusal": record.refusal.code if record.refusal else "",
        "replays": list(record.replays),
    }
