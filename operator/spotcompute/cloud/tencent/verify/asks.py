"""Writes the requests of a verification, without sending any: what is bought, and what each question asks.

Apart from `course`, which sends them. Most questions are dry runs of one launch in which a single thing is different.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal

from spotcompute.cloud.tencent.translate import MANAGER, MANAGER_TAG, PUBLIC_IMAGE, SPOT
from spotcompute.cloud.tencent.verify.record import Json

#: The tag that marks what a verification has bought. Its value is the name of the run. The tag of the manager is there
#: too, so that a CAM policy under which only our instances may be ended fits.
VERIFY_TAG = "spotcompute-verify"

#: What the name of every instance begins with.
NAME_PREFIX = "spotcompute-verify-"

#: A bid over the quote by this much: the price may rise a little until the launch.
BID_FACTOR = Decimal("1.05")

#: A bid in an inquiry, which buys nothing: high enough that a risen price is answered and not refused.
INQUIRY_FACTOR = 3

#: A bid under the quote by this much is refused for its price.
LOW_BID_FACTOR = Decimal("0.01")

#: Most that one request asks for. Only dry runs ask for more than one.
COUNTS = (100, 500)

#: Most vCPU of a small instance.
SMALL_VCPU = 4


@dataclass(frozen=True, slots=True)
class Goods:
    """`Goods` is what a verification buys: one small spot instance in one pool."""

    zone: str
    type: str
    price: Decimal
    image: str = PUBLIC_IMAGE
    network: tuple[str, str] | None = None

    @property
    def bid(self) -> Decimal:
        """Returns the bid for one hour. What is billed is never more."""
        return (self.price * BID_FACTOR).quantize(Decimal("0.0001"), ROUND_UP)

    @property
    def low_bid(self) -> Decimal:
        """Returns a bid that is far below the price."""
        return (self.price * LOW_BID_FACTOR).quantize(Decimal("0.00001"), ROUND_UP)


def market_options(bid: Decimal) -> Json:
    """Returns the options of a launch with this bid."""
    return {"MarketType": "spot", "SpotOptions": {"MaxPrice": format(bid, "f"), "SpotInstanceType": "one-time"}}


def launch(goods: Goods, run: str, name: str, changes: Json | None = None) -> Json:
    """Returns the parameters that launch one instance of `goods`, with `changes`. A change to None leaves it out."""
    parameters: Json = {
        "Placement": {"Zone": goods.zone},
        "InstanceType": goods.type,
        "InstanceChargeType": SPOT,
        "InstanceMarketOptions": market_options(goods.bid),
        "InstanceCount": 1,
        "ImageId": goods.image,
        "InstanceName": name,
        "TagSpecification": tagged({VERIFY_TAG: run, MANAGER_TAG: MANAGER}),
    }
    if goods.network is not None:
        vpc, subnet = goods.network
        parameters["VirtualPrivateCloud"] = {"VpcId": vpc, "SubnetId": subnet}
    parameters |= changes or {}
    return {key: value for key, value in parameters.items() if value is not None}


def tagged(tags: Mapping[str, str]) -> list[Json]:
    """Returns tags as a launch takes them."""
    return [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]


def timer(moment: datetime) -> Json:
    """Returns the timer that ends an instance at `moment`."""
    return {"TimerAction": "TerminateInstances", "ActionTime": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def dry_runs(goods: Goods, run: str) -> dict[str, Json]:
    """Returns the questions that a dry run answers, by their key. None of them can buy."""
    name = f"{NAME_PREFIX}{run}-dry"

    def with_tag(value: str) -> Json:
        return {"TagSpecification": tagged({VERIFY_TAG: run, MANAGER_TAG: MANAGER, "note": value})}

    changes: dict[str, Json] = {
        "dry-run": {},
        "dry-run-low-bid": {"InstanceMarketOptions": market_options(goods.low_bid)},
        "min-count": {"MinCount": 1},
        "name-61": {"InstanceName": name.ljust(61, "n")},
        "name-128": {"InstanceName": name.ljust(128, "n")},
        "name-129": {"InstanceName": name.ljust(129, "n")},
        "count-101": {"InstanceCount": COUNTS[0] + 1},
        "count-501": {"InstanceCount": COUNTS[1] + 1},
        "no-bid": {"InstanceMarketOptions": None},
        "tag-plain": with_tag("a-b"),
        "tag-underscore": with_tag("a_b c:d/e"),
        "tag-brackets": with_tag("(a)[b]"),
        "tag-empty": with_tag(""),
        "internet-by-bandwidth": {"InternetAccessible": {"InternetChargeType": "BANDWIDTH_POSTPAID_BY_HOUR"}},
    }
    return {key: launch(goods, run, name, {**change, "DryRun": True}) for key, change in changes.items()}


def inquiry(goods: Goods, count: int = 1, disk: int = 50, charge_type: str = SPOT) -> Json:
    """Returns the parameters that ask for a price: of `count` instances with a system disk of `disk` GiB."""
    parameters: Json = {
        "Placement": {"Zone": goods.zone},
        "InstanceType": goods.type,
        "InstanceChargeType": charge_type,
        "InstanceCount": count,
        "ImageId": goods.image,
        "SystemDisk": {"DiskType": "CLOUD_PREMIUM", "DiskSize": disk},
    }
    if charge_type == SPOT:
        parameters["InstanceMarketOptions"] = market_options(goods.price * INQUIRY_FACTOR)
    return parameters


def scarce(market: Iterable[Json], count_max: int) -> list[tuple[Json, int]]:
    """Returns what is most likely short of stock, as offerings with a number that they might not have."""
    rank = {"WithoutStock": 0, "UnderStock": 1, "NormalStock": 2, "EnoughStock": 3}
    spot = [item for item in market if item.get("InstanceChargeType") == SPOT and quoted_price(item)]

    def scarcity(item: Json) -> tuple[int, int]:
        return rank.get(str(item.get("StatusCategory")), 2), -int(item.get("Cpu") or 0)

    return [(item, 1 if is_sold_out(item) else count_max) for item in sorted(spot, key=scarcity)]


def is_sold_out(item: Json) -> bool:
    """True when the market quotes no stock."""
    return item.get("Status") == "SOLD_OUT" or item.get("StatusCategory") == "WithoutStock"


def quoted_price(item: Json, field: str = "UnitPriceDiscount") -> Decimal | None:
    """Returns a price of a quoted offering. None when there is none, or none above 0."""
    amount = (item.get("Price") or {}).get(field)
    return Decimal(str(amount)) if isinstance(amount, int | float) and amount > 0 else None


@dataclass(frozen=True, slots=True)
class Preference:
    """`Preference` is what the person has chosen of what will be bought. None leaves the choice to us."""

    zone: str | None = None
    type: str | None = None
    image: str | None = None
    network: tuple[str, str] | None = None


def choices(market: Iterable[Json], wish: Preference) -> list[Goods]:
    """Returns what could be bought, the cheapest first: small types in stock, and only what the person allows."""
    found: list[Goods] = []
    for item in market:
        price = quoted_price(item)
        if item.get("InstanceChargeType") != SPOT or price is None or is_sold_out(item):
            continue
        is_small = not item.get("GpuCount") and int(item.get("Cpu") or 0) <= SMALL_VCPU
        if wish.zone in (None, item["Zone"]) and (item["InstanceType"] == wish.type if wish.type else is_small):
            goods = Goods(item["Zone"], item["InstanceType"], price, wish.image or PUBLIC_IMAGE, wish.network)
            found.append(goods)
    return sorted(found, key=lambda one: (one.price, one.zone, one.type))


def is_ours(item: Json, names: Sequence[str], ids: Sequence[str]) -> bool:
    """True when a verification has bought this: our tag and our kind of name, or a name or id from its journal.

    A tag alone does not count, because a person may have given it to another machine.
    """
    name, tags = str(item.get("InstanceName") or ""), {tag.get("Key") for tag in item.get("Tags") or ()}
    is_marked = VERIFY_TAG in tags and re.match(re.escape(NAME_PREFIX) + r"[0-9a-z]+-", name) is not None
    return is_marked or name in names or item.get("InstanceId") in ids
