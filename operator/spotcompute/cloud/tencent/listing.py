"""When is a list read page by page complete? Pure, and apart from `provider` because the answer is an argument.

Offsets are all the API offers: no cursor, no promised order. Instances that vanish or appear while a list is read
move the rest, so a page can repeat an item or jump over one. Two things can be known nevertheless:

* The count stayed the same, and exactly as many different ids were seen, in one pass or several.
* Every page takes up in order where the one before it left off. Pages are asked for with an overlap for this:
  the list may then have grown or shrunk at will, but nothing was jumped over.

The first holds in any order, the second under constant change. A listing that satisfies neither is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from spotcompute.model.instance import Instance

#: Most items of a page. Source: CVM API 2017-03-12, DescribeInstances.
PAGE = 100

#: Each page begins this many items before the end of the last: as many may vanish in between.
OVERLAP = 5

#: One page: the total the cloud claimed with it, and what it showed.
Page = tuple[int, Sequence[Instance]]


def further_offsets(total: int) -> range:
    """Offsets of the pages after the first of a list of `total` items."""
    return range(PAGE - OVERLAP, total - OVERLAP, PAGE - OVERLAP) if total > PAGE else range(0)


class Listing:
    """What the passes over one list have shown so far."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.seen: dict[str, Instance] = {}
        self.count: int | None = None

    def add(self, pages: Sequence[Page]) -> tuple[Instance, ...] | None:
        """Add one pass over all pages, in order; return the complete list, each id once, or None: read it again."""
        shown = {instance.id: instance for _, instances in pages for instance in instances}
        counts = {count for count, _ in pages}
        if len(shown) >= min(counts) and _is_seamless(pages):
            return tuple(shown.values())
        if counts != {self.count} or len(self.seen) > min(counts):
            self.seen = {}
        self.count = counts.pop() if len(counts) == 1 else None
        self.seen.update(shown)
        return tuple(self.seen.values()) if len(self.seen) == self.count else None


def _is_seamless(pages: Sequence[Page]) -> bool:
    return all(
        _continues([item.id for item in left], [item.id for item in right]) for (_, left), (_, right) in pairwise(pages)
    )


def _continues(left: list[str], right: list[str]) -> bool:
    """True when `right` begins inside `left` and runs on past its end in the same order."""
    if not right or right[0] not in left:
        return False
    common = left[left.index(right[0]) :]
    return right[: len(common)] == common
