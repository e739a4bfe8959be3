"""An environment waits no longer because its neighbours are in trouble, and the judge notices when it does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from simulation import fairness


@pytest.mark.parametrize(
    ("trouble", "count"),
    [pytest.param("nothing-is-sold", 3, id="sold-out"), pytest.param("no-answer", 3, id="no-answer")],
)
def test_a_neighbour_in_trouble_at_most_doubles_a_wait(trouble: str, count: int) -> None:
    assert fairness.beside(trouble, count, 1).violations == ()


def test_the_judge_notices_one_environment_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "Settings", lambda: SimpleNamespace(workers=1))
    (violation,) = fairness.beside("no-answer", 12, 1).violations
    assert violation.startswith("O13 fairness")
