"""Defines `Leftover`: what outlives an instance and goes on to cost money.

Apart from `instance`, because it is no machine and no environment answers for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LeftoverKind(StrEnum):
    """`LeftoverKind` says what it is."""

    DISK = "disk"
    ADDRESS = "elastic address"


@dataclass(frozen=True, slots=True)
class Leftover:
    """`Leftover` is one thing that no instance has any more.

    `what` describes it: type and size of a disk, or the address itself. `since` is when it was made, in the cloud's
    words. `cluster_id` and `owner` (the environment as ``namespace@name``) come from its tags, and are None without.
    """

    kind: LeftoverKind
    id: str
    what: str
    since: str
    zone: str | None = None
    cluster_id: str | None = None
    owner: str | None = None
