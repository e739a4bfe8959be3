"""Writes money as the answers carry it: the vendor's ItemPrice, in the currency of the switch.

Apart from the market, which counts in dollars. An answer does not say its currency, and that is a trap worth testing.
"""

from decimal import Decimal

from cvmsim.actions.call import Answer
from cvmsim.world import World


def item_price(world: World, list_price: Decimal, price: Decimal, unit: str = "HOUR") -> Answer:
    """Returns an ItemPrice: `UnitPrice` is the list price, `UnitPriceDiscount` the charge, `Discount` in percent."""
    discount = float(round(price / list_price * 100, 1)) if list_price else 100.0
    factor = world.currency_per_dollar
    return {
        "UnitPrice": float(list_price * factor),
        "UnitPriceDiscount": float(price * factor),
        "Discount": discount,
        "ChargeUnit": unit,
        "OriginalPrice": None,
        "DiscountPrice": None,
    }
