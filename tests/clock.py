"""The clock of the running loop, which is virtual in tests marked `looptime`: a day passes in a moment."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from plan.given import NOW


def now() -> float:
    """Seconds since the loop began."""
    return asyncio.get_running_loop().time()


def clock() -> datetime:
    """The same as a date: NOW when the loop began."""
    return NOW + timedelta(seconds=now())
