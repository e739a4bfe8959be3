"""What the operator may do, read off a cluster, and what it has asked for, read off the API server's audit log.

A right is one verb on one resource, by one name where the rule has names, in the scope of one binding: the smallest
thing that can be taken away. Apart from its tests, because both ways to install are held against the same life.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from deploy.manifests import BASE, rendered
from deploy.rights import Asking, Right, are_allowed
from e2e.running import Operator
from e2e.simulator import IMAGE
from e2e.stage import Stage
from localcluster.controlplane import ControlPlane
from localcluster.kubectl import Kubectl
from spotcompute.api.events import Event
from spotcompute.kube.client import KubeClient
from spotcompute.kube.connection import connect
from spotcompute.kube.events import EventRecorder
from waiting import eventually

Row = dict[str, Any]
HOME, ACCOUNT = "spotcompute-system", "spotcompute-operator"
LEASE = "spotcompute-operator"

#: Of the whole cluster. The API server says that a namespace is in itself.
CLUSTERED = {"namespaces", "customresourcedefinitions"}


@dataclass(frozen=True)
class Binding:
    """A role bound to the operator, as the rights that it holds there."""

    kind: str
    namespace: str
    role: str
    rights: tuple[Right, ...]


def bindings(kubectl: Kubectl, *namespaces: str) -> list[Binding]:
    """Every binding of the operator's ServiceAccount: cluster-wide, at home, and in `namespaces`."""
    found = kubectl.json("get", "clusterrolebindings")["items"]
    for namespace in (HOME, *namespaces):
        found += kubectl.json("-n", namespace, "get", "rolebindings")["items"]
    return [_binding(kubectl, item) for item in found if any(map(_is_operator, item.get("subjects", ())))]


def _is_operator(subject: Row) -> bool:
    return (subject["kind"], subject.get("namespace"), subject["name"]) == ("ServiceAccount", HOME, ACCOUNT)


def _binding(kubectl: Kubectl, item: Row) -> Binding:
    namespace, role = item["metadata"].get("namespace", ""), item["roleRef"]
    scope = ("-n", namespace) if role["kind"] == "Role" else ()
    rules = kubectl.json(*scope, "get", role["kind"].lower(), role["name"])["rules"]
    rights = tuple(right for rule in rules for right in _rights(rule, namespace))
    return Binding(item["kind"], namespace, role["name"], rights)


def shipped(namespace: str) -> list[Binding]:
    """The roles that an install can give the operator, all bound; those that are bound by namespace, in this one."""
    scopes = {
        "spotcompute-operator": ("ClusterRoleBinding", ""),
        "spotcompute-operator-discovery": ("ClusterRoleBinding", ""),
        "spotcompute-guard-credentials": ("ClusterRoleBinding", ""),
        "spotcompute-read-sources": ("RoleBinding", namespace),
        "spotcompute-operator-home": ("RoleBinding", HOME),
    }
    roles = {item["metadata"]["name"]: item for item in rendered(BASE) if item["kind"] in ("ClusterRole", "Role")}
    assert roles.keys() - scopes.keys() == {"spotcompute-view", "spotcompute-edit"}
    return [
        Binding(kind, where, role, tuple(right for rule in roles[role]["rules"] for right in _rights(rule, where)))
        for role, (kind, where) in scopes.items()
    ]


def _rights(rule: Row, namespace: str) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for name in rule.get("resourceNames", [""]):
                yield from (Right(verb, resource, group, namespace, name) for verb in rule["verbs"])


def requested(rows: Sequence[Row]) -> set[Right]:
    """Each request that was let in, as the right that would allow it and nothing else."""
    return {_request(row) for row in rows if row.get("objectRef", {}).get("resource") and not is_refused(row)}


def is_refused(row: Row) -> bool:
    return bool(row["responseStatus"]["code"] == 403)


def _request(row: Row) -> Right:
    ref = row["objectRef"]
    resource = ref["resource"] + (f"/{ref['subresource']}" if ref.get("subresource") else "")
    name = "" if row["verb"] == "create" else ref.get("name", "")  # it has none yet when it is judged
    namespace = "" if resource in CLUSTERED else ref.get("namespace", "")
    return Right(row["verb"], resource, ref.get("apiGroup", ""), namespace, name)


def allows(right: Right, request: Right) -> bool:
    is_meant = (right.verb, right.resource, right.group) == (request.verb, request.resource, request.group)
    is_there = not right.namespace or right.namespace == request.namespace
    return is_meant and is_there and (not right.name or right.name == request.name)


