"""Defines what the loop tells those who decide how many instances there are to be, and what it shows of them.

Apart from `views`, which show single instances: this part changes the number that a run is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from spotcompute.plan.situation import Situation


class ClaimViews(Protocol):
    """`ClaimViews` knows who wants room on an environment's machines."""

    def look(self, uid: str, situation: Situation) -> None:
        """Takes in what a run has seen. It never waits."""
        ...

    def shown(self, uid: str) -> Sequence[Mapping[str, Any]]:
        """Returns the lines of `status.claims`. Empty while nothing is known of any."""
        ...


class NoClaimViews:
    """`NoClaimViews` knows of none."""

    def look(self, uid: str, situation: Situation) -> None:
        """Does nothing."""

    def shown(self, uid: str) -> Sequence[Mapping[str, Any]]:
        """Returns nothing."""
        return ()
