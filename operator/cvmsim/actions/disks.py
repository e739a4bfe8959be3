"""Answers DescribeDisks and TerminateDisks of cbs.

Apart from the cvm actions because it is another product: a disk may outlive its instance, and is billed then.
"""

from collections.abc import Collection, Iterator

from cvmsim.actions.call import Answer, Call, chosen, filters_of, fits, page, tag_facts
from cvmsim.actions.look import utc
from cvmsim.errors import ApiError
from cvmsim.instance import GONE
from cvmsim.storage import Disk, LeftDisk, disks_of
from cvmsim.world import World

FILTERS = frozenset({"disk-usage", "disk-charge-type", "portable", "project-id", "disk-id", "disk-name", "disk-type",
                     "disk-state", "instance-id", "instance-name", "instance-ip-address", "zone", "tag-key",
                     "tag-value", "tag:"})  # fmt: skip


def describe_disks(world: World, call: Call) -> Answer:
    """Answers the disks of the region: those of instances, and those left behind. Source: CBS API, DescribeDisks."""
    ids, filters = chosen(call.params, "DiskIds", "disk", "InvalidParameterValue"), filters_of(call.params, FILTERS)
    found = [disk for disk in _all(world, call) if (not ids or disk.id in ids) and fits(_facts(disk), filters)]
    return {"TotalCount": len(found), "DiskSet": [_row(disk) for disk in page(call.params, found)]}


def _all(world: World, call: Call) -> Iterator[Disk]:
    for instance in world.listed(call.account, call.region).values():
        if instance.state != GONE:
            yield from disks_of(instance)
    yield from world.storage.standing(call.account, call.region)


def _facts(disk: Disk) -> dict[str, Collection[str]]:
    instance = disk.instance
    return {
        "disk-usage": (disk.asked.usage,),
        "disk-charge-type": ("POSTPAID_BY_HOUR",),
        "portable": ("TRUE" if _is_portable(disk) else "FALSE",),
        "project-id": ("0",),
        "disk-id": (disk.id,),
        "disk-name": (disk.asked.name,),
        "disk-type": (disk.asked.type,),
        "disk-state": (_state(disk),),
        "instance-id": (instance.id,) if disk.is_attached else (),
        "instance-name": (instance.name,) if disk.is_attached else (),
        "instance-ip-address": (instance.private_ip, instance.public_ip) if disk.is_attached else (),
        "zone": (instance.order.zone,),
        **tag_facts(instance.tags),
    }


def _state(disk: Disk) -> str:
    return "ATTACHED" if disk.is_attached else "UNATTACHED"


def _is_portable(disk: Disk) -> bool:
    return disk.asked.usage == "DATA_DISK"


def _row(disk: Disk) -> Answer:
    instance, asked = disk.instance, disk.asked
    return {
        "DeleteWithInstance": not asked.is_kept,
        "RenewFlag": "",
        "DiskType": asked.type,
        "DiskState": _state(disk),
        "SnapshotCount": 0,
        "AutoRenewFlagError": False,
        "Rollbacking": False,
        "InstanceIdList": [],
        "Encrypt": bool(asked.asked.get("Encrypt")),
        "DiskName": asked.name,
        "BackupDisk": False,
        "Tags": [{"Key": key, "Value": value} for key, value in instance.tags.items()],
        "InstanceId": instance.id if disk.is_attached else "",
        "AttachMode": "PF",
        "AutoSnapshotPolicyIds": [],
        "ThroughputPerformance": asked.asked.get("ThroughputPerformance") or 0,
        "Migrating": False,
        "DiskId": disk.id,
        "SnapshotSize": 0,
        "Placement": {"Zone": instance.order.zone, "ProjectId": 0},
        "IsReturnable": True,
        "DeadlineTime": "",
        "Attached": disk.is_attached,
        "DiskSize": asked.size,
        "MigratePercent": 0,
        "DiskUsage": asked.usage,
        "DiskChargeType": "POSTPAID_BY_HOUR",
        "Portable": _is_portable(disk),
        "SnapshotAbility": True,
        "DeadlineError": False,
        "RollbackPercent": 0,
        "DifferDaysOfDeadline": 0,
        "ReturnFailCode": 0,
        "Shareable": False,
        "CreateTime": utc(instance.created_at).replace("T", " ").rstrip("Z"),
        "DeleteSnapshot": 0,
    }


def terminate_disks(world: World, call: Call) -> Answer:
    """Ends disks that no instance has, all or none. Source: CBS API, TerminateDisks."""
    ids = chosen(call.params, "DiskIds", "disk", "InvalidParameterValue")
    known = {disk.id: disk for disk in _all(world, call)}
    left: list[LeftDisk] = []
    for one in ids:
        if one not in known:
            raise ApiError("InvalidDiskId.NotFound", f"The disk `{one}` does not exist.")
        if known[one].is_attached:
            raise ApiError("ResourceUnavailable.Attached", f"The disk `{one}` is attached.")
        left.append(world.storage.left[one])
    for disk in left:
        world.end_disk(disk)
    return {}
