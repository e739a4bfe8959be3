"""Whatever may stand in a ledger and be seen in the cloud, likely or not, made from a seed.

Hypothesis draws the seed and plain dice make the world: fifty times faster than drawing every field, and a seed is
as easy to repeat as a shrunk example. Ids come from a small alphabet, so that ledger and cloud often speak of the
same machines.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from hypothesis import strategies as st

from plan.given import (
    NOW,
    OURS,
    PRESENT,
    THEIRS,
    A,
    B,
    C,
    backoff_of,
    desired_of,
    intent,
    ledger_of,
    market_of,
    observed_of,
    seconds,
    situation_of,
)
from spotcompute.cloud import errors
from spotcompute.cloud.provider import LaunchReceipt
from spotcompute.model.desired import (
    AllocationStrategy,
    Caps,
    Cordon,
    Cordons,
    Desired,
    Fallback,
    Gang,
    OnDemandShare,
    Requirements,
    Runs,
    ZonePolicy,
)
from spotcompute.model.instance import Instance, InstanceState
from spotcompute.model.ledger import (
    Backoff,
    Cause,
    Intent,
    Ledger,
    Member,
    PoolTrust,
    Spending,
    Termination,
    Trouble,
    WorkCount,
)
from spotcompute.model.observation import Absence, Observation
from spotcompute.model.offering import ON_DEMAND, whole_zone
from spotcompute.plan.actions import Launch, Launched, Learned, Outcome, Terminated
from spotcompute.plan.launching import request_for
from spotcompute.plan.situation import Situation

T = TypeVar("T")

IDS = [f"ins-{number}" for number in range(8)]
POOLS = [A, B, C]
SEQUENCES = [1, 2, 700]
FAILURES = [errors.OutcomeUnknown, errors.NotSent, errors.CloudError, *errors.Refused.__subclasses__()]


class Dice(random.Random):
    """A seeded generator with the few throws that worlds are made of."""

    def chance(self, one_in: int) -> bool:
        """True once in `one_in` throws."""
        return self.randrange(one_in) == 0

    def maybe(self, make: Callable[[], T], one_in: int = 2) -> T | None:
        """A value once in `one_in` throws, else None."""
        return make() if self.chance(one_in) else None

    def some(self, items: Sequence[T]) -> list[T]:
        """Any selection of `items`, in any order."""
        return self.sample(items, self.randrange(len(items) + 1))

    def several(self, make: Callable[[], T], most: int) -> list[T]:
        """Up to `most` values."""
        return [make() for _ in range(self.randrange(most + 1))]

    def moment(self) -> datetime:
        """From two hours ago to ten minutes ahead: clocks step back too."""
        return NOW + seconds(self.randint(-7200, 600) if self.chance(2) else self.randint(-240, 30))


def random_desired(dice: Dice) -> Desired:
    """What somebody may want."""
    deleting = dice.chance(4)
    return desired_of(
        0 if deleting else dice.randint(0, 8),
        pools=dice.some(POOLS),
        deleting=deleting,
        paused=dice.chance(6),
        one_time=dice.chance(4),
        strategy=dice.choice(list(AllocationStrategy)),
        generation=dice.randint(1, 2),
    )


def _termination(dice: Dice) -> Termination:
    return Termination(
        cause=dice.choice(list(Cause)),
        recorded_at=dice.moment(),
        accepted_at=dice.maybe(dice.moment),
        sent_at=dice.maybe(dice.moment),
        attempts=dice.randint(0, 99),
        obstacle=dice.maybe(lambda: "protected"),
    )


def _member(dice: Dice) -> Member:
    return Member(
        id=dice.choice(IDS),
        pool=dice.choice(POOLS),
        launched_at=dice.moment(),
        template_digest=dice.choice([None, PRESENT, "000000000000"]),
        sequence=dice.maybe(lambda: dice.choice(SEQUENCES)),
        seen=dice.chance(2),
        arrived=dice.chance(2),
        verified=dice.chance(2),
        lost=dice.maybe(lambda: dice.choice(list(Cause)), one_in=4),
        termination=dice.maybe(lambda: _termination(dice), one_in=3),
    )


def random_intent(dice: Dice, desired: Desired) -> Intent:
    """An open launch of the spec, or of one that had all pools."""
    return intent(
        replace(desired, pools=desired_of().pools),
        count=dice.randint(1, 4),
        sequence=dice.choice(SEQUENCES),
        pool=dice.choice(POOLS),
        created_at=NOW - seconds(dice.randint(0, 200) if dice.chance(2) else dice.randint(0, 900)),
        answer_lost=dice.chance(2),
        sent_at=dice.maybe(dice.moment),
        found=frozenset(dice.sample(IDS, dice.choice([0, 0, 0, 1, 2]))),
    )


def _edited(made: Intent, dice: Dice) -> Intent:
    changes: list[dict[str, object]] = [{"token": "f" * 40}, {"count": -1}, {"digest": "0" * 12}]
    return replace(made, **dice.choice(changes)) if dice.chance(4) else made


def _backoff(dice: Dice) -> Backoff:
    failed_at = dice.moment()
    return backoff_of(
        dice.choice([None, *POOLS]),
        dice.choice(list(Trouble)),
        failures=dice.randint(1, 60),
        since=failed_at,
        failed_at=failed_at,
        until=failed_at + seconds(dice.randint(0, 300)),
        generation=dice.randint(1, 2),
    )


def random_ledger(dice: Dice, desired: Desired) -> Ledger:
    """Anything that may be remembered."""
    return ledger_of(
        *dice.several(lambda: _member(dice), 8),
        *dice.several(lambda: _edited(random_intent(dice, desired), dice), 2),
        *dice.several(lambda: _backoff(dice), 2),
        sequence=dice.choice([0, 700, 2_000_000_000]),
        quarantine_until=dice.maybe(dice.moment, one_in=6),
        attempted_generation=dice.maybe(lambda: dice.randint(1, 2)),
    )


def instance_of(dice: Dice, desired: Desired) -> Instance:
    """A machine somebody sees: ours, of an open launch perhaps, or a stranger's."""
    prefix = f"{desired.name_prefix}-{OURS.environment_id.rpartition('-')[2]}"
    names = [f"{prefix}-{number}{suffix}" for number in SEQUENCES for suffix in ("", "-1", "-2")]
    return Instance(
        id=dice.choice(IDS),
        name=dice.choice([*names, "database", ""]),
        state=dice.choice(list(InstanceState)),
        pool=dice.choice(POOLS),
        created_at=dice.moment(),
        ownership=dice.choice([OURS, OURS, OURS, None, THEIRS]),
        last_operation=dice.maybe(lambda: "TerminateInstances"),
    )


