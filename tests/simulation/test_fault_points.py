"""The operator in virtual time: every fault point of the scenarios. `make prove` plays their pairs as well."""

from __future__ import annotations

import pytest

from simulation.scenarios import SCENARIOS, play, single_points


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_single_fault_in(name: str) -> None:
    failures = []
    for cells in single_points(name):
        outcome, _ = play(name, cells)
        if outcome.violations:
            failures.append(f"{outcome.name}: {outcome.violations[0]}")
    assert not failures, "\n".join(failures)
