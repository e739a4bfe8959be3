"""Names where the cloud is asked, for sentences to people.

Apart from `tencent.client`, which sends requests there, because commands and their sentences know no vendor.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`Endpoint` is where the cloud is asked. `is_default`: no setting names it, so that it is the site's own."""

    host: str
    protocol: str
    is_default: bool

    @property
    def url(self) -> str:
        """Returns scheme and host."""
        return f"{self.protocol}://{self.host}"

    @property
    def is_local(self) -> bool:
        """True when it is this machine itself, to which http is allowed."""
        return self.host.startswith(("127.", "localhost", "[::1]"))
