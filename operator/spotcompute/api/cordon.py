"""Reads which zones a person has closed for launches by an annotation on the environment.

Apart from `spec`, because it is no part of what is asked for: Git keeps the spec, and sees no drift.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from spotcompute.api.crd import GROUP
from spotcompute.api.times import from_text
from spotcompute.model.desired import Cordon, Cordons

#: The annotation: zones with commas between them, each with an optional end after an `@`.
CORDON_ZONE = f"{GROUP}/cordon-zone"

_ZONE = re.compile(r"[a-z]{2,12}-[a-z]+(-[a-z0-9]+)*-[0-9]+")

#: Most entries that are read, and characters of an entry that are repeated to its writer.
_ENTRIES, _SHOWN = 40, 60


def cordons_of(annotations: Mapping[str, str]) -> Cordons:
    """Returns the zones that the annotation closes, and what of it cannot be read. Raises nothing.

    Of a zone whose end cannot be read, the zone is closed without an end: so nothing is bought that was not wanted.
    """
    closed: dict[str, Cordon] = {}
    unread: list[str] = []
    entries = [one.strip() for one in annotations.get(CORDON_ZONE, "").split(",")]
    for entry in [one for one in entries if one][:_ENTRIES]:
        zone, _, end = (part.strip() for part in entry.partition("@"))
        if not _ZONE.fullmatch(zone):
            unread.append(entry[:_SHOWN])
            continue
        until = None
        if end:
            try:
                until = from_text(end)
            except (ValueError, OverflowError):
                unread.append(entry[:_SHOWN])
        closed[zone] = Cordon(zone, until)
    return Cordons(tuple(closed[zone] for zone in sorted(closed)), tuple(unread))
