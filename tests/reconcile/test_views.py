"""Where instances have no objects of their own, nothing is asked for and nothing is waited for."""

from __future__ import annotations

import objects
from plan.given import desired_of, situation_of
from spotcompute.reconcile.views import NoViews


async def test_without_views_nothing_is_wished_and_nothing_holds_a_deletion() -> None:
    views, obj = NoViews(), objects.environment()
    views.show(obj, situation_of(desired_of(1)))
    views.hide("u1")
    views.gone("u1")
    assert await views.wishes("ns", "u1") == {}
    assert views.holds(obj) is False
