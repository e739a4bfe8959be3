"""The numbers by which tests decide are those by which an install decides that has chosen none."""

from __future__ import annotations

from spotcompute.app import policy
from spotcompute.plan.policy import Policy
from spotcompute.settings import Settings


def test_the_defaults_are_those_of_the_settings() -> None:
    assert policy(Settings()) == Policy()
