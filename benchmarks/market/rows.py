"""The promises about the market, one play each: what is at least demanded, and what was measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate, pairwise

from market.arena import TYPE, Arena, play, zone
from market.told import judged
from simulation.cloudworld import EPOCH
from simulation.world import IMAGES

HOUR = 3600.0
SPOT, ON_DEMAND = "SPOTPAID", "POSTPAID_BY_HOUR"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    demanded: str
    measured: str
    holds: bool


def prices(zones: int, types: Sequence[str] = (TYPE,)) -> dict[tuple[str, str], str]:
    """Pools at 0.10 dollars and up."""
    return {(zone(n), name): f"0.{10 + n}" for n in range(1, zones + 1) for name in types}


def twelve_pools() -> Row:
    """Eleven of twelve pools are sold out: how soon the twelfth is asked."""

    async def script() -> Row:
        arena = Arena("twelve", prices(4, ("A1.X", "B1.X", "C1.X")))
        for at, name in prices(4, ("A1.X", "B1.X", "C1.X")):
            arena.stock(at, 0, name)
        arena.stock(zone(4), 5, "C1.X")
        arena.create(3, instanceTypes=["A1.X", "B1.X", "C1.X"])
        await arena.rest(60)
        calls = arena.asked()
        first = next(n for n, one in enumerate(calls, 1) if not one.code)
        seconds = calls[first - 1].time - calls[0].time
        holds = first <= 12 and seconds <= 3 and len(arena.living()) == 3
        return Row("12 pools, 11 sold out", "≤ 12 calls, ≤ 3 s", f"call {first}, {seconds:.1f} s", holds)

    return play(script)


def partial_stock() -> Row:
    """Room for six of ten."""

    async def script() -> Row:
        arena = Arena("partial", prices(1))
        arena.stock(zone(1), 6)
        arena.create(10)
        await arena.rest(4)
        sold = accumulate(0 if one.code else one.params["InstanceCount"] for one in arena.asked())
        calls = next((n for n, total in enumerate(sold, 1) if total == 6), 0)
        held = len(arena.living())
        return Row("room for 6 of 10", "6 after ≤ 6 calls", f"{held} after {calls} calls", held == 6 and 0 < calls <= 6)

    return play(script)


def absent_stock(hours: int) -> Row:
    """No stock for hours: the first instance after its return, the longest wait, the promise of the next attempt."""

    async def script() -> Row:
        arena = Arena(f"absent {hours}", prices(1))
        arena.stock(zone(1), 0)
        arena.create(1)
        errors: list[float] = []
        promised: float | None = None
        while arena.now < hours * HOUR:
            await arena.rest(1)
            said = arena.status.get("nextAttemptTime")
            moment = datetime.fromisoformat(said).astimezone(UTC).timestamp() - EPOCH if said else None
            if promised is not None and moment != promised:
                asked = min(
                    (arena.since_start(one.time) for one in arena.asked()[-3:]), key=lambda at: abs(at - promised)
                )
                errors.append(abs(asked - promised))
            promised = moment
        waits = [later.time - earlier.time for earlier, later in pairwise(arena.asked())]
        back = arena.now
        arena.stock(zone(1), 10)
        while not arena.living():
            await arena.rest(1)
        took = arena.now - back
        holds = took <= 62 and max(waits) <= 62 and max(errors) <= 2
        text = f"{took:.0f} s; longest wait {max(waits):.1f} s; next attempt off by {max(errors):.1f} s at most"
        return Row(f"stock absent {hours} h", "≤ 62 s; ≤ 60 s + answer; ± 2 s", text, holds)

    return play(script)


def price_steps(steps: int, seed: int) -> Row:
    """Prices step at random, caps are edited, machines are taken back; every purchase is held against every cap."""

    async def script() -> Row:
        rng, wrong, bought = random.Random(seed), [], [0]
        arena = Arena("steps", prices(3))
        zones = [zone(n) for n in (1, 2, 3)]
        currency = arena.market.currency_per_dollar
        market = {"allocationStrategy": "LowestPrice", "maxPrice": "0.3", "maxPricePercentOfOnDemand": 40}
        caps = {"in_total": Decimal("1.2"), "each": Decimal("0.3")}

        def judge() -> None:
            living, offerings = arena.living(), arena.market.offerings
            costs = [offerings[one.order.zone, TYPE].price * currency for one in living]
            bought[0] = len(arena.everything())
            if sum(costs) > caps["in_total"]:
                wrong.append(f"{sum(costs)} per hour")
            for one in living:
                if one.created_at == arena.market.now and (one.order.bid or 99) > min(
                    caps["each"], Decimal("0.4") * currency
                ):
                    wrong.append(f"a bid of {one.order.bid}")

        arena.watch_purchases(judge)
        arena.create(8, market=market, limits={"maxHourlyCost": "1.2"})
        ended_by_edit = 0
        for _ in range(steps):
            for at in zones:
                arena.price(at, rng.choice(["0.02", "0.05", "0.1", "0.2", "0.29", "0.31", "0.6"]))
            if rng.random() < 0.05:
                caps = {"in_total": Decimal(rng.choice(["0.4", "1.2"])), "each": Decimal(rng.choice(["0.1", "0.3"]))}
                before = len(arena.living())
                arena.edit(
                    market={**market, "maxPrice": str(caps["each"])}, limits={"maxHourlyCost": str(caps["in_total"])}
                )
                await arena.rest(20)
                ended_by_edit += max(0, before - len(arena.living()))
            if rng.random() < 0.2:
                arena.reclaim(arena.living(rng.choice(zones)))
            await arena.rest(20)
        text = f"{len(wrong)} of {bought[0]} launches above a cap; {ended_by_edit} ended by an edit"
        return Row(
            f"{steps:,} random price steps", "0; 0", text, not wrong and not ended_by_edit and bought[0] > steps / 100
        )

    return play(script)


def zone_at_quota() -> Row:
    """A zone's quota is used up: how often it is asked, where the rest goes, and when a raise is used."""

    async def script() -> Row:
        arena = Arena("quota", prices(2))
        arena.quota(zone(1), 4)
        arena.create(6)
        await arena.rest(10)
        at_once = len(arena.living(zone(2)))
        arena.stock(zone(2), 0)
        arena.edit(replicas=12)
        await arena.rest(HOUR)
        probes = [arena.since_start(one.time) for one in arena.asked() if one.params["Placement"]["Zone"] == zone(1)]
        gaps = [later - earlier for earlier, later in pairwise([at for at in probes if at > 60])]
        raised = arena.now
        arena.quota(zone(1), 100)
        while len(arena.living()) < 12:
            await arena.rest(1)
        took = arena.now - raised
        holds = at_once == 4 and min(gaps) >= 300 and took <= 315
        text = f"every {min(gaps):.0f} s; {at_once} elsewhere at once; raise used after {took:.0f} s"
        return Row("zone at quota", "≤ 1 probe in 5 min; at once; ≤ 5 min + 1 poll", text, holds)

    return play(script)


