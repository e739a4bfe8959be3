"""One collection is followed whatever the API server does: what is held, what is known of it, how often it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from clock import now
from spotcompute.kube.collection import (
    ABSENT_LOOKS,
    ABSENT_SECONDS,
    RETRY_SECONDS,
    RETRY_SECONDS_MAX,
    Collection,
    Reading,
    Source,
)
from spotcompute.kube.port import ApiUnavailable, Forbidden, KubeError, KubeObject, NotServed
from spotcompute.kube.transport import Expired

pytestmark = pytest.mark.looptime

Event = tuple[str, KubeObject]


def obj(name: str, version: int = 1, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": name, "resourceVersion": str(version)}, "spec": spec}


class Server:
    """Lists what is there; each watch yields the next of `watches`, and then waits for ever. `trouble` is raised."""

    def __init__(self, *there: KubeObject) -> None:
        self.there: list[KubeObject] = list(there)
        self.trouble: KubeError | None = None
        self.watches: list[list[Event | KubeError]] = []
        self.lists: list[float] = []
        self.watched: list[tuple[float, str]] = []
        self.collection: Collection[str] = Collection(Source("things", self.list, self.watch), read)
        self.task = asyncio.ensure_future(self.collection.follow())

    async def list(self) -> tuple[Sequence[KubeObject], str]:
        self.lists.append(now())
        if self.trouble is not None:
            raise self.trouble
        return self.there, "10"

    async def watch(self, version: str) -> AsyncGenerator[Event]:
        self.watched.append((now(), version))
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, KubeError):
                raise event
            yield event

    def held(self) -> list[str]:
        return sorted(self.collection.all())


def read(found: KubeObject) -> str | None:
    """The word of an object; one without a word is left out, and one that is not whole raises."""
    return found["spec"]["word"] or None


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made: list[Server] = []
    yield made
    for one in made:
        one.task.cancel()


async def test_what_is_listed_is_held_by_name_and_what_makes_no_sense_is_left_out(servers: list[Server]) -> None:
    with capture_logs() as logs:
        server = Server(obj("a", word="one"), obj("b", word=""), obj("c"), obj("d", word="four"))
        servers.append(server)
        assert (server.collection.sight, server.collection.is_listed) == (Reading.UNSEEN, False)
        await asyncio.sleep(0.1)
    assert (server.collection.sight, server.collection.is_listed) == (Reading.SEEN, True)
    assert server.held() == ["four", "one"]
    assert server.collection.find("ns", "a") == "one"
    assert server.collection.find("other", "a") is None
    assert server.collection.named() == {"a": "one", "d": "four"}
    assert [(row["event"], row["object"]) for row in logs] == [("object_unreadable", "ns/c")]
    server.collection.drop("ns", "a")
    server.collection.drop("ns", "never-there")
    assert server.held() == ["four"]


async def test_each_change_is_taken_in_and_watches_go_on_from_the_last(servers: list[Server]) -> None:
    server = Server(obj("a", word="one"), obj("b", word="two"))
    servers.append(server)
    server.watches = [
        [
            ("MODIFIED", obj("a", 11, word="uno")),
            ("DELETED", obj("b", 12, word="two")),
            ("ADDED", obj("c", 13, word="three")),
            ("MODIFIED", obj("c", 14, word="")),
            ("BOOKMARK", {"metadata": {"resourceVersion": "15"}}),
        ]
    ]
    await asyncio.sleep(5)
    assert server.held() == ["uno"]
    assert [version for _, version in server.watched] == ["10", "15"]
    assert len(server.lists) == 1


async def test_watches_that_end_at_once_are_not_begun_without_a_pause(servers: list[Server]) -> None:
    server = Server()
    servers.append(server)
    server.watches = [[] for _ in range(100)]
    await asyncio.sleep(10.5 * RETRY_SECONDS)
    assert len(server.watched) == 11


async def test_when_changes_were_missed_it_is_listed_at_once(servers: list[Server]) -> None:
    server = Server(obj("a", word="one"))
    servers.append(server)
    server.watches = [[Expired("too old")]]
    await asyncio.sleep(0.1)
    assert (len(server.lists), len(server.watched)) == (2, 2)
    assert server.held() == ["one"]


async def test_while_it_is_out_of_reach_what_was_there_is_held_and_asked_for_ever_more_rarely(
    servers: list[Server],
) -> None:
    server = Server(obj("a", word="one"))
    servers.append(server)
    server.watches = [[ApiUnavailable("cut")]]
    await asyncio.sleep(0.1)
    server.trouble = ApiUnavailable("away")
    assert server.collection.sight is Reading.UNSEEN
    await asyncio.sleep(60)
    pauses = [round(later - earlier) for earlier, later in zip(server.lists, server.lists[1:], strict=False)]
    assert pauses[:3] == [1, 2, 4]
    assert set(pauses[3:]) == {round(RETRY_SECONDS_MAX)}
    assert server.held() == ["one"], "that is what was there last"
    server.trouble = None
    await asyncio.sleep(RETRY_SECONDS_MAX)
    assert server.collection.sight is Reading.SEEN


async def test_a_missing_right_is_kept_and_logged_once_until_it_is_given(servers: list[Server]) -> None:
    server = Server()
    servers.append(server)
    server.trouble = Forbidden("things is forbidden")
    with capture_logs() as logs:
        await asyncio.sleep(60)
    assert server.collection.refusal is server.trouble
    assert [row["event"] for row in logs] == ["objects_not_read"]
    assert not server.collection.is_listed
    server.trouble = None
    await asyncio.sleep(RETRY_SECONDS_MAX)
    assert (server.collection.refusal, server.collection.sight) == (None, Reading.SEEN)


async def test_a_kind_is_absent_once_several_answers_say_so_and_comes_back(servers: list[Server]) -> None:
    server = Server(obj("a", word="one"))
    servers.append(server)
    server.watches = [[NotServed("gone")]]
    await asyncio.sleep(0.1)
    server.trouble = NotServed("gone")
    with capture_logs() as logs:
        await asyncio.sleep((ABSENT_LOOKS - 2) * RETRY_SECONDS)
        assert server.collection.sight is not Reading.ABSENT, "an API server that starts says so for a moment"
        assert server.held() == ["one"]
        await asyncio.sleep(10 * ABSENT_SECONDS)
    assert (server.collection.sight, server.held()) == (Reading.ABSENT, [])
    assert [row["event"] for row in logs] == ["objects_absent"]
    assert 10 <= len(server.lists) <= 14
    server.trouble = None
    await asyncio.sleep(ABSENT_SECONDS)
    assert (server.collection.sight, server.held()) == (Reading.SEEN, ["one"])


async def test_one_answer_that_a_kind_is_absent_is_forgotten_with_the_next_list(servers: list[Server]) -> None:
    server = Server(obj("a", word="one"))
    servers.append(server)
    server.watches = [[NotServed("starting")] for _ in range(2 * ABSENT_LOOKS)]
    await asyncio.sleep(20)
    assert (server.collection.sight, server.held()) == (Reading.SEEN, ["one"])
