"""Ends everything that a verification has bought and not ended: at the end of a run, and after a crash.

Apart from `hands`, which knows what this process has bought. Here only the journal and the tags are known, because the
process that bought may have been killed at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from spotcompute.cloud.tencent.verify import asks
from spotcompute.cloud.tencent.verify.hands import ENDED_CODES
from spotcompute.cloud.tencent.verify.journal import INVISIBLE, Journal
from spotcompute.cloud.tencent.verify.line import NO_ANSWER, RequestLine, call, items, seconds
from spotcompute.cloud.tencent.verify.record import LAUNCH_FAILED, SHUTDOWN, TERMINATING

#: Seconds between two rounds.
ROUND = 3.0

#: States in which an instance is not billed, and from which it never comes back.
HARMLESS = (TERMINATING, SHUTDOWN, LAUNCH_FAILED)


@dataclass(slots=True)
class Leftovers:
    """`Leftovers` says what was found: the ids whose end was accepted, those still ending, and those that live."""

    ended: set[str] = field(default_factory=set)
    ending: dict[str, str] = field(default_factory=dict)
    living: dict[str, str] = field(default_factory=dict)


class Cleaner:
    """`Cleaner` ends what is left in one region."""

    def __init__(self, line: RequestLine, journal: Journal, known: Iterable[str] = ()) -> None:
        """Takes `known`, ids that were bought and may not be in the journal."""
        self._line, self._journal = line, journal
        self._ids = {*known, *journal.read().ids_left(line.region)}
        self._found = Leftovers()
        self._gone: set[str] = set()

    async def run(self, patience: float, quiet: float = 0.0) -> Leftovers:
        """Ends everything. It looks at least for `quiet` seconds, and longer while a launch may still appear.

        After `patience` seconds it stops, and returns what is not gone.
        """
        started = seconds()
        while True:
            await self._round()
            waited, is_over = seconds() - started, not self._found.living
            if is_over and waited >= quiet and not self._may_appear() and not self._found.ending:
                return self._found
            if waited >= patience:
                return self._found
            await asyncio.sleep(ROUND)

    def _may_appear(self) -> bool:
        """True when a launch without an answer may still become visible."""
        now = self._line.now()
        return any(one.sent_at + INVISIBLE > now for one in self._journal.read().unanswered(self._line.region))

    async def _round(self) -> None:
        found = await self._find()
        self._found.living, self._found.ending = {}, {}
        for instance_id in sorted(self._ids | set(found)):
            if instance_id not in self._gone:
                await self._end(instance_id, found.get(instance_id, ""))

    async def _find(self) -> dict[str, str]:
        """Returns the states of everything of ours that a list shows, by id."""
        names = list(dict.fromkeys(one.name for one in self._journal.read().unanswered(self._line.region)))
        filters = [{"Name": "tag-key", "Values": [asks.VERIFY_TAG]}]
        groups = [names[start : start + 5] for start in range(0, len(names), 5)]
        found: dict[str, str] = {}
        for one in [filters, *([{"Name": "instance-name", "Values": group}] for group in groups)]:
            answer = await call(self._line, "DescribeInstances", {"Filters": one, "Limit": 100})
            for item in items(answer, "InstanceSet"):
                if asks.is_ours(item, names, sorted(self._ids)):
                    found[str(item["InstanceId"])] = str(item.get("InstanceState"))
        return found

    async def _end(self, instance_id: str, listed: str) -> None:
        """Asks for one end, unless it is under way, and notes what became of it."""
        self._ids.add(instance_id)
        state = await self._state(instance_id)
        if state is None:
            state = listed
        if state in (TERMINATING, LAUNCH_FAILED):
            self._found.ending[instance_id] = state
            return
        answer = await call(self._line, "TerminateInstances", {"InstanceIds": [instance_id]})
        if answer.code == "InvalidInstanceId.NotFound" or answer.code.endswith("InstanceStateTerminated"):
            self._gone.add(instance_id)
            self._journal.gone(instance_id)
        elif not answer.code or answer.code in ENDED_CODES:
            self._found.ended.add(instance_id)
            self._found.ending[instance_id] = TERMINATING
        elif answer.code.endswith("InstanceStateLaunchFailed"):
            self._found.ending[instance_id] = LAUNCH_FAILED
        else:
            self._found.living[instance_id] = state or answer.code

    async def _state(self, instance_id: str) -> str | None:
        answer = await call(self._line, "DescribeInstances", {"InstanceIds": [instance_id]})
        if answer.code == NO_ANSWER:
            return None
        return next((str(item.get("InstanceState")) for item in items(answer, "InstanceSet")), None)
