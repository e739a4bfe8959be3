"""Answers DescribeInstances and DescribeInstancesStatus: the world as a customer sees it, with the lag of the switches.

Apart from the actions that change instances, because this module changes nothing.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from cvmsim.actions.call import Answer, Call, filters_of, instance_ids_of, page_of
from cvmsim.errors import ApiError
from cvmsim.instance import GONE, SHUTDOWN, SPOT, TERMINATING, Instance, Order
from cvmsim.storage import Disk, disks_of
from cvmsim.world import World

Predicate = Callable[[Instance, list[str]], bool]

FILTERS: Mapping[str, Predicate] = {
    "zone": lambda instance, values: instance.order.zone in values,
    "project-id": lambda instance, values: str(_placement(instance).get("ProjectId") or 0) in values,
    "host-id": lambda instance, values: False,
    "dedicated-cluster-id": lambda instance, values: False,
    "vpc-id": lambda instance, values: instance.order.subnet.vpc in values,
    "subnet-id": lambda instance, values: instance.order.subnet.id in values,
    "instance-id": lambda instance, values: instance.id in values,
    "uuid": lambda instance, values: instance.uuid in values,
    "security-group-id": lambda instance, values: any(group in values for group in instance.security_groups),
    "instance-name": lambda instance, values: instance.name in values,
    "private-ip-address": lambda instance, values: instance.private_ip in values,
    "public-ip-address": lambda instance, values: instance.public_ip in values,
    "ipv6-address": lambda instance, values: False,
}
JUDGED_HERE = ("instance-charge-type", "instance-state", "tag-key", "tag-value", "creation-start-time",
               "creation-end-time", "tag:")  # fmt: skip
IPV6 = 0x24024E001717  # the first 48 bits; nothing is sent there
#: What an order may ask of a disk, and an answer repeats.
ASKED_OF_DISKS = ("Encrypt", "KmsKeyId", "SnapshotId", "ThroughputPerformance", "BurstPerformance")
KNOWN_FILTERS = frozenset(FILTERS) | frozenset(JUDGED_HERE)


def describe_instances(world: World, call: Call) -> Answer:
    """Answers one page of instances, by ids or by filters. Source: CVM API 2017-03-12, DescribeInstances."""
    offset, limit = page_of(call.params)
    moment, found = _select(world, call)
    page = found[offset : offset + limit]
    return {"TotalCount": len(found), "InstanceSet": [render(world, instance, moment) for instance in page]}


def describe_instances_status(world: World, call: Call) -> Answer:
    """Answers ids and states only. Ids that do not exist are left out. Source: DescribeInstancesStatus."""
    offset, limit = page_of(call.params)
    moment, found = _select(world, call)
    page = found[offset : offset + limit]
    statuses = [{"InstanceId": instance.id, "InstanceState": instance.state_at(moment)} for instance in page]
    return {"TotalCount": len(found), "InstanceStatusSet": statuses}


def describe_instances_attributes(world: World, call: Call) -> Answer:
    """Answers the user data of instances as it was given. Source: DescribeInstancesAttributes."""
    unknown = [name for name in call.params["Attributes"] if name != "UserData"]
    if unknown or not call.params["Attributes"]:
        raise ApiError("InvalidParameterValue", "The only attribute is UserData.")
    ids = instance_ids_of(call.params, world.switches["malformed-id"])
    found = [world.find(call.account, call.region, one) for one in ids]
    rows = [{"InstanceId": one.id, "Attributes": {"UserData": one.user_data}} for one in found]
    return {"InstanceSet": rows}


def _select(world: World, call: Call) -> tuple[float, list[Instance]]:
    """Returns the moment that the answer shows, and the instances in it, in order."""
    ids = instance_ids_of(call.params, world.switches["malformed-id"])
    if ids and call.params.get("Filters"):
        raise ApiError("InvalidParameter", "`InstanceIds` and `Filters` must not be given together.")
    if ids:
        moment = world.now - world.switches.number("id-lag")
        return moment, _by_ids(world, call, ids, moment)
    moment = world.now - world.switches.number("list-lag")
    return moment, _in_order(world, _by_filters(world, call, moment))


def _by_ids(world: World, call: Call, ids: list[str], moment: float) -> list[Instance]:
    listed = world.listed(call.account, call.region)
    found = [listed[one] for one in ids if one in listed and listed[one].state_at(moment) != GONE]
    if len(found) < len(ids) and world.switches["unknown-id"] == "error":
        absent = next(one for one in ids if one not in {instance.id for instance in found})
        raise ApiError("InvalidInstanceId.NotFound", f"The instance `{absent}` does not exist.")
    return found


def _by_filters(world: World, call: Call, moment: float) -> list[Instance]:
    filters = filters_of(call.params, KNOWN_FILTERS)
    tag = next((name for name in filters if name.startswith("tag:")), None)
    if tag is None:
        candidates = world.listed(call.account, call.region)
    else:
        candidates = world.tagged(call.account, call.region, tag[4:], filters[tag])
    tests = [_test(world, name, values, moment) for name, values in filters.items()]
    return [one for one in candidates.values() if one.state_at(moment) != GONE and all(test(one) for test in tests)]


def _test(world: World, name: str, values: list[str], moment: float) -> Callable[[Instance], bool]:
    """Returns one filter as a test of an instance. Tags count only once they are readable."""
    if name.startswith("tag:"):
        key = name[4:]
        return lambda one: one.tags_readable_at <= world.now and one.tags.get(key) in values
    if name in ("tag-key", "tag-value"):
        words = Mapping.keys if name == "tag-key" else Mapping.values
        return lambda one: one.tags_readable_at <= world.now and any(word in values for word in words(one.tags))
    if name == "instance-state":
        return lambda one: one.state_at(moment) in values
    if name == "instance-charge-type":
        return _charge_type_test(world.switches["spot-charge-type-filter"], values)
    if name == "creation-start-time":
        return lambda one: one.created_at >= _moment(values[0])
    if name == "creation-end-time":
        return lambda one: one.created_at <= _moment(values[0])
    return lambda one: FILTERS[name](one, values)


def _charge_type_test(setting: str, values: list[str]) -> Callable[[Instance], bool]:
    if SPOT not in values or setting == "works":
        return lambda one: one.order.charge_type in values
    if setting == "refused":
        raise ApiError("InvalidFilter", f"The filter `instance-charge-type` does not know {SPOT}.")
    return lambda one: setting == "ignored"


def _moment(word: str) -> float:
    try:
        return datetime.strptime(word, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError as problem:
        raise ApiError("InvalidParameterValue.InvalidTimeFormat", f"`{word}` is not YYYY-MM-DD hh:mm:ss.") from problem


def _in_order(world: World, found: list[Instance]) -> list[Instance]:
    order = world.switches["order"]
    if order == "shuffled":
        return world.shuffled(found)
    return found[::-1] if order == "newest-first" else found


# --- rendering ------------------------------------------------------------------------------------


def render(world: World, instance: Instance, moment: float) -> Answer:
    """Returns one Instance as the vendor writes it, in its state at `moment`."""
    order, state = instance.order, instance.state_at(moment)
    is_readable = instance.tags_readable_at <= world.now
    host_name = {"HostName": instance.host_name} if world.switches["site"] == "mainland" else {}
    return _shape_of(instance) | _operation(instance) | host_name | {
        "InstanceState": state,
        "RestrictState": "PROTECTIVELY_ISOLATED" if state == SHUTDOWN else "NORMAL",
        "IsolatedSource": "MANMADE" if state == SHUTDOWN and instance.reclaim_at is None else "NOTISOLATED",
        "StopChargingMode": "NOT_APPLICABLE" if order.charge_type == SPOT else "KEEP_CHARGING",
        "InstanceName": instance.name,
        "Tags": [{"Key": key, "Value": value} for key, value in instance.tags.items()] if is_readable else [],
        "DisableApiTermination": instance.is_protected,
        "SecurityGroupIds": list(instance.security_groups),
        "PrivateIpAddresses": [] if state == TERMINATING else [instance.private_ip],
        "PublicIpAddresses": None if state == TERMINATING else _public_ips(world, instance),
        "CreatedTime": utc(instance.created_at),
    }  # fmt: skip


@lru_cache(4096)  # every answer repeats the instances' creation times
def utc(moment: float) -> str:
    """Returns world seconds as the vendor writes times: YYYY-MM-DDThh:mm:ssZ."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _operation(instance: Instance) -> Answer:
    operation = instance.operation
    return {
        "LatestOperation": operation.name if operation else None,
        "LatestOperationState": operation.state if operation else None,
        "LatestOperationRequestId": operation.request_id or None if operation else None,
        "LatestOperationErrorMsg": operation.message or None if operation else None,
    }


