"""Two clusters, the same names, one account: neither ends, adopts or counts what is the other's.

`make prove` plays other histories of theirs.
"""

from __future__ import annotations

import asyncio

from forgery.clusters import CLUSTERS, Clusters, neighbours
from simulation.virtual import run_virtual
from simulation.world import ACCOUNT

HISTORIES = 4
ONE, OTHER = CLUSTERS


def test_neither_touches_the_others_through_scaling_deletion_orphans_and_crashes() -> None:
    assert {seed: found for seed in range(HISTORIES) if (found := neighbours(seed).violations)} == {}


def test_what_one_leaves_behind_is_ended_by_its_own_orphan_sweep_alone() -> None:
    async def play() -> tuple[set[str], set[str], tuple[str, ...]]:
        clusters = Clusters("orphans")
        for cluster in CLUSTERS:
            clusters.create(cluster, "env0", 3)
        clusters.start()
        await asyncio.sleep(120)
        kept = clusters.living(OTHER)
        assert len(clusters.living(ONE)) == len(kept) == 3
        clusters.worlds[ONE].crash(0, 120.0)
        clusters.delete(ONE, "env0", by_force=True)
        await asyncio.sleep(110)
        assert len(clusters.living(ONE)) == 3, "ended by whom?"
        await asyncio.sleep(300)
        return clusters.living(ONE), clusters.living(OTHER) ^ kept, await clusters.close()

    assert run_virtual(play()) == (set(), set(), ())


def test_a_clone_of_an_environment_in_another_cluster_touches_nothing() -> None:
    """Restored beside the original, with its annotations and status: the identity is bound to the cluster."""

    async def play() -> tuple[set[str], str, str]:
        clusters = Clusters("clone")
        clusters.create(ONE, "env0", 3)
        clusters.start()
        await asyncio.sleep(120)
        before = clusters.living(ONE)
        clusters.clone("env0", ONE, OTHER)
        await asyncio.sleep(120)
        clusters.scale(OTHER, "env0", 0)
        await asyncio.sleep(600)
        clusters.delete(OTHER, "env0")
        await asyncio.sleep(600)
        status = clusters.worlds[OTHER].api.objects.get(("default", "env0"), {"status": {"reason": "gone"}})["status"]
        return clusters.living(ONE) ^ before, status["reason"], str(clusters.cloud.violations)

    changed, reason, violations = run_virtual(play())
    assert (changed, violations) == (set(), "[]")
    assert reason in ("IdentityConflict", "gone")


def test_the_judge_sees_what_one_cluster_ends_of_the_other() -> None:
    async def play() -> tuple[str, ...]:
        clusters = Clusters("judge")
        clusters.create(ONE, "env0", 1)
        clusters.start()
        await asyncio.sleep(60)
        for caller in ("default/env0", "orphan sweep"):
            ids = {"InstanceIds": sorted(clusters.living(ONE))}
            clusters.worlds[OTHER].cloud.carry_out(ACCOUNT, "TerminateInstances", ids, caller, False)
        return tuple(clusters.cloud.violations)

    found = run_virtual(play())
    assert any("of cluster-2 ends" in violation for violation in found)


def test_an_environment_moves_to_the_other_cluster_and_nothing_is_ended_or_bought() -> None:
    async def play() -> None:
        clusters = Clusters("moves", {"list-lag": "60"})
        one, other = (clusters.worlds[cluster] for cluster in CLUSTERS)
        clusters.create(ONE, "env0", 4, deletionPolicy="Retain")
        clusters.start()
        await asyncio.sleep(300)
        before = clusters.living(ONE)
        assert len(before) == 4
        clusters.delete(ONE, "env0")
        await asyncio.sleep(60)
        assert ("default", "env0") not in one.api.objects
        clusters.create(OTHER, "env0", 4, adopt={"tag": {"key": "spotcompute-retained", "value": "default@env0"}})
        await asyncio.sleep(3600)  # with more than a hundred orphan sweeps in each cluster
        clusters.cloud.advance()
        status = other.api.objects["default", "env0"]["status"]
        assert {row["id"] for row in status["instances"]} == before == clusters.living(ONE)
        assert status["phase"] == "Ready"
        assert clusters.living(OTHER) == set()
        actions = [request.action for request in clusters.cloud.simulator.ledger.requests()]
        assert actions.count("TerminateInstances") == 0
        assert actions.count("RunInstances") == 1
        assert clusters.cloud.violations == []

    run_virtual(play())
