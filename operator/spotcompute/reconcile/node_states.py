"""Holds what the cluster shows of each environment's nodes, between the part that keeps nodes and the loop.

Apart from `node_keeper`, because the loop asks here and knows nothing of nodes otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from spotcompute.model.node import NodeState, UnknownNodes

#: A run waits so many seconds after a start for the nodes to be read. Then it goes on, and ends nothing by choice.
FIRST_SECONDS = 5.0

#: What gives an installation the rights and the setting that nodes need.
REMEDY = "Apply the overlay nodes, or set settings.nodes=true in the chart"

#: The nodes of one environment, by instance.
States = Mapping[str, NodeState]


class NodeStates:
    """`NodeStates` knows the nodes of environments that have some.

    `wake` is called with the uid of an environment whose nodes show something that a run should know at once.
    """

    def __init__(self, wake: Callable[[str], None], *, is_kept: bool = True) -> None:
        """Takes in whether this installation keeps nodes at all, `is_kept`. Without that no environment has any."""
        self._wake, self._is_kept = wake, is_kept
        self._states: dict[str, States] = {}
        self._problem: str | None = None
        self._read = asyncio.Event()

    async def of(self, uid: str) -> tuple[States, str | None]:
        """Returns the nodes of an environment, and why they cannot be looked after. It may wait after a start."""
        if not self._is_kept:
            return {}, f"this installation does not keep nodes. {REMEDY}"
        if not self._read.is_set():
            try:
                await asyncio.wait_for(self._read.wait(), FIRST_SECONDS)
            except TimeoutError:
                return UnknownNodes(), self._problem
        return self._states.get(uid, {}), self._problem

    def keep(self, states: Mapping[str, States]) -> None:
        """Takes in the nodes of all environments, and wakes those that should know of a change."""
        is_first, had_problem = not self._read.is_set(), self._problem is not None
        before, self._states, self._problem = self._states, dict(states), None
        self._read.set()
        for uid, found in states.items():
            if is_first or had_problem or _is_news(before.get(uid, {}), found):
                self._wake(uid)

    def fail(self, problem: str, affected: Iterable[str]) -> None:
        """Takes in that the API server refuses what the nodes of these environments need.

        Then nothing is known of nodes, and nothing is waited for.
        """
        is_news = problem != self._problem
        self._problem, self._states = problem, {}
        self._read.set()
        for uid in affected if is_news else ():
            self._wake(uid)


def _is_news(before: States, after: States) -> bool:
    """True when a node came, went or changed its state. Work alone is news only where pods are leaving."""
    return before.keys() != after.keys() or any(
        _without_work(before[key]) != _without_work(state) or (state.is_unschedulable and before[key] != state)
        for key, state in after.items()
    )


def _without_work(state: NodeState) -> tuple[str, bool, bool, str | None, bool]:
    return state.name, state.is_ready, state.is_unschedulable, state.notice, state.is_kept
