"""Answers a machine about itself, as the vendor's metadata service does inside each instance.

Apart from `app`, which carries the answers. Paths are those below `http://metadata.tencentyun.com/latest/`.
"""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone

from cvmsim.actions.look import utc
from cvmsim.catalog import Machine
from cvmsim.instance import Instance
from cvmsim.lending import key_of_machine
from cvmsim.world import World

ROLE = "meta-data/cam/security-credentials/"
CHINA = timezone(timedelta(hours=8))  # the vendor writes the notice in this time


def answer(world: World, one: Instance, path: str) -> str | None:
    """Returns what the service says under `path`. None when it has nothing to say (404)."""
    if path.startswith(ROLE):
        role = one.order.template.get("CamRoleName")
        return key_of_role(world, Machine(one.order.account, role), path) if role else None
    say = PATHS.get(path)
    return say(one) if say else None


def key_of_role(world: World, machine: Machine, path: str) -> str | None:
    """Returns the name of the machine's role, or the key of the role that `path` names. None for anything else.

    Source: CVM documentation, "Instance roles"; the fields are those that the vendor's SDKs read.
    """
    name = path.removeprefix(ROLE)
    if path == name:
        return None
    if not name:
        return machine.role
    if name != machine.role:
        return None
    key = key_of_machine(world, machine.account, machine.role)
    expires_at = key.expires_at or 0.0
    return json.dumps(
        {
            "TmpSecretId": key.secret_id,
            "TmpSecretKey": key.secret_key,
            "ExpiredTime": int(expires_at),
            "Expiration": utc(expires_at),
            "Token": key.token,
            "Code": "Success",
        }
    )


def _termination_time(one: Instance) -> str | None:
    """Returns when the cloud takes the machine back. None while nothing is planned."""
    if one.reclaim_at is None:
        return None
    return datetime.fromtimestamp(one.reclaim_at, UTC).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def _user_data(one: Instance) -> str | None:
    return base64.b64decode(one.user_data).decode(errors="replace") if one.user_data else None


PATHS: Mapping[str, Callable[[Instance], str | None]] = {
    "meta-data/instance-id": lambda one: one.id,
    "meta-data/uuid": lambda one: one.uuid,
    "meta-data/instance-name": lambda one: one.name,
    "meta-data/local-ipv4": lambda one: one.private_ip,
    "meta-data/public-ipv4": lambda one: one.public_ip or None,
    "meta-data/placement/region": lambda one: one.order.region,
    "meta-data/placement/zone": lambda one: one.order.zone,
    "meta-data/instance/image-id": lambda one: one.order.image_id,
    "meta-data/instance/instance-type": lambda one: one.order.type.name,
    "meta-data/spot/termination-time": _termination_time,
    "user-data": _user_data,
}
