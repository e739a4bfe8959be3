"""Defines `LaunchRequest`: everything that goes into one RunInstances call, in our words.

A request is frozen before it is sent and is repeated unchanged under its token. Therefore it is a value with a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any

from spotcompute.model.instance import Ownership
from spotcompute.model.offering import Pool

#: CVM takes at most this many instances per RunInstances call on every site (1-500 mainland, 1-100 international).
MAX_LAUNCH_COUNT = 100


@dataclass(frozen=True, slots=True)
class Disk:
    """`Disk` is one disk of an instance: `type` as the vendor names it (CLOUD_PREMIUM, …), `size` in GiB."""

    type: str | None = None
    size: int | None = None
    snapshot_id: str | None = None
    delete_with_instance: bool = True
    encrypt: bool | None = None
    kms_key_id: str | None = None
    throughput_performance: int | None = None


@dataclass(frozen=True, slots=True)
class Equipment:
    """`Equipment` is what comes with an instance and is charged separately: disks and bandwidth.

    Spot discounts the instance only, so equipment always costs the list price.
    """

    system_disk: Disk | None
    data_disks: tuple[Disk, ...]
    internet_charge_type: str | None
    internet_max_bandwidth_out: int | None


@dataclass(frozen=True, slots=True)
class Template:
    """`Template` describes what one instance looks like, but not where it runs or what it may cost."""

    image_id: str
    system_disk: Disk | None = None
    data_disks: tuple[Disk, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()
    keep_image_login: bool = False
    host_name: str | None = None
    internet_charge_type: str | None = None
    internet_max_bandwidth_out: int | None = None
    public_ip: bool | None = None
    project_id: int | None = None
    cam_role_name: str | None = None
    hpc_cluster_id: str | None = None
    placement_group_ids: tuple[str, ...] = ()
    security_service: bool | None = None
    monitor_service: bool | None = None
    automation_service: bool | None = None
    tags: tuple[tuple[str, str], ...] = ()
    bandwidth_package_id: str | None = None
    private_ips: tuple[str, ...] = ()
    ipv6_address_count: int | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def equipment(self) -> Equipment:
        """Returns the parts of the template that have a price of their own."""
        return Equipment(self.system_disk, self.data_disks, self.internet_charge_type, self.internet_max_bandwidth_out)


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """`LaunchRequest` is one frozen RunInstances call: `count` instances of one pool, all or nothing.

    `max_price` is the bid per instance and hour, and None to bid the current market price. With `on_demand` the
    instances are bought at the list price, and there is no bid. `owner` names the environment for people and for the
    search for orphans (`model.identity.owner_label`). `user_data_digest` stands for the user data, which may be a
    secret. The user data itself is passed separately when the request is sent, so that this value can be written to
    status. At `ends_at` the cloud ends the instances by itself, unless their timers are renewed; None: it never does.
    """

    pool: Pool
    count: int
    name: str
    ownership: Ownership
    owner: str
    template: Template
    max_price: Decimal | None
    vpc_id: str | None = None
    subnet_id: str | None = None
    user_data_digest: str | None = None
    on_demand: bool = False
    ends_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the request as JSON values without empty fields. `digest` is computed from it."""
        found = {key: value for key, value in _jsonable(asdict(self)).items() if value is not None}
        if not self.on_demand:  # so that launches of versions without on-demand keep their digests
            del found["on_demand"]
        return found

    @property
    def digest(self) -> str:
        """Returns twelve hex digits that differ whenever any parameter of the request differs."""
        return _request_digest(self)

    @property
    def template_digest(self) -> str:
        """Returns the digest of template and user data. Place, price and count are not part of it."""
        return template_digest(self.template, self.user_data_digest)


class Part(StrEnum):
    """`Part` names a part of a request that can be wrong by itself."""

    ZONE = "zone"
    INSTANCE_TYPE = "instance type"
    IMAGE = "image"
    NETWORK = "network"
    SECURITY_GROUPS = "security groups"
    LOGIN = "login"
    ROLE = "role"
    SYSTEM_DISK = "system disk"
    DATA_DISKS = "data disks"
    USER_DATA = "user data"
    HOST_NAME = "host name"
    INTERNET = "internet"
    PLACEMENT_GROUP = "placement group"
    HPC_CLUSTER = "HPC cluster"
    PROJECT = "project"
    SERVICES = "services"
    TAGS = "tags"
    METADATA = "metadata"
    TIMER = "timer"


