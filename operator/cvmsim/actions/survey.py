"""Answers the Describe actions that are not about instances: what is sold where, at what price, and how much of it.

Apart from `look` because these read the catalog and the market's quotes, which may be older than the stock.
"""

from typing import Any

from cvmsim.actions.call import Answer, Call, filters_of, is_id, page_of
from cvmsim.actions.prices import item_price
from cvmsim.catalog import Image
from cvmsim.errors import ApiError
from cvmsim.instance import ON_DEMAND, SPOT
from cvmsim.market import Offering
from cvmsim.world import World

OFFER_FILTERS = frozenset({"zone", "instance-family", "instance-type", "instance-charge-type", "sort-keys"})
OFFER_VALUES_MAX = 100
TYPE_FILTERS = frozenset({"zone", "instance-family", "instance-type"})
IMAGE_FILTERS = frozenset({"image-id", "image-type", "image-name", "platform", "tag-key", "tag-value", "tag:"})
ON_DEMAND_QUOTA, IMAGE_QUOTA = 500, 500
SORT_KEYS = {"cpu": "Cpu", "memory": "Memory"}


def describe_zone_instance_config_infos(world: World, call: Call) -> Answer:
    """Answers every (zone, type, charge type) of the region with its quoted stock and price.

    Both are as old as the switch `quote-lag` says. Source: CVM API 2017-03-12, DescribeZoneInstanceConfigInfos.
    """
    filters = filters_of(call.params, OFFER_FILTERS, OFFER_VALUES_MAX)
    _check_zones(world, call.region, filters.get("zone", []))
    offered = [one for one in world.offerings.values() if one.region == call.region and _is_asked(one, filters)]
    charge_types = filters.get("instance-charge-type", [ON_DEMAND])
    rows = [_quota_item(world, one, charge) for one in offered for charge in charge_types if _is_sold(one, charge)]
    for key in reversed(filters.get("sort-keys", [])):
        _sort(rows, key)
    return {"InstanceTypeQuotaSet": rows}


def _check_zones(world: World, region: str, zones: list[str]) -> None:
    for zone in zones:
        if zone not in world.catalog.zones or world.catalog.zones[zone].region != region:
            raise ApiError("InvalidZone.MismatchRegion", f"The zone `{zone}` is not in {region}.")


def _is_asked(offering: Offering, filters: dict[str, list[str]]) -> bool:
    facts = {"zone": offering.zone, "instance-family": offering.type.family, "instance-type": offering.type.name}
    return all(fact in filters[name] for name, fact in facts.items() if name in filters)


def _is_sold(offering: Offering, charge_type: str) -> bool:
    return charge_type == ON_DEMAND or (charge_type == SPOT and offering.type.spot)


def _sort(rows: list[dict[str, Any]], key: str) -> None:
    name, _, direction = key.partition(":")
    if name not in SORT_KEYS or direction not in ("asc", "desc"):
        raise ApiError("InvalidFilter", f"The sort key `{key}` is not supported.")
    rows.sort(key=lambda row: row[SORT_KEYS[name]], reverse=direction == "desc")


def _quota_item(world: World, offering: Offering, charge_type: str) -> Answer:
    moment = world.now - world.switches.number("quote-lag")
    type, category = offering.type, offering.category(moment, charge_type == SPOT)
    price = offering.quote(moment).price if charge_type == SPOT else offering.list_price
    is_sold_out = category == "WithoutStock"
    return {
        "Zone": offering.zone,
        "InstanceType": type.name,
        "InstanceChargeType": charge_type,
        "NetworkCard": 0,
        "Externals": {},
        "Cpu": type.cpu,
        "Memory": type.memory,
        "InstanceFamily": type.family,
        "TypeName": type.title,
        "LocalDiskTypeList": [],
        "Status": "SOLD_OUT" if is_sold_out else "SELL",
        "Price": item_price(world, offering.list_price, price, has_steps=charge_type == ON_DEMAND),
        "SoldOutReason": f"{type.name} is sold out in {offering.zone}." if is_sold_out else "",
        "InstanceBandwidth": 1.5,
        "InstancePps": 30,
        "StorageBlockAmount": 0,
        "CpuType": type.processor,
        "Gpu": type.gpus,
        "GpuCount": float(type.gpus),
        "Fpga": 0,
        "Remark": "",
        "Frequency": type.frequency,
        "StatusCategory": category,
    }


def describe_instance_type_configs(world: World, call: Call) -> Answer:
    """Answers the types of the region, without price or stock, with one value per filter.

    Source: DescribeInstanceTypeConfigs.
    """
    filters = filters_of(call.params, TYPE_FILTERS, 1)
    _check_zones(world, call.region, filters.get("zone", []))
    offered = [one for one in world.offerings.values() if one.region == call.region and _is_asked(one, filters)]
    return {"InstanceTypeConfigSet": [_type_config(one) for one in offered]}


def _type_config(offering: Offering) -> Answer:
    type = offering.type
    return {
        "Zone": offering.zone,
        "InstanceType": type.name,
        "InstanceFamily": type.family,
        "CPU": type.cpu,
        "Memory": type.memory,
        "GPU": type.gpus,
        "GpuCount": float(type.gpus),
        "GpuType": type.gpu_type,
        "GpuMemory": float(type.gpu_memory),
        "FPGA": 0,
    }


