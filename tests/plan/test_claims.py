"""How many instances claims need, and what each claim waits for: tables, and laws over random work and machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spotcompute.model.claim import Amounts, CapacityWishes, Claim, PodGroup
from spotcompute.plan.claims import Allotment, ClaimState, Host, Needs, Supply, allot, replicas_for
from spotcompute.plan.packing import Bin, Packing, best_type, fitting, too_small

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
GIB = 1024**3 * 1000
TWO_CORES: Amounts = {"cpu": 2000, "memory": 4 * GIB, "pods": 110_000}
EIGHT_CORES: Amounts = {"cpu": 8000, "memory": 32 * GIB, "pods": 110_000}
ONE_GPU: Amounts = {"cpu": 8000, "memory": 32 * GIB, "pods": 110_000, "nvidia.com/gpu": 1000}
WISHES = CapacityWishes(count_max=10)


def pods(count: int, cpu: int = 500, memory: int = GIB // 2, name: str = "main", **more: int) -> PodGroup:
    requests = {"cpu": cpu, "memory": memory, "pods": 1000} | {
        key.replace("_", "/"): value for key, value in more.items()
    }
    return PodGroup(name, count, requests)


def claim(name: str, *groups: PodGroup, age: int = 60, has_begun: bool = False) -> Claim:
    return Claim("Workload", "jobs", name, f"uid-{name}", NOW - timedelta(seconds=age), groups, has_begun, "farm")


def hosts(ready: int, coming: int = 0, room: Amounts = TWO_CORES) -> tuple[Host, ...]:
    return tuple(Host(f"ins-{n}", room, n < ready) for n in range(ready + coming))


def supply(ready: int = 0, coming: int = 0, closed: int = 0, **types: Amounts) -> Supply:
    return Supply(hosts(ready, coming), types or {"S5.MEDIUM4": TWO_CORES}, closed)


def verdicts(found: Allotment) -> dict[str, ClaimState]:
    return {answer.claim.name: answer.verdict for answer in found.standings}


@pytest.mark.parametrize(
    ("groups", "types", "needed"),
    [
        pytest.param([pods(20)], {"S5.MEDIUM4": TWO_CORES}, 5, id="twenty-halves-of-a-core-on-two-cores"),
        pytest.param([pods(1)], {"S5.MEDIUM4": TWO_CORES}, 1, id="one-pod-needs-one-machine"),
        pytest.param([pods(0)], {"S5.MEDIUM4": TWO_CORES}, 0, id="what-is-done-needs-nothing"),
        pytest.param([pods(9)], {"S5.MEDIUM4": TWO_CORES}, 3, id="a-machine-for-the-last-pod"),
        pytest.param([pods(4, cpu=100, memory=3 * GIB)], {"S5.MEDIUM4": TWO_CORES}, 4, id="memory-decides"),
        pytest.param([pods(3, cpu=1500), pods(3, cpu=500)], {"S5.MEDIUM4": TWO_CORES}, 3, id="small-ones-fill-gaps"),
        pytest.param([pods(3, cpu=500), pods(3, cpu=1500)], {"S5.MEDIUM4": TWO_CORES}, 3, id="in-whatever-order"),
        pytest.param([pods(2, nvidia_gpu=0)], {"S5.MEDIUM4": TWO_CORES}, 1, id="none-of-what-is-not-there"),
        pytest.param([pods(20)], {"A": TWO_CORES, "B": EIGHT_CORES}, 2, id="as-if-the-largest-type-were-bought"),
        pytest.param([pods(3, **{"nvidia.com_gpu": 1000})], {"GN7": ONE_GPU}, 3, id="gpus-count"),
        pytest.param([pods(0), pods(220, cpu=1, memory=1)], {"S5": TWO_CORES}, 2, id="a-node-takes-110-pods"),
    ],
)
def test_claims_need_as_many_machines_as_hold_their_pods(
    groups: list[PodGroup], types: dict[str, Amounts], needed: int
) -> None:
    assert allot([claim("render", *groups)], supply(**types), WISHES).needed == needed


def test_a_claim_begins_when_every_node_is_there_and_not_before() -> None:
    twenty = [claim("render", pods(20))]
    for ready, coming in [(0, 0), (0, 5), (4, 1), (4, 0)]:
        found = allot(twenty, supply(ready, coming), WISHES)
        assert verdicts(found) == {"render": ClaimState.COMING}
        assert (found.needed, found.standings[0].needed, found.standings[0].ready) == (5, 5, ready)
    assert verdicts(allot(twenty, supply(5), WISHES)) == {"render": ClaimState.READY}


def test_with_any_a_claim_begins_with_its_first_node() -> None:
    wishes = replace(WISHES, any_is_enough=True)
    assert verdicts(allot([claim("render", pods(20))], supply(0, 5), wishes)) == {"render": ClaimState.COMING}
    found = allot([claim("render", pods(20))], supply(1, 4), wishes)
    assert verdicts(found) == {"render": ClaimState.READY}
    assert found.needed == 5


def test_with_any_a_claim_above_the_limit_takes_what_there_may_be() -> None:
    found = allot([claim("render", pods(100))], supply(0), CapacityWishes(3, any_is_enough=True))
    assert (found.needed, verdicts(found)) == (3, {"render": ClaimState.COMING})


def test_a_claim_above_the_limit_gets_nothing_and_keeps_nobody_waiting() -> None:
    found = allot([claim("huge", pods(100)), claim("small", pods(4), age=5)], supply(1), WISHES)
    assert verdicts(found) == {"huge": ClaimState.TOO_MUCH, "small": ClaimState.READY}
    assert found.needed == 1
    assert found.standings[0].needed == 25


def test_what_has_begun_keeps_its_room_and_older_claims_come_first() -> None:
    found = allot(
        [
            claim("young", pods(16), age=1),
            claim("old", pods(20), age=90),
            claim("running", pods(16), age=30, has_begun=True),
        ],
        supply(4),
        WISHES,
    )
    assert [answer.claim.name for answer in found.standings] == ["running", "old", "young"]
    assert verdicts(found) == {"running": ClaimState.READY, "old": ClaimState.COMING, "young": ClaimState.BEHIND}
    assert found.needed == 9


def test_a_claim_holds_what_is_there_for_it_while_the_rest_is_missing() -> None:
    found = allot([claim("large", pods(20), age=90), claim("small", pods(4), age=1)], supply(3), WISHES)
    assert verdicts(found) == {"large": ClaimState.COMING, "small": ClaimState.COMING}


@pytest.mark.parametrize(
    ("group", "types", "said"),
    [
        pytest.param(
            pods(1, cpu=4000), {"S5.MEDIUM4": TWO_CORES},
            "no type is large enough for one of its pods: S5.MEDIUM4 (cpu)",
            id="larger-than-any",
        ),
        pytest.param(
            pods(1, **{"nvidia.com_gpu": 1000}), {"S5.MEDIUM4": TWO_CORES},
            "no type is large enough for one of its pods: S5.MEDIUM4 (nvidia.com/gpu)", id="no-gpu-there",
        ),
        pytest.param(
            pods(1, cpu=4000), {"S5.MEDIUM4": TWO_CORES, "S5.2XLARGE32": EIGHT_CORES},
            "machines of S5.MEDIUM4 (cpu) could be bought too, and are too small for one of its pods",
            id="one-too-small",
        ),
    ],
)  # fmt: skip
def test_work_that_may_not_fit_is_bought_nothing_for_and_is_told_why(
    group: PodGroup, types: dict[str, Amounts], said: str
) -> None:
    found = allot([claim("big", group)], supply(**types), WISHES)
    assert found.needed == 0
    assert (found.standings[0].verdict, found.standings[0].detail) == (ClaimState.FITS_NOWHERE, said)


def test_nothing_is_bought_while_sizes_are_unknown_and_what_runs_keeps_its_machines() -> None:
    unknown = Supply(hosts(2), None)
    found = allot([claim("running", pods(8), has_begun=True), claim("new", pods(8))], unknown, WISHES)
    assert verdicts(found) == {"running": ClaimState.READY, "new": ClaimState.UNKNOWN}
    assert found.needed == 2


def test_a_cordoned_machine_is_no_room_and_another_is_asked_for_beside_it() -> None:
    found = allot([claim("render", pods(20))], supply(4, closed=1), WISHES)
    assert (found.needed, verdicts(found)) == (6, {"render": ClaimState.COMING})
    assert allot([claim("render", pods(16))], supply(4, closed=1), WISHES).needed == 4


# --- how many there are to be -----------------------------------------------------------------------------------------


def after(*steps: tuple[int, int], idle: int = 60) -> Needs:
    """What is remembered after each (second, need)."""
    needs = Needs()
    for second, needed in steps:
        needs = needs.with_need(NOW + timedelta(seconds=second), needed, timedelta(seconds=idle))
    return needs


@pytest.mark.parametrize(
    ("steps", "most"),
    [
        pytest.param([(0, 5)], 5, id="up-at-once"),
        pytest.param([(0, 5), (10, 0), (69, 0)], 5, id="not-down-before-the-time-is-over"),
        pytest.param([(0, 5), (10, 0), (70, 0)], 0, id="down-after-it"),
        pytest.param([(0, 5), (10, 0), (50, 3), (80, 3)], 3, id="a-new-claim-keeps-what-it-needs"),
        pytest.param([(0, 5), (10, 3), (60, 1), (71, 1)], 3, id="step-by-step"),
        pytest.param([(100, 5), (10, 0), (60, 0)], 5, id="a-clock-set-back-forgets-nothing"),
    ],
)
def test_what_was_needed_lately_stays(steps: list[tuple[int, int]], most: int) -> None:
    assert after(*steps).most == most


def test_without_a_time_to_wait_it_goes_at_once() -> None:
    assert after((0, 5), (1, 0), idle=0).most == 0


@pytest.mark.parametrize(
    ("needed", "current", "busy", "replicas"),
    [
        pytest.param(5, 2, None, 5, id="more-without-asking"),
        pytest.param(0, 5, 2, 2, id="working-ones-stay"),
        pytest.param(0, 5, 0, 0, id="idle-ones-go"),
        pytest.param(0, 5, None, 5, id="nothing-goes-while-that-is-unknown"),
        pytest.param(3, 5, 9, 5, id="and-never-more-for-being-busy"),
    ],
)
def test_no_machine_that_works_goes(needed: int, current: int, busy: int | None, replicas: int) -> None:
    assert replicas_for(after((0, needed)), current, busy) == replicas


# --- laws -------------------------------------------------------------------------------------------------------------

AMOUNTS = st.fixed_dictionaries(
    {"cpu": st.integers(250, 16_000), "memory": st.integers(1, 64), "pods": st.just(110_000)},
    optional={"nvidia.com/gpu": st.sampled_from([1000, 4000, 8000])},
)
TYPES = st.dictionaries(st.sampled_from(["A", "B", "C"]), AMOUNTS, min_size=1)
GROUPS = st.lists(
    st.builds(
        PodGroup,
        st.sampled_from(["driver", "worker"]),
        st.integers(0, 40),
        st.fixed_dictionaries(
            {"cpu": st.integers(0, 8000), "memory": st.integers(0, 32), "pods": st.just(1000)},
            optional={"nvidia.com/gpu": st.just(1000)},
        ),
    ),
    min_size=1,
    max_size=3,
)
CLAIMS = st.lists(
    st.builds(
        lambda number, groups, age, has_begun: claim(f"c{number}", *groups, age=age, has_begun=has_begun),
        st.integers(0, 99),
        GROUPS,
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda one: one.name,
)


@pytest.mark.hypothesis
@given(GROUPS, TYPES, st.integers(0, 20))
def test_no_machine_is_overfull_and_every_pod_is_somewhere(
    groups: list[PodGroup], types: dict[str, Amounts], most: int
) -> None:
    packing = Packing([], types, most)
    placed = packing.put(groups)
    assert sum(count for _, _, count in placed.parts) + placed.left == sum(group.count for group in groups)
    assert all(amount >= 0 for one in packing.bins for amount in one.room.values())
    assert packing.used == len(packing.bins) == len(placed.bins) <= most
    packing.take_back(placed)
    assert (packing.used, packing.bins) == (0, [])


@pytest.mark.hypothesis
@given(GROUPS, TYPES)
def test_never_fewer_machines_than_the_amounts_alone_ask_for(groups: list[PodGroup], types: dict[str, Amounts]) -> None:
    packing = Packing([], types, 10_000)
    placed = packing.put(groups)
    if placed.left:
        assert any(best_type(types, group.requests) is None for group in groups if group.count)
        return
    for name in {name for group in groups for name in group.requests}:
        asked = sum(group.count * group.requests.get(name, 0) for group in groups)
        assert packing.used * max(room.get(name, 0) for room in types.values()) >= asked


@pytest.mark.hypothesis
@given(CLAIMS, TYPES, st.integers(0, 6), st.integers(0, 3), st.integers(1, 12), st.booleans())
def test_what_is_allotted_keeps_its_promises(
    claims: list[Claim], types: dict[str, Amounts], ready: int, coming: int, most: int, any_is_enough: bool
) -> None:
    wishes = CapacityWishes(most, any_is_enough=any_is_enough)
    stock = Supply(hosts(ready, coming, next(iter(types.values()))), types)
    found = allot(claims, stock, wishes)
    assert found == allot(reversed(claims), stock, wishes), "the order in which claims are seen decides nothing"
    assert found.needed <= most
    assert len(found.standings) == len(claims)
    for answer in found.standings:
        assert answer.ready <= answer.needed or answer.verdict is ClaimState.TOO_MUCH
        if answer.verdict is ClaimState.FITS_NOWHERE:
            assert too_small(types, answer.claim.groups)
        if answer.verdict is ClaimState.COMING:
            assert found.needed > 0
    without = allot([one for one in claims if one.has_begun], stock, wishes)
    assert found.needed >= without.needed, "a new claim takes nothing from what has begun"


@pytest.mark.hypothesis
@given(CLAIMS, TYPES, st.integers(1, 12))
def test_buying_what_is_needed_ends_in_work_that_begins(
    claims: list[Claim], types: dict[str, Amounts], most: int
) -> None:
    """Whatever type the market gives: after few purchases every claim that fits within the limit may begin."""
    wishes, smallest = CapacityWishes(most), min(types, key=lambda name: (types[name]["cpu"], name))
    held: tuple[Host, ...] = ()
    for _ in range(most + 1):
        found = allot(claims, Supply(held, types), wishes)
        if found.needed <= len(held):
            break
        bought = range(len(held), found.needed)
        held += tuple(Host(f"ins-{number:03}", types[smallest], True) for number in bought)
    found = allot(claims, Supply(held, types), wishes)
    assert found.needed <= len(held)
    assert ClaimState.COMING not in verdicts(found).values()


@pytest.mark.hypothesis
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)), min_size=1), st.integers(0, 120))
def test_never_below_what_is_needed_now(steps: list[tuple[int, int]], idle: int) -> None:
    ordered = sorted(steps, key=lambda step: step[0])
    needs = after(*ordered, idle=idle)
    assert needs.most >= ordered[-1][1]
    last = ordered[-1][0]
    assert needs.most == max(_in_force(ordered, last - idle))


def _in_force(steps: Iterable[tuple[int, int]], since: int) -> list[int]:
    """The needs that held at any moment after `since`."""
    ordered = list(steps)
    ends = [step[0] for step in ordered[1:]]
    return [count for (_, count), end in zip(ordered, [*ends, float("inf")], strict=True) if end > since]


def test_a_machine_without_a_resource_has_no_room_for_what_asks_for_it() -> None:
    assert fitting(TWO_CORES, {"nvidia.com/gpu": 1000}) == 0
    assert Packing([Bin("ins-1", dict(TWO_CORES))], {}, 1).put([pods(1, **{"nvidia.com_gpu": 1000})]).left == 1
