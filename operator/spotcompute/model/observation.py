"""Defines `Observation`: what one run sees of an environment's instances, of ids that are gone, and of the market.

An observation is complete or does not exist: half a listing never becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from spotcompute.model.instance import Instance
from spotcompute.model.offering import Market


@dataclass(frozen=True, slots=True)
class Absence:
    """`Absence` tells how certain it is that an instance is gone.

    `sweeps` counts complete sweeps in a row without the id. `looked_up` says that a look-up by id agreed. `had_ended`
    is True when the instance was seen as ended while this process watched. `was_listed` is True when lists made with
    this key have shown it. `looks` counts independent look-ups in a row without the id, each of which showed other
    instances that exist.
    """

    sweeps: int
    looked_up: bool
    had_ended: bool = False
    was_listed: bool = False
    looks: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """`Observation` is what the cloud shows of one environment at `observed_at`, the start of its sweep (aware UTC).

    `instances` holds every instance with the environment's marks, and every id that was asked for and found. `absent`
    holds every id that was asked for and not found, `unlisted` since when lists lack what they had shown and look-ups
    still show. `searched` holds the instance names that were looked up. `account`
    is the number of the account that was looked at, empty while the cloud does not tell it. `key` names the key that
    was used, without revealing it. `other_identities` are earlier identities of the same object that still have
    instances.
    """

    observed_at: datetime
    instances: Mapping[str, Instance] = field(default_factory=dict)
    absent: Mapping[str, Absence] = field(default_factory=dict)
    unlisted: Mapping[str, datetime] = field(default_factory=dict)
    searched: frozenset[str] = frozenset()
    market: Market = field(default_factory=Market)
    account: str = ""
    key: str = ""
    other_identities: frozenset[str] = frozenset()
    #: Instances that may be taken over, as look-ups and a search by tag show them.
    candidates: Mapping[str, Instance] = field(default_factory=dict)
    #: How many environments of the account wait for instances, as far as this process knows.
    waiting: int = 0
