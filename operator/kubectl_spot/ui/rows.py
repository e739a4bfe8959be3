"""Puts environments into words: rows of tables, facts and sentences, as the pages show them. It is pure.

Apart from `reading`, which finds the values, and from the templates, which lay them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

from kubectl_spot.ui.reading import (
    Machine,
    Object,
    Summary,
    decimal,
    items,
    mapping,
    moment,
    spent_until,
    status_of,
    summary_of,
    text,
)

Row = TypeVar("Row")

#: Rows of one page of a table.
PAGE_ROWS = 50

#: How a phase looks: one of four tones of the style sheet.
TONES = {
    "Ready": "good",
    "Filling": "busy",
    "Releasing": "busy",
    "Deleting": "busy",
    "Paused": "still",
    "Expired": "still",
    "Succeeded": "good",
    "Waiting": "warn",
    "Stalled": "bad",
    "Failed": "bad",
}

#: The order of phases by how much they need a person.
URGENCY = (
    "Stalled",
    "Failed",
    "Waiting",
    "Filling",
    "Releasing",
    "Deleting",
    "Not seen yet",
    "Paused",
    "Expired",
    "Succeeded",
    "Ready",
)

#: What a pool's state means for its next launch.
ASKED = {
    "Available": "is asked when instances are missing",
    "Resting": "has refused, and is not asked for a while",
    "Invalid": "is not asked until the spec is corrected",
    "Avoided": "takes instances back early, and is left alone for a while",
    "Unpriced": "is not asked: a limit needs its price, and the market quotes none",
    "OverBudget": "is not asked: one more instance would exceed a limit",
    "Full": "is not asked: it has its share of the instances",
    "Cordoned": "is not asked: a person has closed its zone for launches",
    "OverLimit": "is not asked: one more instance would exceed limits.maxVcpu",
    "TooFew": "is not asked: it cannot give as many instances as the gang needs",
}

#: What a condition means, by type and status.
MEANINGS = {
    ("Ready", "True"): "As many instances run as are wanted.",
    ("Ready", "False"): "Not as many instances run as are wanted.",
    ("Ready", "Unknown"): "It is not known how many instances run.",
    ("Reconciling", "True"): "The operator is working, or waiting for the cloud.",
    ("Reconciling", "False"): "The operator has nothing to do.",
    ("Stalled", "True"): "A person must act.",
    ("Stalled", "False"): "It is not stuck.",
    ("Complete", "True"): "All machines have done their work.",
    ("Complete", "False"): "Not all machines have done their work.",
    ("GangReady", "True"): "The gang is complete.",
    ("GangReady", "False"): "The gang is not complete.",
    ("ZonesCordoned", "True"): "Nothing is launched in some zones.",
    ("ZonesCordoned", "False"): "What should close a zone for launches is not understood.",
    ("InstancesAdopted", "True"): "Every instance that was to be taken over is.",
    ("InstancesAdopted", "False"): "Some instances that are to be taken over are not, or not yet.",
    ("OrphanProtected", "True"): "Instances end by themselves when the operator is gone for long.",
    ("OrphanProtected", "False"): "Timers that end instances when the operator is gone are not all as the spec asks.",
    ("NodesKept", "False"): "The nodes of the instances cannot be looked after.",
    ("StateRefused", "True"): "The operator does not believe a part of the stored state.",
    ("StateRefused", "False"): "The stored state is believed.",
}


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`Page` is a part of a long table, and where in the table it stands."""

    rows: Sequence[Row]
    number: int
    pages: int
    total: int

    @property
    def first(self) -> int:
        """Returns the position of its first row, counted from 1; 0 when the table is empty."""
        return (self.number - 1) * PAGE_ROWS + 1 if self.total else 0

    @property
    def last(self) -> int:
        """Returns the position of its last row."""
        return min(self.number * PAGE_ROWS, self.total)