def early_reclaims() -> Row:
    """The only pool takes every machine back after three minutes, for a day; then it is good."""

    async def script() -> Row:
        arena = Arena("early", prices(1))
        arena.create(1)
        just_lost = False
        while arena.now < 24 * HOUR or not just_lost:
            await arena.rest(5)
            old = [one for one in arena.living() if arena.market.now - one.created_at >= 180]
            just_lost = bool(old)
            if old:
                arena.reclaim(old)
        births = [arena.since_start(one.created_at) for one in arena.everything()]
        most = max(sum(start <= at < start + HOUR for at in births) for start in births)
        await arena.rest(10)
        good = arena.now
        while not arena.living():
            await arena.rest(5)
        took = (arena.now - good) / 60
        text = f"{most} in an hour at most ({len(births)} in a day); back after {took:.0f} min"
        return Row("pool that reclaims after 3 min", "≤ 3 launches an hour; ≤ 60 min", text, most <= 3 and took <= 60)

    return play(script)


def flapping(with_fallback: bool) -> Row:
    """The market opens and closes every five minutes for a day."""

    async def script() -> Row:
        arena = Arena(f"flapping {with_fallback}", prices(1))
        limits = {"afterSeconds": 60, "maxReplicas": 3, "stableForSeconds": 60}
        arena.create(4, **({"onDemandFallback": limits} if with_fallback else {}))
        switches: list[float] = []
        worst = 0
        for turn in range(24 * 12):
            if turn % 2:
                arena.stock(zone(1), 0)
                arena.reclaim([one for one in arena.living() if one.order.charge_type == SPOT])
            else:
                arena.stock(zone(1), 100)
            had = any(one.order.charge_type == ON_DEMAND for one in arena.living())
            for _ in range(30):
                await arena.rest(10)
                count = sum(one.order.charge_type == ON_DEMAND for one in arena.living())
                worst = max(worst, count)
                if (count > 0) != had:
                    switches.append(arena.now)
                    had = count > 0
        most = max((sum(start <= at < start + HOUR for at in switches) for start in switches), default=0)
        if not with_fallback:
            bought = sum(one.order.charge_type == ON_DEMAND for one in arena.everything())
            return Row("fallback off, market flapping 24 h", "0 on demand ever", f"{bought}", bought == 0)
        text = f"{most} an hour at most, {len(switches)} in all; {worst} on demand at most of 3"
        return Row(
            "fallback on, market flapping 24 h", "≤ 2 switches an hour; caps kept", text, most <= 2 and worst <= 3
        )

    return play(script)


