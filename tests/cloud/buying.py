"""Launches and lists in the words of the tests: what is bought when nothing else matters."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from cloud.grounds import IMAGE, POOL, SETTLED, Ground
from spotcompute.model.instance import Instance, Ownership
from spotcompute.model.launch import LaunchRequest, Template

ENV = "env-1"
OWNERSHIP = Ownership("cluster-1", ENV)

ONE = LaunchRequest(
    pool=POOL,
    count=1,
    name="web-abc-1",
    ownership=OWNERSHIP,
    owner="default@web",
    template=Template(IMAGE),
    max_price=Decimal("0.0923"),
)


def several(count: int, sequence: int = 2) -> LaunchRequest:
    return replace(ONE, count=count, name=f"web-abc-{sequence}-")


FIRST = "token-1"


async def launch(ground: Ground, request: LaunchRequest = ONE, token: str = FIRST) -> tuple[str, ...]:
    receipt = await ground.provider.launch(request, None, token, ENV)
    assert receipt.request_id
    return receipt.instance_ids


async def running(ground: Ground, count: int = 1) -> tuple[str, ...]:
    ids = await launch(ground, several(count) if count > 1 else ONE)
    ground.wait(SETTLED)
    return ids


async def listed(ground: Ground, cluster: str = "cluster-1") -> dict[str, Instance]:
    instances = await ground.provider.list_instances(cluster)
    assert len({instance.id for instance in instances}) == len(instances)
    return {instance.id: instance for instance in instances}