def too_wide(right: Right, everywhere: Sequence[Right], requests: set[Right]) -> str:
    """How `right` allows more than was asked for; empty when a narrower one would not have done.

    `everywhere` is that right in each of the role's bindings: a rule gives names for all of them at once.
    """
    used = [request for request in requests if allows(right, request)]
    places = {request.namespace for request in used}
    names = {request.name for request in requests if any(allows(one, request) for one in everywhere)}
    if not used:
        return "never used"
    if not right.namespace and right.resource not in CLUSTERED and "" not in places and len(places) < 2:
        return f"used in {places} alone"
    if not right.name and "" not in names and len(names) < 2:
        return f"used for {names} alone"
    return ""


def needed_by(right: Right, others: Sequence[Right], requests: set[Right]) -> set[Right]:
    """The requests that `right` allows and none of `others` does."""
    return {one for one in requests if allows(right, one) and not any(allows(other, one) for other in others)}


def assert_used_as_widely_as_given(bound: Sequence[Binding], requests: set[Right]) -> None:
    assert len([right for binding in bound for right in binding.rights]) > 10
    for binding in bound:
        namespaces = [other.namespace for other in bound if other.role == binding.role]
        for right in binding.rights:
            everywhere = [right._replace(namespace=namespace) for namespace in namespaces]
            why = too_wide(right, everywhere, requests)
            assert not why, f"{binding.role}: {right}: {why}"


def assert_each_is_missed(kubectl: Kubectl, bound: Sequence[Binding], requests: set[Right]) -> None:
    """Each right is taken away on the real API server, and every request judged anew."""
    rights = [right for binding in bound for right in binding.rights]
    missed = {right: needed_by(right, [other for other in rights if other != right], requests) for right in rights}
    needless = [right for right, needing in missed.items() if not needing]
    assert not needless, f"nothing would miss these: {needless}"
    with each_taken_away(kubectl, bound) as refused:
        # The authorizer learns of a binding some moments after it was made.
        eventually(lambda: refused(requests) == missed, "without a right just what needs it is refused")


@contextmanager
def each_taken_away(
    kubectl: Kubectl, bound: Sequence[Binding]
) -> Iterator[Callable[[set[Right]], dict[Right, set[Right]]]]:
    """Makes groups with all rights but one each, for real; gives who asks for `requests` what each of them is refused.

    Nobody is in these groups: a SubjectAccessReview only supposes so.
    """
    objects: list[Row] = []
    asked: list[tuple[Right, Binding, list[str]]] = []
    for number, binding in enumerate(bound):
        objects += _copy(f"all-of-{number}", binding, binding.rights, _group(f"all-of-{number}"))
        others = [f"all-of-{other}" for other in range(len(bound)) if other != number]
        for index, right in enumerate(binding.rights):
            group = f"but-{number}-{index}"
            objects += _copy(group, binding, [other for other in binding.rights if other != right], _group(group))
            asked.append((right, binding, [*others, group]))

    def refused(requests: set[Right]) -> dict[Right, set[Right]]:
        import time

        t0 = time.time()
        askings = [
            (right, Asking(request, "somebody", groups))
            for right, binding, groups in asked
            for request in sorted(requests)
            if any(allows(other, request) for other in binding.rights)
        ]
        answers = are_allowed(kubectl, [asking for _, asking in askings])
        print("ASKED", len(askings), time.time() - t0)
        found: dict[Right, set[Right]] = {right: set() for right, _, _ in asked}
        for (right, asking), is_allowed in zip(askings, answers, strict=True):
            if not is_allowed:
                found[right].add(asking.right)
        return found

    with _made(kubectl, objects):
        yield refused


@contextmanager
def account_without(plane: ControlPlane, right: Right, bound: Sequence[Binding]) -> Iterator[Path]:
    """The kubeconfig of a ServiceAccount that has every right of `bound` but one."""
    name = "lacks-one"
    account = {"kind": "ServiceAccount", "namespace": HOME, "name": name}
    metadata = {"namespace": HOME, "name": name, "labels": TAKEN_AWAY}
    objects: list[Row] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}]
    for number, binding in enumerate(bound):
        rights = [other for other in binding.rights if other != right]
        objects += _copy(f"{name}-{number}", binding, rights, account)
    with _made(plane.kubectl, objects):
        yield plane.service_account_kubeconfig(HOME, name)


TAKEN_AWAY = {"of": "rights-taken-away"}


@contextmanager
def _made(kubectl: Kubectl, objects: list[Row]) -> Iterator[None]:
    kubectl.run("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    try:
        yield
    finally:
        (label,) = (f"{key}={value}" for key, value in TAKEN_AWAY.items())
        kinds = "clusterroles,clusterrolebindings"
        kubectl.run("delete", "--wait=false", "-l", label, kinds)
        kubectl.run("delete", "--wait=false", "-l", label, "rolebindings,serviceaccounts", "--all-namespaces")


def _group(name: str) -> Row:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}


