"""Translates Jobs and the objects of Kueue into our types.

Apart from `api`, which translates our own kinds, because quantities are read with the official client's own parser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from spotcompute.api.times import from_text
from spotcompute.kube.names import GROUP, KIND
from spotcompute.kube.port import KubeObject
from spotcompute.model.claim import Amounts, Claim, PodGroup
from spotcompute.model.workload import AdmissionCheck, CheckState, Flavor, MarkedJob, Workload
from spotcompute.plan.claim_match import NAMESPACE_ANNOTATION
from spotcompute.plan.nodes import ENVIRONMENT_LABEL, NAMESPACE_LABEL

#: What Kueue calls us. Source: AdmissionCheck.spec.controllerName of Kueue v0.17, kueue.x-k8s.io/v1beta2.
CONTROLLER = f"{GROUP}/environment"

#: The label of a Job that makes it a claim on the environment of that name in its namespace.
JOB_LABEL = f"{GROUP}/environment"

#: The label by which a Job asks Kueue for its turn.
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

#: Disks are not counted: how large they are is no property of a type.
_NOT_COUNTED = "ephemeral-storage"

ACTIVE = "Active"


def amounts_of(quantities: Mapping[str, Any]) -> Amounts:
    """Returns quantities as Kubernetes writes them in thousandths, rounded up. What cannot be read counts as nothing.

    The API server has checked them, so that happens only with an object of another version.
    """
    return {name: _thousandths(text) for name, text in quantities.items() if name != _NOT_COUNTED}


@lru_cache(4096)  # a cluster writes the same few quantities into every node and pod
def _thousandths(quantity: Any) -> int:
    try:
        amount: Decimal = parse_quantity(quantity)  # type: ignore[no-untyped-call]  # the client's helpers have no types
        return math.ceil(amount * 1000)
    except ValueError:
        return 0


def requests_of(pod: Mapping[str, Any]) -> Amounts:
    """Returns what one pod asks for, as the scheduler counts it; `pods` among it.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers and
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
    """
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in pod.get("initContainers") or ():
        own = _asked(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _joined((sidecars, own), sum)
            most = _joined((most, sidecars), max)
        else:
            most = _joined((most, _joined((sidecars, own), sum)), max)
    running = _joined((sidecars, *map(_asked, pod.get("containers") or ())), sum)
    # What stands for the whole pod is used instead of what its containers ask for.
    counted = {**_joined((running, most), max), **_asked(pod)}
    total = _joined((counted, amounts_of(pod.get("overhead") or {})), sum)
    return {**total, "pods": 1000}


def _asked(part: Mapping[str, Any]) -> Amounts:
    """Returns what a container or a pod asks for. A limit without a request is a request."""
    resources = part.get("resources") or {}
    return amounts_of({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _joined(parts: Iterable[Amounts], how: Callable[[Iterable[int]], int]) -> Amounts:
    known = list(parts)
    return {name: how(part.get(name, 0) for part in known) for part in known for name in part}


def is_work(pod: Mapping[str, Any]) -> bool:
    """True when the pod has not ended, and would be missed: not one of a DaemonSet, or that the kubelet itself runs."""
    metadata = pod["metadata"]
    owners = {owner["kind"] for owner in metadata.get("ownerReferences") or ()}
    belongs_there = "DaemonSet" in owners or "kubernetes.io/config.mirror" in _part(metadata, "annotations")
    return not belongs_there and _part(pod, "status").get("phase") not in ("Succeeded", "Failed")


# --- Kueue ------------------------------------------------------------------------------------------------------------


def workload_of(obj: KubeObject) -> Workload | None:
    """Returns the Workload. None once it has finished, or is kept from running by `active: false`."""
    metadata, spec, status = obj["metadata"], _part(obj, "spec"), _part(obj, "status")
    conditions = _conditions(status)
    has_quota = _is_true(conditions, "QuotaReserved")
    is_closed = spec.get("active") is False and not has_quota
    if is_closed or _is_true(conditions, "Finished"):
        return None
    assigned = {one["name"]: one for one in _part(status, "admission").get("podSetAssignments") or ()}
    since = conditions.get("QuotaReserved", {}).get("lastTransitionTime") or metadata["creationTimestamp"]
    claim = Claim(
        kind="Workload",
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        since=from_text(since),
        groups=_groups(spec, status, assigned),
        has_begun=_is_true(conditions, "Admitted"),
    )
    flavors = {name: frozenset(_part(one, "flavors").values()) for name, one in assigned.items()}
    return Workload(claim, metadata["resourceVersion"], has_quota, flavors, _states(status))


def _groups(
    spec: Mapping[str, Any], status: Mapping[str, Any], assigned: Mapping[str, Mapping[str, Any]]
) -> tuple[PodGroup, ...]:
    done = {one["name"]: int(one["count"]) for one in status.get("reclaimablePods") or ()}
    return tuple(_group(pods, assigned.get(pods["name"], {}), done) for pods in spec.get("podSets") or ())


def _states(status: Mapping[str, Any]) -> dict[str, CheckState]:
    return {
        one["name"]: CheckState(one["state"], one.get("message", ""), one.get("lastTransitionTime", ""))
        for one in status.get("admissionChecks") or ()
    }


def _group(pods: Mapping[str, Any], assigned: Mapping[str, Any], done: Mapping[str, int]) -> PodGroup:
    """Returns the pods of one set that are still to run. Kueue may have admitted fewer than were asked for."""
    count = int(assigned.get("count", pods.get("count", 1))) - done.get(pods["name"], 0)
    return PodGroup(pods["name"], max(0, count), requests_of((pods.get("template") or {}).get("spec") or {}))


def check_of(obj: KubeObject) -> AdmissionCheck | None:
    """Returns the admission check. None when its controller is another one."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    if spec.get("controllerName") != CONTROLLER:
        return None
    parameters = spec.get("parameters") or {}
    is_ours = (parameters.get("apiGroup"), parameters.get("kind")) == (GROUP, KIND)
    stands = [one for one in (obj.get("status") or {}).get("conditions") or () if one["type"] == ACTIVE]
    return AdmissionCheck(
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 1),
        environment=parameters.get("name") if is_ours else None,
        namespace=(metadata.get("annotations") or {}).get(NAMESPACE_ANNOTATION),
        active=CheckState(stands[0]["status"], stands[0].get("message", ""), stands[0].get("lastTransitionTime", ""))
        if stands
        else None,
    )


