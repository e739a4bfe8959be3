"""The pages: everything in its place, hostile texts stay text, and thousands of environments are pages, not walls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette

from kubectl_spot.problems import Problem
from kubectl_spot.ui.cluster import Cluster, Kubectl
from kubectl_spot.ui.pages import Pages
from kubectl_spot.ui.state import State
from plugin.ui_objects import NOW, ask, condition, environment, instance, large, pool

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}&#60;"


class Site:
    """The pages over a state that a test fills; there is no cluster."""

    def __init__(self) -> None:
        self.time = NOW
        self.state = State(lambda: self.time)
        cluster = Cluster(Kubectl(("--kubeconfig=/dev/null", "--server=http://127.0.0.1:9")), self.state, "jobs")
        self.app = Starlette(routes=Pages(self.state, cluster, None).routes())

    async def text(self, path: str, status: int = 200) -> str:
        answer = await ask(self.app, path)
        assert answer.status == status, answer.text
        return answer.text


@pytest.fixture
def site() -> Site:
    return Site()


def listed(site: Site, *objects: dict[str, Any]) -> None:
    for obj in objects:
        site.state.put(obj)
    site.state.keep_only(set(site.state.summaries))


async def test_an_environments_page_has_all_that_the_console_shows(site: Site) -> None:
    activity = {"type": "Launch", "state": "Failed", "cause": "1 of 3 missing", "count": 7, "code": "SoldOut"}
    listed(
        site,
        environment(
            spec={"replicas": 3},
            status={
                "phase": "Waiting",
                "nextAttemptTime": "2027-01-15T08:00:23Z",
                "activities": [activity | {"message": "no more", "startTime": "2027-01-15T07:00:00Z"}],
                "pools": [pool(state="Resting", lastError="SoldOut: no more")],
                "conditions": [condition("Ready", "False", "2 of 3 instances run; 1 missing")],
            },
        ),
    )
    text = await site.text("/environments/jobs/web")
    for said in (
        "2 of 3",
        "in 23s",
        "Instance list",
        "10.0.0.7",
        "Activity log",
        "SoldOut: no more",
        "Has refused, and is not asked for a while: SoldOut: no more",
        "Not as many instances run as are wanted. 2 of 3 instances run; 1 missing",
        "Cost per hour",
        "Price per pool",
        "Reclaims",
        "S5.MEDIUM4@ap-guangzhou-3",
    ):
        assert said in text


@pytest.mark.parametrize("path", ["/", "/instances", "/market", "/create", "/environments/jobs/web"])
async def test_hostile_texts_stay_text(site: Site, path: str) -> None:
    """Names are checked by the API server; messages, addresses and types come from a cloud, or from a forger."""
    evil = environment(
        spec={"region": HOSTILE, "market": {"maxPrice": HOSTILE}},
        status={
            "phase": HOSTILE,
            "reason": HOSTILE,
            "cost": {"perHour": "1", "currency": HOSTILE},
            "pools": [pool(zone=HOSTILE, kind=HOSTILE, state=HOSTILE, lastError=HOSTILE, stock=HOSTILE)],
            "instances": [instance(HOSTILE, state=HOSTILE, privateIP=HOSTILE, note=HOSTILE)],
            "conditions": [condition(HOSTILE, HOSTILE, HOSTILE, HOSTILE), condition("Ready", "False", HOSTILE)],
            "activities": [{"type": HOSTILE, "state": HOSTILE, "message": HOSTILE, "requestId": HOSTILE}],
            "quote": {"errors": [{"message": HOSTILE, "code": HOSTILE}], "chosen": HOSTILE, "missing": 1},
        },
    )
    listed(site, evil)
    site.state.troubled(Problem(HOSTILE, HOSTILE))
    text = await site.text(f"{path}?q=&said=x")
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "<img" not in text
    assert "{{7*7}}" in text


async def test_what_is_typed_into_the_address_stays_text_too(site: Site) -> None:
    for path in ("/?q=%3Cscript%3E%22&phase=%22%3E&order=x", "/instances?q=%22%3E%3Cimg%3E", "/market?q=%3Cscript%3E"):
        text = await site.text(path)
        assert "<script>" not in text
        assert "<img" not in text
    assert "<script>" not in await site.text("/environments/a/%3Cscript%3E", 404)


async def test_trouble_is_said_with_its_remedy_and_what_was_seen_last_stays(site: Site) -> None:
    listed(site, environment())
    site.state.troubled(Problem("No cluster answers.", "Check the network."))
    text = await site.text("/")
    assert "No cluster answers." in text
    assert "Check the network." in text
    assert "Shown is what was seen at" in text
    assert "/environments/jobs/web" in text
    site.state.well()
    assert "No cluster answers." not in await site.text("/")


async def test_an_operator_that_is_down_is_named(site: Site) -> None:
    changed = environment()
    changed["metadata"]["generation"] = 2
    listed(site, changed)
    assert "seems to be down" not in await site.text("/")
    site.time += 61
    assert "The operator seems to be down" in await site.text("/")
    listed(site, environment())
    assert "seems to be down" not in await site.text("/")


async def test_an_environment_that_is_gone_says_so_and_a_namesake_is_another(site: Site) -> None:
    listed(site, environment(status={"reclaimed": 9}))
    site.state.drop("jobs/web")
    assert "There is no such environment, or it is gone." in await site.text("/environments/jobs/web", 404)
    again = environment(status={"reclaimed": 0})
    again["metadata"]["uid"] = "another"
    listed(site, again)
    assert site.state.history.reclaims() == []


async def test_a_quantity_that_is_none_is_refused_before_anybody_is_asked(site: Site) -> None:
    listed(site, environment())
    for wrong in ("", "-1", "1.5", "many", "9" * 40):
        answer = await ask(site.app, "/environments/jobs/web/scale", form={"replicas": wrong})
        text = await site.text(answer.headers["location"])
        assert "Not done: the number of instances must be a whole number" in text


async def test_a_name_must_be_typed_to_delete(site: Site) -> None:
    listed(site, environment())
    answer = await ask(site.app, "/environments/jobs/web/delete", form={"name": "wev", "uid": "u"})
    assert "type the name of the environment, web, to delete it" in await site.text(answer.headers["location"])
    assert (await ask(site.app, "/environments/jobs/web/explode", form={})).status == 404


async def test_a_form_that_is_far_too_large_is_not_read(site: Site) -> None:
    answer = await ask(site.app, "/create/preview", form={"name": "x" * 100_000})
    assert len(answer.text) < 1000


async def timed(site: Site, path: str) -> tuple[float, str]:
    begun = time.process_time()
    text = await site.text(path)
    return time.process_time() - begun, text


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("/", 50),
        ("/?page=7&order=cost", 50),
        ("/?q=env-0777", 1),
        ("/instances", 50),
        ("/instances?q=ins-999-2", 1),
        ("/market", 10),
        ("/create", 10),
    ],
)
async def test_a_thousand_environments_are_pages(thousand: Site, path: str, rows: int) -> None:
    seconds, text = await timed(thousand, path)
    table = text.split("<tbody>")[1].split("</tbody>")[0]
    assert table.count("<tr") == rows
    assert len(text) < 200_000
    assert seconds < 1.0


def test_a_thousand_environments_take_little_memory(thousand: Site) -> None:
    held = sum(map(len, thousand.state._bodies.values()))
    assert held < 2_000_000
    assert len(json.dumps(large(1))) > 10_000


@pytest.fixture(scope="module")
def thousand() -> Site:
    site = Site()
    listed(site, *(large(number) for number in range(1000)))
    assert len(site.state.machines()) == 2000
    return site


async def test_who_waits_for_a_change_hears_of_it(site: Site) -> None:
    pages: Callable[[], Any] = next(
        route.endpoint.__self__._changes for route in site.app.routes if getattr(route, "path", "") == "/events"
    )
    stream = pages()
    first = await anext(stream)
    site.state.put(environment())
    assert await anext(stream) != first
    await stream.aclose()
