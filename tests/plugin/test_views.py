"""What `kubectl spot` shows: whole answers for whole objects, and none of it fails on an object that is half there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_spot import views
from kubectl_spot.__main__ import _documents
from kubectl_spot.table import columns, width
from spotcompute.api.crd import custom_resource_definition

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)

METADATA = {"namespace": "jobs", "name": "web", "uid": "u-1", "generation": 2}
READY = {
    "type": "Ready",
    "status": "False",
    "reason": "InsufficientCapacity",
    "message": "1 of 3 instances run; sold out",
}
STATUS: dict[str, Any] = {
    "observedGeneration": 2,
    "phase": "Waiting",
    "readyReplicas": 1,
    "nextAttemptTime": "2026-11-24T04:00:23Z",
    "conditions": [READY, {"type": "GangReady", "status": "False", "message": "2 more are needed"}],
    "instances": [
        {
            "id": "ins-1", "zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "state": "RUNNING", "ready": True,
            "pricePerHour": "0.0226", "launchedAt": "2026-11-24T01:30:00Z", "privateIP": "10.0.0.4",
        },
        {"id": "ins-2", "zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "state": "PENDING", "ready": False,
         "onDemand": True, "launchedAt": "2026-11-24T03:59:50Z", "note": "starting"},
    ],
    "instanceIDs": ["ins-1", "ins-2", "ins-3"],
    "pools": [
        {"zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "state": "Resting", "instances": 2,
         "pricePerHour": "0.0226", "lastError": "SoldOut: no more", "nextAttemptTime": "2026-11-24T04:00:23Z"},
    ],
    "cost": {"perHour": "0.36", "extrasPerHour": "0.007", "onDemandPerHour": "0.9", "savedPercent": 60,
             "accrued": "1.5", "accruedAt": "2026-11-24T03:00:00Z", "currency": "USD"},
    "activities": [
        {"id": "act-2", "type": "Launch", "state": "Failed", "cause": "1 of 3 missing", "zone": "ap-guangzhou-3",
         "instanceType": "S5.MEDIUM4", "code": "Out", "message": "no", "count": 7, "requestId": "r7",
         "startTime": "2026-11-24T03:00:00Z", "endTime": "2026-11-24T03:58:00Z"},
        {"id": "act-1", "type": "Launch", "state": "Succeeded", "cause": "3 of 3 missing", "count": 1,
         "zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "instanceIds": [f"ins-{n}" for n in range(5)],
         "startTime": "2026-11-22T00:00:00Z"},
    ],
    "quote": {"missing": 3, "chosen": 2, "perHour": "0.06", "extrasPerHour": "0.007", "currency": "USD",
              "pools": [{"zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "count": 2, "pricePerHour": "0.0226"}],
              "errors": [{"field": "spec.template.camRoleName", "code": "AuthFailure", "message": "no such role"}]},
}  # fmt: skip


def web(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": METADATA | metadata,
        "spec": {"replicas": 3},
        **({} if status is None else {"status": status}),
    }


WHOLE = """
jobs/web: 1 of 3 ready, Waiting
  1 of 3 instances run; sold out
  GangReady: 2 more are needed
  The cloud is asked next in 23s (2026-11-24T04:00:23Z)
""".strip()
INSTANCES = """
jobs/web
  ID      STATE     READY   TYPE                     ZONE             PRICE/H   AGE     IP         NOTE
  ins-1   RUNNING   yes     S5.MEDIUM4               ap-guangzhou-3   0.0226    2h30m   10.0.0.4
  ins-2   PENDING   no      S5.MEDIUM4 (on demand)   ap-guangzhou-3   -         10s     -          starting
  And 1 more: ins-3
""".strip()
ACTIVITY = """
jobs/web
  AGE    TYPE     STATE       TIMES   POOL                        INSTANCES                        WHY
  2m     Launch   Failed      7       S5.MEDIUM4@ap-guangzhou-3   -                                Out: no (request r7)
  2d4h   Launch   Succeeded   1       S5.MEDIUM4@ap-guangzhou-3   ins-0, ins-1, ins-2 and 2 more   3 of 3 missing
