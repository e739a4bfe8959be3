"""Compares two moments although a clock may have been set back between them.

Apart from the rooms that keep moments, because all of them must read one from the future in the same way.
"""

from __future__ import annotations

from datetime import datetime, timedelta


def age(moment: datetime, now: datetime) -> timedelta:
    """Returns the age of `moment`. One in the future means that the clock was set back; its distance is its age.

    Otherwise it would count as new until the clock has caught up, which could take years.
    """
    return abs(now - moment)
