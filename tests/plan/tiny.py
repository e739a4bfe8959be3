"""The smallest cloud that can hurt, and the smallest loop around the planner: no I/O, no waiting, one seed.

Apart from the simulations of the whole loop: this one is so cheap that thousands of worlds fit into a test run, and it
exercises decisions alone: sync, plan, act, apply. Requests may be refused, lost on the way, lost on the way back or
carried out late; lists lag; tags attach later; instances are taken back, released, stopped or never start; the process
dies between its steps; status is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from plan.given import NOW, OURS, desired_of, seconds
from plan.judge import complaints
from plan.worlds import POOLS, Dice
from spotcompute.cloud.errors import (
    CloudError,
    InstanceBusy,
    InsufficientCapacity,
    InvalidConfiguration,
    NotSent,
    OutcomeUnknown,
    PriceTooLow,
    QuotaExceeded,
    Throttled,
)
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.desired import Desired
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import Ledger
from spotcompute.model.observation import Absence, Observation
from spotcompute.model.offering import Pool
from spotcompute.plan.actions import Launch, Launched, Learned, Outcome, Terminate, Terminated
from spotcompute.plan.ledger_sync import sync_ledger
from spotcompute.plan.outcomes import apply_outcomes
from spotcompute.plan.planner import make_plan
from spotcompute.plan.policy import Policy
from spotcompute.plan.situation import Situation

#: The protocol in seconds instead of minutes: what counts is the order of the durations, not their length.
SHORT = Policy(
    backoff_base=seconds(1),
    backoff_max=seconds(8),
    blocked_recheck=seconds(12),
    launch_timeout=seconds(60),
    replay_window=seconds(12),
    signature_lifetime=seconds(20),
    listing_lag_max=seconds(16),
    early_loss=seconds(10),
    half_life=seconds(10),
    failure_memory=seconds(60),
    poll_interval=seconds(2),
    repeat_release=seconds(8),
)
REFUSALS = [InsufficientCapacity, PriceTooLow, QuotaExceeded, InvalidConfiguration, Throttled, NotSent]
LIVE = {InstanceState.PENDING, InstanceState.RUNNING, InstanceState.STOPPED}


@dataclass
class Machine:
    """The truth about one instance."""

    id: str
    name: str
    pool: Pool
    born: datetime
    listed_from: datetime
    tagged_from: datetime
    state: InstanceState = InstanceState.PENDING
    ended_at: datetime | None = None

    def end(self, now: datetime) -> None:
        """Begin to end, whoever wants it."""
        if self.ended_at is None:
            self.state, self.ended_at = InstanceState.TERMINATING, now


@dataclass
class Cloud:
    """What really exists. `calm` ends all trouble; `stock` bounds what may live in a pool at once."""

    dice: Dice
    now: datetime = NOW
    calm: bool = False
    stock: dict[Pool, int] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    answered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    late: list[tuple[datetime, Launch]] = field(default_factory=list)
    absent: dict[str, int] = field(default_factory=dict)

    def live(self) -> int:
        """Machines somebody pays for."""
        return sum(machine.state in LIVE for machine in self.machines.values())

    # --- time --------------------------------------------------------------------------------------------------------

    def advance(self, by: float) -> None:
        """Let time pass: machines start and go, late requests arrive, and trouble happens."""
        until = self.now + seconds(by)
        for due, launch in sorted(self.late, key=lambda item: item[0]):
            if due <= until:
                self.late.remove((due, launch))
                self.now = due
                self._carry_out(launch)
        self.now = until
        for machine in list(self.machines.values()):
            self._move(machine)

    def _move(self, machine: Machine) -> None:
        if machine.ended_at is not None:
            if self.now - machine.ended_at > seconds(6):
                del self.machines[machine.id]
        elif machine.state is InstanceState.PENDING and self.now - machine.born > seconds(4):
            fails = not self.calm and self.dice.chance(12)
            machine.state = InstanceState.LAUNCH_FAILED if fails else InstanceState.RUNNING
            machine.ended_at = self.now if fails else None
        elif not self.calm and self.dice.chance(30):
            machine.end(self.now)
        elif not self.calm and self.dice.chance(60):
            machine.state = InstanceState.STOPPED

    # --- the API -----------------------------------------------------------------------------------------------------

    def launch(self, launch: Launch) -> LaunchReceipt | CloudError:
        """RunInstances on a bad line: all or nothing, one token one launch."""
        if self.calm or not self.dice.chance(3):
            return self._answer(launch)
        trouble = self.dice.randrange(4)
        if trouble == 0:
            return self.dice.choice(REFUSALS)("Some.Code", "words")
        if trouble == 1:
            self._answer(launch)
        elif trouble == 2:
            self.late.append((self.now + seconds(self.dice.randint(1, 20)), launch))
        return OutcomeUnknown("Timeout", "no answer")

    def _answer(self, launch: Launch) -> LaunchReceipt | CloudError:
        ids = self._carry_out(launch)
        return LaunchReceipt(ids, "req-1") if ids else InsufficientCapacity("ResourcesSoldOut", "sold out")

    def _carry_out(self, launch: Launch) -> tuple[str, ...]:
        token, request = launch.intent.token, launch.request
        if token in self.answered:
            return self.answered[token]
        used = sum(machine.pool == request.pool and machine.state in LIVE for machine in self.machines.values())
        if self.stock.get(request.pool, 99) - used < request.count:
            return ()
        ids = tuple(f"ins-{request.pool.zone[-1]}-{launch.intent.sequence}-{n}" for n in range(1, request.count + 1))
        for number, key in enumerate(ids, start=1):
            name = f"{request.name}{number}" if request.count > 1 else request.name
            listed = self.now + seconds(self.dice.choice([0, 0, 2, 15]))
            tagged = max(listed, self.now + seconds(self.dice.choice([0, 0, 15])))
            self.machines[key] = Machine(key, name, request.pool, self.now, listed, tagged)
        self.answered[token] = ids
        return ids

    def terminate(self, action: Terminate) -> str | CloudError:
        """TerminateInstances on the same line."""
        assert set(action.instance_ids) <= self.machines.keys() | self.absent.keys()
        trouble = 9 if self.calm else self.dice.randrange(10)
        if trouble == 0:
            return InstanceBusy("Busy", "not now")
        if trouble != 1:
            for key in action.instance_ids:
                if key in self.machines:
                    self.machines[key].end(self.now)
        return OutcomeUnknown("Timeout", "no answer") if trouble <= 2 else "req-1"

    def observe(self, ledger: Ledger) -> Observation:
        """A complete look: the list with its lag, and every id and name of the ledger looked up."""
        seen = {
            machine.id: Instance(
                id=machine.id,
                name=machine.name,
                state=machine.state,
                pool=machine.pool,
                created_at=machine.born,
                ownership=OURS if machine.tagged_from <= self.now else None,
            )
            for machine in self.machines.values()
            if machine.listed_from <= self.now
        }
        names = {intent.name for intent in ledger.intents}
        of_interest = {
            key: item
            for key, item in seen.items()
            if item.ownership or key in ledger.members or any(item.name.startswith(name) for name in names)
        }
        self.absent = {key: self.absent.get(key, 0) + 1 for key in ledger.members if key not in seen}
        absent = {key: Absence(count, looked_up=True) for key, count in self.absent.items()}
        return Observation(self.now, of_interest, absent, searched=frozenset(names))


@dataclass
class Loop:
    """Reconcile as the operator does, with `crash` deciding where the process dies."""

    cloud: Cloud
    desired: Desired
    ledger: Ledger = field(default_factory=lambda: Ledger(OURS.environment_id))
    most_wanted: int = 0

    def run(self) -> bool:
        """One reconcile; True when it had nothing to do. What is not in `ledger` at its end was never written."""
        learned, quiet = Learned(), True
        observed, ledger = self.cloud.observe(self.ledger), self.ledger
        for _ in range(40):
            situation = Situation(self.desired, ledger, observed, self.cloud.now, SHORT)
            situation = situation.with_ledger(sync_ledger(situation).ledger)
            plan = make_plan(situation, learned)
            assert complaints(situation, plan) == []
            quiet = quiet and not plan.actions
            ledger = plan.ledger
            if not plan.actions:
                break
            self.ledger = ledger
            if self._dies():
                return False
            outcomes = self._perform(plan.actions)
            if self._dies():
                return False
            applied = apply_outcomes(situation.with_ledger(ledger), outcomes, learned)
            ledger, learned = applied.ledger, replace(applied.learned, one_time_started=True)
        quiet = quiet and ledger == self.ledger
        self.ledger = ledger
        return quiet

    def _dies(self) -> bool:
        return not self.cloud.calm and self.cloud.dice.chance(12)

    def _perform(self, actions: tuple[Launch | Terminate, ...]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        failed = False
        for action in actions:
            if isinstance(action, Terminate):
                result = self.cloud.terminate(action)
                outcomes.append(Terminated(action.instance_ids, action.cause, action.because, result))
            elif failed and not action.replay:
                outcomes.append(Launched(action, None))
            else:
                answer = self.cloud.launch(action)
                failed = failed or isinstance(answer, CloudError)
                outcomes.append(Launched(action, answer))
            assert self.cloud.live() <= self.most_wanted, f"{self.cloud.live()} live, {self.most_wanted} ever wanted"
        return outcomes

    def lose_status(self) -> None:
        """Somebody has replaced the object: the identity is in its annotation, the rest is to be found again."""
        until = self.cloud.now + SHORT.signature_lifetime + SHORT.listing_lag_max
        self.ledger = Ledger(OURS.environment_id, quarantine_until=until)


def change(dice: Dice, desired: Desired) -> Desired:
    """What a user does next."""
    pools = dice.some(POOLS) or POOLS
    return replace(
        desired_of(dice.randint(0, 6), pools=pools, generation=desired.generation + 1),
        paused=dice.chance(5),
    )
