"""A request is sent until it has an answer; a refusal is one; a key that is wrong ends it. In virtual time."""

from __future__ import annotations

from concurrent.futures import Executor
from datetime import datetime
from typing import Any, cast

import pytest

from clock import clock, now
from spotcompute.cloud.credentials import Credentials
from spotcompute.cloud.errors import (
    CloudError,
    InsufficientCapacity,
    InvalidCredentials,
    NotSent,
    OutcomeUnknown,
    Throttled,
    Unavailable,
)
from spotcompute.cloud.pacer import Pacer
from spotcompute.cloud.tencent.verify import line as line_module
from spotcompute.cloud.tencent.verify.line import NO_ANSWER, CannotVerify, ClientLine, call, hurry, items
from spotcompute.cloud.tencent.verify.record import Answer
from spotcompute.settings import Settings

pytestmark = pytest.mark.looptime

SOLD_OUT = InsufficientCapacity("ResourceInsufficient", "none left")
SILENT = OutcomeUnknown("NoAnswer", "no answer")


class Line:
    """Answers with each of these in turn, and keeps what was sent."""

    region = "ap-guangzhou"

    def __init__(self, *answers: dict[str, Any] | CloudError) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[str, dict[str, Any], str, bool]] = []

    def now(self) -> datetime:
        return clock()

    async def send(self, action: str, parameters: dict[str, Any], region: str, *, at_once: bool) -> dict[str, Any]:
        self.sent.append((action, parameters, region, at_once))
        answer = self.answers.pop(0)
        if isinstance(answer, CloudError):
            raise answer
        return answer


async def test_an_answer_is_taken_as_it_comes() -> None:
    line = Line({"TotalCount": 1})
    answer = await call(line, "DescribeInstances", {"Limit": 1})
    assert (answer.code, answer.body, answer.tries, answer.is_granted) == ("", {"TotalCount": 1}, 1, True)
    assert line.sent == [("DescribeInstances", {"Limit": 1}, "ap-guangzhou", False)]
    elsewhere = Line({})
    await call(elsewhere, "DescribeInstances", {}, "ap-shanghai")
    assert elsewhere.sent[0][2] == "ap-shanghai"


@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [
        pytest.param(SILENT, 1.0, id="no-answer"),
        pytest.param(NotSent("ClientNetworkError", "no route"), 1.0, id="not-sent"),
        pytest.param(Unavailable("InternalError", "later"), 1.0, id="out-of-order"),
        pytest.param(Throttled("RequestLimitExceeded", "slower"), 2.0, id="too-often-waits-twice-as-long"),
    ],
)
async def test_the_same_request_is_sent_again(trouble: CloudError, seconds: float) -> None:
    line = Line(trouble, {"InstanceIdSet": ["ins-1"]})
    answer = await call(line, "RunInstances", {"ClientToken": "t"})
    assert (answer.ids, answer.tries) == (("ins-1",), 2)
    assert line.sent[0] == line.sent[1]
    assert now() == pytest.approx(seconds)


async def test_after_five_times_there_is_no_answer() -> None:
    line = Line(*[SILENT] * 5)
    answer = await call(line, "RunInstances", {})
    assert (answer.code, answer.tries, answer.is_granted) == (NO_ANSWER, 5, False)
    assert now() == pytest.approx(15.0)


@pytest.mark.parametrize(
    "refusal",
    [
        SOLD_OUT,
        InvalidCredentials("UnauthorizedOperation", "not allowed"),
        InvalidCredentials("AuthFailure.UnauthorizedOperation", "not allowed"),
        InvalidCredentials("AuthFailure.CamRoleNameAuthenticateFailed", "a role of the template"),
    ],
)
async def test_a_refusal_is_an_answer(refusal: CloudError) -> None:
    answer = await call(Line(refusal), "RunInstances", {})
    assert (answer.code, answer.is_granted, answer.tries) == (refusal.code, False, 1)


@pytest.mark.parametrize("code", ["AuthFailure.SecretIdNotFound", "AuthFailure.SignatureExpire"])
async def test_a_key_that_is_not_accepted_ends_it(code: str) -> None:
    with pytest.raises(CannotVerify, match=r"does not accept this key .*TENCENTCLOUD_SECRET_ID.*clock"):
        await call(Line(InvalidCredentials(code, "no")), "DescribeInstances", {})


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        pytest.param({}, True, id="carried-out"),
        pytest.param(SOLD_OUT, True, id="refused-for-another-reason"),
        pytest.param(Throttled("RequestLimitExceeded", "slower"), False, id="too-often"),
        pytest.param(SILENT, None, id="no-answer"),
        pytest.param(NotSent("ClientNetworkError", "no route"), None, id="not-sent"),
    ],
)
async def test_whether_the_rate_let_one_request_pass(answer: dict[str, Any] | CloudError, passed: bool | None) -> None:
    line = Line(answer)
    assert await hurry(line, "InquiryPriceRunInstances", {"x": 1}, "ap-shanghai") is passed
    assert line.sent == [("InquiryPriceRunInstances", {"x": 1}, "ap-shanghai", True)]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"Set": [{"a": 1}, {"b": 2}]}, [{"a": 1}, {"b": 2}]),
        ({"Set": [{"a": 1}, "no object", None]}, [{"a": 1}]),
        ({"Set": None}, []),
        ({"Set": {"a": 1}}, []),
        ({}, []),
    ],
)
def test_the_objects_of_a_list(body: dict[str, Any], found: list[Any]) -> None:
    assert list(items(Answer(0.0, "", body), "Set")) == found


async def test_a_burst_is_not_paced_and_each_region_has_its_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, Pacer]] = []

    class Recorded:
        """Keeps for which region and with which pace a client is made."""

        def __init__(self, key: object, region: str, settings: object, threads: object, pacer: Pacer) -> None:
            made.append((region, pacer))

        async def call(self, action: str, parameters: dict[str, Any], on_behalf_of: str) -> dict[str, Any]:
            return {"RequestId": "r"}

    monkeypatch.setattr(line_module, "Client", Recorded)
    line = ClientLine(Settings(), Credentials("AKIDx", "k"), "ap-guangzhou", cast(Executor, None), clock)
    for region, at_once in (
        ("ap-guangzhou", False),
        ("ap-guangzhou", False),
        ("ap-shanghai", False),
        ("ap-guangzhou", True),
    ):
        assert await line.send("RunInstances", {}, region, at_once=at_once) == {"RequestId": "r"}
    assert [region for region, _ in made] == ["ap-guangzhou", "ap-shanghai", "ap-guangzhou"]
    assert [pacer.rate("RunInstances") > 1000 for _, pacer in made] == [False, False, True]
