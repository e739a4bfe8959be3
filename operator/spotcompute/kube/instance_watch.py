"""Follows the objects of instances: lists them, then takes in each change, for ever.

Apart from kopf's watch of environments, because the kind may not be installed, and because for ten thousand objects
kopf would keep a task and a copy of each.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from spotcompute.kube.instance_objects import InstanceObjectPort, InstanceObjects, Key
from spotcompute.kube.port import Forbidden, KubeError, NotServed
from spotcompute.kube.transport import Expired

_log = structlog.get_logger(__name__)

#: Time until the next look for a kind that is not installed, or that we may not read.
ABSENT_SECONDS = 60.0

#: So many answers in a row must say that the kind is not installed. An API server that starts says so for a moment.
ABSENT_LOOKS = 4

#: Pause after a failure. It doubles up to the second number.
RETRY_SECONDS, RETRY_SECONDS_MAX = 1.0, 60.0

#: Everything is listed anew after this time, in case the watch has missed something.
RELIST_SECONDS = 1800.0


async def follow(port: InstanceObjectPort, objects: InstanceObjects) -> None:
    """Follows the objects in every scope of `objects`. Never ends."""
    async with asyncio.TaskGroup() as group:
        for scope in objects.scopes:
            group.create_task(_follow(port, objects, scope), name=f"instance objects {scope or 'everywhere'}")


async def _follow(port: InstanceObjectPort, objects: InstanceObjects, scope: str) -> None:
    pause, unserved = RETRY_SECONDS, 0
    while True:
        try:
            version = await _list(port, objects, scope)
            pause, unserved = RETRY_SECONDS, 0
            await _watch(port, objects, scope, version)
        except Expired:
            continue
        except (NotServed, Forbidden) as error:
            unserved += 1
            if unserved < ABSENT_LOOKS:
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS_MAX)
                continue
            if objects.on_absent(scope):
                _log.warning(
                    "instance_objects_absent",
                    namespace=scope or "all",
                    error=str(error),
                    consequence="instances are shown in status only, and no wishes are known; install the"
                    " CustomResourceDefinition spotinstances.spotcompute.dev and the rights to use it",
                )
            await asyncio.sleep(ABSENT_SECONDS)
        except KubeError as error:
            _log.info(
                "instance_objects_out_of_reach", namespace=scope or "all", error=f"{type(error).__name__}: {error}"
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_SECONDS_MAX)


async def _list(port: InstanceObjectPort, objects: InstanceObjects, scope: str) -> str:
    """Takes in all objects, page by page. Returns the version that the list is of."""
    keys: set[Key] = set()
    page = await port.page(scope, None)
    if objects.has_gone_back(scope, page.version):
        objects.forget(scope)
    while True:
        for obj in page.items:
            objects.on_object(obj)
            keys.add((obj["metadata"]["namespace"], obj["metadata"]["name"]))
        if page.token is None:
            break
        await asyncio.sleep(0)  # environments have their turn
        page = await port.page(scope, page.token)
    objects.on_list(scope, keys, page.version)
    return page.version


async def _watch(port: InstanceObjectPort, objects: InstanceObjects, scope: str, version: str) -> None:
    """Takes in changes until it is time for a new list. Raises Expired when changes were missed."""
    ends_at = asyncio.get_running_loop().time() + RELIST_SECONDS
    while asyncio.get_running_loop().time() < ends_at:
        begun_at = asyncio.get_running_loop().time()
        async with contextlib.aclosing(port.watch(scope, version)) as events:
            async for kind, obj in events:
                version = str(obj["metadata"]["resourceVersion"])
                if kind == "DELETED":
                    objects.on_gone(obj)
                elif kind != "BOOKMARK":
                    objects.on_object(obj)
        # An API server that ends every watch at once is not asked without a pause.
        if asyncio.get_running_loop().time() - begun_at < RETRY_SECONDS:
            await asyncio.sleep(RETRY_SECONDS)
