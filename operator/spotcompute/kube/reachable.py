"""Finds which of several watched namespaces let us list environments, and notices when that changes.

Apart from `client`, which asks about all of them at once. One namespace that was deleted, or whose Role is missing,
must not keep the operator from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from spotcompute.kube.port import Forbidden, KubeError

_log = structlog.get_logger(__name__)

#: Time between two looks, in seconds. A new Role takes effect after at most as long. A look is a list of one object.
LOOK_SECONDS = 30.0


class Lists(Protocol):
    """`Lists` asks one namespace for environments."""

    async def try_namespace(self, namespace: str) -> None:
        """Raises Forbidden when we may not list environments there, another KubeError when there is no answer."""
        ...


async def readable(kube: Lists, watched: Collection[str]) -> tuple[str, ...]:
    """Returns the namespaces to work in: those of `watched` that can be read. Raises KubeError without an answer.

    Returns all when none can be read, or when only one is watched: the start then waits, and says what is missing.
    """
    if len(watched) < 2:
        return tuple(watched)
    found = []
    for namespace in watched:
        try:
            await kube.try_namespace(namespace)
            found.append(namespace)
        except Forbidden as error:
            _log.warning("namespace_out_of_reach", namespace=namespace, error=str(error))
    return tuple(found) or tuple(watched)


async def watch_reach(
    kube: Lists, watched: Collection[str], known: Collection[str], changed: Callable[[], None]
) -> None:
    """Calls `changed` when other namespaces can be read than those in `known`. Never ends.

    kopf watches the namespaces that it was started with. So `changed` ends the process, and the next one begins anew.
    """
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            found = await readable(kube, watched)
        except KubeError:
            continue  # the API server is away, which says nothing about rights
        if set(found) != set(known):
            _log.warning("namespaces_changed", now=list(found), before=list(known))
            changed()
