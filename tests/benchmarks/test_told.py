"""The judge of the activity log sees what is missing in it, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from market.rows import activity_log
from market.told import judged
from quiet import silence

__all__ = ["silence"]

START = "2027-01-15T08:00:00Z"
END = "2027-01-15T08:00:09Z"
T = 1_800_000_000.0


class Asked:
    """What the judge reads of a request in the ledger."""

    def __init__(
        self, request_id: str, action: str = "RunInstances", code: str = "", ids: tuple[str, ...] = ()
    ) -> None:
        self.request_id, self.action, self.code, self.instance_ids = request_id, action, code, ids
        self.time = T + 5
        self.params: dict[str, Any] = {
            "Placement": {"Zone": "z"}, "InstanceType": "A1.X", "ClientToken": request_id, "InstanceIds": list(ids),
        }  # fmt: skip


class Machine:
    """What the judge reads of an instance that has ended."""

    def __init__(self, key: str, cause: str) -> None:
        self.id, self.is_live = key, False
        self.changes = [type("Change", (), {"time": T + 6, "cause": cause})()]


def line(number: int, type_: str, **other: Any) -> dict[str, Any]:
    usual = {"state": "Succeeded", "zone": "z", "instanceType": "A1.X", "count": 1, "startTime": START, "endTime": END}
    return {"id": f"act-{number}", "type": type_, **usual, **other}


REFUSED = line(1, "Launch", state="Failed", code="SoldOut", requestId="r-2", count=2)
LAUNCHED = line(2, "Launch", requestId="r-3", instanceIds=["ins-1", "ins-2"])
RELEASED = line(3, "Terminate", requestId="r-4", instanceIds=["ins-1"])
LOST = line(4, "Loss", cause="Reclaimed", instanceIds=["ins-2"])
LOG = [LOST, RELEASED, LAUNCHED, REFUSED]
BOOK: list[Any] = [
    Asked("r-1", code="SoldOut"), Asked("r-2", code="SoldOut"), Asked("r-3", ids=("ins-1", "ins-2")),
    Asked("r-4", "TerminateInstances", ids=("ins-1",)),
]  # fmt: skip
ENDED: list[Any] = [Machine("ins-1", "TerminateInstances r-4"), Machine("ins-2", "reclaim")]


def test_a_log_that_tells_everything_as_it_was_passes() -> None:
    verdict = judged(LOG, BOOK, ENDED, T + 60)
    assert (verdict.happened, verdict.lines, verdict.missing, verdict.wrong) == (5, 4, (), ())


@pytest.mark.parametrize("dropped", [LOST, RELEASED, LAUNCHED, REFUSED], ids=lambda one: one["type"] + one["state"])
def test_a_line_that_is_not_there_is_missed(dropped: dict[str, Any]) -> None:
    rest = [one for one in LOG if one is not dropped]
    if dropped is REFUSED:  # so that the log still begins with the first line
        rest = [*rest, line(1, "Launch", state="Failed", code="Other", requestId="r-9")]
    assert judged(rest, BOOK, ENDED, T + 60).missing


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({**REFUSED, "count": 3}, id="counted-once-too-often"),
        pytest.param({**REFUSED, "requestId": "r-3"}, id="the-request-was-another"),
        pytest.param({**LAUNCHED, "instanceIds": ["ins-1"]}, id="an-instance-too-few"),
        pytest.param({**LAUNCHED, "zone": "y"}, id="in-another-zone"),
        pytest.param({**RELEASED, "instanceIds": ["ins-1", "ins-2"]}, id="a-release-nobody-asked-for"),
        pytest.param({**LOST, "cause": "ReleasedOutside"}, id="for-another-reason"),
        pytest.param({**LOST, "instanceIds": ["ins-1"]}, id="what-we-ended-ourselves"),
        pytest.param(line(4, "Adopt", instanceIds=["ins-2"]), id="something-that-never-happened"),
    ],
)
def test_a_line_that_says_something_else_is_wrong(wrong: dict[str, Any]) -> None:
    log = [wrong if one["id"] == wrong["id"] else one for one in LOG]
    assert judged(log, BOOK, ENDED, T + 60).wrong


SETTLED = line(5, "Launch", state="Failed", reason="NothingLaunched")


def test_a_launch_without_an_answer_that_brought_nothing_is_told_truly() -> None:
    assert judged([SETTLED, *LOG], BOOK, ENDED, T + 60).wrong == ()


def test_a_launch_that_did_bring_something_is_not_told_as_nothing() -> None:
    assert judged([SETTLED, *LOG], [*BOOK, Asked("r-5", ids=("ins-3",))], ENDED, T + 60).wrong == (
        "act-5: it did launch",
    )


def test_what_has_just_happened_need_not_be_told() -> None:
    assert judged([], BOOK, ENDED, T).missing == ()
    assert len(judged([], BOOK, ENDED, T + 60).missing) == 5


def test_the_log_of_restless_hours_tells_everything_and_nothing_else() -> None:
    row = activity_log(7, hours=6)
    assert row.holds, row.measured
