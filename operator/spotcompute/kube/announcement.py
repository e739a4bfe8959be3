"""Announces in the operator's own namespace which namespaces it watches, and in which version it runs.

An operator that watches other namespaces leaves an environment without a status and an Event,
as one that is down does. `kubectl spot why` and `spotcompute check` tell the two apart by this. Apart from `client`,
because nothing is decided by it, and because a failure is ignored.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from spotcompute.kube.connection import Connection
from spotcompute.kube.names import ACCOUNTS, EVERYWHERE, FIELD_MANAGER, RUNS, WATCHES
from spotcompute.kube.port import KubeError, NotFound
from spotcompute.kube.transport import Transport, segment

_log = structlog.get_logger(__name__)

MERGE_PATCH = "application/merge-patch+json"


async def announce(connection: Connection, home: str, namespaces: Collection[str], version: str) -> None:
    """Writes two annotations of the ConfigMap that records keys in use; needs `patch` on it, and `create`.

    Raises nothing: an install without these rights works all the same.
    """
    transport = Transport(connection)
    path, query = f"/api/v1/namespaces/{segment(home)}/configmaps", {"fieldManager": FIELD_MANAGER}
    annotations = {WATCHES: ",".join(namespaces) or EVERYWHERE, RUNS: version}
    try:
        try:
            body = {"metadata": {"annotations": annotations}}
            await transport.call("PATCH", f"{path}/{ACCOUNTS}", query=query, body=body, content_type=MERGE_PATCH)
        except NotFound:
            metadata = {"name": ACCOUNTS, "namespace": home, "annotations": annotations}
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            await transport.call("POST", path, query=query, body=made)
    except KubeError as error:
        _log.info("not_announced", error=str(error))
