"""Objects of instances are followed whatever the API server does, in virtual time; what they mean is not asked here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from clock import now
from spotcompute.kube.instance_objects import InstanceObjectPort, InstanceObjects, Page
from spotcompute.kube.instance_watch import ABSENT_LOOKS, ABSENT_SECONDS, RELIST_SECONDS, RETRY_SECONDS, follow
from spotcompute.kube.port import ApiUnavailable, Forbidden, KubeError, KubeObject, NotServed
from spotcompute.kube.transport import Expired

pytestmark = pytest.mark.looptime


def obj(name: str, version: int = 5) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": str(version)}}


class Server:
    """Lists `there` page by page; each watch yields the next of `watches`, ends at once, or waits when none is left."""

    def __init__(self) -> None:
        self.there: list[list[KubeObject]] = [[]]
        self.version = 10
        self.trouble: KubeError | None = None
        self.watches: list[list[tuple[str, KubeObject] | KubeError]] = []
        self.lists: list[float] = []
        self.watched: list[tuple[float, str]] = []
        self.objects = InstanceObjects((), lambda namespace, uid: None)
        self._task: asyncio.Future[None] | None = None

    async def after(self, seconds: float) -> None:
        """Some time passes; the first call begins to follow."""
        if self._task is None:
            self._task = asyncio.ensure_future(follow(cast(InstanceObjectPort, self), self.objects))
        await asyncio.sleep(seconds)

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def page(self, namespace: str, token: str | None) -> Page:
        if token is None:
            self.lists.append(now())
        if self.trouble is not None:
            raise self.trouble
        at = int(token or 0)
        return Page(self.there[at], str(at + 1) if at + 1 < len(self.there) else None, str(self.version))

    async def watch(self, namespace: str, version: str) -> AsyncGenerator[tuple[str, KubeObject]]:
        self.watched.append((now(), version))
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, KubeError):
                raise event
            yield event

    def names(self) -> list[str]:
        return sorted(name for name in ("a", "b", "c", "d") if self.objects.get(("ns", name)) is not None)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.end()


async def test_all_pages_are_taken_in_and_then_each_change(server: Server) -> None:
    server.there = [[obj("a")], [obj("b")]]
    bookmark = {"metadata": {"resourceVersion": "40"}}
    server.watches = [[("ADDED", obj("c", 11)), ("DELETED", obj("a", 12)), ("BOOKMARK", bookmark)]]
    assert not server.objects.known.is_set()
    await server.after(5)
    assert server.names() == ["b", "c"]
    assert server.objects.known.is_set()
    assert [version for _, version in server.watched] == ["10", "40"]


async def test_what_a_later_list_lacks_is_gone(server: Server) -> None:
    server.there, server.watches = [[obj("a"), obj("b")]], [[Expired("too old")]]
    await server.after(0)
    server.there, server.version = [[obj("b")]], 20
    await server.after(1)
    assert (server.names(), len(server.lists)) == (["b"], 2)


async def test_after_a_restore_from_a_backup_nothing_newer_is_remembered(server: Server) -> None:
    server.there, server.watches = [[obj("a", 9)]], [[("ADDED", obj("b", 30))], [Expired("too old")]]
    await server.after(RETRY_SECONDS / 2)
    server.there, server.version = [[obj("a", 3)]], 4
    await server.after(2 * RETRY_SECONDS)
    assert server.names() == ["a"]


async def test_watches_that_end_at_once_are_begun_once_a_second_and_everything_is_listed_twice_an_hour(
    server: Server,
) -> None:
    server.watches = [[] for _ in range(10_000)]
    await server.after(60.5)
    assert len(server.watched) == 61
    await server.after(3 * RELIST_SECONDS)
    assert len(server.lists) == 4


@pytest.mark.parametrize("error", [NotServed("gone"), Forbidden("no right")])
async def test_what_cannot_be_had_counts_as_known_after_some_answers_and_is_looked_for_each_minute(
    server: Server, error: KubeError
) -> None:
    server.trouble = error
    with capture_logs() as logs:
        await server.after(2 ** (ABSENT_LOOKS - 2) * RETRY_SECONDS)
        assert not server.objects.known.is_set(), "an API server that starts says so for a moment"
        await server.after(10 * ABSENT_SECONDS)
    assert server.objects.known.is_set()
    assert [row["event"] for row in logs] == ["instance_objects_absent"]
    assert ABSENT_LOOKS + 9 <= len(server.lists) <= ABSENT_LOOKS + 10
    server.trouble, server.there = None, [[obj("a")]]
    await server.after(ABSENT_SECONDS)
    assert server.names() == ["a"]


async def test_an_api_server_that_is_away_is_asked_ever_more_rarely(server: Server) -> None:
    server.trouble = ApiUnavailable("away")
    await server.after(600)
    pauses = [round(later - earlier) for earlier, later in zip(server.lists, server.lists[1:], strict=False)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 32]
    assert set(pauses[6:]) == {60}
    assert not server.objects.known.is_set()
