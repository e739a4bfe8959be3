"""Checks an install as it is: one line for each thing that must be right, and what to do where it is not.

Apart from the operator, which would only log it: this runs on a person's machine with the person's rights, and in the
pod with the operator's own. What may not be read is left out and said so; it fails nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spotcompute.api.crd import KIND, custom_resource_definition
from spotcompute.api.instance_object import INSTANCE_KIND, instance_resource_definition
from spotcompute.cloud.endpoint import Endpoint
from spotcompute.cloud.errors import CloudError
from spotcompute.commands.advice import advice_on
from spotcompute.commands.rights import DISCOVERY, Right, Where, rights_needed
from spotcompute.kube.connection import CREDENTIALS_PROGRAM_FAILED
from spotcompute.kube.inspection import AccessQuestion, Inspection
from spotcompute.kube.names import EVERYWHERE, RUNS, WATCHES
from spotcompute.kube.port import Forbidden, KubeError, KubeObject

#: Clocks may differ by this much. The cloud refuses a request that is 5 minutes old.
SKEW_MAX = timedelta(seconds=60)

#: An operator that runs sees a change of an object within seconds.
PATIENCE = timedelta(seconds=60)

#: The oldest Kubernetes that takes the CRD.
OLDEST = (1, 29)

#: Names that are written out in one sentence.
SHOWN = 3

UPDATE = "kubectl apply --server-side -f crds/spotcompute.dev_{plural}.yaml"
LEASE = "spotcompute-operator"


class State(StrEnum):
    """`State` is how a check ended. `SKIPPED`: it could not be made here, or there is nothing to check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


MARKS = {State.OK: "✔", State.FAILED: "✗", State.SKIPPED: "-"}


@dataclass(frozen=True, slots=True)
class Check:
    """`Check` is one line: what is the case, and what helps if that is wrong."""

    name: str
    state: State
    said: str
    remedy: str = ""

    def to_text(self) -> str:
        """Returns the line, and the remedy below it."""
        return f"{MARKS[self.state]} {self.said}" + (f"\n    {self.remedy}" if self.remedy else "")

    def to_json(self) -> dict[str, str]:
        """Returns it for programs."""
        found = {"name": self.name, "state": str(self.state), "message": self.said, "remedy": self.remedy}
        return {key: value for key, value in found.items() if value}


def ok(name: str, said: str) -> Check:
    """Returns a check that found all right."""
    return Check(name, State.OK, said)


def failed(name: str, said: str, remedy: str) -> Check:
    """Returns a check that found something to change."""
    return Check(name, State.FAILED, said, remedy)


def skipped(name: str, said: str, remedy: str = "") -> Check:
    """Returns a check that was not made."""
    return Check(name, State.SKIPPED, said, remedy)


@dataclass
class Install:
    """`Install` is what is known of the install, at first from this process's settings, then from the cluster."""

    home: str
    version: str
    lease: str | None = None
    namespaces: tuple[str, ...] = ()
    keeps_nodes: bool = False
    follows_claims: bool = False
    #: The ServiceAccount of the operator as the API server calls it; None when we are it ourselves.
    user: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    operator_version: str | None = None
    is_here: bool = False


async def identify(inspection: Inspection, install: Install) -> None:
    """Notes whose rights are asked for: our own when we are the operator, otherwise those of its ServiceAccount."""
    try:
        caller = await inspection.caller()
    except KubeError:
        caller = ""  # the checks say why
    install.is_here = caller.startswith(f"system:serviceaccount:{install.home}:")
    if not install.is_here:
        install.user = f"system:serviceaccount:{install.home}:spotcompute-operator"


def no_cluster(error: str) -> Check:
    """Returns the check for a kubeconfig that leads to no API server."""
    remedy = "Set KUBECONFIG or give --kubeconfig, and --context for another of its contexts"
    if CREDENTIALS_PROGRAM_FAILED in error:
        remedy = "Run the program that the kubeconfig's user names under exec in a terminal, and log in as it asks"
    return failed("kubernetes", error[:1].upper() + error[1:], remedy)


