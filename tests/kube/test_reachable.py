"""Of several watched namespaces, one that cannot be read keeps the operator from no other."""

from __future__ import annotations

import asyncio

import pytest

from spotcompute.kube.port import ApiUnavailable, Forbidden
from spotcompute.kube.reachable import LOOK_SECONDS, readable, watch_reach
from spotcompute.settings import Settings


class Cluster:
    """An API server that lets us read some namespaces, or that is away."""

    def __init__(self, *open_to_us: str) -> None:
        self.open, self.is_away = set(open_to_us), False

    async def try_namespace(self, namespace: str) -> None:
        if self.is_away:
            raise ApiUnavailable("away")
        if namespace not in self.open:
            raise Forbidden(f"no list in {namespace}")


@pytest.mark.parametrize(
    ("open_to_us", "watched", "found"),
    [
        pytest.param("ab", "ab", "ab", id="all"),
        pytest.param("a", "ab", "a", id="one-is-closed"),
        pytest.param("", "ab", "ab", id="none-so-that-the-start-says-what-is-missing"),
        pytest.param("", "a", "a", id="a-single-one-is-not-asked"),
        pytest.param("a", "", "", id="all-namespaces-of-the-cluster"),
    ],
)
async def test_the_operator_works_in_those_that_can_be_read(open_to_us: str, watched: str, found: str) -> None:
    assert await readable(Cluster(*open_to_us), tuple(watched)) == tuple(found)


@pytest.mark.looptime
@pytest.mark.parametrize(("now_open", "is_change"), [("ab", True), ("b", True), ("a", False)])
async def test_a_changed_role_is_noticed(now_open: str, is_change: bool) -> None:
    cluster, changed = Cluster("a"), asyncio.Event()
    watching = asyncio.create_task(watch_reach(cluster, ("a", "b"), ("a",), changed.set))
    await asyncio.sleep(LOOK_SECONDS + 1)
    assert not changed.is_set()
    cluster.open = set(now_open)
    await asyncio.sleep(LOOK_SECONDS + 1)
    assert changed.is_set() == is_change
    watching.cancel()


@pytest.mark.looptime
async def test_an_api_server_that_is_away_says_nothing_about_rights() -> None:
    cluster, changed = Cluster("a", "b"), asyncio.Event()
    watching = asyncio.create_task(watch_reach(cluster, ("a", "b"), ("a", "b"), changed.set))
    cluster.is_away = True
    await asyncio.sleep(10 * LOOK_SECONDS)
    assert not changed.is_set()
    assert not watching.done()
    watching.cancel()


@pytest.mark.parametrize("written", ["a,b", "a, b", " a b ", '["a", "b"]', "a,b,a"])
def test_names_are_separated_by_commas(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCOMPUTE_NAMESPACES", written)
    assert Settings().watched == ("a", "b")


def test_both_settings_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCOMPUTE_NAMESPACE", "a")
    assert Settings().watched == ("a",)
    monkeypatch.setenv("SPOTCOMPUTE_NAMESPACES", "b,a")
    assert Settings().watched == ("a", "b")
    monkeypatch.delenv("SPOTCOMPUTE_NAMESPACE")
    monkeypatch.setenv("SPOTCOMPUTE_NAMESPACES", "")
    assert Settings().watched == ()
