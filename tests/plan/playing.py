"""Hours of a spot market in a moment: a scripted market, honest answers, and the loop of decisions in virtual time.

Apart from `tiny`, which is a cloud full of trouble over seconds: here everything is as it is told, and time passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from plan.given import NOW, OURS, POLICY, seconds
from plan.judge import complaints, most_alive
from spotcompute.cloud.errors import CloudError, InsufficientCapacity
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Ledger
from spotcompute.model.observation import Absence, Observation
from spotcompute.model.offering import Market, Pool
from spotcompute.plan.actions import Launch, Launched, Learned, Outcome, Plan, Terminate, Terminated
from spotcompute.plan.ledger_sync import Synced, sync_ledger
from spotcompute.plan.outcomes import Applied, apply_outcomes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.situation import Situation
from spotcompute.report.wake import next_wake

#: How long a machine that has ended is still listed.
LISTED_AFTER_END = seconds(60)


@dataclass
class Machine:
    """The truth about one instance; `reclaimed_at` is when the cloud will take it back."""

    launch: Launch
    born: datetime
    reclaimed_at: datetime | None
    ended_at: datetime | None = None


@dataclass
class Play:
    """One environment in a market that `room` and `life` describe, both asked at the virtual moment `now`.

    `room` is how many more a pool sells as spot, `life` how long an instance of a pool lasts (None: for ever).
    On demand everything is to be had. An instance runs `starts_in` after its launch, and is listed after `listed_in`.
    It powers itself off when it has run for `stops_after`; `protects` says which the cloud does not release.
    """

    desired: Desired
    market: Callable[[datetime], Market]
    room: Callable[[Pool, datetime], int] = lambda pool, now: 1000
    life: Callable[[Pool, datetime], timedelta | None] = lambda pool, now: None
    on_demand_room: int = 1000
    starts_in: timedelta = timedelta(0)
    listed_in: timedelta = timedelta(0)
    stops_after: Callable[[datetime], timedelta | None] = lambda now: None
    protects: Callable[[str, datetime], bool] = lambda instance_id, now: False
    now: datetime = NOW
    ledger: Ledger = field(default_factory=lambda: Ledger(OURS.environment_id))
    machines: dict[str, Machine] = field(default_factory=dict)
    launched: list[tuple[datetime, Launch]] = field(default_factory=list)
    asked: list[tuple[datetime, Launch]] = field(default_factory=list)
    released: list[tuple[datetime, Terminate]] = field(default_factory=list)
    looks: int = 0
    most_wanted: int = 0

    def run(self, duration: timedelta) -> None:
        """Let `duration` pass."""
        until = self.now + duration
        while self.now < until:
            self._reconcile()
            wake = next_wake(self._situation()).at
            self.now = min([wake, until, *(event for event in self._events() if event > self.now)])
            for machine in self.machines.values():
                if machine.reclaimed_at and not machine.ended_at and machine.reclaimed_at <= self.now:
                    machine.ended_at = self.now

    def _events(self) -> Iterator[datetime]:
        """What sweeps and watches bring news of."""
        for machine in self.machines.values():
            if machine.ended_at is None:
                yield machine.born + self.starts_in
                if (life := self.stops_after(machine.born)) is not None:
                    yield machine.born + self.starts_in + life
                if machine.reclaimed_at is not None:
                    yield machine.reclaimed_at

    def live(self, on_demand: bool | None = None) -> int:
        """Machines somebody pays for."""
        kinds = [one.launch.intent.on_demand for one in self.machines.values() if one.ended_at is None]
        return sum(on_demand in (None, kind) for kind in kinds)

    def ends(self) -> list[datetime]:
        """When machines ended."""
        return [one.ended_at for one in self.machines.values() if one.ended_at is not None]

    def _reconcile(self) -> None:
        learned = Learned()
        self.most_wanted = max(self.most_wanted, most_alive(self.desired))
        for _ in range(40):
            self.looks += 1
            situation = self._situation()
            synced = sync_ledger(situation)
            self.on_synced(situation, synced)
            situation = situation.with_ledger(synced.ledger)
            plan = make_plan(situation, learned)
            wrong = complaints(situation, plan)
            assert wrong == [], wrong
            self.on_planned(situation, plan)
            self.ledger = plan.ledger
            if not plan.actions:
                return
            outcomes = [self._perform(action) for action in plan.actions]
            assert self.live() <= self.most_wanted
            applied = apply_outcomes(situation.with_ledger(self.ledger), outcomes, learned)
            self.on_applied(self.ledger, outcomes, applied)
            self.ledger, learned = applied.ledger, replace(applied.learned, one_time_started=True)

    def on_synced(self, before: Situation, synced: Synced) -> None:
        """Hears what a sync has made of the ledger."""

    def on_planned(self, before: Situation, plan: Plan) -> None:
        """Hears what was planned."""

    def on_applied(self, before: Ledger, outcomes: Sequence[Outcome], applied: Applied) -> None:
        """Hears what the outcomes of a plan have made of the ledger."""

    def _situation(self) -> Situation:
        return Situation(self.desired, self.ledger, self._observed(), self.now, POLICY)

    def _perform(self, action: Launch | Terminate) -> Outcome:
        if isinstance(action, Terminate):
            self.released.append((self.now, action))
            for key in action.instance_ids:
                self.machines[key].ended_at = self.machines[key].ended_at or self.now
            return Terminated(action.instance_ids, action.cause, action.because, "req-1")
        self.asked.append((self.now, action))
        return Launched(action, self._launch(action))

    def _launch(self, action: Launch) -> LaunchReceipt | CloudError:
        intent, pool = action.intent, action.intent.pool
        room = self.on_demand_room if intent.on_demand else self.room(pool, self.now)
        if room < intent.count:
            return InsufficientCapacity("ResourcesSoldOut", "sold out")
        life = None if intent.on_demand else self.life(pool, self.now)
        ids = tuple(f"ins-{intent.sequence}-{number}" for number in range(intent.count))
        for key in ids:
            self.machines[key] = Machine(action, self.now, self.now + life if life is not None else None)
        self.launched.append((self.now, action))
        return LaunchReceipt(ids, "req-1")

    def _observed(self) -> Observation:
        listed, absent = {}, {}
        for key, machine in self.machines.items():
            if machine.ended_at is not None and self.now - machine.ended_at > LISTED_AFTER_END:
                absent[key] = Absence(3, looked_up=True, had_ended=True, was_listed=True)
                continue
            if self.now - machine.born < self.listed_in:
                absent[key] = Absence(1, looked_up=True)
                continue
            name = machine.launch.intent.name + (f"{key.rpartition('-')[2]}" if machine.launch.intent.count > 1 else "")
            listed[key] = Instance(
                id=key,
                name=name,
                state=self._state(machine),
                pool=machine.launch.intent.pool,
                created_at=machine.born,
                ownership=OURS,
                on_demand=machine.launch.intent.on_demand,
                protected=self.protects(key, self.now),
            )
        return Observation(self.now, listed, absent, market=self.market(self.now))

    def _state(self, machine: Machine) -> InstanceState:
        if machine.ended_at is not None:
            return InstanceState.TERMINATING
        age, life = self.now - machine.born, self.stops_after(machine.born)
        if life is not None and age >= self.starts_in + life:
            return InstanceState.STOPPED
        return InstanceState.RUNNING if age >= self.starts_in else InstanceState.PENDING


def most_in_an_hour(moments: list[datetime]) -> int:
    """The largest number of `moments` within any one hour."""
    return max((sum(start <= at < start + seconds(3600) for at in moments) for start in moments), default=0)
