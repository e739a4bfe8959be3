"""`spotcompute market`: what is on sale, against a simulated cloud; filters and order as tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloud.grounds import KEY, POOL, SimulatedGround
from spotcompute.__main__ import main
from spotcompute.commands.market import Order, Wanted, market_json, market_table, on_sale
from spotcompute.model.offering import Offering, Pool, Stock

Run = Callable[..., Result]


@pytest.fixture
def run(simulated: SimulatedGround, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEY.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEY.secret_key)
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", simulated.sim.api)
    monkeypatch.setenv("SPOTCOMPUTE_PROTOCOL", "http")

    def market(*options: str, region: str = "ap-guangzhou") -> Result:
        result = CliRunner().invoke(main, ["market", "--region", region, *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert KEY.secret_key not in result.output
        return result

    return market


def pools(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["pools"]
    return found


def test_it_shows_price_list_price_discount_stock_and_zone(run: Run) -> None:
    result = run("--type", "S2.MEDIUM4", "--zone", POOL.zone)
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if line.startswith("S2.MEDIUM4"))
    assert line.split() == ["S2.MEDIUM4", "ap-guangzhou-3", "2", "4Gi", "-", "0.0214", "0.1071", "80%", "Enough"]
    assert "Prices in CNY per instance and hour" in result.output


def test_programs_get_the_same(run: Run, simulated: SimulatedGround) -> None:
    simulated.set_stock(POOL, 0)
    (pool,) = pools(run("--type", "s2.medium4", "--zone", "*-3", "-o", "json"))
    assert pool == {
        "zone": POOL.zone,
        "instanceType": POOL.instance_type,
        "family": "S2",
        "vcpu": 2,
        "memoryGiB": 4,
        "gpus": 0,
        "pricePerHour": "0.0214",
        "onDemandPricePerHour": "0.1071",
        "discountPercent": 80,
        "stock": "None",
    }


def test_nothing_of_that_is_its_own_exit_code(run: Run) -> None:
    result = run("--min-gpus", "100")
    assert (result.exit_code, "is what you ask for" in result.output) == (3, True)
    assert json.loads(run("--min-gpus", "100", "-o", "json").stdout)["pools"] == []


@pytest.mark.parametrize(
    ("options", "region", "words"),
    [
        pytest.param((), "../secrets", "must be a region name", id="no-region"),
        pytest.param((), "ap-atlantis", "Correct the region", id="unknown-region"),
        pytest.param(("--max-price", "cheap"), "ap-guangzhou", "is no price", id="no-price"),
        pytest.param(("--max-price", "-1"), "ap-guangzhou", "is no price", id="negative-price"),
        pytest.param(("--max-price", "Infinity"), "ap-guangzhou", "is no price", id="endless-price"),
        pytest.param(("--min-vcpu", "-1"), "ap-guangzhou", "--min-vcpu", id="negative-vcpu"),
        pytest.param(("--sort", "beauty"), "ap-guangzhou", "--sort", id="no-order"),
    ],
)
def test_a_wrong_option_is_named(run: Run, options: tuple[str, ...], region: str, words: str) -> None:
    result = run(*options, region=region)
    assert (result.exit_code, words in result.output) == (2, True), result.output


def test_without_a_key_it_names_the_variable_that_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENCENTCLOUD_SECRET_KEY")
    result = run()
    assert result.exit_code == 2
    assert "set TENCENTCLOUD_SECRET_KEY: the market asks the cloud with this key" in result.output


def test_a_cloud_that_does_not_answer_names_the_endpoint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", "127.0.0.1:9")
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing answers at http://127.0.0.1:9. Correct SPOTCOMPUTE_ENDPOINT" in result.stderr


def offering(
    name: str, zone: str = "z-1", price: str | None = "0.1", full: str | None = "0.4", **more: Any
) -> Offering:
    known = {"vcpu": 2, "memory_gib": 4, "stock": Stock.ENOUGH} | more
    both = [None if one is None else Decimal(one) for one in (price, full)]
    return Offering(Pool(zone, name), both[0], both[1], **known)


SMALL, LARGE = offering("S5.MEDIUM4"), offering("S5.LARGE8", "z-2", "0.15", "0.8", vcpu=4, memory_gib=8)
GPU = offering("GN7.2XLARGE32", "z-1", "2", "4", vcpu=8, memory_gib=32, gpus=1, stock=Stock.LOW)
GONE, UNPRICED = offering("SA2.MEDIUM4", sold_out=True), offering("M5.MEDIUM16", price=None, memory_gib=16)
ALL = [SMALL, LARGE, GPU, GONE, UNPRICED]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(Wanted(), ALL, id="everything"),
        pytest.param(Wanted(zones=("z-2",)), [LARGE], id="zone"),
        pytest.param(Wanted(types=("s5.*", "GN7*")), [SMALL, LARGE, GPU], id="types-in-any-case"),
        pytest.param(Wanted(min_vcpu=4), [LARGE, GPU], id="min-vcpu"),
        pytest.param(Wanted(max_vcpu=4, min_memory=8), [LARGE, UNPRICED], id="both"),
        pytest.param(Wanted(max_memory=4), [SMALL, GONE], id="max-memory"),
        pytest.param(Wanted(min_gpus=1), [GPU], id="gpus"),
        pytest.param(Wanted(max_gpus=0), [SMALL, LARGE, GONE, UNPRICED], id="no-gpus"),
        pytest.param(Wanted(max_price=Decimal("0.1")), [SMALL, GONE], id="price-and-no-unknown-one"),
        pytest.param(Wanted(in_stock=True), [SMALL, LARGE, GPU, UNPRICED], id="in-stock"),
    ],
)
def test_a_filter_leaves_what_it_names(wanted: Wanted, expected: list[Offering]) -> None:
    assert [one for one in ALL if wanted.has(one)] == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param(Order.PRICE, [SMALL, GONE, LARGE, GPU, UNPRICED], id="price"),
        pytest.param(Order.VCPU_PRICE, [LARGE, SMALL, GONE, GPU, UNPRICED], id="vcpu-price"),
        pytest.param(Order.DISCOUNT, [LARGE, SMALL, GONE, GPU, UNPRICED], id="discount"),
        pytest.param(Order.TYPE, [GPU, UNPRICED, LARGE, SMALL, GONE], id="type"),
        pytest.param(Order.ZONE, [SMALL, GONE, GPU, UNPRICED, LARGE], id="zone"),
        pytest.param(Order.VCPU, [SMALL, GONE, UNPRICED, LARGE, GPU], id="vcpu"),
        pytest.param(Order.MEMORY, [SMALL, GONE, LARGE, UNPRICED, GPU], id="memory"),
    ],
)
def test_the_order_is_total_and_what_is_not_known_comes_last(order: Order, expected: list[Offering]) -> None:
    assert on_sale(ALL, Wanted(), order) == expected
    assert on_sale(reversed(ALL), Wanted(), order) == expected


def test_what_is_not_quoted_is_a_dash_for_people_and_absent_for_programs() -> None:
    assert "-       0.4     -         Enough" in market_table([UNPRICED], "r", 1, "CNY")
    (line,) = market_json([UNPRICED], "r", "CNY")["pools"]
    assert not {"pricePerHour", "discountPercent"} & line.keys()


def test_an_empty_market_says_so() -> None:
    assert market_table([], "ap-x", 0, "CNY") == "ap-x sells nothing as spot now. Try another --region.\n"
