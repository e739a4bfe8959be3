"""The age of a moment, whichever way a clock was set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spotcompute.model.moments import age

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        pytest.param(NOW, 0, id="now"),
        pytest.param(NOW - timedelta(seconds=90), 90, id="past"),
        pytest.param(NOW + timedelta(days=365), 365 * 86_400, id="from-before-the-clock-was-set-back"),
    ],
)
def test_the_age_of_a_moment_is_never_negative(moment: datetime, seconds: int) -> None:
    assert age(moment, NOW) == timedelta(seconds=seconds)
