"""Answers a machine about itself, as the vendor's metadata service does inside each instance.

Apart from `app`, which carries the answers. Paths are those below `http://metadata.tencentyun.com/latest/`.
"""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone

from cvmsim.instance import Instance

CHINA = timezone(timedelta(hours=8))  # the vendor writes the notice in this time


def answer(one: Instance, path: str) -> str | None:
    """Returns what the service says under `path`. None when it has nothing to say (404)."""
    say = PATHS.get(path)
    return say(one) if say else None


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
