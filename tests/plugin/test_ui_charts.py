"""What the page remembers of the past, and how it is drawn."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_spot.ui import charts
from kubectl_spot.ui.history import ENVIRONMENT_POINTS, History
from kubectl_spot.ui.prometheus import changes, series_in
from kubectl_spot.ui.reading import summary_of
from plugin.ui_objects import NOW, environment, pool


def seen(history: History, *objects: dict[str, object], start: float = NOW) -> None:
    before = {}
    for number, obj in enumerate(objects):
        found = summary_of(obj)
        history.saw(before.get(found.key), found, obj, start + 10 * number)
        before[found.key] = found


def test_counts_are_kept_when_they_change_and_only_then() -> None:
    history = History()
    one, two = environment(status={"readyReplicas": 1}), environment()
    seen(history, one, one, two)
    assert history.counts("jobs/web") == {
        "ready": [(NOW, 1), (NOW + 20, 2)],
        "desired": [(NOW, 2), (NOW + 20, 2)],
    }


def test_all_environments_together_are_summed_and_one_that_goes_is_taken_off() -> None:
    history = History()
    seen(history, environment("a"), environment("b"))
    assert history.fleet()["ready"][-1] == (NOW + 10, 4)
    history.lost(summary_of(environment("a")), NOW + 20)
    assert history.fleet()["ready"][-1] == (NOW + 20, 2)
    assert history.counts("jobs/a") == {"ready": [], "desired": []}


def test_reclaims_of_the_log_are_known_at_first_sight_and_later_ones_are_counted() -> None:
    loss = {"type": "Loss", "cause": "Reclaimed", "endTime": "2027-01-15T07:00:00Z", "instanceIds": ["a", "b"]}
    by_hand = loss | {"cause": "ReleasedOutside"}
    first = environment(status={"activities": [loss, by_hand], "reclaimed": 2})
    history = History()
    seen(history, first, environment(status={"reclaimed": 5}))
    assert history.reclaims("jobs/web") == [(NOW - 3600, 2), (NOW + 10, 3)]
    assert history.reclaims("jobs/other") == []


def test_prices_begin_with_those_of_earlier_launches() -> None:
    launch = {
        "type": "Launch",
        "startTime": "2027-01-15T07:00:00Z",
        "zone": "ap-guangzhou-3",
        "instanceType": "S5.MEDIUM4",
        "pricePerHour": "0.01",
    }
    obj = environment(status={"activities": [launch]})
    dearer = environment(status={"pools": [pool(pricePerHour="0.05")]})
    history = History()
    seen(history, obj, obj, dearer)
    points = history.prices(summary_of(obj))["S5.MEDIUM4@ap-guangzhou-3"]
    assert points == [(NOW - 3600, 0.01), (NOW, 0.02), (NOW + 20, 0.05)]


def test_it_is_bounded() -> None:
    history = History()
    seen(history, *(environment(status={"readyReplicas": number % 3}) for number in range(1000)))
    assert len(history.counts("jobs/web")["ready"]) == ENVIRONMENT_POINTS


def test_a_line_stays_until_it_changes_and_reaches_the_present() -> None:
    chart = charts.steps("Ready", "instances", {"ready": [(NOW - 100, 0.0), (NOW - 50, 4.0)]}, NOW, from_zero=True)
    (line,) = chart.lines
    assert re.fullmatch(r"M48\.0 148\.0H264\.0V8\.0H480\.0", line.path)
    assert [label for _, label in chart.y_ticks] == ["0", "1", "2", "3", "4"]
    assert chart.x_ticks[-1] == (480, "now")
    assert chart.summary == "ready: 4"


def test_what_has_no_points_is_said_and_not_drawn() -> None:
    assert charts.steps("Prices", "USD", {"a": []}, NOW, from_zero=False).is_empty
    assert charts.bars("Reclaims", "instances", [], NOW).summary == "None has been seen."


def test_lines_that_nobody_could_tell_apart_are_left_to_the_table() -> None:
    many = {f"pool-{number}": [(NOW, 1.0)] for number in range(60)}
    chart = charts.steps("Prices", "USD", many, NOW, from_zero=False)
    assert (len(chart.lines), chart.more) == (6, 54)


def test_events_are_counted_in_spans() -> None:
    chart = charts.bars("Reclaims", "instances", [(NOW - 3600, 2), (NOW - 3590, 1), (NOW, 4)], NOW)
    assert [bar.label.split(",")[0] for bar in chart.bars] == ["3", "4"]
    assert chart.summary == "7 in 1h"


@given(
    points=st.lists(st.tuples(st.floats(0, NOW), st.floats(0, 1e6)), min_size=1, max_size=20),
    from_zero=st.booleans(),
)
def test_every_line_lies_within_the_drawing(points: list[tuple[float, float]], from_zero: bool) -> None:
    chart = charts.steps("Any", "", {"a": sorted(points)}, NOW, from_zero=from_zero)
    numbers = [float(found) for found in re.findall(r"[HM](-?[\d.e+-]+)", chart.lines[0].path)]
    heights = [float(found) for found in re.findall(r"(?:V|M\S+ )(-?[\d.e+-]+)", chart.lines[0].path)]
    assert all(charts.LEFT <= x <= charts.WIDTH for x in numbers)
    assert all(0 <= y <= charts.HEIGHT for y in heights)
    assert 2 <= len(chart.y_ticks) <= 12


def test_an_answer_of_prometheus_is_read_and_one_that_is_none_is_refused() -> None:
    values = [[NOW, "1"], [NOW + 60, "1"], [NOW + 120, "NaN"], [NOW + 180, "2"]]
    answer = {"status": "success", "data": {"result": [{"metric": {"name": "web"}, "values": values}]}}
    (series,) = series_in(answer)
    assert changes(series.points) == [(NOW, 1), (NOW + 180, 2)]
    with pytest.raises(ValueError, match="too many"):
        series_in({"status": "error", "error": "too many"})
    with pytest.raises((KeyError, TypeError)):
        series_in({"status": "success"})
