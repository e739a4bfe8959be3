"""Keeps on disk what a verification is about to buy, so that a second command finds everything after a crash.

Apart from the tags of the instances, which say the same: tags can be read only some time after a launch, and a launch
without an answer has no id. Each line is on the disk before the request that it announces leaves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FILE = "journal.jsonl"

#: How long an instance may stay invisible after its launch was sent: the age at which a signature is refused would be
#: longer, but a request that waits in a broken connection is not delivered after its process has ended.
INVISIBLE = timedelta(seconds=240)


@dataclass(slots=True)
class Bought:
    """`Bought` is what the journal says of one launch. `ids` is None while no answer was written down."""

    name: str
    region: str
    sent_at: datetime
    ids: tuple[str, ...] | None = None


@dataclass(slots=True)
class Past:
    """`Past` is the content of a journal: the launches by their labels, and the ids whose end was seen."""

    launches: dict[str, Bought] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def ids_left(self, region: str) -> list[str]:
        """Returns the ids that were bought in a region and not yet seen to be gone."""
        own = (one for one in self.launches.values() if one.region == region)
        return [one for bought in own for one in bought.ids or () if one not in self.gone]

    def unanswered(self, region: str) -> list[Bought]:
        """Returns the launches of a region whose answer is not known."""
        return [one for one in self.launches.values() if one.region == region and one.ids is None]

    def regions(self) -> set[str]:
        """Returns every region in which something was bought."""
        return {one.region for one in self.launches.values()}


class Journal:
    """`Journal` is the file of one directory. It only grows."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the report. It is made when it does not exist."""
        self.path = folder / FILE

    def intend(self, label: str, name: str, region: str, at: datetime) -> None:
        """Writes down that a launch is about to be sent, with the name that its instance will have."""
        self._write({"intend": label, "name": name, "region": region, "at": at.isoformat()})

    def answered(self, label: str, ids: tuple[str, ...]) -> None:
        """Writes down what a launch has bought. Nothing when it was refused."""
        self._write({"answered": label, "ids": list(ids)})

    def gone(self, instance_id: str) -> None:
        """Writes down that an instance exists no more."""
        self._write({"gone": instance_id})

    def read(self) -> Past:
        """Returns what was written down. A line that was cut off by a crash announces nothing that was sent."""
        past = Past()
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    _apply(json.loads(line), past)
                except (ValueError, KeyError, TypeError):
                    continue
        return past

    def _write(self, entry: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if is_torn else "") + json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _apply(entry: Mapping[str, Any], past: Past) -> None:
    if "intend" in entry:
        sent_at = datetime.fromisoformat(entry["at"])
        past.launches[str(entry["intend"])] = Bought(str(entry["name"]), str(entry["region"]), sent_at)
    elif "answered" in entry:
        past.launches[str(entry["answered"])].ids = tuple(map(str, entry["ids"]))
    else:
        past.gone.add(str(entry["gone"]))
