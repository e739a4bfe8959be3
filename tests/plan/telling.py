"""Tells a play line by line, so that a person can read what the planner does and why.

Apart from `playing`, which lets time pass in a scripted market: here every step is written down, actor first. Times are
minutes and seconds since the story began; instances have letters in the order in which they appear. A run in which
nothing changed is left out, and runs in which the same happens again are one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from string import ascii_lowercase
from typing import Any

from plan.given import NOW, POLICY
from plan.playing import Play
from spotcompute.cloud.errors import CloudError
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.activity import Activity, ActivityType
from spotcompute.model.instance import InstanceState
from spotcompute.model.ledger import Backoff, Ledger
from spotcompute.model.offering import ON_DEMAND, Pool, whole_zone
from spotcompute.plan.actions import Action, Launch, Launched, Outcome, Plan
from spotcompute.plan.ledger_sync import Synced
from spotcompute.plan.outcomes import Applied
from spotcompute.plan.pool_trust import trust_of
from spotcompute.plan.situation import Situation
from spotcompute.report.conclusion import conclude
from spotcompute.report.wake import next_wake

#: Where the reasons begin, and where a reason that is too long for its line goes on.
COLUMN, WIDTH = 50, 116


@dataclass
class Run:
    """What one run has to tell: lines of an actor, a deed and its reason."""

    at: datetime
    headline: str
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    repeats: list[datetime] = field(default_factory=list)


@dataclass
class Story(Play):
    """A play that is told. `refuses` may refuse a launch, and `loses` the answer to one that was carried out."""

    title: str = ""
    setting: str = ""
    refuses: Callable[[Launch, datetime], CloudError | None] = lambda launch, now: None
    loses: Callable[[Launch, datetime], CloudError | None] = lambda launch, now: None
    runs: list[Run] = field(default_factory=list)
    said: tuple[str, str] = ("", "")
    letters: dict[str, str] = field(default_factory=dict)
    heralds: list[tuple[str, str, str]] = field(default_factory=list)

    # --- the play ----------------------------------------------------------------------------------------------------

    def change(self, deed: str, **desired: Any) -> None:
        """Let a person change the spec now."""
        self.heralds.append(("person", deed, ""))
        self.desired = replace(self.desired, generation=self.desired.generation + 1, **desired)

    def held(self, pool: Pool) -> int:
        """How many instances of `pool` live."""
        return sum(one.launch.intent.pool == pool and one.ended_at is None for one in self.machines.values())

    def _reconcile(self) -> None:
        run = Run(self.now, self._headline())
        self.runs.append(run)
        run.lines += self.heralds
        self.heralds = []
        super()._reconcile()
        self._conclude(run)

    def _headline(self) -> str:
        states = [self._state(one) for one in self.machines.values()]
        running, starting = states.count(InstanceState.RUNNING), states.count(InstanceState.PENDING)
        there = f"have {running}" + (f" and {starting} starting" if starting else "")
        return f"deleted, {there}" if self.desired.deleting else f"desired {self.desired.replicas}, {there}"

    def _conclude(self, run: Run) -> None:
        situation = self._situation()
        if self.desired.deleting and self.ledger.is_empty:
            run.lines.append(("status", "nothing is left: the finalizer is removed", ""))
            return
        found = conclude(situation)
        said = (f"{found.phase} / {found.reason}", self._plain(found.message))
        has_changed = bool(run.lines) or _without_times(said[1]) != _without_times(self.said[1])
        if not has_changed:
            self.runs.remove(run)
            return
        self.said = said
        run.lines.append(("status", said[0], f'"{said[1]}"'))
        wake = next_wake(situation)
        run.lines.append(("wake", self._clock(wake.at), wake.reason))

    def _launch(self, action: Launch) -> LaunchReceipt | CloudError:
        if (refusal := self.refuses(action, self.now)) is not None:
            return refusal
        known = tuple(key for key, one in self.machines.items() if one.launch.intent.token == action.intent.token)
        answer = LaunchReceipt(known, None) if known else super()._launch(action)
        lost = self.loses(action, self.now)
        return answer if lost is None or isinstance(answer, CloudError) else lost

    # --- what happens ------------------------------------------------------------------------------------------------

    def on_synced(self, before: Situation, synced: Synced) -> None:
        """Tell what the cloud has shown."""
        run = self.runs[-1]
        for activity in synced.activities:
            run.lines.append(("cloud", self._seen(activity), activity.message or ""))
        run.lines += self._ledger_news(before.ledger, synced.ledger)

    def on_planned(self, before: Situation, plan: Plan) -> None:
        """Tell what was planned."""
        run = self.runs[-1]
        run.lines += self._ledger_news(before.ledger, plan.ledger)
        for activity in plan.activities:
            ids = " ".join(map(self._name, activity.instance_ids))
            said = f"the place of {ids} stays empty" if activity.type is ActivityType.HOLD else f"{ids} cannot go"
            run.lines.append(("plan", said, activity.message or ""))
        rejected = [f"not {_place(one.pool)}: {one.why}" for one in before.ranking.rejected]
        for action in plan.actions:
            is_new = isinstance(action, Launch) and not action.replay
            run.lines.append(("plan", self._deed(action), "; ".join([action.because, *(rejected if is_new else [])])))

    def on_applied(self, before: Ledger, outcomes: Sequence[Outcome], applied: Applied) -> None:
        """Tell what came back."""
        run = self.runs[-1]
        run.lines += [("cloud", self._answer(outcome), "") for outcome in outcomes]
        run.lines += self._ledger_news(before, applied.ledger)

    def _seen(self, activity: Activity) -> str:
        ids = " ".join(map(self._name, activity.instance_ids))
        return {
            ActivityType.LOSS: f"{ids} has ended",
            ActivityType.ADOPT: f"{ids} carries our tags and our name: adopted",
            ActivityType.LAUNCH: f"{ids} found by the name of the open launch",
        }.get(activity.type, f"{activity.type}: {ids}")

    def _deed(self, action: Action) -> str:
        if not isinstance(action, Launch):
            return f"release {' '.join(map(self._name, action.instance_ids))}"
        intent = action.intent
        kind = " on demand" if intent.on_demand else f", bid {intent.bid}" if intent.bid else ""
        return f"launch {intent.count} in {_place(intent.pool)}{kind}{' again' if action.replay else ''}"

    def _answer(self, outcome: Outcome) -> str:
        if isinstance(outcome.result, CloudError):
            return f"{outcome.result.code}: {outcome.result.message}"
        if isinstance(outcome, Launched):
            ids = outcome.result.instance_ids if outcome.result else ()
            return f"accepts {' '.join(map(self._name, ids))}" if ids else "was not asked"
        return "accepts the release"

    def _ledger_news(self, before: Ledger, after: Ledger) -> Iterator[tuple[str, str, str]]:
        for pool in sorted(before.backoffs.keys() | after.backoffs.keys(), key=str):
            old, new = before.backoffs.get(pool), after.backoffs.get(pool)
            if new is not None and new != old:
                yield "ledger", f"{_what(pool)} backs off until {self._clock(new.until)}", _why(new)
            elif new is None and old is not None:
                yield "ledger", f"{_what(pool)} no longer backs off", ""
        for pool in after.pool_trust:
            until = trust_of(after, pool, self.now, POLICY).avoided_until
            if until is not None and after.pool_trust[pool] != before.pool_trust.get(pool):
                yield "ledger", f"{_place(pool)} is avoided until {self._clock(until)}", "it took instances back early"
        yield from self._clock_news(before, after)
        gone = sorted(before.members.keys() - after.members.keys())
        if gone:
            yield "ledger", f"{' '.join(map(self._name, gone))} forgotten", "the cloud has proven the end"
        doubtful = [one for one in after.intents if one.answer_lost and one not in before.intents]
        if any(one.sequence in {old.sequence for old in before.intents if not old.answer_lost} for one in doubtful):
            yield "ledger", "the launch stays open", "it may have been carried out"

    def _clock_news(self, before: Ledger, after: Ledger) -> Iterator[tuple[str, str, str]]:
        clocks = {
            "short_since": ("spot falls short", "spot no longer falls short"),
            "spot_since": ("spot could replace what runs on demand", "spot could no longer replace it"),
            "switched_at": ("the change back to spot begins now", ""),
            "incomplete_since": ("a part of the gang is paid for", "no part of a gang is paid for"),
            "broken_up_at": ("the gang is given up now", ""),
            "quarantine_until": ("nothing is launched before {}", "the quarantine is over"),
        }
        for name, (begun, over) in clocks.items():
            old, new = getattr(before, name), getattr(after, name)
            if new is not None and (old is None or (new != old and "now" in begun)):
                yield "ledger", begun.format(self._clock(new)).removesuffix(" now"), ""
            elif new is None and old is not None:
                yield "ledger", over, ""

    # --- in words ----------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The whole story."""
        lines = [f"# {self.title}", *(f"# {line}" for line in self.setting.splitlines()), ""]
        told: list[Run] = []
        for run in self.runs:
            if told and _masked(run) == _masked(told[-1]) and run is not self.runs[-1]:
                told[-1].repeats.append(run.at)
            else:
                told.append(run)
        return "\n".join(lines + [line for run in told for line in self._told(run)]) + "\n"

    def _told(self, run: Run) -> Iterator[str]:
        yield f"{self._clock(run.at):>7}  {run.headline}"
        for line in run.lines:
            yield from _laid_out(*line)
        if run.repeats:
            yield from _laid_out("", f"and the same again at {', '.join(map(self._clock, run.repeats))}", "")

    def _name(self, instance_id: str) -> str:
        """`ins-` and a letter."""
        self.letters.setdefault(instance_id, ascii_lowercase[len(self.letters)])
        return f"ins-{self.letters[instance_id]}"

    def _plain(self, text: str) -> str:
        """`text` with the times, names and pools of the story."""
        text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", lambda found: self._clock(_moment(found[0])), text)
        text = re.sub(r"ins-\d+-\d+", lambda found: self._name(found[0]), text)
        return re.sub(r"S5.MEDIUM4@ap-guangzhou", "gz", text)

    def _clock(self, at: datetime) -> str:
        return clock(at - NOW)


