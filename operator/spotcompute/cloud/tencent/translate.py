"""Translates our values to the vendor's JSON and back, without a call or a clock.

Apart from `provider` so that the exact parameters of a purchase can be read and tested without a network. Shapes are
those of the CVM API 2017-03-12. An answer of another shape raises KeyError, TypeError or ValueError (`MALFORMED`), and
the provider turns that into an error on which nothing is decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from spotcompute.model.identity import adoption_mark
from spotcompute.model.instance import Instance, InstanceState, Ownership
from spotcompute.model.launch import Disk, LaunchRequest, Template
from spotcompute.model.offering import Offering, Pool, Stock

#: The tags that mark our instances. Letters and hyphens only, because `/` and `_` are not safe everywhere in tag keys.
CLUSTER_TAG = "spotcompute-cluster"
ENVIRONMENT_TAG = "spotcompute-environment"
OWNER_TAG = "spotcompute-owner"
RETAINED_TAG, ADOPTED_TAG = "spotcompute-retained", "spotcompute-adopted"
MANAGER_TAG = "managed-by"
MANAGER = "spotcompute-operator"

#: The errors that the functions below raise when an answer does not have the documented shape.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, InvalidOperation)

#: The vendor's names for stock. Source: CVM API 2017-03-12, data type InstanceTypeQuotaItem, StatusCategory.
_STOCK = {
    "EnoughStock": Stock.ENOUGH,
    "NormalStock": Stock.NORMAL,
    "UnderStock": Stock.LOW,
    "WithoutStock": Stock.NONE,
}

SPOT = "SPOTPAID"
ON_DEMAND = "POSTPAID_BY_HOUR"

Json = dict[str, Any]


def launch_parameters(request: LaunchRequest, user_data: str | None, token: str) -> Json:
    """Returns the parameters of the RunInstances call for `request`. Equal arguments give equal parameters.

    Without `max_price` the market options are left out: SPOTPAID alone bids the current market price. On demand there
    is no bid. Source: CVM API 2017-03-12, RunInstances.
    """
    template = request.template
    return _without_empty(
        {
            "Placement": {"Zone": request.pool.zone, "ProjectId": template.project_id},
            "InstanceType": request.pool.instance_type,
            "InstanceChargeType": ON_DEMAND if request.on_demand else SPOT,
            "InstanceMarketOptions": None if request.on_demand else _market_options(request.max_price),
            "InstanceCount": request.count,
            "InstanceName": request.name,
            "ClientToken": token,
            "ImageId": template.image_id,
            "SystemDisk": _system_disk(template.system_disk),
            "DataDisks": [_data_disk(disk) for disk in template.data_disks],
            "VirtualPrivateCloud": _network(request),
            "InternetAccessible": _internet(template),
            "SecurityGroupIds": list(template.security_group_ids),
            "LoginSettings": _login(template),
            "EnhancedService": _services(template),
            "HostName": template.host_name,
            "CamRoleName": template.cam_role_name,
            "HpcClusterId": template.hpc_cluster_id,
            "DisasterRecoverGroupIds": list(template.placement_group_ids),
            "TagSpecification": [{"ResourceType": "instance", "Tags": _tags(request)}],
            "UserData": user_data,
            "ActionTimer": timer_of(request.ends_at),
            "Metadata": {"Items": [{"Key": key, "Value": value} for key, value in template.metadata]},
        }
    )


def timer_of(ends_at: datetime | None) -> Json | None:
    """Returns the vendor's timer that ends an instance at that moment, in whole seconds. None without one.

    Source: CVM API 2017-03-12, data type ActionTimer.
    """
    if ends_at is None:
        return None
    return {"TimerAction": "TerminateInstances", "ActionTime": f"{ends_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}


def timers_that_differ(
    rows: Iterable[Mapping[str, Any]], ids: Collection[str], ends_at: datetime | None
) -> tuple[list[str], set[str]]:
    """Returns the timers of these instances that are not of that moment, and the instances with one that is.

    A timer that has begun its work is neither. The cloud's filter is not trusted.
    """
    different, right = list[str](), set[str]()
    for row in rows:
        if row["InstanceId"] not in ids or row["Status"] != "UNDO":
            continue
        if ends_at is not None and _time(row["ActionTime"]) == ends_at:
            right.add(_text(row["InstanceId"]))
        else:
            different.append(_text(row["ActionTimerId"]))
    return different, right


#: Replaces an image that is wrong, to check the other parts: Ubuntu Server 22.04 LTS, public in every region.
PUBLIC_IMAGE = "img-487zeit5"


def check_parameters(request: LaunchRequest, user_data: str | None) -> Json:
    """Returns the parameters of a dry run of `request`. It has no token, because a check must not use one up."""
    parameters = launch_parameters(request, user_data, "")
    del parameters["ClientToken"]
    return {**parameters, "ImageId": request.template.image_id or PUBLIC_IMAGE, "DryRun": True}


def mark_parameters(instance: Instance, ownership: Ownership | None, owner: str, account: str, region: str) -> Json:
    """Returns the parameters that make an instance that of `ownership`, or that of no environment when it is None.

    Only tags that it is seen to have are removed, because it is not documented how a tag that is not there is answered.
    Source: Tag API 2018-08-13, ModifyResourceTags.
    """
    tags = instance.tags
    if ownership is None:
        replaced, unwanted = {RETAINED_TAG: owner}, {CLUSTER_TAG, ENVIRONMENT_TAG, OWNER_TAG, ADOPTED_TAG}
        unwanted |= {MANAGER_TAG} if tags.get(MANAGER_TAG) == MANAGER else set()
    else:
        replaced = _marks(ownership, owner) | {ADOPTED_TAG: adoption_mark(ownership, instance.id)}
        unwanted = {RETAINED_TAG}
    return _without_empty(
        {
            "Resource": f"qcs::cvm:{region}:uin/{account}:instance/{instance.id}",
            "ReplaceTags": [{"TagKey": key, "TagValue": value} for key, value in replaced.items()],
            "DeleteTags": [{"TagKey": key} for key in sorted(unwanted & tags.keys())],
        }
    )


def inquiry_parameters(pool: Pool, template: Template) -> Json:
    """Returns the parameters that ask for the on-demand price of one instance of `template` with its equipment.

    Only parts with a price are included, so that no other part of a template can make the call fail. Source: CVM API
    2017-03-12, InquiryPriceRunInstances.
    """
    return _without_empty(
        {
            "Placement": {"Zone": pool.zone},
            "InstanceType": pool.instance_type,
            "InstanceChargeType": ON_DEMAND,
            "InstanceCount": 1,
            "ImageId": template.image_id or PUBLIC_IMAGE,
            "SystemDisk": _system_disk(template.system_disk),
            "DataDisks": [_data_disk(disk) for disk in template.data_disks],
            "InternetAccessible": _internet(template),
        }
    )


def inquired_price(price: Mapping[str, Any]) -> Decimal:
    """Adds up what is charged by the hour at list prices: the instance with its disks, and bandwidth.

    Bandwidth that is priced by the gigabyte is no hourly cost. The vendor does not say whether `InstancePrice` includes
    disks; the simulator's switch `inquiry-disks` plays both. Source: CVM API 2017-03-12, data types Price and
    ItemPrice.
    """
    machine, bandwidth = price["InstancePrice"], price.get("BandwidthPrice") or {}
    amount = Decimal(str(machine["UnitPrice"]))
    if not (amount.is_finite() and amount > 0) or machine.get("ChargeUnit") not in (None, "HOUR"):
        raise ValueError("expected a price per hour")
    if bandwidth.get("ChargeUnit") == "HOUR":
        amount += Decimal(str(bandwidth.get("UnitPrice") or 0))
    return amount


def instance_from(item: Mapping[str, Any]) -> Instance:
    """Reads one item of DescribeInstances' InstanceSet. Source: CVM API 2017-03-12, data type Instance."""
    tags = {tag["Key"]: tag["Value"] for tag in item.get("Tags") or ()}
    return Instance(
        id=_text(item["InstanceId"]),
        name=item.get("InstanceName") or "",
        state=_state(item["InstanceState"]),
        pool=Pool(_text(item["Placement"]["Zone"]), _text(item["InstanceType"])),
        created_at=_time(item["CreatedTime"]),
        ownership=ownership_from(tags),
        owner=_given(tags, OWNER_TAG),
        retained=_given(tags, RETAINED_TAG),
        adopted=_given(tags, ADOPTED_TAG),
        image_id=_given(item, "ImageId"),
        charge_type=_other_charge_type(item),
        private_ip=_first(item.get("PrivateIpAddresses")),
        public_ip=_first(item.get("PublicIpAddresses")),
        subnet_id=(item.get("VirtualPrivateCloud") or {}).get("SubnetId") or None,
        protected=bool(item.get("DisableApiTermination")),
        on_demand=item.get("InstanceChargeType") == ON_DEMAND,
        failure=item.get("LatestOperationErrorMsg") or None,
        last_operation=item.get("LatestOperation") or None,
        last_operation_request_id=item.get("LatestOperationRequestId") or None,
        tags=tags,
    )


