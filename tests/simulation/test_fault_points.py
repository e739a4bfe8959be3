"""The operator in virtual time: every kind of request of every scenario, failing in every way it can.

`make prove` plays single requests and pairs of them, of every scenario, as many as its time allows.
"""

from __future__ import annotations

import asyncio
import random
from itertools import islice

import pytest

from often import first
from simulation.faultpoint import COMMON, Kind, Phase
from simulation.scenarios import (
    ABROAD,
    NAME,
    SCENARIOS,
    SMALLEST,
    Stage,
    coverage,
    one_of_each,
    pairs,
    play,
    reference,
    single_points,
)
from simulation.virtual import run_virtual
from simulation.world import AUDIT_SECONDS

#: Every request the operator ever makes.
REQUESTS = {
    *("kube " + what for what in ("cluster_id", "get", "list", "claim", "status", "release", "secret", "config map")),
    *("kube " + what for what in ("protect", "unprotect", "notes", "note", "forget", "version")),
    *("cloud " + action for action in ("DescribeInstances", "DescribeZoneInstanceConfigInfos")),
    *("cloud " + action for action in ("RunInstances", "TerminateInstances", "InquiryPriceRunInstances")),
    "cloud GetCallerIdentity",
    "cloud ModifyResourceTags",
    *("cloud " + what + "InstancesActionTimer" for what in ("Describe", "Delete", "Import")),
}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_one_fault_of_each_kind_in(name: str) -> None:
    failures = []
    for cells in one_of_each(name):
        outcome, _ = play(name, cells)
        assert outcome.faults_struck == 1
        if outcome.violations:
            failures.append(f"{outcome.name}: {outcome.violations[0]}")
    assert not failures, "\n".join(failures)


def test_every_request_fails_in_every_way_somewhere() -> None:
    points = coverage()
    assert {request for request, _ in points} == REQUESTS
    played = {
        (reference(name)[1][at], cell)
        for name in SCENARIOS
        for cells in one_of_each(name)
        for at, cell in cells.items()
    }
    assert played == points.keys(), "a way to fail is played in no scenario"
    assert all(points[request, cell] for request in REQUESTS for cell in COMMON)
    assert sum(points.values()) >= 5000


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_international_site_comes_to_the_same_end_in(name: str) -> None:
    """There every request states a price, and what is ended is first in the recycle bin."""
    outcome, requests = reference(name + ABROAD)
    assert outcome.violations == ()
    assert outcome.launched == reference(name)[0].launched
    assert requests