def _copy(name: str, binding: Binding, rights: Sequence[Right], subject: Row) -> list[Row]:
    """A role of these rights, and a binding like `binding` that gives it to `subject`."""
    api, labels = "rbac.authorization.k8s.io", TAKEN_AWAY
    rules = [
        {"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]}
        | ({"resourceNames": [right.name]} if right.name else {})
        for right in rights
    ]
    scope = {"namespace": binding.namespace} if binding.namespace else {}
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name, "labels": labels},
            "rules": rules,
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": binding.kind,
            "metadata": {"name": name, "labels": labels, **scope},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        },
    ]


@dataclass(frozen=True)
class Place:
    """An environment, and what it refers to. No two places of a life share a name: then no name can have been meant."""

    stage: Stage
    name: str

    def prepare(self) -> None:
        account = self.stage.account
        self.stage.write_secret(f"key-of-{self.name}", secretId=account.secret_id, secretKey=account.secret_key)
        self.stage.kubectl.run("create", "configmap", f"boot-of-{self.name}", "--from-literal=script=true")

    def apply(self) -> None:
        source = {"configMapKeyRef": {"name": f"boot-of-{self.name}", "key": "script"}}
        key = {"name": f"key-of-{self.name}"}
        template = {"imageId": IMAGE, "userDataFrom": source}
        self.stage.apply(self.name, replicas=2, template=template, credentialsSecretRef=key)

    def was_read_again(self, requests: set[Right]) -> bool:
        """One of two replicas was overtaken by the other, and had to read the environment."""
        wanted = ("get", "spotcomputeenvironments", self.stage.namespace, self.name)
        return any((one.verb, one.resource, one.namespace, one.name) == wanted for one in requests)


def life(plane: ControlPlane, places: Sequence[Place], start: Callable[..., Operator], kubeconfig: Path) -> list[Row]:
    """Play what takes every right, and return what was asked of the API server meanwhile, refusals included.

    Two replicas act at once, one of them with a Lease, and quarrel; everything is born, filled, scaled and released.
    `start` starts an operator with settings.
    """
    begun = len(plane.audit_events())

    def requests() -> set[Right]:
        return requested(plane.audit_events()[begun:])

    # What others have left there would be found, and not made.
    plane.kubectl.run("-n", HOME, "delete", "configmap", "spotcompute-accounts", "--ignore-not-found")
    plane.kubectl.run("-n", HOME, "delete", "lease", LEASE, "--ignore-not-found")
    operators = [start(LEASE=LEASE), start(LEASE="")]
    for place in places:
        place.prepare()
        place.apply()
    for place in places:
        place.stage.until_ready(2, place.name)

    def quarrel() -> bool:
        for replicas in (3, 2):
            for place in places:
                place.stage.scale(replicas, place.name)
            for place in places:
                place.stage.until_ready(replicas, place.name)
        asked = requests()
        return all(place.was_read_again(asked) for place in places)

    eventually(quarrel, "each environment is read again by the one of the two that was overtaken")
    eventually(
        lambda: Right("patch", "leases", "coordination.k8s.io", HOME, LEASE) in requests(), "the Lease is renewed"
    )
    # Their writes give way while environments are worked on, so an environment could be gone before it has any.
    eventually(lambda: _have_objects(requests(), places), "each environment has objects of its instances")
    for place in places:
        place.stage.delete(place.name)
    for place in places:
        place.stage.until_gone(place.name)
    for operator in operators:
        operator.kill9()
        operator.judge()
    for place in places:
        asyncio.run(_tell_twice(kubeconfig, place))
    return plane.audit_events()[begun:]


def _have_objects(asked: set[Right], places: Sequence[Place]) -> bool:
    """True when objects of instances were created in each namespace."""
    wanted = {Right("create", "spotinstances", "spotcompute.dev", place.stage.namespace, "") for place in places}
    return wanted <= {right._replace(name="") for right in asked}


async def _tell_twice(kubeconfig: Path, place: Place) -> None:
    """An event that repeats is counted once a minute: too long to wait for. So the recorder alone, at another pace."""
    connection = await connect({"KUBECONFIG": str(kubeconfig)})
    kube = KubeClient(connection, [place.stage.namespace])
    recorder = EventRecorder(
        kube.post_event, kube.patch_event, now=lambda: datetime.now(UTC), series_seconds=0.05, writes_per_second=50
    )
    told = asyncio.create_task(recorder.run())
    obj = {"metadata": {"uid": "0", "namespace": place.stage.namespace, "name": place.name}}
    for count in (1, 2):
        recorder.record(obj, Event("Warning", "InsufficientCapacity", "No stock."))
        await asyncio.to_thread(eventually, partial(_is_told, place, count), f"it is told {count} times")
    assert recorder.dropped == 0
    told.cancel()
    await connection.close()


def _is_told(place: Place, count: int) -> bool:
    found = [item for item in place.stage.events(place.name) if item["involvedObject"].get("uid") == "0"]
    return any(item.get("series", {}).get("count", 1) == count for item in found)
