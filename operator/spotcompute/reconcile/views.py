"""Defines what the loop tells of each look, and what it asks before it decides: views of instances, and wishes.

Apart from `kube.port`, because a run never waits for a view to be written, and goes on where there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from spotcompute.kube.port import KubeObject
from spotcompute.model.wishes import Wish
from spotcompute.plan.situation import Situation


class Views(Protocol):
    """`Views` shows instances one by one, and knows what is asked for them."""

    async def wishes(self, namespace: str, uid: str) -> Mapping[str, Wish]:
        """Returns what is asked for instances of this environment, by id. It may wait after a start."""
        ...

    def show(self, obj: KubeObject, situation: Situation) -> None:
        """Takes in what a run has seen. It never waits."""
        ...

    def holds(self, obj: KubeObject) -> bool:
        """Returns True while views of an environment without instances are to be removed: for a minute at most."""
        ...

    def hide(self, uid: str) -> None:
        """Takes in that the cloud cannot be seen for this environment."""
        ...

    def gone(self, uid: str) -> None:
        """Takes in that there is no such environment any more."""
        ...


class NoViews:
    """`NoViews` shows nothing and knows no wishes."""

    async def wishes(self, namespace: str, uid: str) -> Mapping[str, Wish]:
        """Returns nothing."""
        return {}

    def show(self, obj: KubeObject, situation: Situation) -> None:
        """Does nothing."""

    def holds(self, obj: KubeObject) -> bool:
        """Returns False."""
        return False

    def hide(self, uid: str) -> None:
        """Does nothing."""

    def gone(self, uid: str) -> None:
        """Does nothing."""
