"""Seeded attacks: somebody writes into status, annotations, notes and tags, while machines come and go.

`attack(seed)` is deterministic. Apart from the table, whose rows are thought out: here values land where nobody
would think of putting them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

from forgery.forgeries import FORGERIES
from forgery.scene import OTHER_CLUSTER, Scene
from simulation.virtual import run_virtual
from simulation.world import Outcome

ATTACK_SECONDS = 600.0

#: Rows so large that they would take most of the time.
_LARGE = frozenset({"ten-thousand-members", "ten-thousand-rests", "a-thousand-launches"})
#: Rows that alter tags, of our machines or into ours, or names. Where ledger, tags and names are forged together,
#: nothing says any more whose they are (see docs/reliability.md): an attack does one of the three.
_OF_TAGS = frozenset(
    {
        "our-tags-on-a-strangers-machine",
        "a-machine-of-ours-moved-to-the-neighbour",
        "a-machine-of-ours-moved-to-another-cluster",
        "machines-of-ours-without-tags",
        "another-owner-in-a-tag",
    }
)
_OF_NAMES = frozenset({"machines-of-ours-by-other-names"})
_OF_STATE = FORGERIES.keys() - _OF_TAGS - _OF_NAMES - _LARGE


class Attacker:
    """Draws what is forged next."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"{seed}/attack")
        pick = self.rng.choice
        switches = {
            "list-lag": pick(["0", "0", "5", "30"]),
            "id-lag": pick(["0", "0", "5"]),
            "tag-lag": pick(["0", "2", "30"]),
            "terminating-seconds": pick(["0", "5", "120"]),
            "pending-seconds": pick(["0", "3", "30"]),
            "order": pick(["creation", "newest-first", "shuffled"]),
            "reclaim-visible": pick(["terminating", "shutdown", "absent"]),
        }
        self.scene = Scene(seed, switches, replicas=pick([1, 1, 1, 2]))
        rows = self.rng.choice([_OF_STATE, _OF_STATE, _OF_STATE, _OF_STATE, _OF_TAGS, _OF_NAMES])
        self.forges_marks = rows is not _OF_STATE
        drawn = self.rng.sample(sorted(rows), min(len(rows), self.rng.randint(2, 12)))
        self._rows = sorted(drawn)

    async def play(self) -> None:
        """Forge for ten minutes, then stop, and judge."""
        scene, loop = self.scene, asyncio.get_running_loop()
        await scene.open()
        until = loop.time() + ATTACK_SECONDS
        while loop.time() < until:
            await scene.watch(self.rng.choice([1, 3, 10, 40]))
            self._strike()
        await scene.watch(400, step=5.0)
        if scene.object()["status"].get("reason") == "IdentityConflict":
            # The one refusal that a person must lift, as its message says: it could be a copied manifest's.
            scene.annotate(None)
            scene.status(lambda status: status.pop("ledger", None))
        await scene.close()

    def _strike(self) -> None:
        luck, scene = self.rng.random(), self.scene
        if luck < 0.2:
            self._happen()
        elif luck < 0.6 or self.forges_marks:
            row = FORGERIES[self.rng.choice(self._rows)]
            scene.world.note(f"forges {row.name}")
            with contextlib.suppress(AttributeError, IndexError, KeyError, TypeError):
                # What it would forge is not there just now, or has been spoiled before.
                row.forge(scene)
        else:
            scene.status(self._scribble)

    def _happen(self) -> None:
        """What happens anyway: machines are taken back, the operator is killed.

        Not while the lists lag behind a launch, though. A process that has just begun knows it from status alone, and
        whoever takes it away just then has it made again: the limit that docs/reliability.md states.
        """
        scene = self.scene
        if self.rng.random() < 0.3:
            if scene.all_are_visible:
                scene.world.crash(self.rng.randrange(len(scene.world.replicas)), 0.1)
        elif scene.living():
            scene.world.note("the cloud takes one back")
            scene.world.cloud.simulator.world.reclaim([self.rng.choice(scene.living())], self.rng.choice([0.0, 60.0]))

    # --- scribbling --------------------------------------------------------------------------------------------------

    def _scribble(self, status: dict[str, Any]) -> None:
        """Put a value where it does not belong, take one away, or double one, anywhere in the ledger."""
        ledger = status.setdefault("ledger", {})
        for _ in range(self.rng.randint(1, 3)):
            if not ledger:
                return
            holder, key = self._place(ledger)
            kind = self.rng.random()
            if kind < 0.25:
                del holder[key]
            elif kind < 0.4 and isinstance(holder, list):
                holder.append(holder[key])
            else:
                holder[key] = self._value()

    def _place(self, holder: Any) -> tuple[Any, Any]:
        """Some place in a JSON value that is not empty: what holds it, and under which key."""
        while True:
            key = self.rng.choice(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner or self.rng.random() < 0.2:
                return holder, key
            holder = inner

    def _value(self) -> Any:
        rng, scene = self.rng, self.scene
        draws: list[Callable[[], Any]] = [
            lambda: rng.choice([0, 1, -1, 100, 10**9, 10**12, 2**63, 10**30, 1.5, True, False, None]),
            lambda: rng.choice(["", "x", "\u0000", "{R:1}", "../..", "ins-00000000", "a" * 3000, "True", "1"]),
            lambda: scene.at(rng.choice([-(10**8), -3600, -200, -60, -1, 0, 1, 60, 3600, 10**8])),
            lambda: rng.choice([[], {}, [[]], ["ap-guangzhou-3", "S2.MEDIUM4"], ["x", "y"]]),
            lambda: rng.choice(["ScaledDown", "Reclaimed", "EarlyLoss", "InsufficientCapacity", "NotOurs"]),
            lambda: rng.choice(sorted(scene.world.cloud.simulator.world.instances)),
            lambda: rng.choice([scene.strangers["nobody"].id, scene.strangers["cluster-2"].id]),
            lambda: rng.choice([OTHER_CLUSTER, f"{scene.prefix}-zzzzzz", *scene.identities]),
        ]
        return rng.choice(draws)()


def attack(seed: int) -> Outcome:
    """Play the attack of `seed` to its end."""
    attacker = Attacker(seed)
    run_virtual(attacker.play())
    return attacker.scene.world.outcome(f"attack {seed}")