def _given(values: Mapping[str, Any], key: str) -> Any:
    """Returns the value of that name. None when it is absent or empty."""
    return values.get(key) or None


def _other_charge_type(item: Mapping[str, Any]) -> str | None:
    """Returns how the instance is charged for, where it is neither spot nor on demand."""
    charged = _given(item, "InstanceChargeType")
    return None if charged in (SPOT, ON_DEMAND) else charged


def ownership_from(tags: Mapping[str, str]) -> Ownership | None:
    """Returns the owner that its tags name. None unless both tags, cluster and environment, are there."""
    cluster, environment = tags.get(CLUSTER_TAG), tags.get(ENVIRONMENT_TAG)
    return Ownership(cluster, environment) if cluster and environment else None


def offerings_from(items: Iterable[Mapping[str, Any]]) -> tuple[Offering, ...]:
    """Reads InstanceTypeQuotaSet: one offering per pool sold as spot, sorted by pool.

    The spot price is what is charged under SPOTPAID (`UnitPriceDiscount`). The on-demand price is that of the pool's
    POSTPAID_BY_HOUR item when that is listed too, otherwise the spot item's list price (`UnitPrice`). Source: CVM API
    2017-03-12, DescribeZoneInstanceConfigInfos, data types InstanceTypeQuotaItem and ItemPrice.
    """
    spot: dict[Pool, Mapping[str, Any]] = {}
    on_demand: dict[Pool, Decimal | None] = {}
    for item in items:
        pool = Pool(_text(item["Zone"]), _text(item["InstanceType"]))
        if item["InstanceChargeType"] == SPOT:
            spot[pool] = item
        elif item["InstanceChargeType"] == ON_DEMAND:
            on_demand[pool] = _price(item, "UnitPriceDiscount")
    return tuple(_offering(pool, spot[pool], on_demand.get(pool)) for pool in sorted(spot))


