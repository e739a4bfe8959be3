"""Turns objects into text and data, with one function per command. It is pure: `now` is a parameter.

Apart from `__main__`, which runs kubectl. Fields are those of docs/reference/spec.md, and each may be missing, because
an object exists before the operator has seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

Object = Mapping[str, Any]
Row = Sequence[str]

#: Shown where a value is not known.
NOTHING = "-"

#: Number of ids in one cell.
IDS_SHOWN = 3

#: Conditions that are shown only while they have this status; with an empty one, as long as they are there.
_SHOWN_WHILE = {"Stalled": "True", "StateRefused": "True", "GangReady": "False", "ZonesCordoned": ""}


def why(objects: Sequence[Object], now: datetime) -> str:
    """Returns sentences: how many run, why not all run, when the cloud is asked next, and what a person could do."""
    return "\n".join(line for obj in objects for line in _why(obj, now))


def _why(obj: Object, now: datetime) -> Iterator[str]:
    status, wanted = _status(obj), obj.get("spec", {}).get("replicas", 0)
    phase = status.get("phase", "not seen yet")
    yield f"{label(obj)}: {_ready(status)} of {wanted} ready, {phase}"
    conditions = {item["type"]: item for item in status.get("conditions", ())}
    if status.get("observedGeneration", -1) != obj["metadata"].get("generation", 1):
        yield "  The operator has not seen the latest change of the spec yet; is it running?"
    message = conditions.get("Ready", {}).get("message")
    if message:
        yield f"  {message}"
    for name, when in _SHOWN_WHILE.items():
        found = conditions.get(name)
        if found and when in ("", found.get("status")) and found.get("message") not in (None, "", message):
            yield f"  {name}: {found['message']}"
    at = status.get("nextAttemptTime")
    if at:
        yield f"  The cloud is asked next {_until(_time(at), now)} ({at})"


def instances(obj: Object, now: datetime) -> str:
    """Returns one line per instance in status. For very large environments the ids of the others follow."""
    shown = _status(obj).get("instances", ())
    head = ("ID", "STATE", "READY", "TYPE", "ZONE", "PRICE/H", "AGE", "IP", "NOTE")
    rows = [
        (
            one["id"],
            one.get("state", NOTHING),
            "yes" if one.get("ready") else "no",
            one.get("instanceType", NOTHING) + (" (on demand)" if one.get("onDemand") else ""),
            one.get("zone", NOTHING),
            one.get("pricePerHour", NOTHING),
            _age(one.get("launchedAt"), now),
            one.get("privateIP") or NOTHING,
            one.get("note", ""),
        )
        for one in shown
    ]
    hidden = sorted(set(_status(obj).get("instanceIDs", ())) - {one["id"] for one in shown})
    more = [f"And {len(hidden)} more: {', '.join(hidden)}"] if hidden else []
    return _block(obj, head, rows, more, "no instances")


def activity(obj: Object, now: datetime) -> str:
    """Returns the history, newest first, with the reason of each launch and end, or why it failed."""
    head = ("AGE", "TYPE", "STATE", "TIMES", "POOL", "INSTANCES", "WHY")
    rows = [
        (
            _age(line.get("endTime") or line.get("startTime"), now),
            line["type"],
            line["state"],
            str(line.get("count", 1)),
            _pool(line),
            _ids(line.get("instanceIds", ())),
            (": ".join(filter(None, (line.get("code"), line.get("message")))) or line.get("cause", ""))
            + _request(line),
        )
        for line in _status(obj).get("activities", ())
    ]
    return _block(obj, head, rows, [], "nothing has happened yet")


def pools(obj: Object, now: datetime) -> str:
    """Returns one line per pool: its price, its last answer, and when it is asked again."""
    head = ("POOL", "STATE", "HAS", "SPOT/H", "ON-DEMAND/H", "STOCK", "SCORE", "NEXT", "WHY")
    rows = [
        (
            _pool(one),
            one.get("state", NOTHING),
            str(one.get("instances", 0)),
            one.get("pricePerHour", NOTHING),
            one.get("onDemandPricePerHour", NOTHING),
            one.get("stock", NOTHING),
            one.get("score", NOTHING),
            _until(_time(one["nextAttemptTime"]), now) if one.get("nextAttemptTime") else NOTHING,
            one.get("lastError") or one.get("note") or "",
        )
        for one in _status(obj).get("pools", ())
    ]
    return _block(obj, head, rows, [], _no_pools(obj))


def _request(line: Mapping[str, Any]) -> str:
    return f" (request {line['requestId']})" if line.get("requestId") else ""


def _no_pools(obj: Object) -> str:
    is_seen = "readyReplicas" in _status(obj) or not _status(obj).get("phase")
    return "no pool is known yet" if is_seen else "pools are not known while the cloud cannot be seen"


def cost(objects: Sequence[Object], now: datetime) -> str:
    """Returns what each environment costs and has cost until now, and the sum per currency."""
    head = ("NAME", "READY", "COST/H", "DISKS/H", "ON-DEMAND/H", "SAVED", "SPENT", "CURRENCY")
    rows: list[Row] = []
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for obj in objects:
        found = _status(obj).get("cost", {})
        spent, currency = spent_until(found, now), found.get("currency", "")
        rows.append(
            (
                label(obj),
                f"{_ready(_status(obj))}/{obj.get('spec', {}).get('replicas', 0)}",
                found.get("perHour", NOTHING),
                found.get("extrasPerHour", NOTHING),
                found.get("onDemandPerHour", NOTHING),
                f"{found['savedPercent']}%" if "savedPercent" in found else NOTHING,
                NOTHING if spent is None else _money(spent),
                currency or NOTHING,
            )
        )
        hourly, total = sums.get(currency, (Decimal(0), Decimal(0)))
        sums[currency] = (hourly + Decimal(found.get("perHour", "0")), total + (spent or 0))
    if len(objects) > 1:
        known = [(currency, *both) for currency, both in sorted(sums.items()) if currency]
        rows += [("all", "", _money(hourly), "", "", "", _money(total), name) for name, hourly, total in known]
    return "\n".join(columns([head, *rows])) if rows else "No environments."


def spent_until(found: Mapping[str, Any], now: datetime) -> Decimal | None:
    """Returns what was spent until `now`. None when status does not say.

    The status sums up only when the rate changes. From then on the rate applies.
    """
    if "accrued" not in found or "accruedAt" not in found:
        return None
    hours = Decimal(max(0, int((now - _time(found["accruedAt"])).total_seconds()))) / 3600
    return Decimal(found["accrued"]) + Decimal(found.get("perHour", "0")) * hours


def quote(obj: Object, now: datetime) -> str:
    """Returns what a paused environment would buy, at what cost, and what must be corrected first."""
    found = _status(obj).get("quote")
    if found is None:
        return f"{label(obj)}\n  There is a quote only while spec.paused is true and instances are missing."
    head, refused = ("COUNT", "POOL", "SPOT/H", "BID/H"), {_pool(one) for one in found.get("refusals", ())}
    rows = [
        (str(one["count"]), _pool(one), one.get("pricePerHour", NOTHING), one.get("bid", "market"))
        for one in found.get("pools", ())
        if _pool(one) not in refused
    ]
    return _block(obj, head, rows, list(_about(found)), "nothing would be bought")


def _about(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['chosen']} of {found['missing']} missing instances would be bought."
    if "perHour" in found:
        parts = [f"{found['perHour']} {found.get('currency', '')} per hour"]
        parts += [f"of that {found['extrasPerHour']} for disks and bandwidth"] if "extrasPerHour" in found else []
        parts += [f"on demand {found['onDemandPerHour']}"] if "onDemandPerHour" in found else []
        yield ", ".join(parts) + "."
    for one in found.get("errors", ()):
        yield f"Correct first: {one.get('field', '(no field)')}: {one['code']}: {one['message']}"
    if found.get("moreErrors"):
        yield "These errors may hide others."
    for one in found.get("refusals", ()):
        yield f"{_pool(one)} would refuse now: {one['code']}: {one['message']}"
    if "unchecked" in found:
        yield f"Not checked: {found['unchecked']}"


#: Commands about one object each, and commands about all of them together.
SINGLE: Mapping[str, Callable[[Object, datetime], str]] = {
    "instances": instances,
    "activity": activity,
    "pools": pools,
    "quote": quote,
}
TOGETHER: Mapping[str, Callable[[Sequence[Object], datetime], str]] = {"why": why, "cost": cost}

#: The parts of status that `-o json` shows, by command.
PARTS = {
    "why": ("phase", "reason", "replicas", "readyReplicas", "observedTime", "nextAttemptTime", "conditions"),
    "instances": ("instances", "instanceIDs"),
    "activity": ("activities",),
    "pools": ("pools",),
    "cost": ("cost",),
    "quote": ("quote",),
}


def text(command: str, objects: Sequence[Object], now: datetime) -> str:
    """Returns what `command` shows of `objects`."""
    if command in TOGETHER:
        return TOGETHER[command](objects, now) or "No environments."
    return "\n\n".join(SINGLE[command](obj, now) for obj in objects) or "No environments."


def data(command: str, objects: Sequence[Object]) -> list[dict[str, Any]]:
    """Returns the parts of status that `command` is about, unchanged, for programs."""
    return [
        {
            "namespace": obj["metadata"]["namespace"],
            "name": obj["metadata"]["name"],
            **{part: _status(obj)[part] for part in PARTS[command] if part in _status(obj)},
        }
        for obj in objects
    ]


def columns(rows: Sequence[Row]) -> list[str]:
    """Returns rows of equal length as lines, aligned as kubectl does it: three spaces apart, no spaces at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def label(obj: Object) -> str:
    """Returns `namespace/name`."""
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def _block(obj: Object, head: Row, rows: Sequence[Row], more: Sequence[str], nothing: str) -> str:
    table = columns([head, *rows]) if rows else [nothing]
    return "\n".join([label(obj), *(f"  {line}" for line in (*table, *more))])


def _status(obj: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = obj.get("status") or {}
    return found


def _ready(status: Mapping[str, Any]) -> str:
    """Returns how many instances are ready: `?` while the operator cannot see them, 0 before it has seen the object."""
    return str(status.get("readyReplicas", "?" if status.get("phase") else 0))


def _pool(one: Mapping[str, Any]) -> str:
    return f"{one['instanceType']}@{one['zone']}" if one.get("instanceType") and one.get("zone") else NOTHING


def _ids(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return (", ".join(ids[:IDS_SHOWN]) + more) or NOTHING


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _age(text: str | None, now: datetime) -> str:
    return NOTHING if text is None else duration(now - _time(text))


def _until(moment: datetime, now: datetime) -> str:
    return f"in {duration(moment - now)}" if moment > now else "now"


def duration(length: timedelta) -> str:
    """Returns a length of time as kubectl writes ages: the two largest units, `3d4h`, `5m10s`.

    `0s` when it is negative.
    """
    seconds = max(0, int(length.total_seconds()))
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"


def _money(amount: Decimal) -> str:
    found = format(amount.quantize(Decimal("0.0001")), "f")
    return found.rstrip("0").rstrip(".") if "." in found else found
