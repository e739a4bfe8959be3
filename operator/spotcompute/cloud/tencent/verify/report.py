"""Writes a report: what the cloud has shown, what our assumptions had wrong, and a world for cvmsim that is like it.

Apart from `findings`, because it only words them. It holds codes and never the cloud's messages, which may quote an
account; the caller cuts registered secrets out of it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from spotcompute.cloud.tencent.translate import ON_DEMAND, PUBLIC_IMAGE, SPOT
from spotcompute.cloud.tencent.verify.asks import Goods, quoted_price
from spotcompute.cloud.tencent.verify.finding import Finding
from spotcompute.cloud.tencent.verify.findings import FURTHER, QUESTIONS, findings
from spotcompute.cloud.tencent.verify.record import Json, Record

#: Instances in stock that cvmsim quotes with the vendor's word.
STOCK = {"EnoughStock": 200, "NormalStock": 10, "UnderStock": 3, "WithoutStock": 0}

#: What cvmsim takes for a dollar. Its world file has dollars, its switch `price-currency` makes yuan of them.
YUAN_PER_DOLLAR = Decimal("7.2")


@dataclass(frozen=True, slots=True)
class Outline:
    """`Outline` is what a report says besides the findings."""

    run: str
    region: str
    goods: Goods | None
    spent: Decimal
    limit: Decimal
    left: Sequence[str] = ()
    lacking: Sequence[str] = ()


def settings_of(found: Mapping[str, Finding]) -> dict[str, str]:
    """Returns the settled switches of cvmsim."""
    names = [question.name for question in QUESTIONS]
    return {name: setting for name in names if (setting := found[name].setting) is not None}


def to_markdown(record: Record, facts: Outline) -> str:
    """Returns the report for people."""
    found = findings(record)
    assumed = {question.name: question.assumed for question in (*QUESTIONS, *FURTHER)}
    settled = {name: one for name, one in found.items() if one.setting is not None}
    wrong = [name for name, one in settled.items() if one.setting != assumed[name]]
    minutes = (record.ended_at - record.started_at) / 60
    where = f"{facts.goods.type} in {facts.goods.zone}" if facts.goods else "nothing"
    lines = [
        f"# Verification {facts.run}",
        "",
        f"Region {facts.region}, {len(record.lives)} instances of {where}, {minutes:.0f} minutes. At most"
        f" {facts.spent:.4f} of {facts.limit} was spent, in the currency of the quotes.",
        f"Left: {', '.join(facts.left) if facts.left else 'nothing'}.",
        "",
        f"{len(settled)} of {len(found)} questions are settled. Replay this cloud with"
        " `cvmsim serve --world world.yaml`, which holds the settings below.",
    ]
    if facts.lacking:
        lines += ["", f"The key lacks {', '.join(facts.lacking)} (docs/reference/cam-policy.md)."]
    lines += ["", "## What our assumptions had wrong", ""]
    lines += [f"- `{name}` is `{found[name].setting}`, not `{assumed[name]}`: {found[name].why}." for name in wrong]
    lines += ["Nothing."] if not wrong else []
    lines += ["", "## Settled", "", "| Switch | Setting | From what it follows |", "|---|---|---|"]
    lines += [f"| `{name}` | `{one.setting}` | {one.why} |" for name, one in settled.items()]
    lines += ["", "## Open", "", "| Switch | We assume | Why it stays open |", "|---|---|---|"]
    lines += [f"| `{name}` | `{assumed[name]}` | {one.why} |" for name, one in found.items() if one.setting is None]
    return "\n".join(lines) + "\n"


def to_world(record: Record, facts: Outline) -> str:
    """Returns a world file for cvmsim: the offerings of the region as they were quoted, and the settled switches."""
    settings = settings_of(findings(record))
    factor = YUAN_PER_DOLLAR if settings.get("price-currency") == "CNY" else Decimal(1)
    spot = [item for item in record.market if item.get("InstanceChargeType") == SPOT and quoted_price(item)]
    zones = {str(item["Zone"]): {"id": f"{number + 1:06d}"} for number, item in enumerate(_by_zone(spot))}
    world: dict[str, Any] = {
        "regions": {facts.region: {"zones": zones}},
        "types": {str(item["InstanceType"]): _type(item) for item in spot},
        "offerings": {zone: _offerings(spot, record.market, zone, factor) for zone in zones},
        "images": [{"id": facts.goods.image if facts.goods else PUBLIC_IMAGE, "name": "image", "os": "Linux",
                    "platform": "Linux", "size": 20}],
        "accounts": [_account()],
        "switches": settings,
    }  # fmt: skip
    return "# Written by `spotcompute verify`. Start it with `cvmsim serve --world world.yaml`.\n" + str(
        yaml.safe_dump(world, sort_keys=False, width=120, allow_unicode=True)
    )


def _by_zone(spot: Sequence[Json]) -> list[Json]:
    return list({str(item["Zone"]): item for item in spot}.values())


def _type(item: Json) -> Json:
    return {
        "cpu": int(item.get("Cpu") or 1),
        "memory": int(item.get("Memory") or 1),
        "family": str(item.get("InstanceFamily") or "") or str(item["InstanceType"]).partition(".")[0],
        "gpus": int(item.get("GpuCount") or 0),
    }


def _offerings(spot: Sequence[Json], market: Sequence[Json], zone: str, factor: Decimal) -> Json:
    full = {
        (item["Zone"], item["InstanceType"]): quoted_price(item)
        for item in market
        if item.get("InstanceChargeType") == ON_DEMAND
    }
    rows: Json = {}
    for item in spot:
        price = quoted_price(item)
        if item["Zone"] == zone and price is not None:
            listed = full.get((zone, item["InstanceType"])) or quoted_price(item, "UnitPrice") or price
            stock = STOCK.get(str(item.get("StatusCategory")), 10)
            rows[str(item["InstanceType"])] = {
                "stock": stock,
                "spot": _money(price / factor),
                "list": _money(listed / factor),
            }
    return rows


def _money(amount: Decimal) -> str:
    return format(amount.quantize(Decimal("0.000001")), "f")


def _account() -> Json:
    """Returns an account with the key that the documentation of cvmsim uses. It opens nothing else."""
    # Not the key of the simulator's own world: after a verification with that one it would stand redacted here.
    key = {"secretId": "AKIDofthisworldsfile0000000000000001", "secretKey": "keyOfThisWorldsFile00000000000001"}
    return {"uin": "100000000001", "appId": 1250000001, "name": "main", "credentials": [key], "balance": "1000.00"}