def _shape_of(instance: Instance) -> Answer:
    """Returns the fields of an instance that never change. They are made once."""
    if instance.shape is None:
        instance.shape = _new_shape(instance)
    return dict(instance.shape)


def _new_shape(instance: Instance) -> Answer:
    order, template = instance.order, instance.order.template
    system, *data = disks_of(instance)
    return {
        "Placement": {"Zone": order.zone, "ProjectId": _placement(instance).get("ProjectId") or 0},
        "InstanceId": instance.id,
        "Uuid": instance.uuid,
        "InstanceType": order.type.name,
        "CPU": order.type.cpu,
        "Memory": order.type.memory,
        "GPUInfo": _gpu(instance),
        "InstanceChargeType": order.charge_type,
        "ImageId": order.image_id,
        "OsName": order.os_name,
        "SystemDisk": _disk(system),
        "DataDisks": [_disk(disk) | {"DeleteWithInstance": not disk.asked.is_kept} for disk in data],
        "InternetAccessible": _internet(order),
        "VirtualPrivateCloud": {"VpcId": order.subnet.vpc, "SubnetId": order.subnet.id, "AsVpcGateway": False},
        "LoginSettings": {"KeyIds": (template.get("LoginSettings") or {}).get("KeyIds") or []},
        "DefaultLoginUser": "root",
        "DefaultLoginPort": 22,
        "CamRoleName": template.get("CamRoleName") or "",
        "DisasterRecoverGroupId": next(iter(template.get("DisasterRecoverGroupIds") or ()), ""),
        "DisasterRecoverGroupIds": template.get("DisasterRecoverGroupIds") or [],
        "HpcClusterId": "",
        "RdmaIpAddresses": [],
        "DedicatedClusterId": "",
        "PartitionNumber": template.get("PartitionNumber") or 0,
        "EnableJumboFrame": bool(template.get("EnableJumboFrame")),
        "RenewFlag": None,
        "ExpiredTime": None,
        "IPv6Addresses": _ipv6(instance),
        "Metadata": template.get("Metadata") or {"Items": []},
        "LicenseType": "TencentCloud",
    }