""".strip()
POOLS = """
jobs/web
  POOL                        STATE     HAS   SPOT/H   ON-DEMAND/H   STOCK   SCORE   NEXT     WHY
  S5.MEDIUM4@ap-guangzhou-3   Resting   2     0.0226   -             -       -       in 23s   SoldOut: no more
""".strip()
COST = """
NAME       READY   COST/H   DISKS/H   ON-DEMAND/H   SAVED   SPENT   CURRENCY
jobs/web   1/3     0.36     0.007     0.9           60%     1.86    USD
""".strip()
QUOTE = """
jobs/web
  COUNT   POOL                        SPOT/H   BID/H
  2       S5.MEDIUM4@ap-guangzhou-3   0.0226   market
  Wrong: 1 error to be corrected before anything is bought; then 2 of 3 missing instances would be bought.
  0.06 USD per hour, of that 0.007 for disks and bandwidth.
  Correct first: spec.template.camRoleName: AuthFailure: no such role
""".strip()


@pytest.mark.parametrize(
    ("command", "shown"),
    [("why", WHOLE), ("instances", INSTANCES), ("activity", ACTIVITY), ("pools", POOLS), ("cost", COST),
     ("quote", QUOTE)],
)  # fmt: skip
def test_a_whole_answer(command: str, shown: str) -> None:
    assert views.text(command, [web(STATUS)], NOW) == shown


def test_a_pool_that_would_refuse_is_not_among_those_that_would_be_bought() -> None:
    pool = {"zone": "ap-guangzhou-3", "instanceType": "S5.MEDIUM4", "count": 2}
    refusal = {**pool, "code": "ResourceInsufficient", "message": "sold out"}
    quote = {"missing": 2, "chosen": 0, "pools": [pool], "refusals": [refusal]}
    shown = views.text("quote", [web({"quote": quote})], NOW)
    assert "nothing would be bought" in shown
    assert "Not now: 0 of 2 missing instances would be bought" in shown
    assert "would refuse now: ResourceInsufficient" in shown


def test_what_nobody_sees_is_shown_as_unknown() -> None:
    told = {"type": "Ready", "status": "Unknown", "message": "the cloud was last seen at 03:58 and cannot be asked"}
    blind = web({"observedGeneration": 2, "phase": "Waiting", "conditions": [told], "cost": {"accrued": "1.5"}})
    assert views.text("why", [blind], NOW).splitlines()[0] == "jobs/web: ? of 3 ready, Waiting"
    assert "?/3" in views.text("cost", [blind], NOW)
    assert "not known while the cloud cannot be seen" in views.text("pools", [blind], NOW)
    assert "no pool is known yet" in views.text("pools", [web()], NOW)
    assert "0 of 3 ready, not seen yet" in views.text("why", [web()], NOW)


@pytest.mark.parametrize("command", [*views.SINGLE, *views.TOGETHER])
@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": -1, "replicas": 0}])
def test_an_object_that_nobody_has_looked_at_is_shown_too(command: str, status: dict[str, Any] | None) -> None:
    assert "jobs/web" in views.text(command, [web(status)], NOW)
    assert views.text(command, [], NOW) == "No environments."


def test_a_change_that_nobody_has_seen_is_told() -> None:
    assert "is it running?" in views.text("why", [web(STATUS, generation=3)], NOW)
    assert "is it running?" not in views.text("why", [web(STATUS)], NOW)


def test_the_next_attempt_is_told_once() -> None:
    """The condition names the time already, so the line of its own would only repeat it."""
    told = {**READY, "message": "1 of 3 instances run; sold out. Next attempt 2026-11-24T04:00:23Z"}
    shown = views.text("why", [web({**STATUS, "conditions": [told]})], NOW)
    assert "sold out. Next attempt in 23s (2026-11-24T04:00:23Z)" in shown
    assert shown.count("04:00:23Z") == 1
    assert "asked next" not in shown


@pytest.mark.parametrize(
    ("minutes", "phase", "is_told"),
    [(0, "Waiting", False), (3, "Waiting", True), (3, "Paused", False), (3, "Deleting", False)],
)
def test_an_attempt_that_is_overdue_says_that_the_operator_seems_to_be_down(
    minutes: int, phase: str, is_told: bool
) -> None:
    shown = views.text("why", [web({**STATUS, "phase": phase})], NOW + timedelta(minutes=minutes))
    assert ("seems to be down. Look at its pods: `kubectl get pods" in shown) is is_told


@pytest.mark.parametrize(
    ("quote", "answer"),
    [
        ({"missing": 1, "chosen": 1}, "1 of 1 missing instance would be bought."),
        ({"missing": 3, "chosen": 2}, "Not now: 2 of 3 missing instances would be bought."),
        ({"missing": 3, "chosen": 3, "unchecked": "no answer"}, "Not now: 3 of 3"),
        (
            {"missing": 3, "chosen": 3, "errors": [{"code": "X", "message": "y"}] * 2, "moreErrors": True},
            "Wrong: at least 2 errors to be corrected",
        ),
    ],
)
def test_a_quote_has_one_answer(quote: dict[str, Any], answer: str) -> None:
    assert answer in views.text("quote", [web({"quote": quote})], NOW)


def test_costs_are_summed_by_currency() -> None:
    yuan = {"cost": {"perHour": "2", "currency": "CNY"}}
    shown = views.text("cost", [web(STATUS), web(STATUS, name="two"), web(yuan, name="three")], NOW).splitlines()
    assert [line.split() for line in shown[-2:]] == [["all", "2", "0", "CNY"], ["all", "0.72", "3.72", "USD"]]


def test_spending_goes_on_at_the_rate_of_the_status() -> None:
    cost = STATUS["cost"]
    assert views.spent_until(cost, NOW) == Decimal("1.86")
    assert views.spent_until(cost, NOW - timedelta(days=1)) == Decimal("1.5"), "never back"
    assert views.spent_until({}, NOW) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (61, "1m1s"), (3600, "1h"), (3661, "1h1m"), (90_000, "1d1h"),
     (86_400, "1d")],
)  # fmt: skip
def test_durations_read_as_those_of_kubectl(seconds: int, text: str) -> None:
    assert views.duration(timedelta(seconds=seconds)) == text


@given(st.lists(st.lists(st.text("ab ", max_size=5), min_size=3, max_size=3), min_size=1, max_size=5))
def test_columns_begin_one_below_the_other(rows: list[list[str]]) -> None:
    lines = columns(rows)
    starts = [0]
    for column in list(zip(*rows, strict=True))[:-1]:
        starts.append(starts[-1] + max(map(len, column)) + 3)
    for row, line in zip(rows, lines, strict=True):
        for cell, start in zip(row, starts, strict=True):
            assert line[start:].startswith(cell.rstrip()) or not cell.strip()


def test_a_chinese_cell_takes_the_room_that_a_terminal_gives_it() -> None:
    assert columns([["渲染", "x"], ["abcd", "y"]]) == ["渲染   x", "abcd   y"]
    assert width("e\u0301") == 1


@pytest.mark.parametrize("command", sorted(views.PARTS))
def test_programs_get_what_stands_in_the_object(command: str) -> None:
    (found,) = views.data(command, [web(STATUS)])
    assert (found.pop("namespace"), found.pop("name")) == ("jobs", "web")
    assert found
    assert all(STATUS[key] == value for key, value in found.items())
    assert json.loads(json.dumps(found)) == found


def test_every_field_it_reads_is_one_of_the_crd() -> None:
    """The plugin shares no code with the operator, so only this holds them together."""
    (version,) = custom_resource_definition()["spec"]["versions"]
    known = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    assert {part for parts in views.PARTS.values() for part in parts} <= known.keys()
    for part, example in STATUS.items():
        schema = known[part]
        for one in example if isinstance(example, list) else [example]:
            if isinstance(one, dict):
                assert one.keys() <= schema.get("items", schema)["properties"].keys(), part


@pytest.mark.parametrize("indent", [None, 4])
def test_watch_events_are_parted_where_kubectl_parts_them(indent: int | None) -> None:
    events = [{"type": "ADDED", "object": {"a": {"b": []}}}, {"type": "DELETED", "object": {"text": "}\n}"}}]
    printed = "".join(json.dumps(event, indent=indent) + "\n" for event in events)
    assert list(_documents(printed.splitlines(keepends=True))) == events
