"""`spotcompute verify`: what it refuses to begin, with which exit code, and that it buys nothing then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloud.grounds import KEY, SimulatedGround
from spotcompute.__main__ import main
from spotcompute.cloud.tencent.verify import verifying

Run = Callable[..., Result]
BUYING = ("--spend", "0.50", "--yes")


@pytest.fixture
def run(simulated: SimulatedGround, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", KEY.secret_id)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", KEY.secret_key)
    monkeypatch.setenv("SPOTCOMPUTE_ENDPOINT", simulated.sim.api)
    monkeypatch.setenv("SPOTCOMPUTE_PROTOCOL", "http")
    monkeypatch.setattr(verifying, "CLEAN_QUIET", 0.0)

    def verify(*options: str) -> Result:
        command = ["verify", "--region", "ap-guangzhou", "--report", str(tmp_path), *options]
        result = CliRunner().invoke(main, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        said = result.output + "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
        assert KEY.secret_key not in said
        return result

    return verify


def bought(ground: SimulatedGround) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ground.sim("ledger", "GET")["instances"]
    return rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param((), "--spend must be an amount above 0", id="no-amount"),
        pytest.param(("--spend", "0", "--yes"), "--spend must be an amount above 0", id="nothing-to-spend"),
        pytest.param(("--spend", "much", "--yes"), "--spend must be an amount above 0", id="no-number"),
        pytest.param(("--spend", "0.50"), "this buys instances for at most 0.50: add --yes", id="no-yes"),
        pytest.param((*BUYING, "--network", "vpc-1"), "--network must be vpc-…/subnet-…", id="half-a-network"),
        pytest.param((*BUYING, "--minutes", "1"), "--minutes", id="too-short"),
    ],
)
def test_without_an_amount_and_a_yes_nothing_is_bought(
    options: tuple[str, ...], said: str, run: Run, simulated: SimulatedGround
) -> None:
    result = run(*options)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert bought(simulated) == []


def test_without_a_key_it_says_which_variables_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENCENTCLOUD_SECRET_KEY")
    result = run(*BUYING)
    assert result.exit_code == 2
    assert "TENCENTCLOUD_SECRET_KEY" in result.output


def test_a_key_that_the_cloud_does_not_accept_ends_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "anotherSecretKey00001")
    result = run(*BUYING)
    assert result.exit_code == 1
    assert "the cloud does not accept this key (AuthFailure.SignatureFailure)" in result.output
    assert "anotherSecretKey00001" not in result.output


@pytest.mark.parametrize("action", ["RunInstances", "TerminateInstances", "DescribeInstances"])
def test_a_right_that_is_missing_is_named(action: str, run: Run, simulated: SimulatedGround) -> None:
    simulated.fault("error", action=action, code="UnauthorizedOperation", message="no", times=0)
    result = run(*BUYING)
    assert result.exit_code == 1
    assert f"name/cvm:{action}" in result.output
    assert "cam-policy" in result.output
    assert bought(simulated) == []


def test_a_cleaning_needs_no_amount_and_leaves_nothing(run: Run) -> None:
    result = run("--clean")
    assert (result.exit_code, result.output) == (0, "0 left.\n")