def clock(since: timedelta) -> str:
    """Minutes and seconds, and hours when there are any: 00:05, 1:02:03."""
    minutes, seconds = divmod(int(since.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _place(pool: Pool) -> str:
    """A pool by its zone: every story has one type."""
    return pool.zone.replace("ap-guangzhou", "gz")


def _what(pool: Pool | None) -> str:
    if pool is None:
        return "everything"
    if pool == ON_DEMAND:
        return "buying on demand"
    return _place(pool) if pool != whole_zone(pool.zone) else f"all of {_place(pool)}"


def _why(backoff: Backoff) -> str:
    return f"{backoff.trouble}, {backoff.failures} in a row" if backoff.failures > 1 else str(backoff.trouble)


def _masked(run: Run) -> list[tuple[str, str, str]]:
    shown = [("", run.headline, ""), *run.lines]
    return [(actor, _without_times(deed), _without_times(because)) for actor, deed, because in shown]


def _without_times(text: str) -> str:
    text = re.sub(r", \d+ in a row", "", text)
    return re.sub(r"(\d+:)?\d\d:\d\d", "", text)


def _laid_out(actor: str, deed: str, because: str) -> Iterator[str]:
    """One line, or more when the reason is long."""
    head = f"{'':9}{actor:<7}{deed}" if actor else f"{'':9}{deed}"
    if not because:
        yield head.rstrip()
        return
    room = WIDTH - COLUMN
    words, lines = because.split(" "), [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > room:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    if len(head) >= COLUMN - 1:
        yield head
        head = ""
    for line in lines:
        yield f"{head:<{COLUMN}}{line}"
        head = ""
