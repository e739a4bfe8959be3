"""The key to an account, as a value that never shows itself.

Separate from the provider because Kubernetes' side reads it from a Secret, and only the vendor's side looks inside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from spotcompute.cloud.provider import CloudProvider


@dataclass(frozen=True, slots=True)
class Credentials:
    """A secret id, its key, and a session token when the key is temporary. `repr` and `str` show none of them."""

    secret_id: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Ten hex digits that name this key in logs and as a dictionary key, without giving it away."""
        return hashlib.sha256(f"{self.secret_id}\0{self.secret_key}\0{self.token}".encode()).hexdigest()[:10]


class ProviderFactory(Protocol):
    """Makes the provider of one account and region; called once per distinct key and region."""

    def __call__(self, credentials: Credentials, region: str) -> CloudProvider:
        """Build it without any I/O; a wrong key shows at the first call, as `InvalidCredentials`."""
        ...
