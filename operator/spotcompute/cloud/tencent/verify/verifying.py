"""Runs one verification or one cleaning as a whole: begins, ends what was bought whatever happens, and writes.

Apart from `course`, which asks: here stands what must happen even when asking fails or is interrupted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from spotcompute.cloud.tencent.verify import asks, rights
from spotcompute.cloud.tencent.verify.course import Allowance, Course
from spotcompute.cloud.tencent.verify.endings import QUOTES_LATE
from spotcompute.cloud.tencent.verify.hands import Hands
from spotcompute.cloud.tencent.verify.journal import Journal
from spotcompute.cloud.tencent.verify.leftovers import Cleaner, Leftovers
from spotcompute.cloud.tencent.verify.line import RequestLine, seconds
from spotcompute.cloud.tencent.verify.purse import Purse
from spotcompute.cloud.tencent.verify.record import Record
from spotcompute.cloud.tencent.verify.report import Outline, to_markdown, to_world
from spotcompute.cloud.tencent.verify.watching import Watcher
from spotcompute.telemetry.redaction import redact

#: Seconds for the ends after a run, and after an interrupted one.
END_PATIENCE, INTERRUPTED_PATIENCE = 110.0, 240.0

#: Seconds between two looks at what may be reclaimed: its last state may be short.
WATCH_SECONDS = 2.0

#: Seconds for a cleaning, and how long it looks at least: tags may be readable this late.
CLEAN_PATIENCE, CLEAN_QUIET = 900.0, 200.0


@dataclass(frozen=True, slots=True)
class Job:
    """`Job` is what a person asks for: the money, the time, what to buy, where to write, and how long to watch."""

    folder: Path
    run: str
    site: str
    spend: Decimal
    wish: asks.Preference = field(default_factory=asks.Preference)
    limits: Allowance = field(default_factory=Allowance)
    watch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """`Done` is a finished verification."""

    record: Record
    facts: Outline
    left: Leftovers


async def run_verification(line: RequestLine, job: Job) -> Done:
    """Verifies, ends everything that it has bought, and writes the report. Raises CannotVerify.

    It ends everything also when it is cancelled. After that the cancellation goes on.
    """
    record, journal, purse = Record(site=job.site), Journal(job.folder), Purse(job.spend)
    hands = Hands(line, journal, purse, record, job.run)
    hands.watches_for = job.watch_seconds
    course = Course(hands, job.wish, job.limits)
    patience = INTERRUPTED_PATIENCE
    try:
        await course.run()
        await _watch_on(hands, job.watch_seconds)
        patience = END_PATIENCE
    finally:
        left = await asyncio.shield(_end(hands, patience))
        done = _written(hands, job, left)
    return done


async def _watch_on(hands: Hands, limit: float) -> None:
    """Watches what lives for as long as the person allows and the budget lasts. Otherwise a reclaim is never seen.

    Prices are watched a little longer than the instance, because a quote may be late that tells why it has ended.
    """
    end = seconds() + limit
    watcher = Watcher(hands, longest=WATCH_SECONDS)
    lasting = hands.record.life("lasting")
    while lasting is not None and seconds() < end and not hands.purse.is_used_up(seconds()):
        await watcher.look()
        if lasting.is_gone:
            end = min(end, lasting.sightings[-1].first + QUOTES_LATE)
        await asyncio.sleep(1.0)


async def _end(hands: Hands, patience: float) -> Leftovers:
    """Ends everything. What ends in the meantime is still looked at, because its states answer questions."""
    alive = [life.id for life in hands.record.lives if not life.is_gone]
    left = await Cleaner(hands.line, hands.journal, alive).run(patience)
    for life in hands.record.lives:
        hands.purse.close(life.id, seconds())
    return left


def _written(hands: Hands, job: Job, left: Leftovers) -> Done:
    facts = Outline(
        run=job.run,
        region=hands.line.region,
        goods=hands.goods,
        spent=hands.purse.spent(seconds()),
        limit=job.spend,
        left=sorted(left.living),
        lacking=rights.lacking(hands.record.answers),
    )
    if hands.record.lives or hands.record.market:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "report.md").write_text(redact(to_markdown(hands.record, facts)), encoding="utf-8")
        (job.folder / "world.yaml").write_text(redact(to_world(hands.record, facts)), encoding="utf-8")
    return Done(hands.record, facts, left)


async def clean(line: RequestLine, folder: Path) -> Leftovers:
    """Ends everything that verifications have left in the region of `line`."""
    return await Cleaner(line, Journal(folder)).run(CLEAN_PATIENCE, CLEAN_QUIET)


def told(left: Leftovers) -> str:
    """Returns in one sentence what is left."""
    if left.living:
        named = ", ".join(f"{one} ({state})" for one, state in sorted(left.living.items()))
        return f"These live and could not be ended yet: {named}. Run `spotcompute verify --clean` again."
    if left.ending:
        named = ", ".join(f"{one} ({state})" for one, state in sorted(left.ending.items()))
        return f"0 left. The cloud still shows {named}: they end by themselves, and are not billed."
    return "0 left."
