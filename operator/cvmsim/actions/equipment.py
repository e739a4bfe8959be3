"""Judges what a machine is ordered with: disks, internet access, and private addresses.

Apart from `order`, which judges the machine itself.
"""

from collections.abc import Mapping
from decimal import Decimal
from ipaddress import AddressValueError, IPv4Address

from cvmsim.actions.call import Params
from cvmsim.catalog import Subnet
from cvmsim.errors import ApiError
from cvmsim.instance import DiskOrder
from cvmsim.world import World

DISK_TYPES = frozenset({"LOCAL_BASIC", "LOCAL_SSD", "CLOUD_BASIC", "CLOUD_SSD", "CLOUD_PREMIUM", "CLOUD_BSSD",
                        "CLOUD_HSSD", "CLOUD_TSSD"})  # fmt: skip
DEFAULT_DISK, DEFAULT_DISK_SIZE, DISK_NAME_MAX = "CLOUD_PREMIUM", 50, 128
TRAFFIC, BY_HOUR = "TRAFFIC_POSTPAID_BY_HOUR", "BANDWIDTH_POSTPAID_BY_HOUR"
#: The internet charge types by the site of the account.
INTERNET_TYPES = {
    "mainland": frozenset({"BANDWIDTH_PREPAID", TRAFFIC, BY_HOUR, "BANDWIDTH_PACKAGE"}),
    "international": frozenset({TRAFFIC, "BANDWIDTH_PACKAGE"}),
}
PRIVATE_IPS_MAX = 20


# --- disks ----------------------------------------------------------------------------------------


def check_disks(world: World, params: Params) -> None:
    """Raises ApiError when a disk has a wrong type, size or name."""
    system = params.get("SystemDisk") or {}
    if world.switches["site"] == "international":
        for name in ("Encrypt", "KmsKeyId"):
            if system.get(name) is not None:
                raise ApiError("UnknownParameter", f"The parameter `SystemDisk.{name}` is not recognized.")
    check_disk(system)
    size = system.get("DiskSize")
    if size is not None and not 20 <= size <= 2048:
        raise ApiError("InvalidParameterValue.Range", f"A system disk has 20 to 2048 GiB, not {size}.")
    disks = params.get("DataDisks") or []
    if len(disks) > 21:
        raise ApiError("InvalidParameterValue.LimitExceeded", f"At most 21 `DataDisks`, not {len(disks)}.")
    for disk in disks:
        check_disk(disk)
        if disk["DiskSize"] % 10 or not 10 <= disk["DiskSize"] <= 32000:
            raise ApiError(
                "InvalidParameterValue.Range",
                f"A data disk has 10 to 32000 GiB in steps of 10, not {disk['DiskSize']}.",
            )


def check_disk(disk: Params) -> None:
    """Raises ApiError when the type of a disk does not exist, its name is too long, or its key has no lock."""
    if disk.get("DiskType") is not None and disk["DiskType"] not in DISK_TYPES:
        raise ApiError("InvalidParameterValue", f"The disk type `{disk['DiskType']}` does not exist.")
    if len((disk.get("DiskName") or "").encode()) > DISK_NAME_MAX:
        raise ApiError("InvalidParameterValue.TooLarge", f"`DiskName` has more than {DISK_NAME_MAX} bytes.")
    if disk.get("KmsKeyId") and not disk.get("Encrypt"):
        raise ApiError("InvalidParameter.ParameterConflict", "`KmsKeyId` needs `Encrypt`.")


def disks_of(world: World, params: Params) -> tuple[DiskOrder, ...]:
    """Returns the disks of one instance, the system disk first. There is always one."""
    system = _disk_order(world, "SYSTEM_DISK", params.get("SystemDisk") or {})
    return (system, *(_disk_order(world, "DATA_DISK", disk) for disk in params.get("DataDisks") or []))


def _disk_order(world: World, usage: str, disk: Mapping[str, object]) -> DiskOrder:
    type, size = disk.get("DiskType") or DEFAULT_DISK, disk.get("DiskSize") or DEFAULT_DISK_SIZE
    prices = world.catalog.tariff.disks
    return DiskOrder(
        usage=usage,
        type=str(type),
        size=int(str(size)),
        per_hour=prices.get(str(type), Decimal(0)) * int(str(size)),
        name=str(disk.get("DiskName") or ""),
        is_kept=usage == "DATA_DISK" and disk.get("DeleteWithInstance") is False,
        asked=disk,
    )


# --- the internet ---------------------------------------------------------------------------------


