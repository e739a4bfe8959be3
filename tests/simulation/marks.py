"""The judge of what people mark: protected instances are not ended, and nothing is bought in a cordoned zone.

Apart from `oracles`, because these rules are about marks beside the spec, which the operator reads in other ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from cvmsim.instance import Instance
from simulation.cloudworld import ENVIRONMENT_TAG, EPOCH
from spotcompute.api.cordon import CORDON_ZONE
from spotcompute.api.instance_object import DO_NOT_TERMINATE
from spotcompute.api.times import from_text

if TYPE_CHECKING:
    from simulation.world import World

Object = dict[str, Any]

#: Within so many seconds a mark reaches every process, once the API server answers.
READ_SECONDS = 60.0


class Marks:
    """`Marks` knows what people have marked since when, and complains about what is done in spite of it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._protected_since: dict[str, float] = {}
        self._cordons: dict[str, list[tuple[float, str]]] = {}
        #: Ids of the instances that a person wanted to be replaced.
        self.unwanted: set[str] = set()
        world.cloud.on_sending = self.judge_sending
        world.api.watchers.append(self._note_cordons)

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- what is noted -----------------------------------------------------------------------------------------------

    def protect(self, instance_id: str, *, is_protected: bool) -> None:
        """From now on a person wants that instance to stay, or not any more."""
        if not is_protected:
            self._protected_since.pop(instance_id, None)
        else:
            self._protected_since.setdefault(instance_id, self._now)

    def ask_for_the_end_of(self, instance_id: str) -> None:
        """A person wants another one in its place."""
        self.unwanted.add(instance_id)

    def _note_cordons(self, kind: str, obj: Object) -> None:
        """Take note of what an object says now about closed zones."""
        text = (obj["metadata"].get("annotations") or {}).get(CORDON_ZONE, "") if kind != "DELETED" else ""
        known = self._cordons.setdefault(obj["metadata"]["name"], [(0.0, "")])
        if known[-1][1] != text:
            known.append((self._now, text))

    # --- what is judged ----------------------------------------------------------------------------------------------

    def judge_sending(self, ids: Collection[str], caller: str) -> None:
        """An environment lets the end of instances go out."""
        namespace, _, name = caller.partition("/")
        obj = self._world.api.objects.get((namespace, name))
        if obj is None or "deletionTimestamp" in obj["metadata"] or self._world.objects is None:
            return
        for instance_id in ids:
            since = self._protected_since.get(instance_id)
            shown = self._world.objects.objects.get((namespace, instance_id))
            if since is None or shown is None or not _protects(shown, obj):
                continue
            if self._now - max(since, self._world.oracles.unseen_until if self._world.oracles else 0.0) > READ_SECONDS:
                self._world.cloud.violations.append(
                    f"O20 marked: {name} ends {instance_id}, protected since second {since:.0f}, at {self._now:.0f}"
                )

    def judge_birth(self, instance: Instance, window: float) -> None:
        """An environment has bought something. Its zone was open at some moment of the last `window` seconds."""
        name = self._world.name_of(instance.order.tags.get(ENVIRONMENT_TAG, ""))
        if name is not None and self.is_closed(name, instance.order.zone, window):
            self._world.cloud.violations.append(
                f"O20 cordoned: {name} buys {instance.id} in {instance.order.zone} at {self._now:.0f}"
            )

    def is_closed(self, name: str, zone: str, window: float = 0.0) -> bool:
        """True when the zone was closed for the environment during all of the last `window` seconds."""
        history, since = self._cordons.get(name, [(0.0, "")]), self._now - window
        in_force = [text for moment, text in history if moment < since][-1:]
        in_force += [text for moment, text in history if moment >= since]
        return all(self._closes(text, zone) for text in in_force)

    def _closes(self, text: str, zone: str) -> bool:
        ends = {name: end for name, _, end in (entry.partition("@") for entry in text.split(",")) if name}
        if zone not in ends or not ends[zone]:
            return zone in ends
        has_one_time = "clock" not in self._world.features  # otherwise a process may think that it is over
        return has_one_time and self._now < from_text(ends[zone]).timestamp() - EPOCH


def _protects(shown: Object, environment: Object) -> bool:
    """True when the object still bears the mark, and belongs to this environment: another of its name has others."""
    metadata = shown["metadata"]
    owners = {owner["uid"] for owner in metadata.get("ownerReferences") or ()}
    is_marked = (metadata.get("annotations") or {}).get(DO_NOT_TERMINATE) == "true"
    return is_marked and environment["metadata"]["uid"] in owners