def random_observation(dice: Dice, desired: Desired, ledger: Ledger) -> Observation:
    """A complete look at the cloud."""
    seen = {item.id: item for item in dice.several(lambda: instance_of(dice, desired), 8)}
    absent = {key: Absence(dice.randint(0, 5), dice.chance(2)) for key in dice.some(IDS) if key not in seen}
    prices = {pool: dice.maybe(lambda: dice.choice(["0.1", "0.2"])) for pool in dice.some(POOLS)}
    return observed_of(
        *seen.values(),
        absent=absent,
        searched=dice.some([item.name for item in ledger.intents]),
        at=dice.moment(),
        market=market_of(prices, dice.some(POOLS)),
    )


def random_lesson(dice: Dice) -> Learned:
    """What a run may have learned of stock."""
    return Learned(
        room_below={pool: dice.randint(-2, 9) for pool in dice.some(POOLS)},
        sells=frozenset(dice.some(POOLS)),
        one_time_started=dice.chance(2),
    )


def random_situation(seed: int) -> tuple[Situation, Learned]:
    """All that a plan is made from."""
    dice = Dice(seed)
    desired = random_desired(dice)
    ledger = random_ledger(dice, desired)
    observed = random_observation(dice, desired, ledger)
    return situation_of(desired, ledger, observed), random_lesson(dice)


def answered_of(seed: int) -> tuple[Desired, Ledger, list[Outcome]]:
    """A ledger, and outcomes of launches and releases that it may or may not know of."""
    dice = Dice(seed)
    desired = random_desired(dice)
    ledger = random_ledger(dice, desired)
    return desired, ledger, dice.several(lambda: _outcome(dice, desired, ledger), 5)


