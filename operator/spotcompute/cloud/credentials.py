"""Defines the key to an account, as a value that never shows its content.

Apart from the provider because the Kubernetes side reads it from a Secret, and only the vendor's side uses it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from spotcompute.cloud.provider import CloudProvider


@dataclass(frozen=True, slots=True)
class Credentials:
    """`Credentials` holds a secret id, its key, and a session token when the key is temporary.

    With `role_arn` the key only serves to take that role, and all calls are signed with the role's keys, which do not
    last. `repr` and `str` show none of the secrets.
    """

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    role_arn: str | None = None

    @property
    def fingerprint(self) -> str:
        """Returns ten hex digits that identify this key in logs and as a dictionary key, without revealing it."""
        parts = [self.secret_id, self.secret_key, str(self.token), *([self.role_arn] if self.role_arn else [])]
        return _digest("\0".join(parts))


class Identity(StrEnum):
    """`Identity` is what the operator itself is to the cloud, where it has no key of its own."""

    POD = "pod-identity"
    INSTANCE = "instance-role"


@dataclass(frozen=True, slots=True)
class OwnIdentity:
    """`OwnIdentity` stands for the keys that the cloud lends to the operator itself, for as long as each is good."""

    identity: Identity

    @property
    def fingerprint(self) -> str:
        """Returns ten hex digits that stay the same when the keys change."""
        return _digest(self.identity)


#: What opens an account: a given key, or what the operator itself is to the cloud.
AnyKey = Credentials | OwnIdentity


class ProviderFactory(Protocol):
    """`ProviderFactory` makes the provider of one key in one region. It is called once for each."""

    def __call__(self, credentials: AnyKey, region: str) -> CloudProvider:
        """Makes the provider without any I/O. A wrong key shows at the first call, as InvalidCredentials."""
        ...


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]
