"""The control port and its command line: the market by hand, and a ledger that no request can change."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.cvm.v20170312 import models

import cvmsim
from cvmsim.cli import cli
from cvmsim.control import OPERATIONS

POOL = {"zone": "ap-guangzhou-3", "type": "S2.MEDIUM4"}


def buy(served: Any, count: int = 1, env: str = "a", **changes: Any) -> list[str]:
    request = models.RunInstancesRequest()
    order = {
        "InstanceChargeType": "SPOTPAID",
        "Placement": {"Zone": "ap-guangzhou-3"},
        "InstanceType": "S2.MEDIUM4",
        "ImageId": "img-pmqg1cw7",
        "InstanceCount": count,
        "InstanceName": "web",
        "TagSpecification": [{"ResourceType": "instance", "Tags": [{"Key": "env", "Value": env}]}],
    }
    request.from_json_string(json.dumps({**order, **changes}))
    ids: list[str] = served.client().RunInstances(request).InstanceIdSet
    served.control("POST", "clock", {"advance": 10})
    return ids


def done(served: Any, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
    status, answer = served.control(method, path, body)
    assert status == 200, answer
    return answer


def row_of(served: Any, instance_id: str) -> Any:
    return next(row for row in done(served, "ledger", method="GET")["instances"] if row["id"] == instance_id)


def test_the_control_port_needs_its_token(served: Any) -> None:
    assert served.control("GET", "ledger", token="guess")[0] == 403
    assert served.control("GET", "ledger")[0] == 200


def test_an_unknown_operation_lists_the_known_ones(served: Any) -> None:
    status, answer = served.control("POST", "weather")
    assert status == 404
    assert len(answer["known"]) == len(OPERATIONS)


def test_stock_and_price_are_what_the_next_customer_meets(served: Any) -> None:
    done(served, "stock", {**POOL, "stock": 0})
    with pytest.raises(TencentCloudSDKException, match="ResourceInsufficient"):
        buy(served)
    done(served, "stock", {**POOL, "stock": 1})
    done(served, "price", {**POOL, "price": "0.2"})
    assert row_of(served, buy(served)[0])["price"] == "0.2"


def test_a_quote_can_be_made_to_lie(served: Any) -> None:
    done(served, "stock", {**POOL, "stock": 0})
    done(served, "quote", {**POOL, "category": "EnoughStock"})
    request = models.DescribeZoneInstanceConfigInfosRequest()
    request.from_json_string('{"Filters": [{"Name": "instance-type", "Values": ["S2.MEDIUM4"]}]}')
    items = served.client().DescribeZoneInstanceConfigInfos(request).InstanceTypeQuotaSet
    assert items[0].StatusCategory == "EnoughStock"
    with pytest.raises(TencentCloudSDKException, match="ResourceInsufficient"):
        buy(served)


def test_quota_balance_and_limits(served: Any) -> None:
    done(served, "quota", {"vcpu": 2, "zone": "ap-guangzhou-3"})
    with pytest.raises(TencentCloudSDKException, match="UserSpotQuota"):
        buy(served, 2)
    done(served, "quota", {"vcpu": 100, "zone": "ap-guangzhou-3"})
    done(served, "balance", {"balance": "0", "account": "main"})
    with pytest.raises(TencentCloudSDKException, match="InsufficientBalance"):
        buy(served)
    done(served, "balance", {"balance": 10})
    done(served, "limits", {"RunInstances": 1})
    buy(served)
    done(served, "limits", {"RunInstances": 0})
    buy(served)


def test_an_interruption_gives_notice_and_then_takes(served: Any) -> None:
    first, second = buy(served, 2)
    assert done(served, "interrupt", {"count": 1, "env": "a"})["instances"] == [first]
    assert done(served, "interrupt", {"instances": [second], "notice_seconds": 0})["instances"] == [second]
    assert (row_of(served, first)["state"], row_of(served, second)["state"]) == ("RUNNING", "TERMINATING")
    done(served, "clock", {"advance": 200})
    assert row_of(served, first)["state"] == "GONE"
    assert {change["cause"] for change in row_of(served, first)["changes"][2:]} == {"reclaim"}


def test_asking_for_more_than_there_is_says_so(served: Any) -> None:
    buy(served, 1)
    status, answer = served.control("POST", "interrupt", {"count": 2})
    assert (status, answer["error"]) == (400, "count: 2 asked for, but only 1 instances are suitable")


def test_a_console_user_ends_stops_and_starts(served: Any) -> None:
    ids = buy(served, 3)
    done(served, "terminate", {"instances": ids[:1]})
    done(served, "stop", {"instances": ids[1:]})
    done(served, "clock", {"advance": 10})
    done(served, "start", {"instances": ids[2:]})
    done(served, "clock", {"advance": 10})
    assert [row_of(served, one)["state"] for one in ids] == ["GONE", "STOPPED", "RUNNING"]
    assert row_of(served, ids[0])["changes"][-1]["cause"] == "console"


@pytest.mark.parametrize(("setting", "operation"), [("recorded", "StopInstances"), ("absent", "RunInstances")])
def test_whether_the_console_shows_in_latest_operation(served: Any, setting: str, operation: str) -> None:
    done(served, "switches", {"latest-operation-of-console": setting})
    done(served, "stop", {"instances": buy(served)})
    listed = served.client().DescribeInstances(models.DescribeInstancesRequest())
    assert listed.InstanceSet[0].LatestOperation == operation


def test_a_machine_that_powers_itself_off_shows_no_call(served: Any) -> None:
    (one,) = buy(served)
    done(served, "power-off", {"instances": [one]})
    done(served, "clock", {"advance": 10})
    listed = served.client().DescribeInstances(models.DescribeInstancesRequest())
    assert (listed.InstanceSet[0].InstanceState, listed.InstanceSet[0].LatestOperation) == ("STOPPED", "RunInstances")
    assert row_of(served, one)["changes"][-1]["cause"] == "guest"


def test_stolen_tags_do_not_move_the_true_owner(served: Any) -> None:
    (one,) = buy(served, env="victim")
    done(served, "tag", {"instances": [one], "tags": {"env": "thief"}})
    assert (row_of(served, one)["originalTags"], row_of(served, one)["tags"]) == ({"env": "victim"}, {"env": "thief"})
    done(served, "untag", {"instances": [one]})
    assert row_of(served, one)["tags"] == {}
    assert done(served, "ledger/summary", method="GET")["tags"] == {"env=victim": {"live": 1, "peak": 1}}


def test_protection_and_names_are_set_from_outside(served: Any) -> None:
    (one,) = buy(served)
    done(served, "protect", {"instances": [one]})
    assert served.control("POST", "terminate", {"instances": [one]})[0] == 400
    done(served, "protect", {"instances": [one], "protected": False})
    done(served, "rename", {"instances": [one], "name_to": "other"})
    done(served, "terminate", {"name": "other"})
    assert row_of(served, one)["state"] == "TERMINATING"


@pytest.mark.parametrize(("outcome", "state"), [("fail", "LAUNCH_FAILED"), ("stuck", "PENDING"), ("run", "RUNNING")])
def test_the_next_launch_ends_as_decided(served: Any, outcome: str, state: str) -> None:
    done(served, "launch-outcome", {"outcome": outcome})
    first, second = buy(served, 2)
    assert (row_of(served, first)["state"], row_of(served, second)["state"]) == (state, "RUNNING")


def test_a_foreign_instance_can_be_launched_from_the_console(served: Any) -> None:
    order = {"Placement": {"Zone": "ap-guangzhou-3"}, "InstanceType": "S2.MEDIUM4", "ImageId": "img-pmqg1cw7"}
    answer = done(served, "launch", {"account": "other", "params": order})
    assert row_of(served, answer["InstanceIdSet"][0])["account"] == "100000000002"


def test_credentials_are_rotated_revoked_and_added(served: Any) -> None:
    request, main = models.DescribeInstancesRequest(), served.client()
    secret_id = "AKIDsimulatedsecretid0000000000000001"
    done(served, "credentials", {"op": "rotate", "secretId": secret_id, "secretKey": "fresh"})
    with pytest.raises(TencentCloudSDKException, match="SignatureFailure"):
        main.DescribeInstances(request)
    assert served.client(key="fresh").DescribeInstances(request).TotalCount == 0
    done(served, "credentials", {"op": "revoke", "secretId": secret_id})
    with pytest.raises(TencentCloudSDKException, match="SecretIdNotFound"):
        main.DescribeInstances(request)
    done(served, "credentials", {"op": "add", "secretId": "AKIDnew", "secretKey": "k", "account": "other"})
    assert served.client("AKIDnew", "k").DescribeInstances(request).TotalCount == 0


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("stock", {"zone": "x", "type": "y", "stock": 1}, "nothing is offered as x y"),
        ("stock", {**POOL, "stock": -1}, "stock: "),
        ("price", {**POOL, "price": "cheap"}, "price: "),
        ("quote", {**POOL, "category": "Plenty"}, "category: "),
        ("quota", {"vcpu": 1, "zone": "x"}, "zone: "),
        ("balance", {"balance": "1", "account": "nobody"}, "account: "),
        ("interrupt", {"instances": ["ins-00000000"]}, "instances: "),
        ("launch-outcome", {"outcome": "explode"}, "outcome: "),
        ("switches", {"weather": "fine"}, "no switch 'weather'"),
        ("switches", {"order": "random"}, "switch order: "),
        ("switches", {"list-lag": "-1"}, "switch list-lag: "),
        ("clock", {"advance": -1}, "advance: "),
        ("credentials", {"op": "add", "secretId": "a"}, "secretKey: "),
        ("credentials", {"op": "steal", "secretId": "AKIDsimulatedsecretid0000000000000001"}, "op: "),
        ("faults", {"kind": "flood"}, "fault: "),
    ],
)
def test_a_mistake_is_named_by_its_field(served: Any, path: str, body: dict[str, Any], word: str) -> None:
    status, answer = served.control("POST", path, body)
    assert status == 400
    assert answer["error"].startswith(word)


def test_a_reset_begins_the_same_world_again(served: Any) -> None:
    first = buy(served, 2)
    done(served, "reset", {})
    assert done(served, "ledger/summary", method="GET")["launched"] == 0
    assert buy(served, 2) == first


# --- the command line ---------------------------------------------------------------------------------


@pytest.fixture
def sim(served: Any) -> Any:
    """`sim("stock", …)` runs a subcommand against the served world: (exit code, output)."""
    env = {"CVMSIM_CONTROL": served.address.control, "CVMSIM_TOKEN": served.address.token}

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, words, env=env)
        return result.exit_code, result.output

    return run


def test_a_person_plays_the_market(served: Any, sim: Any) -> None:
    assert sim("stock", "ap-guangzhou-3", "S2.MEDIUM4", "3")[0] == 0
    assert sim("price", "ap-guangzhou-3", "S2.MEDIUM4", "0.03")[0] == 0
    assert "S2.MEDIUM4     3      0.03" in sim("market")[1]
    ids = buy(served, 3)
    assert sim("interrupt", "--count", "1", "--notice-seconds", "0")[0] == 0
    assert sim("terminate", ids[1])[0] == 0
    listing = sim("instances", "--env", "a")[1].splitlines()
    assert [line.split()[3] for line in listing[1:]] == ["TERMINATING", "TERMINATING", "RUNNING"]
    assert ids[2] in sim("ledger")[1]
    assert "env=a=live=1,peak=3" in sim("summary")[1]


WORDS = [
    ("quota", "80"), ("balance", "5"), ("limits", "*=0"), ("launch-outcome", "fail"), ("faults", "throttle"),
    ("faults",), ("faults", "--clear"), ("clock",), ("clock", "5"), ("switches",), ("switches", "list-lag=5"),
    ("credentials", "add", "AKIDx", "k"), ("accounts",), ("quote", "ap-guangzhou-3", "S2.MEDIUM4", "WithoutStock"),
    ("quote", "ap-guangzhou-3", "S2.MEDIUM4"), ("reset",), ("summary",), ("--json", "market"),
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_command_works(sim: Any, words: tuple[str, ...]) -> None:
    code, output = sim(*words)
    assert (code, "Error" in output) == (0, False), output


@pytest.mark.parametrize("command", ["stop", "power-off", "start", "tag", "untag", "protect", "rename"])
def test_commands_about_instances_work(served: Any, sim: Any, command: str) -> None:
    (one,) = buy(served)
    more = {"tag": ["--set", "env=b"], "rename": ["--to", "x"]}.get(command, [])
    if command == "start":
        sim("stop", one)
        done(served, "clock", {"advance": 10})
    assert sim(command, one, *more) == (0, f"instances: {one}\n")


def test_a_refusal_is_a_sentence_and_an_exit_code(sim: Any) -> None:
    code, output = sim("stock", "x", "y", "1")
    assert code == 1
    assert output.startswith("Error: nothing is offered as x y; there is")


def test_without_a_simulator_it_says_how_to_name_one() -> None:
    result = CliRunner().invoke(cli, ["market"], env={"CVMSIM_CONTROL": "", "CVMSIM_TOKEN": ""})
    assert (result.exit_code, "--ready-file" in result.output) == (1, True)


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """A real `cvmsim serve`: (its ready file's content, its first line, the path)."""
    ready = tmp_path / "ready.json"
    words = ["serve", "--seed", "7", "--clock", "stepped", "--start", "1800000000", "--switch", "list-lag=5",
             "--ready-file", str(ready)]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(Path(cvmsim.__file__).parent.parent)}
    with subprocess.Popen([sys.executable, "-m", "cvmsim", *words], env=env, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        line = one.stdout.readline()
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield json.loads(ready.read_text()), line, ready
        one.terminate()
        assert one.wait(60) == 0


def test_serve_announces_where_it_is(process: Any) -> None:
    found, line, path = process
    assert set(found) == {"api", "control", "token", "seed"}
    assert line == f"api http://{found['api']}  control {found['control']}  seed 7\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    result = CliRunner().invoke(cli, ["--ready-file", str(path), "--json", "switches"])
    values = {row["switch"]: row["value"] for row in json.loads(result.output)["switches"]}
    assert values["list-lag"] == "5"
    clock = CliRunner().invoke(cli, ["--ready-file", str(path), "clock"])
    assert clock.output == "now: 1800000000\nstepped: True\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--switch", "order=random"], "switch order: 'random' is not one of"),
        (["--switch", "order"], "'order' is not name=value"),
        (["--world", "/nonexistent.yaml"], "/nonexistent.yaml"),
    ],
)
def test_serve_refuses_a_world_it_cannot_make(words: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["serve", *words])
    assert result.exit_code != 0
    assert message in result.output