def _outcome(dice: Dice, desired: Desired, ledger: Ledger) -> Outcome:
    error = dice.choice(FAILURES)("Some.Code", "words", dice.maybe(lambda: "req-1"))
    if dice.chance(3):
        ids = tuple(dice.sample(IDS, 2))
        return Terminated(ids, Cause.SCALED_DOWN, "because", dice.choice(["req-1", error]))
    known = [item for item in ledger.intents if item.count > 0]
    made = dice.choice(known) if known and dice.chance(2) else random_intent(dice, desired)
    request = request_for(replace(desired, pools=desired_of().pools), made.pool, made.count, made.sequence, made.bid)
    assert request is not None
    receipt = LaunchReceipt(tuple(dice.sample(["ins-0", "ins-1", "new-1", "new-2"], dice.randint(1, 4))), "req-1")
    return Launched(Launch(made, request, "because"), dice.choice([None, error, receipt, receipt]))


# --- the spot market: dice of its own, so that older seeds make what they made ----------------------------------------


def with_wishes(dice: Dice, desired: Desired) -> Desired:
    """The same spec, and some of what may be asked of the market."""
    prices = ["0.05", "0.1", "0.15", "0.35", "1.5"]
    amount = lambda: Decimal(dice.choice(prices))  # noqa: E731 - a name for one draw, used in the next lines only
    caps = Caps(
        per_instance=dice.maybe(amount, one_in=3),
        by_type=((A.instance_type, amount()),) if dice.chance(5) else (),
        percent_of_on_demand=dice.maybe(lambda: dice.choice([5, 10, 100]), one_in=4),
        in_total=dice.maybe(lambda: amount() * dice.randint(1, 9), one_in=3),
    )
    is_unmet = dice.chance(20)
    fallback = dice.maybe(lambda: _fallback(dice), one_in=2)
    gang = dice.maybe(lambda: _gang(dice, desired), one_in=3) if desired.replicas and not desired.one_time else None
    return replace(
        desired,
        caps=caps if dice.chance(2) else Caps(),
        zone_policy=dice.choice(list(ZonePolicy)),
        share=dice.choice([100, 100, 50, 34, 1]),
        requirements=Requirements() if is_unmet else None,
        pools=() if is_unmet else desired.pools,
        unmet="the market's quotes are not known yet" if is_unmet else None,
        fallback=fallback if gang is None else None,  # the schema lets nobody ask for both
        gang=gang,
    )


def _cordons(dice: Dice) -> Cordons:
    """Zones that a person has closed, in one situation of four; some until a time, which may be over."""
    zones = dice.some([pool.zone for pool in POOLS]) if dice.chance(4) else []
    return Cordons(tuple(Cordon(zone, dice.maybe(dice.moment)) for zone in sorted(zones)))


def _on_demand(dice: Dice) -> OnDemandShare:
    """What is always on demand, in one situation of three."""
    share = OnDemandShare(dice.choice([0, 0, 1, 3, 99]), dice.choice([0, 0, 25, 100]))
    return share if dice.chance(3) else OnDemandShare()


def _with_runs(dice: Dice, desired: Desired, ledger: Ledger) -> tuple[Desired, Ledger]:
    """Machines that work until they power themselves off, in one situation of four, and what may be known of them."""
    if desired.one_time or not dice.chance(4):
        return desired, ledger
    runs = Runs(desired.replicas or dice.randint(1, 4), dice.randint(1, 3))
    work = dice.maybe(lambda: WorkCount(dice.randint(1, 2), ended=dice.randint(0, 9), lost=dice.randint(0, 9)))
    desired = replace(desired, runs=runs, fallback=None, gang=None, on_demand=OnDemandShare(), share=100)
    return desired, replace(ledger, work=work)


def _fallback(dice: Dice) -> Fallback:
    return Fallback(
        after=seconds(dice.choice([0, 60, 600])),
        count_max=dice.randint(0, 6),
        hourly=dice.maybe(lambda: Decimal(dice.choice(["0.9", "1", "3.5"]))),
        stable_for=seconds(dice.choice([60, 900])),
        deadline=dice.maybe(dice.moment, one_in=4),
    )


