"""Judges what one request answers: dry runs, inquiries, quotes, and the burst.

Apart from `measured`, because nothing here was bought.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from spotcompute.cloud.tencent.translate import ON_DEMAND
from spotcompute.cloud.tencent.verify.asks import quoted_price
from spotcompute.cloud.tencent.verify.finding import Finding, missing, open_because
from spotcompute.cloud.tencent.verify.line import NO_ANSWER, NOT_ALLOWED
from spotcompute.cloud.tencent.verify.record import DRY_RUN_PASSED, Answer, Record

PRICE_TOO_LOW = "InvalidParameterValue.InsufficientPrice"
STOCK_CODES = (
    "ResourceInsufficient.SpecifiedInstanceType",
    "ResourcesSoldOut.SpecifiedInstanceType",
    "InvalidParameterValue.InsufficientOffering",
    "LimitExceeded.SpotQuota",
    "ResourceInsufficient.AvailabilityZoneSoldOut",
    "ResourceUnavailable.InstanceType",
)


def dry_run_answer(answer: Answer) -> Finding:
    """Judges how a dry run says that it passes."""
    if not answer.is_granted:
        return open_because(f"no dry run passed: {answer.code}")
    setting = "code" if answer.code == DRY_RUN_PASSED else "empty"
    return Finding(setting, f"a dry run that passes answered: {answer.shown}")


def dry_run_checks_price(answer: Answer) -> Finding:
    """Judges whether a dry run compares the bid."""
    if answer.code == PRICE_TOO_LOW:
        return Finding("yes", f"a dry run with a hundredth of the price answered {answer.code}")
    if answer.is_granted:
        return Finding("no", "a dry run with a hundredth of the price passed")
    return open_because(f"a dry run with a hundredth of the price answered {answer.code}")


def min_count(answer: Answer) -> Finding:
    """Judges whether partial delivery is offered."""
    settings = {
        "UnsupportedOperation.MinCountUnsupportedChargeType": "unsupported-charge-type",
        "UnsupportedOperation.MinCountUnsupportedRegion": "unsupported-region",
    }
    setting = "supported" if answer.is_granted else settings.get(answer.code)
    return Finding(setting, f"a dry run with MinCount 1 answered: {answer.shown}")


def sold_out_code(answer: Answer) -> Finding:
    """Judges the code of missing stock."""
    if answer.code in STOCK_CODES:
        return Finding(answer.code, "a dry run of more than there is answered this code")
    return open_because(f"no dry run was refused for its stock; the last answered: {answer.shown}")


def price_check(answer: Answer) -> Finding:
    """Judges which refusal comes first."""
    text = f"a bid far too low where there is no stock answered {answer.shown}"
    if answer.code == PRICE_TOO_LOW:
        return Finding("before-stock", text)
    return Finding("after-stock" if answer.code in STOCK_CODES else None, text)


def name_limit(record: Record) -> Finding:
    """Judges how long a name may be."""
    asked = {length: record.answers.get(f"name-{length}") for length in (61, 128, 129)}
    if (reason := missing(record, "name-61")) or (reason := missing(record, "name-128")):
        return open_because(reason)
    shown = {length: answer.shown for length, answer in asked.items() if answer}
    text = ", ".join(f"{length} bytes answered {word}" for length, word in shown.items())
    if shown[61] == "InvalidInstanceName.TooLong":
        return Finding("60", text)
    fits = asked[128] is not None and asked[128].is_granted
    return Finding("128" if fits and shown.get(129) == "InvalidInstanceName.TooLong" else None, text)


def count_limit(record: Record) -> Finding:
    """Judges for how many instances one request may ask. A refusal for stock shows that the number is legal."""
    if (reason := missing(record, "count-101")) or (reason := missing(record, "count-501")):
        return open_because(reason)
    first, second = record.answers["count-101"], record.answers["count-501"]
    text = f"a dry run of 101 answered {first.shown}, of 501 {second.shown}"
    is_illegal = [answer.code in ("InvalidParameterValue.Range", "InvalidParameterValue") for answer in (first, second)]
    if is_illegal[0]:
        return Finding("100", text)
    return Finding("500" if is_illegal[1] else None, text)


def spot_without_bid(answer: Answer) -> Finding:
    """Judges a launch as spot without market options."""
    text = f"a dry run of SPOTPAID without InstanceMarketOptions answered: {answer.shown}"
    if answer.is_granted:
        return Finding("accepted", text)
    is_about_it = answer.code.startswith(("MissingParameter", "InvalidInstanceChargeType", "InvalidParameter"))
    return Finding("refused" if is_about_it else None, text)


def tag_charset(record: Record) -> Finding:
    """Judges the characters of tags, by four dry runs."""
    keys = ("tag-plain", "tag-underscore", "tag-brackets", "tag-empty")
    if reason := next((reason for key in keys if (reason := missing(record, key))), None):
        return open_because(reason)
    plain, wide, brackets, empty = (record.answers[key].is_granted for key in keys)
    words = ", ".join(f"{key[4:]}: {record.answers[key].shown}" for key in keys)
    table = {
        (False, False, True): "cvm",
        (True, True, False): "live",
        (True, False, True): "tag-product",
    }
    return Finding(table.get((wide, brackets, empty)) if plain else None, f"dry runs with tag values of kinds {words}")


def site(record: Record) -> Finding:
    """Judges the site by three signs, of which two must agree."""
    signs: dict[str, str] = {}
    bandwidth = record.answers.get("internet-by-bandwidth")
    if bandwidth is not None and missing(record, "internet-by-bandwidth") is None:
        signs["BANDWIDTH_POSTPAID_BY_HOUR in a dry run"] = "mainland" if bandwidth.is_granted else "international"
    seen = [life.has_host_name for life in record.lives if life.has_host_name is not None]
    if seen:
        signs["HostName in DescribeInstances"] = "mainland" if any(seen) else "international"
    signs["the endpoint"] = record.site
    votes = list(signs.values())
    winner = max(set(votes), key=votes.count)
    text = ", ".join(f"{sign}: {vote}" for sign, vote in signs.items())
    return Finding(winner if votes.count(winner) >= 2 else None, text)


#: List price of one vCPU and hour, above which it must be yuan. In dollars it is 0.02 to 0.06, in yuan 0.1 to 0.5.
YUAN_FROM = 0.085


def price_currency(record: Record) -> Finding:
    """Judges the currency by the size of the list prices, because no answer names it."""
    rates = [
        float(price) / int(item["Cpu"])
        for item in record.market
        if (price := quoted_price(item, "UnitPrice")) and int(item.get("Cpu") or 0) > 0 and not item.get("GpuCount")
    ]
    if not rates:
        return open_because("the market quotes no price")
    middle = median(rates)
    text = f"inferred: a vCPU costs {middle:.3f} an hour on demand (median of {len(rates)} offerings)"
    return Finding("CNY" if middle > YUAN_FROM else "USD", text)


def inquired(answer: Answer | None) -> float | None:
    """Returns the price of the machines in an inquiry. None when it holds none."""
    price = ((answer.body if answer else {}).get("Price") or {}).get("InstancePrice") or {}
    amount = price.get("UnitPriceDiscount")
    return float(amount) if isinstance(amount, int | float) else None


def inquiry_ratio(record: Record, key: str) -> tuple[float | None, str]:
    """Returns how many times the price of the plain inquiry another one has, or why that is not known."""
    if (reason := missing(record, "inquiry")) or (reason := missing(record, key)):
        return None, reason
    one, other = inquired(record.answers["inquiry"]), inquired(record.answers[key])
    if not one or other is None:
        return None, f"an inquiry answered no price: {record.answers[key].shown}"
    return other / one, f"an inquiry of one answered {one:g}, the other {other:g}"


def inquiry_price(record: Record) -> Finding:
    """Judges whether a price of two is twice that of one."""
    ratio, text = inquiry_ratio(record, "inquiry-of-two")
    if ratio is None:
        return open_because(text)
    return Finding("whole" if ratio > 1.5 else "each", f"{text} (two instances)")


def inquiry_disks(record: Record) -> Finding:
    """Judges whether a larger disk makes a higher price."""
    ratio, text = inquiry_ratio(record, "inquiry-large-disk")
    if ratio is None:
        return open_because(text)
    return Finding("included" if ratio > 1.001 else "excluded", f"{text} (a disk of 500 instead of 50 GiB)")


def price_steps(record: Record) -> Finding:
    """Judges whether the price on demand falls after 96 hours."""
    rows = [item.get("Price") or {} for item in record.market if item.get("InstanceChargeType") == ON_DEMAND]
    known = [row for row in rows if row.get("UnitPrice") and row.get("UnitPriceSecondStep")]
    if not known:
        return open_because("no offering on demand quotes a second step")
    falling = sum(row["UnitPriceSecondStep"] < 0.999 * row["UnitPrice"] for row in known)
    return Finding("falling" if falling else "flat", f"{falling} of {len(known)} offerings cost less after 96 hours")


def unknown_id(answer: Answer) -> Finding:
    """Judges the answer about an id that does not exist."""
    text = f"a query for an id that does not exist answered: {answer.shown}"
    if answer.code:
        return Finding("error" if "NotFound" in answer.code else None, text)
    return Finding("absent", text)


def one_of(*settings: str, what: str) -> Callable[[Answer], Finding]:
    """Returns the judge of an answer whose code is the setting."""

    def judged(answer: Answer) -> Finding:
        return Finding(answer.code if answer.code in settings else None, f"{what} answered: {answer.shown}")

    return judged


def caller_identity(record: Record) -> Finding:
    """Judges whether a key may ask for its owner. Here a refusal is an answer."""
    answer = record.answers.get("GetCallerIdentity")
    if answer is None or answer.code == NO_ANSWER:
        return open_because("the cloud gave no answer")
    setting = "answered" if not answer.code else answer.code if answer.code in NOT_ALLOWED else None
    return Finding(setting, f"GetCallerIdentity answered: {answer.shown}")


def limit_scope(record: Record) -> Finding:
    """Judges by a burst in one region whether another region is refused too."""
    burst = record.burst
    if burst is None:
        return open_because(record.skipped.get("burst", "not asked: the time was over before"))
    passed, refused, passed_there, refused_there = burst
    text = (
        f"of {passed + refused} inquiries at once {refused} were refused,"
        f" and {refused_there} of {passed_there + refused_there} in another region right after"
    )
    if not refused:
        return open_because(f"{text}: the limit was not reached, and no more was tried")
    return Finding("account" if refused_there else "region", text)
