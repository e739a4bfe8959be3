"""Trouble between customer and cloud: what the official SDK sees of each kind, and whether the cloud had acted."""

import json
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.cvm.v20170312 import models

from cvmsim.errors import WorldFileError
from cvmsim.faults import KINDS, FaultBox, Subject


def request(**changes: Any) -> Any:
    made = models.RunInstancesRequest()
    order = {
        "InstanceChargeType": "SPOTPAID",
        "Placement": {"Zone": "ap-guangzhou-3"},
        "InstanceType": "S2.MEDIUM4",
        "ImageId": "img-pmqg1cw7",
        "InstanceCount": 2,
    }
    made.from_json_string(json.dumps({**order, **changes}))
    return made


def bought(served: Any) -> int:
    return served.control("GET", "ledger/summary")[1]["launched"]


SEEN_BY_THE_SDK = {
    "throttle": "RequestLimitExceeded",
    "error": "InternalError",
    "5xx": "ServerNetworkError",
    "5xx_after_commit": "ServerNetworkError",
    "reset": "ClientNetworkError",
    "refuse_before_commit": "ClientNetworkError",
    "lost_after_commit": "ClientNetworkError",
    "hang": "ClientNetworkError",
    "hang_after_commit": "ClientNetworkError",
    "late": "ClientNetworkError",
    "malformed": "JSONDecodeError",
    "no_response": "KeyError",
    "html": "JSONDecodeError",
}


@pytest.mark.parametrize(("kind", "code"), SEEN_BY_THE_SDK.items())
def test_a_failed_answer_and_whether_anything_was_bought(served: Any, kind: str, code: str) -> None:
    served.control("POST", "faults", {"kind": kind, "action": "RunInstances"})
    with pytest.raises(TencentCloudSDKException) as caught:
        served.client(timeout=1).RunInstances(request())
    assert caught.value.get_code() == code
    assert bought(served) == (2 if KINDS[kind].commits else 0)


def test_the_ledger_names_the_fault_a_request_met(served: Any) -> None:
    served.control("POST", "faults", {"kind": "lost_after_commit"})
    with pytest.raises(TencentCloudSDKException):
        served.client().RunInstances(request(ClientToken="t"))
    (row,) = served.control("GET", "ledger")[1]["requests"]
    assert (row["fault"], row["code"], row["token"], len(row["instanceIds"])) == ("lost_after_commit", "", "t", 2)


def test_a_charset_hides_a_refusal_from_the_sdk(served: Any) -> None:
    """Why a success without ids is none: with a charset the SDK does not look for errors at all."""
    served.control("POST", "faults", {"kind": "wrong_content_type"})
    answer = served.client().RunInstances(request(InstanceCount=0))
    assert answer.InstanceIdSet is None
    assert bought(served) == 0


def test_a_late_request_arrives_after_its_customer_has_left(served: Any) -> None:
    served.control("POST", "faults", {"kind": "late", "seconds": 300})
    with pytest.raises(TencentCloudSDKException):
        served.client().RunInstances(request(ClientToken="t"))
    served.control("POST", "clock", {"advance": 299})
    assert bought(served) == 0
    served.control("POST", "clock", {"advance": 1})
    assert bought(served) == 2
    assert len(served.client().RunInstances(request(ClientToken="t")).InstanceIdSet) == 2
    assert bought(served) == 2


def test_a_duplicated_request_buys_twice_unless_it_has_a_token(served: Any) -> None:
    served.control("POST", "faults", {"kind": "duplicate", "times": 2})
    served.client().RunInstances(request())
    assert bought(served) == 4
    served.client().RunInstances(request(ClientToken="t"))
    assert bought(served) == 6


def test_lists_can_leave_out_what_is_there(served: Any) -> None:
    ids = served.client().RunInstances(request()).InstanceIdSet
    served.control("POST", "faults", {"kind": "empty_page", "action": "DescribeInstances"})
    served.control("POST", "faults", {"kind": "partial_page", "action": "DescribeInstances"})
    pages = [served.client().DescribeInstances(models.DescribeInstancesRequest()) for _ in range(3)]
    assert [page.TotalCount for page in pages] == [0, 1, 2]
    assert [[row.InstanceId for row in page.InstanceSet] for page in pages] == [[], ids[:1], ids]


def test_ids_can_be_too_many(served: Any) -> None:
    served.control("POST", "faults", {"kind": "extra_ids"})
    served.control("POST", "faults", {"kind": "duplicate_ids"})
    extra = served.client().RunInstances(request()).InstanceIdSet
    twice = served.client().RunInstances(request()).InstanceIdSet
    assert (len(extra), len(set(extra)), len(twice), len(set(twice))) == (3, 3, 3, 2)
    assert bought(served) == 4


def subject(action: str = "RunInstances", account: str = "1", *values: str, names: tuple[str, ...] = ()) -> Subject:
    return Subject(action, account, frozenset(values), names)


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({}, [True, False, False, False]),
        ({"times": 2}, [True, True, False, False]),
        ({"times": 0}, [True, True, True, True]),
        ({"skip": 2}, [False, False, True, False]),
        ({"skip": 1, "times": 2}, [False, True, True, False]),
        ({"action": "TerminateInstances"}, [False] * 4),
        ({"account": "2"}, [False] * 4),
        ({"env": "a", "times": 0}, [True] * 4),
        ({"env": "b"}, [False] * 4),
        ({"name": "web", "times": 0}, [True] * 4),
        ({"name": "db"}, [False] * 4),
        ({"probability": 0.0, "times": 0}, [False] * 4),
    ],
)
def test_a_rule_strikes_whom_it_names_and_as_often(rule: dict[str, Any], met: list[bool]) -> None:
    box = FaultBox(seed=1)
    box.add({"kind": "throttle", **rule})
    asked = subject("RunInstances", "1", "a", names=("web-1",))
    assert [box.meet(asked) is not None for _ in met] == met


def test_probability_comes_from_the_seed() -> None:
    def strikes(seed: int) -> list[bool]:
        box = FaultBox(seed)
        box.add({"kind": "throttle", "probability": 0.3, "times": 0})
        return [box.meet(subject()) is not None for _ in range(200)]

    assert strikes(1) == strikes(1) != strikes(2)
    assert 30 < sum(strikes(1)) < 90


@pytest.mark.parametrize("wrong", [{}, {"kind": "flood"}, {"kind": "throttle", "colour": "red"}])
def test_a_wrong_rule_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(WorldFileError, match="fault: "):
        FaultBox(seed=1).add(wrong)


def test_a_rule_finds_requests_by_the_tags_of_the_instances_they_name(served: Any) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "env", "Value": "a"}]}]
    client = served.client()
    mine = client.RunInstances(request(TagSpecification=tags)).InstanceIdSet
    other = client.RunInstances(request()).InstanceIdSet
    served.control("POST", "clock", {"advance": 10})
    served.control("POST", "faults", {"kind": "throttle", "action": "TerminateInstances", "env": "a"})
    asked = models.TerminateInstancesRequest()
    asked.InstanceIds = other
    client.TerminateInstances(asked)
    asked.InstanceIds = mine
    with pytest.raises(TencentCloudSDKException, match="RequestLimitExceeded"):
        client.TerminateInstances(asked)