def _placement(instance: Instance) -> Mapping[str, Any]:
    placement: Mapping[str, Any] = instance.order.template["Placement"]
    return placement


def _gpu(instance: Instance) -> Answer | None:
    type = instance.order.type
    return {"GPUCount": float(type.gpus), "GPUId": [], "GPUType": type.gpu_type} if type.gpus else None


def _disk(disk: Disk) -> Answer:
    asked = disk.asked.asked
    shown = {"DiskType": disk.asked.type, "DiskSize": disk.asked.size, "DiskId": disk.id, "DiskName": disk.asked.name}
    return shown | {name: asked[name] for name in ASKED_OF_DISKS if asked.get(name) is not None}


def _internet(order: Order) -> Answer:
    internet = order.template.get("InternetAccessible") or {}
    shown = {
        "InternetChargeType": internet.get("InternetChargeType") or "TRAFFIC_POSTPAID_BY_HOUR",
        "InternetMaxBandwidthOut": internet.get("InternetMaxBandwidthOut") or 0,
        "PublicIpAssigned": order.has_public_ip,
    }
    package = internet.get("BandwidthPackageId")
    return shown | {"BandwidthPackageId": package} if package else shown


def _ipv6(instance: Instance) -> list[str] | None:
    """Returns as many IPv6 addresses as were asked for, each of this instance alone. None without any."""
    network = instance.order.template.get("VirtualPrivateCloud") or {}
    private = int(IPv4Address(instance.private_ip))
    found = [str(IPv6Address((IPV6 << 80) | (private << 16) | n)) for n in range(network.get("Ipv6AddressCount") or 0)]
    return found or None


def _public_ips(world: World, instance: Instance) -> list[str] | None:
    """Returns its public addresses; an elastic one takes the place of the assigned one. None when it has none."""
    if world.addresses.elastic and (bound := world.addresses.bound_to(instance.id)):
        return [one.address for one in bound]
    return [instance.public_ip] if instance.public_ip else None