def describe_zones(world: World, call: Call) -> Answer:
    """Answers the zones of the region. Source: DescribeZones."""
    zones = [zone for zone in world.catalog.zones.values() if zone.region == call.region]
    rows = [
        {"Zone": zone.name, "ZoneName": zone.title, "ZoneId": zone.number, "ZoneState": "AVAILABLE"} for zone in zones
    ]
    return {"TotalCount": len(rows), "ZoneSet": rows}


def describe_regions(world: World, call: Call) -> Answer:
    """Answers all regions. Source: DescribeRegions."""
    rows = [
        {"Region": name, "RegionName": title, "RegionState": "AVAILABLE"}
        for name, title in world.catalog.regions.items()
    ]
    return {"TotalCount": len(rows), "RegionSet": rows}


def describe_images(world: World, call: Call) -> Answer:
    """Answers the images that the account can see in the region, by ids or by filters. Source: DescribeImages."""
    offset, limit = page_of(call.params)
    ids, filters = call.params.get("ImageIds") or [], filters_of(call.params, IMAGE_FILTERS)
    if ids and filters:
        raise ApiError("InvalidParameter", "`ImageIds` and `Filters` must not be given together.")
    for image_id in ids:
        if not is_id(image_id, "img"):
            raise ApiError("InvalidImageId.Malformed", f"The image id `{image_id}` is malformed.")
    visible = [image for image in world.catalog.images.values() if image.is_visible(call.account, call.region)]
    found = [image for image in visible if (not ids or image.id in ids) and _is_like(image, filters)]
    return {"TotalCount": len(found), "ImageSet": [_image(image) for image in found[offset : offset + limit]]}


def _is_like(image: Image, filters: dict[str, list[str]]) -> bool:
    facts = {"image-id": image.id, "image-name": image.name, "platform": image.platform, "image-type": _kind(image)}
    return all(facts.get(name) in values for name, values in filters.items())


def _kind(image: Image) -> str:
    return "PRIVATE_IMAGE" if image.accounts else "PUBLIC_IMAGE"


def _image(image: Image) -> Answer:
    return {
        "ImageId": image.id,
        "OsName": image.os,
        "ImageType": _kind(image),
        "CreatedTime": "2024-01-01T00:00:00Z",
        "ImageName": image.name,
        "ImageDescription": "",
        "ImageSize": image.size,
        "Architecture": "x86_64",
        "ImageState": image.state,
        "Platform": image.platform,
        "ImageSource": "OFFICIAL",
        "IsSupportCloudinit": True,
        "Tags": [],
    }


def describe_account_quota(world: World, call: Call) -> Answer:
    """Answers the quotas. Only that of spot, in vCPU per zone, limits anything here. Source: DescribeAccountQuota."""
    filters = filters_of(call.params, frozenset({"zone", "quota-type"}))
    zones = [zone.name for zone in world.catalog.zones.values() if zone.region == call.region]
    wanted = filters.get("zone", zones)
    _check_zones(world, call.region, wanted)
    quota: Answer = {
        "PostPaidQuotaSet": [_on_demand_quota(world, call.account, zone) for zone in wanted],
        "PrePaidQuotaSet": [
            {"Zone": zone, "UsedQuota": 0, "OnceQuota": 0, "RemainingQuota": 0, "TotalQuota": 0} for zone in wanted
        ],
        "SpotPaidQuotaSet": [_spot_quota(world, call.account, zone) for zone in wanted],
        "ImageQuotaSet": [{"UsedQuota": 0, "TotalQuota": IMAGE_QUOTA}],
        "DisasterRecoverGroupQuotaSet": [
            {"GroupQuota": 10, "CurrentNum": 0, "CvmInHostGroupQuota": 50, "CvmInSwitchGroupQuota": 20,
             "CvmInRackGroupQuota": 30}
        ],
    }  # fmt: skip
    asked = filters.get("quota-type")
    quota = {name: rows if asked is None or name in asked else [] for name, rows in quota.items()}
    return {
        "AppId": world.account(call.account).app_id,
        "AccountQuotaOverview": {"Region": call.region, "AccountQuota": quota},
    }


def _on_demand_quota(world: World, account: str, zone: str) -> Answer:
    own = (one for one in world.instances.values() if one.order.account == account and one.order.zone == zone)
    used = sum(one.is_live and one.order.charge_type == ON_DEMAND for one in own)
    return {
        "Zone": zone,
        "UsedQuota": used,
        "RemainingQuota": max(0, ON_DEMAND_QUOTA - used),
        "TotalQuota": ON_DEMAND_QUOTA,
    }


def _spot_quota(world: World, account: str, zone: str) -> Answer:
    return {
        "Zone": zone,
        "UsedQuota": world.used_vcpu(account, zone),
        "RemainingQuota": max(0, world.free_vcpu(account, zone)),
        "TotalQuota": world.spot_quota(account, zone),
    }
