"""What the looks at an instance say: how long states last, who has ended it, and what a quote lags behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spotcompute.cloud.tencent.verify import endings, measured
from spotcompute.cloud.tencent.verify.journal import Journal
from spotcompute.cloud.tencent.verify.record import Answer, Appearance, Bounds, Life, PriceLook, Record, TokenAsk

MOMENT = datetime(2026, 11, 23, 4, tzinfo=UTC)


def life(*looks: tuple[float, str | None], instance_id: str = "ins-1", born: float = 0.0, **other: Any) -> Life:
    """An instance as looks by id have shown it: the moment, and the state; None when it was not there."""
    made = Life(instance_id, "n", other.pop("purpose", "first"), "t", born, other.pop("number", 1))
    made.by_id, made.in_list, made.tags = (Appearance(born, born) for _ in range(3))
    for at, state in looks:
        operation = other.get("operation", "") if state != "RUNNING" else ""
        made.look(at, None if state is None else {"InstanceState": state, "LatestOperation": operation})
    for name, value in other.items():
        if name != "operation":
            setattr(made, name, value)
    return made


def record(*lives: Life, **other: Any) -> Record:
    made = Record(lives=list(lives))
    for name, value in other.items():
        setattr(made, name, value)
    return made


def test_a_state_lasts_from_its_first_look_to_that_of_the_next() -> None:
    one = life((1, "PENDING"), (2, "PENDING"), (4, "RUNNING"), (5, "RUNNING"), (9, None), (10, None))
    assert [(seen.state, seen.first, seen.before) for seen in one.sightings] == [
        ("PENDING", 1, 0.0),
        ("RUNNING", 4, 2),
        ("ABSENT", 9, 5),
    ]
    assert list(one.spans("PENDING")) == [Bounds(1, 4)]
    assert list(one.spans("RUNNING")) == [Bounds(1, 7)]
    assert (one.is_gone, one.since("ABSENT", 12), one.since("RUNNING", 12)) == (True, 3, None)
    assert [one.state_at(at) for at in (0, 1, 8, 9)] == ["", "PENDING", "RUNNING", "ABSENT"]


def test_one_that_was_never_seen_is_not_gone() -> None:
    one = life((1, None), (3, None), (5, "PENDING"))
    assert (one.state, one.by_id.lag) == ("PENDING", Bounds(3, 5))


@pytest.mark.parametrize(
    ("one", "state"),
    [
        pytest.param(life((1, "RUNNING"), (5, "TERMINATING")), "TERMINATING", id="the-cloud-took-it-back"),
        pytest.param(life((1, "RUNNING"), (5, None)), "ABSENT", id="it-was-gone-at-once"),
        pytest.param(life((1, "RUNNING"), (5, "SHUTDOWN"), ended_at=[3.0]), None, id="we-had-asked-for-it"),
        pytest.param(life((1, "RUNNING"), (5, "SHUTDOWN"), ended_at=[7.0]), "SHUTDOWN", id="we-asked-only-later"),
        pytest.param(life((1, "RUNNING"), (5, "SHUTDOWN"), operation="TerminateInstances"), None, id="a-person-did"),
        pytest.param(life((1, "PENDING"), (5, "LAUNCH_FAILED"), (9, None)), None, id="it-never-ran"),
        pytest.param(life((1, "RUNNING")), None, id="it-runs"),
    ],
)
def test_what_the_cloud_has_taken_back(one: Life, state: str | None) -> None:
    assert (one.taken_back.state if one.taken_back else None) == state


@pytest.mark.parametrize(
    ("one", "stopped"),
    [
        pytest.param(life((1, "RUNNING"), (5, "STOPPING")), True, id="by-a-person"),
        pytest.param(life((1, "RUNNING"), (5, "STOPPED"), asked_at=[3.0]), False, id="by-us"),
        pytest.param(life((1, "RUNNING"), (5, "STOPPED"), asked_at=[9.0]), True, id="we-asked-only-later"),
        pytest.param(life((1, "PENDING"), (5, "STOPPED")), False, id="it-never-ran"),
        pytest.param(life((1, "RUNNING"), (5, "TERMINATING")), False, id="it-ends"),
    ],
)
def test_what_a_person_has_stopped(one: Life, stopped: bool) -> None:
    assert (one.stopped_by_others is not None) is stopped


@pytest.mark.parametrize(
    ("seen", "by_id", "span"),
    [
        pytest.param([(1, False), (6, True)], [(1, True)], Bounds(1, 6), id="later-than-the-instance"),
        pytest.param([(1, False), (6, True)], [(1, False), (6, True)], Bounds(0.0, 6), id="with-the-instance"),
        pytest.param([(1, False)], [(1, True)], None, id="never"),
        pytest.param([(6, True)], [], None, id="without-the-instance"),
    ],
)
def test_how_late_tags_are(seen: list[Any], by_id: list[Any], span: Bounds | None) -> None:
    one = life()
    for at, is_there in seen:
        one.tags.look(at, is_there)
    for at, is_there in by_id:
        one.by_id.look(at, is_there)
    assert measured.tag_span(one) == span


@pytest.mark.parametrize(
    ("lists", "setting"),
    [
        ([("a", "b", "c"), ("x", "b", "c")], "creation"),
        ([("c", "b"), ("b", "a")], "newest-first"),
        ([("a", "b"), ("c", "b")], "shuffled"),
        ([("a",), ("x", "y")], None),
    ],
)
def test_in_which_order_lists_come(lists: list[tuple[str, ...]], setting: str | None) -> None:
    lives = (life(instance_id=name, number=number) for number, name in enumerate("abc"))
    assert measured.order(record(*lives, lists=lists)).setting == setting


BINNED = life((1, "RUNNING"), (5, "TERMINATING"), (9, "SHUTDOWN"), (69, None), ended_at=[4.0])


@pytest.mark.parametrize(
    ("judge", "lives", "setting"),
    [
        (measured.recycle_bin, [BINNED], "yes"),
        (measured.recycle_bin, [life((1, "RUNNING"), (9, None), ended_at=[4.0])], "no"),
        (measured.recycle_bin, [life((1, "RUNNING"), (9, None))], None),
        (measured.recycle_bin_seconds, [BINNED], "60"),
        (measured.recycle_bin_seconds, [life((1, "RUNNING"), (9, "SHUTDOWN"), (99, None), ended_at=[4.0, 50.0])], None),
        (measured.recycle_bin_seconds, [life((1, "RUNNING"))], None),
        (measured.terminating_seconds, [life((1, "RUNNING"), (5, "TERMINATING"), (10, None), ended_at=[4.0])], "5"),
        (measured.terminating_seconds, [life((1, "RUNNING"), (2, None), ended_at=[1.5])], "0"),
        (measured.terminating_seconds, [life((1, "RUNNING"), (2, None))], None),
        (measured.launch_failed_lifetime, [life((1, "LAUNCH_FAILED"), (61, None))], "60"),
        (measured.launch_failed_lifetime, [life((1, "LAUNCH_FAILED"))], None),
        (measured.launch_failure_rate, [life((1, "RUNNING"))] * 9 + [life((1, "LAUNCH_FAILED"))], "0.1"),
        (measured.launch_failure_rate, [life((1, "LAUNCH_FAILED"))] * 9 + [life((1, "RUNNING"))], "0.9"),
        (measured.launch_failure_rate, [life((1, "RUNNING"))] * 9, None),
        (measured.launch_failure_rate, [life((1, "PENDING"))], None),
    ],
)
def test_how_long_states_last_and_how_often_launches_fail(judge: Any, lives: list[Life], setting: str | None) -> None:
    assert judge(record(*lives)).setting == setting


@pytest.mark.parametrize(
    ("looks", "setting", "says"),
    [
        pytest.param([(100, 1, 1), (160, 1, 2), (190, 2, 2)], "30", "", id="half-a-minute-later"),
        pytest.param([(100, 1, 1), (130, 2, 2)], "0", "", id="at-once"),
        pytest.param([(100, 1, 1), (160, 1, 2), (460, 1, 2)], None, "more than 300 s", id="never-quoted"),
        pytest.param([(100, 1, 1), (460, 1, 1)], None, "did not change in 360 s", id="no-change"),
        pytest.param([], None, "no price was compared", id="no-look"),
    ],
)
def test_how_late_a_quote_is(looks: list[tuple[float, float, float]], setting: str | None, says: str) -> None:
    found = measured.quote_lag(record(prices=[PriceLook(*one) for one in looks]))
    assert found.setting == setting
    assert says in found.why


@pytest.mark.parametrize(
    ("asks", "setting"),
    [
        ([(300, True), (900, False)], "600"),
        ([(900, False)], "600"),
        ([(100, True), (200, False)], "150"),
        ([(300, True), (900, True)], None),
        ([], None),
    ],
)
def test_how_long_a_token_is_remembered(asks: list[tuple[float, bool]], setting: str | None) -> None:
    assert endings.lifetime_of_token(record(token_asks=[TokenAsk(*one) for one in asks])).setting == setting


def priced(*looks: tuple[float, float]) -> dict[str, Any]:
    return {"prices": [PriceLook(at, quoted, quoted) for at, quoted in looks]}


HIGH = priced((100, 0.1), (200, 0.3), (600, 0.3))


@pytest.mark.parametrize(
    ("one", "prices", "setting"),
    [
        pytest.param(life((1, "RUNNING"), (700, "RUNNING"), bid=0.2), HIGH, "no", id="it-goes-on"),
        pytest.param(life((1, "RUNNING"), (300, "TERMINATING"), bid=0.2), HIGH, "yes", id="it-is-taken-back-soon"),
        pytest.param(life((1, "RUNNING"), (501, "TERMINATING"), bid=0.2), HIGH, None, id="much-later"),
        pytest.param(life((1, "RUNNING"), (700, "RUNNING"), bid=0.9), HIGH, None, id="the-bid-was-not-passed"),
        pytest.param(life((1, "RUNNING"), bid=0.2), priced((200, 0.3), (400, 0.3)), None, id="not-for-long-enough"),
        pytest.param(life((1, "RUNNING"), bid=0.2, ended_at=[650.0]), HIGH, None, id="we-have-ended-it"),
    ],
)
def test_whether_a_price_above_the_bid_ends_an_instance(one: Life, prices: dict[str, Any], setting: str | None) -> None:
    assert endings.price_interrupts(record(one, **prices)).setting == setting


@pytest.mark.parametrize(
    ("refused", "again", "setting"),
    [("X", "", "free"), ("X", "X", "consumed"), ("", "", None), ("X", "NoAnswer", None)],
)
def test_a_token_after_a_refusal(refused: str, again: str, setting: str | None) -> None:
    assert endings.judged_by_other_parameters(Answer(0.0, refused), Answer(0.0, again)).setting == setting


# --- the journal -----------------------------------------------------------------------------------------------------


def test_the_journal_gives_back_what_was_written_and_leaves_out_what_makes_no_sense(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder")
    assert journal.read().regions() == set()
    journal.intend("one", "n-1", "r-1", MOMENT)
    journal.answered("one", ("ins-1", "ins-2"))
    journal.intend("two", "n-2", "r-2", MOMENT)
    with journal.path.open("a") as file:
        for nonsense in (
            "[1]\n",
            '"text"\n',
            "null\n",
            json.dumps({"answered": "one", "ids": 7}) + "\n",
            "{}\n",
            '{"in',
        ):
            file.write(nonsense)
    journal.gone("ins-2")
    past = journal.read()
    assert past.regions() == {"r-1", "r-2"}
    assert (past.ids_left("r-1"), past.ids_left("r-2")) == (["ins-1"], [])
    assert [(one.name, one.sent_at) for one in past.unanswered("r-2")] == [("n-2", MOMENT)]
    assert past.unanswered("r-1") == []