def check_internet(world: World, params: Params) -> None:
    """Raises ApiError when the internet access is not possible."""
    internet = params.get("InternetAccessible") or {}
    mode, site = internet.get("InternetChargeType"), world.switches["site"]
    if mode is not None and mode not in INTERNET_TYPES[site]:
        raise ApiError("InvalidParameterValue", f"The `InternetChargeType` `{mode}` does not exist on this site.")
    if internet.get("PublicIpAssigned") and not internet.get("InternetMaxBandwidthOut"):
        raise ApiError(
            "InvalidParameterCombination",
            "`PublicIpAssigned` needs bandwidth: `InternetMaxBandwidthOut` is 0, so no public address is possible.",
        )
    if (internet.get("InternetMaxBandwidthOut") or 0) < 0:
        raise ApiError("InvalidParameterValue.Range", "`InternetMaxBandwidthOut` must not be negative.")
    check_package(internet)


def check_package(internet: Params) -> None:
    """Raises ApiError when a bandwidth package is needed and missing, malformed, or given without use."""
    package, is_wanted = internet.get("BandwidthPackageId"), internet.get("InternetChargeType") == "BANDWIDTH_PACKAGE"
    if package and not is_wanted:
        raise ApiError("InvalidParameterCombination", "`BandwidthPackageId` needs the charge type BANDWIDTH_PACKAGE.")
    if package and not package.startswith("bwp-"):
        raise ApiError("InvalidParameterValue.BandwidthPackageIdMalformed", f"`{package}` is malformed.")
    if is_wanted and not package:
        raise ApiError("MissingParameter", "The charge type BANDWIDTH_PACKAGE needs `BandwidthPackageId`.")


def has_public_ip(params: Params) -> bool:
    """True when an instance gets a public address: with bandwidth, unless the request says no."""
    internet = params.get("InternetAccessible") or {}
    return bool(internet.get("InternetMaxBandwidthOut")) and internet.get("PublicIpAssigned") is not False


def bandwidth_per_hour_of(world: World, params: Params) -> Decimal:
    """Returns the price of the bandwidth of one instance, in dollars per hour. 0 when traffic is paid instead."""
    internet = params.get("InternetAccessible") or {}
    if internet.get("InternetChargeType") != BY_HOUR:
        return Decimal(0)
    return world.catalog.tariff.mbps_hour * int(internet.get("InternetMaxBandwidthOut") or 0)


def pays_for_traffic(params: Params) -> bool:
    """True when traffic out is paid by the gigabyte. This is so when bandwidth is requested without a charge type."""
    internet = params.get("InternetAccessible") or {}
    mode = internet.get("InternetChargeType") or TRAFFIC
    return bool(internet.get("InternetMaxBandwidthOut")) and mode == TRAFFIC


# --- private addresses ----------------------------------------------------------------------------


def private_ips_of(world: World, params: Params, subnet: Subnet) -> tuple[str, ...]:
    """Returns the private addresses that the request wants, one for each instance. Raises ApiError when they are
    malformed, too few or too many, outside the subnet, or taken.
    """
    wanted = (params.get("VirtualPrivateCloud") or {}).get("PrivateIpAddresses") or []
    count = params.get("InstanceCount") or 1
    if not wanted:
        return ()
    if len(wanted) > PRIVATE_IPS_MAX:
        raise ApiError("InvalidParameterValue.LimitExceeded", f"At most {PRIVATE_IPS_MAX} `PrivateIpAddresses`.")
    if len(wanted) != count:
        raise ApiError(
            "InvalidParameterCombination", f"{len(wanted)} `PrivateIpAddresses` are given for {count} instances."
        )
    if len(set(wanted)) < len(wanted):
        raise ApiError("InvalidParameterValue.Duplicate", "A private address is given twice.")
    for address in wanted:
        _check_private_ip(world, address, subnet)
    return tuple(wanted)


def _check_private_ip(world: World, address: str, subnet: Subnet) -> None:
    try:
        parsed = IPv4Address(address)
    except AddressValueError as problem:
        raise ApiError("InvalidParameterValue.IPAddressMalformed", f"`{address}` is no IPv4 address.") from problem
    part = int(parsed) - int(subnet.network.network_address)
    if not 2 <= part < subnet.size + 2:  # the network, the gateway and the last one are the vendor's
        raise ApiError("VpcAddrNotInSubNet", f"The subnet `{subnet.id}` has no address `{address}` for instances.")
    if world.addresses.is_taken(subnet, address):
        raise ApiError("VpcIpIsUsed", f"The address `{address}` is in use.")
