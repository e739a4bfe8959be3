"""A share of the hostile manifests, on a real API server: `make hostile` plays fifty times as many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostile.judge import api_server, dry_run
from hostile.live import Theatre
from hostile.manifests import Forge, bases
from localcluster.controlplane import ControlPlane

ROOT = Path(__file__).resolve().parents[2]
BASES = bases(("ap-guangzhou-3", "ap-guangzhou-4"), "img-pmqg1cw7", "tencent")
SEED, COUNT = 1, 400


def test_the_same_seed_makes_the_same_manifests() -> None:
    one, other = (list(Forge(SEED, BASES).manifests(50)) for _ in range(2))
    assert one == other
    assert list(Forge(SEED, BASES).manifests(10, first=40)) == one[40:]
    assert list(Forge(SEED + 1, BASES).manifests(50)) != one


def test_most_are_manifests_still_and_every_field_is_spoilt() -> None:
    manifests = list(Forge(SEED, BASES).manifests(3_000))
    parsed = 0
    for manifest in manifests:
        try:
            json.loads(manifest.body.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            continue
        parsed += 1
    assert parsed > 2_700
    fields = {place.split()[0] for manifest in manifests for place in manifest.label.partition(": ")[2].split("; ")}
    assert {"spec.replicas", "spec.market.maxPrice", "spec.template.userData", "spec.template.tags.team"} <= fields
    assert len({field for field in fields if field.startswith("spec.")}) > 100


@pytest.mark.e2e
async def test_each_is_refused_with_a_sentence_or_understood(control_plane: ControlPlane) -> None:
    async with api_server(control_plane.kubeconfig, "default") as server:
        tally = await dry_run(server, Forge(SEED, BASES).manifests(COUNT))
    assert not tally.failures, "\n".join(tally.failures[:10])
    assert tally.answers[201] > COUNT / 10, "nearly all are refused: the forge is too coarse to show anything"
    assert tally.answers[422] > COUNT / 10


@pytest.mark.e2e
async def test_what_is_right_is_accepted(control_plane: ControlPlane) -> None:
    async with api_server(control_plane.kubeconfig, "default") as server:
        for name, spec in BASES.items():
            obj = {
                "apiVersion": "spotcompute.dev/v1alpha1",
                "kind": "SpotComputeEnvironment",
                "metadata": {"name": name},
                "spec": spec,
            }
            body = json.dumps(obj).encode()
            status, answer = await server.create(body, dryRun="All", fieldValidation="Strict")
            assert status == 201, answer


@pytest.mark.e2e
def test_the_operator_refuses_them_or_says_what_they_are_or_fulfils_them(swept: ControlPlane, tmp_path: Path) -> None:
    theatre = Theatre(swept, tmp_path, SEED)
    try:
        live = theatre.play(accepted=40, batch=40, is_quick=True)
    finally:
        theatre.close()
    assert not live.failures, "\n".join(live.failures[:10])
    assert live.became["AllReplicasReady"] >= 10
    # Others are still being filled when all have said what they are: how many, the machine decides.
    kinds = {"AllReplicasReady", "IdentityConflict"}
    assert kinds <= live.became.keys(), "nearly all came to the same: the forge is too coarse to show anything"