def _gang(dice: Dice, desired: Desired) -> Gang:
    return Gang(dice.randint(1, desired.replicas), seconds(dice.choice([0, 60, 300])))


def with_memories(dice: Dice, desired: Desired, ledger: Ledger) -> Ledger:
    """The same ledger, and what may be remembered of the market."""
    members = {
        key: replace(member, on_demand=dice.chance(3), termination=_market_termination(dice, member))
        for key, member in ledger.members.items()
    }
    whole_spec = replace(desired, pools=desired_of().pools, unmet=None)
    for number in dice.sample([3, 4], dice.choice([0, 0, 1, 2])):
        on_demand = dice.chance(2)
        bid = None if on_demand else dice.maybe(lambda: Decimal(dice.choice(["0.1", "0.2"])))
        made = intent(
            whole_spec,
            dice.randint(1, 3),
            number,
            dice.choice(POOLS),
            on_demand=on_demand,
            bid=bid,
            created_at=NOW - seconds(dice.randint(0, 200)),
            answer_lost=dice.chance(2),
            sent_at=dice.maybe(dice.moment),
        )
        ledger = ledger.with_intent(made)
    for rested in dice.some([whole_zone(pool.zone) for pool in POOLS] + [ON_DEMAND]):
        made_backoff = _backoff(dice)
        if dice.chance(2):
            numbers = {"vcpu": dice.maybe(lambda: dice.randint(1, 4)), "in_use": dice.maybe(lambda: dice.randint(0, 4))}
            ledger = ledger.with_backoff(replace(made_backoff, pool=rested, **numbers))
    weights = [0.0, 0.7, 1.0, 1.5, 1.93, 2.5]
    return replace(
        ledger,
        members=members,
        pool_trust={
            pool: PoolTrust(pool=pool, reclaims=dice.randint(1, 9), early=dice.choice(weights), as_of=dice.moment())
            for pool in dice.some(POOLS)
        },
        spending=dice.maybe(lambda: Spending(Decimal("1.25"), Decimal("0.3"), dice.moment())),
        short_since=dice.maybe(dice.moment),
        spot_since=dice.maybe(dice.moment),
        switched_at=dice.maybe(dice.moment),
        incomplete_since=dice.maybe(dice.moment),
        broken_up_at=dice.maybe(dice.moment),
    )


def _market_termination(dice: Dice, member: Member) -> Termination | None:
    """Most releases are as they were; a third of what was to stay is given up for the market's sake."""
    if member.termination is None and dice.chance(6):
        return Termination(dice.choice([Cause.BACK_TO_SPOT, Cause.GANG_INCOMPLETE]), recorded_at=dice.moment())
    return member.termination


def random_market_situation(seed: int) -> tuple[Situation, Learned]:
    """A situation with all that there may be of the market."""
    plain, learned = random_situation(seed)
    dice = Dice(f"{seed} market")
    desired = replace(with_wishes(dice, plain.desired), cordons=_cordons(Dice(f"{seed} cordons")))
    if desired.gang is None and not desired.one_time:
        desired = replace(desired, on_demand=_on_demand(Dice(f"{seed} on demand")))
    ledger = with_memories(dice, desired, plain.ledger)
    desired, ledger = _with_runs(Dice(f"{seed} runs"), desired, ledger)
    instances = {key: replace(item, on_demand=dice.chance(3)) for key, item in plain.observed.instances.items()}
    prices = {pool: dice.choice(["0.1", "0.1", "0.2", "0", None]) for pool in dice.some(POOLS) or POOLS}
    market = replace(
        market_of(prices, dice.some(POOLS)), unreliable_because=dice.maybe(lambda: "they are empty", one_in=8)
    )
    learned = replace(learned, not_on_demand=frozenset(dice.some(POOLS)) if dice.chance(4) else frozenset())
    return situation_of(desired, ledger, replace(plain.observed, instances=instances, market=market)), learned


seeds = st.integers(0, 2**63)
situations = st.one_of(seeds.map(random_situation), seeds.map(random_market_situation))
answers = seeds.map(answered_of)