def _offering(pool: Pool, item: Mapping[str, Any], on_demand: Decimal | None) -> Offering:
    return Offering(
        pool=pool,
        price_per_hour=_price(item, "UnitPriceDiscount"),
        on_demand_price_per_hour=_price(item, "UnitPrice") if on_demand is None else on_demand,
        vcpu=int(item["Cpu"]),
        memory_gib=int(item["Memory"]),
        sold_out=item.get("Status") == "SOLD_OUT",
        stock=_STOCK.get(str(item.get("StatusCategory")), Stock.UNKNOWN),
        gpus=int(item.get("GpuCount") or 0),
        family=item.get("InstanceFamily") or "",
    )


def _market_options(max_price: Decimal | None) -> Json | None:
    if max_price is None:
        return None
    # The API needs a decimal string. Exponents ("9E-2") are not documented.
    bid = {"MaxPrice": format(max_price, "f"), "SpotInstanceType": "one-time"}
    return {"MarketType": "spot", "SpotOptions": bid}


def _system_disk(disk: Disk | None) -> Json | None:
    if disk is None:
        return None
    asked = {"DiskType": disk.type, "DiskSize": disk.size, "Encrypt": disk.encrypt, "KmsKeyId": disk.kms_key_id}
    return _without_empty(asked)


