"""Defines the port to Kubernetes: the few things the operator asks of an API server.

Two classes implement it: `kube.client` with the official client, and the in-memory API server of the simulation.
Objects are passed as plain JSON (`KubeObject`). `spotcompute.api` gives them types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from spotcompute.api.events import Event

KubeObject = Mapping[str, Any]


class SecretData(dict[str, bytes]):
    """`SecretData` is the decoded data of a Secret.

    `is_going` is True when the Secret was deleted, and our finalizer keeps it.
    """

    is_going = False


class KubeError(Exception):
    """`KubeError` means that the API server refused or could not be asked. `str()` never holds the body of a Secret."""


class Conflict(KubeError):
    """`Conflict` means that the object has changed since it was read (HTTP 409, or a failed precondition).

    Read it again and decide again.
    """


class NotFound(KubeError):
    """`NotFound` means that there is no such object (HTTP 404)."""


class Forbidden(KubeError):
    """`Forbidden` means that our ServiceAccount may not do this (HTTP 401 or 403)."""


class Invalid(KubeError):
    """`Invalid` means that the API server rejects the content (HTTP 400, 413 or 422).

    Repeating it unchanged is useless.
    """


class ApiUnavailable(KubeError):
    """`ApiUnavailable` means that there was no usable answer: connection refused, timeout, HTTP 429 or 5xx.

    A write may or may not have happened.
    """


class NotServed(ApiUnavailable):
    """`NotServed` means that the API server does not know the kind: its CRD is missing, or not served yet."""


class KubePort(Protocol):
    """`KubePort` lists what the operator asks of an API server.

    Every method raises KubeError. Writes carry the resourceVersion on which they were decided.
    """

    async def cluster_id(self) -> str:
        """Returns a stable name of this cluster: the uid of the kube-system namespace."""
        ...

    async def get(self, namespace: str, name: str) -> KubeObject | None:
        """Reads one environment live, never from a cache. Returns None when it does not exist."""
        ...

    async def check_served(self) -> None:
        """Returns once the API server names our kind to all who discover it. Raises NotServed while it does not."""
        ...

    async def list_environments(self) -> Sequence[KubeObject]:
        """Returns the metadata of every environment, complete and live (all pages of one consistent read).

        Only `metadata` is filled in: uid, namespace, name, annotations, resourceVersion, deletionTimestamp, finalizers.
        """
        ...

    async def add_identity(self, obj: KubeObject, environment_id: str) -> KubeObject:
        """Adds our finalizer and the environment-id annotation in one write, and returns the new object.

        Raises Conflict when `obj` is not the latest version.
        """
        ...

    async def write_status(self, obj: KubeObject, status: Mapping[str, Any]) -> KubeObject:
        """Makes `.status` equal to `status` when `obj` is still the latest version, and returns the new object.

        Sends only the top-level fields that differ from `obj`, and nothing when none differ.
        """
        ...

    async def remove_finalizer(self, obj: KubeObject) -> None:
        """Removes our finalizer and no other. Does nothing when the finalizer or the object is already gone.

        Raises Conflict when `obj` is not the latest version, because the decision may no longer hold.
        """
        ...

    async def read_secret(self, namespace: str, name: str) -> SecretData:
        """Returns the decoded data of a Secret. Raises NotFound or Forbidden."""
        ...

    async def secret_version(self, namespace: str, name: str) -> str:
        """Returns what changes whenever that Secret does, without its data. Raises NotFound or Forbidden."""
        ...

    async def protect_secret(self, namespace: str, name: str) -> None:
        """Puts our finalizer on a Secret, so that a deleted namespace keeps the key until everything is released.

        Does nothing when it is already there, or when the Secret is gone or being deleted. Raises Forbidden when we
        have no right to do it.
        """
        ...

    async def unprotect_secret(self, namespace: str, name: str) -> None:
        """Removes our finalizer from a Secret. Does nothing when the finalizer or the Secret is already gone."""
        ...

    async def remembered_accounts(self) -> Mapping[str, str]:
        """Returns the texts about accounts in use, by key, as kept in our own namespace. Empty when there are none."""
        ...

    async def remember_account(self, key: str, text: str) -> None:
        """Adds or replaces one of these texts."""
        ...

    async def forget_account(self, key: str) -> None:
        """Removes one of these texts. Does nothing when it is already gone."""
        ...

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """Returns the data of a ConfigMap, text and binary. Raises NotFound or Forbidden."""
        ...

    async def record(self, obj: KubeObject, event: Event) -> None:
        """Posts an Event about `obj` at best effort. Repeats become a series, and failures are ignored."""
        ...