def parts_of(request: LaunchRequest) -> tuple[Part, ...]:
    """Returns the parts of `request` that could be left out. Those that are most often wrong come first."""
    template = request.template
    present = {
        Part.NETWORK: request.subnet_id or request.vpc_id or template.private_ips or template.ipv6_address_count,
        Part.SECURITY_GROUPS: template.security_group_ids,
        Part.LOGIN: template.key_ids or template.keep_image_login,
        Part.ROLE: template.cam_role_name,
        Part.SYSTEM_DISK: template.system_disk,
        Part.DATA_DISKS: template.data_disks,
        Part.USER_DATA: request.user_data_digest,
        Part.HOST_NAME: template.host_name,
        Part.INTERNET: _is_given(
            template.internet_charge_type,
            template.internet_max_bandwidth_out,
            template.public_ip,
            template.bandwidth_package_id,
        ),
        Part.PLACEMENT_GROUP: template.placement_group_ids,
        Part.HPC_CLUSTER: template.hpc_cluster_id,
        Part.PROJECT: _is_given(template.project_id),
        Part.SERVICES: _is_given(template.security_service, template.monitor_service, template.automation_service),
        Part.TAGS: template.tags,
        Part.METADATA: template.metadata,
    }
    return tuple(part for part, value in present.items() if value)


def _is_given(*values: object) -> bool:
    return any(value is not None for value in values)


#: For each part, the fields of a template and their values when the part is left out. Without an image of its own a
#: request uses a public image; only a dry run may do that.
_LEFT_OUT: dict[Part, dict[str, Any]] = {
    Part.IMAGE: {"image_id": ""},
    Part.SECURITY_GROUPS: {"security_group_ids": ()},
    Part.LOGIN: {"key_ids": (), "keep_image_login": False},
    Part.ROLE: {"cam_role_name": None},
    Part.SYSTEM_DISK: {"system_disk": None},
    Part.DATA_DISKS: {"data_disks": ()},
    Part.HOST_NAME: {"host_name": None},
    Part.NETWORK: {"private_ips": (), "ipv6_address_count": None},
    Part.INTERNET: {
        "internet_charge_type": None,
        "internet_max_bandwidth_out": None,
        "public_ip": None,
        "bandwidth_package_id": None,
    },
    Part.PLACEMENT_GROUP: {"placement_group_ids": ()},
    Part.HPC_CLUSTER: {"hpc_cluster_id": None},
    Part.PROJECT: {"project_id": None},
    Part.SERVICES: {"security_service": None, "monitor_service": None, "automation_service": None},
    Part.TAGS: {"tags": ()},
    Part.METADATA: {"metadata": ()},
}


def without(request: LaunchRequest, parts: Collection[Part]) -> LaunchRequest:
    """Returns `request` without `parts`, to test whether the rest is right. Zone and type cannot be left out."""
    fields = {name: value for part in parts for name, value in _LEFT_OUT.get(part, {}).items()}
    request = replace(request, template=replace(request.template, **fields))
    if Part.NETWORK in parts:
        request = replace(request, vpc_id=None, subnet_id=None)
    return replace(request, user_data_digest=None) if Part.USER_DATA in parts else request


@lru_cache(1024)  # needed in every run while a launch has no answer
def _request_digest(request: LaunchRequest) -> str:
    return digest_of(request.to_json())


@lru_cache(1024)  # needed in every run
def template_digest(template: Template, user_data_digest: str | None) -> str:
    """Returns the digest that tells an instance of an older template from a current one."""
    return digest_of([_jsonable(asdict(template)), user_data_digest])


def digest_of(value: Any) -> str:
    """Returns the first twelve hex digits of the SHA-256 of a JSON value. The order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items() if item not in (None, ())}
    if isinstance(value, Pool):
        return {"zone": value.zone, "instance_type": value.instance_type}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return value.isoformat() if isinstance(value, datetime) else value
