"""Defines what a Kubernetes Event says about an environment.

Apart from `kube.events`, which posts Events: `report` chooses their words and asks no API server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Event:
    """`Event` is a Kubernetes Event about an environment.

    `reason` is written in PascalCase; `note` has at most 1,024 characters. `request_id` is that of the call it is
    about, and no part of the note: equal events with other ids are one series.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    request_id: str | None = None
