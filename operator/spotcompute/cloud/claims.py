"""Keeps two environments from taking over one instance at the same time.

Apart from the tags, which say whose an instance is: a look-up may not show yet what another environment has written.
"""

from __future__ import annotations

import asyncio

#: How long a claim holds, in seconds: longer than it takes until look-ups show whose an instance is.
HELD_SECONDS = 600.0


class TakeoverClaims:
    """`TakeoverClaims` remembers which environment has lately been about to take over an instance of the account."""

    def __init__(self) -> None:
        """Begins without claims: after a restart the tags alone tell."""
        self._held: dict[str, tuple[str, float]] = {}

    def claim(self, instance_id: str, environment_id: str) -> bool:
        """Returns True, and holds the claim from now on, unless another environment holds one."""
        now = asyncio.get_running_loop().time()
        self._held = {key: one for key, one in self._held.items() if now - one[1] < HELD_SECONDS}
        holder, _ = self._held.get(instance_id, (environment_id, now))
        if holder != environment_id:
            return False
        self._held[instance_id] = environment_id, now
        return True
