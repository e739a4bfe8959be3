"""Forged status and annotations on the real API server: a condition says what was refused, and nothing else happens.

The whole table is played in virtual time (`tests/forgery`); here is what only an API server can show: that such words
are stored at all, that the condition is accepted and seen by clients, and that all of it takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.running import Operator
from e2e.simulator import Simulator
from e2e.stage import Object, Stage, condition, environment_id
from forgery.unfold import members_of
from localcluster.cluster import Cluster
from waiting import eventually, throughout

pytestmark = pytest.mark.e2e

Start = Callable[..., Operator]
ANNOTATION = "spotcompute.dev/environment-id"

#: So that forged words are looked at, and waiting that follows from them is over, within seconds.
AT_ONCE = {"RESYNC_SECONDS": "1", "SIGNATURE_SECONDS": "2"}


def of_a_neighbour(obj: Object, neighbour: Object) -> Object:
    return {"members": members_of(neighbour["status"]["ledger"])}


def all_lost(obj: Object, _: Object) -> Object:
    return {"lots": None, "members": [{**one, "lost": "Reclaimed"} for one in members_of(obj["status"]["ledger"])]}


def launch(**fields: object) -> Callable[[Object, Object], Object]:
    """An open launch that nobody made."""

    def forged(obj: Object, _: Object) -> Object:
        ledger = obj["status"]["ledger"]
        nonce = ledger["environmentId"].rpartition("-")[2]
        made = {
            "sequence": ledger["sequence"],
            "token": "0" * 40,
            "name": f"x-{nonce}-{ledger['sequence']}",
            "pool": members_of(ledger)[0]["pool"],
            "count": 1,
            "digest": "0" * 12,
            "templateDigest": "0" * 12,
            "createdAt": "2026-01-01T00:00:00Z",
        }
        return {"intents": [made | fields]}

    return forged


def another_identity(obj: Object, _: Object) -> Object:
    return {"environmentId": environment_id(obj).rpartition("-")[0] + "-zzzzzz"}


def fixed(**ledger: object) -> Callable[[Object, Object], Object]:
    return lambda obj, neighbour: ledger


#: Name of an environment: what is forged in its ledger, and the reason that must be given.
OF_STATUS: dict[str, tuple[Callable[[Object, Object], Object], str]] = {
    "neighbours-members": (of_a_neighbour, "NotOurs"),
    "all-lost": (all_lost, "EndNotConfirmed"),
    "token": (launch(), "LedgerRefused"),
    "count": (launch(count=10**12), "LedgerRefused"),
    "launch-name": (launch(name="*"), "LedgerRefused"),
    "identity": (another_identity, "IdentityRefused"),
    "sequence": (fixed(sequence=-1), "LedgerRefused"),
    "shape": (fixed(members="none"), "LedgerRefused"),
    "id": (
        fixed(members=[{"id": "ins-\0", "pool": ["a", "b"], "launchedAt": "2026-01-01T00:00:00Z"}]),
        "LedgerRefused",
    ),
    "end-of-time": (fixed(quarantineUntil="9999-12-31T23:59:59Z"), "LedgerRefused"),
}
OF_ANNOTATIONS = ("annotation-of-neighbour", "annotation-of-garbage")


def test_what_was_forged_is_refused_by_name_and_changes_nothing(stage: Stage, own_operator: Start) -> None:
    own_operator(**AT_ONCE)
    names = [*OF_STATUS, *OF_ANNOTATIONS]
    for name in ["neighbour", *names]:
        stage.apply(name, replicas=1)
    found = {name: stage.until_ready(1, name) for name in ["neighbour", *names]}
    throughout(lambda: len(stage.cloud.running(stage.account)) == len(names) + 1, "old enough to have tags", 4)
    before = {row["id"] for row in stage.cloud.instances(stage.account)}
    asked = len(stage.cloud.requests(stage.account, "RunInstances", "TerminateInstances"))
    for name, (forge, _) in OF_STATUS.items():
        patch = {"status": {"ledger": forge(found[name], found["neighbour"])}}
        stage.kubectl.run("patch", "sce", name, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    for name, identity in zip(OF_ANNOTATIONS, (environment_id(found["neighbour"]), "../../{}"), strict=True):
        stage.kubectl.run("annotate", "sce", name, "--overwrite", f"{ANNOTATION}={identity}")
    for name in names:
        reason = OF_STATUS[name][1] if name in OF_STATUS else "IdentityRefused"
        stage.until(lambda obj, reason=reason: _refuses(obj, reason), f"{name} says {reason}", name)
    for name in names:
        kept = stage.until(lambda obj: condition(obj, "Ready").get("status") == "True", f"{name} is ready", name)
        assert environment_id(kept) == environment_id(found[name])
        assert kept["metadata"]["annotations"][ANNOTATION] == environment_id(found[name])
    assert {row["id"] for row in stage.cloud.instances(stage.account)} == before
    assert len(stage.cloud.requests(stage.account, "RunInstances", "TerminateInstances")) == asked
    eventually(lambda: "LedgerRefused" in {event["reason"] for event in stage.events("sequence")}, "an Event tells it")


def _refuses(obj: Object, reason: str) -> bool:
    said = condition(obj, "StateRefused")
    return said.get("status") == "True" and said["reason"] == reason and bool(said["message"])


@pytest.fixture
def other_stage(cluster: Cluster, cloud: Simulator, stage: Stage, tmp_path: Path) -> Iterator[Stage]:
    """A second namespace with the key of the same account."""
    directory = tmp_path / "other"
    directory.mkdir()
    other = Stage(cluster, cloud, f"{stage.namespace}-other", directory)
    other.account = stage.account
    other.write_secret(secretId=stage.account.secret_id, secretKey=stage.account.secret_key)
    yield other
    other.judge()
    other.close()


def test_two_cluster_ids_in_one_account_leave_each_other_alone(
    stage: Stage, other_stage: Stage, own_operator: Start
) -> None:
    """Two operators, each for one namespace, under the same names: one scales, loses its object by force, and ends."""
    own_operator(CLUSTER_ID="one", **AT_ONCE)
    own_operator(everywhere=True, NAMESPACE=other_stage.namespace, CLUSTER_ID="other", **AT_ONCE)
    for each, replicas in ((stage, 2), (other_stage, 3)):
        each.apply(replicas=replicas)
    one, other = stage.until_ready(2), other_stage.until_ready(3)
    mine, theirs = _machines(stage, one), _machines(other_stage, other)
    assert len(mine) == 2
    assert len(theirs) == 3
    other_stage.scale(1)
    other_stage.until_ready(1)
    assert _machines(stage, one) == mine
    left = _machines(other_stage, other)
    assert len(left & theirs) == 1
    stage.kubectl.run("patch", "sce", "web", "--type=merge", "-p", '{"metadata":{"finalizers":[]}}')
    stage.delete()
    stage.until_gone()
    throughout(lambda: _machines(other_stage, other) == left, "the other's machine stays", 5)
    other_stage.delete()
    other_stage.until_gone()


def _machines(stage: Stage, obj: Object) -> set[str]:
    """Ids of the running machines that were born for this object."""
    rows: list[dict[str, Any]] = stage.cloud.running(stage.account)
    return {row["id"] for row in rows if environment_id(obj) in row["originalTags"].values()}
