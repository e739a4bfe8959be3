"""Some seeded attacks. `make prove` plays others."""

from __future__ import annotations

import pytest

from forgery.attack import attack

ATTACKS = 15
CHUNK = 15


@pytest.mark.parametrize("first", range(0, ATTACKS, CHUNK))
def test_attacks_from(first: int) -> None:
    found = {seed: violations for seed in range(first, first + CHUNK) if (violations := attack(seed).violations)}
    assert not found
