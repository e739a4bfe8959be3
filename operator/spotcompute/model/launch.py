"""What a launch asks for: everything that goes into one RunInstances call, in our words.

A request is frozen before it is sent and repeated unchanged under its token, so it is a value with a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
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
    """A disk of the instance: `type` as the vendor names it (CLOUD_PREMIUM, …), `size` in GiB."""

    type: str | None = None
    size: int | None = None
    snapshot_id: str | None = None
    delete_with_instance: bool = True


@dataclass(frozen=True, slots=True)
class Equipment:
    """What comes with a machine and is charged beside it, at full price whatever the machine costs."""

    system_disk: Disk | None
    data_disks: tuple[Disk, ...]
    internet_charge_type: str | None
    internet_max_bandwidth_out: int | None


@dataclass(frozen=True, slots=True)
class Template:
    """What one machine looks like, apart from where it runs and what it may cost.

    `user_data` is base64 of at most 16 KiB raw. It may be a secret: it never appears in `repr`, in status or in logs.
    """

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

    @property
    def equipment(self) -> Equipment:
        """What of it has a price of its own."""
        return Equipment(self.system_disk, self.data_disks, self.internet_charge_type, self.internet_max_bandwidth_out)


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One frozen RunInstances call: `count` instances of one pool, all or nothing, at most `max_price` an hour each.

    With `on_demand` they are bought at the list price, and there is no bid.

    `owner` names the environment for people and for the search for orphans: see `model.identity.owner_label`.
    `max_price` is None to bid the current market price. `user_data_digest` stands for the user data, which
    is handed over separately when the request is sent, so that this value can be written to status.
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

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form without empty fields, from which `digest` is computed."""
        found = {key: value for key, value in _jsonable(asdict(self)).items() if value is not None}
        if not self.on_demand:  # so that what was launched before there was a choice keeps its digest
            del found["on_demand"]
        return found

    @property
    def digest(self) -> str:
        """Twelve hex digits that differ whenever any parameter of the request differs."""
        return _request_digest(self)

    @property
    def template_digest(self) -> str:
        """Digest of what a machine looks like: template, user data and nothing about place, price or count."""
        return template_digest(self.template, self.user_data_digest)


class Part(StrEnum):
    """A part of a request that can be wrong by itself."""

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


def parts_of(request: LaunchRequest) -> tuple[Part, ...]:
    """The parts that stand in `request` and could be left out, those that are most often wrong first."""
    template = request.template
    present = {
        Part.NETWORK: request.subnet_id or request.vpc_id,
        Part.SECURITY_GROUPS: template.security_group_ids,
        Part.LOGIN: template.key_ids or template.keep_image_login,
        Part.ROLE: template.cam_role_name,
        Part.SYSTEM_DISK: template.system_disk,
        Part.DATA_DISKS: template.data_disks,
        Part.USER_DATA: request.user_data_digest,
        Part.HOST_NAME: template.host_name,
        Part.INTERNET: _is_given(
            template.internet_charge_type, template.internet_max_bandwidth_out, template.public_ip
        ),
        Part.PLACEMENT_GROUP: template.placement_group_ids,
        Part.HPC_CLUSTER: template.hpc_cluster_id,
        Part.PROJECT: _is_given(template.project_id),
        Part.SERVICES: _is_given(template.security_service, template.monitor_service, template.automation_service),
        Part.TAGS: template.tags,
    }
    return tuple(part for part, value in present.items() if value)


def _is_given(*values: object) -> bool:
    return any(value is not None for value in values)


#: The fields of a template that make up a part, as they are when it is left out. Without an image of its own the
#: request starts from one that everybody has; only a dry run may be asked for that.
_LEFT_OUT: dict[Part, dict[str, Any]] = {
    Part.IMAGE: {"image_id": ""},
    Part.SECURITY_GROUPS: {"security_group_ids": ()},
    Part.LOGIN: {"key_ids": (), "keep_image_login": False},
    Part.ROLE: {"cam_role_name": None},
    Part.SYSTEM_DISK: {"system_disk": None},
    Part.DATA_DISKS: {"data_disks": ()},
    Part.HOST_NAME: {"host_name": None},
    Part.INTERNET: {"internet_charge_type": None, "internet_max_bandwidth_out": None, "public_ip": None},
    Part.PLACEMENT_GROUP: {"placement_group_ids": ()},
    Part.HPC_CLUSTER: {"hpc_cluster_id": None},
    Part.PROJECT: {"project_id": None},
    Part.SERVICES: {"security_service": None, "monitor_service": None, "automation_service": None},
    Part.TAGS: {"tags": ()},
}


def without(request: LaunchRequest, parts: Collection[Part]) -> LaunchRequest:
    """`request` with `parts` left out, to learn what is wrong with the rest; zone and type cannot be."""
    fields = {name: value for part in parts for name, value in _LEFT_OUT.get(part, {}).items()}
    request = replace(request, template=replace(request.template, **fields))
    if Part.NETWORK in parts:
        request = replace(request, vpc_id=None, subnet_id=None)
    return replace(request, user_data_digest=None) if Part.USER_DATA in parts else request


@lru_cache(1024)  # asked for at every look at a launch in doubt
def _request_digest(request: LaunchRequest) -> str:
    return digest_of(request.to_json())


@lru_cache(1024)  # asked for at every look at an environment
def template_digest(template: Template, user_data_digest: str | None) -> str:
    """Digest by which an instance of an older template is told from a current one."""
    return digest_of([_jsonable(asdict(template)), user_data_digest])


def digest_of(value: Any) -> str:
    """Twelve hex digits of the SHA-256 of a JSON-able value, independent of key order."""
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
    return value
