"""Decides whether a list that was read page by page is complete.

Apart from `provider` because it is pure, and because the answer needs an argument. The API offers only offsets: no
cursor, no promised order. Instances that appear or vanish while a list is read move all later ones, so a page can
repeat an item or skip one. Two things still prove a list complete:

* The count stayed the same, and exactly as many different ids were seen, in one pass or several.
* Every page continues in order where the one before it ended. Pages are asked for with an overlap for this. The list
  may have grown or shrunk, but no item was skipped.

The first proof works in any order, the second under constant change. A list that satisfies neither is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from spotcompute.model.instance import Instance

#: Highest number of items in a page. Source: CVM API 2017-03-12, DescribeInstances.
PAGE = 100

#: Each page begins this many items before the end of the last, so that this many may vanish in between.
OVERLAP = 5

#: One page: the total count that the cloud gave with it, and its items.
Page = tuple[int, Sequence[Instance]]


def further_offsets(total: int) -> range:
    """Returns the offsets of the pages after the first of a list of `total` items."""
    return range(PAGE - OVERLAP, total - OVERLAP, PAGE - OVERLAP) if total > PAGE else range(0)


class Listing:
    """`Listing` collects what the passes over one list have shown so far."""

    def __init__(self) -> None:
        """Begins with nothing seen."""
        self.seen: dict[str, Instance] = {}
        self.count: int | None = None

    def add(self, pages: Sequence[Page]) -> tuple[Instance, ...] | None:
        """Adds one pass over all pages, in order. Returns the complete list, each id once, or None: read it again."""
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
    """True when `right` begins inside `left` and continues beyond its end in the same order."""
    if not right or right[0] not in left:
        return False
    common = left[left.index(right[0]) :]
    return right[: len(common)] == common
