"""Keeps disks as objects: those of an instance follow from its order, and those that outlive it stay here, billed.

Apart from `world`, which moves instances. A disk with DeleteWithInstance false is left behind when its instance ends,
until TerminateDisks ends it, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from cvmsim.instance import GONE, DiskOrder, Instance
from cvmsim.market import HOUR

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Disk:
    """`Disk` is one disk as it is now."""

    id: str
    asked: DiskOrder
    instance: Instance

    @property
    def is_attached(self) -> bool:
        """True when its instance still exists."""
        return self.instance.state != GONE


@dataclass(slots=True, eq=False)
class LeftDisk:
    """`LeftDisk` is a disk whose instance has ended. It is billed from then on."""

    disk: Disk
    billed_from: float
    billed_until: float | None = None

    @property
    def per_hour(self) -> Decimal:
        """Returns its price in dollars per hour."""
        return self.disk.asked.per_hour

    def cost(self, now: float) -> Decimal:
        """Returns the dollars that it has cost since its instance ended."""
        until = now if self.billed_until is None else self.billed_until
        return self.per_hour * Decimal(str(until - self.billed_from)) / HOUR


def disks_of(instance: Instance) -> Iterator[Disk]:
    """Yields the disks of an instance, the system disk first."""
    for index, asked in enumerate(instance.order.disks):
        name = instance.id[4:] if index == 0 else f"{instance.id[5:]}{LETTERS[index]}"
        yield Disk(f"disk-{name}", asked, instance)


class Storage:
    """`Storage` holds the disks that outlived their instances, by id."""

    def __init__(self) -> None:
        self.left: dict[str, LeftDisk] = {}

    def leave(self, instance: Instance, now: float) -> list[LeftDisk]:
        """Keeps the disks that must outlive `instance`, which ends now. Returns them."""
        kept = [LeftDisk(disk, now) for disk in disks_of(instance) if disk.asked.is_kept]
        self.left.update({one.disk.id: one for one in kept})
        return kept

    def standing(self, account: str, region: str) -> Iterator[Disk]:
        """Yields the disks of an account and region that lost their instance and are not ended yet."""
        for one in self.left.values():
            order = one.disk.instance.order
            is_there = one.billed_until is None and not one.disk.is_attached
            if is_there and (order.account, order.region) == (account, region):
                yield one.disk