def _data_disk(disk: Disk) -> Json:
    return _without_empty(
        {
            "DiskType": disk.type,
            "DiskSize": disk.size,
            "SnapshotId": disk.snapshot_id,
            "DeleteWithInstance": disk.delete_with_instance,
            "Encrypt": disk.encrypt,
            "KmsKeyId": disk.kms_key_id,
            "ThroughputPerformance": disk.throughput_performance,
        }
    )


def _network(request: LaunchRequest) -> Json:
    return _without_empty(
        {
            "VpcId": request.vpc_id,
            "SubnetId": request.subnet_id,
            "PrivateIpAddresses": list(request.template.private_ips),
            "Ipv6AddressCount": request.template.ipv6_address_count,
        }
    )


def _internet(template: Template) -> Json:
    return _without_empty(
        {
            "InternetChargeType": template.internet_charge_type,
            "InternetMaxBandwidthOut": template.internet_max_bandwidth_out,
            "PublicIpAssigned": template.public_ip,
            "BandwidthPackageId": template.bandwidth_package_id,
        }
    )


def _login(template: Template) -> Json:
    # The API needs this boolean as a string.
    return _without_empty(
        {"KeyIds": list(template.key_ids), "KeepImageLogin": "true" if template.keep_image_login else None}
    )


def _services(template: Template) -> Json:
    services = {
        "SecurityService": template.security_service,
        "MonitorService": template.monitor_service,
        "AutomationService": template.automation_service,
    }
    return {name: {"Enabled": enabled} for name, enabled in services.items() if enabled is not None}


def _tags(request: LaunchRequest) -> list[Json]:
    marks = _marks(request.ownership, request.owner)
    # Our tags win: a template must never assign its instances to another owner.
    users = [(key, value) for key, value in request.template.tags if key not in marks]
    return [{"Key": key, "Value": value} for key, value in (*marks.items(), *users)]


def _marks(ownership: Ownership, owner: str) -> dict[str, str]:
    """Returns the tags that say whose an instance is."""
    return {
        CLUSTER_TAG: ownership.cluster_id,
        ENVIRONMENT_TAG: ownership.environment_id,
        OWNER_TAG: owner,
        MANAGER_TAG: MANAGER,
    }


def _without_empty(parameters: Json) -> Json:
    """Drops parameters without a value (None, no items). False and 0 are values."""
    dropped = (_without_empty(value) if isinstance(value, dict) else value for value in parameters.values())
    return {
        key: value
        for key, value in zip(parameters, dropped, strict=True)
        if value is not None and value != [] and value != {}
    }


def _state(text: str) -> InstanceState:
    return InstanceState(text) if text in InstanceState.__members__ else InstanceState.OTHER


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected a name, got {type(value).__name__}")
    return value


def _time(text: str) -> datetime:
    """Returns aware UTC. Documented is ISO 8601 in UTC with a Z; a time without a zone is read as UTC too."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _first(addresses: list[str] | None) -> str | None:
    return addresses[0] if addresses else None


def _price(item: Mapping[str, Any], field: str) -> Decimal | None:
    # Through str, because Decimal(0.0214) would show the binary digits of the JSON number.
    amount = (item.get("Price") or {}).get(field)
    return None if amount is None else Decimal(str(amount))