async def check_cluster(inspection: Inspection, install: Install, now: Callable[[], datetime]) -> list[Check]:
    """Returns the checks of the cluster, and fills `install`. When the API server does not answer, that alone."""
    first = await _kubernetes(inspection, now)
    if first[0].state is State.FAILED:
        return first
    parts: list[Callable[[], Awaitable[list[Check]]]] = [
        lambda: _definitions(inspection),
        lambda: _operator(inspection, install),
        lambda: _lease(inspection, install, now()),
        lambda: _rights(inspection, install),
        lambda: _environments(inspection, install, now()),
    ]
    found = list(first)
    for part in parts:
        found += await part()
    return found


async def _kubernetes(inspection: Inspection, now: Callable[[], datetime]) -> list[Check]:
    name = "kubernetes"
    try:
        version, date = await inspection.version()
    except Forbidden as error:
        return [failed(name, f"The API server does not accept the credentials: {error}", "Log in again")]
    except KubeError as error:
        remedy = "Check the network, and which context the kubeconfig names: --kubeconfig, --context"
        return [failed(name, f"No cluster answers: {error}", remedy)]
    numbers = tuple(int(part) for part in version.lstrip("v").split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        found = failed(name, f"Kubernetes {version} does not know what the CRD needs", "Update it to 1.29 or newer")
    else:
        found = ok(name, f"Kubernetes {version} answers")
    return [found, *([] if date is None else [clock("the API server", date, now())])]


def clock(whose: str, theirs: datetime, ours: datetime) -> Check:
    """Returns the check that two clocks agree. HTTP tells whole seconds, so one of difference says nothing."""
    skew = abs(theirs - ours)
    seconds = int(skew.total_seconds())
    if skew <= SKEW_MAX:
        return ok("clock", f"The clock here and that of {whose} agree within {max(seconds, 1)} s")
    return failed(
        "clock",
        f"The clock here is {seconds} s {'behind' if theirs > ours else 'ahead of'} that of {whose}",
        "Set the clock by NTP: the cloud refuses a request that is off by 5 minutes, and a Lease would be misread",
    )


async def _definitions(inspection: Inspection) -> list[Check]:
    """Compares both CRDs in the cluster with those of this release, field by field."""
    found = []
    for kind, definition, without in (
        (KIND, custom_resource_definition(), "nothing works"),
        (
            INSTANCE_KIND,
            instance_resource_definition(),
            "instances are shown in status only, and nobody can wish for one",
        ),
    ):
        label = f"The CRD {definition['metadata']['name']}"
        try:
            schema = await inspection.schema(kind)
        except KubeError as error:
            found.append(skipped("crd", f"{label} was not looked at: {error}"))
            continue
        update = UPDATE.format(plural=definition["spec"]["names"]["plural"])
        if schema is None:
            found.append(failed("crd", f"{label} is not installed, so {without}", update))
        else:
            found.append(_compared(label, definition, schema, update))
    return found


def _compared(label: str, definition: Mapping[str, Any], schema: Mapping[str, Any], update: str) -> Check:
    (version,) = definition["spec"]["versions"]
    ours, theirs = set(_paths(version["schema"]["openAPIV3Schema"])), set(_paths(schema))
    missing = sorted(ours - theirs)
    if missing:
        said = f"{label} is older than this program: it lacks {listed(missing)}"
        return failed("crd", said, f"{update}, then update the operator")
    newer = sorted(path for path in theirs - ours if path.startswith(("spec.", "status.")))
    if newer:
        return skipped("crd", f"{label} is newer than this program: it has {listed(newer)} besides")
    return ok("crd", f"{label} is that of this release")


def _paths(schema: Mapping[str, Any], path: str = "") -> list[str]:
    """Returns the path of every field below spec and status. Others are the API server's own."""
    found: list[str] = []
    schema = schema.get("items", schema) if isinstance(schema.get("items"), Mapping) else schema
    for name, inner in (schema.get("properties") or {}).items():
        if not path and name not in ("spec", "status"):
            continue
        inner_path = f"{path}.{name}" if path else name
        found += [inner_path, *_paths(inner, inner_path)]
    return found


async def _operator(inspection: Inspection, install: Install) -> list[Check]:
    """Looks at the Deployment and at what the operator announces, and learns from both what the install is like."""
    name, home = "operator", install.home
    try:
        announced = (await inspection.config_map(home) or {}).get("metadata", {}).get("annotations") or {}
    except KubeError:
        announced = {}
    install.operator_version = announced.get(RUNS)
    watched = announced.get(WATCHES)
    if watched and watched != EVERYWHERE and not install.namespaces:
        install.namespaces = tuple(watched.split(","))
    try:
        deployments = await inspection.deployments(home)
    except KubeError as error:
        return [skipped(name, f"The Deployment was not looked at: {error}"), *_version(install)]
    if not deployments:
        if watched is None:
            remedy = "kubectl apply -k deploy/base; if it is in another namespace, set SPOTCOMPUTE_HOME_NAMESPACE"
            return [failed(name, f"No operator is installed in namespace {home}", remedy)]
        return [skipped(name, f"No Deployment is in {home}: the operator runs outside the cluster"), *_version(install)]
    (deployment,) = deployments[:1]
    await _learn(inspection, install, deployment)
    spec, status = deployment["spec"], deployment.get("status") or {}
    wanted, there = spec.get("replicas", 1), status.get("availableReplicas", 0)
    label = deployment["metadata"]["name"]
    if not there:
        remedy = f"kubectl --namespace {home} describe pods --selector app.kubernetes.io/name=spotcompute-operator"
        return [failed(name, f"The operator is down: 0 of {wanted} replicas of {home}/{label} are available", remedy)]
    return [
        ok(name, f"{there} of {wanted} replicas of the operator are available ({home}/{label})"),
        *_version(install),
    ]


def _version(install: Install) -> list[Check]:
    if install.operator_version is None:
        return [skipped("version", f"spotcompute {install.version} here; the operator has not announced its version")]
    if install.operator_version != install.version:
        said = f"spotcompute {install.version} here, and {install.operator_version} in the cluster"
        return [skipped("version", said, "Check with the operator's own version to compare its CRD and rights")]
    return [ok("version", f"spotcompute {install.version} here and in the cluster")]


async def _learn(inspection: Inspection, install: Install, deployment: KubeObject) -> None:
    """Fills `install` with the settings that the Deployment gives to its operator."""
    pod = deployment["spec"]["template"]["spec"]
    found = await _settings_of(inspection, install.home, pod["containers"][0])
    install.settings = found
    install.lease = found.get("SPOTCOMPUTE_LEASE") or install.lease
    names = f"{found.get('SPOTCOMPUTE_NAMESPACE', '')},{found.get('SPOTCOMPUTE_NAMESPACES', '')}".replace(",", " ")
    install.namespaces = tuple(dict.fromkeys(names.split())) or install.namespaces
    install.keeps_nodes = _is_on(found.get("SPOTCOMPUTE_NODES", ""))
    install.follows_claims = _is_on(found.get("SPOTCOMPUTE_CLAIMS", ""))
    if not install.is_here:
        install.user = f"system:serviceaccount:{install.home}:{pod.get('serviceAccountName', 'default')}"


def _is_on(text: str) -> bool:
    """True when the operator would read the text as true. One that it would not read at all ends it, so it is off."""
    try:
        return TypeAdapter(bool).validate_python(text)
    except ValidationError:
        return False


async def _settings_of(inspection: Inspection, home: str, container: Mapping[str, Any]) -> dict[str, str]:
    """Returns the environment variables of a container that are written down. A ConfigMap we may not read has none."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        name = (source.get("configMapRef") or {}).get("name")
        if not name:
            continue
        try:
            found |= (await inspection.config_map(home, name) or {}).get("data") or {}
        except KubeError:
            continue
    return found | {one["name"]: one["value"] for one in container.get("env") or () if "value" in one}


async def _lease(inspection: Inspection, install: Install, now: datetime) -> list[Check]:
    """Says who leads. A Lease that is not renewed means that nobody acts."""
    name, wanted = "lease", install.lease
    try:
        lease = await inspection.lease(install.home, wanted or LEASE)
    except KubeError as error:
        return [skipped(name, f"The Lease was not looked at: {error}")]
    if lease is None:
        if wanted is None:
            return [skipped(name, "No Lease is used, so every replica acts")]
        return [failed(name, f"There is no Lease {install.home}/{wanted}: no replica leads", _logs(install))]
    spec = lease.get("spec") or {}
    holder, renewed = spec.get("holderIdentity"), spec.get("renewTime")
    if not holder or not renewed:
        return [failed(name, f"Nobody holds the Lease {install.home}/{wanted or LEASE}", _logs(install))]
    age = now - datetime.fromisoformat(renewed)
    if age > timedelta(seconds=float(spec.get("leaseDurationSeconds") or 0)) + PATIENCE:
        said = f"Nobody leads: {holder} renewed the Lease {int(age.total_seconds())} s ago for the last time"
        return [failed(name, said, _logs(install))]
    return [ok(name, f"{holder} leads, and renewed its Lease {max(0, int(age.total_seconds()))} s ago")]


def _logs(install: Install) -> str:
    return f"kubectl --namespace {install.home} logs --selector app.kubernetes.io/name=spotcompute-operator"


async def _rights(inspection: Inspection, install: Install) -> list[Check]:
    """Asks for each right of the operator, and says by manifest which are missing."""
    needed: dict[str, list[tuple[Right, str]]] = {}
    for right in rights_needed(install.lease or LEASE, install.keeps_nodes, install.follows_claims):
        if right.name == "kube-system" and install.settings.get("SPOTCOMPUTE_CLUSTER_ID"):
            continue
        if right.manifest == DISCOVERY and install.namespaces:
            continue  # an install for some namespaces does without
        places = {Where.HOME: (install.home,), Where.WATCHED: install.namespaces or ("",)}.get(right.where, ("",))
        needed.setdefault(right.manifest, []).extend((right, place) for place in places)
    try:
        return [await _of_manifest(inspection, install, name, pairs) for name, pairs in needed.items()]
    except KubeError as error:
        remedy = f"kubectl --namespace {install.home} exec deploy/spotcompute-operator -- spotcompute check"
        return [skipped("rights", f"You may not ask for the operator's rights: {error}", f"Ask in its pod: {remedy}")]


async def _of_manifest(
    inspection: Inspection, install: Install, manifest: str, pairs: Sequence[tuple[Right, str]]
) -> Check:
    def question(right: Right, place: str) -> AccessQuestion:
        return AccessQuestion(
            right.verb, right.group, right.resource, right.subresource, right.name, namespace=place, user=install.user
        )

    answers = await asyncio.gather(*(inspection.may(question(right, place)) for right, place in pairs))
    missing = [
        f"{right}" + (f" in {place}" if place else "")
        for (right, place), is_allowed in zip(pairs, answers, strict=True)
        if not is_allowed
    ]
    label = manifest.rpartition("/")[-1]
    if missing:
        said = f"The operator lacks rights of {label}: {listed(missing, shown=len(missing))}"
        return failed("rights", said, f"kubectl apply -f deploy/{manifest}, or the same role of the chart")
    return ok("rights", f"The operator has the {len(pairs)} rights of {label}")


async def _environments(inspection: Inspection, install: Install, now: datetime) -> list[Check]:
    """Looks at the environments that we may read: whether they are seen, and whether their Secrets can be."""
    objects: list[KubeObject] = []
    try:
        for namespace in install.namespaces or (None,):
            objects += await inspection.environments(namespace)
    except KubeError as error:
        return [skipped("environments", f"The environments were not looked at: {error}")]
    unseen = [_label(one) for one in objects if _is_unseen(one, now)]
    if unseen:
        seen = failed("environments", f"The operator has not seen {listed(unseen)}", _logs(install))
    else:
        seen = ok("environments", f"The operator has seen {counted(len(objects), 'environment')}")
    return [seen, *await _secrets(inspection, install, objects)]


def _is_unseen(obj: KubeObject, now: datetime) -> bool:
    """True when the latest change of the object was not looked at in time. A young object says nothing."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    is_young = now - datetime.fromisoformat(metadata["creationTimestamp"]) < PATIENCE
    return not is_young and status.get("observedGeneration") != metadata.get("generation")


async def _secrets(inspection: Inspection, install: Install, objects: Sequence[KubeObject]) -> list[Check]:
    """Says which Secrets of credentials are missing, or closed to the operator. It reads none of their data."""
    names = sorted({secret for one in objects if (secret := _secret_of(one)) is not None})
    if not names:
        return [skipped("secrets", "No environment names a Secret of credentials")]
    closed, gone = [], []
    for namespace, name in names:
        try:
            asked = AccessQuestion("get", "", "secrets", name=name, namespace=namespace, user=install.user)
            if not await inspection.may(asked):
                closed.append((namespace, name))
                continue
            if not await inspection.has_secret(namespace, name):
                gone.append(f"{namespace}/{name}")
        except KubeError:
            continue  # we may not look at it, but the operator may
    found: list[Check] = []
    if closed:
        places = " ".join(sorted({namespace for namespace, _ in closed}))
        said = (
            f"The operator may not read the {plural(len(closed), 'Secret')} {listed([f'{a}/{b}' for a, b in closed])}"
        )
        remedy = f"Bind ClusterRole spotcompute-read-sources in {places}, as deploy/samples/read-sources.yaml does"
        found.append(failed("secrets", said, remedy))
    if gone:
        remedy = "Create it with the keys secretId and secretKey, or correct spec.credentialsSecretRef.name"
        found.append(failed("secrets", f"There is no Secret {listed(gone)}", remedy))
    return found or [ok("secrets", f"The operator may read {counted(len(names), 'Secret')} of credentials")]


def _secret_of(obj: KubeObject) -> tuple[str, str] | None:
    name = ((obj.get("spec") or {}).get("credentialsSecretRef") or {}).get("name")
    return (obj["metadata"]["namespace"], name) if name else None


def check_endpoint(answer: datetime | CloudError | None, endpoint: Endpoint, now: datetime) -> list[Check]:
    """Returns whether the cloud's endpoint answers, and whether its clock agrees.

    `answer` is its time, None when it does not tell, or the error.
    """
    if isinstance(answer, CloudError):
        said, _, remedy = advice_on(answer, endpoint).text.partition(". ")
        return [failed("endpoint", said[:1].upper() + said[1:], remedy)]
    found = [ok("endpoint", f"{endpoint.url} answers, asked from here")]
    return found if answer is None else [*found, clock(endpoint.host, answer, now)]


def _label(obj: KubeObject) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def listed(names: Sequence[str], shown: int = SHOWN) -> str:
    """Returns the first of `names`, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def counted(count: int, noun: str) -> str:
    """Returns `1 Secret`, `2 Secrets`."""
    return f"{count} {plural(count, noun)}"


def plural(count: int, noun: str) -> str:
    """Returns the noun for so many."""
    return noun if count == 1 else f"{noun}s"


def report(checks: Sequence[Check]) -> str:
    """Returns all checks as text for people. It ends with a newline."""
    count = {state: sum(one.state is state for one in checks) for state in State}
    if count[State.FAILED]:
        end = f"{counted(count[State.FAILED], 'check')} failed."
    else:
        end = f"{counted(count[State.OK], 'check')} passed."
    if count[State.SKIPPED]:
        end += f" {count[State.SKIPPED]} could not be made, or had nothing to check."
    return "\n".join([*(one.to_text() for one in checks), end]) + "\n"
