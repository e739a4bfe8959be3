"""What an environment has is released whatever its spec says by then: a release needs the region and the key alone."""

from __future__ import annotations

from typing import Any

import pytest

from forgery.scene import VICTIM, Scene
from simulation.virtual import run_virtual

#: What a newer schema may have let in, or an older one stored.
INVALID: dict[str, dict[str, Any]] = {
    "no-placements": {"placements": []},
    "placements-of-another-kind": {"placements": {"zone": "ap-guangzhou-3"}},
    "no-types": {"instanceTypes": None},
    "a-price-in-words": {"market": {"maxPrice": "cheap"}},
    "a-template-without-image": {"template": {}},
    "a-policy-nobody-knows": {"requestPolicy": "Sometimes"},
    "replicas-in-words": {"replicas": "three"},
}


@pytest.mark.parametrize("spoiled", INVALID.values(), ids=INVALID)
def test_an_environment_is_released_although_its_spec_is_invalid(spoiled: dict[str, Any]) -> None:
    async def play() -> tuple[list[str], tuple[str, ...]]:
        scene = Scene("invalid spec")
        await scene.open()
        scene.world.api.change_spec("default", VICTIM, lambda spec: spec.update(spoiled))
        await scene.watch(10)
        reasons = [item["reason"] for item in scene.object()["status"]["conditions"]]
        assert reasons[0] == "InvalidSpec"
        assert len(scene.living()) == 3
        scene.want(VICTIM, 0)
        scene.world.api.delete("default", VICTIM)
        return reasons, await scene.close()

    _, violations = run_virtual(play())
    assert violations == ()


def test_without_a_region_it_waits_for_a_person() -> None:
    async def play() -> tuple[str, str]:
        scene = Scene("no region")
        await scene.open()
        scene.world.api.change_spec("default", VICTIM, lambda spec: spec.update(region="https://evil.example/"))
        scene.world.api.delete("default", VICTIM)
        await scene.watch(900)
        waiting = scene.object()["status"]["conditions"][0]["message"]
        scene.world.api.change_spec("default", VICTIM, lambda spec: spec.update(region="ap-guangzhou"))
        scene.want(VICTIM, 0)
        return waiting, str(await scene.close())

    waiting, violations = run_virtual(play())
    assert "spec.region" in waiting
    assert violations == "()"