def paged(rows: Sequence[Row], wanted: str | None) -> Page[Row]:
    """Returns the page that was asked for, and the nearest one when that does not exist."""
    pages = max(1, -(-len(rows) // PAGE_ROWS))
    asked = int(wanted) if wanted and wanted.isascii() and wanted.isdigit() and len(wanted) < 7 else 1
    number = min(max(1, asked), pages)
    return Page(rows[(number - 1) * PAGE_ROWS : number * PAGE_ROWS], number, pages, len(rows))


#: How the list of environments can be ordered, by the name in the address.
ORDERS: Mapping[str, Callable[[Summary], Any]] = {
    "name": lambda one: (one.namespace, one.name),
    "phase": lambda one: (URGENCY.index(one.phase) if one.phase in URGENCY else -1, one.namespace, one.name),
    "missing": lambda one: (-one.missing, one.namespace, one.name),
    "cost": lambda one: (-(one.per_hour or Decimal(0)), one.namespace, one.name),
}


def selected(summaries: Iterable[Summary], words: str, phase: str, order: str) -> list[Summary]:
    """Returns the environments of a phase whose name, region or reason has all the words, in order."""
    wanted = words.casefold().split()
    found = [
        one
        for one in summaries
        if (not phase or one.phase == phase)
        and all(word in f"{one.key} {one.region} {one.reason}".casefold() for word in wanted)
    ]
    return sorted(found, key=ORDERS.get(order, ORDERS["phase"]))


def selected_machines(machines: Iterable[Machine], words: str) -> list[Machine]:
    """Returns the machines whose id, environment, addresses, pool or state has all the words, in order."""
    wanted = words.casefold().split()

    def has_all(one: Machine) -> bool:
        line = f"{one.id} {one.environment} {one.private_ip} {one.public_ip} {one.instance_type}@{one.zone} {one.state}"
        return all(word in line.casefold() for word in wanted)

    return sorted(filter(has_all, machines), key=lambda one: (one.environment, one.is_ready, one.id))


@dataclass(frozen=True, slots=True)
class Totals:
    """`Totals` is what all environments have together. Money is summed by currency."""

    environments: int
    ready: int
    wanted: int
    reclaimed: int
    per_hour: str
    phases: Sequence[tuple[str, int]]


def totals(summaries: Iterable[Summary]) -> Totals:
    """Returns what all environments have together."""
    phases: dict[str, int] = {}
    money: dict[str, Decimal] = {}
    count = ready = wanted = reclaimed = 0
    for one in summaries:
        count, ready, wanted = count + 1, ready + one.ready, wanted + one.wanted
        reclaimed += one.reclaimed
        phases[one.phase] = phases.get(one.phase, 0) + 1
        if one.per_hour is not None and one.currency:
            money[one.currency] = money.get(one.currency, Decimal(0)) + one.per_hour
    ordered = sorted(phases.items(), key=lambda item: URGENCY.index(item[0]) if item[0] in URGENCY else -1)
    spent = ", ".join(f"{amount(value)} {currency}" for currency, value in sorted(money.items()))
    return Totals(count, ready, wanted, reclaimed, spent or "–", ordered)


@dataclass(frozen=True, slots=True)
class PoolRow:
    """`PoolRow` is one line of the table of pools."""

    name: str
    state: str
    tone: str
    instances: str
    price: str
    list_price: str
    discount: str
    stock: str
    score: str
    reclaims: str
    next_attempt: datetime | None
    why: str


def pool_rows(obj: Object) -> list[PoolRow]:
    """Returns a line for each pool, with the reason why it is asked or not."""
    is_paused = mapping(obj.get("spec")).get("paused") is True
    missing = summary_of(obj).missing
    return [_pool_row(one, is_paused=is_paused, missing=missing) for one in items(status_of(obj).get("pools"))]


def _pool_row(one: Mapping[str, Any], *, is_paused: bool, missing: int) -> PoolRow:
    state, price, listed = text(one.get("state")), decimal(one.get("pricePerHour")), one.get("onDemandPricePerHour")
    full = decimal(listed)
    return PoolRow(
        name=f"{text(one.get('instanceType'))}@{text(one.get('zone'))}",
        state=state,
        tone={"Available": "good", "Invalid": "bad"}.get(state, "warn"),
        instances=text(one.get("instances") or 0),
        price=text(one.get("pricePerHour")) or "–",
        list_price=text(listed) or "–",
        discount=f"−{int((1 - price / full) * 100)} %" if price is not None and full and price < full else "",
        stock=text(one.get("stock")),
        score=text(one.get("score")),
        reclaims=text(one.get("reclaims") or ""),
        next_attempt=moment(one.get("nextAttemptTime")),
        why=_why_asked(one, state, is_paused=is_paused, missing=missing),
    )


def _why_asked(one: Mapping[str, Any], state: str, *, is_paused: bool, missing: int) -> str:
    said = text(one.get("note")) or text(one.get("lastError"))
    if state == "Available":
        if is_paused:
            meaning = "Is not asked while the environment is paused."
        elif missing:
            meaning = "Is asked: instances are missing."
        else:
            meaning = "Need not be asked: nothing is missing."
        return f"{meaning} Last refusal: {said}" if said else meaning
    meaning = ASKED.get(state, f"is in state {state}")
    return f"{meaning[0].upper()}{meaning[1:]}" + (f": {said}" if said else ".")


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """`ActivityRow` is one line of the activity log."""

    at: datetime | None
    type: str
    state: str
    tone: str
    times: int
    pool: str
    instances: str
    why: str
    request_id: str


def activity_rows(obj: Object) -> list[ActivityRow]:
    """Returns the activity log, newest first."""
    return [
        ActivityRow(
            at=moment(line.get("endTime")) or moment(line.get("startTime")),
            type=text(line.get("type")),
            state=text(line.get("state")),
            tone={"Succeeded": "good", "Failed": "bad"}.get(text(line.get("state")), "busy"),
            times=line["count"] if isinstance(line.get("count"), int) else 1,
            pool=f"{line['instanceType']}@{line['zone']}" if line.get("instanceType") and line.get("zone") else "",
            instances=", ".join(map(text, line["instanceIds"])) if isinstance(line.get("instanceIds"), list) else "",
            why=": ".join(filter(None, (text(line.get("code")), text(line.get("message"))))) or text(line.get("cause")),
            request_id=text(line.get("requestId")),
        )
        for line in items(status_of(obj).get("activities"))
    ]


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """`ConditionRow` is one condition in words."""

    type: str
    status: str
    reason: str
    meaning: str
    message: str
    since: datetime | None
    tone: str


#: Conditions for which True is bad news.
_BAD_WHEN_TRUE = frozenset({"Stalled", "StateRefused"})


def condition_rows(obj: Object) -> list[ConditionRow]:
    """Returns the conditions in words."""
    rows: list[ConditionRow] = []
    told: set[str] = set()
    for one in items(status_of(obj).get("conditions")):
        kind, status = text(one.get("type")), text(one.get("status"))
        is_well = (status == "True") != (kind in _BAD_WHEN_TRUE)
        tone = "still" if kind == "Reconciling" else "good" if is_well else "warn"
        meaning = MEANINGS.get((kind, status), f"{kind} is {status}.")
        message = as_sentence(text(one.get("message")))
        rows.append(
            ConditionRow(
                type=kind,
                status=status,
                reason=text(one.get("reason")),
                meaning=meaning,
                message="" if message == meaning or message in told else message,
                since=moment(one.get("lastTransitionTime")),
                tone="bad" if kind == "Stalled" and status == "True" else tone,
            )
        )
        told.add(message)
    return rows


def as_sentence(message: str) -> str:
    """Returns the message with a capital letter and a full stop, since it stands after another sentence."""
    return (
        f"{message[:1].upper()}{message[1:]}{'' if message.endswith(('.', '!', '?', '…')) else '.'}" if message else ""
    )


def cost_facts(obj: Object, now: datetime) -> list[tuple[str, str]]:
    """Returns what the environment costs, has cost and has saved, as pairs of a name and an amount."""
    cost = mapping(status_of(obj).get("cost"))
    currency = text(cost.get("currency"))
    spent, rate, listed = spent_until(obj, now), decimal(cost.get("perHour")), decimal(cost.get("onDemandPerHour"))
    facts = [
        ("Cost per hour", _money(rate, currency)),
        ("of that disks and bandwidth", _money(decimal(cost.get("extrasPerHour")), currency)),
        ("The same at list prices", _money(listed, currency)),
        ("Saved per hour", _money(listed - rate if listed is not None and rate is not None else None, currency)),
        ("Spent until now", _money(spent, currency)),
    ]
    if "savedPercent" in cost:
        facts[3] = (facts[3][0], f"{facts[3][1]} ({text(cost['savedPercent'])} %)")
    return [(name, value) for name, value in facts if value]


def quote_lines(obj: Object) -> list[str]:
    """Returns what a paused environment would buy and what must be corrected first, as sentences."""
    found = mapping(status_of(obj).get("quote"))
    if not found:
        return []
    currency = text(found.get("currency"))
    lines = [f"{text(found.get('chosen'))} of {text(found.get('missing'))} missing instances would be bought."]
    if "perHour" in found:
        listed = f"; at list prices {text(found['onDemandPerHour'])}" if "onDemandPerHour" in found else ""
        lines.append(f"They would cost {text(found['perHour'])} {currency} per hour{listed}.")
    for one in items(found.get("pools")):
        price = f" at {text(one['pricePerHour'])} {currency} per hour each" if one.get("pricePerHour") else ""
        lines.append(f"{text(one.get('count'))} × {text(one.get('instanceType'))}@{text(one.get('zone'))}{price}.")
    for one in items(found.get("errors")):
        field = text(one.get("field")) or "the spec"
        lines.append(f"Correct first: {field}: {text(one.get('code'))}: {text(one.get('message'))}")
    for one in items(found.get("refusals")):
        pool = f"{text(one.get('instanceType'))}@{text(one.get('zone'))}"
        lines.append(f"{pool} would refuse now: {text(one.get('code'))}: {text(one.get('message'))}")
    if found.get("unchecked"):
        lines.append(f"Not checked: {text(found['unchecked'])}")
    return lines


def sentence(one: Summary) -> str:
    """Returns one sentence on how an environment is."""
    if one.is_deleting:
        return f"It is being deleted; {one.ready} instances are still there."
    if one.is_behind:
        return "The operator has not seen the latest change of the spec yet."
    return one.message or MEANINGS[("Ready", "True" if one.ready >= one.wanted else "False")]


def duration(length: timedelta) -> str:
    """Returns a length of time with its two largest units, such as `5m10s`; `0s` when it is negative."""
    seconds = max(0, int(length.total_seconds()))
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"


def amount(value: Decimal) -> str:
    """Returns an amount with four decimals at most."""
    found = format(value.quantize(Decimal("0.0001")), "f") if abs(value) < 10**12 else format(value, "f")
    return found.rstrip("0").rstrip(".") if "." in found else found


def _money(value: Decimal | None, currency: str) -> str:
    return "" if value is None else f"{amount(value)} {currency}".strip()
