"""Reads environments as the API server returns them, and keeps what the pages list of each. It is pure.

Apart from `rows`, which puts what is read here into words. Every field of an object may be missing or odd, because the
object exists before the operator has seen it, and because its definition may be older than this program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Object = Mapping[str, Any]

#: Shown as phase while the operator has not written any status.
NOT_SEEN = "Not seen yet"

#: Parts of an object that no page shows. The ledger and managedFields are most of its bytes.
UNSHOWN = ("ledger",)

#: Causes of losses that are the spot market's doing.
RECLAIMS = frozenset({"Reclaimed"})


@dataclass(frozen=True, slots=True)
class Pool:
    """`Pool` is an instance type in a zone, as one environment's status last told of it."""

    region: str
    zone: str
    instance_type: str
    currency: str
    price: Decimal | None
    list_price: Decimal | None
    stock: str
    state: str

    @property
    def name(self) -> str:
        """Returns `type@zone`."""
        return f"{self.instance_type}@{self.zone}"


@dataclass(frozen=True, slots=True)
class Machine:
    """`Machine` is one instance of one environment."""

    id: str
    environment: str
    state: str
    is_ready: bool
    instance_type: str
    zone: str
    price: str
    is_on_demand: bool
    launched_at: datetime | None
    private_ip: str
    public_ip: str
    note: str


@dataclass(frozen=True, slots=True)
class Summary:
    """`Summary` is what lists show of an environment. It is small: a page holds one for each of thousands."""

    key: str
    namespace: str
    name: str
    uid: str
    region: str
    phase: str
    reason: str
    message: str
    wanted: int
    ready: int
    reclaimed: int
    per_hour: Decimal | None
    currency: str
    next_attempt: datetime | None
    is_paused: bool
    is_deleting: bool
    is_behind: bool
    pools: tuple[Pool, ...]
    machines: tuple[Machine, ...]

    @property
    def missing(self) -> int:
        """Returns how many instances it lacks."""
        return max(0, self.wanted - self.ready)


def slim(obj: Object) -> dict[str, Any]:
    """Returns the object without the parts that no page shows."""
    kept = dict(obj)
    kept["metadata"] = {key: value for key, value in mapping(obj.get("metadata")).items() if key != "managedFields"}
    if isinstance(obj.get("status"), Mapping):
        kept["status"] = {key: value for key, value in obj["status"].items() if key not in UNSHOWN}
    return kept


def key_of(obj: Object) -> str:
    """Returns `namespace/name`."""
    metadata = mapping(obj.get("metadata"))
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def summary_of(obj: Object) -> Summary:
    """Returns what lists show of an environment."""
    metadata, spec, status = mapping(obj.get("metadata")), mapping(obj.get("spec")), status_of(obj)
    cost = mapping(status.get("cost"))
    is_deleting = bool(metadata.get("deletionTimestamp"))
    generation, observed = number(metadata.get("generation"), 1), number(status.get("observedGeneration"), -1)
    return Summary(
        key=key_of(obj),
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        uid=text(metadata.get("uid")),
        region=text(spec.get("region")),
        phase=text(status.get("phase")) or (NOT_SEEN if not is_deleting else "Deleting"),
        reason=text(status.get("reason")),
        message=text(condition(obj, "Ready").get("message")),
        wanted=0 if is_deleting else number(spec.get("replicas")),
        ready=number(status.get("readyReplicas")),
        reclaimed=number(status.get("reclaimed")),
        per_hour=decimal(cost.get("perHour")),
        currency=text(cost.get("currency")),
        next_attempt=moment(status.get("nextAttemptTime")),
        is_paused=spec.get("paused") is True,
        is_deleting=is_deleting,
        is_behind=observed < generation,
        pools=tuple(_pools(spec, status)),
        machines=tuple(machines_of(obj)),
    )


