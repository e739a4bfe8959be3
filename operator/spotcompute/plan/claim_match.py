"""Decides which work is a claim on which environment.

Apart from `claims`, which decides what claims get: here nothing depends on machines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from spotcompute.model.claim import Claim, PodGroup
from spotcompute.model.workload import AdmissionCheck, Flavor, MarkedJob, Workload

#: The annotation of an admission check with the namespace of its environment, where several have one of that name.
NAMESPACE_ANNOTATION = "spotcompute.dev/environment-namespace"

#: An environment's namespace and name.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Work:
    """`Work` is everything that may be a claim. `has_kueue` is False where Kueue's kinds are not installed."""

    checks: tuple[AdmissionCheck, ...] = ()
    workloads: tuple[Workload, ...] = ()
    flavors: Mapping[str, Flavor] | None = None
    jobs: tuple[MarkedJob, ...] = ()
    has_kueue: bool = True


@dataclass(frozen=True, slots=True)
class Named:
    """`Named` is what an admission check names: an environment, or why there is none."""

    key: Key | None
    problem: str = ""


def named_by(check: AdmissionCheck, environments: Collection[Key], with_capacity: Collection[Key]) -> Named:
    """Returns the environment that a check names. `with_capacity` holds those that take claims."""
    if check.environment is None:
        return Named(None, "its parameters must name a SpotComputeEnvironment of apiGroup spotcompute.dev")
    found = sorted(key for key in environments if key[1] == check.environment and check.namespace in (None, "", key[0]))
    if not found:
        where = f" in namespace {check.namespace}" if check.namespace else ""
        return Named(None, f"there is no SpotComputeEnvironment {check.environment}{where}")
    if len(found) > 1:
        places = ", ".join(namespace for namespace, _ in found)
        return Named(
            None,
            f"SpotComputeEnvironment {check.environment} exists in several namespaces ({places}):"
            f" set annotation {NAMESPACE_ANNOTATION} on the admission check",
        )
    if found[0] not in with_capacity:
        return Named(
            None, f"SpotComputeEnvironment {'/'.join(found[0])} takes no claims: set spec.capacity.from: Claims"
        )
    return Named(found[0])


def claims_on(environment: Key, work: Work, checks: Mapping[str, Named]) -> tuple[Claim, ...]:
    """Returns the claims on one environment. `checks` says what each check names."""
    return (*_of_workloads(environment, work, checks), *_of_jobs(environment, work))


def _of_workloads(environment: Key, work: Work, checks: Mapping[str, Named]) -> Iterator[Claim]:
    for workload in work.workloads:
        if not workload.has_quota:
            continue
        for name in workload.states:
            if name in checks and checks[name].key == environment:
                groups = _groups_for(environment, workload, work.flavors or {})
                yield replace(workload.claim, groups=groups, check=name)


def _groups_for(environment: Key, workload: Workload, flavors: Mapping[str, Flavor]) -> tuple[PodGroup, ...]:
    """Returns the pods that are to run on the environment's nodes.

    Where flavors of the Workload name environments, only pods with one of this environment count. Otherwise all do.
    """
    found = {
        group.name: [flavors[name] for name in sorted(workload.flavors.get(group.name, ())) if name in flavors]
        for group in workload.claim.groups
    }
    if not any(flavor.environment for each in found.values() for flavor in each):
        return workload.claim.groups
    return tuple(
        group
        for group in workload.claim.groups
        if any(_is_for(environment, one.environment, one.namespace) for one in found[group.name])
    )


def _of_jobs(environment: Key, work: Work) -> Iterable[Claim]:
    """Returns the claims of Jobs. Those that Kueue has in hand are claims by their Workloads, where Kueue is."""
    return (
        job.claim
        for job in work.jobs
        if not (job.is_queued and work.has_kueue) and _is_for(environment, job.environment, job.namespace)
    )


def _is_for(environment: Key, name: str | None, namespace: str | None) -> bool:
    return name == environment[1] and namespace in (None, environment[0])
