"""What single answers say about the cloud: each judge as a table, from an answer to a setting or to a question."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spotcompute.cloud.tencent.verify import answered
from spotcompute.cloud.tencent.verify.asks import Goods, Preference, choices, dry_runs, is_ours, launch
from spotcompute.cloud.tencent.verify.finding import Finding, missing, number
from spotcompute.cloud.tencent.verify.line import CannotVerify
from spotcompute.cloud.tencent.verify.record import Answer, Bounds, Life, Record
from spotcompute.cloud.tencent.verify.rights import HARMLESS, lacking, refuse_without_rights

OK, PASSED = Answer(0.0), Answer(0.0, "DryRunOperation")
TOO_LONG, RANGE = "InvalidInstanceName.TooLong", "InvalidParameterValue.Range"


def code(word: str) -> Answer:
    return Answer(0.0, word)


def record(site: str = "mainland", **answers: Answer) -> Record:
    made = Record(site=site)
    made.answers.update({key.replace("_", "-"): answer for key, answer in answers.items()})
    return made


@pytest.mark.parametrize(
    ("judge", "answer", "setting"),
    [
        (answered.dry_run_answer, OK, "empty"),
        (answered.dry_run_answer, PASSED, "code"),
        (answered.dry_run_answer, code("InvalidZone.MismatchRegion"), None),
        (answered.dry_run_checks_price, code("InvalidParameterValue.InsufficientPrice"), "yes"),
        (answered.dry_run_checks_price, PASSED, "no"),
        (answered.dry_run_checks_price, code("ResourceInsufficient"), None),
        (answered.min_count, OK, "supported"),
        (answered.min_count, code("UnsupportedOperation.MinCountUnsupportedRegion"), "unsupported-region"),
        (answered.min_count, code("UnsupportedOperation.MinCountUnsupportedChargeType"), "unsupported-charge-type"),
        (answered.min_count, code("InternalError"), None),
        (answered.sold_out_code, code("LimitExceeded.SpotQuota"), "LimitExceeded.SpotQuota"),
        (answered.sold_out_code, OK, None),
        (answered.price_check, code("InvalidParameterValue.InsufficientPrice"), "before-stock"),
        (answered.price_check, code("ResourceUnavailable.InstanceType"), "after-stock"),
        (answered.price_check, OK, None),
        (answered.spot_without_bid, OK, "accepted"),
        (answered.spot_without_bid, code("MissingParameter"), "refused"),
        (answered.spot_without_bid, code("ResourceInsufficient"), None),
        (answered.unknown_id, OK, "absent"),
        (answered.unknown_id, code("InvalidInstanceId.NotFound"), "error"),
        (answered.unknown_id, code("InternalError"), None),
        (answered.one_of("A.B", "C.D", what="it"), code("C.D"), "C.D"),
        (answered.one_of("A.B", "C.D", what="it"), code("E.F"), None),
    ],
)
def test_one_answer(judge: Any, answer: Answer, setting: str | None) -> None:
    assert judge(answer).setting == setting


@pytest.mark.parametrize(
    ("answers", "setting"),
    [
        pytest.param((code(TOO_LONG), code(TOO_LONG), code(TOO_LONG)), "60", id="60"),
        pytest.param((OK, PASSED, code(TOO_LONG)), "128", id="128"),
        pytest.param((OK, OK, OK), None, id="more-than-128"),
        pytest.param((OK, code("X"), code(TOO_LONG)), None, id="another-refusal"),
        pytest.param((OK, OK, None), None, id="129-was-not-asked"),
        pytest.param((None, OK, code(TOO_LONG)), None, id="61-was-not-asked"),
        pytest.param((OK, code("NoAnswer"), code(TOO_LONG)), None, id="128-had-no-answer"),
    ],
)
def test_how_long_a_name_may_be(answers: tuple[Answer | None, ...], setting: str | None) -> None:
    asked = {f"name_{length}": answer for length, answer in zip((61, 128, 129), answers, strict=True) if answer}
    assert answered.name_limit(record(**asked)).setting == setting


@pytest.mark.parametrize(
    ("first", "second", "setting"),
    [
        (code(RANGE), code(RANGE), "100"),
        (code("ResourceInsufficient"), code(RANGE), "500"),
        (OK, code("InvalidParameterValue"), "500"),
        (OK, OK, None),
    ],
)
def test_for_how_many_one_request_may_ask(first: Answer, second: Answer, setting: str | None) -> None:
    assert answered.count_limit(record(count_101=first, count_501=second)).setting == setting


@pytest.mark.parametrize(
    ("plain", "wide", "brackets", "empty", "setting"),
    [
        (OK, OK, OK, code("X"), "live"),
        (OK, code("X"), code("X"), OK, "cvm"),
        (OK, OK, code("X"), OK, "tag-product"),
        (OK, OK, OK, OK, None),
        (code("X"), OK, OK, code("X"), None),
    ],
)
def test_which_characters_tags_have(
    plain: Answer, wide: Answer, brackets: Answer, empty: Answer, setting: str | None
) -> None:
    made = record(tag_plain=plain, tag_underscore=wide, tag_brackets=brackets, tag_empty=empty)
    assert answered.tag_charset(made).setting == setting
    del made.answers["tag-brackets"]
    assert answered.tag_charset(made).setting is None


@pytest.mark.parametrize(
    ("endpoint", "bandwidth", "has_host_name", "setting"),
    [
        ("mainland", OK, True, "mainland"),
        ("international", code("X"), False, "international"),
        ("international", OK, True, "mainland"),
        ("mainland", code("X"), False, "international"),
        ("mainland", None, False, None),
        ("mainland", None, True, "mainland"),
        ("international", None, None, None),
        ("mainland", code("UnauthorizedOperation"), None, None),
    ],
)
def test_two_of_three_signs_tell_the_site(
    endpoint: str, bandwidth: Answer | None, has_host_name: bool | None, setting: str | None
) -> None:
    made = record(endpoint, **({"internet_by_bandwidth": bandwidth} if bandwidth else {}))
    life = Life("ins-1", "n", "first", "t", 0.0, 1)
    life.has_host_name = has_host_name
    made.lives.append(life)
    assert answered.site(made).setting == setting


def inquiry(amount: object) -> Answer:
    return Answer(0.0, "", {"Price": {"InstancePrice": {"UnitPriceDiscount": amount}}})


@pytest.mark.parametrize(
    ("judge", "other", "amount", "setting"),
    [
        (answered.inquiry_price, "inquiry_of_two", 0.2, "whole"),
        (answered.inquiry_price, "inquiry_of_two", 0.1, "each"),
        (answered.inquiry_price, "inquiry_of_two", None, None),
        (answered.inquiry_disks, "inquiry_large_disk", 0.11, "included"),
        (answered.inquiry_disks, "inquiry_large_disk", 0.1, "excluded"),
        (answered.inquiry_disks, "inquiry_large_disk", "0.1", None),
    ],
)
def test_what_an_inquiry_holds(judge: Any, other: str, amount: object, setting: str | None) -> None:
    assert judge(record(inquiry=inquiry(0.1), **{other: inquiry(amount)})).setting == setting
    assert judge(record(inquiry=inquiry(0.0), **{other: inquiry(0.1)})).setting is None
    assert judge(record(inquiry=inquiry(0.1))).setting is None


def offering(price: float | None, second: float | None = None, charge: str = "POSTPAID_BY_HOUR", **other: Any) -> Any:
    return {
        "InstanceChargeType": charge,
        "Cpu": 2,
        "Price": {"UnitPrice": price, "UnitPriceSecondStep": second},
    } | other


@pytest.mark.parametrize(
    ("market", "setting"),
    [
        ([offering(0.2, 0.12)], "falling"),
        ([offering(0.2, 0.2)], "flat"),
        ([offering(0.2, 0.2), offering(0.2, 0.1)], "falling"),
        ([offering(0.2), offering(None, 0.1)], None),
        ([offering(0.2, 0.1, charge="SPOTPAID")], None),
    ],
)
def test_whether_prices_fall_with_time(market: list[Any], setting: str | None) -> None:
    made = record()
    made.market[:] = market
    assert answered.price_steps(made).setting == setting


@pytest.mark.parametrize(
    ("market", "setting"),
    [
        ([offering(0.1)], "USD"),
        ([offering(0.4)], "CNY"),
        ([offering(0.1), offering(0.1), offering(9.0)], "USD"),
        ([offering(9.0, GpuCount=1)], None),
        ([offering(0.1, Cpu=0)], None),
    ],
)
def test_the_size_of_prices_tells_the_currency(market: list[Any], setting: str | None) -> None:
    made = record()
    made.market[:] = market
    assert answered.price_currency(made).setting == setting


@pytest.mark.parametrize(
    ("answer", "setting"),
    [
        (OK, "answered"),
        (code("UnauthorizedOperation"), "UnauthorizedOperation"),
        (code("InternalError"), None),
        (code("NoAnswer"), None),
        (None, None),
    ],
)
def test_whether_a_key_may_ask_for_its_owner(answer: Answer | None, setting: str | None) -> None:
    assert answered.caller_identity(record(**({"GetCallerIdentity": answer} if answer else {}))).setting == setting


@pytest.mark.parametrize(
    ("burst", "setting"),
    [((10, 5, 5, 0), "region"), ((10, 5, 0, 5), "account"), ((20, 0, 5, 0), None), (None, None)],
)
def test_where_a_limit_counts(burst: Any, setting: str | None) -> None:
    made = record()
    made.burst = burst
    assert answered.limit_scope(made).setting == setting


@pytest.mark.parametrize(
    ("spans", "tried", "slack", "setting"),
    [
        pytest.param([], (60,), 1.0, None, id="not-seen"),
        pytest.param([Bounds(55.0, 65.0)], (3, 60), 1.0, "60", id="one-that-was-tried"),
        pytest.param([Bounds(50.0, 90.0), Bounds(40.0, 62.0)], (60, 90), 1.0, "60", id="it-fits-both"),
        pytest.param([Bounds(10.0, 20.0)], (60,), 1.0, "15", id="the-middle"),
        pytest.param([Bounds(60.4, 70.0)], (60,), 1.0, "60", id="within-half-a-second"),
        pytest.param([Bounds(60.6, 70.0)], (60,), 1.0, "65", id="not-within-half-a-second"),
        pytest.param([Bounds(10.0, 11.0), Bounds(20.0, 21.0)], (), 1.0, "16", id="they-differ"),
        pytest.param([Bounds(75.0, 79.0)], (60,), 4 / 3, "60", id="a-third-longer"),
        pytest.param([Bounds(41.0, 45.0)], (60,), 4 / 3, "60", id="a-third-shorter"),
        pytest.param([Bounds(1.0, 99.0)], (20, 45, 90), 1.0, "45", id="the-nearest-to-the-middle"),
    ],
)
def test_the_number_that_fits_all_durations(
    spans: list[Bounds], tried: tuple[float, ...], slack: float, setting: str | None
) -> None:
    assert number(spans, tried, "it took", slack).setting == setting


def test_why_there_is_no_usable_answer() -> None:
    made = record(asked=OK, silent=code("NoAnswer"), forbidden=code("UnauthorizedOperation"))
    made.skipped["skipped"] = "it would cost too much"
    assert missing(made, "asked") is None
    assert missing(made, "skipped") == "it would cost too much"
    assert missing(made, "never") == "not asked: the time or the budget was over before"
    assert missing(made, "silent") == "the cloud gave no answer"
    assert missing(made, "forbidden") == "the key may not do this"
    assert isinstance(answered.inquiry_price(made), Finding)


# --- what is asked ---------------------------------------------------------------------------------------------------

NAME = "spotcompute-verify-r1-1"
GOODS = Goods("ap-guangzhou-3", "S5.SMALL1", Decimal("0.02"), "img-1", ("vpc-1", "subnet-1"))


def test_a_launch_asks_for_one_machine_with_our_tag_and_a_bid() -> None:
    asked = launch(GOODS, "r1", "spotcompute-verify-r1-1", {"UserData": None, "HostName": "h"})
    assert (asked["InstanceCount"], asked["InstanceChargeType"], asked["HostName"]) == (1, "SPOTPAID", "h")
    assert "UserData" not in asked
    assert asked["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] == "0.0210"
    assert asked["VirtualPrivateCloud"] == {"VpcId": "vpc-1", "SubnetId": "subnet-1"}
    assert {"Key": "spotcompute-verify", "Value": "r1"} in asked["TagSpecification"][0]["Tags"]


def test_each_dry_run_differs_in_one_thing_and_buys_nothing() -> None:
    runs = dry_runs(GOODS, "r1")
    assert all(one["DryRun"] is True for one in runs.values())
    assert {key: one["InstanceCount"] for key, one in runs.items() if key.startswith("count")} == {
        "count-101": 101,
        "count-501": 501,
    }
    assert [len(runs[f"name-{length}"]["InstanceName"]) for length in (61, 128, 129)] == [61, 128, 129]
    assert runs["min-count"]["MinCount"] == 1
    assert Decimal(runs["dry-run-low-bid"]["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"]) == Decimal("0.0002")


def quoted(type: str = "S5.SMALL1", price: float | None = 0.02, cpu: int = 1, **other: Any) -> Any:
    row = {
        "Zone": "ap-guangzhou-3",
        "InstanceType": type,
        "InstanceChargeType": "SPOTPAID",
        "Cpu": cpu,
        "Status": "SELL",
    }
    return row | {"Price": {"UnitPriceDiscount": price, "UnitPrice": price}} | other


def test_the_cheapest_small_type_in_stock_is_bought() -> None:
    market = [
        quoted("S5.LARGE8", 0.05, 4),
        quoted("S5.SMALL1", 0.02),
        quoted("S5.2XLARGE16", 0.01, 5),
        quoted("GN7.LARGE", 0.01, 4, GpuCount=1),
        quoted("S5.OFTEN", 0.01, InstanceChargeType="POSTPAID_BY_HOUR"),
        quoted("S5.GONE", 0.01, Status="SOLD_OUT"),
        quoted("S5.FREE", None),
    ]
    assert [one.type for one in choices(market, Preference())] == ["S5.SMALL1", "S5.LARGE8"]
    assert [one.type for one in choices(market, Preference(type="S5.2XLARGE16"))] == ["S5.2XLARGE16"]
    assert choices(market, Preference(zone="ap-guangzhou-4")) == []


@pytest.mark.parametrize(
    ("item", "ours"),
    [
        pytest.param(
            {"InstanceName": "spotcompute-verify-r1-1", "Tags": [{"Key": "spotcompute-verify"}]}, True, id="both"
        ),
        pytest.param({"InstanceName": "db", "Tags": [{"Key": "spotcompute-verify"}]}, False, id="a-tag-alone"),
        pytest.param({"InstanceName": NAME, "Tags": None}, False, id="a-name-alone"),
        pytest.param({"InstanceName": "named", "InstanceId": "ins-9"}, True, id="a-name-of-the-journal"),
        pytest.param({"InstanceName": "db", "InstanceId": "ins-1"}, True, id="an-id-of-the-journal"),
    ],
)
def test_what_a_verification_has_bought(item: dict[str, Any], ours: bool) -> None:
    assert is_ours(item, ["named"], ["ins-1"]) is ours


def test_what_a_key_lacks_is_named_as_a_policy_names_it() -> None:
    answers = dict.fromkeys(HARMLESS, OK) | {"GetCallerIdentity": code("UnauthorizedOperation")}
    assert lacking(answers) == ["name/sts:GetCallerIdentity"]
    refuse_without_rights(answers)
    answers["TerminateInstances"] = code("AuthFailure.UnauthorizedOperation")
    assert lacking({**answers, "SomethingElse": code("UnauthorizedOperation")}) == [
        f"name/{'sts' if one == 'GetCallerIdentity' else 'cvm'}:{one}" for one in answers if answers[one].code
    ]
    with pytest.raises(CannotVerify, match=r"lacks name/cvm:TerminateInstances.*only for tagged instances"):
        refuse_without_rights(answers)