@pytest.mark.parametrize("name", first(1, ["create-1", "scale-down", "one-time"]))
def test_thirty_faults_on_the_international_site_in(name: str) -> None:
    points = [*single_points(name + ABROAD)]
    outcomes = [play(name + ABROAD, cells)[0] for cells in points[:: max(1, len(points) // 30)]]
    assert {outcome.name: outcome.violations for outcome in outcomes if outcome.violations} == {}
    assert len(outcomes) >= 20


@pytest.mark.parametrize("name", SMALLEST)
def test_pairs_of_faults_in(name: str) -> None:
    for cells in islice(pairs(name, random.Random(name)), 20):
        outcome, _ = play(name, cells)
        assert not outcome.violations, outcome.name


def test_a_second_fault_strikes_too() -> None:
    drawn = islice(pairs("scale-down", random.Random(1)), 20)
    struck = [play("scale-down", cells)[0].faults_struck for cells in drawn]
    assert struck.count(2) >= 15


@pytest.mark.parametrize("after_commit", [True, False])
def test_killed_at_the_same_point_twenty_times_it_buys_no_more(after_commit: bool) -> None:
    """A crash loop right at RunInstances: every new process meets the same fate."""

    async def loop() -> tuple[int, int, tuple[str, ...]]:
        stage = Stage("crash-loop", {}, (NAME,), {})
        phase = Phase.NO_REPLY if after_commit else Phase.NOT_COMMITTED
        stage.world.fault.loops, stage.world.fault.loops_left = {"cloud RunInstances": (phase, Kind.CRASH)}, 20
        stage.create(3)
        stage.start()
        await asyncio.sleep(15_000)
        kills = 20 - stage.world.fault.loops_left
        stage.world.heal()
        await stage.world.converge()
        outcome = stage.world.outcome("crash loop")
        return kills, outcome.launched, outcome.violations

    kills, launched, violations = run_virtual(loop())
    assert violations == ()
    assert launched == 3
    assert kills >= (1 if after_commit else 2)  # what was carried out is found again, and not asked for anew


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("create-5", 5),
        ("delete", 2),
        ("adopt", 4),
        ("restored-from-git", 2),
        ("restored-with-its-identity", 3),
        ("etcd-restored", 3),
        ("forgotten-and-deleted", 3),
        ("replace-reclaimed", 5),
    ],
)
def test_a_reference_run_launches_what_its_scenario_wants(name: str, count: int) -> None:
    assert reference(name)[0].launched == count


def test_who_was_restored_waits_until_lists_would_show_what_it_forgot() -> None:
    """The object comes back without its status while the list does not show its two latest launches yet."""

    async def restore_within_the_lag() -> tuple[int, tuple[str, ...]]:
        stage = Stage("restored-within-the-lag", {}, (NAME,), {"list-lag": "60"})
        stage.create(2)
        stage.start()
        await stage.ready()
        stage.scale(4)
        await asyncio.sleep(10)
        stage.restore(keep_annotations=True)
        await asyncio.sleep(600)
        outcome = stage.world.outcome("restored within the lag")
        return outcome.launched, outcome.violations

    assert run_virtual(restore_within_the_lag()) == (4, ())


async def seconds_to_release(stage: Stage, replicas: int) -> float:
    """Scale down, and wait until the cloud has no more than that."""
    stage.scale(replicas)
    asked_at = asyncio.get_running_loop().time()
    await stage.until(lambda: len(stage.living()) == replicas)
    return asyncio.get_running_loop().time() - asked_at


def test_after_a_restore_what_is_asked_for_is_done_soon() -> None:
    """The watch shows nothing until versions have passed where it was; who found that out looks every ten seconds."""

    async def scale_after_the_restore() -> list[float]:
        stage = Stage("scaled-after-the-restore", {}, (NAME,), {})
        stage.create(3)
        stage.start()
        await stage.ready()
        backup = stage.world.api.snapshot()
        for replicas in (4, 5) * 30:
            stage.scale(replicas)
            await asyncio.sleep(2)
        await stage.ready()
        stage.world.api.restore(backup)
        waits = []
        for replicas in (2, 1, 0):
            waits.append(await seconds_to_release(stage, replicas))
            await asyncio.sleep(100)
        return waits

    first, *others = run_virtual(scale_after_the_restore())
    assert first <= AUDIT_SECONDS + 10
    assert max(others) <= 20


@pytest.mark.parametrize("safeguard", ["kube claim", "kube protect", "kube note", "kube status"])
def test_what_makes_a_launch_safe_is_written_before_it(safeguard: str) -> None:
    requests = reference("create-1")[1]
    assert requests.index(safeguard) < requests.index("cloud RunInstances")


def test_who_never_owned_anything_is_let_go_without_asking_the_cloud() -> None:
    async def delete_with_a_bad_key() -> tuple[str, ...]:
        stage = Stage("bad-key", {}, (NAME,), {})
        stage.create(0)
        stage.start()
        await stage.ready()
        stage.world.cloud_trouble.revoked = True
        await asyncio.sleep(120)
        stage.delete()
        assert stage.world.api.objects
        await asyncio.sleep(70)
        return tuple(name for _, name in stage.world.api.objects)

    assert run_virtual(delete_with_a_bad_key()) == ()
