"""The keys of one account take turns; one that is refused or not answered rests, and is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloud.scripted import ScriptedCloud
from spotcompute.cloud.errors import InvalidCredentials
from spotcompute.cloud.keyring import BELIEVED_AFTER, Keyring

KEPT = timedelta(minutes=10)
REST = 10.0
REVOKED = InvalidCredentials("AuthFailure.SecretIdNotFound", "no such key")


class Ring:
    """A ring of scripted keys; time passes by hand, and rests grow by ten seconds."""

    def __init__(self, *names: str) -> None:
        self.seconds = 100.0
        self.of = {name: ScriptedCloud(name, "1") for name in names}
        first, *others = self.of.values()
        self.ring = Keyring(first, lambda times: timedelta(seconds=REST * times), KEPT, lambda: self.seconds)
        for one in others:
            assert self.ring.add(one)

    def line(self) -> list[str]:
        names = {one.key: name for name, one in self.of.items()}
        return [names[one.key] for one in self.ring.in_turn()]


def test_keys_take_turns_and_the_one_that_works_stands_behind_the_first() -> None:
    keys = Ring("a", "b", "c")
    assert keys.line() == ["a", "b", "c"]
    keys.ring.accepted(keys.of["a"])
    assert keys.line() == ["b", "a", "c"]
    keys.ring.accepted(keys.of["b"])
    assert keys.line() == ["c", "b", "a"]
    assert keys.ring.current.key == keys.of["b"].key


def test_a_key_that_is_known_is_no_news_and_one_that_nobody_uses_is_dropped() -> None:
    keys = Ring("a", "b")
    assert not keys.ring.add(keys.of["a"])
    keys.seconds += KEPT.total_seconds()
    assert not keys.ring.add(keys.of["a"])
    assert keys.line() == ["a", "b"], "just not too long ago"
    keys.seconds += 1
    assert not keys.ring.add(keys.of["a"])
    assert keys.line() == ["a"]
    assert keys.ring.add(keys.of["b"])


def test_a_refused_key_rests_longer_each_time_and_comes_first_then() -> None:
    keys = Ring("a", "b")
    keys.ring.refused(keys.of["b"], REVOKED)
    assert keys.ring.rests(keys.of["b"])
    assert not keys.ring.rests(keys.of["a"])
    assert keys.line() == ["a"]
    keys.seconds += REST
    assert not keys.ring.rests(keys.of["b"])
    assert keys.line() == ["b", "a"]
    keys.ring.refused(keys.of["b"], REVOKED)
    keys.seconds += 2 * REST - 1
    assert keys.line() == ["a"]
    keys.seconds += 1
    assert keys.line() == ["b", "a"]


def test_a_refusal_is_believed_the_second_time_and_forgotten_with_an_answer() -> None:
    keys = Ring("a", "b")
    key = keys.of["a"]
    assert not keys.ring.is_in_doubt
    keys.ring.refused(key, REVOKED)
    assert keys.ring.is_in_doubt
    assert (keys.ring.refusal_of(key), keys.ring.refused_keys) == (None, frozenset())
    for _ in range(BELIEVED_AFTER - 1):
        keys.ring.refused(key, REVOKED)
    assert (keys.ring.refusal_of(key), keys.ring.refused_keys) == (REVOKED, {key.key})
    assert not keys.ring.is_in_doubt
    assert keys.ring.refusal_of(keys.of["b"]) is None
    keys.ring.accepted(key)
    assert (keys.ring.refusal_of(key), keys.ring.refused_keys) == (None, frozenset())
    assert not keys.ring.rests(key)


def test_a_key_without_an_answer_goes_to_the_end_rests_and_does_not_count_as_refused() -> None:
    keys = Ring("a", "b", "c")
    keys.ring.unanswered(keys.of["a"])
    keys.ring.unanswered(keys.of["a"])
    assert keys.line() == ["b", "c"]
    assert keys.ring.refusal_of(keys.of["a"]) is None
    keys.seconds += 2 * REST - 1
    assert keys.ring.rests(keys.of["a"])
    keys.seconds += 1
    assert keys.line() == ["b", "a", "c"], "the current key is the second"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_when_all_rest_the_two_that_rest_least_are_tried(count: int) -> None:
    names = "abc"[:count]
    keys = Ring(*names)
    for name in reversed(names):
        keys.ring.refused(keys.of[name], REVOKED)
        keys.seconds += 1
    assert keys.line() == ["".join(reversed(names))[at] for at in range(min(2, count))]


def test_a_key_that_is_not_on_the_ring_is_nobodys_business() -> None:
    keys, stranger = Ring("a"), ScriptedCloud("x", "1")
    keys.ring.refused(stranger, REVOKED)
    keys.ring.unanswered(stranger)
    keys.ring.accepted(stranger)
    assert keys.line() == ["a"]
    assert not keys.ring.rests(stranger)
    assert keys.ring.refusal_of(stranger) is None
