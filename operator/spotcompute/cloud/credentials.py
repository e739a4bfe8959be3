"""Defines the key to an account, as a value that never shows its content.

Apart from the provider because the Kubernetes side reads it from a Secret, and only the vendor's side uses it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from spotcompute.cloud.provider import CloudProvider


@dataclass(frozen=True, slots=True)
class Credentials:
    """`Credentials` holds a secret id, its key, and a session token when the key is temporary.

    `repr` and `str` show none of them.
    """

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Returns ten hex digits that identify this key in logs and as a dictionary key, without revealing it."""
        return hashlib.sha256(f"{self.secret_id}\0{self.secret_key}\0{self.token}".encode()).hexdigest()[:10]


class ProviderFactory(Protocol):
    """`ProviderFactory` makes the provider of one key in one region. It is called once for each."""

    def __call__(self, credentials: Credentials, region: str) -> CloudProvider:
        """Makes the provider without any I/O. A wrong key shows at the first call, as InvalidCredentials."""
        ...
