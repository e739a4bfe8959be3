"""Every forgery of the table: what it may cost, what is said of it, and that everything is as wanted afterwards."""

from __future__ import annotations

import pytest

from forgery.forgeries import FORGERIES, Forgery
from forgery.scene import NEIGHBOUR, REPLICAS, VICTIM, Scene
from simulation.virtual import run_virtual

#: Long enough for the next look at an environment that has no news, and for whatever it decides then.
PATIENCE_SECONDS = 420.0


async def played(row: Forgery) -> tuple[Scene, tuple[str, ...]]:
    scene = Scene(row.name)
    await scene.open()
    row.forge(scene)
    await scene.watch(PATIENCE_SECONDS)
    return scene, await scene.close()


@pytest.mark.parametrize("row", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery(row: Forgery) -> None:
    scene, violations = run_virtual(played(row))
    assert violations == ()
    assert scene.ever_bought - scene.bought == row.bought
    kept = {one.id for one in scene.living()} & scene.before[VICTIM]
    assert len(kept) == REPLICAS[VICTIM] - row.replaced
    assert {one.id for one in scene.living(NEIGHBOUR)} == scene.before[NEIGHBOUR]
    assert any(row.says in said for said in scene.said) or not row.says, sorted(scene.said)


@pytest.mark.parametrize("row", [row for row in FORGERIES.values() if "Refused" in row.says], ids=lambda row: row.name)
def test_what_was_refused_is_told_for_a_while_and_then_no_more(row: Forgery) -> None:
    async def play() -> list[str]:
        scene, _ = await played(row)
        await scene.watch(1200)
        return [item["type"] for item in scene.object()["status"]["conditions"]]

    assert run_virtual(play()) == ["Ready", "Reconciling", "Stalled"]
