"""Which of many plays of one kind `make test` plays. The others are left to `make prove`."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def first(count: int, values: Iterable[object]) -> list[object]:
    """Returns all `values` for `parametrize`: the first `count` as they are, the others marked `rare`."""
    return [
        value if number < count else pytest.param(value, marks=pytest.mark.rare) for number, value in enumerate(values)
    ]
