"""Defines `Situation`: one value for everything that a decision is made from.

Apart from `allocation` and the modules below it, which take single values: a function of a ledger and a time is easier
to test and to trust than a function of everything. All modules above `allocation` take a `Situation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from spotcompute.model.desired import Desired
from spotcompute.model.ledger import Ledger
from spotcompute.model.node import NodeState
from spotcompute.model.observation import Observation
from spotcompute.model.offering import ON_DEMAND, Market
from spotcompute.model.wishes import NO_WISH, Wish
from spotcompute.plan.allocation import Ranking, next_attempt, rank
from spotcompute.plan.backoff import end_of_backoffs
from spotcompute.plan.brake import held_places
from spotcompute.plan.capacity import held_on_demand, shortfall
from spotcompute.plan.limits import room_in_number
from spotcompute.plan.policy import Policy
from spotcompute.plan.work import attempts_left


@dataclass(frozen=True)  # without slots, because `ranking` is kept in the instance
class Situation:
    """`Situation` holds what is wanted, what is remembered, what is seen, the time, and the numbers to decide by.

    `now` is aware UTC and is read once a round; a situation is never kept for the next round. `wishes` holds
    what is asked for single instances, and `nodes` what the cluster shows of the node of each, by id. `nodes_problem`
    says why nodes cannot be looked after.
    """

    desired: Desired
    ledger: Ledger
    observed: Observation
    now: datetime
    policy: Policy
    wishes: Mapping[str, Wish] = field(default_factory=dict)
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    nodes_problem: str | None = None

    def wish(self, instance_id: str) -> Wish:
        """Returns what is asked for this instance; `NO_WISH` when it bears no mark."""
        return self.wishes.get(instance_id, NO_WISH)

    @property
    def market(self) -> Market:
        """Prices and stock as they were last seen."""
        return self.observed.market

    @property
    def missing(self) -> int:
        """Returns how much is wanted and neither exists nor is on its way, in what `replicas` counts."""
        return shortfall(self.ledger, self.desired)

    @property
    def missing_on_demand(self) -> int:
        """Returns how many of the missing are wanted on demand, whatever spot has."""
        return min(self.missing, max(0, self.desired.on_demand_wanted - held_on_demand(self.ledger, self.desired)))

    @property
    def missing_spot(self) -> int:
        """Returns how many of the missing are wanted as spot."""
        return self.missing - self.missing_on_demand

    @cached_property
    def ranking(self) -> Ranking:
        """Returns every pool, those that may be asked first.

        It is computed once; a new ledger makes a new situation.
        """
        return rank(self.desired, self.ledger, self.market, self.now, self.policy)

    @property
    def to_ask_for(self) -> int:
        """Returns how many of the missing may be asked for, without those that a limit holds.

        Nor those whose places stay empty for a while.
        """
        rooms = (room_in_number(self.desired, self.ledger), attempts_left(self.ledger, self.desired))
        open_places = max(0, self.missing - len(held_places(self.ledger, self.now, self.policy)))
        return min((open_places, *(room for room in rooms if room is not None)))

    @property
    def braked_until(self) -> datetime | None:
        """Returns when enough places may be filled again for a request. None when that is now, or nothing is held."""
        held = held_places(self.ledger, self.now, self.policy)
        spare = self.missing - max(1, self.ranking.count_min)  # so many may be held, and a request is still of use
        return None if spare < 0 or len(held) <= spare else held[len(held) - spare - 1] + self.policy.place_held

    @property
    def next_attempt(self) -> datetime | None:
        """Returns when a pool may be asked again. `now` when one may be asked already, None when time does not help."""
        if room_in_number(self.desired, self.ledger) == 0:
            return None
        if self.missing and not self.missing_spot:
            at = end_of_backoffs(self.ledger, (None, ON_DEMAND), self.now)
        else:
            at = next_attempt(self.ranking, self.ledger, self.now)
        return at if at is None or self.braked_until is None else max(at, self.braked_until)

    def with_ledger(self, ledger: Ledger) -> Situation:
        """Returns the situation in which `ledger` is remembered; itself when that is its own ledger."""
        return self if ledger is self.ledger else replace(self, ledger=ledger)
