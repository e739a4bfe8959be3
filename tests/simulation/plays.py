"""Every play has a name, in which `make prove` reports a failure and regressions.json keeps it.

    history 3071250
    history-without-life 143
    history-abroad 3071255
    history-without-wishes 978628407
    history-without-accounts 1010598
    history-without-market 30239
    roll 7
    farm 7
    attack 12
    neighbours 3
    fairness 12
    points create-5@international 3:NO_REPLY:TIMEOUT
    points create-5 12:NO_REPLY:CRASH 30:BEFORE_SEND:TIMEOUT
    kill create: kube PATCH status #2, carried out, no reply

A play in virtual time is deterministic: its name is all that is needed to play it again. A kill meets real processes,
and tests/e2e/kills.py plays it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path

from forgery.attack import attack
from forgery.clusters import neighbours
from simulation.fairness import fairness
from simulation.farming import farm
from simulation.faultpoint import Cell, Kind, Phase
from simulation.history import run
from simulation.rolling import roll
from simulation.scenarios import ABROAD, SCENARIOS, Cells, pairs, play, single_points
from simulation.world import Outcome

#: What once failed, by name, and what it showed.
REGRESSIONS: dict[str, str] = {
    row["play"]: row["why"] for row in json.loads((Path(__file__).parent / "regressions.json").read_text())
}


#: Histories, and how they were before they drew more: so a seed plays for ever what it once showed.
OF_HISTORY: dict[str, dict[str, bool]] = {
    "history": {},
    "history-abroad": {"is_abroad": True},
}
_LESS: dict[str, bool] = {}
for _part in ("life", "keeping", "wishes", "accounts", "market"):
    OF_HISTORY[f"history-without-{_part}"] = _LESS = {**_LESS, f"with_{_part}": False}

#: One history in so many is played on the vendor's international site.
ABROAD_EACH = 5

#: Plays that are known by a seed alone.
OF_SEED: dict[str, Callable[[int], Outcome]] = {
    "attack": attack,
    "neighbours": neighbours,
    "fairness": fairness,
    "roll": roll,
    "farm": farm,
}


def play_named(name: str) -> Outcome:
    """Play what `name` says, in virtual time. Raises ValueError or KeyError when no such play has that name."""
    kind, *words = name.split()
    if kind in OF_HISTORY:
        (seed,) = words
        return run(int(seed), **OF_HISTORY[kind])
    if kind in OF_SEED:
        (seed,) = words
        return OF_SEED[kind](int(seed))
    if kind == "points":
        return play(words[0], dict(map(_point, words[1:])))[0]
    raise ValueError(f"no play is called {name!r}")


def histories(seed: int) -> Iterator[str]:
    """Names of random histories, without end: each number from `seed` on is the seed of one.

    One in five is played on the vendor's international site.
    """
    return (f"history{'' if number % ABROAD_EACH else '-abroad'} {number}" for number in count(seed))


def attacks(seed: int) -> Iterator[str]:
    """Names of random attacks on what the operator believes, without end."""
    return (f"attack {number}" for number in count(seed))


def neighbourhoods(seed: int) -> Iterator[str]:
    """Names of histories of two clusters in one account, without end."""
    return (f"neighbours {number}" for number in count(seed))


def rolls(seed: int) -> Iterator[str]:
    """Names of a thousand rolls of twenty instances."""
    return (f"roll {number}" for number in range(seed, seed + 1000))


def farms(seed: int) -> Iterator[str]:
    """Names of histories with nodes, notices and pods, without end."""
    return (f"farm {number}" for number in count(seed))


def fair_shares(seed: int) -> Iterator[str]:
    """Names of plays of one environment beside others in trouble, without end."""
    return (f"fairness {number}" for number in count(seed))


def singles(seed: int) -> Iterator[str]:
    """Names of all single fault points of all scenarios on both sites, each once, in an order drawn from `seed`."""
    scenarios = [name + site for name in SCENARIOS for site in ("", ABROAD)]
    names = [_name(scenario, cells) for scenario in scenarios for cells in single_points(scenario)]
    random.Random(f"{seed}/singles").shuffle(names)
    return iter(names)


def fault_pairs(seed: int) -> Iterator[str]:
    """Names of pairs of fault points drawn from `seed`, without end, of each scenario in turn."""
    drawn = {name: pairs(name, random.Random(f"{seed}/{name}")) for name in SCENARIOS}
    return (_name(scenario, next(drawn[scenario])) for scenario in cycle(SCENARIOS))


def _name(scenario: str, cells: Cells) -> str:
    points = (f"{number}:{phase.name}:{kind.name}" for number, (phase, kind) in sorted(cells.items()))
    return " ".join(["points", scenario, *points])


def _point(text: str) -> tuple[int, Cell]:
    number, phase, kind = text.split(":")
    return int(number), (Phase[phase], Kind[kind])
