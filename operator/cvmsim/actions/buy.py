"""Answers RunInstances and InquiryPriceRunInstances: the token, the market, and what is bought.

Apart from `order`, which judges the request itself, because a refusal of this module may be over a minute later.
"""

from decimal import Decimal

from cvmsim.actions import equipment
from cvmsim.actions import order as orders
from cvmsim.actions.call import Answer, Call, digest
from cvmsim.actions.prices import item_price
from cvmsim.errors import ApiError
from cvmsim.instance import GONE, SPOT, Order
from cvmsim.tokens import TokenRecord
from cvmsim.world import World

TOKEN_MAX = 64


def run_instances(world: World, call: Call) -> Answer:
    """Buys now or refuses now, because the cloud never tries again by itself.

    It buys all of InstanceCount or nothing. With MinCount it buys as many as the stock has, and at least that many.
    Source: CVM API 2017-03-12, RunInstances.
    """
    token = token_of(call)
    known = recall(world, call, token) if token else None
    if known is not None:
        known.replays.append(call.request_id)
        return {"InstanceIdSet": list(known.instance_ids)}
    try:
        return purchase(world, call, token)
    except ApiError as refusal:
        if token and world.switches["token-after-failure"] == "consumed" and refusal.code != "DryRunOperation":
            world.tokens.keep(record_of(world, call, token, (), refusal))
        raise


def purchase(world: World, call: Call, token: str) -> Answer:
    """Checks the request, buys, and records the token. A dry run only checks."""
    order = orders.make_order(world, call, token)
    count, least = orders.count_of(world, call.params)
    is_dry = bool(call.params.get("DryRun"))
    check_min_count(world, call, order)
    granted = grant(
        world, order, count, least, checks_price=not is_dry or world.switches["dry-run-checks-price"] == "yes"
    )
    if is_dry:
        return dry_answer(world)
    bought = world.launch(order, orders.names_of(call.params, granted))
    ids = tuple(instance.id for instance in bought)
    if token:
        world.tokens.keep(record_of(world, call, token, ids, None))
    return {"InstanceIdSet": list(ids)}


def dry_answer(world: World) -> Answer:
    """Returns the answer to a dry run that passes, as the switch `dry-run-answer` says."""
    if world.switches["dry-run-answer"] == "code":
        raise ApiError("DryRunOperation", "The request would have succeeded, but the DryRun parameter was used.")
    return {"InstanceIdSet": None}


def grant(world: World, order: Order, count: int, least: int, *, checks_price: bool) -> int:
    """Returns how many the market gives: `least` to `count`. Raises ApiError when it is fewer than `least`."""
    available = min(count, world.offerings[order.zone, order.type.name].left(order.charge_type == SPOT))
    is_price_first = world.switches["price-check"] == "before-stock"
    if checks_price and is_price_first:
        check_price(world, order)
    check_stock(world, order, available, count, least)
    if checks_price and not is_price_first:
        check_price(world, order)
    check_quota(world, order, available)
    check_addresses(world, order, available)
    check_balance(world, order, available)
    return available


def check_price(world: World, order: Order) -> None:
    """Raises ApiError when the bid is below the price."""
    price = world.offerings[order.zone, order.type.name].price
    if order.bid is not None and world.in_dollars(order.bid) < price:
        raise ApiError("InvalidParameterValue.InsufficientPrice",
                       f"The bid {order.bid} is lower than the current price of `{order.type.name}`.")  # fmt: skip


def check_stock(world: World, order: Order, available: int, count: int, least: int) -> None:
    """Raises ApiError when the stock does not suffice."""
    if available >= least:
        return
    if least < count:
        raise ApiError("ResourceInsufficient.InsufficientOfferingMinimum",
                       f"The stock of `{order.type.name}` in {order.zone} is below `MinCount` {least}.")  # fmt: skip
    raise ApiError(world.switches["sold-out-code"],
                   f"The stock of `{order.type.name}` in {order.zone} does not suffice for {count}.")  # fmt: skip


def check_min_count(world: World, call: Call, order: Order) -> None:
    """Raises ApiError when MinCount is given and the switch `min-count` says that it is not supported."""
    setting = world.switches["min-count"]
    if call.params.get("MinCount") is None or setting == "supported":
        return
    if setting == "unsupported-region":
        raise ApiError(
            "UnsupportedOperation.MinCountUnsupportedRegion", f"`MinCount` is not supported in {order.region}."
        )
    raise ApiError(
        "UnsupportedOperation.MinCountUnsupportedChargeType", f"`MinCount` does not work with {order.charge_type}."
    )