#: A machine whose disks and bandwidth cost nearly as much per hour as the machine itself.
EQUIPPED = {
    "imageId": IMAGES[0],
    "systemDisk": {"diskType": "CLOUD_SSD", "diskSize": 100},
    "dataDisks": [{"diskType": "CLOUD_PREMIUM", "diskSize": 500}],
    "internetAccessible": {"internetChargeType": "BANDWIDTH_POSTPAID_BY_HOUR", "internetMaxBandwidthOut": 5},
}


def accrued_cost(seed: int) -> Row:
    """What the object says was spent, against the bill: a day, two hundred reclaims, moving prices, a restart."""

    async def script() -> Row:
        rng = random.Random(seed)
        arena = Arena("cost", prices(3), disks_cost=True)
        arena.create(10, market={"allocationStrategy": "LowestPrice"}, template=EQUIPPED)
        reclaimed, is_down = 0, False
        while arena.now < 24 * HOUR:
            await arena.rest(400)
            if reclaimed < 200:
                victims = rng.sample(arena.living(), min(1, len(arena.living())))
                arena.reclaim(victims)
                reclaimed += len(victims)
            if rng.random() < 0.1:
                arena.price(zone(rng.randint(1, 3)), f"0.{rng.randint(10, 30)}")
            if arena.now > 12 * HOUR and not is_down:
                arena.restart(30.0)
                is_down = True
        await arena.rest(30)
        cost = arena.status["cost"]
        until = datetime.fromisoformat(cost["accruedAt"]).timestamp() - EPOCH
        said = Decimal(cost["accrued"]) + Decimal(cost["perHour"]) * Decimal((arena.now - until) / HOUR)
        bill = arena.spent()
        off = abs(said - bill) / bill * 100
        text = f"{said:.3f} said, {bill:.3f} billed: {off:.2f} % off, {reclaimed} reclaims"
        return Row("cost of a day", "within 1 %", text, off <= 1)

    return play(script)


def activity_log(seed: int, hours: int = 24) -> Row:
    """What the object tells of a restless day, against everything that was asked and that happened."""

    async def script() -> Row:
        rng, types = random.Random(seed), ("A1.X", "B1.X")
        arena = Arena("told", prices(3, types))
        arena.create(6, instanceTypes=list(types), market={"maxPrice": "0.2"})
        happened = lines = 0
        missing: list[str] = []
        wrong: list[str] = []
        for round_ in range(hours * 6):
            at, name = zone(rng.randint(1, 3)), rng.choice(types)
            match rng.choice(["stock", "stock", "price", "scale", "reclaim", "console", "restart"]):
                case "stock":
                    arena.stock(at, rng.choice([0, 0, 0, 2, 50]), name)
                case "price":
                    arena.price(at, rng.choice(["0.1", "0.15", "0.3"]), name)
                case "scale":
                    arena.edit(replicas=rng.randint(0, 8))
                case "reclaim":
                    arena.reclaim(rng.sample(arena.living(), min(2, len(arena.living()))))
                case "console":
                    arena.release(rng.sample(arena.living(), min(1, len(arena.living()))))
                case "restart":
                    arena.restart(20.0)
            await arena.rest(600)
            if round_ % 3 == 2:
                told, until = arena.status.get("activities", []), arena.market.now - 60
                verdict = judged(told, arena.requests(), arena.everything(), until)
                happened, lines = happened + verdict.happened, lines + verdict.lines
                missing, wrong = [*missing, *verdict.missing], [*wrong, *verdict.wrong]
        recall, precision = 1 - len(missing) / happened, 1 - len(wrong) / lines
        text = f"{recall:.0%} of {happened}; {precision:.0%} of {lines}"
        return Row("activity log: recall; precision", "100 %; 100 %", text, not missing and not wrong)

    return play(script)


def all_rows(seed: int, steps: int) -> list[Callable[[], Row]]:
    """Every play, ready to run."""
    return [
        twelve_pools,
        partial_stock,
        *(lambda hours=hours: absent_stock(hours) for hours in (1, 6, 48)),
        lambda: price_steps(steps, seed),
        zone_at_quota,
        early_reclaims,
        lambda: flapping(False),
        lambda: flapping(True),
        lambda: accrued_cost(seed),
        lambda: activity_log(seed),
    ]
