"""The ledger on the wire: what is written is read back, and garbage is refused as garbage, whatever it is."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plan.given import (
    NOW,
    OURS,
    A,
    accepted,
    backoff_of,
    desired_of,
    intent,
    ledger_of,
    member,
    planned,
    pool_trust_of,
    synced,
)
from plan.worlds import Dice, random_desired, random_ledger, seeds, with_memories
from spotcompute.api.ledger import UnreadableLedger, decode, encode
from spotcompute.model.ledger import Adoption, Cause, Ledger, Marking, Spending, TagSearch, Trouble, WorkCount
from spotcompute.model.offering import ON_DEMAND, whole_zone

DESIRED = desired_of(3)
FULL = ledger_of(
    intent(DESIRED, 2, sent_at=NOW, answer_lost=True, found=frozenset({"ins-9", "ins-8"})),
    member("ins-2", lost=Cause.RECLAIMED, sequence=4, termination=accepted()),
    member("ins-4", marking=Marking(NOW, True, NOW, 2, "no", Trouble.INVALID_CREDENTIALS)),
    member("ins-1"),
    backoff_of(A),
    backoff_of(None, Trouble.RATE_LIMITED, request_id=None),
    intent(DESIRED, 1, 701, on_demand=True),
    intent(DESIRED, 1, 702, bid=Decimal("0.25")),
    member("ins-3", on_demand=True),
    backoff_of(whole_zone(A.zone), Trouble.QUOTA_EXCEEDED, vcpu=2, in_use=0),
    backoff_of(ON_DEMAND),
    pool_trust_of(A, 1.977),
    quarantine_until=NOW,
    attempted_generation=7,
    spending=Spending(Decimal("12.3456789012"), Decimal("0.3"), NOW),
    short_since=NOW,
    spot_since=NOW,
    switched_at=NOW,
    incomplete_since=NOW,
    broken_up_at=NOW,
    reclaimed=12,
    adoptions={"ins-7": Adoption("ins-7", NOW, Marking(NOW), "it is STOPPED", True)},
    tag_search=TagSearch("team=blue", NOW),
    work=WorkCount(7, ended=3, lost=2),
)


@settings(max_examples=200)
@given(seeds)
@example(0)
def test_what_is_written_is_read_back(seed: int) -> None:
    dice = Dice(seed)
    ledger = with_memories(dice, DESIRED, random_ledger(dice, random_desired(dice)))
    assert decode(json.loads(json.dumps(encode(ledger)))) == ledger


def test_every_field_survives() -> None:
    assert decode(json.loads(json.dumps(encode(FULL)))) == FULL


def test_an_empty_ledger_is_small() -> None:
    assert encode(Ledger("env-1")) == {"environmentId": "env-1"}


def test_equal_ledgers_give_equal_text_in_whatever_order_they_grew() -> None:
    entries = [
        member("ins-1"),
        member("ins-2"),
        backoff_of(A),
        backoff_of(None),
        intent(DESIRED, 1, 1),
        intent(DESIRED, 1, 2),
    ]
    assert json.dumps(encode(ledger_of(*entries))) == json.dumps(encode(ledger_of(*reversed(entries))))


def test_names_are_those_of_kubernetes() -> None:
    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {key for item in value.values() for key in keys(item)}
        return {key for item in value for key in keys(item)} if isinstance(value, list) else set()

    assert not [key for key in keys(encode(FULL)) if "_" in key or not key[0].islower()]


def test_what_a_newer_version_adds_is_passed_over() -> None:
    raw = encode(FULL) | {"newThing": {"some": "thing"}}
    raw["members"][0]["newerThing"] = 1
    assert decode(raw) == FULL


# --- garbage ---------------------------------------------------------------------------------------------------------


def broken(*path: str | int, value: Any) -> dict[str, Any]:
    """The full ledger with one place changed."""
    raw = deepcopy(encode(FULL))
    place: Any = raw
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return raw


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="a-list"),
        pytest.param("ledger", id="text"),
        pytest.param({}, id="no-identity"),
        pytest.param(broken("environmentId", value=None), id="empty-identity"),
        pytest.param(broken("members", value={"ins-1": {}}), id="members-as-an-object"),
        pytest.param(broken("members", 0, value="ins-1"), id="a-member-as-text"),
        pytest.param(broken("members", 0, "launchedAt", value="yesterday"), id="no-time"),
        pytest.param(broken("members", 0, "launchedAt", value="2026-11-23T04:00:00"), id="a-time-without-a-zone"),
        pytest.param(broken("quarantineUntil", value="2026-11-23T04:00:00"), id="a-quarantine-without-a-zone"),
        pytest.param(broken("intents", 0, "createdAt", value="2026-11-23T04:00:00"), id="an-intent-without-a-zone"),
        pytest.param(broken("intents", 0, "createdAt", value="9999-12-31T23:59:59Z"), id="the-end-of-time"),
        pytest.param(broken("intents", 0, "createdAt", value="0001-01-01T00:00:00Z"), id="the-beginning-of-time"),
        pytest.param(broken("intents", 0, "pool", value=["only-a-zone"]), id="half-a-pool"),
        pytest.param(broken("intents", 0, "sequence", value=10**12), id="a-sequence-no-name-can-hold"),
        pytest.param(broken("sequence", value=-1), id="a-negative-sequence"),
        pytest.param(broken("rests", 0, "failures", value=-3), id="negative-failures"),
        pytest.param(broken("rests", 0, "trouble", value="Boredom"), id="an-unknown-trouble"),
        pytest.param(broken("members", 0, "lost", value="Boredom"), id="an-unknown-cause"),
        *[
            pytest.param(broken(*path, value=value), id=f"{path[0]}-{path[-1]}-{value}")
            for path in (("spending", "total"), ("spending", "perHour"), ("intents", 2, "bid"))
            for value in ("NaN", "sNaN", "Infinity", "-1", "1E+12", "1E-999999", "1E+999999", "much", [])
        ],
        *[
            pytest.param(broken(*path, value=value), id=f"{path[-1]}-{value}")
            for path in (
                ("shortSince",),
                ("spotSince",),
                ("switchedAt",),
                ("incompleteSince",),
                ("brokenUpAt",),
                ("spending", "until"),
                ("reputations", 0, "asOf"),
            )
            for value in ("2026-11-23T04:00:00", "9999-12-31T23:59:59Z", "soon")
        ],
        pytest.param(broken("reputations", 0, "early", value=-0.1), id="a-weight-below-nothing"),
        pytest.param(broken("reputations", 0, "early", value=101), id="a-weight-beyond-all"),
        pytest.param(broken("reputations", 0, "early", value="NaN"), id="a-weight-that-is-no-number"),
        pytest.param(broken("reputations", 0, "reclaims", value=0), id="a-pool-that-lost-nothing"),
        pytest.param(broken("reputations", 0, "pool", value=["half"]), id="half-a-pool-with-a-reputation"),
        pytest.param(broken("intents", 1, "onDemand", value="perhaps"), id="perhaps-on-demand"),
        pytest.param(broken("reclaimed", value=-1), id="fewer-reclaimed-than-none"),
        pytest.param(broken("reclaimed", value=10**9), id="more-reclaimed-than-ever"),
        pytest.param(broken("reclaimed", value="some"), id="some-reclaimed"),
    ],
)
def test_garbage_is_unreadable(raw: Any) -> None:
    with pytest.raises(UnreadableLedger):
        decode(raw)


def test_the_complaint_says_where_and_does_not_repeat_the_value() -> None:
    with pytest.raises(UnreadableLedger, match="launchedAt") as caught:
        decode(broken("members", 0, "launchedAt", value="s3cret"))
    assert "s3cret" not in str(caught.value)


def test_depth_is_garbage_too() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnreadableLedger):
        decode({"environmentId": "env-1", "members": deep})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(encode(FULL))), inner, max_size=3)
    ),
    max_leaves=8,
)
#: Values that look right at a glance, which is what an editor leaves behind.
plausible = st.sampled_from(
    ["ins-1", "", "2026-11-23T04:00:00Z", "9999-12-31T23:59:59+14:00", 0, -1, 2**63, 10**30, 1e300, True, "Reclaimed"]
)


@settings(max_examples=300)
@given(junk)
def test_junk_is_unreadable_or_a_ledger_and_never_a_crash(raw: Any) -> None:
    try:
        decode(raw)
    except UnreadableLedger:
        return


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, item in inner for place in places(item, (*path, key)))]


@settings(max_examples=600)
@given(st.sampled_from(places(encode(FULL))), plausible | junk)
def test_an_edited_ledger_is_refused_or_can_be_worked_with(path: tuple[str | int, ...], value: Any) -> None:
    """What can be read must be worked with: sync and plan are total on it."""
    try:
        ledger = decode(broken(*path, value=value))
    except UnreadableLedger:
        return
    kept = synced(ledger, DESIRED).ledger
    after = planned(DESIRED, kept).ledger
    written = {key: replace(item, end_unconfirmed=False) for key, item in after.members.items()}
    assert decode(json.loads(json.dumps(encode(after)))) == replace(after, members=written)
    assert OURS.cluster_id
