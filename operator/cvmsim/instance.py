"""Defines `Instance`: one machine and its whole history.

Apart from `world`, which moves instances. The history is kept here, so that lists that lag, the ledger and the bill all
read one record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from cvmsim.catalog import InstanceType, Subnet

PENDING, RUNNING, LAUNCH_FAILED = "PENDING", "RUNNING", "LAUNCH_FAILED"
STOPPING, STOPPED, STARTING = "STOPPING", "STOPPED", "STARTING"
TERMINATING, SHUTDOWN, GONE = "TERMINATING", "SHUTDOWN", "GONE"  # GONE is ours: the vendor stops listing it

LIVE = frozenset({PENDING, RUNNING, STOPPING, STOPPED, STARTING})  # uses stock and quota; is billed from RUNNING on
SPOT = "SPOTPAID"
ON_DEMAND = "POSTPAID_BY_HOUR"


class Change(NamedTuple):
    """`Change` is one entry of an instance's history.

    `commit` orders changes of the same instant in the whole world.
    """

    time: float
    state: str
    cause: str
    commit: int


class Operation(NamedTuple):
    """`Operation` is what LatestOperation shows: the action, its RequestId, SUCCESS / OPERATING / FAILED, and the
    error.
    """

    name: str
    request_id: str
    state: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class DiskOrder:
    """`DiskOrder` is one disk that an order asks for. `per_hour` is in dollars, never discounted."""

    usage: str  # SYSTEM_DISK or DATA_DISK
    type: str
    size: int
    per_hour: Decimal
    name: str = ""
    is_kept: bool = False  # DeleteWithInstance is false
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Order:
    """`Order` is what one accepted RunInstances asked for, checked and shared by its instances.

    `template` is the raw request.
    """

    account: str
    region: str
    zone: str
    type: InstanceType
    charge_type: str
    bid: Decimal | None
    subnet: Subnet
    security_groups: tuple[str, ...]
    tags: Mapping[str, str]
    image_id: str
    os_name: str
    template: Mapping[str, Any]
    request_id: str
    token: str
    is_protected: bool = False
    ends_at: float | None = None  # the ActionTimer's moment, world seconds
    disks: tuple[DiskOrder, ...] = ()  # the system disk first
    bandwidth_per_hour: Decimal = Decimal(0)
    private_ips: tuple[str, ...] = ()  # those that the request wants; otherwise the subnet's next ones
    has_public_ip: bool = False

    @property
    def disks_per_hour(self) -> Decimal:
        """Returns the price of the disks, in dollars per hour. It is never discounted."""
        return sum((disk.per_hour for disk in self.disks), Decimal(0))

    @property
    def extras_per_hour(self) -> Decimal:
        """Returns the price of disks and bandwidth, in dollars per hour. It is never discounted."""
        return self.disks_per_hour + self.bandwidth_per_hour


@dataclass(slots=True, eq=False)
class Instance:
    """`Instance` is one machine. `tags` may be edited later. Its order keeps the original tags."""

    id: str
    uuid: str
    name: str
    host_name: str
    order: Order
    private_ip: str
    created_at: float
    tags_readable_at: float
    tags: Mapping[str, str]
    is_protected: bool
    security_groups: tuple[str, ...]
    public_ip: str = ""  # assigned, and lost with the instance
    user_data: str = ""
    changes: list[Change] = field(default_factory=list)
    operation: Operation | None = None
    releases_address: bool = False  # TerminateInstances said ReleaseAddress
    reclaim_at: float | None = None  # the notice: when the cloud takes it
    billed_from: float | None = None
    billed_until: float | None = None
    #: What answers show of it and never changes, once it has been shown: each list shows every instance anew.
    shape: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def state(self) -> str:
        """Returns its current state."""
        return self.changes[-1].state

    @property
    def is_live(self) -> bool:
        """True when it uses stock and quota."""
        return self.state in LIVE

    def state_at(self, moment: float) -> str:
        """Returns its state at `moment` (world seconds). GONE before it existed and after it ended."""
        for change in reversed(self.changes):
            if change.time <= moment:
                return change.state
        return GONE
