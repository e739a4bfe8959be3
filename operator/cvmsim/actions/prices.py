"""Writes money as the answers carry it: the vendor's ItemPrice, in the currency of the switch.

Apart from the market, which counts in dollars. An answer does not say its currency, and that is a trap worth testing.
"""

from decimal import Decimal

from cvmsim.actions.call import Answer
from cvmsim.world import World

#: What the vendor's samples show as zero for what is paid by the hour.
PREPAID_ONLY = ("OriginalPrice", "DiscountPrice", "OriginalPriceOneYear", "DiscountPriceOneYear", "DiscountOneYear",
                "OriginalPriceThreeYear", "DiscountPriceThreeYear", "DiscountThreeYear", "OriginalPriceFiveYear",
                "DiscountPriceFiveYear", "DiscountFiveYear")  # fmt: skip


def item_price(
    world: World, list_price: Decimal, price: Decimal, unit: str = "HOUR", *, has_steps: bool = False
) -> Answer:
    """Returns an ItemPrice: `UnitPrice` is the list price, `UnitPriceDiscount` the charge, `Discount` in percent.

    The second step counts after 96 hours, the third after 360. `has_steps` is for what falls in price under the switch
    `price-steps`.
    """
    discount = float(round(price / list_price * 100, 1)) if list_price else 100.0
    factor = world.currency_per_dollar
    second, third = world.price_steps if has_steps else (Decimal(1), Decimal(1))
    return {
        "UnitPrice": float(list_price * factor),
        "UnitPriceDiscount": float(price * factor),
        "Discount": discount,
        "ChargeUnit": unit,
        "UnitPriceSecondStep": float(list_price * factor * second),
        "UnitPriceDiscountSecondStep": float(price * factor * second),
        "UnitPriceThirdStep": float(list_price * factor * third),
        "UnitPriceDiscountThirdStep": float(price * factor * third),
        **dict.fromkeys(PREPAID_ONLY, 0.0),
    }
