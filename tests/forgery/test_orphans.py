"""A forged identity makes no orphans: while the object is there and may be put right, its machines are left alone."""

from __future__ import annotations

from forgery.scene import NEIGHBOUR, VICTIM, Scene
from simulation.virtual import run_virtual


def test_machines_of_an_object_with_a_forged_identity_are_no_orphans() -> None:
    """Its own operator cannot put it right here, since the spec is invalid at the same time."""

    async def play() -> tuple[int, str, tuple[str, ...]]:
        scene = Scene("forged orphans")
        await scene.open()
        scene.world.api.change_spec("default", VICTIM, lambda spec: spec.update(placements=[]))
        scene.status(lambda status: status.pop("ledger"))
        scene.annotate(scene.identity(NEIGHBOUR))
        await scene.watch(600)
        alive, reason = len(scene.living()), scene.object()["status"]["reason"]
        whole = [{"zone": "ap-guangzhou-3"}]
        scene.world.api.change_spec("default", VICTIM, lambda spec: spec.update(placements=whole))
        return alive, reason, await scene.close()

    assert run_virtual(play()) == (3, "InvalidSpec", ())
