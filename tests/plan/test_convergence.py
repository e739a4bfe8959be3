"""If the spec stays still and the cloud stays honest, the environment becomes what the spec says, and then nothing
more happens: in many small worlds that were anything but honest before.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from plan.given import desired_of
from plan.tiny import SHORT, Cloud, Loop, change
from plan.worlds import POOLS, Dice

WORLDS, BATCHES = 20, 8

#: By then every doubt is over (the horizon), every wait too (the longest rest), and what is gone is proven gone.
CALM_SECONDS = 2 * int(SHORT.launch_uncertain_for.total_seconds()) + 60


def troubled(seed: int) -> Loop:
    """A world after a hard time."""
    dice = Dice(seed)
    cloud = Cloud(dice, stock={pool: dice.choice([0, 1, 3, 99]) for pool in POOLS})
    loop = Loop(cloud, desired_of(dice.randint(1, 5)))
    for _ in range(25):
        if dice.chance(12):
            loop.desired = change(dice, loop.desired)
        if dice.chance(50):
            loop.lose_status()
        loop.most_wanted = max(loop.most_wanted, loop.desired.replicas)
        loop.run()
        cloud.advance(dice.choice([0.5, 1, 2, 5, 10]))
        assert cloud.live() <= loop.most_wanted, "a launch that came late made one too many"
    return loop


def calm(loop: Loop) -> int:
    """Let it settle; the number of quiet runs at the end."""
    loop.cloud.calm, loop.cloud.stock, quiet = True, {}, 0
    for _ in range(CALM_SECONDS // 4):
        quiet = quiet + 1 if loop.run() else 0
        loop.cloud.advance(4)
        assert loop.cloud.live() <= loop.most_wanted
    return quiet


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_world_becomes_what_the_spec_says_and_then_nothing_more_happens(batch: int) -> None:
    for seed in range(batch * WORLDS, (batch + 1) * WORLDS):
        loop = troubled(seed)
        loop.desired = replace(loop.desired, paused=False)
        quiet = calm(loop)
        assert loop.cloud.live() == loop.desired.replicas, f"seed {seed}"
        assert quiet >= 5, f"seed {seed}: still busy"
        assert loop.ledger.intents == (), f"seed {seed}"
        assert set(loop.ledger.members) == set(loop.cloud.machines), f"seed {seed}"


@pytest.mark.parametrize("batch", range(BATCHES // 2))
def test_deleting_leaves_nothing_behind(batch: int) -> None:
    """The finalizer goes when ledger and intents are empty; at that moment nothing may live, nor ever come to life."""
    for seed in range(batch * WORLDS, (batch + 1) * WORLDS):
        loop = troubled(seed)
        loop.desired = desired_of(0, deleting=True, generation=99)
        for _ in range(CALM_SECONDS // 2):
            loop.run()
            if loop.ledger.is_empty:
                break
            loop.cloud.advance(4)
            loop.cloud.calm = loop.cloud.calm or loop.cloud.dice.chance(6)
        assert loop.ledger.is_empty, f"seed {seed}: never done"
        assert (loop.cloud.live(), loop.cloud.late) == (0, []), f"seed {seed}: left behind"
