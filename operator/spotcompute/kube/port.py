"""The port to Kubernetes: the few things the operator asks of an API server.

Behind it stand `kube.client` with the official client, and the in-memory API server of the simulation.
Objects are passed as the JSON they are (`KubeObject`); `spotcompute.api` gives them types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

KubeObject = Mapping[str, Any]


class KubeError(Exception):
    """The API server refused or could not be asked. `str()` never holds the body of a Secret."""


class Conflict(KubeError):
    """The object changed since it was read (HTTP 409, or a failed precondition): read again, decide again."""


class NotFound(KubeError):
    """There is no such object (HTTP 404)."""


class Forbidden(KubeError):
    """Our ServiceAccount may not do this (HTTP 401 or 403)."""


class Invalid(KubeError):
    """The API server finds the content invalid (HTTP 400, 413 or 422); repeating it unchanged is useless."""


class ApiUnavailable(KubeError):
    """No usable answer: refused connection, timeout, HTTP 429 or 5xx. A write may or may not have happened."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event about an environment: `reason` in PascalCase, `note` at most 1,024 characters."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


class KubePort(Protocol):
    """Every method raises `KubeError`. Writes carry the resourceVersion they were decided on."""

    async def cluster_id(self) -> str:
        """A stable name of this cluster: the uid of the kube-system namespace."""
        ...

    async def get(self, namespace: str, name: str) -> KubeObject | None:
        """Live read of one environment (never from a cache); None when it does not exist."""
        ...

    async def list_environments(self) -> Sequence[KubeObject]:
        """Metadata of every environment, complete and live (all pages, consistent read), or raise.

        Only `metadata` is filled in: uid, namespace, name, annotations, resourceVersion, deletionTimestamp, finalizers.
        """
        ...

    async def add_identity(self, obj: KubeObject, environment_id: str) -> KubeObject:
        """Add our finalizer and the environment-id annotation in one write; return the object as it is then.

        Raises Conflict when `obj` is not the latest version.
        """
        ...

    async def write_status(self, obj: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        """Make `.status` equal to `status`, if `obj` is still the latest version; return the new object.

        Sends only the top-level fields that differ from `obj`, and nothing at all when none do.
        """
        ...

    async def remove_finalizer(self, obj: KubeObject) -> None:
        """Remove our finalizer, and only ours; fine when it, or the object, is gone already.

        Raises Conflict when `obj` is not the latest version: what it was decided on may not be so any more.
        """
        ...

    async def read_secret(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """The decoded data of a Secret. Raises NotFound or Forbidden."""
        ...

    async def protect_secret(self, namespace: str, name: str) -> None:
        """Put our finalizer on a Secret, so that a deleted namespace keeps the key until everything is released.

        Fine when it is there already, or the Secret is gone or going. Raises Forbidden where that is not granted.
        """
        ...

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        """Take our finalizer off a Secret; fine when it, or the Secret, is gone already."""
        ...

    async def remembered_accounts(self) -> Mapping[str, str]:
        """The notes about accounts in use, kept in our own namespace; empty when there are none."""
        ...

    async def remember_account(self, key: str, note: str) -> None:
        """Add or replace one note."""
        ...

    async def forget_account(self, key: str) -> None:
        """Remove one note; fine when it is gone already."""
        ...

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """The data of a ConfigMap. Raises NotFound or Forbidden."""
        ...

    async def record(self, obj: KubeObject, event: Event) -> None:
        """Post an Event about `obj`, at best effort: repeats are merged into a series, failures are swallowed."""
        ...
