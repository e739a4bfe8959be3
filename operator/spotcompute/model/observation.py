"""Everything seen in one run: the environment's instances, what was looked for and not found, the market.

An observation is complete or it does not exist: half a listing never becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from spotcompute.model.instance import Instance
from spotcompute.model.offering import Market


@dataclass(frozen=True, slots=True)
class Absence:
    """How well an id's absence is known: sweeps in a row, each complete and with a look-up by id that agreed.

    They count half for an id that lists never showed, since then only the look-ups are evidence. `had_ended` is True
    when it was shown as ended while this process watched, `was_listed` when the lists of this very key have shown it.
    """

    sweeps: int
    looked_up: bool
    had_ended: bool = False
    was_listed: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What the cloud shows of one environment at `observed_at` (start of the sweep it rests on, aware UTC).

    `instances` holds whatever carries the environment's marks, plus every id that was asked for and found.
    `absent` holds every id that was asked for and not found. `searched` holds the instance names that were
    looked up by name. `account` names the key that looked, without giving it away. `kin` are other identities that
    were given to the same object, and under which instances live.
    """

    observed_at: datetime
    instances: Mapping[str, Instance] = field(default_factory=dict)
    absent: Mapping[str, Absence] = field(default_factory=dict)
    searched: frozenset[str] = frozenset()
    market: Market = field(default_factory=Market)
    account: str = ""
    other_identities: frozenset[str] = frozenset()