def flavor_of(obj: KubeObject) -> Flavor:
    """Returns the resource flavor."""
    labels = (obj.get("spec") or {}).get("nodeLabels") or {}
    return Flavor(labels.get(ENVIRONMENT_LABEL), labels.get(NAMESPACE_LABEL))


def answer_body(workload: Workload, check: str, state: CheckState) -> dict[str, Any]:
    """Returns what to apply to a Workload's status, if it is still that version."""
    claim = workload.claim
    metadata = {
        "name": claim.name,
        "namespace": claim.namespace,
        "uid": claim.uid,
        "resourceVersion": workload.version,
    }
    said = {
        "name": check,
        "state": state.verdict,
        "message": state.message,
        "lastTransitionTime": state.since,
    }
    return {"kind": "Workload", "metadata": metadata, "status": {"admissionChecks": [said]}}


def active_body(check: AdmissionCheck, active: CheckState) -> dict[str, Any]:
    """Returns what to apply to the status of an admission check, if it is still that version."""
    condition = {
        "type": ACTIVE,
        "status": active.verdict,
        "reason": "EnvironmentFound" if active.verdict == "True" else "EnvironmentNotFound",
        "message": active.message,
        "lastTransitionTime": active.since,
        "observedGeneration": check.generation,
    }
    metadata = {"name": check.name, "uid": check.uid, "resourceVersion": check.version}
    return {"kind": "AdmissionCheck", "metadata": metadata, "status": {"conditions": [condition]}}


# --- Jobs -------------------------------------------------------------------------------------------------------------


def job_of(obj: KubeObject) -> MarkedJob | None:
    """Returns the Job as a claim. None once it has ended, while it is suspended, or when it names no environment."""
    metadata, spec, status = obj["metadata"], _part(obj, "spec"), _part(obj, "status")
    pod = _part(_part(spec, "template"), "spec")
    environment, namespace = _named_by_job(metadata, _part(pod, "nodeSelector"))
    if not environment or _has_ended(status) or spec.get("suspend") or metadata.get("deletionTimestamp"):
        return None
    claim = Claim(
        kind="Job",
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        since=from_text(metadata["creationTimestamp"]),
        groups=(PodGroup("main", pods_left(spec, status), requests_of(pod)),),
        has_begun=bool(status.get("ready") or status.get("succeeded")),
    )
    return MarkedJob(claim, environment, namespace, is_queued=QUEUE_LABEL in _part(metadata, "labels"))


def _named_by_job(metadata: Mapping[str, Any], selector: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Returns name and namespace of the environment: by our label, or by what Kueue put in when it let the Job go."""
    labels = _part(metadata, "labels")
    if JOB_LABEL not in labels and QUEUE_LABEL in labels:
        return selector.get(ENVIRONMENT_LABEL), selector.get(NAMESPACE_LABEL)
    return labels.get(JOB_LABEL), metadata["namespace"]


def _has_ended(status: Mapping[str, Any]) -> bool:
    conditions = _conditions(status)
    return _is_true(conditions, "Complete") or _is_true(conditions, "Failed")


def pods_left(spec: Mapping[str, Any], status: Mapping[str, Any]) -> int:
    """Returns how many pods a Job may still have at the same time: its parallelism, or less near the end."""
    parallelism, succeeded = int(spec.get("parallelism", 1)), int(status.get("succeeded", 0))
    completions = spec.get("completions")
    if completions is None:  # its pods find out by themselves what is left; none is started after the first success
        return int(status.get("active", 0)) if succeeded else parallelism
    given_up = _count_of(str(status.get("failedIndexes") or ""))
    return max(0, min(parallelism, int(completions) - succeeded - given_up))


def _count_of(indexes: str) -> int:
    """Returns how many indexes a text such as `1,3-5,7` names."""
    spans = (part.partition("-") for part in indexes.split(",") if part)
    return sum(int(last or first) - int(first) + 1 for first, _, last in spans)


def _part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = obj.get(name) or {}
    return found


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {one["type"]: one for one in status.get("conditions") or ()}


def _is_true(conditions: Mapping[str, Any], kind: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == "True")