def check_quota(world: World, order: Order, count: int) -> None:
    """Raises ApiError when the spot quota of the zone does not suffice."""
    if order.charge_type == SPOT and order.type.cpu * count > world.free_vcpu(order.account, order.zone):
        raise ApiError("LimitExceeded.UserSpotQuota",
                       f"{count} x {order.type.cpu} vCPU exceed the spot quota of {order.zone}: "
                       f"{world.used_vcpu(order.account, order.zone)} of "
                       f"{world.spot_quota(order.account, order.zone)} vCPU are in use.")  # fmt: skip


def check_addresses(world: World, order: Order, count: int) -> None:
    """Raises ApiError when the subnet has too few free addresses."""
    if count > world.addresses.free(order.subnet):
        raise ApiError("ResourceInsufficient.CidrBlock", f"The subnet `{order.subnet.id}` has too few free addresses.")


def check_balance(world: World, order: Order, count: int) -> None:
    """Raises ApiError when the balance does not cover one hour."""
    if world.hourly(order) * count > world.available_balance(order.account):
        raise ApiError("InvalidAccount.InsufficientBalance", "The balance does not cover one hour of this purchase.")


# --- the client token -----------------------------------------------------------------------------


def token_of(call: Call) -> str:
    """Returns the request's ClientToken, or an empty text. Raises ApiError when it is too long or not ASCII."""
    token: str = call.params.get("ClientToken") or ""
    if len(token) > TOKEN_MAX:
        raise ApiError("InvalidClientToken.TooLong", f"`ClientToken` has more than {TOKEN_MAX} characters.")
    if not token.isascii():
        raise ApiError("InvalidParameterValue", "`ClientToken` must be ASCII.")
    return token


def recall(world: World, call: Call, token: str) -> TokenRecord | None:
    """Returns the record of an earlier use of the token.

    None to buy. Raises ApiError as the switches say about misuse.
    """
    known = world.tokens.find(call.account, call.region, token, world.now, world.switches.number("token-lifetime"))
    if known is None:
        return None
    if known.digest != fingerprint(call):
        setting = world.switches["token-mismatch"]
        if setting == "error":
            raise ApiError("InvalidParameterCombination", "The `ClientToken` was used with other parameters.")
        if setting == "relaunch":
            return None
    if known.refusal is not None:
        raise known.refusal
    if all(world.instances[instance_id].state == GONE for instance_id in known.instance_ids):
        return recall_of_terminated(world, known)
    return known


def recall_of_terminated(world: World, known: TokenRecord) -> TokenRecord | None:
    """Returns the record of a token whose instances are all gone, or None to buy, as `token-of-terminated` says."""
    setting = world.switches["token-of-terminated"]
    if setting == "error":
        raise ApiError("InvalidParameterValue", "The `ClientToken` belongs to instances that are terminated.")
    return known if setting == "same-ids" else None


def fingerprint(call: Call) -> str:
    """Returns a digest of what must be the same under one token. A dry run buys nothing, so DryRun does not count."""
    return digest(call.params, "ClientToken", "DryRun")


def record_of(world: World, call: Call, token: str, ids: tuple[str, ...], refusal: ApiError | None) -> TokenRecord:
    """Returns the record of what a token bought or was refused."""
    return TokenRecord(call.account, call.region, token, fingerprint(call), world.now, call.request_id, ids, refusal)


# --- asking the price -----------------------------------------------------------------------------


def inquire_price(world: World, call: Call) -> Answer:
    """Answers the price of a whole purchase, and refuses as the purchase would. Source: InquiryPriceRunInstances."""
    order = orders.make_order(world, call)
    count, _ = orders.count_of(world, call.params)
    check_price(world, order)
    offering = world.offerings[order.zone, order.type.name]
    if not offering.left(order.charge_type == SPOT):
        raise ApiError("ResourcesSoldOut.SpecifiedInstanceType", f"`{order.type.name}` is sold out in {order.zone}.")
    if world.switches["inquiry-price"] == "each":
        count = 1
    disks = order.disks_per_hour if world.switches["inquiry-disks"] == "included" else Decimal(0)
    price, full = (one + disks for one in (world.machine_per_hour(order), offering.list_price))
    if equipment.pays_for_traffic(call.params):
        gigabyte = world.catalog.tariff.gigabyte
        bandwidth = item_price(world, gigabyte, gigabyte, "GB")
    else:
        hourly = order.bandwidth_per_hour * count
        bandwidth = item_price(world, hourly, hourly)
    return {
        "Price": {
            "InstancePrice": item_price(world, full * count, price * count, has_steps=order.charge_type != SPOT),
            "BandwidthPrice": bandwidth,
        }
    }
