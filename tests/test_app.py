"""What an install chooses reaches the parts, also where one setting limits another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spotcompute.app import pace
from spotcompute.settings import Settings


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(), id="defaults"),
        pytest.param(Settings(resync_seconds=1_700), id="runs-every-half-hour"),
        pytest.param(Settings(resync_seconds=14_400), id="runs-every-four-hours"),
        pytest.param(Settings(sweep_seconds=7_200), id="sweeps-every-two-hours"),
    ],
)
def test_an_account_in_use_is_swept_without_end(settings: Settings) -> None:
    longest_silence = timedelta(seconds=max(settings.resync_seconds, settings.sweep_seconds))
    assert pace(settings).idle >= 2 * longest_silence
