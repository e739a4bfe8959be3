"""Histories with nodes, notices and pods. `make prove` plays others.

The judge is tested too: it must see what it is there for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from simulation.farming import farm
from spotcompute.model.node import Node, Pod
from spotcompute.plan import nodes, retirement
from spotcompute.plan.nodes import Machine
from spotcompute.reconcile import node_keeper

SEEDS = range(7, 17)

#: The steps by which idle machines go before those that work.
OF_WORK = (retirement._working, retirement._pods, retirement._newest_work)


def test_the_same_seed_gives_the_same_farm() -> None:
    assert farm(9).digest == farm(9).digest


@pytest.mark.parametrize("seed", SEEDS)
def test_no_node_is_mistaken_and_who_works_goes_last(seed: int) -> None:
    assert farm(seed).violations == ()


# --- the judge --------------------------------------------------------------------------------------------------------


def thinks_three_are_gone(found: Iterable[Node], machines: list[Machine], now: Any) -> Any:
    return nodes.next_steps(
        found, [replace(one, is_alive=one.is_alive and len(machines) != 3) for one in machines], now
    )


def believes_provider_ids(machine_of: Callable[..., Machine | None]) -> Callable[..., Machine | None]:
    def found(node: Node, by_id: dict[str, Machine], by_name: dict[str, Machine]) -> Machine | None:
        return machine_of(node, by_id, by_name) or by_id.get(node.instance_id or "")

    return found


def disturbs_all(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    return tuple(pods)


#: A fault, the part that has it, and what the judge says of it in the farm of a seed.
FAULTS = [
    pytest.param(1, node_keeper, "next_steps", thinks_three_are_gone, "O15 living", id="gives-up-nodes-that-live"),
    pytest.param(
        9, nodes, "machine_of", believes_provider_ids(nodes.machine_of), "O16 foreign", id="believes-a-provider-id"
    ),
    pytest.param(
        5,
        retirement,
        "BEFORE_BALANCE",
        tuple(step for step in retirement.BEFORE_BALANCE if step not in OF_WORK),
        "O17 work",
        id="does-not-ask-who-works",
    ),
    pytest.param(9, node_keeper, "to_evict", disturbs_all, "O17 work", id="disturbs-every-pod"),
    pytest.param(
        12, node_keeper, "to_approve", lambda requests, *_: tuple(requests), "O18 token", id="approves-every-request"
    ),
    pytest.param(3, nodes, "_mark_for_its_end", lambda *_: [], "O19 left", id="forgets-nodes-that-were-never-bound"),
]


@pytest.mark.parametrize(("seed", "part", "name", "fault", "complaint"), FAULTS)
def test_the_judge_sees(
    seed: int, part: Any, name: str, fault: Any, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, name, fault)
    assert any(violation.startswith(complaint) for violation in farm(seed).violations)