def _pools(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Pool]:
    region = text(spec.get("region"))
    currency = text(mapping(status.get("cost")).get("currency")) or text(mapping(status.get("quote")).get("currency"))
    for one in items(status.get("pools")):
        yield Pool(
            region=region,
            zone=text(one.get("zone")),
            instance_type=text(one.get("instanceType")),
            currency=currency,
            price=decimal(one.get("pricePerHour")),
            list_price=decimal(one.get("onDemandPricePerHour")),
            stock=text(one.get("stock")),
            state=text(one.get("state")),
        )


def machines_of(obj: Object) -> Iterator[Machine]:
    """Yields the instances in status; of very large environments those that status names by id alone follow."""
    status, key = status_of(obj), key_of(obj)
    shown: set[str] = set()
    for one in items(status.get("instances")):
        shown.add(text(one.get("id")))
        yield Machine(
            id=text(one.get("id")),
            environment=key,
            state=text(one.get("state")),
            is_ready=one.get("ready") is True,
            instance_type=text(one.get("instanceType")),
            zone=text(one.get("zone")),
            price=text(one.get("pricePerHour")),
            is_on_demand=one.get("onDemand") is True,
            launched_at=moment(one.get("launchedAt")),
            private_ip=text(one.get("privateIP")),
            public_ip=text(one.get("publicIP")),
            note=text(one.get("note")),
        )
    ids = status.get("instanceIDs")
    for name in sorted({text(one) for one in ids} - shown) if isinstance(ids, list) else ():
        yield Machine(name, key, "", False, "", "", "", False, None, "", "", "")


def reclaims_of(obj: Object) -> list[tuple[datetime, int]]:
    """Returns when the cloud took instances back, and how many each time, as far as the activity log reaches."""
    found = []
    for line in items(status_of(obj).get("activities")):
        at = moment(line.get("endTime")) or moment(line.get("startTime"))
        if line.get("type") == "Loss" and line.get("cause") in RECLAIMS and at:
            ids = line.get("instanceIds")
            found.append((at, len(ids) if isinstance(ids, list) and ids else 1))
    return found


def launch_prices_of(obj: Object) -> list[tuple[datetime, str, Decimal]]:
    """Returns the market's prices at launches, with the pool of each, as far as the activity log reaches."""
    found = []
    for line in items(status_of(obj).get("activities")):
        at, price = moment(line.get("startTime")), decimal(line.get("pricePerHour"))
        if line.get("type") == "Launch" and at and price is not None:
            found.append((at, f"{text(line.get('instanceType'))}@{text(line.get('zone'))}", price))
    return found


def spent_until(obj: Object, now: datetime) -> Decimal | None:
    """Returns what was spent until `now`: the status sums up when the rate changes, and from then the rate applies.

    None when status does not say.
    """
    cost = mapping(status_of(obj).get("cost"))
    accrued, at = decimal(cost.get("accrued")), moment(cost.get("accruedAt"))
    if accrued is None or at is None:
        return None
    hours = Decimal(max(0, int((now - at).total_seconds()))) / 3600
    return accrued + (decimal(cost.get("perHour")) or Decimal(0)) * hours


def condition(obj: Object, kind: str) -> Mapping[str, Any]:
    """Returns one condition of an object. It is empty when it is not there."""
    return next((one for one in items(status_of(obj).get("conditions")) if one.get("type") == kind), {})


def status_of(obj: Object) -> Mapping[str, Any]:
    """Returns the status. It is empty when there is none yet."""
    return mapping(obj.get("status"))


def mapping(value: Any) -> Mapping[str, Any]:
    """Returns the value when it is a mapping, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Mapping[str, Any]]:
    """Returns the mappings of a list, and none when it is no list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """Returns the value as text, and an empty text for None."""
    return "" if value is None else str(value)


def number(value: Any, default: int = 0) -> int:
    """Returns the value when it is a whole number, otherwise the default."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def decimal(value: Any) -> Decimal | None:
    """Returns an amount. None when the value is none."""
    try:
        found = Decimal(value) if isinstance(value, str | int) else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None


def moment(value: Any) -> datetime | None:
    """Returns a time of Kubernetes, always with its zone. None when the value is none."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found
