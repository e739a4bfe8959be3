"""Git and an autoscaler on one object: no fight, nothing lost, and the operator's own marks are no drift.

The autoscaler is Kubernetes' own HorizontalPodAutoscaler; Git is what Argo CD and Flux do, by kubectl. Limits move it,
since there are no metrics here: what is below `minReplicas` it raises, what is above `maxReplicas` it lowers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from e2e.stage import Object, Stage, manifest
from localcluster.kubectl import KubectlError
from waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("shared_operator")]

ARGOCD = ("--server-side", "--field-manager=argocd")
AUTOSCALER = ("--server-side", "--field-manager=autoscaler")
WAYS = [
    pytest.param(ARGOCD, id="server-side"),
    pytest.param((), id="client-side"),  # what Argo CD does unless it is told otherwise
]


def in_git(stage: Stage, **spec: Any) -> str:
    """The manifest of a repository that leaves the number to somebody else, unless `replicas` is given."""
    return json.dumps(manifest("web", stage.account.zones[0], **{"replicas": None} | spec))


def number(replicas: int) -> str:
    """The one field that an autoscaler writes."""
    head = {"apiVersion": "spotcompute.dev/v1alpha1", "kind": "SpotComputeEnvironment", "metadata": {"name": "web"}}
    return json.dumps(head | {"spec": {"replicas": replicas}})


def autoscale(stage: Stage, least: int, most: int) -> None:
    """A HorizontalPodAutoscaler with these limits, and a metric that does not exist."""
    target = {"apiVersion": "spotcompute.dev/v1alpha1", "kind": "SpotComputeEnvironment", "name": "web"}
    metric = {"external": {"metric": {"name": "none"}, "target": {"type": "AverageValue", "averageValue": "1"}}}
    spec = {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most}
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    stage.kubectl.apply(json.dumps(hpa | {"spec": spec | {"metrics": [metric | {"type": "External"}]}}))


def live(stage: Stage) -> Object:
    return stage.kubectl.json("get", "sce", "web", "--show-managed-fields")


def owners(obj: Object, *path: str) -> set[str]:
    """Who owns a field, as server-side apply reckons."""
    found = set()
    for entry in obj["metadata"]["managedFields"]:
        place: Any = entry["fieldsV1"]
        for step in path:
            place = place.get(f"f:{step}", {}) if isinstance(place, dict) and f"f:{step}" in place else None
            if place is None:
                break
        else:
            found.add(entry["manager"])
    return found


def by_apply(stage: Stage) -> None:
    stage.kubectl.apply(number(2), *AUTOSCALER)


def by_scale(stage: Stage) -> None:
    stage.scale(2)


@pytest.mark.parametrize(
    ("way", "scale"),
    [
        pytest.param(ARGOCD, by_apply, id="both-server-side"),
        pytest.param(ARGOCD, by_scale, id="server-side-and-scale"),
        pytest.param((), by_scale, id="client-side-and-scale"),
    ],
)
def test_applied_again_and_again_by_both_nothing_moves(
    stage: Stage, way: tuple[str, ...], scale: Callable[[Stage], None]
) -> None:
    git = in_git(stage)
    stage.kubectl.apply(git, *way)
    scale(stage)
    stage.until_ready(2)
    before = live(stage)
    for _ in range(3):
        stage.kubectl.apply(git, *way)
        scale(stage)
    after = live(stage)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 2
    assert owners(after, "spec", "replicas") <= {"autoscaler", "kubectl"}
    assert not stage.differs(git, *way)
    assert len(stage.cloud.instances(stage.account, gone=True)) == 2, "something was launched anew"


@pytest.mark.parametrize("way", WAYS)
def test_what_the_operator_writes_is_no_drift(stage: Stage, way: tuple[str, ...]) -> None:
    git = in_git(stage, replicas=1)
    stage.kubectl.apply(git, *way)
    claimed = stage.until_ready(1)
    assert claimed["metadata"]["finalizers"]
    assert "spotcompute.dev/environment-id" in claimed["metadata"]["annotations"]
    assert not stage.differs(git, *way)
    obj = live(stage)
    for path in (
        ("metadata", "finalizers"),
        ("metadata", "annotations", "spotcompute.dev/environment-id"),
        ("status",),
    ):
        assert owners(obj, *path) == {"spotcompute-operator"}
    ours = [entry for entry in obj["metadata"]["managedFields"] if entry["manager"] == "spotcompute-operator"]
    assert not any("f:spec" in entry["fieldsV1"] for entry in ours), "the operator owns a part of the spec"


def test_the_autoscaler_of_kubernetes_moves_the_number_and_git_never_moves_it_back(stage: Stage) -> None:
    git = in_git(stage)
    stage.kubectl.apply(git, *ARGOCD)
    stage.until_ready(0)
    autoscale(stage, 2, 4)
    eventually(lambda: scaling(stage) == ("True", "ScalingDisabled"), "it finds the number, and leaves 0 alone")
    stage.kubectl.apply(number(1), *AUTOSCALER)
    for least, most in ((2, 4), (3, 4), (1, 1)):
        autoscale(stage, least, most)
        stage.until_ready(min(max(least, wanted(stage)), most))
        stage.kubectl.apply(git, *ARGOCD)
        assert not stage.differs(git, *ARGOCD)
    numbers = [event["object"]["spec"]["replicas"] for event in stage.history()]
    told = [one for index, one in enumerate(numbers) if index == 0 or numbers[index - 1] != one]
    assert told == [0, 1, 2, 3, 1], "somebody else has moved it"
    assert owners(live(stage), "spec", "replicas") == {"kube-controller-manager"}


def wanted(stage: Stage) -> int:
    return int(live(stage)["spec"]["replicas"])


def scaling(stage: Stage) -> tuple[str, str]:
    """Whether the HorizontalPodAutoscaler can read and write the number, and why it does not move it."""
    found = {
        one["type"]: one for one in stage.kubectl.json("get", "hpa", "web").get("status", {}).get("conditions", [])
    }
    return found.get("AbleToScale", {}).get("status", ""), found.get("ScalingActive", {}).get("reason", "")


def test_a_number_in_git_is_refused_with_the_name_of_its_owner(stage: Stage) -> None:
    stage.kubectl.apply(in_git(stage), *ARGOCD)
    stage.kubectl.apply(number(1), *AUTOSCALER)
    stage.until_ready(1)
    with pytest.raises(KubectlError, match=r'conflict with "autoscaler": \.spec\.replicas'):
        stage.kubectl.apply(in_git(stage, replicas=5), *ARGOCD)
    stage.kubectl.run("scale", "sce", "web", "--replicas=2")
    with pytest.raises(
        KubectlError, match=r'conflict with "kubectl" with subresource "scale" using .*\.spec\.replicas'
    ):
        stage.kubectl.apply(in_git(stage, replicas=5), *ARGOCD)
    stage.until_ready(2)


@pytest.mark.parametrize("way", WAYS)
def test_a_number_that_was_in_git_is_handed_over_without_a_fall_to_nothing(stage: Stage, way: tuple[str, ...]) -> None:
    """docs/tasks.md tells how."""
    stage.kubectl.apply(in_git(stage, replicas=2), *way)
    stage.until_ready(2)
    alone = json.loads(stage.kubectl.apply(in_git(stage), *way, "--dry-run=server", "-o", "json"))
    assert alone["spec"]["replicas"] == 0, "removed by its only owner, it falls back to the default"
    if way:
        stage.kubectl.apply(number(2), *AUTOSCALER)
    else:
        stage.kubectl.run("apply", "set-last-applied", "-f", "-", stdin=in_git(stage))
    stage.kubectl.apply(in_git(stage), *way)
    stage.scale(3)
    stage.until_ready(3)
    assert min(event["object"]["spec"]["replicas"] for event in stage.history()) == 2
    assert len(stage.cloud.instances(stage.account, gone=True)) == 3, "something was given back on the way"


def test_a_zone_that_somebody_adds_by_hand_goes_with_the_next_apply(stage: Stage) -> None:
    """Forced, as Argo CD and Flux do it: whoever changed the list last owns it."""
    first, second, third = stage.account.zones[:3]
    forced = (*ARGOCD, "--force-conflicts")
    git = in_git(stage, replicas=0, placements=[{"zone": first}, {"zone": second}])
    stage.kubectl.apply(git, *forced)
    by_hand = [{"op": "add", "path": "/spec/placements/0", "value": {"zone": third}}]
    stage.kubectl.run("patch", "sce", "web", "--type=json", "-p", json.dumps(by_hand))
    stage.kubectl.apply(git, *forced)
    assert [one["zone"] for one in live(stage)["spec"]["placements"]] == [first, second]
