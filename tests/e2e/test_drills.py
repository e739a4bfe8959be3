"""Drills that take their time: frozen replicas, an API server that restarts or goes back in time, races by the hundred.

Apart from `test_crashes`, because each of these comes in two lengths: short here, and as long as it was promised with
`DRILLS=all`.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from threading import Thread

import pytest

from e2e.running import Operator
from e2e.stage import Stage, manifest
from e2e.test_crashes import add_fault, await_attempt
from localcluster.controlplane import ControlPlane
from waiting import PATIENCE_SECONDS, allowed, eventually, throughout

pytestmark = pytest.mark.e2e

Start = Callable[..., Operator]

IS_LONG = os.environ.get("DRILLS") == "all"
FREEZE_SECONDS = 60.0 if IS_LONG else 6.0
RACES = 1000 if IS_LONG else 50
RESTARTS = 20 if IS_LONG else 5
AUDIT_SECONDS = 45 if IS_LONG else 1
VERSIONS_LOST = 200 if IS_LONG else 0
AT_ONCE = 50


@pytest.mark.parametrize("kind", [pytest.param("hang", marks=pytest.mark.rare), "hang_after_commit"])
def test_a_replica_frozen_in_mid_create_does_no_harm_when_it_thaws(
    stage: Stage, own_operator: Start, kind: str
) -> None:
    """It comes back with an old view, an open request, and others that have gone on without it."""
    fault = add_fault(stage, kind)
    frozen = own_operator()
    stage.apply(replicas=4)
    await_attempt(stage, fault, 1)
    frozen.freeze()
    began = time.monotonic()
    own_operator()
    stage.until_ready(4)
    stage.scale(2)
    stage.until_ready(2)
    time.sleep(max(0.0, FREEZE_SECONDS - (time.monotonic() - began)))
    frozen.thaw()
    throughout(lambda: len(stage.cloud.instances(stage.account, gone=True)) == 4, "nothing is bought twice", 5)
    stage.until_ready(2)
    stage.scale(3)
    stage.until_ready(3)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 5


@pytest.mark.rare
def test_killed_again_and_again_in_mid_create_it_ends_with_the_number_wanted(stage: Stage, own_operator: Start) -> None:
    """The first attempt was carried out, but no answer ever comes, and lists lag: only the token can settle it."""
    stage.cloud.post("switches", **{"list-lag": "3600"})
    fault = add_fault(stage, "hang_after_commit", times=0)
    operator = own_operator()
    stage.apply(replicas=4)
    for restart in range(RESTARTS):
        await_attempt(stage, fault, restart + 1)
        operator.kill9()
        operator.start()
    stage.cloud.clear_faults()
    stage.cloud.post("switches", **{"list-lag": "0"})
    stage.until_ready(4)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 4
    assert len({row["token"] for row in stage.cloud.launches(stage.account)}) == 1, "settled under another token"


def test_an_api_server_that_restarts_in_mid_create_costs_nothing(
    stage: Stage, own_operator: Start, control_plane: ControlPlane
) -> None:
    fault = add_fault(stage, "hang_after_commit")
    operator = own_operator()
    operator.may_be_refused = True  # an API server that has just started does not know any role yet
    stage.apply(replicas=4)
    await_attempt(stage, fault, 1)
    control_plane.restart_apiserver()
    stage.watch()
    eventually(lambda: stage.get() is not None, "it is seen again")
    stage.until_ready(4)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 4
    assert operator.is_running


def test_etcd_that_is_restored_under_the_operator_ends_nothing_that_is_wanted_and_leaks_nothing(
    stage: Stage, own_operator: Start, control_plane: ControlPlane
) -> None:
    """Objects go back to what they were, the newest is forgotten, and versions count from before.

    The watch is blind then, until versions have counted up again: the audit is what sees, and comes more often.
    """
    stage.apply("old", replicas=2)
    operator = own_operator(AUDIT_SECONDS=str(AUDIT_SECONDS))
    operator.may_be_refused = True
    stage.until_ready(2, "old")
    backup = control_plane.snapshot()
    stage.watch()
    eventually(lambda: stage.get("old") is not None, "it is seen again")
    stage.scale(5, "old")
    stage.until_ready(5, "old")
    stage.apply("new", replicas=2)
    stage.until_ready(2, "new")
    first = {row["id"] for row in stage.cloud.instances(stage.account) if f"{stage.namespace}@old" in _tags(row)}
    for number in range(VERSIONS_LOST):
        stage.kubectl.run("label", "namespace", stage.namespace, "--overwrite", f"drill={number}")
    control_plane.restore(backup)
    patience = max(PATIENCE_SECONDS, 2 * AUDIT_SECONDS)  # the first audit may meet an API server that is still away
    eventually(lambda: len(stage.cloud.running(stage.account)) == 2, "what nobody wants any more is ended", patience)
    throughout(lambda: len(stage.cloud.instances(stage.account, gone=True)) == 7, "and nothing is bought again", 5)
    assert {row["id"] for row in stage.cloud.running(stage.account)} <= first
    stage.scale(1, "old")
    eventually(lambda: len(stage.cloud.running(stage.account)) == 1, "what is asked for next is done soon", allowed(20))
    assert operator.is_running
    # Minutes pass until such an object can be let go: its ledger may lack launches. Nobody waits for that here.
    operator.kill9()
    stage.kubectl.run("delete", "sce", "old", "--wait=false")
    stage.kubectl.run("patch", "sce", "old", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    stage.cloud.post("terminate", account=stage.account.uin, count=1)


def _tags(row: dict[str, dict[str, str]]) -> list[str]:
    return list(row["originalTags"].values())


def test_deletion_races_the_finalizer_and_nothing_is_left(stage: Stage, own_operator: Start) -> None:
    """Objects are deleted while they are claimed, committed and filled, each at another moment."""
    operator = own_operator()
    rng = random.Random(1)
    for batch in range(RACES // AT_ONCE):
        names = [f"race-{batch}-{number}" for number in range(AT_ONCE)]
        items = [manifest(name, stage.account.zones[0], replicas=1) for name in names]
        delay = rng.uniform(0.1, 1.5)
        deleting = Thread(target=_delete, args=(stage, rng.sample(names, len(names)), delay))
        deleting.start()
        stage.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        deleting.join()
        stage.kubectl.run("delete", "sce", "--all", f"--timeout={PATIENCE_SECONDS:g}s")
        left = [row["id"] for row in stage.cloud.instances(stage.account) if row["live"]]
        assert not left, f"gone, but {left} live"
    assert operator.is_running


def _delete(stage: Stage, names: list[str], delay: float) -> None:
    time.sleep(delay)
    stage.kubectl.run("delete", "sce", *names, "--wait=false", "--ignore-not-found")
